"""Nuclei followed from frame to frame by the overlap of their labels."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array

# Smallest overlap of two labels of one nucleus, as intersection over union.
_LEAST = 0.1


def tracked(labels: xr.DataArray) -> xr.DataArray:
    """Labels of one number for each nucleus, from labels that were numbered frame by frame.

    A label continues the nucleus of the frame before that it overlaps, so that the sum of all intersections
    over unions is largest (linear assignment). Others begin a new nucleus; a nucleus that is missing in a
    frame ends. Nuclei must move by less than their width between frames. Labels are integers over x, y and t;
    0 is outside.

    >>> frames = np.zeros((12, 8, 2), int)
    >>> frames[1:4, 2:6, 0], frames[7:10, 2:6, 0] = 1, 2
    >>> frames[2:5, 2:6, 1], frames[8:11, 2:6, 1] = 5, 1
    >>> found = tracked(xr.DataArray(frames, dims=("x", "y", "t")))
    >>> found.values[3, 3].tolist(), found.values[9, 3].tolist()
    ([1, 1], [2, 2])
    """
    picked = labels.transpose("x", "y", "t")
    array = picked.values.astype(np.int64)
    found = np.zeros_like(array)
    found[..., 0], count = array[..., 0], int(array[..., 0].max(initial=0))
    for k in range(1, array.shape[-1]):
        now = array[..., k]
        table = np.zeros(int(now.max(initial=0)) + 1, dtype=np.int64)
        for old, new in _pairs(found[..., k - 1], now):
            table[new] = old
        for new in np.unique(now[now > 0]):
            if not table[new]:
                table[new] = count = count + 1
        found[..., k] = table[now]
    return picked.copy(data=found)


def _pairs(before: NDArray[np.int64], now: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Labels of two frames that belong together."""
    both = (before > 0) & (now > 0)
    size = int(before.max(initial=0)) + 1, int(now.max(initial=0)) + 1
    shared = coo_array((np.ones(int(both.sum())), (before[both], now[both])), shape=size).toarray()
    areas = [np.bincount(a.ravel(), minlength=n) for a, n in zip((before, now), size, strict=True)]
    union = areas[0][:, None] + areas[1] - shared
    share = shared / np.maximum(union, 1)
    rows, columns = linear_sum_assignment(share, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if share[i, j] > _LEAST]
