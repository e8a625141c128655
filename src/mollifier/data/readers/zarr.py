"""Zarr stores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from mollifier.data.lazy import exceeds_memory
from mollifier.data.readers.registry import Reader
from mollifier.errors import DataError, check_known
from mollifier.io.files import require_package


def open_zarr(path: Path, chunks: Mapping[str, int] | None = None) -> xr.Dataset:
    """A labelled store, in blocks with chunks; ``h`` stays a unit. `DataError` without a package."""
    needed = {"zarr": "zarr"} | ({} if chunks is None else {"dask": "cluster"})
    for package, extra in needed.items():
        require_package(path, package, extra)
    options: dict[str, Any] = {"consolidated": False, "decode_timedelta": False}
    dataset = xr.open_dataset(path, engine="zarr", chunks=chunks, **options)
    dims = map(str, dataset.dims)
    check_known(chunks or (), dims, DataError, f"chunks names '{{}}', no dimension of '{path}'.")
    return dataset


def load_zarr(path: Path) -> xr.Dataset:
    """A labelled store, read whole; in blocks where it would fill the memory."""
    with open_zarr(path) as dataset:
        if not exceeds_memory(dataset):
            return dataset.load()
    return open_zarr(path, {})


READER = Reader((".zarr",), load_zarr, folder=True, lazy=open_zarr)
