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

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
from scipy.ndimage import gaussian_filter

from mollifier.chromatin.model import RATE, ChromatinModel
from mollifier.chromatin.modes import FieldSeries, Modes, TimeRows, time_rows
from mollifier.engines.linalg.dense import JITTER, factored
from mollifier.engines.priors.evidence import LinearisedProblem, QuadraticForm
from mollifier.engines.priors.field_prior import FieldPrior, field_prior
from mollifier.engines.priors.lattice_prior import LatticePrior
from mollifier.engines.priors.search import PriorSearch
from mollifier.engines.priors.shapes import Choice, Shape
from mollifier.engines.priors.tuning import PriorTuning
from mollifier.engines.splines.basis import AxisSplines, Basis
from mollifier.engines.splines.limits import Limits
from mollifier.mollify.arrays import Array, Mask
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.matrices import row_products

_MANY = 2.0  # Rows to a coefficient of the rate from which the scale of the noise is estimated.
# Median of the relative standard deviation of a rate before there are data, and standard deviation of its
# logarithm: rates of a nucleus differ by a factor of two, rarely of ten.
_RELATIVE = 0.7, 0.8


class RatePrior(LatticePrior):
    """The prior of a rate of some level, on the lattice of its splines, which leaves other functions free."""

    def __init__(self, prior: FieldPrior, level: float, others: int) -> None:
        size = prior.lattice.size
        super().__init__(slice(0, size + others), prior, np.zeros(size), 1 / level, 1)
        self._others = others

    def form(self, shape: Shape) -> QuadraticForm:
        form, more = super().form(shape), (0, self._others)
        return QuadraticForm(np.pad(form.square, more), np.pad(form.gradient, more), form.value)

    def log_hyperprior(self, shape: Shape, strength: float) -> float:
        """Logarithm of the density of the relative standard deviation, which is log-normal."""
        middle, width = _RELATIVE
        return -((self.log_variance(shape, strength)[0] / 2 - np.log(middle)) ** 2) / (2 * width**2)


@dataclass(frozen=True, eq=False)
class RateProblem(LinearisedProblem):
    """Rows of the equation about a rate."""

    #: Sum of squares of the rows in units of the noise, and their number.
    squares: float = 0.0
    rows: int = 0

    def log_integral(self, factor: Array, slope: Array) -> float:
        """With noise of the most likely scale, but no less than it is known to be.

        Residuals that nothing explains count as noise, or the rate would fit them, where enough rows show the
        scale.
        """
        descent = sl.solve_triangular(factor, slope, lower=True, check_finite=False)
        left = self.squares - float(descent @ descent)
        scale = max(left / self.rows, 1.0) if self.rows > _MANY * len(slope) else 1.0
        return float(-left / scale / 2 - self.rows / 2 * np.log(scale) - np.log(np.diag(factor)).sum())


_ROUNDS = 3  # Iterations of reweighting: the covariance depends on the rate.
# Degree of the splines of the rate, by the kind of prior: low where an edge is to be kept.
_DEGREES = {"tv": 1, "h1": 2, "h2": 3, "auto": 5}
# Of one still image: size of its change in time, Gamma_ac, white over lengths above the diffusion length.
_UNSTEADY = 0.1
# Decay length of the function of the distance from the edge that the rate has beside its splines, unless it
# varies freely in time, in shortest wavelengths of the test functions; and its prior standard deviation
# relative to the mean rate.
_REACH, _RIM = 0.4, 1.0
_PLACES = 150  # Points at which the rate is constrained to be non-negative.
_SMOOTH = 1.5  # Standard deviation in pixels of the smoothing of fields that multiply the noise.
# Cosines in time that serve as test functions for a steady rate, for one that varies in time and for a step,
# and spline cells of the rate per frame.
_SLOW, _FAST, _STEEP, _CELLS_A_FRAME = 4, 12, 24, 1 / 3


