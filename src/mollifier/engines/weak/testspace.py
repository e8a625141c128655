"""Test functions: translates of a compact kernel on each axis, and sums over the data against their products.

A test function is a product over the axes, so every sum over the grid is a chain of small matrix products,
one for each axis: a projection of an array, the matrix of products of two test functions with an array
between them, or of a test function with a basis function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.interpolate import BSpline as Spline
from scipy.interpolate import make_interp_spline

from mollifier.engines.linalg.dense import contract
from mollifier.engines.weak.form import Orders
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import BSpline, Kernel, Polynomial

Array = NDArray[np.float64]

# The trapezoidal rule is exact to some 1e-8 for a kernel (1 - s^2)^p of this many cells or more on an even
# axis; below, for B-splines and on uneven axes, the data's interpolating spline is integrated piece by piece.
_CELLS = 20.0
# Degrees of the spline, and how much larger than the data it may be anywhere: even nodes give 5 at most.
_SPLINES, _STEADY, _BETWEEN = (5, 3, 1), 10.0, np.array([0.2, 0.5, 0.8])
_GAUSS = 8
# Weights this small beside the largest are none: those of a spline never end.
_NEGLIGIBLE = 1e-11
# Share of a test function's weights that may lie in gaps.
_REACH = 1e-4
# Degree of B-splines above the order of the derivative taken of them.
_SMOOTHER = 3


@dataclass(frozen=True, eq=False)
class AxisTests:
    """Test functions along one axis: ``phi((x - c)/r)`` at evenly spaced centres c, each within the axis.

    Attributes
    ----------
    axis
        The data's nodes.
    radius
        r, in the axis's units; 0 on an axis along which nothing is differentiated: there each node stands
        for itself.
    centres
        Shape (m,).
    weights
        Order -> weights of the sum that integrates a function given at the nodes against that derivative of
        each test function, shape (m, nodes).
    """

    axis: Axis
    radius: float
    centres: Array
    weights: dict[int, Array]

    @property
    def count(self) -> int:
        """Number of test functions."""
        return len(self.centres)

    @cached_property
    def neighbours(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs of test functions whose supports meet, each pair both ways round."""
        return overlaps(self.weights[0], self.weights[0])


