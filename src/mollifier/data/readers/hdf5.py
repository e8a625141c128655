"""HDF5: arrays by name, their dimension scales followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mollifier.data.arrays import Arrays
from mollifier.data.readers.hdf5_file import datasets, is_hdf5, open_hdf5
from mollifier.data.readers.netcdf import load_netcdf
from mollifier.data.readers.registry import Reader


def load_hdf5(path: Path) -> Any:
    """A netCDF-4 file as the dataset that it is, any other as arrays."""
    if not is_hdf5(path):
        return load_netcdf(path)
    with open_hdf5(path) as file:
        netcdf = "_NCProperties" in file.attrs
    return load_netcdf(path) if netcdf else load_arrays(path)


def load_arrays(path: Path) -> Arrays:
    """Arrays of an HDF5 file, by their last name where that is unique; dimension scales are followed."""
    with open_hdf5(path) as file:
        found = {n: d for n, d in datasets(file) if not n.startswith("#")}
        last = [n.rsplit("/", 1)[-1] for n in found]
        short = {n: s if last.count(s) == 1 else n for n, s in zip(found, last, strict=True)}
        values: dict[str, NDArray[Any]] = {}
        dims: dict[str, tuple[str, ...]] = {}
        units: dict[str, str] = {}
        refused: dict[str, str] = {}
        for path_in_file, data in found.items():
            name = short[path_in_file]
            if data.dtype.kind not in "fiubc":
                refused[name] = f"it holds {data.dtype}, not numbers"
                continue
            values[name] = np.asarray(data[()])
            unit = data.attrs.get("units", "")
            if text := unit.decode() if isinstance(unit, bytes) else str(unit):
                units[name] = text
            scales = [str(d[0].name).lstrip("/") if len(d) else "" for d in data.dims]
            if scales and all(s in short for s in scales):
                dims[name] = tuple(short[s] for s in scales)
    return Arrays(values, dims, units, refused)


READER = Reader((".h5", ".hdf5", ".hdf"), load_hdf5)
