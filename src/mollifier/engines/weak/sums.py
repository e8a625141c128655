"""Sums over the data: rows, columns, and what noise adds to their products and does to their errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mollifier.engines.linalg.dense import contract
from mollifier.engines.splines.basis import Basis
from mollifier.engines.weak.form import VARIANCE, Channel
from mollifier.engines.weak.integrands import Env, Evaluated, Integrands
from mollifier.engines.weak.testspace import TestSpace, index_pairs
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.orders import Derivative

Array = NDArray[np.float64]

# Values of one integrand that are held at a time.
_SLAB = 400_000
# Of values that are said to be free of noise.
_ROUNDING = 1e-8


@dataclass(frozen=True, eq=False)
class GridData:
    """What is measured, on a grid.

    Attributes
    ----------
    grid
        The data's.
    values
        Fields, known data and derivatives of known data, by name; each broadcasts to the grid.
    variances
        Variance of the noise of each field; broadcasts to the grid.
    gaps
        Nodes where nothing was measured, which no sum may touch; None if there are none.
    """

    grid: Grid
    values: Env
    variances: Env
    gaps: NDArray[np.bool_] | None = None

    def slabs(self) -> list[slice]:
        """Slices of the first axis that hold few enough values."""
        first, rest = self.grid.shape[0], max(self.grid.size // self.grid.shape[0], 1)
        count = max(min(first, int(np.ceil(first * rest / _SLAB))), 1)
        edges = np.linspace(0, first, count + 1).astype(int)
        return [slice(a, b) for a, b in pairwise(edges)]

    def thinned(self, steps: Sequence[int]) -> GridData:
        """Every so many nodes along each axis, from the first on."""
        axes = []
        for axis, step in zip(self.grid, steps, strict=True):
            points = axis.points[::step]
            if step == 1:
                axes.append(axis)
            elif axis.periodic:
                axes.append(Axis.from_points(axis.name, points, periodic=axis.length, unit=axis.unit))
            else:
                axes.append(Axis.from_points(axis.name, points, unit=axis.unit))

        def thin(values: Any) -> Any:
            if values is None or not values.ndim:
                return values
            cuts = [slice(None, None, k if n > 1 else 1) for n, k in zip(values.shape, steps, strict=True)]
            return values[tuple(cuts)]

        return GridData(
            Grid(*axes),
            {n: thin(v) for n, v in self.values.items()},
            {n: thin(v) for n, v in self.variances.items()},
            thin(self.gaps),
        )

    def env(self, slab: slice) -> dict[str, Array]:
        """Names to arrays on a slab: values, variances, coordinates."""
        env = {n: _cut(v, slab) for n, v in self.values.items()}
        env |= {VARIANCE.format(n): _cut(v, slab) for n, v in self.variances.items()}
        for i, axis in enumerate(self.grid):
            points = axis.points[slab] if i == 0 else axis.points
            env[axis.name] = points.reshape([-1 if j == i else 1 for j in range(len(self.grid.shape))])
        return env

    def shape(self, slab: slice) -> tuple[int, ...]:
        """Of a slab."""
        return (len(range(*slab.indices(self.grid.shape[0]))), *self.grid.shape[1:])


def _cut(values: Array, slab: slice) -> Array:
    return values[slab] if values.ndim and values.shape[0] > 1 else values


@dataclass(frozen=True, eq=False)
class Rows:
    """The weak residuals and their slopes.

    Attributes
    ----------
    residuals
        Shape (equations * test functions,).
    slopes
        By the coefficients of all unknowns, shape (rows, coefficients); sparse.
    variances
        Of each residual, shape (rows,).
    """

    residuals: Array
    slopes: sp.csr_array
    variances: Array


class WeakSums:
    """Sums of a problem's integrands over its data, at given coefficients of the unknowns.

    Parameters
    ----------
    integrands
        Of the weak form.
    data
        The data.
    bases
        One for each unknown, in order; their coefficients are laid out one after another.
    """

    def __init__(self, integrands: Integrands, data: GridData, bases: Sequence[Basis]) -> None:
        self.integrands, self.data, self.bases = integrands, data, tuple(bases)
        self.form = integrands.form
        self.equations = 1 + max(c.equation for c in self.form.channels)
        edges = np.cumsum([0, *(b.size for b in bases)]).tolist()
        self.place = {b.name: slice(*e) for b, e in zip(bases, pairwise(edges), strict=True)}
        self.size: int = edges[-1]
        self._of = {b.name: b for b in bases}
        self._kept: tuple[Array, Evaluated] | None = None

    def _evaluated(self, coefficients: Array) -> Iterator[tuple[slice, Evaluated]]:
        """Values slab by slab; those of a single slab are kept for the next call at the same coefficients."""
        slabs = self.data.slabs()
        if len(slabs) == 1 and self._kept is not None and np.array_equal(self._kept[0], coefficients):
            yield slabs[0], self._kept[1]
            return
        for slab in slabs:
            env = self.data.env(slab)
            for u in self.form.unknowns:
                env[u.name] = self._of[u.field].evaluate(coefficients[self.place[u.field]], u, slab)
            found = self.integrands.evaluate(env, self.data.shape(slab))
            if len(slabs) == 1:
                self._kept = (coefficients.copy(), found)
            yield slab, found

    def rounded(self) -> WeakSums:
        """The sums with no noise but that of rounding, which nothing is free of."""
        m = self.data
        found = {n: np.asarray((_ROUNDING * np.sqrt(np.mean(m.values[n] ** 2))) ** 2) for n in m.variances}
        return WeakSums(self.integrands, replace(m, variances=found), self.bases)

    def _part(self, equation: int, space: TestSpace) -> slice:
        return slice(equation * space.size, (equation + 1) * space.size)

    def rows(self, space: TestSpace, coefficients: Array) -> Rows:
        """Residuals, slopes and variances of the residuals."""
        channels = self.form.channels
        count = self.equations * space.size
        residuals, variances = np.zeros(count), np.zeros(count)
        met = {n: space.rows_of(*_pattern(space, b)) for n, b in self._of.items()}
        entries = {(e, n): np.zeros(len(i)) for e in range(self.equations) for n, (_, i, _) in met.items()}
        for slab, values in self._evaluated(coefficients):
            for (c,) in self.integrands.keys("row"):
                here = self._part(channels[c].equation, space)
                residuals[here] += space.project(values("row", c), channels[c].orders, slab)
            for c, u in self.integrands.keys("slope"):
                matrices = _crossed(space, channels[c], self._of[u.field], u, slab)
                found = contract(values("slope", c, u), matrices).ravel()
                entries[channels[c].equation, u.field] += found[met[u.field][0]]
            self._add_variances(variances, values, space, slab, "noise")
        blocks = [
            [
                sp.coo_array((entries[e, n], met[n][1:]), shape=(space.size, b.size))
                for n, b in self._of.items()
            ]
            for e in range(self.equations)
        ]
        return Rows(residuals, sp.csr_array(sp.block_array(blocks, format="csr")), variances)

    def variances(self, space: TestSpace, coefficients: Array) -> Array:
        """Variances of the residuals where the fields are known, shape (rows,)."""
        variances = np.zeros(self.equations * space.size)
        for slab, values in self._evaluated(coefficients):
            self._add_variances(variances, values, space, slab, "known noise")
        return variances

    def _add_variances(
        self, variances: Array, values: Evaluated, space: TestSpace, slab: slice, kind: str
    ) -> None:
        for c, d in self.integrands.keys(kind):
            one, two = self.form.channels[c], self.form.channels[d]
            if one.equation == two.equation:
                times = 1.0 if c == d else 2.0
                here = self._part(one.equation, space)
                variances[here] += times * space.squared(values(kind, c, d), one.orders, two.orders, slab)

    def covariance(self, space: TestSpace, coefficients: Array, known: bool = False) -> Array:
        """Covariance of the residuals, shape (rows, rows), from noisy fields or from ``known`` ones."""
        channels, kind = self.form.channels, "known noise" if known else "noise"
        found: dict[tuple[int, int], Array] = {}
        for slab, values in self._evaluated(coefficients):
            for c, d in self.integrands.keys(kind):
                one, two = channels[c], channels[d]
                part = space.products(values(kind, c, d), one.orders, two.orders, slab)
                # A pair of unlike channels stands for both ways round: half of it and its transpose.
                part = part / 2 if c == d else part
                key = one.equation, two.equation
                found[key] = found[key] + part if key in found else part
        n = space.size
        total = np.zeros((self.equations * n, self.equations * n))
        for (e, f), values in found.items():
            total[e * n : (e + 1) * n, f * n : (f + 1) * n][space.pairs] = values
        return total + total.T

    def pulled(self, space: TestSpace, coefficients: Array, rows: Array) -> dict[str, Array]:
        """Transpose of the residuals' derivatives by the fields, times rows: arrays on the grid, by field."""
        channels = self.form.channels
        total = {f: np.zeros(self.data.grid.shape) for f in self.form.fields}
        for slab, values in self._evaluated(coefficients):
            for c, f in self.integrands.keys("gain"):
                part = rows[self._part(channels[c].equation, space)]
                total[f][slab] += space.adjoint(part, channels[c].orders, slab) * values("gain", c, f)
        return total

    def bias(self, space: TestSpace, coefficients: Array, weights: Array) -> tuple[Array, Array]:
        """What noise adds to ``G' W r``, shape (m,), and to ``G' W G``, shape (m, m), on average.

        ``weights`` is W: its diagonal (rows,), or all of it (rows, rows).
        """
        vector, matrix = np.zeros(self.size), np.zeros((self.size, self.size))
        channels = self.form.channels
        for slab, values in self._evaluated(coefficients):
            kernel = _Between(space, channels, weights, slab)
            for c, u, d in self.integrands.keys("bias"):
                between = kernel(c, d)
                if between is not None:
                    matrices = [m.T for m in self._of[u.field].matrices(u, slab)]
                    vector[self.place[u.field]] += contract(
                        between * values("bias", c, u, d), matrices
                    ).ravel()
            for c, u, d, v in self.integrands.keys("product"):
                between = kernel(c, d)
                if between is not None:
                    self._add_product(matrix, between * values("product", c, u, d, v), (c, u), (d, v), slab)
        return vector, matrix

    def _add_product(
        self,
        matrix: Array,
        values: Array,
        one: tuple[int, Derivative],
        two: tuple[int, Derivative],
        slab: slice,
    ) -> None:
        """Add sums of an array times two basis functions, both ways round."""
        u, v = one[1], two[1]
        a, b = self._of[u.field], self._of[v.field]
        found, products = [], []
        for left, right in zip(a.matrices(u, slab), b.matrices(v, slab), strict=True):
            i, j = _meeting(left.T, right.T)
            found.append((i, j))
            products.append((left[:, i] * right[:, j]).T)
        i, j = index_pairs(found, a.shape, b.shape)
        block = sp.coo_array((contract(values, products).ravel(), (i, j)), shape=(a.size, b.size)).toarray()
        matrix[self.place[u.field], self.place[v.field]] += block
        if one != two:
            matrix[self.place[v.field], self.place[u.field]] += block.T

    def spread(self, space: TestSpace, coefficients: Array, weighted: Array) -> Array:
        """Covariance of ``weighted' r``, for columns (rows, m), by sums over the data: for few columns."""
        channels = self.form.channels
        m = weighted.shape[1]
        result = np.zeros((m, m))
        for slab, values in self._evaluated(coefficients):
            spread = [
                np.stack(
                    [
                        space.adjoint(weighted[self._part(c.equation, space), p], c.orders, slab).ravel()
                        for p in range(m)
                    ]
                )
                for c in channels
            ]
            for c, d in self.integrands.keys("noise"):
                part = (spread[c] * values("noise", c, d).ravel()) @ spread[d].T
                result += part if c == d else part + part.T
        return result


