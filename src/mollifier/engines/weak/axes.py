"""Test functions along one axis: translated compact kernels, and weights that integrate data against them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy.sparse as sp
from scipy.linalg import null_space

from mollifier.engines.weak.boundary import End, Trace
from mollifier.engines.weak.quadrature import gauss
from mollifier.engines.weak.tuning import DEFAULT, WeakTuning
from mollifier.mollify.arrays import Array, Index
from mollifier.mollify.grid import Axis
from mollifier.mollify.kernels import BSpline, Kernel, Polynomial

Pairs = tuple[Index, Index]  #: Indices i and j of pairs, each of shape (pairs,).

#: Both ends of an axis; None where test functions vanish with all derivatives.
Ends = tuple[End | None, End | None]


CLOSED: Ends = (None, None)


@dataclass(frozen=True, eq=False)
class AxisTests:
    """Test functions along one axis: ``phi((x - c)/r)/r`` at evenly spaced centres c.

    At an end that they reach over, they are the combinations of kernels cut off there whose derivatives
    vanish as they should; centres are then about where they are.
    """

    axis: Axis  #: Nodes of the data.
    #: r, in the axis's unit. It is 0 on an axis along which nothing is differentiated: there the test
    #: functions are the unit vectors of the nodes.
    radius: float
    centres: Array  #: c in the axis's unit, shape (m,).
    #: Order k -> quadrature weights (m, nodes) that integrate a function given at the nodes against the k-th
    #: derivative of each test function; trace -> weights of its product with that derivative at an end.
    weights: dict[int | Trace, Array]
    exact: bool  #: Whether they do not depend on the spline that interpolates the data.
    #: Correlation of two test functions, by their weights' sizes, below which it counts as zero.
    negligible: float = DEFAULT.negligible_overlap

    @property
    def count(self) -> int:
        """Number of test functions."""
        return len(self.centres)

    @cached_property
    def neighbours(self) -> Pairs:
        """Pairs of test functions that overlap in any derivative, both (i, j) and (j, i)."""
        norms = {k: np.linalg.norm(w, axis=1).max(initial=1e-300) for k, w in self.weights.items()}
        size = np.sum([np.abs(w) / norms[k] for k, w in self.weights.items()], axis=0)
        size /= np.maximum(np.linalg.norm(size, axis=1, keepdims=True), 1e-300)
        i, j = np.nonzero(size @ size.T > self.negligible)
        return i, j

    @cached_property
    def correlations(self) -> Array:
        """Squared correlations (count, count) of two test functions' sums over white noise."""
        w = self.weights[0] / np.linalg.norm(self.weights[0], axis=1, keepdims=True)
        return np.square(w @ w.T)


def overlaps(a: Array, b: Array) -> Pairs:
    """Pairs of rows of (m, n) and (k, n) that have a common column in which neither is zero."""
    i, j = np.nonzero((a != 0).astype(float) @ (b != 0).astype(float).T)
    return i, j


def pair_products(left: Sequence[Array], right: Sequence[Array], pairs: Sequence[Pairs]) -> list[Array]:
    """Along each axis the products (pairs, nodes) of the rows of (m, nodes) and (k, nodes) of every pair."""
    return [v[i] * w[j] for v, w, (i, j) in zip(left, right, pairs, strict=True)]


