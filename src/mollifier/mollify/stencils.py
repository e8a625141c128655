"""Kernel to weights: discretely moment-exact rows, inside, at boundaries, on uneven axes, at any point.

A row gives the k-th derivative at a centre x from values g_j at nodes x_j. Sampling the kernel's analytic
derivative, ``a_j = d_j eta^(k)((x - x_j)/r) / r^(k+1)`` with cell widths d_j, is not enough: its moments
are off by the error of the quadrature, by factors of up to 10^6 for a narrow bump. The row used is the
one nearest,

    minimise sum_j (w_j - a_j)^2 / eta_j   subject to   sum_j w_j (x_j - x)^m / m! = delta_km,   m = 0..q,

exact on polynomials to degree q. Where the kernel's support leaves the nodes (one-sided rows) a_j is left
out, which gives weighted Savitzky-Golay rows; see also the reproducing-kernel view of arXiv:1803.06044.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
from numpy.polynomial import legendre

from mollifier.errors import GridError
from mollifier.mollify.arrays import Array, Index, Mask, nearest
from mollifier.mollify.grid import Axis
from mollifier.mollify.kernels import Kernel, check_order, memo, namespace
from mollifier.mollify.radius import Windows, fits, usable, windows

# A second correction removes the round-off that the first leaves where the sampled kernel is far from exact.
_CORRECTIONS = 2


def degree_for(order: int, accuracy: int) -> int:
    """Polynomial degree that a row of this order and accuracy reproduces: ``order + accuracy - 1``."""
    if accuracy < 1 or int(accuracy) != accuracy:
        raise GridError(
            f"accuracy={accuracy} was given; a whole number of 1 or more was expected (2 is the default)."
        )
    return order + accuracy - 1


@dataclass(frozen=True, eq=False)
class Stencils:
    """Rows of weights, padded with zeros to one number of taps."""

    offsets: Array  #: ``x_j - x`` of each weight, shape (rows, taps).
    index: Index  #: Node of each weight, shape (rows, taps).
    weights: Array  #: Shape (rows, taps).
    #: Whether the kernel's support lies within the nodes, shape (rows,); the other rows are one-sided.
    whole: Mask


@dataclass(frozen=True, eq=False)
class Rows:
    """Weights of one derivative along one axis: row i is ``sum_j weights[i, j] g[index[i, j]]``."""

    #: Derivative order, and the polynomial degree reproduced (-1 for the uncorrected kernel).
    order: int
    degree: int
    centres: Array  #: Where the rows are evaluated, shape (m,).
    nodes: int  #: Number of nodes along the axis.
    invariant: slice  #: The rows, if any, that are one and the same stencil shifted by one node at a time.
    distinct: Stencils  #: All rows, but of the invariant ones only the first.

    def _shifted(self, part: slice | Index) -> tuple[Index, Index]:
        """The distinct row of each row of a part, and by how many nodes it is shifted."""
        first, last = self.invariant.start, self.invariant.stop
        i = np.arange(len(self.centres))[part]
        after = np.clip(i - first, 0, max(last - first - 1, 0))
        return i - after, np.where(i < last, after, 0)

    def entries(self, part: slice | Index) -> tuple[Index, Array]:
        """Nodes and weights of a part of the rows, each of shape (m, taps)."""
        row, shift = self._shifted(part)
        # Zero weights that pad a stencil may point past the end.
        return (self.distinct.index[row] + shift[:, None]) % self.nodes, self.distinct.weights[row]

    @property
    def offsets(self) -> Array:
        """``x_j - x`` of each weight of every row, shape (m, taps)."""
        return self.distinct.offsets[self._shifted(slice(None))[0]]

    @property
    def index(self) -> Index:
        """Node of each weight of every row, shape (m, taps)."""
        return self.entries(slice(None))[0]

    @property
    def weights(self) -> Array:
        """Weights of every row, shape (m, taps)."""
        return self.entries(slice(None))[1]

    @property
    def whole(self) -> Mask:
        """Whether the kernel's support lies within the nodes, of every row, shape (m,)."""
        return self.distinct.whole[self._shifted(slice(None))[0]]

    def part(self, results: Index, nodes: Index) -> Rows:
        """Some of the rows, on some of the nodes, which hold all their weights."""
        index, weights = self.entries(results)
        row = self._shifted(results)[0]
        place = np.where(weights != 0, np.searchsorted(nodes, index), 0)
        distinct = Stencils(self.distinct.offsets[row], place, weights, self.distinct.whole[row])
        return Rows(self.order, self.degree, self.centres[results], len(nodes), slice(0, 0), distinct)

    def dense(self, part: slice = slice(None)) -> Array:
        """The rows, or a part of them, as a matrix, shape (m, nodes)."""
        return self.block(part, (0, self.nodes))

    def block(self, part: slice, columns: tuple[int, int]) -> Array:
        """A part of the rows on the nodes from the first column up to the second, which hold all weights."""
        index, weights = self.entries(part)
        row, tap = np.nonzero(weights)
        matrix = np.zeros((len(index), max(columns[1] - columns[0], 0)))
        np.add.at(matrix, (row, index[row, tap] - columns[0]), weights[row, tap])
        return matrix

    def span(self, part: slice) -> tuple[int, int]:
        """First node that a part of the rows weights, and one past the last; (nodes, 0) for none."""
        index, weights = self.entries(part)
        used = index[weights != 0]
        return int(used.min(initial=self.nodes)), int(used.max(initial=-1)) + 1

    @property
    def moment_error(self) -> float:
        """Largest error of a discrete moment up to ``max(degree, order)``; see `moment_error`."""
        weights, offsets = self.distinct.weights, self.distinct.offsets
        return moment_error(weights, offsets, self.order, max(self.degree, self.order))

    @property
    def noise_gain(self) -> Array:
        """Standard deviation of each row's result per unit of white noise in the nodes, shape (m,)."""
        return np.sqrt(np.sum(self.distinct.weights**2, axis=-1))[self._shifted(slice(None))[0]]