class _Between:
    """``sum_rc W_rc D^b phi_r(x) D^b' phi_c(x)`` for two channels, at every place of a slab."""

    def __init__(self, space: TestSpace, channels: Sequence[Channel], weights: Array, slab: slice) -> None:
        self.space, self.channels, self.weights, self.slab = space, channels, weights, slab
        self._found: dict[tuple[int, int], Array | None] = {}

    def __call__(self, c: int, d: int) -> Array | None:
        if (c, d) not in self._found:
            self._found[c, d] = self._sum(self.channels[c], self.channels[d])
        return self._found[c, d]

    def _sum(self, one: Channel, two: Channel) -> Array | None:
        n = self.space.size
        first, second = (slice(k * n, (k + 1) * n) for k in (one.equation, two.equation))
        if self.weights.ndim == 1:
            if one.equation != two.equation:
                return None
            return self.space.squared_adjoint(self.weights[first], one.orders, two.orders, self.slab)
        block = self.weights[first, second]
        return self.space.products_adjoint(block[self.space.pairs], one.orders, two.orders, self.slab)


def _meeting(a: Array, b: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of rows that are not zero at the same place, or next to it."""
    i, j = np.nonzero(np.abs(a) @ np.abs(b).T)
    return i, j


def _pattern(space: TestSpace, basis: Basis) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return index_pairs([p for p, _ in _axis_pairs(space, basis)], space.shape, basis.shape)


def _axis_pairs(
    space: TestSpace, basis: Basis
) -> Iterator[tuple[tuple[NDArray[np.intp], NDArray[np.intp]], object]]:
    """Along each axis the pairs of a test function and a basis function that meet."""
    for tests, functions in zip(space.axes, basis.matrices(Derivative(basis.name)), strict=True):
        yield _meeting(tests.weights[0], functions.T), tests


def _crossed(space: TestSpace, channel: Channel, basis: Basis, u: Derivative, slab: slice) -> list[Array]:
    """Along each axis the products of test and basis functions of every pair, shape (pairs, nodes)."""
    result = []
    orders = iter(channel.orders)
    for i, (tests, functions, (pairs, _)) in enumerate(
        zip(space.axes, basis.matrices(u), _axis_pairs(space, basis), strict=True)
    ):
        here = slab if i == 0 else slice(None)
        weights = tests.weights[next(orders)]
        result.append(weights[pairs[0]][:, here] * functions.T[pairs[1]][:, here])
    return result
