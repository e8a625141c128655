"""Test functions: products over the axes of translated compact kernels, and sums of data against them.

Since a test function is a product over the axes, every sum over the grid is a sequence of small matrix
products, one for each axis. The sums are projections of an array onto the test functions, and integrals of an
array times two test functions, or times a test function and a basis function of an unknown field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from mollifier.engines.linalg.dense import contract, contract_sum
from mollifier.engines.weak.axes import CLOSED, AxisTests, Ends, Pairs, axis_tests, pair_products
from mollifier.engines.weak.boundary import Orders
from mollifier.engines.weak.tuning import DEFAULT, WeakTuning
from mollifier.mollify.arrays import Array, Index, Mask
from mollifier.mollify.grid import Grid

Part = tuple[Array, Orders, Orders]  #: An array on the grid, and two derivatives of test functions.

_LEAST_BLOCK = 64  # Rows of the smallest block of a covariance.


@dataclass(frozen=True, eq=False)
class TestSpace:
    """Products of test functions over the axes of a grid.

    Arrays that its methods take and give have the shape of the grid. With a ``slab``, a slice of the first
    axis, they have the shape of the slab, and the sums over all slabs add up to the sum over the grid.
    """

    __test__ = False  # a name that pytest would collect
    axes: tuple[AxisTests, ...]  #: The factors.
    #: Nodes, shape of the grid, that no test function may reach; products that do are left out, and the
    #: others numbered in order. None if there are none.
    gaps: Mask | None = None
    #: Largest share of a test function's weights that counts as not reaching them.
    weight_in_gaps: float = DEFAULT.weight_in_gaps

    @property
    def shape(self) -> tuple[int, ...]:
        """Test functions along each axis."""
        return tuple(a.count for a in self.axes)

    @cached_property
    def kept(self) -> Mask | None:
        """Which products are test functions, of shape ``shape``; None for all of them."""
        if self.gaps is None or not self.gaps.any():
            return None
        shares = [
            np.max([np.abs(w) / np.maximum(np.abs(w).sum(1)[:, None], 1e-300) for w in a.weights.values()], 0)
            for a in self.axes
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
        """Values (size,) from those on the lattice of all products: the inverse of `lattice`."""
        return lattice.ravel() if self.kept is None else lattice[self.kept]

    def rows_of(
        self, products: Index, others: Index, both: bool = False
    ) -> tuple[Mask | slice, Index, Index]:
        """Pairs of a product and something else, restricted to the products that are test functions.

        Flat indices of both are (pairs,); with ``both`` the others are products too. Returns which pairs are
        left, their rows, and their others, which are rows too if ``both``.
        """
        if self.kept is None:
            return slice(None), products, others
        kept = self.kept.ravel()
        row, here = np.cumsum(kept) - 1, kept[products]
        if both:
            here &= kept[others]
        left = others[here]
        return here, row[products[here]], row[left] if both else left

    def independent(self, counted: Mask, white: bool) -> float:
        """Number of independent residuals among the overlapping ones of one equation.

        It is ``trace(C)^2 / trace(C^2)`` with C their covariance under white noise. ``counted`` (size,)
        is whether a residual counts; ``white`` residuals are all independent.
        """
        if white:
            return float(counted.sum())
        here = self.lattice(counted.astype(float))
        shared = contract(here, [a.correlations for a in self.axes])
        return float(here.sum() ** 2 / max(np.sum(here * shared), 1e-300))

    def on(self, nodes: Index) -> TestSpace:
        """The test functions on some nodes of the first axis."""
        first, *rest = self.axes
        cut = replace(first, weights={k: w[:, nodes] for k, w in first.weights.items()})
        cut.__dict__["neighbours"] = first.neighbours  # on all nodes
        return replace(self, axes=(cut, *rest))

    @property
    def radius(self) -> dict[str, float]:
        """Radius of the test functions by axis, in its unit; 0 where they are single nodes."""
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

    def _between(self, slab: slice, same: bool, axis: int, orders: tuple[Any, Any], summed: bool) -> Array:
        """Products of the weights of two derivatives along an axis, (pairs, nodes); ``summed`` (pairs, 1).

        They are those of each test function with itself if ``same``, otherwise of all pairs.
        """
        one, two = (self.axes[axis].weights[k] for k in orders)
        if axis == 0:
            one, two = one[:, slab], two[:, slab]
        if same:
            return np.einsum("ij,ij->i", one, two)[:, None] if summed else one * two
        i, j = self.axes[axis].neighbours
        return (one @ two.T)[i, j][:, None] if summed else one[i] * two[j]

    def _sum(self, parts: Sequence[Part], slab: slice, same: bool, turned: bool) -> Array:
        """Sums of arrays times the weights of two derivatives, of each test function or of all pairs."""
        sizes = [a.count if same else len(a.neighbours[0]) for a in self.axes]
        order = sorted(range(len(sizes)), key=lambda a: sizes[a] / self.axes[a].axis.size)
        named = []
        for values, *two in parts:
            each = [tuple(zip(*pair, strict=True)) for pair in (two, two[::-1])[: 1 + turned]]
            named.append((values, min(each, key=lambda names: [str(names[a]) for a in reversed(order)])))
        return contract_sum(named, cache(partial(self._between, slab, same)), order)

    def squared(self, parts: Sequence[Part], slab: slice = slice(None)) -> Array:
        """Sums of arrays times the weights of two derivatives of a test function, added up, (size,)."""
        return self.rows(self._sum(parts, slab, True, True))

    @cached_property
    def _overlapping(self) -> tuple[Mask | slice, Index, Index]:
        pairs = index_pairs([a.neighbours for a in self.axes], self.shape, self.shape)
        return self.rows_of(*pairs, both=True)

    @property
    def pairs(self) -> Pairs:
        """Pairs of test functions whose supports overlap, as row numbers, in the order of `products`."""
        return self._overlapping[1:]

    def blocks(self, equations: int) -> Index:
        """Numbers of blocks of residuals of so many equations, (rows,): only neighbours are correlated.

        Blocks follow each other along the axis that has most of them.
        """
        widths = []
        for axis in self.axes:
            i, j = axis.neighbours
            least = math.ceil(_LEAST_BLOCK * axis.count / (self.size * equations))
            widths.append(max(int(np.abs(i - j).max()), least))
        parts = [a.count // w for a, w in zip(self.axes, widths, strict=True)]
        along = int(np.argmax(parts))
        width = widths[along] if parts[along] > 2 else self.shape[along]  # two cost as much as one
        blocks = self.rows(np.indices(self.shape)[along] // width)
        return np.tile(blocks, equations).astype(np.intp, copy=False)

    def products(self, parts: Sequence[Part], slab: slice = slice(None), turned: bool = False) -> Array:
        """Sums of arrays times the weights of two test functions, added up, for every pair in `pairs`.

        With ``turned`` the two of a part change places where that is faster: for sums with their transpose.
        """
        return self._sum(parts, slab, False, turned).ravel()[self._overlapping[0]]

    def crossed(
        self, functions: Sequence[Array], pairs: Sequence[Pairs], orders: Orders, slab: slice
    ) -> list[Array]:
        """Along each axis the products (pairs, nodes) of test functions and other functions (nodes, k)."""
        return pair_products(self.weights(orders, slab), [f.T for f in functions], pairs)


def index_pairs(found: Sequence[Pairs], left: Sequence[int], right: Sequence[int]) -> Pairs:
    """Flat indices of the pairs that are pairs along every axis, the last axis fastest.

    ``found`` are the pairs along each axis, ``left`` and ``right`` the shapes of the two lattices.

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
    gaps: Mask | None = None,
    tuning: WeakTuning = DEFAULT,
    ends: Sequence[Ends] = (),
) -> TestSpace:
    """Test functions on a grid.

    By axis, ``radius``, in its unit, of which 0 keeps the nodes, ``orders``, the highest derivatives, and
    ``ends``, where test functions reach over them, by default nowhere. ``density`` is as for `axis_tests`. No
    test function may reach the nodes in ``gaps``, of the shape of the grid.
    """
    axes = tuple(
        axis_tests(a, radius[a.name], orders[a.name], density, tuning, both)
        for a, both in zip(grid, ends or [CLOSED] * len(grid.names), strict=True)
    )
    return TestSpace(axes, gaps, tuning.weight_in_gaps)