def moment_error(weights: Array, offsets: Array, order: int, degree: int) -> float:
    """Largest deviation of ``R^(k-m) sum_j w_j (x_j - x)^m / m!`` from delta_km, m = 0..degree, all rows.

    R is the distance of the row's furthest weight: the number is dimensionless, the error of the
    derivative of ``(x/R)^m / m!`` in units of ``R^-k``. For m = k it is the relative error of the
    derivative of ``x^k``.
    """
    reach = np.abs(np.where(weights != 0, offsets, 0.0)).max(axis=-1, keepdims=True)
    reach = np.where(reach > 0, reach, 1.0)
    m = np.arange(degree + 1)
    powers = (offsets / reach)[..., None] ** m / np.array([float(factorial(i)) for i in m])
    moments = np.einsum("mj,mjq->mq", weights * reach**order, powers)
    return float(np.abs(moments - (m == order)).max(initial=0.0))


@memo
def _legendre_derivative(order: int, degree: int) -> tuple[tuple[float, ...], ...]:
    """Power-series coefficients of the order-th derivative of P_0..P_degree."""
    return tuple(
        tuple(legendre.leg2poly(legendre.legder(np.eye(degree + 1)[m], order))) for m in range(degree + 1)
    )


def _legendre_basis(s: Any, degree: int) -> Any:
    """P_0..P_degree at s, stacked on a new last axis, for NumPy and torch alike."""
    basis = [s * 0 + 1, s]
    for m in range(1, degree):
        basis.append(((2 * m + 1) * s * basis[m] - m * basis[m - 1]) / (m + 1))
    return namespace(s).stack(basis[: degree + 1], -1)


def _legendre_conditions(s: Any, order: int, degree: int) -> Any:
    """The order-th derivative of P_0..P_degree at s of shape (m, 1), as (m, degree + 1)."""
    polynomials = _legendre_derivative(order, degree)
    columns = [sum((c * s**p for p, c in enumerate(poly)), s * 0) for poly in polynomials]
    return namespace(s).concatenate(columns, -1)


