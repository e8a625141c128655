"""The Fisher information of the unknowns in the data, their posterior, and the directions that stay free.

The information is that of `slopes`: of the equation's residuals at some of the samples, noise in the
regressors subtracted. The prior standard deviation of an unknown is the size at which its term alone would
balance all terms without unknowns, so that posterior over prior is a number without a unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import xarray as xr

from mollifier.engines.identifiability.posterior import WIDE, SampledPosterior, inverse
from mollifier.engines.identifiability.slopes import (
    Linearised,
    SampledBasis,
    Sums,
    correlation,
    gauge_fixing,
    splines,
)
from mollifier.engines.identifiability.structure import Terms, terms_at_samples
from mollifier.engines.identifiability.undetermined import HALVED, RATIO, Direction, free_directions
from mollifier.engines.linalg.dense import reciprocal
from mollifier.errors import MollifierError
from mollifier.mollify.arrays import Array, finite_mean, rms
from mollifier.mollify.orders import Derivative
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.labels import labels

_SHOWN = {1: 101, 2: 41, 3: 15}
_SURE = 3.0  # Standard deviations by which a signal has to exceed the noise.
_SMALL = 0.1  # A factor below this share of its natural size is zero if it does not exceed the noise either.
_NOTHING = 2e-3  # A factor below this share of its natural size is what smoothing leaves of zero.
_SMOOTHING = 0.03  # Relative error that smoothing leaves in terms.
_SIZE = 1e-100, 1e100  # Sizes outside are rounding.
# A number that multiplies zero is held at zero by a prior narrower by this, so that it affects no other.
_HELD = 1e-9
# Most nonlinear numbers whose sizes are searched, and the number of sizes of each.
_MOST_NONLINEAR, _SIZES = 2, {1: 193, 2: 49}


@dataclass(frozen=True)
class Information:
    """Posterior of the unknowns, given the equation's terms at some of the samples."""

    #: Number -> rough value, and standard error, in its unit.
    values: Mapping[str, float]
    sd: Mapping[str, float]
    #: Unknown -> the size at which its term alone balances the others: its prior standard deviation.
    scale: Mapping[str, float]
    #: Unknown field -> posterior over prior standard deviation, over its coordinates: 0 known, 1 unknown.
    maps: Mapping[str, xr.DataArray]
    #: Unknown field -> share of the samples at which that ratio is more than a half.
    undetermined: Mapping[str, float]
    alone: Mapping[str, float]  #: The same if all other unknowns were known.
    independent: float  #: About how many independent values all samples give.
    #: Numbers whose factor is zero, and those whose factor does not exceed the noise.
    zero: tuple[str, ...] = ()
    below_noise: tuple[str, ...] = ()
    directions: tuple[Direction, ...] = ()  #: Changes of numbers that the data do not show.
    #: Equation -> its residual without the noise, as a share of its largest term.
    misfit: Mapping[str, float] = field(default_factory=dict)


def information(terms: Terms, at: Mapping[str, float] | None = None) -> Information:
    """Linearise the equations in the unknowns and sum up what the samples say of them.

    ``terms`` are those of the equations at some of the samples. ``at`` has the value of each unknown, or the
    level of a field, to linearise at: by default the given initial values; numbers in which the equations are
    nonlinear are searched for.

    >>> from mollifier import InverseProblem, Observations, ScalarUnknown
    >>> from mollifier.engines.identifiability.structure import terms_at_samples
    >>> x, t = np.random.default_rng(0).random((2, 2000))
    >>> u = np.exp(-2 * t) * np.sin(2 * x) + np.exp(-4.5 * t) * np.cos(3 * x)
    >>> obs = Observations({"u": u}, {"x": x, "t": t}, noise=1e-3)
    >>> problem = InverseProblem("u_t = D*u_xx", obs, {"D": ScalarUnknown()})
    >>> found = information(terms_at_samples(problem, {"x": 0.5, "t": 0.5}))
    >>> round(found.values["D"], 1), bool(found.sd["D"] < 0.1), found.zero
    (0.5, True, ())
    """
    equations = [Linearised(e, terms) for e in terms.problem.system.equations]
    flat = SampledBasis(terms, constant=True)
    start = _start(terms, flat) if at is None else np.array([at[n] for n in flat.parts])
    terms = replace(terms, env={**terms.env, **flat.env(start)})
    scale = {n: _scale(terms, equations, n) for n in terms.problem.unknowns}
    zero, below_noise = _empty(terms)
    free = {n: s * (_HELD if n in zero else 1.0) for n, s in scale.items()}
    start = np.where([n in zero for n in flat.parts], 0.0, start)
    posterior = SampledPosterior(terms, flat, free)
    theta, sums = posterior.solve(equations, start)
    if terms.problem.unknown_fields:
        posterior = SampledPosterior(terms, SampledBasis(terms, constant=False), free)
        parts = posterior.basis.parts.items()
        start = np.concatenate([np.full(p.stop - p.start, theta[flat.parts[n]]) for n, p in parts])
        theta, sums = posterior.solve(equations, start)
    basis, precision = posterior.basis, posterior.precision(sums)
    covariance = inverse(precision)
    names = [n for n in terms.problem.scalars if n not in zero]
    places = {n: basis.parts[n].start for n in terms.problem.scalars}
    env = {**terms.env, **basis.env(theta)}
    fields = terms.problem.unknown_fields
    sd = {n: float(np.sqrt(covariance[i, i])) for n, i in places.items()}
    # A number that is hardly better known than by its wide prior is not hidden by noise at single places.
    vague = {n for n in names if sd[n] > RATIO * WIDE * scale[n]} - set(below_noise)
    directions = _directions(terms, basis, sums, names)
    shares = {n: _undetermined(terms, basis, n, covariance, precision, scale[n]) for n in fields}
    return Information(
        values={n: float(theta[i]) for n, i in places.items()},
        sd=sd,
        scale=scale,
        zero=tuple(zero),
        below_noise=tuple(below_noise),
        directions=tuple(replace(d, hidden=d.hidden and not vague & set(d.change)) for d in directions),
        maps={
            n: posterior_map(terms.problem, n, covariance[basis.parts[n], basis.parts[n]], scale[n])
            for n in fields
        },
        undetermined={n: s[0] for n, s in shares.items()},
        alone={n: s[1] for n, s in shares.items()},
        misfit={e.equation.text: e.misfit(env) for e in equations},
        independent=terms.independent,
    )


