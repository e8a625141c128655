"""The formats that can be read, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mollifier.errors import DataError, check_known
from mollifier.io.registry import Registry


@dataclass(frozen=True)
class Reader:
    """How the files of one format are read."""

    suffixes: tuple[str, ...]  #: Of file names, in lower case with their dot.
    #: Path -> the content: an `xarray.Dataset` with labelled dimensions; a pair of a `pandas.DataFrame` with
    #: one row a sample and the units of its columns; or `mollifier.data.arrays.Arrays`. It may raise anything
    #: for a file that it cannot read.
    load: Callable[[Path], Any]
    folder: bool = False  #: Whether a folder can be one.
    #: Path and chunks -> an `xarray.Dataset` of dask arrays, for formats that can be read in blocks. Chunks
    #: are values along each dimension; those of the file where they are not given.
    lazy: Callable[[Path, Mapping[str, int]], Any] | None = None


READERS: Registry[Reader] = Registry(
    "file format",
    {
        "netcdf": "mollifier.data.readers.netcdf:READER",
        "hdf5": "mollifier.data.readers.hdf5:READER",
        "zarr": "mollifier.data.readers.zarr:READER",
        "table": "mollifier.data.tables:READER",
        "numpy": "mollifier.data.readers.npz:READER",
        "matlab": "mollifier.data.readers.mat:READER",
        "tiff": "mollifier.data.readers.tiff:READER",
        "grib": "mollifier.data.readers.engines:GRIB",
    },
)


def suffixes() -> tuple[str, ...]:
    """Every suffix that can be read.

    >>> suffixes()[:3]
    ('.nc', '.nc4', '.cdf')
    """
    return tuple(s for reader in READERS.values() for s in reader.suffixes)


def reader_of(suffix: str) -> Reader | None:
    """The reader of a suffix; None where there is none."""
    return next((r for r in READERS.values() if suffix in r.suffixes), None)


def suffix_of(format: str) -> str:
    """The suffix of a format, given by its name or by a suffix with or without its dot.

    >>> suffix_of("matlab"), suffix_of("csv")
    ('.mat', '.csv')
    """
    name = format.lower().lstrip(".")
    if name in READERS:
        return READERS[name].suffixes[0]
    check_known(f".{name}", (*suffixes(), *READERS), DataError, f"format='{format}' is not known.")
    return f".{name}"
