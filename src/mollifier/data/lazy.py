"""Labelled data that stay in their file: dask arrays, read in blocks where they are used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from mollifier.data.noise import central
from mollifier.errors import DataError
from mollifier.io.memory import physical_memory

_SHARE = 0.25  # Share of the machine's memory above which a file's arrays stay in the file.
# Values of a variable in the overview, and in the contiguous part that its noise is judged by.
_OVERVIEW = 600_000
_PART = 2**20


def is_lazy(array: Any) -> bool:
    """Whether an array is dask's: its values are not in memory.

    >>> is_lazy(np.ones(3)), is_lazy(xr.DataArray([1.0]).chunk().data)
    (False, True)
    """
    return not isinstance(array, np.ndarray) and hasattr(array, "__dask_graph__")


def lazy_variables(dataset: Any) -> list[str]:
    """Names of the variables on a grid that are not in memory; none for other things than datasets."""
    arrays = dataset.data_vars if isinstance(dataset, xr.Dataset) else {}
    return [str(n) for n, v in arrays.items() if v.chunks is not None and all(d in v.coords for d in v.dims)]


def exceeds_memory(dataset: xr.Dataset) -> bool:
    """Whether arrays as float64 would take more than a share of the machine's memory."""
    return 8 * sum(v.size for v in dataset.data_vars.values()) > _SHARE * physical_memory()


def loaded(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays in memory; a chunk that several of them need is read once."""
    found = dict(arrays)
    names = [n for n, a in arrays.items() if is_lazy(a)]
    if not names:
        return found
    import dask

    # Parts of chunks are copied: as views they would keep the chunks, and so all the data, in memory.
    copies = (arrays[n].map_blocks(np.copy) for n in names)
    for name, values in zip(names, dask.compute(*copies), strict=True):
        if not np.isfinite(values).all():
            raise missing(name)
        found[name] = values
    return found


def ordered(dataset: xr.Dataset) -> xr.Dataset:
    """With the dimension in the most chunks first, which blocks are cut along."""
    chunks = {d: len(sizes) for d, sizes in dataset.chunksizes.items()}
    first = max(chunks, key=lambda d: chunks[d])
    return dataset.transpose(first, ...)


def steps(shape: Sequence[int], most: int) -> list[int]:
    """Steps along axes that leave at most so many places, and two on each axis.

    >>> steps((1000, 40), 10_000), steps((10, 10), 100)
    ([2, 2], [1, 1])
    """
    step = 1
    while math.prod(-(-n // step) for n in shape) > most and any(n > 2 * step for n in shape):
        step += 1
    return [min(step, max(n - 1, 1)) for n in shape]


def overview(dataset: xr.Dataset) -> xr.Dataset:
    """Every so many values along each dimension, in memory; errors as those of `part`."""
    sizes = {str(d): int(n) for d, n in dataset.sizes.items()}
    every = dict(zip(sizes, steps([*sizes.values()], _OVERVIEW), strict=True))
    return part(dataset, {d: slice(None, None, k) for d, k in every.items()})


def middle(dataset: xr.Dataset) -> xr.Dataset:
    """The contiguous middle of a dataset, in memory; axes that are cut wrap no more. Errors as of `part`."""
    cut = central([*dataset.sizes.values()], _PART)
    found = part(dataset, dict(zip(map(str, dataset.sizes), cut, strict=True)))
    for name, array in found.coords.items():
        if array.size < dataset.sizes.get(name, 0):
            array.attrs.pop("periodic", None)
    return found


def part(dataset: xr.Dataset, cut: Mapping[str, slice]) -> xr.Dataset:
    """A dataset cut along dimensions, in memory."""
    found = dataset.isel(cut)
    lazy = lazy_variables(dataset)
    for name in lazy:
        if found[name].dtype.kind == "c":
            raise DataError(
                f"'{name}' is complex and read in blocks, which take real values: load it, or no chunks."
            )
    values = loaded({n: found[n].data for n in lazy})
    return found.assign({n: found[n].copy(data=v) for n, v in values.items()}).load()


def missing(name: str) -> DataError:
    """The error where data in blocks have gaps."""
    return DataError(
        f"'{name}' has missing values, and is read in blocks, which have no rule for gaps. Cut the data so "
        "that they leave them out (window, select), or load them: obs.load(), or no chunks."
    )


def like(dataset: xr.Dataset, checked: xr.Dataset) -> xr.Dataset:
    """The variables of a dataset as their checked overview has them, still lazy."""
    data = {n: dataset[n].transpose(*v.dims).astype(float).variable for n, v in checked.data_vars.items()}
    whole = xr.Dataset(data, {n: dataset[n].variable for n in checked.coords}, checked.attrs)
    for name, array in checked.variables.items():
        whole[name].attrs = dict(array.attrs)
    return whole
