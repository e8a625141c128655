"""A step of the rate after a treatment: its size, its delay and its spread in time.

The rate is ``a(x, y) (1 + size S((t - treatment - delay)/spread))`` with S the normal distribution. It is
linear in the splines of a given the three numbers. These start from the largest marginal likelihood on a
coarse lattice; then Gauss-Newton steps find all unknowns together, with one covariance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg as sl
from scipy.special import ndtr

from mollifier.chromatin.galerkin import ProjectedEquation, RateEstimate, Whitening, estimate
from mollifier.engines.linalg.dense import factored
from mollifier.errors import ConfigurationError
from mollifier.mollify.arrays import Array
from mollifier.mollify.distributions import normal_upper

# Numbers that steer the search; times in units of the mean time between frames.

# Relative changes, spreads, and the distance of the delays on the lattice.
_SIZES = (-0.8, -0.5, -0.3, -0.1, 0.1, 0.3, 0.6, 1.0, 2.0)
_SPREADS = (0.3, 1.0, 3.0)
_EVERY = 0.5
# Standard deviation of the logarithm of the spread about that unit, before there are data: a spread far
# below it leaves no trace in the frames.
_PRIOR = 1.5
# Fewest frames before and after the treatment.
_BEFORE = 2
_AFTER = 4
# Gauss-Newton steps and halvings of one; the decrease of the objective that ends them; relative
# difference for derivatives.
_STEPS = 20
_LEAST = 1e-3
_DIFFER = 1e-3


class Quantity(NamedTuple):
    """A number with its standard error and its 95 % interval."""

    value: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Step:
    """A step of the rate after a treatment."""

    treatment: float  #: Time of the treatment, s.
    #: Size, delay and log(spread), with their standard errors, each of shape (3,).
    middle: Array
    sd: Array
    gain: Array  #: Their derivative by the rows of the equation, shape (3, rows).

    @property
    def quantities(self) -> dict[str, Quantity]:
        """The ``size``, a relative change in the end, the ``delay`` of its middle and its ``spread``, s.

        The interval of the spread, the standard deviation of the course, is that of its logarithm.
        """
        half, sd = normal_upper(0.025) * self.sd, self.sd.copy()
        ends = np.stack([self.middle, self.middle - half, self.middle + half])
        ends[:, 2] = np.exp(ends[:, 2])
        sd[2] *= ends[0, 2]
        columns = np.stack([ends[0], sd, *ends[1:]], axis=1).tolist()
        return {name: Quantity(*c) for name, c in zip(("size", "delay", "spread"), columns, strict=True)}

    @property
    def found(self) -> bool:
        """Whether the interval of the size leaves out zero: without a step its time means nothing."""
        size = self.quantities["size"]
        return not size.low < 0 < size.high


def estimate_step(rows: ProjectedEquation, treatment: float) -> tuple[RateEstimate, Step]:
    """A rate over x and y, with the functions 1 and S of time, that changes by one factor after a treatment.

    The time of the treatment is in s. Raises `ConfigurationError` if there are too few frames before or
    after.
    """
    times, still = rows.series.times, rows.following(np.ones_like)
    counts = int((times <= treatment).sum()), int((times > treatment).sum())
    if counts[0] < _BEFORE or counts[1] < _AFTER:
        raise ConfigurationError(
            f"A treatment at {treatment:g} s was given, with {counts[0]} frames before and {counts[1]} after "
            f"it; {_BEFORE} and {_AFTER} or more were expected."
        )

    def fit(shape: _Shape | None) -> _Fit:
        found = estimate(rows.following(np.ones_like if shape is None else shape.factor))
        return _Fit(still, found, treatment)

    shape = fit(None).coarse()
    shape = fit(shape).refined(shape)[0]
    now = fit(shape)
    shape, theta, root, gain = now.refined(shape)
    sd = np.linalg.norm(root[:, -3:], axis=0)
    step = Step(treatment, np.array([shape.size, shape.delay, shape.log]), sd, gain[-3:])
    return now.estimate(shape, theta, root, gain), step


@dataclass(frozen=True)
class _Shape:
    """The numbers of a step; its spread by the logarithm."""

    treatment: float
    size: float
    delay: float
    log: float

    def course(self, t: Array) -> Array:
        return ndtr((t - self.treatment - self.delay) / math.exp(self.log))

    def factor(self, t: Array) -> Array:
        return 1 + self.size * self.course(t)

    def moved(self, by: Array) -> _Shape:
        size, delay, log = (np.array([self.size, self.delay, self.log]) + by).tolist()
        return _Shape(self.treatment, size, delay, log)


class _Fit:
    """Least squares for a and the numbers of the step, with the noise and the prior of one estimate.

    The prior is rows beside those of the equation: a root of its precision times a, and the log(spread).
    """

    def __init__(self, rows: ProjectedEquation, found: RateEstimate, treatment: float) -> None:
        self.rows, self.found, self.treatment = rows, found, treatment
        self.gap = float(np.diff(rows.series.times).mean())
        self.white = Whitening(rows.noise(np.maximum(found.rate, 0.0), found.misfit))
        self.target = np.append(self.white(rows.right), np.zeros(len(found.precision)))
        still = self.white(rows.columns(rows.time.weights))
        self.still = np.vstack([still, factored(found.precision).T])

    def _moving(self, shape: _Shape) -> Array:
        """Design matrix of a where it is multiplied by the course of the step."""
        moving = self.white(self.rows.columns(self.rows.weights(shape.course)))
        return np.pad(moving, [(0, len(self.target) - len(moving)), (0, 0)])

    def coarse(self) -> _Shape:
        """The largest marginal likelihood on the lattice."""
        latest = self.rows.series.times[-1] - self.treatment
        found: list[tuple[float, _Shape]] = []
        for delay in (self.gap * np.arange(_EVERY / 2, latest / self.gap - _EVERY, _EVERY)).tolist():
            for spread in _SPREADS:
                shape = _Shape(self.treatment, 0.0, delay, math.log(spread * self.gap))
                moving = self._moving(shape)
                found += [(self._evidence(moving, s), replace(shape, size=s)) for s in _SIZES]
        return max(found, key=lambda one: one[0])[1]

    def _evidence(self, moving: Array, size: float) -> float:
        design = self.still + size * moving
        factor = factored(design.T @ design)
        half = sl.solve_triangular(factor, design.T @ self.target, lower=True)
        return float(half @ half / 2 - np.log(np.diag(factor)).sum())

    def refined(self, shape: _Shape) -> tuple[_Shape, Array, Array, Array]:
        """The numbers, the coefficients of a, a root of their common covariance, (m + 3, m + 3), and their
        derivative by the rows, (m + 3, rows)."""
        theta, left = self._left(shape)
        root: Any = np.eye(len(theta) + 3)
        jacobian: Any = np.zeros((len(left), len(root)))
        for _ in range(_STEPS):
            jacobian = self._jacobian(shape, theta)
            root = sl.solve_triangular(factored(jacobian.T @ jacobian), np.eye(len(root)), lower=True)
            step = root.T @ (root @ (jacobian.T @ left))
            for half in range(_STEPS):
                other = shape.moved(step[-3:] / 2**half)
                new, tried = self._left(other)
                if tried @ tried < left @ left:
                    break
            else:
                break
            fell = left @ left - tried @ tried
            shape, theta, left = other, new, tried
            if fell < _LEAST:
                break
        return shape, theta, root, root.T @ (root @ self.white.back(jacobian[: len(self.rows.right)]))

    def _left(self, shape: _Shape) -> tuple[Array, Array]:
        """The best a for a step, and its residuals: infinite outside the frames, where it leaves no trace."""
        design = self.still + shape.size * self._moving(shape)
        theta = sl.cho_solve((factored(design.T @ design), True), design.T @ self.target)
        left = np.append(self.target - design @ theta, (math.log(self.gap) - shape.log) / _PRIOR)
        inside = 0 < shape.delay < self.rows.series.times[-1] - self.treatment
        return theta, left if inside else np.full(len(left), math.inf)

    def _jacobian(self, shape: _Shape, theta: Array) -> Array:
        """Derivative of all rows by a and the numbers."""
        moving, d = self._moving(shape), _DIFFER
        sides = [np.array([0.0, d * self.gap, 0.0]), np.array([0.0, 0.0, d])]
        slopes = [shape.size * (self._moving(shape.moved(v)) - moving) @ theta / np.sum(v) for v in sides]
        jacobian = np.column_stack([self.still + shape.size * moving, moving @ theta, *slopes])
        return np.vstack([jacobian, np.append(np.zeros(len(theta) + 2), 1 / _PRIOR)])

    def estimate(self, shape: _Shape, theta: Array, root: Array, gain: Array) -> RateEstimate:
        """The rate with the functions 1 and S of time; errors of a and of the size are included."""
        size, count, time = shape.size, len(theta), self.rows.time
        both = np.zeros((2 * count, count + 3))
        both[:, :count] = np.kron(np.eye(count), [[1.0], [size]])
        both[1::2, count] = theta
        times = self.rows.series.times
        functions = np.column_stack([np.ones(len(times)), shape.course(times)])
        weights = np.concatenate([time.weights, self.rows.weights(shape.course)], -1)
        return replace(
            self.found,
            coefficients=np.column_stack([theta, size * theta]).ravel(),
            inverse=root @ both.T,
            time=replace(time, functions=functions, weights=weights),
            gain=both @ gain,
        )
