"""Unknowns as sums of basis functions: tensor-product splines for fields, the constant for numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce

import numpy as np
from scipy.interpolate import BSpline as Spline

from mollifier.engines.linalg.dense import contract
from mollifier.mollify.arrays import Array, Index, Mask
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import BSpline
from mollifier.mollify.matrices import row_products
from mollifier.mollify.orders import Derivative

_GAUSS = 6  # Gauss points in each cell: exact for products of splines of degree 5.


def spline_taps(places: Array, degree: int, order: int = 0) -> tuple[Array, Index]:
    """Weights (n, degree + 1) of B-splines about the integers in a derivative at places (n,), and these.

    The degree is odd.

    >>> weights, index = spline_taps(np.array([2.5]), 1)
    >>> weights.tolist(), index.tolist()
    ([[0.5, 0.5]], [[2, 3]])
    """
    half = (degree + 1) // 2
    index = np.floor(places).astype(np.intp)[:, None] + np.arange(1 - half, 1 + half)
    return BSpline(degree)((places[:, None] - index) / half, order) / half ** (order + 1), index


@dataclass(frozen=True, eq=False)
class AxisSplines:
    """B-splines with evenly spaced knots over one axis, wrapped where it is periodic."""

    axis: Axis  #: The data's nodes.
    size: int  #: Number of splines.
    degree: int  #: Of the polynomials between knots.

    @property
    def cells(self) -> int:
        """Number of intervals between knots."""
        return self.size if self.axis.periodic else self.size - self.degree

    @property
    def lattice(self) -> Axis:
        """Places of the coefficients, in half-lengths of the axis from its middle: means of their knots."""
        step = 2 / self.cells
        if self.axis.periodic:
            return Axis(self.axis.name, -1.0, 1.0, self.size, periodic=True)
        beyond = (self.degree - 1) * step / 2
        return Axis(self.axis.name, -1.0 - beyond, 1.0 + beyond, self.size)

    @cached_property
    def _spline(self) -> Spline:
        low, high, k, cells = self.axis.lower, self.axis.upper, self.degree, self.cells
        step = (high - low) / cells
        knots = low + step * np.arange(-k, cells + k + 1)
        return Spline(knots, np.eye(cells + k), k)

    def matrix(self, order: int, points: Array | None = None, beyond: bool = False) -> Array:
        """Derivatives of the splines at the axis's nodes, or at other points within it, shape (n, size).

        With ``beyond``, splines are extrapolated as polynomials to points outside; otherwise such points are
        moved to the ends. Derivatives are per power of the axis's unit. Orders below zero are
        antiderivatives.
        """
        x = self.axis.points if points is None else points
        spline = self._spline.derivative(order) if order else self._spline
        values = np.asarray(spline(x if beyond else np.clip(x, self.axis.lower, self.axis.upper)))
        if self.axis.periodic:
            wrapped = values[:, : self.size].copy()
            wrapped[:, : values.shape[1] - self.size] += values[:, self.size :]
            return wrapped
        return values

    def combined(self, coefficients: Array, order: int, points: Array) -> Array:
        """A derivative of sums of splines, coefficients (size, ...), at points (...), moved to the ends."""
        spline = Spline(self._spline.t, coefficients, self.degree).derivative(order)
        return np.asarray(spline(np.clip(points, self.axis.lower, self.axis.upper)))

    @cached_property
    def gram(self) -> Array:
        """Mean over the axis of products of splines, shape (size, size)."""
        edges = np.linspace(self.axis.lower, self.axis.upper, self.cells + 1)
        s, w = np.polynomial.legendre.leggauss(_GAUSS)
        half = np.diff(edges)[:, None] / 2
        points, weights = (edges[:-1, None] + half * (1 + s)).ravel(), (half * w).ravel() / self.axis.length
        b = self.matrix(0, points)
        return np.asarray(b.T @ (b * weights[:, None]))


@dataclass(frozen=True, eq=False)
class Basis:
    """The basis functions of one unknown on a grid; a number has one, the constant."""

    name: str  #: Of the unknown.
    #: Splines along each axis that the unknown varies over, by name of the axis.
    splines: Mapping[str, AxisSplines]
    grid: Grid  #: The data's grid.
    #: 1 where the unknown, a function of one variable, may only increase, -1 where it may only decrease.
    slope: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Functions along each axis of the grid, 1 along those that the unknown does not vary over."""
        return tuple(self.splines[n].size if n in self.splines else 1 for n in self.grid.names)

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return int(np.prod(self.shape))

    @property
    def lattice(self) -> Grid:
        """Places of the coefficients along scaled coordinates; see `AxisSplines.lattice`."""
        return Grid(*(s.lattice for s in self.splines.values()))

    def matrices(self, derivative: Derivative, slab: slice = slice(None)) -> list[Array]:
        """For each axis of the grid, derivatives of its functions at the nodes, shape (nodes, functions).

        ``slab`` selects nodes of the first axis.
        """
        result = []
        for i, axis in enumerate(self.grid):
            here = slab if i == 0 else slice(None)
            if axis.name in self.splines:
                spline = self.splines[axis.name]
                result.append(spline.matrix(derivative.along(axis.name), axis.points[here]))
            else:
                result.append(np.ones((len(axis.points[here]), 1)))
        return result

    def evaluate(self, coefficients: Array, derivative: Derivative, slab: slice = slice(None)) -> Array:
        """A derivative of the unknown at the nodes, from its coefficients (size,).

        The result has one axis for each of the grid, of length 1 where the unknown does not vary; ``slab``
        selects nodes of the first axis.
        """
        matrices = [
            m if a.name in self.splines else None
            for a, m in zip(self.grid, self.matrices(derivative, slab), strict=True)
        ]
        return contract(coefficients.reshape(self.shape), matrices)

    def at(self, grid: Grid) -> Array:
        """Every function at the nodes of a grid over the unknown's coordinates, shape (nodes, size)."""
        parts = [self.splines[a.name].matrix(0, a.points) for a in grid]
        return np.asarray(reduce(np.kron, parts, np.ones((1, 1))), dtype=float)

    def rows(self, points: Mapping[str, Array]) -> Array:
        """Every function at points (n,) along each coordinate, within the axes or a little beyond."""
        parts = [splines.matrix(0, points[c], beyond=True) for c, splines in self.splines.items()]
        return reduce(row_products, parts)

    def within(self, gaps: Mask | None) -> int:
        """Number of functions that are not zero at all measured nodes; ``gaps`` marks those not measured."""
        if not self.splines:
            return 1
        over = [i for i, a in enumerate(self.grid) if a.name in self.splines]
        there = np.ones([self.grid.axes[i].size for i in over], dtype=bool)
        if gaps is not None:
            there = (~gaps).any(tuple(i for i in range(gaps.ndim) if i not in over))
        found = contract(there.astype(float), [s.matrix(0).T for s in self.splines.values()])
        return int(np.sum(found > 0))

    def without_mean(self, kept: Collection[str] = ()) -> Array:
        """Takes the mean over all axes but those kept from coefficients, shape (size, size)."""
        means = []
        for name, splines in self.splines.items():
            weights = splines.gram.sum(axis=1)  # the splines add up to one
            means.append(
                np.eye(splines.size) if name in kept else np.tile(weights / weights.sum(), (splines.size, 1))
            )
        return np.eye(self.size) - reduce(np.kron, means, np.ones((1, 1)))

    @cached_property
    def mass(self) -> Array:
        """Quadratic form of the mean square, shape (size, size); for a number, 1."""
        grams = [s.gram for s in self.splines.values()]
        return np.asarray(reduce(np.kron, grams, np.ones((1, 1))), dtype=np.float64)

    def mean_variance(self, covariance: Array) -> float:
        """Mean over the domain of the variance, from the covariance (size, size) of the coefficients.

        A mean over coefficients would overrate splines that barely overlap the domain.
        """
        return float(np.sum(self.mass * covariance))


def on_grid(bases: Sequence[Basis], grid: Grid) -> list[Basis]:
    """The same functions on the nodes of another grid, over the same domain."""
    return [replace(b, grid=grid) for b in bases]
