"""Kernel to weights: discretely moment-exact rows, in the interior, at boundaries, on uneven axes, at any point.

A row gives the k-th derivative at a centre x from values g_j at nodes x_j. Sampling the kernel's analytic derivative,
``a_j = d_j eta^(k)((x - x_j)/r) / r^(k+1)`` with cell widths d_j, is not enough: its discrete moments are off by the
error of the quadrature, by factors of up to 10^6 for a narrow bump. The row used is the one nearest to it,

    minimise sum_j (w_j - a_j)^2 / eta_j   subject to   sum_j w_j (x_j - x)^m / m! = delta_km,   m = 0..q,

exact on polynomials to degree q. Where the kernel's support leaves the nodes (one-sided rows) a_j is left out, which
gives weighted Savitzky-Golay rows; see also the reproducing-kernel view of arXiv:1803.06044.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from mollifier.errors import GridError
from mollifier.grid import Axis
from mollifier.kernels import Kernel, check_order, namespace

# A second correction removes the round-off that the first leaves where the sampled kernel is far from exact.
_CORRECTIONS = 2


def degree_for(order: int, accuracy: int) -> int:
    """Polynomial degree that a row of this order reproduces at an accuracy O(h^accuracy): ``order + accuracy - 1``."""
    if accuracy < 1:
        raise GridError(f"Accuracy {accuracy} was asked for; 1 or more was wanted (2 is the default).")
    return order + accuracy - 1


@dataclass(frozen=True, eq=False)
class Rows:
    """Weights of one derivative along one axis: row i is ``sum_j weights[i, j] g[index[i, j]]``.

    Attributes
    ----------
    order, degree
        Derivative order, and the polynomial degree reproduced (-1 for the uncorrected kernel).
    centres
        Where the rows are evaluated, shape (m,).
    offsets
        ``x_j - x`` of each weight, shape (m, taps).
    index
        Node of each weight, shape (m, taps).
    weights
        Shape (m, taps).
    nodes
        Number of nodes along the axis.
    invariant
        The rows, if any, that are one and the same stencil shifted by one node at a time.
    """

    order: int
    degree: int
    centres: NDArray[np.float64]
    offsets: NDArray[np.float64]
    index: NDArray[np.intp]
    weights: NDArray[np.float64]
    nodes: int
    invariant: slice

    def dense(self) -> NDArray[np.float64]:
        """The rows as a matrix, shape (m, nodes)."""
        matrix = np.zeros((len(self.centres), self.nodes))
        np.add.at(matrix, (np.arange(len(self.centres))[:, None], self.index), self.weights)
        return matrix

    @property
    def moment_error(self) -> float:
        """Largest error of a discrete moment up to ``max(degree, order)``, each relative to the row's own size.

        The m-th moment of ``sum_j w_j (x_j - x)^m / m!`` should be 1 for m = order and 0 otherwise.
        """
        return moment_error(self.weights, self.offsets, self.order, max(self.degree, self.order))

    @property
    def noise_gain(self) -> NDArray[np.float64]:
        """Standard deviation of each row's result per unit of white noise in the nodes, shape (m,)."""
        return np.sqrt(np.sum(self.weights**2, axis=-1))


def moment_error(
    weights: NDArray[np.float64], offsets: NDArray[np.float64], order: int, degree: int
) -> float:
    """Largest deviation of the moments 0..degree from delta, in units of the rows' half-width."""
    reach = np.abs(offsets).max(axis=-1, keepdims=True)
    reach = np.where(reach > 0, reach, 1.0)
    s, w = offsets / reach, weights * reach**order
    powers = s[..., None] ** np.arange(degree + 1)
    wanted = np.where(np.arange(degree + 1) == order, float(np.prod(np.arange(1, order + 1))), 0.0)
    return float(np.abs(np.einsum("mj,mjq->mq", w, powers) - wanted).max())


@lru_cache(maxsize=512)
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