def overlaps(a: Array, b: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of rows of (m, n) and (k, n) that are not zero at the same place."""
    i, j = np.nonzero((a != 0).astype(float) @ (b != 0).astype(float).T)
    return i, j


@lru_cache(maxsize=256)
def axis_tests(axis: Axis, radius: float, order: int, density: float = 0.0) -> AxisTests:
    """Test functions on an axis, with derivatives to ``order``, so many centres to a radius.

    With a density the kernel is ``(1 - s^2)^p``. Where the radius holds many cells p is high, which makes the
    trapezoidal rule exact and the kernel narrow in the spectrum; where it holds few, p is low, which spends
    no data.

    Without one they are the B-splines of degree ``order + 3`` and their sums are smooth: a combination that
    varies slowly has small derivatives, and so little noise.
    """
    if not radius:
        return AxisTests(axis, 0.0, axis.points, {0: np.eye(axis.size)})
    kernel: Kernel = Polynomial(test_degree(radius / axis.spacing, order))
    if not density:
        kernel = BSpline(order + _SMOOTHER)
        density = (kernel.degree + 1) / 2
        radius = _on_knots(axis, radius, density)
    centres = _centres(axis, radius, density)
    if axis.uniform and radius >= _CELLS * axis.spacing and isinstance(kernel, Polynomial):
        x, quadrature, interpolate = axis.points, np.full(axis.size, axis.spacing), None
    else:
        pieces = kernel.degree + 1 if isinstance(kernel, BSpline) else 1
        x, quadrature, interpolate = _gauss(axis, centres[:, None] + radius * np.linspace(-1, 1, pieces + 1))
    distance = x - centres[:, None]
    if axis.periodic:
        distance = (distance + axis.length / 2) % axis.length - axis.length / 2
    weights = {}
    for k in range(order + 1):
        w = kernel(distance / radius, k) * quadrature / radius ** (k + 1)
        weights[k] = w if interpolate is None else _negligible(interpolate(w))
    return AxisTests(axis, radius, centres, weights)


def test_degree(cells: float, order: int) -> int:
    """Degree p of the kernel ``(1 - s^2)^p`` for a radius of so many cells.

    >>> test_degree(2, 1), test_degree(10, 1), test_degree(40, 4)
    (2, 5, 11)
    """
    return int(np.clip(round(cells / 2), order + 1, order + 7))


def _centres(axis: Axis, radius: float, density: float) -> Array:
    if axis.periodic:
        count = min(max(int(np.ceil(axis.length * density / radius - 1e-6)), 1), axis.size)
        return axis.lower + axis.length * np.arange(count) / count
    room = max(axis.length - 2 * radius, 0.0)
    count = min(int(np.ceil(room * density / radius - 1e-6)) + 1, axis.size)
    if count == 1:
        return np.array([(axis.lower + axis.upper) / 2])
    return np.linspace(axis.lower + radius, axis.upper - radius, count)


def _on_knots(axis: Axis, radius: float, density: float) -> float:
    """The nearest radius at which centres that fill the axis are one knot apart."""
    if axis.periodic:
        return axis.length * density / max(round(axis.length * density / radius), 1)
    knots = max(round((axis.length - 2 * radius) * density / radius), 0)
    return axis.length / (2 + knots / density)


def _gauss(axis: Axis, breaks: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
    """Gauss-Legendre nodes and weights between all nodes and breaks, and what takes sums there to the data.

    Between them the spline and the kernels are polynomials.
    """
    spline = _spline(axis)
    edges = np.append(axis.points, axis.upper) if axis.periodic else axis.points
    if axis.periodic:
        breaks = axis.lower + (breaks - axis.lower) % axis.length
    edges = np.unique(np.concatenate([edges, breaks[(breaks > axis.lower) & (breaks < axis.upper)]]))
    s, w = np.polynomial.legendre.leggauss(_GAUSS)
    half = np.diff(edges)[:, None] / 2
    nodes = (edges[:-1, None] + half * (1 + s)).ravel()
    functions = Spline.design_matrix(nodes, spline.t, spline.k)
    return nodes, (half * w).ravel(), lambda sums: np.asarray((sp.csr_array(sums) @ functions) @ spline.c)


@lru_cache(maxsize=16)
def _spline(axis: Axis) -> Spline:
    """The interpolating spline of every unit vector at the nodes, of the highest degree that is steady.

    Where gaps between nodes differ by orders of magnitude a quintic multiplies noise by hundreds.
    """
    unit, edges, ends = np.eye(axis.size), axis.points, None
    if axis.periodic:
        unit, edges, ends = np.vstack([unit, unit[:1]]), np.append(edges, axis.upper), "periodic"
    between = (edges[:-1, None] + np.diff(edges)[:, None] * _BETWEEN).ravel()

    def through(degree: int) -> Spline:
        k = min(degree, axis.size - 1)
        return make_interp_spline(edges, unit, k=k - 1 + k % 2 if axis.periodic else k, bc_type=ends)

    *wanted, last = (through(d) for d in _SPLINES)
    return next((s for s in wanted if np.abs(s(between)).sum(1).max() < _STEADY), last)


def _negligible(weights: Array) -> Array:
    return np.where(np.abs(weights) > _NEGLIGIBLE * np.abs(weights).max(), weights, 0.0)


@dataclass(frozen=True, eq=False)
class TestSpace:
    """Products of test functions over the axes of a grid.

    The arrays that its methods take and give have the grid's shape, or for ``slab``, a slice of the first
    axis, that of the slab; sums over slabs add up to the sum over the grid.

    Attributes
    ----------
    axes
        The factors.
    gaps
        Nodes of the grid, shape of the grid, that no test function may reach: products that do are left out,
        and the others numbered in order. None if there are none.
    """

    __test__ = False  # a name that pytest would collect

    axes: tuple[AxisTests, ...]
    gaps: NDArray[np.bool_] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Test functions along each axis."""
        return tuple(a.count for a in self.axes)

    @cached_property
    def kept(self) -> NDArray[np.bool_] | None:
        """Which of the products are test functions, of shape ``shape``; None for all of them."""
        if self.gaps is None or not self.gaps.any():
            return None
        reach = [
            np.max([np.abs(w) / np.abs(w).sum(1)[:, None] for w in a.weights.values()], 0) for a in self.axes
        ]
        return contract(self.gaps.astype(float), reach) < _REACH

    @cached_property
    def size(self) -> int:
        """Number of test functions."""
        return int(np.prod(self.shape) if self.kept is None else self.kept.sum())

    def lattice(self, rows: Array, blank: float = 0.0) -> Array:
        """Values of the test functions (size,) on the lattice of all products, shape ``shape``."""
        if self.kept is None:
            return rows.reshape(self.shape)
        found = np.full(self.shape, blank)
        found[self.kept] = rows
        return found

    def rows(self, lattice: Array) -> Array:
        """The inverse of `lattice`."""
        return lattice.ravel() if self.kept is None else lattice[self.kept]

    def rows_of(
        self, products: NDArray[np.intp], others: NDArray[np.intp]
    ) -> tuple[NDArray[np.bool_] | slice, NDArray[np.intp], NDArray[np.intp]]:
        """Of pairs of a product and something else those with a test function: which, its row, the other."""
        if self.kept is None:
            return slice(None), products, others
        here = self.kept.ravel()[products]
        return here, (np.cumsum(self.kept) - 1)[products[here]], others[here]

    @property
    def radius(self) -> dict[str, float]:
        """Radius by axis."""
        return {a.axis.name: a.radius for a in self.axes}

    @cached_property
    def grid(self) -> Grid:
        """The centres."""
        return Grid(
            *(
                Axis.from_points(a.axis.name, a.centres, unit=a.axis.unit)
                if len(a.centres) > 1
                else Axis(a.axis.name, a.centres[0], a.centres[0], 1, unit=a.axis.unit)
                for a in self.axes
            )
        )

    def _weights(self, orders: Orders, slab: slice) -> list[Array]:
        return [
            a.weights[k][:, slab] if i == 0 else a.weights[k]
            for i, (a, k) in enumerate(zip(self.axes, orders, strict=True))
        ]

    def project(self, values: Array, orders: Orders, slab: slice = slice(None)) -> Array:
        """Integrals of an array against a derivative of every test function, shape (size,)."""
        return self.rows(contract(values, self._weights(orders, slab)))

    def adjoint(self, rows: Array, orders: Orders, slab: slice = slice(None)) -> Array:
        """The transpose of `project`: rows (size,) to an array on the grid."""
        return contract(self.lattice(rows), [w.T for w in self._weights(orders, slab)])

    def squared(self, values: Array, first: Orders, second: Orders, slab: slice = slice(None)) -> Array:
        """Sums of an array times the weights of two derivatives of the same test function, shape (size,)."""
        pairs = zip(self._weights(first, slab), self._weights(second, slab), strict=True)
        return self.rows(contract(values, [a * b for a, b in pairs]))

    def squared_adjoint(self, rows: Array, first: Orders, second: Orders, slab: slice = slice(None)) -> Array:
        """The transpose of `squared`."""
        pairs = zip(self._weights(first, slab), self._weights(second, slab), strict=True)
        return contract(self.lattice(rows), [(a * b).T for a, b in pairs])

    @cached_property
    def _met(self) -> tuple[NDArray[np.bool_] | slice, NDArray[np.intp], NDArray[np.intp]]:
        i, j = index_pairs([a.neighbours for a in self.axes], self.shape, self.shape)
        if self.kept is None:
            return slice(None), i, j
        both = self.kept.ravel()[i] & self.kept.ravel()[j]
        number = np.cumsum(self.kept) - 1
        return both, number[i[both]], number[j[both]]

    @property
    def pairs(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs of test functions whose supports meet, as row numbers, in the order of `products`."""
        return self._met[1:]

    def _products(self, first: Orders, second: Orders, slab: slice) -> list[Array]:
        """Along each axis the products of the weights of every pair, shape (pairs, nodes)."""
        result = []
        for a, v, w in zip(self.axes, self._weights(first, slab), self._weights(second, slab), strict=True):
            i, j = a.neighbours
            result.append(v[i] * w[j])
        return result

    def products(self, values: Array, first: Orders, second: Orders, slab: slice = slice(None)) -> Array:
        """Sums of an array times the weights of two test functions, for every pair in `pairs`."""
        return contract(values, self._products(first, second, slab)).ravel()[self._met[0]]

    def products_adjoint(
        self, on_pairs: Array, first: Orders, second: Orders, slab: slice = slice(None)
    ) -> Array:
        """The transpose of `products`."""
        whole = np.zeros([len(a.neighbours[0]) for a in self.axes])
        whole.ravel()[self._met[0]] = on_pairs
        return contract(whole, [m.T for m in self._products(first, second, slab)])


def index_pairs(
    found: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]], left: Sequence[int], right: Sequence[int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Flat numbers of the pairs that are pairs along every axis, the last axis fastest.

    >>> two = np.array([0, 1])
    >>> index_pairs([(two, 0 * two), (two, two)], (2, 2), (1, 2))
    (array([0, 1, 2, 3]), array([0, 1, 0, 1]))
    """
    rows, columns = np.zeros(1, dtype=np.intp), np.zeros(1, dtype=np.intp)
    for (i, j), m, n in zip(found, left, right, strict=True):
        rows = (rows[:, None] * m + i).ravel()
        columns = (columns[:, None] * n + j).ravel()
    return rows, columns


def space(
    grid: Grid,
    radius: dict[str, float],
    orders: dict[str, int],
    density: float,
    gaps: NDArray[np.bool_] | None = None,
) -> TestSpace:
    """Test functions on a grid, but for its gaps; an axis whose radius is 0 keeps its nodes."""
    return TestSpace(tuple(axis_tests(a, radius[a.name], orders[a.name], density) for a in grid), gaps)
