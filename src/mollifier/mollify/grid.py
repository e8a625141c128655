"""Axes and grids: the nodes on which a field is measured or evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mollifier.errors import GridError, did_you_mean
from mollifier.io.printed import Printed
from mollifier.mollify.arrays import Array

_UNIFORM_TOLERANCE = 1e-6  # Coordinates read from files carry rounding of the last printed digit.


@dataclass(frozen=True)
class Axis:
    """One coordinate: a name and its nodes, in physical units.

    Parameters
    ----------
    name
        Coordinate name, as in the equation.
    lower, upper
        First and last node. On a periodic axis ``upper`` is ``lower`` one period on, and is not a node.
    size
        Number of nodes, at least 1.
    periodic
        Whether the axis wraps.
    unit
        Physical unit, for labels.
    nodes
        The nodes themselves where they are not evenly spaced; see `Axis.from_points`.
    discrete
        Whether nothing varies between the nodes, as of labels: no kernel reaches from one to another.

    Raises
    ------
    GridError
        If the size is below 1, the bounds are not finite or not increasing.

    Examples
    --------
    >>> Axis("x", 0.0, 1.0, 5).points
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    >>> Axis("y", 0.0, 1.0, 4, periodic=True).points
    array([0.  , 0.25, 0.5 , 0.75])
    """

    name: str
    lower: float
    upper: float
    size: int
    periodic: bool = False
    unit: str = ""
    nodes: tuple[float, ...] | None = field(default=None, repr=False)
    discrete: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise GridError(f"An axis was given the name {self.name!r}; text was expected.")
        if not isinstance(self.size, Integral) or self.size < 1:
            raise GridError(
                f"Axis '{self.name}' was given {self.size!r} nodes; a whole number, 1 or more, was expected."
            )
        if not all(isinstance(b, Real) and np.isfinite(b) for b in (self.lower, self.upper)):
            raise GridError(
                f"Axis '{self.name}' has bounds ({self.lower}, {self.upper}); both must be finite."
            )
        if self.upper < self.lower or (self.upper == self.lower and (self.size > 1 or self.periodic)):
            raise GridError(
                f"Axis '{self.name}' runs from {self.lower} to {self.upper}; the upper bound must lie above "
                "the lower."
            )
        if self.nodes is not None and len(self.nodes) != self.size:
            raise GridError(
                f"Axis '{self.name}' has size {self.size} but {len(self.nodes)} nodes; use Axis.from_points."
            )

    @classmethod
    def from_points(
        cls, name: str, points: ArrayLike, *, periodic: bool | float = False, unit: str = ""
    ) -> Axis:
        """An axis through the given nodes, of shape (n,), strictly increasing, evenly spaced or not.

        ``periodic`` is a period, or True for evenly spaced nodes whose period is one spacing past the last.

        Raises
        ------
        GridError
            If the points are not finite numbers, not one-dimensional, repeated, not increasing, or periodic
            and uneven without a period.

        Examples
        --------
        >>> Axis.from_points("t", [0.0, 1.0, 4.0]).uniform
        False
        """
        x = np.asarray(points)
        if x.dtype.kind not in "iufb":
            raise GridError(
                f"Axis '{name}' was given points of type {x.dtype}; real numbers were expected. Turn dates "
                "into numbers first, as in (t - t[0]) / np.timedelta64(1, 's')."
            )
        x = x.astype(float)
        if x.ndim != 1 or x.size == 0:
            raise GridError(
                f"Axis '{name}' was given points of shape {x.shape}; a non-empty (n,) array was expected."
            )
        if not np.isfinite(x).all():
            bad = int(np.sum(~np.isfinite(x)))
            raise GridError(f"Axis '{name}' has {bad} points that are not finite numbers; drop them.")
        step = np.diff(x)
        if (step <= 0).any():
            i = int(np.argmax(step <= 0))
            what = "repeats" if step[i] == 0 else "decreases"
            raise GridError(
                f"Axis '{name}' {what} at index {i + 1} ({x[i]:g} then {x[i + 1]:g}); points must strictly "
                "increase: sort them and average or drop repeats."
            )
        if not isinstance(periodic, Real | np.bool_):
            raise GridError(f"Axis '{name}' was given periodic={periodic!r}; a period, or True was expected.")
        wraps = isinstance(periodic, bool | np.bool_) and bool(periodic)
        # Each node is compared with its even place: small steps that drift would otherwise pass.
        tolerance = _UNIFORM_TOLERANCE * (x[-1] - x[0])
        even = bool(np.abs(x - np.linspace(x[0], x[-1], x.size)).max() <= tolerance)
        if wraps and (not even or x.size < 2):
            raise GridError(f"Periodic axis '{name}' is uneven: give its period, as periodic=2.0.")
        upper = x[-1]
        if wraps:
            upper = x[-1] + (x[-1] - x[0]) / (x.size - 1)
        elif periodic:
            upper = x[0] + float(periodic)
            if upper <= x[-1]:
                raise GridError(
                    f"Axis '{name}' has period {periodic:g}, but its points already span {x[-1] - x[0]:g}; "
                    "the period must be longer (the first point is not repeated at the end)."
                )
            even = even and (x.size < 2 or bool(abs(upper - x[-1] - step.mean()) <= tolerance))
        nodes = None if even else tuple(x.tolist())
        return cls(name, float(x[0]), float(upper), x.size, bool(periodic), unit, nodes)

    @cached_property
    def points(self) -> Array:
        """Nodes, shape (size,), increasing."""
        if self.nodes is not None:
            return np.array(self.nodes)
        return np.linspace(self.lower, self.upper, self.size, endpoint=not self.periodic)

    @property
    def uniform(self) -> bool:
        """Whether the nodes are evenly spaced."""
        return self.nodes is None

    @property
    def length(self) -> float:
        """Extent; on a periodic axis the period."""
        return self.upper - self.lower

    @property
    def spacing(self) -> float:
        """Distance between neighbouring nodes; on an uneven axis the largest one."""
        if self.size == 1:
            return self.length
        if self.uniform:
            return self.length / (self.size if self.periodic else self.size - 1)
        gaps = np.diff(self.points)
        return float(max(gaps.max(), self.upper - self.points[-1] if self.periodic else 0.0))

    @property
    def half(self) -> float:
        """Half of its length; half a unit where that is zero."""
        return (self.length or 1.0) / 2

    def scaled(self, x: Array) -> Array:
        """Places of any shape, with the ends of the axis at -1 and 1."""
        return (x - (self.lower + self.upper) / 2) / self.half

    def extend(self, radius: float) -> Axis:
        """The axis with a halo: nodes added on both sides, those less than ``radius`` past the ends.

        A kernel vanishes at its radius, so that a node there would have no weight. The halo keeps the spacing
        of the end it continues; a periodic or discrete axis needs none and is returned as is.
        """
        if self.periodic or self.discrete or self.size < 2:
            return self
        x = self.points
        before, after = x[1] - x[0], x[-1] - x[-2]
        n_before, n_after = (max(int(np.ceil(radius / h * (1 - 1e-12))) - 1, 0) for h in (before, after))
        if self.uniform:
            h = self.spacing
            return Axis(
                self.name,
                self.lower - n_before * h,
                self.upper + n_after * h,
                self.size + n_before + n_after,
                unit=self.unit,
            )
        nodes = np.concatenate(
            [x[0] - before * np.arange(n_before, 0, -1), x, x[-1] + after * np.arange(1, n_after + 1)]
        )
        return Axis(self.name, nodes[0], nodes[-1], nodes.size, unit=self.unit, nodes=tuple(nodes.tolist()))


@dataclass(frozen=True, init=False)
class Grid(Printed):
    """The tensor product of axes, in the order given.

    >>> grid = Grid(Axis("x", 0.0, 1.0, 3), Axis("t", 0.0, 2.0, 2))
    >>> grid.shape, grid.names
    ((3, 2), ('x', 't'))
    >>> grid.coords().shape
    (6, 2)
    """

    axes: tuple[Axis, ...]

    def __init__(self, *axes: Axis) -> None:
        wrong = [a for a in axes if not isinstance(a, Axis)]
        if wrong:
            raise GridError(
                f"Grid was given {wrong[0]!r:.60}; axes were expected, as Grid(Axis(...), Axis(...))."
            )
        names = [a.name for a in axes]
        if not axes or len(set(names)) != len(names):
            raise GridError(f"A grid needs one or more axes with different names; given: {names}.")
        object.__setattr__(self, "axes", tuple(axes))

    def __str__(self) -> str:
        return "\n".join(f"{a.name}  {a.size} nodes from {a.lower:g} to {a.upper:g}" for a in self.axes)

    @property
    def names(self) -> tuple[str, ...]:
        """Coordinate names, in the order of the array's dimensions."""
        return tuple(a.name for a in self.axes)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Nodes along each axis."""
        return tuple(a.size for a in self.axes)

    @property
    def size(self) -> int:
        """Number of nodes in all."""
        return math.prod(self.shape)

    def __iter__(self) -> Iterator[Axis]:
        return iter(self.axes)

    def __getitem__(self, name: str) -> Axis:
        for a in self.axes:
            if a.name == name:
                return a
        raise GridError(f"The grid has no axis '{name}'.{did_you_mean(name, self.names)}")

    def index(self, name: str) -> int:
        """Array dimension of a coordinate."""
        return self.axes.index(self[name])

    def subgrid(self, names: Iterable[str]) -> Grid:
        """The grid over some of the coordinates, in this grid's order."""
        kept = {self[n].name for n in names}
        return Grid(*(a for a in self.axes if a.name in kept))

    @property
    def scaled(self) -> Grid:
        """The same nodes on [-1, 1] along each axis."""
        axes = []
        for a in self.axes:
            lower, upper = a.scaled(np.array([a.lower, a.upper])).tolist()
            nodes = None if a.uniform else tuple(a.scaled(a.points).tolist())
            axes.append(replace(a, lower=lower, upper=upper, nodes=nodes))
        return Grid(*axes)

    def coords(self) -> Array:
        """Coordinates of every node, shape (size, d), last axis fastest."""
        mesh = np.meshgrid(*(a.points for a in self.axes), indexing="ij")
        return np.stack([m.ravel() for m in mesh], axis=-1)


def axis_of(coordinate: Any) -> Axis:
    """The axis through the values (n,) of an `xarray` coordinate, with its unit and its period, if any.

    Raises `GridError` as `Axis.from_points` does, or if the attribute ``periodic`` is neither True, False nor
    a period.
    """
    name, periodic = str(coordinate.name), coordinate.attrs.get("periodic", False)
    if not isinstance(periodic, bool | np.bool_ | int | float | np.number):
        raise GridError(
            f"Coordinate '{name}' has the attribute periodic={periodic!r}; True, False or a period was "
            "expected."
        )
    periodic = bool(periodic) if isinstance(periodic, bool | np.bool_) else float(periodic)
    unit = str(coordinate.attrs.get("units", ""))
    try:
        return Axis.from_points(name, coordinate.values, periodic=periodic, unit=unit)
    except GridError as error:
        x = np.asarray(coordinate.values)
        if x.dtype.kind not in "iuf" or bool((np.diff(x) > 0).all()) or not np.isfinite(x).all():
            raise
        raise GridError(f"{error} With xarray: array.sortby('{name}').drop_duplicates('{name}').") from error