@dataclass(frozen=True, eq=False)
class RateEstimate:
    """The spline coefficients of the rate with their covariance."""

    #: Coefficients, shape (m,), and a root of their covariance ``inverse' inverse``, shape (m, m).
    coefficients: Array
    inverse: Array
    misfit: float  #: Rms of the whitened residuals; where it exceeds one, the covariance is scaled up by it.
    prior: Choice  #: Shape and strength of the prior.
    #: Splines on the pixels, (pixels, m in space), and rows and functions in time.
    space: Array
    time: TimeRows
    #: Number of coefficients that the data determine: the trace of posterior covariance times information.
    effective_parameters: float
    gain: Array  #: Derivative of the coefficients by the rows of the equation, shape (m, rows).
    precision: Array  #: Of the prior, shape (m, m).

    @property
    def rate(self) -> Array:
        """The rate, shape (pixels, frames); one frame for a rate that is constant in time."""
        space, time = self.space, self.time.functions
        return space @ self.coefficients.reshape(space.shape[1], -1) @ time.T

    @property
    def sd(self) -> Array:
        """Standard errors, shape as `rate`."""
        space = sp.csr_array(self.space)
        roots = self.inverse.reshape(len(self.inverse), self.space.shape[1], -1)
        each, frame = np.unique(self.time.functions, axis=0, return_inverse=True)
        variance = [np.sum((space @ (roots @ row).T) ** 2, axis=1) for row in each]
        return np.sqrt(np.stack(variance, -1))[:, frame.ravel()]

    def mean(self, weight: Array) -> tuple[float, float]:
        """Weighted mean of the rate and its standard error; weights as `rate`, with sum one."""
        space, time = self.space, self.time.functions
        row = (space.T @ weight @ time).ravel()
        return float(row @ self.coefficients), float(np.linalg.norm(self.inverse @ row))


def estimate(rows: ProjectedEquation) -> RateEstimate:
    """Estimate the rate from the rows of the equation."""
    found, shape = None, rows.series.phi_d.shape
    rate = np.full(shape, rows.level)
    wider, excess = 1.0, 1.0
    for _ in range(_ROUNDS):
        found = _posterior(rows, rows.noise(rate, excess))
        # Unexplained residuals count as noise, or the rate would fit them.
        wider, excess = max(1.0, found.misfit), max(1.0, excess * found.misfit)
        rows.prior.about(found.coefficients[: rows.prior.lattice.size])
        rate = np.broadcast_to(np.maximum(found.rate, 0.0), shape)
    assert found is not None
    return _positive(found, wider, excess)