def free_numbers(
    problem: InverseProblem, features: Mapping[str, float], at: Mapping[str, float]
) -> list[Direction]:
    """Changes of several numbers that the data do not show, whatever the noise at single places may hide.

    ``features`` are the lengths of the shortest feature along each coordinate, in its unit; ``at`` is as for
    `information`.
    """
    if len(problem.scalars) < 2:
        return []
    try:
        found = information(terms_at_samples(problem, features), at)
    except MollifierError:  # terms that cannot be evaluated at the samples say nothing
        return []
    return [d for d in found.directions if not d.hidden]


def _scale(terms: Terms, equations: list[Linearised], name: str) -> float:
    """The size at which an unknown's term balances the terms without unknowns; of measurements, their rms."""
    if name in terms.problem.measurements:
        return rms(terms.problem.measurements[name].values) or 1.0
    found = []
    resolve, linear = terms.problem.system.names.resolve, terms.problem.system.linear_in
    if name not in linear:
        return float(np.clip(abs(float(np.ravel(terms.env[name])[0])), *_SIZE))
    for e in equations:
        silent = {s: np.zeros(terms.count) for s in e.symbols if resolve(s).derivative.field in linear}
        rest = rms(terms.values(e.residual, {**terms.env, **silent}))
        for s, slope in zip(e.symbols, e.slopes, strict=True):
            size = rms(terms.values(slope))
            if resolve(s).derivative == Derivative(name) and rest > 0 and size > 0:
                found.append(rest / size)
    initial = terms.problem.unknowns[name].initial
    return float(np.clip(max(found, default=abs(initial or 1.0)), *_SIZE))


def _start(terms: Terms, flat: SampledBasis) -> Array:
    """Where to linearise: initial values, or 1; nonlinear unknowns by search over their sizes."""
    problem = terms.problem
    start = np.array([float(np.ravel(terms.env.get(n, 1.0))[0]) for n in flat.parts])
    linear = problem.system.linear_in
    nonlinear = [n for n in flat.parts if n not in linear and problem.unknowns[n].initial is None]
    if not nonlinear or len(nonlinear) > _MOST_NONLINEAR:
        return start
    sizes = 10.0 ** np.linspace(-12, 12, _SIZES[len(nonlinear)])
    least, best = np.inf, start
    with np.errstate(all="ignore"):
        for tried in product(
            *([v for v in (*sizes, *-sizes) if problem.unknowns[n].admits(v)] for n in nonlinear)
        ):
            theta = start.copy()
            theta[[list(flat.parts).index(n) for n in nonlinear]] = tried
            left, theta = _projected(terms, flat, theta, linear)
            if left < least:
                least, best = left, theta
    return best


def _projected(
    terms: Terms, flat: SampledBasis, theta: Array, linear: tuple[str, ...]
) -> tuple[float, Array]:
    """Mean square of the residuals after least squares in the linear unknowns, and all unknowns."""
    columns = [i for i, n in enumerate(flat.parts) if n in linear]
    theta = theta.copy()
    theta[columns] = 0.0
    env = {**terms.env, **flat.env(theta)}
    equations = terms.problem.system.equations
    y = np.concatenate([terms.values(e.evaluate, env) for e in equations])
    slopes = [terms.stacked([e.partial(n) for n in flat.parts], env) for e in equations]
    f = np.concatenate(slopes)[:, columns]
    good = np.isfinite(y) & np.isfinite(f).all(axis=1)
    size = np.sqrt(np.sum(f[good] ** 2, axis=0))
    if not good.any() or not np.isfinite(size).all():
        return np.inf, theta
    size = np.where(size > 0, size, 1.0)
    found = np.linalg.lstsq(f[good] / size, -y[good], rcond=1e-10)[0]
    left = float(np.sum((y[good] + (f[good] / size) @ found) ** 2))
    theta[columns] = found / size
    return left / max(int(good.sum()), 1), theta


