"""The radius of a kernel along each axis of a grid, in physical units and in cells, and the nodes within."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mollifier.errors import GridError
from mollifier.mollify.arrays import Array, Index, Mask
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import Kernel

Boundary = Literal["halo", "one-sided", "trim"]

# Lengths of an axis beyond which a radius is taken for one in another unit: its halo would fill the memory.
_FARTHEST = 20


class Radius(dict[str, float]):
    """Half-width of a kernel by axis, and what follows from it: cells, halo, what is left after trimming.

    The radius is in the units of each axis: a number, or a mapping that names every axis. Raises `GridError`
    if an axis is missing or unknown, or a radius is not a positive finite number, or many axes long.

    >>> grid = Grid(Axis("x", 0.0, 1.0, 11), Axis("t", 0.0, 1.0, 6))
    >>> radius = Radius(grid, {"x": 0.3, "t": 0.5})
    >>> radius["x"], radius.cells["t"]
    (0.3, 2.5)
    >>> radius.nodes("halo").shape, radius.results("trim").shape
    ((15, 10), (7, 2))
    """

    def __init__(self, grid: Grid, radius: float | Mapping[str, float]) -> None:
        if isinstance(radius, Mapping):
            for name in radius:
                grid[name]
            missing = [n for n in grid.names if n not in radius]
            if missing:
                raise GridError(
                    f"No radius was given for {missing}; the mapping needs every axis of {grid.names}."
                )
            super().__init__((n, float(radius[n])) for n in grid.names)
        else:
            super().__init__(dict.fromkeys(grid.names, float(radius)))
        for name, r in self.items():
            if not (np.isfinite(r) and r > 0):
                raise GridError(
                    f"radius={r} was given along '{name}'; a positive length in the axis's units was "
                    "expected."
                )
            if grid[name].size > 1 and r > _FARTHEST * grid[name].length:
                raise GridError(
                    f"radius={r:g} was given along '{name}', which is {grid[name].length:g} long; at most "
                    f"{_FARTHEST} times that was expected. Are both in the same unit?"
                )
        self.grid = grid

    @property
    def cells(self) -> dict[str, float]:
        """The radius in cells (the largest, on an uneven axis)."""
        return {a.name: self[a.name] / a.spacing for a in self.grid}

    @property
    def reach(self) -> dict[str, int]:
        """Most nodes on either side of a place between nodes to which the kernel gives weight."""
        return {n: int(np.ceil(cells * (1 - 1e-12))) for n, cells in self.cells.items()}

    @property
    def widest(self) -> Radius:
        """Twice the radius, at most half a period: up to where a learnable radius may grow."""
        most = {a.name: a.length / 2 if a.periodic else np.inf for a in self.grid}
        return Radius(self.grid, {n: min(2 * r, most[n]) for n, r in self.items()})

    def nodes(self, boundary: Boundary) -> Grid:
        """Where values are needed: on the grid, and with a halo less than one radius past it."""
        if boundary != "halo":
            return self.grid
        return Grid(*(a.extend(self[a.name]) for a in self.grid))

    def results(self, boundary: Boundary) -> Grid:
        """Where results come: on the grid itself, or on what is left of it after trimming.

        Raises `GridError` if trimming leaves nothing.
        """
        if boundary != "trim":
            return self.grid
        return Grid(*(_trimmed(a, self[a.name]) for a in self.grid))


def fits(axis: Axis, centres: Array, radius: float) -> Mask:
    """Whether the kernel about each centre lies within the nodes, shape (m,); on periodic axes always.

    The kernel vanishes at its radius: a support that ends within one cell past the last node is still whole.
    """
    if axis.periodic or axis.size < 2:
        return np.ones(len(centres), dtype=bool)
    x = axis.points
    slack = 1e-9 * float(np.diff(x).min())
    return (centres - radius >= 2 * x[0] - x[1] - slack) & (centres + radius <= 2 * x[-1] - x[-2] + slack)


def _trimmed(axis: Axis, radius: float) -> Axis:
    """What is left of an axis after trimming; a periodic one, or a single node, stays."""
    if axis.periodic or axis.size == 1:
        return axis
    inside = axis.points[fits(axis, axis.points, radius)]
    if inside.size == 0:
        raise GridError(
            f"Trimming one radius ({radius:g}) off both ends of '{axis.name}' (length {axis.length:g}) "
            "leaves no points; take a smaller radius or boundary='one-sided'."
        )
    return Axis.from_points(axis.name, inside, unit=axis.unit)


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