def row_weights(
    kernel: Kernel, offsets: Any, cells: Any, radius: Any, reach: Any, full: Any, order: int, degree: int
) -> Any:
    """Weights of rows with nodes at ``offsets`` from their centres.

    Parameters
    ----------
    kernel
        The profile.
    offsets, cells
        Node minus centre, and the width of each node's cell, shape (m, taps), NumPy or torch.
    radius
        Half-width of the kernel, a number (or a tensor, which is then differentiated through).
    reach
        Half-width of each row's window, shape (m, 1): the radius, or more where a window is shifted off its centre.
    full
        Whether the kernel's support lies within the nodes, shape (m, 1), boolean.
    order, degree
        Derivative order, and the polynomial degree to reproduce; -1 leaves the sampled kernel as it is.

    Returns
    -------
    array of shape (m, taps)
    """
    xp = namespace(offsets)
    s = offsets / radius
    sampled = (-1) ** order * kernel(s, order) * cells / radius
    sampled = xp.where(full, sampled, sampled * 0)
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
    at_centre = -middle / half
    wanted = (
        xp.stack(
            [
                sum((c * at_centre[..., 0] ** p for p, c in enumerate(poly)), at_centre[..., 0] * 0)
                for poly in _legendre_derivative(order, degree)
            ],
            -1,
        )
        * (radius / half) ** order
    )
    q, r = xp.linalg.qr(basis * root[..., None])
    weights = sampled
    for _ in range(_CORRECTIONS):
        gap = wanted - (basis * weights[..., None]).sum(-2)
        z = xp.linalg.solve(r.swapaxes(-1, -2), gap[..., None])
        weights = weights + root * (q @ z)[..., 0]
    return weights / radius**order


def rows(
    axis: Axis,
    centres: NDArray[np.float64],
    kernel: Kernel,
    radius: float,
    order: int,
    accuracy: int | None = 2,
) -> Rows:
    """Rows for one derivative at any centres, from values at the nodes of an axis.

    Parameters
    ----------
    axis
        The nodes.
    centres
        Where to evaluate, shape (m,), within the axis (anywhere, if it is periodic).
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
    >>> from mollifier.kernels import Polynomial
    >>> axis = Axis("x", 0.0, 1.0, 41)
    >>> second = rows(axis, axis.points, Polynomial(8), radius=0.2, order=2)
    >>> bool(np.allclose(second.dense() @ axis.points**3, 6 * axis.points))
    True
    """
    check_order(kernel, order)
    centres = np.asarray(centres, dtype=float)
    degree = -1 if accuracy is None else degree_for(order, accuracy)
    repeat = _shared_rows(axis, centres, radius)
    chosen = centres if repeat is None else centres[np.r_[0 : repeat.start + 1, repeat.stop : len(centres)]]
    index, offsets, cells, reach, full = _windows(axis, chosen, radius)
    if accuracy is None and not full.all():
        raise GridError(
            f"The uncorrected kernel (accuracy=None) has no one-sided rows, and its radius {radius:g} leaves the axis "
            f"'{axis.name}'; use boundary='halo' or 'trim', or an accuracy."
        )
    _check_count(axis, offsets, reach, radius, order, degree)
    weights = row_weights(kernel, offsets, cells, radius, reach, full, order, degree)
    if repeat is not None:
        count = repeat.stop - repeat.start
        again = np.r_[0 : repeat.start, np.full(count, repeat.start), repeat.start + 1 : len(chosen)]
        shift = np.zeros(len(centres), dtype=np.intp)
        shift[repeat] = np.arange(count)
        offsets, weights, index = offsets[again], weights[again], index[again] + shift[:, None]
        # Zero weights that pad the shared stencil may point past the end.
        index = index % axis.size if axis.periodic else np.minimum(index, axis.size - 1)
    return Rows(order, degree, centres, offsets, index, weights, axis.size, slice(0, 0) if repeat is None else repeat)


