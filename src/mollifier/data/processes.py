"""The noise of few samples by Gaussian processes, whose marginal likelihood separates it from a smooth field.

Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press 2006, sections 5.1 and 5.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from scipy.spatial.distance import cdist

from mollifier.mollify.arrays import Array

# Lengths in extents of the data, and variance of the noise over that of the field.
_LENGTHS = np.geomspace(0.05, 3.0, 8)
_NOISE = np.geomspace(1e-8, 1e2, 41)
_GAIN = 0.5  # Log-likelihood by which another length along a coordinate must be better.
# Samples along a line that make it a curve, and the share of its variance that all curves have in common.
_CURVE, _COMMON = 3, 0.5

# Lengths (d,) -> distances (n, n) of points in these, and the correlation at a distance of zero.
_Kind = Callable[[Array], tuple[Array, Array | float]]


def process_noise(u: Array, x: Array) -> tuple[float, float] | None:
    """Standard deviation of the noise of values (n,) at points (n, d), n > d + 1; charged and plain.

    Processes are about a plane: Matern's of smoothness 7/2, and the squared exponential for fields without
    any roughness, of which the first takes a part of the noise for the field. Each coordinate has a length.
    The variance is averaged over processes and noise, weighed by the marginal likelihood; charged is the
    largest noise whose likelihood is within exp(-2) of the greatest. None where a plane explains all.
    """
    processes = _Processes(u, x)
    if not processes.left @ processes.left > 0:
        return None
    processes.search()
    log, variance = np.array(processes.logs) - np.max(processes.logs), np.array(processes.variances)
    mean = float(np.average(variance, weights=np.exp(log)))
    return float(np.sqrt(variance[log >= -2.0].max())), float(np.sqrt(mean))


class _Processes:
    """Processes of values (n,) at points (n, d) that were tried."""

    def __init__(self, u: Array, x: Array) -> None:
        n, d = x.shape
        self.free = np.linalg.qr(np.column_stack([np.ones(n), x]), mode="complete")[0][:, d + 1 :]
        self.left, self.points = self.free.T @ u, x
        #: Log-likelihood and variance of the noise, each (noise,), of every process.
        self.logs: list[Array] = []
        self.variances: list[Array] = []

    def search(self) -> None:
        """Try all kinds with one length, then from the best other lengths along each coordinate."""
        d = self.points.shape[1]
        starts = product(_kinds(self.points), (_matern, _squared_exponential), np.outer(_LENGTHS, np.ones(d)))
        top, best = max(((self._tried(*s), s) for s in starts), key=lambda found: found[0])
        kind, correlation, lengths = best
        for axis, factor in product(range(d), (0.5, 2.0)) if d > 1 else ():
            step = np.where(np.arange(d) == axis, factor, 1.0)
            while (log := self._tried(kind, correlation, lengths * step)) > top + _GAIN:
                top, lengths = log, lengths * step

    def _tried(self, kind: _Kind, correlation: Callable[[Array], Array], lengths: Array) -> float:
        """The greatest log-likelihood of a process over the size of the noise."""
        distances, near = kind(lengths)
        values, vectors = np.linalg.eigh(self.free.T @ (near * correlation(distances)) @ self.free)
        scale = np.maximum(values, 0.0)[:, None] + _NOISE
        squares = ((vectors.T @ self.left) ** 2) @ (1 / scale)
        self.logs.append(-0.5 * (np.log(scale).sum(axis=0) + len(self.left) * np.log(squares)))
        self.variances.append(_NOISE * squares / len(self.left))
        return float(self.logs[-1].max())


def _kinds(x: Array) -> Iterator[_Kind]:
    """A field over all coordinates of points (n, d); where most lie on lines along one, curves along it.

    Curves of subjects or sensors vary about a common one, and differ however near their lines are.
    """

    def field(lengths: Array) -> tuple[Array, float]:
        return cdist(x / lengths, x / lengths), 1.0

    yield field
    for axis in range(x.shape[1] if x.shape[1] > 1 else 0):
        other, along = np.delete(x, axis, axis=1), x[:, [axis]]
        line = np.unique(other, axis=0, return_inverse=True)[1].ravel()
        same = line[:, None] == line
        if np.median(same.sum(axis=1)) >= _CURVE:
            near, apart = np.where(same, 1.0, _COMMON), cdist(along, along)

            def curves(
                lengths: Array, axis: int = axis, near: Array = near, apart: Array = apart
            ) -> tuple[Array, Array]:
                return apart / lengths[axis], near

            yield curves


def _matern(r: Array) -> Array:
    s = np.sqrt(7) * r
    return (1 + s + 0.4 * s**2 + s**3 / 15) * np.exp(-s)


def _squared_exponential(r: Array) -> Array:
    return np.exp(-(r**2) / 2)