class ProjectedEquation:
    """The projected equation of a series, and the prior of its rate over x and y, or x, y and t.

    The fields are on the pixels of the modes, ``place`` holds the axes of the box around the mask, over which
    the rate varies, and the model is in their units. The kind of prior is as in `mollifier.FieldUnknown`.
    ``space`` and ``time`` are as in `RateEstimate`, ``right`` is the sum of all terms without the rate,
    (rows,), and ``level`` the mean of the rate if it were even and nothing changed.
    """

    def __init__(
        self,
        series: FieldSeries,
        modes: Modes,
        place: Sequence[Axis],
        model: ChromatinModel,
        kind: str,
    ) -> None:
        basis = _basis(place, modes, kind)
        along = {name: s.matrix(0) for name, s in basis.splines.items()}
        i, j = np.nonzero(modes.inside)
        smooth = row_products(along["x"][i], along["y"][j])
        self.still = len(series.times) == 1
        rim = [] if "t" in along else [np.exp(-series.depth / (_REACH * modes.shortest))]
        self.space, self.rim = np.column_stack([smooth, *rim]), len(rim)
        self.time = time_rows(series.times, _FAST if "t" in along else _SLOW, along.get("t"))
        self.series, self.modes, self.model = series, modes, model
        self.prior, self._kind = field_prior(basis.lattice, kind), kind
        self.level = float(series.phi_h.mean() / max(series.phi_e.mean(), 1e-3))
        self.right = _rest(series, modes, model, self.time).ravel()
        # Most splines are zero at a pixel.
        local = sp.csr_array(self.space).T * (2 * model.acetylation * modes.spacing**2)
        self._frames = np.stack([(local @ (e[:, None] * modes.functions)).T for e in series.phi_e.T])

    def following(self, profile: Callable[[Array], Array]) -> ProjectedEquation:
        """The rows of a rate over x and y times a known function of time, which may be a steep one."""
        other = copy(self)
        other.time = time_rows(self.series.times, _STEEP, profile)
        other.right = _rest(self.series, self.modes, self.model, other.time).ravel()
        other.prior = field_prior(self.prior.lattice, self._kind)
        return other

    def weights(self, profile: Callable[[Array], Array]) -> Array:
        """Weights of another known function of time, (rows, frames, 1)."""
        return time_rows(self.series.times, _STEEP, profile).weights

    @property
    def rim_precision(self) -> Array:
        """Precision of the function of the depth, the last of the coefficients, shape (m, m)."""
        splines = np.zeros(self.prior.lattice.size)
        return np.diag(np.append(splines, np.full(self.rim, (_RIM * self.level) ** -2)))

    def columns(self, weights: Array) -> Array:
        """Design matrix ``2 Gamma_ac <phi, phi_e b>`` for every spline b, shape (rows, splines)."""
        total = np.einsum("fkj,ifm->kijm", self._frames, weights, optimize=True)
        return total.reshape(total.shape[0] * total.shape[1], -1)

    def noise(self, rate: Array, excess: float) -> Array:
        """Covariance of the rows for a rate (pixels, frames) and a misfit ``excess``, (rows, rows)."""
        noise = _covariance(self.series, self.modes, self.model, self.time, rate)
        # Errors of the transport model are proportional to kappa. The integral balance (kappa = 0) has none,
        # but in registered frames: the larger the misfit, the larger its weight.
        exact = excess if self.series.shaken else 1 / excess
        larger = np.where(np.arange(len(noise)) < len(self.time.change), exact, excess)
        noise *= np.outer(larger, larger)
        if self.still:
            unit = self.model.acetylation * self.model.length
            noise += (_UNSTEADY * unit) ** 2 * np.eye(len(noise))
        if self.series.others or self.series.shaken:
            base = self._by_frame(self.series, rate)
            for other in self.series.others:
                moved = (self._by_frame(other, rate) - base).sum(1)
                noise += np.outer(moved, moved)
            for other in self.series.shaken:
                moved = self._by_frame(other, rate) - base
                noise += moved @ moved.T
        return noise

    def _by_frame(self, series: FieldSeries, rate: Array) -> Array:
        """What a rate at the frames leaves of the rows, as a sum over the frames, (rows, frames)."""
        level, flow = _terms(series, self.modes, self.model)
        flow += 2 * self.model.acetylation * self.modes.project(rate * series.phi_e)
        time = self.time
        parts = np.einsum("kf,if->kif", level, time.change) - np.einsum("kf,if->kif", flow, time.hold)
        return parts.reshape(-1, level.shape[1])


def residual(series: FieldSeries, modes: Modes, model: ChromatinModel, found: RateEstimate) -> Array:
    """What an estimate leaves of the rows of the equation, for these fields and parameters, shape (rows,)."""
    gained = np.zeros((len(modes.values), len(found.time.hold)))
    maps = found.space @ found.coefficients.reshape(found.space.shape[1], -1)
    for m, weights in enumerate(np.moveaxis(found.time.weights, 2, 0)):
        gained += modes.project(maps[:, m, None] * series.phi_e) @ weights.T
    return (_rest(series, modes, model, found.time) - 2 * model.acetylation * gained).ravel()


def _basis(place: Sequence[Axis], modes: Modes, kind: str) -> Basis:
    """Splines of the rate with half the wavelength of the shortest mode for a cell."""
    degree, splines = _DEGREES[kind], {}
    for axis in place:
        cells = axis.length / (modes.shortest / 2) if axis.name != "t" else _CELLS_A_FRAME * axis.size
        splines[axis.name] = AxisSplines(axis, max(round(cells), 2) + degree, degree)
    return Basis(RATE, splines, Grid(*place))


def _rest(series: FieldSeries, modes: Modes, model: ChromatinModel, time: TimeRows) -> Array:
    """Right-hand side: all terms but ``2 Gamma_ac <phi, lam phi_e>``, shape (modes, rows in time)."""
    level, flow = _terms(series, modes, model)
    return level @ time.change.T - flow @ time.hold.T