@lru_cache(maxsize=256)
def axis_tests(
    axis: Axis,
    radius: float,
    order: int,
    density: float = 0.0,
    tuning: WeakTuning = DEFAULT,
    ends: Ends = CLOSED,
) -> AxisTests:
    """Test functions on an axis, with their derivatives up to an order.

    The radius is in the axis's unit. ``density`` is the number of centres in one radius, of the kernel ``(1 -
    s^2)^p`` as in WSINDy (Messenger and Bortz, J. Comput. Phys. 443:110525, 2021). With many cells in the
    radius p is high: the trapezoidal rule is then exact and the kernel's spectrum narrow. With few cells p is
    low, so that the kernel uses all of them. Density 0 takes the B-splines of degree ``order + 3`` at all of
    their knots instead. A combination of them that varies slowly has small derivatives, and so little noise.
    At the ``ends`` that functions reach over, the trapezoidal rule is not exact.

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
        radius = _on_knots(axis, radius, density, ends)
    kernels = _Kernels(axis, kernel, radius, _centres(axis, radius, density, ends))
    exact = axis.uniform and radius >= tuning.trapezoid_cells * axis.spacing and not any(ends)
    if exact and isinstance(kernel, Polynomial):
        near, step = kernels.near(axis.points), np.full(axis.size, axis.spacing)
        weights: dict[int | Trace, Array] = {k: near(k, step).toarray() for k in range(order + 1)}
        return AxisTests(axis, radius, kernels.centres, weights, True, tuning.negligible_overlap)
    pieces = kernel.degree + 1 if isinstance(kernel, BSpline) else 1
    breaks = kernels.centres[:, None] + radius * np.linspace(-1, 1, pieces + 1)
    x, quadrature, spline = gauss(axis, breaks, tuning, _limits(axis, ends))
    near, functions = kernels.near(x), spline.functions(x)
    sums: dict[int | Trace, sp.csr_array] = {k: near(k, quadrature) @ functions for k in range(order + 1)}
    for number, end in enumerate(ends):
        if end:
            at = np.array([end.place])
            near, one, functions = kernels.near(at), np.ones(1), spline.functions(at)
            sums |= {Trace(k, number): near(k, one) @ functions for k in range(order)}
    each = [part.toarray() for part in sums.values()]
    if any(ends):
        combined = kernels.combined(ends)
        each = [combined @ part for part in each]
    whole = spline.from_coefficients(np.concatenate(each))
    weights = dict(zip(sums, np.split(whole, len(sums)), strict=True))
    for w in weights.values():
        w[np.abs(w) <= tuning.negligible_weight * np.abs(w).max()] = 0.0
    centres = kernels.centres
    if any(ends):
        first, last = np.clip(centres[[0, -1]], *_limits(axis, ends))
        centres = np.linspace(first, last, len(weights[0]))
    return AxisTests(axis, radius, centres, weights, False, tuning.negligible_overlap)


@dataclass(frozen=True, eq=False)
class _Kernels:
    """The kernels of test functions on an axis."""

    axis: Axis
    kernel: Kernel
    radius: float
    centres: Array

    def near(self, x: Array) -> Callable[[int, Array], sp.csr_array]:
        """A function of order and factors (points,): their derivative at points, (centres, points)."""
        distance, length = x - self.centres[:, None], self.axis.length
        if self.axis.periodic:
            distance -= length * np.rint(distance / length)
        under = np.nonzero(np.abs(distance) < self.radius)
        s, ends = distance[under] / self.radius, np.searchsorted(under[0], np.arange(len(self.centres) + 1))

        def derivative(order: int, factors: Array) -> sp.csr_array:
            values = self.kernel(s, order) * factors[under[1]] / self.radius ** (order + 1)
            return sp.csr_array((values, under[1], ends), shape=distance.shape)

        return derivative

    def combined(self, ends: Ends) -> sp.csr_array:
        """The combinations that are test functions, shape (test functions, centres)."""
        blocks: list[Array] = []
        for sign, end in zip((-1, 1), ends, strict=True):
            if not end:
                blocks.append(np.zeros((0, 0)))
                continue
            over = sign * (self.centres - end.place) + self.radius > 1e-9 * self.radius
            near, count = self.near(np.array([end.place])), int(over.sum())
            zero = [self.radius**k * near(k, np.ones(1)).toarray()[over].T for k in end.vanishing]
            blocks.append(null_space(np.concatenate(zero)).T if zero else np.eye(count))
        between = len(self.centres) - sum(b.shape[1] for b in blocks)
        return sp.csr_array(sp.block_diag([blocks[0], sp.eye_array(between), blocks[1]]))


def test_degree(cells: float, order: int) -> int:
    """Degree p of the kernel ``(1 - s^2)^p`` for a radius of so many cells and derivatives up to an order.

    >>> test_degree(2, 1), test_degree(10, 1), test_degree(40, 4)
    (2, 5, 11)
    """
    return int(np.clip(round(cells / 2), order + 1, order + 7))


def _limits(axis: Axis, ends: Ends) -> tuple[float, float]:
    """Where the domain of the test functions begins and ends."""
    start, end = ends
    return start.place if start else axis.lower, end.place if end else axis.upper


def _inset(ends: Ends, density: float) -> list[float]:
    """Distance of the first and last centre from the ends, in radii; below zero they are beyond these."""
    return [1 / density - 1 if end else 1.0 for end in ends]


def _centres(axis: Axis, radius: float, density: float, ends: Ends) -> Array:
    if axis.periodic:
        count = min(max(int(np.ceil(axis.length * density / radius - 1e-6)), 1), axis.size)
        return axis.lower + axis.length * np.arange(count) / count
    (low, high), (before, after) = _limits(axis, ends), _inset(ends, density)
    first, last = low + before * radius, high - after * radius
    room = max(last - first, 0.0)
    count = min(int(np.ceil(room * density / radius - 1e-6)) + 1, axis.size)
    if count == 1:
        return np.array([(first + last) / 2])
    return np.linspace(first, last, count)


def _on_knots(axis: Axis, radius: float, density: float, ends: Ends) -> float:
    """The nearest radius whose knots divide the axis evenly."""
    if axis.periodic:
        return axis.length * density / max(round(axis.length * density / radius), 1)
    (low, high), inset = _limits(axis, ends), sum(_inset(ends, density))
    knots = max(round((high - low - inset * radius) * density / radius), 0)
    return (high - low) / (inset + knots / density)