def _row_weights(
    kernel: Kernel, offsets: Any, cells: Any, radius: Any, reach: Any, whole: Any, order: int, degree: int
) -> Any:
    """Weights (m, taps) of rows; arrays as in `Windows`, NumPy or torch, and differentiable by the radius.

    Degree -1 leaves the sampled kernel as it is.
    """
    xp = namespace(offsets)
    s = offsets / radius
    sampled = (-1) ** order * kernel(s, order) * cells / radius
    sampled = xp.where(whole, sampled, sampled * 0)
    if degree < 0:
        return sampled / radius**order
    window = kernel(offsets / reach, 0)
    inside = window > 0
    root = xp.where(inside, window, window * 0 + 1) ** 0.5 * inside
    # The basis is centred on the window rather than on the row: well conditioned for one-sided rows too.
    low = xp.where(inside, offsets, offsets * 0 + np.inf).min(-1, keepdims=True)
    high = xp.where(inside, offsets, offsets * 0 - np.inf).max(-1, keepdims=True)
    if xp is not np:
        low, high = low.values, high.values
    middle, half = (low + high) / 2, xp.where(high > low, (high - low) / 2, high * 0 + 1)
    basis = _legendre_basis(xp.where(inside, (offsets - middle) / half, offsets * 0), degree)
    target = _legendre_conditions(-middle / half, order, degree) * (radius / half) ** order
    q, r = xp.linalg.qr(basis * root[..., None])
    weights = sampled
    for _ in range(_CORRECTIONS):
        gap = target - (basis * weights[..., None]).sum(-2)
        z = xp.linalg.solve(r.swapaxes(-1, -2), gap[..., None])
        weights = weights + root * (q @ z)[..., 0]
    return weights / radius**order


def whole_weights(kernel: Kernel, offsets: Any, cell: float, radius: Any, order: int, accuracy: int) -> Any:
    """Weights of whole rows on an even axis of spacing ``cell``, differentiable by the radius, a tensor ().

    ``offsets`` (node minus centre) and the weights are tensors of shape (m, taps); the rest as in `rows`.
    """
    whole = namespace(offsets).isfinite(offsets[:, :1])  # every row
    degree = degree_for(order, accuracy)
    return _row_weights(kernel, offsets, offsets * 0 + cell, radius, radius, whole, order, degree)


def rows(
    axis: Axis, centres: Array, kernel: Kernel, radius: float, order: int, accuracy: int | None = 2
) -> Rows:
    """Rows for one derivative at any centres, from values at the nodes of an axis.

    Parameters
    ----------
    axis
        The nodes.
    centres
        Where to evaluate, shape (m,), at most half a cell past the ends (anywhere, if the axis is periodic).
    kernel, radius
        Profile, and half-width in the units of the axis.
    order
        Derivative order.
    accuracy
        Order of accuracy: the rows reproduce polynomials to degree ``order + accuracy - 1``. None samples the
        analytic kernel without correction, for study.

    Raises
    ------
    GridError
        If the axis has too few nodes within the radius for the order, or the kernel is not smooth enough.

    Examples
    --------
    >>> from mollifier.mollify.kernels import Polynomial
    >>> axis = Axis("x", 0.0, 1.0, 41)
    >>> second = rows(axis, axis.points, Polynomial(8), radius=0.2, order=2)
    >>> bool(np.allclose(second.dense() @ axis.points**3, 6 * axis.points))
    True
    """
    check_order(kernel, order)
    degree = -1 if accuracy is None else degree_for(order, accuracy)
    centres = _checked_centres(axis, centres)
    if axis.size == 1 or axis.discrete or not len(centres):
        return _own_node(axis, centres, order)
    repeat = _shared_rows(axis, centres, radius)
    chosen = centres if repeat is None else centres[np.r_[0 : repeat.start + 1, repeat.stop : len(centres)]]
    w = windows(axis, chosen, radius)
    if accuracy is None and not w.whole.all():
        raise GridError(
            f"The uncorrected kernel (accuracy=None) has no one-sided rows, and its radius {radius:g} leaves "
            f"the axis '{axis.name}'; use boundary='halo' or 'trim', or an accuracy."
        )
    _check_count(axis, w, kernel, radius, order, degree)
    weights = _row_weights(kernel, w.offsets, w.cells, radius, w.reach, w.whole, order, degree)
    distinct = Stencils(w.offsets, w.index, weights, w.whole[:, 0])
    return Rows(order, degree, centres, axis.size, repeat or slice(0, 0), distinct)


