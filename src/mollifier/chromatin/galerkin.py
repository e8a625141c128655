"""The map of the rate by generalised least squares on the equation projected on the modes of a nucleus.

With phi a mode of the Laplacian, ``lap(phi) = -kappa phi``, and no flux across the edge,

    d/dt <phi, phi_d> = -D kappa <phi, m> - D interface^2 kappa^2 <phi, phi_d>
                        + 2 Gamma_ac <phi, lam phi_e - phi_h>,

with m the potential of bulk and lamina: no derivative of the data is taken. In time the equation is
integrated from frame to frame. For data ``v = phi_d + e`` with normal errors of variance s, the expectation
of the cubic m is ``m(v) - s/2 m''(v)`` (see `mollifier.engines.weak.form`); the covariance of the rows is a
sum over the pixels. The strength of the prior on lam maximises the marginal likelihood. Each row sums over
many pixels, so that the bias from the noise in phi_e, the factor of lam, is negligible and not corrected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.ndimage import gaussian_filter

from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.modes import Modes
from mollifier.engines.linalg.dense import JITTER, factored
from mollifier.engines.priors.spline_prior import Hyper, Prior, degree, maximise, prior
from mollifier.engines.splines.basis import AxisSplines, Basis
from mollifier.engines.splines.limits import Limits
from mollifier.mollify.grid import Axis, Grid

Array = NDArray[np.float64]

# Iterations of reweighting: the covariance depends on the rate.
_ROUNDS = 3
# Points at which the rate is constrained to be non-negative.
_PLACES = 150
# Standard deviation in pixels of the smoothing of fields that multiply the noise.
_SMOOTH = 1.5
# Cosines in time that serve as test functions for a steady rate and for one that varies in time, and spline
# cells of the rate per frame.
_SLOW, _FAST, _CELLS_A_FRAME = 4, 12, 1 / 3


@dataclass(frozen=True, eq=False)
class FieldSeries:
    """The fields of a nucleus over its pixels and frames.

    Attributes
    ----------
    phi_d, variance, chromatin
        phi_d, the variance of its errors, and 1 - phi_n, each of shape (pixels, frames).
    times
        Of the frames, shape (frames,).
    depth
        Distance from the nuclear edge, shape (pixels,).
    shared
        Number of pixels over which errors are correlated; 1 for independent errors.
    """

    phi_d: Array
    variance: Array
    chromatin: Array
    times: Array
    depth: Array
    shared: float = 1.0

    @property
    def phi_h(self) -> Array:
        """Heterochromatin."""
        return (self.chromatin + self.phi_d) / 2

    @property
    def phi_e(self) -> Array:
        """Euchromatin."""
        return (self.chromatin - self.phi_d) / 2


@dataclass(frozen=True, eq=False)
class RateEstimate:
    """The spline coefficients of the rate with their covariance.

    Attributes
    ----------
    coefficients, inverse
        Coefficients, shape (m,), and a root of their covariance ``inverse' inverse``, shape (m, m).
    misfit
        Rms of the whitened residuals; where it exceeds one, the covariance is scaled up by it.
    hyper
        Hyperparameters of the prior.
    functions
        Splines on the pixels, (pixels, m in space), and at the frames, (frames, m in time).
    effective_parameters
        Number of coefficients that the data determine: the trace of posterior covariance times information.
    gain
        Derivative of the coefficients by the rows of the equation, shape (m, rows).
    """

    coefficients: Array
    inverse: Array
    misfit: float
    hyper: Hyper
    functions: tuple[Array, Array]
    effective_parameters: float
    gain: Array

    @property
    def timed(self) -> bool:
        """Whether the rate varies in time."""
        return self.functions[1].shape[1] > 1

    @property
    def rate(self) -> Array:
        """The rate, shape (pixels, frames); one frame for a rate that is constant in time."""
        space, time = self.functions
        return space @ self.coefficients.reshape(space.shape[1], -1) @ time.T

    @property
    def sd(self) -> Array:
        """Standard errors, shape as `rate`."""
        space, time = self.functions
        parts = [(space[:, :, None] * row).reshape(len(space), -1) for row in time]
        variance = [np.sum((self.inverse @ p.T) ** 2, axis=0) for p in parts]
        return np.sqrt(np.stack(variance, -1))

    def mean(self, weight: Array) -> tuple[float, float]:
        """Weighted mean of the rate and its standard error; weights as `rate`, with sum one."""
        space, time = self.functions
        row = (space.T @ weight @ time).ravel()
        return float(row @ self.coefficients), float(np.linalg.norm(self.inverse @ row))

    def moved(self, before: Array, after: Array) -> RateEstimate:
        """The estimate after a change of the rows' `residual`, to first order.

        Covariance and strength of the prior are those of this estimate.
        """
        return replace(self, coefficients=self.coefficients + self.gain @ (after - before))


def estimate(
    series: FieldSeries, modes: Modes, place: Sequence[Axis], model: ChromatinModel, kind: str
) -> RateEstimate:
    """Estimate the rate over x and y, or x, y and t.

    Parameters
    ----------
    series
        The measured fields on the pixels of the modes.
    modes
        Test functions on the mask.
    place
        Axes of the box around the mask, over which the rate varies.
    model
        Assumed parameters, in the units of the axes.
    kind
        Kind of prior, as in `mollifier.FieldUnknown`.
    """
    timed = len(place) > 2
    change, hold = _in_time(series.times, _FAST if timed else _SLOW)
    basis = _basis(place, modes, kind)
    functions = _on_pixels(basis, modes.inside, len(series.times))
    right = _rest(series, modes, model, change, hold).ravel()
    columns = _columns(series, modes, model, hold, functions)
    rate_prior, found = prior(basis.name, basis, kind), None
    rate = np.full(series.phi_d.shape, series.phi_h.mean() / max(series.phi_e.mean(), 1e-3))
    wider, excess = 1.0, 1.0
    for _ in range(_ROUNDS):
        noise = _covariance(series, modes, model, change, hold, rate)
        # Errors of the transport model are proportional to kappa. The integral balance (kappa = 0) has none:
        # the larger the misfit, the larger its weight.
        larger = np.where(np.arange(len(noise)) < len(change), 1 / excess, excess)
        noise *= np.outer(larger, larger)
        found = _posterior(columns, right, noise, rate_prior, functions)
        # Unexplained residuals count as noise, or the rate would fit them.
        wider, excess = max(1.0, found.misfit), max(1.0, excess * found.misfit)
        rate_prior = rate_prior.about(found.coefficients)
        rate = np.broadcast_to(np.maximum(found.rate, 0.0), series.phi_d.shape)
    assert found is not None
    return _positive(found, wider, excess)


def residual(series: FieldSeries, modes: Modes, model: ChromatinModel, found: RateEstimate) -> Array:
    """What an estimate leaves of the rows of the equation, for these fields and parameters, shape (rows,)."""
    change, hold = _in_time(series.times, _FAST if found.timed else _SLOW)
    gained = 2 * model.acetylation * modes.project(found.rate * series.phi_e)
    return (_rest(series, modes, model, change, hold) - gained @ hold.T).ravel()


def _in_time(times: Array, most: int) -> tuple[Array, Array]:
    """Rows of the change and of the integral from frame to frame, each (rows, frames).

    Integrals are those of the spline through the frames. Beyond ``most`` intervals, low-frequency cosines
    replace the rows of single intervals. One frame alone is a steady state.
    """
    count = len(times)
    if count == 1:
        return np.zeros((1, 1)), np.ones((1, 1))
    spline = make_interp_spline(times, np.eye(count), k=3 if count > 3 else 1)
    hold = np.diff(spline.antiderivative()(times), axis=0)
    change = np.diff(np.eye(count), axis=0)
    kept = min(most, count - 1)
    slow = np.cos(np.pi * np.outer(np.arange(kept), np.arange(count - 1) + 0.5) / (count - 1))
    return slow @ change, slow @ hold


def _basis(place: Sequence[Axis], modes: Modes, kind: str) -> Basis:
    """Splines of the rate with half the wavelength of the shortest mode for a cell."""
    order = degree(kind)
    splines = {}
    for axis in place:
        cells = axis.length / (modes.shortest / 2) if axis.name != "t" else _CELLS_A_FRAME * axis.size
        splines[axis.name] = AxisSplines(axis, max(round(cells), 2) + order, order)
    return Basis("lam", splines, Grid(*place))


def _on_pixels(basis: Basis, inside: NDArray[np.bool_], frames: int) -> tuple[Array, Array]:
    along = {name: s.matrix(0) for name, s in basis.splines.items()}
    i, j = np.nonzero(inside)
    space = (along["x"][i][:, :, None] * along["y"][j][:, None, :]).reshape(len(i), -1)
    return space, along.get("t", np.ones((frames, 1)))


def _rest(series: FieldSeries, modes: Modes, model: ChromatinModel, change: Array, hold: Array) -> Array:
    """Right-hand side: all terms but ``2 Gamma_ac <phi, lam phi_e>``, shape (modes, rows in time)."""
    kappa, drift = modes.values[:, None], model.diffusion * model.energy.interface**2
    phi_h, v = series.phi_h, series.phi_d
    bend = model.bulk_slopes(phi_h)[1]
    lamina = model.lamina_potential(series.depth)[:, None]
    bulk = model.bulk_potential(phi_h, series.phi_e) - series.variance / 2 * bend - lamina
    level = modes.project(v)
    flow = -model.diffusion * kappa * modes.project(bulk) - drift * kappa**2 * level
    erased = 2 * model.acetylation * modes.project(phi_h)
    return level @ change.T - (flow - erased) @ hold.T


def _columns(
    series: FieldSeries, modes: Modes, model: ChromatinModel, hold: Array, functions: tuple[Array, Array]
) -> Array:
    """Design matrix ``2 Gamma_ac <phi, phi_e b>`` for every spline b, shape (rows, splines)."""
    space, time = functions
    parts = []
    for k in range(len(series.times)):
        here = 2 * model.acetylation * modes.project(series.phi_e[:, k, None] * space)
        parts.append(np.einsum("kj,i,m->kijm", here, hold[:, k], time[k]))
    total = reduce(np.add, parts)
    return total.reshape(total.shape[0] * total.shape[1], -1)


def _covariance(
    series: FieldSeries, modes: Modes, model: ChromatinModel, change: Array, hold: Array, rate: Array
) -> Array:
    """Covariance of the rows, (rows, rows), from three errors of a pixel: phi_d, m and the reaction."""
    kappa, drift = modes.values[:, None], model.diffusion * model.energy.interface**2
    smooth = np.stack([smoothed(p, modes.inside) for p in series.phi_h.T], -1)
    first, second, third = model.bulk_slopes(smooth)
    count, rows = len(kappa), len(change)
    total = np.zeros((count, rows, count, rows))
    for k in range(len(series.times)):
        s = series.variance[:, k]
        # Powers of correlated errors decorrelate faster: to treat them alike is conservative.
        one, lam = s * series.shared, 1 + rate[:, k]
        bulk = one * (first[:, k] ** 2 + s / 2 * second[:, k] ** 2 + s**2 / 6 * third**2)
        own, cross, acted = one, one * first[:, k], one * lam
        table = [[own, cross, acted], [cross, bulk, cross * lam], [acted, cross * lam, acted * lam]]
        ways = (
            change[:, k] + drift * kappa**2 * hold[:, k],
            model.diffusion * kappa * hold[:, k],
            model.acetylation * np.ones_like(kappa) * hold[:, k],
        )
        for a, left in enumerate(ways):
            for b, right in enumerate(ways[a:], a):
                part = np.einsum("ki,kl,lj->kilj", left, modes.gram(table[a][b]), right, optimize=True)
                total += part
                if a != b:
                    total += part.transpose(2, 3, 0, 1)
    return total.reshape(count * rows, -1)


def _positive(found: RateEstimate, wider: float, excess: float) -> RateEstimate:
    """The nearest non-negative rate in the metric of the posterior, with its covariance scaled up."""
    space, time = found.functions
    inverse = found.inverse * wider
    places = space[:: max(len(space) // _PLACES, 1)]
    rows = np.concatenate(
        [(places[:, :, None] * row).reshape(len(places), -1) for row in np.unique(time, axis=0)]
    )
    limits = Limits(rows, np.zeros(len(rows)), np.full(len(rows), np.inf))
    bounded = limits.nearest(found.coefficients, inverse.T @ inverse)
    return replace(found, coefficients=bounded, inverse=inverse, misfit=excess)


def smoothed(values: Array, inside: NDArray[np.bool_]) -> Array:
    """Values (pixels,) after normalised Gaussian smoothing within the mask."""
    full = np.zeros(inside.shape)
    full[inside] = values
    known = np.asarray(gaussian_filter(inside.astype(float), _SMOOTH))
    return np.asarray(gaussian_filter(full, _SMOOTH))[inside] / known[inside]


def _posterior(
    columns: Array, right: Array, noise: Array, rate_prior: Prior, functions: tuple[Array, Array]
) -> RateEstimate:
    """Generalised least squares with the prior of maximal marginal likelihood."""
    scale = np.sqrt(np.diag(noise))
    root = factored(noise / np.outer(scale, scale), JITTER)
    design, target = (sl.solve_triangular(root, (v.T / scale).T, lower=True) for v in (columns, right))
    information, pull = design.T @ design, design.T @ target
    size = len(pull)
    unit = np.trace(information) / np.trace(rate_prior.precision(rate_prior.orders[0], 0.0))
    ridge = JITTER * np.trace(information) / size * np.eye(size)

    def posterior(h: Hyper) -> tuple[Array, Array, float]:
        own = 10.0**h.strength * unit * rate_prior.precision(h.order, h.length)
        factor = factored(information + own + ridge)
        half = sl.solve_triangular(factor, pull, lower=True)
        evidence = np.log(np.diag(factored(own))).sum() - np.log(np.diag(factor)).sum() + half @ half / 2
        return factor, half, float(evidence)

    (hyper,), _ = maximise(lambda hypers: posterior(hypers[0])[2], [rate_prior])
    factor, half, _ = posterior(hyper)
    theta = sl.solve_triangular(factor.T, half)
    inverse = sl.solve_triangular(factor, np.eye(size), lower=True)
    whitened = sl.solve_triangular(root.T, design)
    effective = float(np.sum((inverse @ information) * inverse))
    free = max(len(target) - effective, 1.0)
    misfit = float(np.sqrt(np.sum((target - design @ theta) ** 2) / free))
    gain = inverse.T @ (inverse @ (whitened.T / scale))
    return RateEstimate(theta, inverse, misfit, hyper, functions, effective, gain)