def _empty(terms: Terms) -> tuple[list[str], list[str]]:
    """Unknowns whose factor is zero, and those whose factor does not exceed the noise.

    A factor exceeds it by its mean square over all samples, or in units of the noise at each: a thin front
    has little of all samples, and noise may be less there than elsewhere. It is zero only where its size is
    small and, in units of the noise, compatible with zero.
    """
    zero, below_noise = [], []
    chance = 2 * _SURE * np.sqrt(2 / min(max(terms.independent, 1.0), terms.count))
    for name in terms.problem.unknowns:
        signal, noise, natural, excess = _power(terms, name)
        most = np.sqrt(max(signal, 0.0) + chance * noise)
        if most > _NOTHING * natural and (signal > chance * noise or excess > chance):
            continue
        empty = most <= _NOTHING * natural or (most <= _SMALL * natural and excess <= chance / 2)
        (zero if empty else below_noise).append(name)
    return zero, below_noise


def _power(terms: Terms, name: str) -> tuple[float, float, float, float]:
    """Mean square of an unknown's factor without its noise; that noise; and the factor's natural size.

    The natural size is its change by the natural sizes of all that it is made of, to first order, as errors
    of smoothing have it: of a power law, what it would be with all of these at their largest is far more. The
    last is the mean square in units of the noise at each sample, less the 1 that noise alone has.
    """
    powers = []
    for equation in terms.problem.system.equations:
        for d in terms.problem.system.derivatives[name]:
            slope = equation.partial(d.name)
            values, parts = terms.values(slope), terms.by_noise(slope.expression)
            variances = terms.noise_variances(parts)
            noise = finite_mean(variances)
            moved = np.abs(terms.stacked(parts)) @ [terms.natural[s] for s in terms.symbols]
            natural = rms(moved[np.isfinite(moved)])
            known = np.isfinite(values) & np.isfinite(variances)
            excess = 0.0
            if noise > 0 and known.any():
                excess = float(np.mean(values[known] ** 2 * reciprocal(variances[known]))) - 1
            powers.append((rms(values) ** 2 - noise, noise, natural, excess))
    return max(powers, key=lambda p: p[0] / (p[2] or 1.0) ** 2)


def _directions(terms: Terms, basis: SampledBasis, sums: Sums, names: list[str]) -> list[Direction]:
    """Changes of several numbers that the data do not show; `_empty` judges single ones."""
    rows = [list(terms.problem.scalars).index(n) for n in names]
    of_rows = sums.noise_of_rows[:, rows][:, :, rows]

    def independent(change: Array) -> float:
        # Noise that few samples dominate is a mean of few squares (Kish, Survey Sampling, 1965).
        squares = np.einsum("a,nab,b->n", change, of_rows, change)
        effective = float(np.sum(squares) ** 2 / max(np.sum(squares**2), 1e-300))
        return effective * terms.independent / terms.count

    places = [basis.parts[n].start for n in names]
    at = np.ix_(places, places)
    found = free_directions(names, sums.information[at], sums.noise[at], independent, _SMOOTHING)
    return [d for d in found if len(d.change) > 1]


def _undetermined(
    terms: Terms, basis: SampledBasis, name: str, covariance: Array, precision: Array, scale: float
) -> tuple[float, float]:
    """Share of the samples at which a field is undetermined: with all unknowns free, and with it alone."""
    part, b = basis.parts[name], basis.matrices[name][1] @ gauge_fixing(terms.problem, name)
    prior = correlation(terms.problem, name) * scale**2
    ratios = (_ratio(b, c, prior) for c in (covariance[part, part], inverse(precision[part, part])))
    together, alone = (float(np.mean(r > HALVED)) for r in ratios)
    return together, alone


def _ratio(b: Array, covariance: Array, prior: Array) -> Array:
    with_data, without = (np.einsum("np,pq,nq->n", b, c, b) for c in (covariance, prior))
    return np.sqrt(np.clip(with_data / without, 0.0, 1.0))


def posterior_map(problem: InverseProblem, name: str, covariance: Array, scale: float) -> xr.DataArray:
    """Posterior over prior standard deviation of a field, on a grid over its coordinates.

    ``covariance`` is of the coefficients of `splines`, ``scale`` the prior standard deviation of the field.
    """
    over = problem.unknowns[name].over or ()
    axes = {
        c: np.unique(problem.data.dataset[c].values)
        if c in labels(problem)
        else np.linspace(*problem.extent(c), _SHOWN.get(len(over), 9))
        for c in over
    }
    mesh = np.meshgrid(*axes.values(), indexing="ij")
    places = {c: m.ravel() for c, m in zip(axes, mesh, strict=True)}
    b = splines(problem, name, places, Derivative(name)) @ gauge_fixing(problem, name)
    values = _ratio(b, covariance, correlation(problem, name) * scale**2).reshape(mesh[0].shape)
    attrs = {"long_name": f"posterior over prior standard deviation of {name}"}
    return xr.DataArray(values, axes, tuple(over), name, attrs)