def _shared_rows(axis: Axis, centres: NDArray[np.float64], radius: float) -> slice | None:
    """The centres that are consecutive nodes of an even axis with the whole radius inside: they share one stencil."""
    if not axis.uniform or axis.size < 2 or len(centres) < 2:
        return None
    h = axis.spacing
    position = (centres - axis.lower) / h
    consecutive = np.abs(position - position[0] - np.arange(len(centres))).max() < 1e-6
    if not consecutive or abs(position[0] - round(position[0])) > 1e-6:
        return None
    if axis.periodic:
        return slice(0, len(centres))
    slack = 1e-9 * h
    inside = (centres - axis.points[0] >= radius - h - slack) & (axis.points[-1] - centres >= radius - h - slack)
    hits = np.flatnonzero(inside)
    return slice(int(hits[0]), int(hits[-1]) + 1) if hits.size > 1 else None


def _windows(axis: Axis, centres: NDArray[np.float64], radius: float) -> tuple[Any, ...]:
    """Nodes within each centre's window, padded to the same number: index, offsets, cell widths, reach, full."""
    x, n = axis.points, axis.size
    if axis.periodic:
        if 2 * radius > axis.length:
            raise GridError(
                f"Radius {radius:g} along periodic axis '{axis.name}' is more than half its period "
                f"{axis.length:g}; take at most {axis.length / 2:g}."
            )
        wraps = np.arange(-1, 2)
        x = (x[None, :] + wraps[:, None] * axis.length).ravel()
        centres = axis.lower + np.mod(centres - axis.lower, axis.length)
    gaps = np.diff(x) if x.size > 1 else np.array([radius])
    # The kernel vanishes at its radius, so a support that ends within one cell past the last node is still whole.
    first, last, slack = x[0], x[-1], 1e-9 * gaps.max()
    if (centres < first - gaps[0] - slack).any() or (centres > last + gaps[-1] + slack).any():
        bad = centres[(centres < first - gaps[0] - slack) | (centres > last + gaps[-1] + slack)][0]
        raise GridError(f"Point {axis.name} = {bad:g} lies outside the axis, which runs from {first:g} to {last:g}.")
    full = (centres - radius >= first - gaps[0] - slack) & (centres + radius <= last + gaps[-1] + slack)
    low = np.where(full, centres - radius, np.clip(centres - radius, first, max(first, last - 2 * radius)))
    high = np.where(full, centres + radius, np.minimum(low + 2 * radius, last))
    reach = np.where(full, radius, np.maximum(centres - low, high - centres) + gaps.min() / 2)
    widths = np.convolve(np.concatenate([gaps[:1], gaps, gaps[-1:]]), [0.5, 0.5], "valid")
    start = np.searchsorted(x, low - slack)
    stop = np.searchsorted(x, high + slack, side="right")
    taps = int((stop - start).max())
    start = np.clip(start, 0, x.size - taps)
    index = start[:, None] + np.arange(taps)
    offsets = x[index] - centres[:, None]
    return index % n, offsets, widths[index], reach[:, None], full[:, None]


def _check_count(axis: Axis, offsets: Any, reach: Any, radius: float, order: int, degree: int) -> None:
    """Refuse rows with fewer nodes than conditions."""
    needed = max(degree, order) + 1
    counts = np.sum(np.abs(offsets) < reach, axis=-1)
    if counts.min() >= needed:
        return
    enough = axis.spacing * (needed + 1) / 2
    cure = (
        f"a radius of at least {enough:.3g} would do"
        if axis.size > needed
        else f"the axis has only {axis.size} nodes: more data along it, or a lower order or accuracy, is needed"
    )
    raise GridError(
        f"Order {order} along '{axis.name}' reproducing degree {degree} needs {needed} nodes within the radius; "
        f"radius {radius:g} holds {int(counts.min())} (spacing {axis.spacing:.3g}); {cure}."
    )
