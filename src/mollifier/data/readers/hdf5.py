"""HDF5: arrays by name, their dimension scales followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.conventions import decode_cf_variable

from mollifier.data.arrays import Arrays
from mollifier.data.readers.netcdf import load_netcdf
from mollifier.data.readers.registry import Reader
from mollifier.io.hdf5_file import is_hdf5, open_hdf5

# Attributes that say how numbers are stored; MATLAB's classes that are no numbers.
_PACKING = ("_FillValue", "missing_value", "scale_factor", "add_offset")
_NO_NUMBERS = ("char", "cell", "struct", "string", "function_handle", "table", "datetime")


def load_hdf5(path: Path) -> Any:
    """A netCDF-4 file as the dataset that it is, any other as arrays."""
    if not is_hdf5(path):
        return load_netcdf(path)
    with open_hdf5(path) as (file, arrays):
        netcdf = "_NCProperties" in file.attrs and any("/" not in name for name in arrays)
    return load_netcdf(path) if netcdf else load_arrays(path)


def load_arrays(path: Path) -> Arrays:
    """Arrays of an HDF5 file, by their last name where that is unique; dimension scales are followed.

    Fill values become NaN, and packed numbers are unpacked, as their attributes say (CF conventions).
    """
    with open_hdf5(path) as (_, arrays):
        found = {n: d for n, d in arrays.items() if not n.startswith("#")}
        last = [n.rsplit("/", 1)[-1] for n in found]
        short = {n: s if last.count(s) == 1 else n for n, s in zip(found, last, strict=True)}
        values: dict[str, NDArray[Any]] = {}
        dims: dict[str, tuple[str, ...]] = {}
        units: dict[str, str] = {}
        refused: dict[str, str] = {}
        for path_in_file, data in found.items():
            name = short[path_in_file]
            why = _no_numbers(data)
            if why:
                refused[name] = why
                continue
            values[name] = _numbers(data)
            if unit := _text(data.attrs.get("units", "")):
                units[name] = unit
            scales = [str(d[0].name).lstrip("/") if len(d) else "" for d in data.dims]
            if scales and all(s in short for s in scales):
                dims[name] = tuple(short[s] for s in scales)
    return Arrays(values, dims, units, refused)


def _no_numbers(data: Any) -> str:
    """Why an array holds no numbers; empty where it does."""
    kind, attrs = _text(data.attrs.get("MATLAB_class", "")), data.attrs
    if kind in _NO_NUMBERS or "MATLAB_object_decode" in attrs or "MATLAB_sparse" in data.parent.attrs:
        return f"it holds MATLAB's {kind or 'objects or sparse'}, not an array of numbers"
    if "MATLAB_empty" in attrs or data.shape is None:
        return "it is empty"
    is_complex = data.dtype.names == ("real", "imag")
    return "" if data.dtype.kind in "fiubc" or is_complex else f"it holds {data.dtype}, not numbers"


def _numbers(data: Any) -> NDArray[Any]:
    raw = np.asarray(data[()])
    if raw.dtype.names:
        return raw["real"] + 1j * raw["imag"]
    packing = {k: data.attrs[k] for k in _PACKING if k in data.attrs}
    if not packing:
        return raw
    packed = xr.Variable([f"dim_{i}" for i in range(raw.ndim)], raw, packing)
    return decode_cf_variable(data.name, packed, decode_times=False).values


def _text(value: Any) -> str:
    """An attribute as text; of an array with one, as MATLAB writes it, that one."""
    value = np.ravel(value)[0] if np.size(value) == 1 else value
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


READER = Reader((".h5", ".hdf5", ".hdf"), load_hdf5)
