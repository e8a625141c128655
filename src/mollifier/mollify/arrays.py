"""Kinds of NumPy arrays, as annotations name them; sizes, places and neighbours of their entries."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, pairwise

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]


def finite_mean(values: Array) -> float:
    """Mean of the finite values; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(np.mean(finite)) if finite.size else float("nan")


def rms(values: Array) -> float:
    """Root mean square of the finite values; NaN where there is none."""
    return float(np.sqrt(finite_mean(values**2)))


def slices(sizes: Iterable[int]) -> list[slice]:
    """Where parts of these sizes are, one after another.

    >>> slices([2, 3])
    [slice(0, 2, None), slice(2, 5, None)]
    """
    return [slice(low, high) for low, high in pairwise(accumulate(sizes, initial=0))]


def nearest(nodes: Array, x: ArrayLike) -> Index:
    """Index of the node nearest to each place, in their shape; nodes (m,) increase.

    >>> nearest(np.array([0.0, 1.0, 3.0]), np.array([0.4, 0.6, 9.0])).tolist()
    [0, 1, 2]
    """
    return np.asarray(np.searchsorted((nodes[1:] + nodes[:-1]) / 2, x))


def filled(values: Array) -> Array:
    """Values with those of the nearest finite ones, in nodes, in place of those that are not finite.

    >>> filled(np.array([np.nan, 2.0, 3.0])).tolist()
    [2.0, 2.0, 3.0]
    """
    near = scipy.ndimage.distance_transform_edt(
        ~np.isfinite(values), return_distances=False, return_indices=True
    )
    return values[tuple(np.asarray(near))]
