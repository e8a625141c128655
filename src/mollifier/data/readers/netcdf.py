"""NetCDF: classic files by SciPy, netCDF-4 by h5netcdf."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from mollifier.data.readers.registry import Reader
from mollifier.errors import DataError
from mollifier.io.hdf5_file import is_hdf5, open_hdf5


def load_netcdf(path: Path) -> xr.Dataset:
    """A labelled file, read whole; a unit of time such as ``h`` stays a unit."""
    hdf5 = is_hdf5(path)
    if hdf5:
        with open_hdf5(path):  # refuses what leads out of the file
            pass
    engine = "h5netcdf" if hdf5 else "scipy"
    with xr.open_dataset(path, engine=engine, decode_timedelta=False) as dataset:
        if not dataset.variables:
            raise DataError(f"'{path}' holds no array outside its groups; format='hdf5' reads those inside.")
        return dataset.load()


READER = Reader((".nc", ".nc4", ".cdf", ".netcdf"), load_netcdf)
