"""Test functions: products over the axes of translated compact kernels, and sums of data against them.

Since a test function is a product over the axes, every sum over the grid is a sequence of small matrix
products, one for each axis. The sums are projections of an array onto the test functions, and integrals of an
array times two test functions, or times a test function and a basis function of an unknown field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mollifier.engines.linalg.dense import contract, flat_axes
from mollifier.engines.weak.form import Orders
from mollifier.engines.weak.quadrature import gauss
from mollifier.engines.weak.tuning import DEFAULT, WeakTuning
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import BSpline, Kernel, Polynomial

Array = NDArray[np.float64]

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Indices i and j of pairs, each of shape (pairs,)."""


@dataclass(frozen=True, eq=False)
class AxisTests:
    """Test functions along one axis: ``phi((x - c)/r)/r`` at evenly spaced centres c, each within the axis.

    Attributes
    ----------
    axis
        Nodes of the data.
    radius
        r, in the axis's unit. It is 0 on an axis along which nothing is differentiated: there the test
        functions are the unit vectors of the nodes.
    centres
        c in the axis's unit, shape (m,).
    weights
        Order k -> quadrature weights (m, nodes) that integrate a function given at the nodes against the k-th
        derivative of each test function.
    exact
        Whether they do not depend on the spline that interpolates the data.
    """

    axis: Axis
    radius: float
    centres: Array
    weights: dict[int, Array]
    exact: bool

    @property
    def count(self) -> int:
        """Number of test functions."""
        return len(self.centres)

    @cached_property
    def neighbours(self) -> Pairs:
        """Pairs of test functions whose supports overlap, both (i, j) and (j, i)."""
        return overlaps(self.weights[0], self.weights[0])


def overlaps(a: Array, b: Array) -> Pairs:
    """Pairs of rows of (m, n) and (k, n) that have a common column in which neither is zero."""
    i, j = np.nonzero((a != 0).astype(float) @ (b != 0).astype(float).T)
    return i, j


def pair_products(left: Sequence[Array], right: Sequence[Array], pairs: Sequence[Pairs]) -> list[Array]:
    """Along each axis the products (pairs, nodes) of the rows of (m, nodes) and (k, nodes) of every pair."""
    return [v[i] * w[j] for v, w, (i, j) in zip(left, right, pairs, strict=True)]


@lru_cache(maxsize=256)
def axis_tests(
    axis: Axis, radius: float, order: int, density: float = 0.0, tuning: WeakTuning = DEFAULT
) -> AxisTests:
    """Test functions on an axis, with their derivatives up to an order.

    Parameters
    ----------
    radius
        In the axis's unit.
    order
        Highest derivative.
    density
        Centres in one radius, of the kernel ``(1 - s^2)^p`` as in WSINDy (Messenger and Bortz, J. Comput.
        Phys. 443:110525, 2021). With many cells in the radius p is high: the trapezoidal rule is then exact
        and the kernel's spectrum narrow. With few cells p is low, so that the kernel uses all of them.
        Density 0 takes the B-splines of degree ``order + 3`` at all of their knots instead. A combination of
        them that varies slowly has small derivatives, and so little noise.

    Examples
    --------
    >>> tests = axis_tests(Axis("x", 0.0, 1.0, 101), 0.25, 1, 3.0)
    >>> tests.weights[1].shape, bool(np.allclose(tests.weights[1] @ tests.axis.points, -1.0))
    ((7, 101), True)
    """
    if not radius:
        return AxisTests(axis, 0.0, axis.points, {0: np.eye(axis.size)}, True)
    kernel: Kernel = Polynomial(test_degree(radius / axis.spacing, order))
    if not density:
        kernel = BSpline(order + tuning.extra_degree)
        density = (kernel.degree + 1) / 2
        radius = _on_knots(axis, radius, density)
    centres = _centres(axis, radius, density)
    exact = (
        axis.uniform and radius >= tuning.trapezoid_cells * axis.spacing and isinstance(kernel, Polynomial)
    )
    if exact:
        x, quadrature, interpolate = axis.points, np.full(axis.size, axis.spacing), None
    else:
        pieces = kernel.degree + 1 if isinstance(kernel, BSpline) else 1
        breaks = centres[:, None] + radius * np.linspace(-1, 1, pieces + 1)
        x, quadrature, interpolate = gauss(axis, breaks, tuning)
    distance = x - centres[:, None]
    if axis.periodic:
        distance = (distance + axis.length / 2) % axis.length - axis.length / 2
    under = np.nonzero(np.abs(distance) < radius)
    s, quadrature, weights = distance[under] / radius, quadrature[under[1]], {}
    for k in range(order + 1):
        found = sp.csr_array((kernel(s, k) * quadrature / radius ** (k + 1), under), shape=distance.shape)
        w = found.toarray() if interpolate is None else interpolate(found)
        if interpolate is not None:
            w = np.where(np.abs(w) > tuning.negligible_weight * np.abs(w).max(), w, 0.0)
        weights[k] = w
    return AxisTests(axis, radius, centres, weights, exact)


