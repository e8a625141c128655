"""Quadrature of data against kernels: the data are replaced by the spline through them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from scipy.interpolate import BSpline as Spline
from scipy.interpolate import make_interp_spline
from scipy.sparse.linalg import splu

from mollifier.engines.weak.tuning import WeakTuning
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Axis

# Points between two nodes, in units of their distance, at which an interpolating spline is tested.
_BETWEEN = np.array([0.2, 0.5, 0.8])

_legendre = lru_cache(np.polynomial.legendre.leggauss)


def gauss(
    axis: Axis, breaks: Array, tuning: WeakTuning, limits: tuple[float, float]
) -> tuple[Array, Array, Interpolant]:
    """Gauss-Legendre points and weights between all nodes, breaks and limits, and the spline of the data.

    Between them the interpolating spline of the data and the kernels are polynomials. The limits may lie
    beyond the nodes, where the spline goes on as the polynomial that it is at the end.
    """
    edges = np.append(axis.points, axis.upper) if axis.periodic else axis.points
    low, high = limits
    if axis.periodic:
        breaks = axis.lower + (breaks - axis.lower) % axis.length
    inner = np.concatenate([edges, breaks.ravel()])
    edges = np.unique(np.concatenate([[low, high], inner[(inner > low) & (inner < high)]]))
    s, w = _legendre(tuning.gauss_points)
    half = np.diff(edges)[:, None] / 2
    nodes = (edges[:-1, None] + half * (1 + s)).ravel()
    return nodes, (half * w).ravel(), interpolant(axis, tuning.quadrature_degrees, tuning.largest_gain)


class Interpolant:
    """The spline through values at the nodes of an axis, of a degree or what few nodes allow.

    Its coefficients c solve the banded system ``B c = values``, B the B-splines at the nodes.
    """

    def __init__(self, axis: Axis, degree: int) -> None:
        self.axis = axis
        self.edges = np.append(axis.points, axis.upper) if axis.periodic else axis.points
        k, ends = min(degree, axis.size - 1), "periodic" if axis.periodic else None
        k = k - 1 + k % 2 if axis.periodic else k
        self._spline = make_interp_spline(self.edges, np.zeros(len(self.edges)), k=k, bc_type=ends)
        self._factors = splu(sp.csc_array(self.functions(axis.points).T))

    def functions(self, x: Array) -> sp.csr_array:
        """The B-splines at points within the axis, shape (points, nodes); periodic ones are wrapped."""
        found = Spline.design_matrix(x, self._spline.t, self._spline.k, extrapolate=True).tocoo()
        shape = len(x), self.axis.size
        return sp.csr_array((found.data, (found.row, found.col % self.axis.size)), shape=shape)

    def from_coefficients(self, weights: Array) -> Array:
        """Weights (m, nodes) of the values from weights (m, nodes) of the coefficients."""
        return np.ascontiguousarray(self._factors.solve(weights.T).T)

    @property
    def gain(self) -> float:
        """The Lebesgue constant, as tested between nodes."""
        between = (self.edges[:-1, None] + np.diff(self.edges)[:, None] * _BETWEEN).ravel()
        return float(np.abs(self.from_coefficients(self.functions(between).toarray())).sum(1).max())


@lru_cache(maxsize=16)
def interpolant(axis: Axis, degrees: tuple[int, ...], largest_gain: float) -> Interpolant:
    """The interpolating spline of the first degree that is stable; on even nodes all are.

    Where node spacings differ by orders of magnitude a quintic spline amplifies noise by hundreds.
    """
    *preferred, last = degrees
    found = (Interpolant(axis, d) for d in preferred)
    return next((s for s in found if axis.uniform or s.gain < largest_gain), None) or Interpolant(axis, last)
