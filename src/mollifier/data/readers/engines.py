"""Whatever xarray opens by the engine of another package, as GRIB by cfgrib and GeoTIFF by rasterio."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import list_engines

from mollifier.data.readers.registry import Reader
from mollifier.io.files import require_package

# Of formats that have readers of their own, or read no files.
_OTHERS = ("h5netcdf", "netcdf4", "scipy", "zarr", "store")


def load_by(engine: str, path: Path) -> xr.Dataset:
    """The file by an engine of xarray, read whole; ``h`` stays a unit."""
    if engine == "cfgrib":
        require_package(path, "cfgrib", "grib")
    options: dict[str, Any] = {"indexpath": ""} if engine == "cfgrib" else {}  # no index beside the file
    with xr.open_dataset(path, engine=engine, decode_timedelta=False, backend_kwargs=options) as dataset:
        return dataset.load()


def engine_reader(path: Path, name: str | None = None) -> Reader | None:
    """A reader by the engine of that name, or by the first that takes the file; None where there is none."""
    engines: Any = {n: e for n, e in list_engines().items() if n not in _OTHERS}
    found = name if name in engines else None
    if name is None:
        found = next((n for n, e in engines.items() if e.guess_can_open(str(path))), None)
    return None if found is None else Reader((), partial(load_by, found))


GRIB = Reader((".grib", ".grib2", ".grb", ".grb2"), partial(load_by, "cfgrib"))