def test_degree(cells: float, order: int) -> int:
    """Degree p of the kernel ``(1 - s^2)^p`` for a radius of so many cells and derivatives up to an order.

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
    """The nearest radius whose knots divide the axis evenly."""
    if axis.periodic:
        return axis.length * density / max(round(axis.length * density / radius), 1)
    knots = max(round((axis.length - 2 * radius) * density / radius), 0)
    return axis.length / (2 + knots / density)


@dataclass(frozen=True, eq=False)
class Separable:
    """A function on the grid: ``sum_r core[r] prod_a factors[a][r_a]``, r over the lattice of the core.

    Attributes
    ----------
    core
        Coefficients, one axis for each of the grid.
    factors
        Along each axis, (core's length, nodes).
    """

    core: Array
    factors: Sequence[Array]

    @cached_property
    def nodes(self) -> Array:
        """The function at the nodes, shape of the grid."""
        return contract(self.core, [f.T for f in self.factors])

    def integrals(self, values: Array, functions: Sequence[Array]) -> Array:
        """Sums of it times an array on the grid times products of functions, (m, nodes) on each axis."""
        flat = flat_axes(values)
        if not any(flat):
            return contract(self.nodes * values, functions)
        axes = list(zip(flat, functions, self.factors, strict=True))
        part = contract(self.core, [g @ f.T if here else f.T for here, g, f in axes])
        first = values[tuple(slice(0, 1) if here else slice(None) for here in flat)]
        return contract(part * first, [None if here else g for here, g, _ in axes])


@dataclass(frozen=True, eq=False)
class TestSpace:
    """Products of test functions over the axes of a grid.

    Arrays that its methods take and give have the shape of the grid. With a ``slab``, a slice of the first
    axis, they have the shape of the slab, and the sums over all slabs add up to the sum over the grid.

    Attributes
    ----------
    axes
        The factors.
    gaps
        Nodes, shape of the grid, that no test function may reach; products that do are left out, and the
        others numbered in order. None if there are none.
    weight_in_gaps
        Largest share of a test function's weights that counts as not reaching them.
    """

    __test__ = False  # a name that pytest would collect
    axes: tuple[AxisTests, ...]
    gaps: NDArray[np.bool_] | None = None
    weight_in_gaps: float = DEFAULT.weight_in_gaps

    @property
    def shape(self) -> tuple[int, ...]:
        """Test functions along each axis."""
        return tuple(a.count for a in self.axes)

    @cached_property
    def kept(self) -> NDArray[np.bool_] | None:
        """Which products are test functions, of shape ``shape``; None for all of them."""
        if self.gaps is None or not self.gaps.any():
            return None
        shares = [
            np.max([np.abs(w) / np.abs(w).sum(1)[:, None] for w in a.weights.values()], 0) for a in self.axes
        ]
        return contract(self.gaps.astype(float), shares) < self.weight_in_gaps

    @cached_property
    def size(self) -> int:
        """Number of test functions."""
        return int(np.prod(self.shape) if self.kept is None else self.kept.sum())

    def lattice(self, rows: Array, blank: float = 0.0) -> Array:
        """Values (size,) of the test functions on the lattice of all products, shape ``shape``."""
        if self.kept is None:
            return rows.reshape(self.shape)
        found = np.full(self.shape, blank)
        found[self.kept] = rows
        return found

    def rows(self, lattice: Array) -> Array:
        """The inverse of `lattice`."""
        return lattice.ravel() if self.kept is None else lattice[self.kept]

    def rows_of(
        self, products: NDArray[np.intp], others: NDArray[np.intp], both: bool = False
    ) -> tuple[NDArray[np.bool_] | slice, NDArray[np.intp], NDArray[np.intp]]:
        """Pairs of a product and something else, restricted to the products that are test functions.

        Parameters
        ----------
        products, others
            Flat indices, shape (pairs,).
        both
            Whether the others are products too.

        Returns
        -------
        tuple
            Which pairs are left, their rows, and their others, which are rows too if ``both``.
        """
        if self.kept is None:
            return slice(None), products, others
        kept = self.kept.ravel()
        row, here = np.cumsum(kept) - 1, kept[products]
        if both:
            here &= kept[others]
        left = others[here]
        return here, row[products[here]], row[left] if both else left

    def on(self, nodes: NDArray[np.intp]) -> TestSpace:
        """The test functions on some nodes of the first axis."""
        first, *rest = self.axes
        cut = replace(first, weights={k: w[:, nodes] for k, w in first.weights.items()})
        return replace(self, axes=(cut, *rest))

    @property
    def radius(self) -> dict[str, float]:
        """Radius by axis."""
        return {a.axis.name: a.radius for a in self.axes}

    def weights(self, orders: Orders, slab: slice = slice(None)) -> list[Array]:
        """Along each axis the weights (m, nodes) of a derivative of the test functions."""
        weights = [a.weights[k] for a, k in zip(self.axes, orders, strict=True)]
        return [weights[0][:, slab], *weights[1:]]

    def project(self, values: Array, orders: Orders, slab: slice = slice(None)) -> Array:
        """Integrals of an array against a derivative of every test function, shape (size,)."""
        return self.rows(contract(values, self.weights(orders, slab)))

    def adjoint(self, rows: Array, orders: Orders, slab: slice = slice(None)) -> Array:
        """The transpose of `project`: rows (size,) to an array on the grid."""
        return contract(self.lattice(rows), [w.T for w in self.weights(orders, slab)])

    def _squares(self, first: Orders, second: Orders, slab: slice) -> list[Array]:
        pairs = zip(self.weights(first, slab), self.weights(second, slab), strict=True)
        return [a * b for a, b in pairs]

    def squared(self, values: Array, first: Orders, second: Orders, slab: slice = slice(None)) -> Array:
        """Sums of an array times the weights of two derivatives of the same test function, shape (size,)."""
        return self.rows(contract(values, self._squares(first, second, slab)))

    def squared_adjoint(
        self, rows: Array, first: Orders, second: Orders, slab: slice = slice(None)
    ) -> Separable:
        """The transpose of `squared`."""
        return Separable(self.lattice(rows), self._squares(first, second, slab))

    @cached_property
    def _overlapping(self) -> tuple[NDArray[np.bool_] | slice, NDArray[np.intp], NDArray[np.intp]]:
        pairs = index_pairs([a.neighbours for a in self.axes], self.shape, self.shape)
        return self.rows_of(*pairs, both=True)

    @property
    def pairs(self) -> Pairs:
        """Pairs of test functions whose supports overlap, as row numbers, in the order of `products`."""
        return self._overlapping[1:]

    def _products(self, first: Orders, second: Orders, slab: slice) -> list[Array]:
        neighbours = [a.neighbours for a in self.axes]
        return pair_products(self.weights(first, slab), self.weights(second, slab), neighbours)

    def products(self, values: Array, first: Orders, second: Orders, slab: slice = slice(None)) -> Array:
        """Sums of an array times the weights of two test functions, for every pair in `pairs`."""
        return contract(values, self._products(first, second, slab)).ravel()[self._overlapping[0]]

    def products_adjoint(
        self, on_pairs: Array, first: Orders, second: Orders, slab: slice = slice(None)
    ) -> Separable:
        """The transpose of `products`."""
        whole = np.zeros([len(a.neighbours[0]) for a in self.axes])
        whole.ravel()[self._overlapping[0]] = on_pairs
        return Separable(whole, self._products(first, second, slab))

    def crossed(
        self, functions: Sequence[Array], pairs: Sequence[Pairs], orders: Orders, slab: slice
    ) -> list[Array]:
        """Along each axis the products (pairs, nodes) of test functions and other functions (nodes, k)."""
        return pair_products(self.weights(orders, slab), [f.T for f in functions], pairs)


@dataclass(frozen=True)
class Spaces:
    """Several test spaces on one grid."""

    each: tuple[TestSpace, ...]

    def on(self, nodes: NDArray[np.intp]) -> Spaces:
        """The test functions on some nodes of the first axis."""
        return Spaces(tuple(space.on(nodes) for space in self.each))


def index_pairs(found: Sequence[Pairs], left: Sequence[int], right: Sequence[int]) -> Pairs:
    """Flat indices of the pairs that are pairs along every axis, the last axis fastest.

    Parameters
    ----------
    found
        Pairs along each axis.
    left, right
        Shapes of the two lattices.

    Examples
    --------
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
    radius: Mapping[str, float],
    orders: Mapping[str, int],
    density: float,
    gaps: NDArray[np.bool_] | None = None,
    tuning: WeakTuning = DEFAULT,
) -> TestSpace:
    """Test functions on a grid.

    Parameters
    ----------
    radius, orders
        Radius, in the axis's unit, and highest derivative, by axis; a radius of 0 keeps the nodes.
    density
        As for `axis_tests`.
    gaps
        Nodes that no test function may reach, shape of the grid.
    """
    axes = tuple(axis_tests(a, radius[a.name], orders[a.name], density, tuning) for a in grid)
    return TestSpace(axes, gaps, tuning.weight_in_gaps)
