"""Zarr stores."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import xarray as xr

from mollifier.data.readers.registry import Reader
from mollifier.errors import DataError


def load_zarr(path: Path) -> xr.Dataset:
    """A labelled store, read whole; ``h`` stays a unit. `DataError` without the package zarr."""
    if find_spec("zarr") is None:
        raise DataError(f"'{path}' needs the package zarr: pip install 'mollifier[zarr]'.")
    with xr.open_dataset(path, engine="zarr", consolidated=False, decode_timedelta=False) as dataset:
        return dataset.load()


READER = Reader((".zarr",), load_zarr, folder=True)