def _terms(series: FieldSeries, modes: Modes, model: ChromatinModel) -> tuple[Array, Array]:
    """``<phi, phi_d>``, and its change in time without the rate, (modes, frames)."""
    kappa, drift = modes.values[:, None], model.diffusion * model.energy.interface**2
    phi_h, v = series.phi_h, series.phi_d
    bend = model.bulk_slopes(phi_h)[1]
    lamina = model.lamina_potential(series.depth)[:, None]
    bulk = model.bulk_potential(phi_h, series.phi_e) - series.variance / 2 * bend - lamina
    level = modes.project(v)
    flow = -model.diffusion * kappa * modes.project(bulk) - drift * kappa**2 * level
    return level, flow - 2 * model.acetylation * modes.project(phi_h)


def _covariance(
    series: FieldSeries, modes: Modes, model: ChromatinModel, time: TimeRows, rate: Array
) -> Array:
    """Covariance of the rows, (rows, rows), from three errors of a pixel: phi_d, m and the reaction."""
    kappa, drift = modes.values[:, None], model.diffusion * model.energy.interface**2
    change, hold = time.change, time.hold
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
    space, time = found.space, found.time.functions
    inverse = found.inverse * wider
    places = space[:: max(len(space) // _PLACES, 1)]
    rows = np.concatenate(
        [(places[:, :, None] * row).reshape(len(places), -1) for row in np.unique(time, axis=0)]
    )
    limits = Limits(rows, np.zeros(len(rows)), np.full(len(rows), np.inf))
    bounded = limits.nearest(found.coefficients, inverse.T @ inverse)
    return replace(found, coefficients=bounded, inverse=inverse, misfit=excess)


def smoothed(values: Array, inside: Mask) -> Array:
    """Values (pixels,) after normalised Gaussian smoothing within the mask."""
    full = np.zeros(inside.shape)
    full[inside] = values
    known = np.asarray(gaussian_filter(inside.astype(float), _SMOOTH))
    return np.asarray(gaussian_filter(full, _SMOOTH))[inside] / known[inside]


class Whitening:
    """Rows of the equation in units of their noise, from its covariance (rows, rows)."""

    def __init__(self, noise: Array) -> None:
        self._scale = np.sqrt(np.diag(noise))
        self._root = factored(noise / np.outer(self._scale, self._scale), JITTER)

    def __call__(self, values: Array) -> Array:
        """Values (rows, ...) in these units."""
        return sl.solve_triangular(self._root, (values.T / self._scale).T, lower=True)

    def back(self, design: Array) -> Array:
        """Derivative of ``design' white(rows)`` by the rows, for a white design (rows, m): (m, rows)."""
        return np.asarray(sl.solve_triangular(self._root.T, design)).T / self._scale


def _posterior(rows: ProjectedEquation, noise: Array) -> RateEstimate:
    """Generalised least squares with the prior of maximal marginal likelihood."""
    white = Whitening(noise)
    design, target = white(rows.columns(rows.time.weights)), white(rows.right)
    # About an even rate.
    at = np.append(np.full(rows.prior.lattice.size, rows.level), np.zeros(rows.rim))
    left, information, size = target - design @ at, design.T @ design, len(at)
    ridge = JITTER * np.trace(information) / size * np.eye(size)
    known = information + ridge + rows.rim_precision
    prior = RatePrior(rows.prior, rows.level, rows.rim)
    problem = RateProblem(known, -design.T @ left, {RATE: prior}, {}, float(left @ left), len(left))
    choices = PriorSearch(problem, [RATE], PriorTuning()).anew()
    precision, slope = problem.with_priors(choices)
    inverse = sl.solve_triangular(factored(precision), np.eye(size), lower=True)
    theta = at - inverse.T @ (inverse @ slope)
    effective = float(np.sum((inverse @ information) * inverse))
    # Of the other rows alone: the weight of the integral balance grows with the misfit.
    unbalanced = (target - design @ theta)[len(rows.time.change) :]
    free = max(len(unbalanced) - effective, 1.0)
    misfit = float(np.sqrt(np.sum(unbalanced**2) / free))
    gain = inverse.T @ (inverse @ white.back(design))
    form = prior.form(choices[RATE].shape)
    held = choices[RATE].strength * form.square + rows.rim_precision + ridge
    return RateEstimate(theta, inverse, misfit, choices[RATE], rows.space, rows.time, effective, gain, held)
