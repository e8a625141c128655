"""The nodes of an axis under a kernel, about each of some centres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mollifier.errors import GridError
from mollifier.mollify.arrays import Array, Index, Mask
from mollifier.mollify.grid import Axis
from mollifier.mollify.kernels import Kernel
from mollifier.mollify.radius import fits

# A node counts only if the kernel there is above this part of its peak: below, the solve loses its digits.
NEGLIGIBLE = 1e-10


@dataclass(frozen=True)
class Windows:
    """The nodes each centre sees, padded to one number of taps.

    ``index``, ``offsets`` (node minus centre) and ``cells`` (width of each node's cell) have shape (m, taps);
    ``reach`` (half-width about the centre) and ``whole`` (the kernel's support lies within the nodes) (m, 1).
    """

    index: Index
    offsets: Array
    cells: Array
    reach: Array
    whole: Mask


def windows(axis: Axis, centres: Array, radius: float) -> Windows:
    """Windows about the centres; near an end they are shifted inwards, keeping their width of two radii."""
    x = axis.points
    if axis.periodic:
        if 2 * radius > axis.length * (1 + 1e-12):
            raise GridError(
                f"Radius {radius:g} along periodic axis '{axis.name}' is more than half its period "
                f"{axis.length:g}; take at most {axis.length / 2:g}."
            )
        x = (x[None, :] + np.arange(-1, 2)[:, None] * axis.length).ravel()
        centres = axis.lower + np.mod(centres - axis.lower, axis.length)
    whole = fits(axis, centres, radius)
    gaps = np.diff(x)
    first, last, slack = x[0], x[-1], 1e-9 * gaps.min()
    low = np.where(whole, centres - radius, np.clip(centres - radius, first, max(first, last - 2 * radius)))
    high = np.where(whole, centres + radius, np.minimum(low + 2 * radius, last))
    reach = np.where(whole, radius, np.maximum(centres - low, high - centres) + gaps.min() / 2)
    start, stop = np.searchsorted(x, low - slack), np.searchsorted(x, high + slack, side="right")
    taps = max(int((stop - start).max()), 1)
    taken = np.clip(start, 0, x.size - taps)[:, None] + np.arange(taps)
    cells = np.convolve(np.concatenate([gaps[:1], gaps, gaps[-1:]]), [0.5, 0.5], "valid")
    return Windows(
        taken % axis.size, x[taken] - centres[:, None], cells[taken], reach[:, None], whole[:, None]
    )


def least_radius(kernel: Kernel, spacing: float, degree: int) -> float:
    """Smallest radius at which a whole row on an even axis, about any centre, reproduces a degree."""
    s = np.linspace(0.0, 1.0, 4001)
    edge = float(s[kernel(s, 0) > NEGLIGIBLE * kernel(np.zeros(1), 0)].max())
    return spacing * (degree + 1.01) / (2 * edge)


def usable(kernel: Kernel, w: Windows) -> int:
    """Fewest nodes of any window whose weight is not lost in round-off."""
    window = kernel(w.offsets / w.reach, 0)
    return int(np.sum(window > NEGLIGIBLE * kernel(np.zeros(1), 0), axis=-1).min())