def _checked_centres(axis: Axis, centres: Any) -> Array:
    """The centres as an array (m,), each finite and on the axis."""
    centres = np.asarray(centres, dtype=float)
    if centres.ndim != 1:
        raise GridError(f"Points along '{axis.name}' have shape {centres.shape}; (m,) was expected.")
    if not np.isfinite(centres).all():
        count = int(np.sum(~np.isfinite(centres)))
        raise GridError(
            f"{count} of {centres.size} points along '{axis.name}' are not finite numbers; drop them."
        )
    if axis.periodic or axis.size == 1:
        return centres
    x = axis.points
    bad = (centres < x[0] - (x[1] - x[0]) / 2) | (centres > x[-1] + (x[-1] - x[-2]) / 2)
    if bad.any():
        raise GridError(
            f"{int(bad.sum())} of {centres.size} points lie more than half a cell outside the axis "
            f"'{axis.name}', which runs from {x[0]:g} to {x[-1]:g} (the first is {centres[bad][0]:g}); drop "
            "them or take a larger grid."
        )
    return centres


def _own_node(axis: Axis, centres: Array, order: int) -> Rows:
    """The nearest node's value, all that one node can carry; also what no centres at all need."""
    if order and (axis.size == 1 or axis.discrete):
        what = "is discrete" if axis.discrete else "has one point"
        raise GridError(
            f"Axis '{axis.name}' {what}: no derivative along it can be formed; give at least two, or "
            "drop the coordinate from the equation."
        )
    zeros, whole = np.zeros((len(centres), 1)), np.ones(len(centres), dtype=bool)
    distinct = Stencils(zeros, nearest(axis.points, centres)[:, None], zeros + 1, whole)
    return Rows(order, 0, centres, axis.size, slice(0, 0), distinct)


def _shared_rows(axis: Axis, centres: Array, radius: float) -> slice | None:
    """The centres that are consecutive nodes of an even axis and whole: they share one stencil."""
    if not axis.uniform or len(centres) < 2:
        return None
    h = axis.spacing
    position = (centres - axis.lower) / h
    consecutive = np.abs(position - position[0] - np.arange(len(centres))).max() < 1e-6
    if not consecutive or abs(position[0] - round(position[0])) > 1e-6:
        return None
    hits = np.flatnonzero(fits(axis, centres, radius))
    return slice(int(hits[0]), int(hits[-1]) + 1) if hits.size > 1 else None


def _check_count(axis: Axis, w: Windows, kernel: Kernel, radius: float, order: int, degree: int) -> None:
    """Refuse rows with fewer nodes than conditions, naming a radius that would do if there is one."""
    needed = max(degree, order) + 1
    held = usable(kernel, w)
    if held >= needed:
        return
    limit = axis.length / 2 if axis.periodic else axis.length
    cure = "no radius on this axis would do: more nodes, or a lower order or accuracy, are needed"
    for scale in np.arange(1.0, 8.0, 0.25):
        enough = float(f"{scale * axis.spacing * (needed + 1) / 2:.3g}")
        if enough > max(radius, limit):
            break
        if enough > radius and usable(kernel, windows(axis, axis.points, enough)) >= needed:
            cure = f"a radius of {enough:g} would do, or a lower order or accuracy"
            break
    conditions = f"order {order}" if degree < 0 else f"order {order} exact to degree {degree}"
    raise GridError(
        f"Along '{axis.name}', {conditions} needs {needed} nodes under the kernel; radius {radius:g} holds "
        f"{held} (spacing {axis.spacing:.3g}, {axis.size} nodes in all); {cure}."
    )
