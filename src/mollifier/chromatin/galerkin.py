"""The rate as a map from the equation's projections on the modes of a nucleus.

With phi a mode of the Laplacian, ``lap(phi) = -kappa phi``, and no flux across the edge,

    d/dt <phi, phi_d> = -D kappa <phi, m> - D interface^2 kappa^2 <phi, phi_d>
                        + 2 Gamma_ac <phi, lam phi_e - phi_h>,

m the potential of bulk and lamina: no derivative is taken of what was measured. In time it is integrated from
frame to frame. For measured ``v = phi_d + e`` with normal errors of variance s the cubic m is ``m(v) - s/2
m''(v)`` on average (see `mollifier.engines.weak.form`), and the covariance of the rows is summed over the
pixels. Given it, lam is found by generalised least squares, with a prior whose strength maximises the
marginal likelihood. The modes are long waves, so that a row sums over many pixels: the noise in the factor
phi_e of lam is then too small to bias lam, and is not corrected.
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

# Rounds in which the covariance follows the rate.
_ROUNDS = 3
# Places at which the rate is kept from being negative.
_PLACES = 150
# Pixels over which fields are smoothed for what the noise is multiplied by.
_SMOOTH = 1.5
# Slow waves in time that are tested for a rate without time and with it, and cells of the rate's splines to
# a frame.
_SLOW, _FAST, _CELLS_A_FRAME = 4, 12, 1 / 3


@dataclass(frozen=True, eq=False)
class Film:
    """What was measured in a nucleus.

    Attributes
    ----------
    phi_d, variance, chromatin
        phi_d, the variance of its noise, and 1 - phi_n, each of shape (pixels, frames).
    times
        Of the frames.
    lamina
        The lamina's part of the potential, (pixels,).
    shared
        Pixels that share one error: above 1 where noise is correlated over more than a pixel.
    """

    phi_d: Array
    variance: Array
    chromatin: Array
    times: Array
    lamina: Array
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
class Found:
    """The rate with its covariance.

    Attributes
    ----------
    coefficients, inverse
        Of the splines, shape (m,), and a root of their covariance: ``inverse' inverse``, (m, m).
    misfit
        Rms of the whitened residuals; where it exceeds one, the covariance is as large as they ask for.
    hyper
        Of the prior.
    functions
        Splines on the pixels, (pixels, m in space), and at the frames, (frames, m in time).
    told
        Coefficients that the data decide, more than the prior does.
    """

    coefficients: Array
    inverse: Array
    misfit: float
    hyper: Hyper
    functions: tuple[Array, Array]
    told: float

    @property
    def rate(self) -> Array:
        """Shape (pixels, frames); one frame for a rate without time."""
        space, time = self.functions
        return space @ self.coefficients.reshape(space.shape[1], -1) @ time.T

    @property
    def sd(self) -> Array:
        """Standard errors, as `rate`."""
        space, time = self.functions
        parts = [(space[:, :, None] * row).reshape(len(space), -1) for row in time]
        variance = [np.sum((self.inverse @ p.T) ** 2, axis=0) for p in parts]
        return np.sqrt(np.stack(variance, -1))

    def mean(self, weight: Array) -> tuple[float, float]:
        """Mean of the rate by weights like `rate` that add up to one, and its standard error."""
        space, time = self.functions
        row = (space.T @ weight @ time).ravel()
        return float(row @ self.coefficients), float(np.linalg.norm(self.inverse @ row))


def estimate(film: Film, modes: Modes, place: Sequence[Axis], model: ChromatinModel, kind: str) -> Found:
    """The rate over the axes of a place: x and y, or x, y and t.

    Parameters
    ----------
    film
        On the pixels of the modes.
    modes
        Of the mask.
    place
        The axes of the box that the mask lies in.
    model
        In the units of the axes.
    kind
        Of the prior, as in `mollifier.FieldUnknown`.
    """
    timed = len(place) > 2
    change, hold = _in_time(film.times, _FAST if timed else _SLOW)
    basis = _basis(place, modes, kind)
    functions = _on_pixels(basis, modes.inside, len(film.times))
    right = _rest(film, modes, model, change, hold).ravel()
    columns = _columns(film, modes, model, hold, functions)
    belief, found = prior(basis.name, basis, kind), None
    rate = np.full(film.phi_d.shape, film.phi_h.mean() / max(film.phi_e.mean(), 1e-3))
    wider, excess = 1.0, 1.0
    for _ in range(_ROUNDS):
        noise = _covariance(film, modes, model, change, hold, rate)
        # All that the model has wrong of transport stands beside kappa. The balance knows no transport: the
        # more is wrong, the more the map is bound to it.
        larger = np.where(np.arange(len(noise)) < len(change), 1 / excess, excess)
        noise *= np.outer(larger, larger)
        found = _posterior(columns, right, noise, belief, functions)
        # What the model cannot explain counts as noise, or the rate would follow it.
        wider, excess = max(1.0, found.misfit), max(1.0, excess * found.misfit)
        belief = belief.about(found.coefficients)
        rate = np.broadcast_to(np.maximum(found.rate, 0.0), film.phi_d.shape)
    assert found is not None
    return _positive(found, wider, excess)


def _in_time(times: Array, most: int) -> tuple[Array, Array]:
    """Rows of the change and of the integral from frame to frame, each (rows, frames).

    Integrals are those of the spline through the frames. Of many stretches slow cosines stand for all. One
    frame alone holds still.
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
    """Splines as fine as the shortest mode, with a prior that says how fine the rate is."""
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


def _rest(film: Film, modes: Modes, model: ChromatinModel, change: Array, hold: Array) -> Array:
    """What ``2 Gamma_ac <phi, lam phi_e>`` has to make up for, (modes, rows in time)."""
    kappa, drift = modes.values[:, None], model.diffusion * model.energy.interface**2
    phi_h, v = film.phi_h, film.phi_d
    bend = model.bulk_slopes(phi_h)[1]
    bulk = model.bulk_potential(phi_h, film.phi_e) - film.variance / 2 * bend - film.lamina[:, None]
    level = modes.project(v)
    flow = -model.diffusion * kappa * modes.project(bulk) - drift * kappa**2 * level
    erased = 2 * model.acetylation * modes.project(phi_h)
    return level @ change.T - (flow - erased) @ hold.T


def _columns(
    film: Film, modes: Modes, model: ChromatinModel, hold: Array, functions: tuple[Array, Array]
) -> Array:
    """``2 Gamma_ac <phi, phi_e b>`` for every spline b, (rows, splines)."""
    space, time = functions
    parts = []
    for k in range(len(film.times)):
        here = 2 * model.acetylation * modes.project(film.phi_e[:, k, None] * space)
        parts.append(np.einsum("kj,i,m->kijm", here, hold[:, k], time[k]))
    total = reduce(np.add, parts)
    return total.reshape(total.shape[0] * total.shape[1], -1)


def _covariance(
    film: Film, modes: Modes, model: ChromatinModel, change: Array, hold: Array, rate: Array
) -> Array:
    """Covariance of the rows, (rows, rows): that of three errors of a pixel, ``e``, that of m, and lam e."""
    kappa, drift = modes.values[:, None], model.diffusion * model.energy.interface**2
    smooth = np.stack([smoothed(p, modes.inside) for p in film.phi_h.T], -1)
    first, second, third = model.bulk_slopes(smooth)
    count, rows = len(kappa), len(change)
    total = np.zeros((count, rows, count, rows))
    for k in range(len(film.times)):
        s = film.variance[:, k]
        # Powers of correlated errors are shared by fewer pixels: counted alike, they are on the safe side.
        one, lam = s * film.shared, 1 + rate[:, k]
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


def _positive(found: Found, wider: float, excess: float) -> Found:
    """The nearest rate that is nowhere negative, with its covariance widened."""
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
    """Values of pixels (pixels,) smoothed within the mask."""
    full = np.zeros(inside.shape)
    full[inside] = values
    known = np.asarray(gaussian_filter(inside.astype(float), _SMOOTH))
    return np.asarray(gaussian_filter(full, _SMOOTH))[inside] / known[inside]


def _posterior(
    columns: Array, right: Array, noise: Array, belief: Prior, functions: tuple[Array, Array]
) -> Found:
    """Generalised least squares with a prior of the greatest marginal likelihood."""
    scale = np.sqrt(np.diag(noise))
    root = factored(noise / np.outer(scale, scale), JITTER)
    design, target = (sl.solve_triangular(root, (v.T / scale).T, lower=True) for v in (columns, right))
    information, pull = design.T @ design, design.T @ target
    size = len(pull)
    unit = np.trace(information) / np.trace(belief.precision(belief.orders[0], 0.0))
    ridge = JITTER * np.trace(information) / size * np.eye(size)

    def posterior(h: Hyper) -> tuple[Array, Array, float]:
        own = 10.0**h.strength * unit * belief.precision(h.order, h.length)
        factor = factored(information + own + ridge)
        half = sl.solve_triangular(factor, pull, lower=True)
        worth = np.log(np.diag(factored(own))).sum() - np.log(np.diag(factor)).sum() + half @ half / 2
        return factor, half, float(worth)

    (hyper,), _ = maximise(lambda hypers: posterior(hypers[0])[2], [belief])
    factor, half, _ = posterior(hyper)
    theta = sl.solve_triangular(factor.T, half)
    inverse = sl.solve_triangular(factor, np.eye(size), lower=True)
    told = float(np.sum((inverse @ information) * inverse))
    free = max(len(target) - told, 1.0)
    misfit = float(np.sqrt(np.sum((target - design @ theta) ** 2) / free))
    return Found(theta, inverse, misfit, hyper, functions, told)
