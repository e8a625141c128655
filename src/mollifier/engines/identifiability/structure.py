"""The equation's terms at some of the samples, and what its structure leaves undetermined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import sympy
from scipy.linalg import block_diag

from mollifier.data.observations import Samples
from mollifier.engines.identifiability.hidden import open_states, open_text, shifted, visible
from mollifier.engines.identifiability.pointwise import LocalFit, local_fits
from mollifier.engines.identifiability.undetermined import fixed_by_scaling, listed
from mollifier.equations.algebra import differentiate
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.system import Equation
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, finite_mean, rms
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.labels import curves, labels

_CENTRES = 400
_FEW = 3  # Samples of a field below which it cannot be said to be constant.
# A derivative this small beside what it could be is round-off.
_ZERO = 1e-6
_SURE = 4.0  # standard errors from zero of a measurement that is not zero


@dataclass(frozen=True)
class Terms:
    """The fields and their derivatives at some of the samples, and how well they are known."""

    problem: InverseProblem
    places: Mapping[str, Array]  #: Coordinate -> values, shape (n,).
    #: Symbol -> values and standard errors, shape (n,), and the size the symbol would have if the field
    #: varied over its window as much as it does at all.
    env: Mapping[str, Any]
    sd: Mapping[str, Array]
    natural: Mapping[str, float]
    #: Symbols that carry noise, and the covariance of their errors at one sample, shape (n, q, q).
    symbols: tuple[str, ...]
    covariance: Array
    #: About how many of these values all samples would give that are independent of one another.
    independent: float
    #: Field -> standard error of its value at a sample, averaged over a window, over the field's rms.
    noise: Mapping[str, float]

    @property
    def states(self) -> Mapping[str, Array]:
        """Fields that laws vary over -> values at the samples, shape (n,)."""
        return {c: self.env[c] for over in self.problem.laws.values() for c in over}

    @property
    def count(self) -> int:
        """How many samples were taken."""
        return len(next(iter(self.places.values())))

    def values(self, function: Any, env: Mapping[str, Any] | None = None) -> Array:
        """A function's values at the samples, shape (n,)."""
        with np.errstate(all="ignore"):
            value = np.asarray(function(self.env if env is None else env), float)
        return np.array(np.broadcast_to(value, (self.count,)))

    def stacked(self, functions: Iterable[Any], env: Mapping[str, Any] | None = None) -> Array:
        """The values of q functions at the samples, shape (n, q)."""
        return np.stack([self.values(f, env) for f in functions], axis=1)

    def by_noise(self, expression: sympy.Expr) -> list[ArrayFunction]:
        """The derivatives of an expression by the symbols that carry noise."""
        return [ArrayFunction(differentiate(expression, sympy.Symbol(s))) for s in self.symbols]

    def noise_variance(self, slopes: list[ArrayFunction], env: Mapping[str, Any] | None = None) -> float:
        """The mean variance of an expression's noise at the samples, by its slopes from `by_noise`."""
        return finite_mean(self.noise_variances(slopes, env))

    def noise_variances(self, slopes: list[ArrayFunction], env: Mapping[str, Any] | None = None) -> Array:
        """The variances of an expression's noise at the samples, shape (n,)."""
        g = self.stacked(slopes, env)
        return np.einsum("nq,nqp,np->n", g, self.covariance, g)


def terms_at_samples(problem: InverseProblem, features: Mapping[str, float]) -> Terms:
    """Evaluate all that the equations need at up to 400 samples, with unknowns at their start or at 1.

    Equations with hidden states are left out: their terms are not known before they are solved. Raises
    `DataError` if known data cannot be evaluated there, a field was measured too rarely, or no equation is
    left.
    """
    seen = visible(problem)
    if seen is None:
        raise DataError(f"Every equation with an unknown contains {listed(problem.states)}, hardly measured.")
    problem = seen
    main = max(problem.fields, key=lambda f: len(problem.data.coordinates_of(f)))
    samples = problem.data.samples(main)
    chosen = np.random.default_rng(0).permutation(len(samples.points))[:_CENTRES]
    places = samples.part(np.sort(chosen)).places
    env: dict[str, Any] = dict(places)
    sd: dict[str, Array] = {}
    natural: dict[str, float] = {}
    blocks: list[Array] = []
    independent, noise, apart = [float(len(samples.points))], {}, labels(problem)
    for f in problem.fields:
        s = problem.data.samples(f)
        needed = problem.system.derivatives.get(f, ())
        orders = [tuple(d.along(c) for c in s.coordinates) for d in needed]
        if not orders:
            continue
        if len(s.values) < _FEW:
            raise DataError(
                f"'{f}' has too few measured values ({len(s.values)}): its terms follow from the equation "
                "once that is solved, and what the data determine cannot be examined before."
            )
        at = np.stack([places[c] for c in s.coordinates], axis=-1)
        fit = _fitted(s, at, orders, features, problem.data.periodic, apart)
        for d, o, value, error in zip(needed, orders, fit.values.T, fit.sd.T, strict=True):
            env[d.name], sd[d.name], natural[d.name] = value, error, _natural(fit, o, s.values)
        blocks.append(fit.covariance)
        independent.append(fit.independent)
        noise[f] = rms(s.sd) / (rms(s.values) or 1.0) * np.sqrt(fit.independent / len(s.points))
    for name, unknown in problem.unknowns.items():
        for d in problem.system.derivatives.get(name, ()):
            level = 1.0 if unknown.initial is None else unknown.initial
            if name in problem.measurements:
                level = float(np.mean(problem.measurements[name].values))
            env[d.name] = np.full(len(chosen), level if d.total == 0 else 0.0)
    for v in problem.known:
        over = problem.data.coordinates_of(v)
        env[v] = problem.data.interpolate(v, {c: places[c] for c in over})
    # Of independent groups: blocks (n, q_i, q_i) to (n, q, q).
    covariance = np.array([block_diag(*of_one) for of_one in zip(*blocks, strict=True)])
    return Terms(problem, places, env, sd, natural, tuple(sd), covariance, min(independent), noise)


def _fitted(
    s: Samples,
    at: Array,
    orders: Sequence[tuple[int, ...]],
    features: Mapping[str, float],
    periods: Mapping[str, float],
    apart: tuple[str, ...],
) -> LocalFit:
    """Local fits of some samples at places (m, d); of each curve separately where labels number curves."""
    kept = [i for i, c in enumerate(s.coordinates) if c not in apart]
    lengths = np.array([features[s.coordinates[i]] for i in kept])
    period = np.array([periods.get(s.coordinates[i], np.inf) for i in kept])
    if not apart:
        return local_fits(s, at, orders, lengths, period)
    short = [tuple(o[i] for i in kept) for o in orders]
    n, m = len(s.values), len(at)
    both = Samples(s.coordinates, np.concatenate([s.points, at]), np.zeros(n + m), np.zeros(n + m))
    values, covariance = np.zeros((m, len(orders))), np.zeros((m, len(orders), len(orders)))
    windows, independent = np.ones((m, len(s.coordinates))), 0.0
    for rows, _ in curves(both, apart):
        own, here = rows[rows < n], rows[rows >= n] - n
        if len(here):
            curve = s.part(own, [s.coordinates[i] for i in kept])
            fit = local_fits(curve, at[here][:, kept], short, lengths, period)
            values[here], covariance[here] = fit.values, fit.covariance
            windows[here[:, None], kept] = fit.lengths
            independent += fit.independent
    return LocalFit(values, covariance, np.median(windows, axis=0), independent)


def _natural(fit: LocalFit, order: tuple[int, ...], values: Array) -> float:
    size = float(np.ptp(values)) if sum(order) else float(np.abs(values).max())
    return size / float(np.prod([h**k for k, h in zip(order, fit.lengths, strict=True)]))


def sizes(terms: Terms) -> Iterator[tuple[Equation, list[tuple[sympy.Expr, float]]]]:
    """For each equation its terms and their root mean squares over the samples."""
    for equation in terms.problem.system.equations:
        with np.errstate(all="ignore"):
            values = equation.evaluate_terms(terms.env)
        yield equation, [(t, rms(np.atleast_1d(v))) for t, v in zip(equation.terms, values, strict=True)]


def has_trivial_answer(problem: InverseProblem) -> bool:
    """Whether zero unknowns satisfy every equation, so that any multiple of an answer is one too.

    Measurements of an unknown field that are not zero set the scale.

    >>> from mollifier import FieldUnknown, Observations
    >>> x = np.linspace(0, 1, 20)
    >>> obs = Observations(values={"u": x**2}, points={"x": x}, noise=0.01)
    >>> has_trivial_answer(InverseProblem("0 = div(k*grad(u))", obs, {"k": FieldUnknown()}))
    True
    """
    system = problem.system
    if set(system.linear_in) != set(problem.unknowns) or _sized_by_measurements(problem):
        return False
    zero = dict.fromkeys(_owners(problem, problem.unknowns), sympy.S.Zero)
    return all(sympy.expand(e.residual).xreplace(zero) == 0 for e in system.imposed)


def _owners(problem: InverseProblem, names: Iterable[str]) -> dict[sympy.Symbol, str]:
    """Symbol of an unknown or hidden state, or of its derivative -> the name."""
    derivatives = problem.system.derivatives
    return {sympy.Symbol(d.name): n for n in names for d in derivatives.get(n, ())}


def _sized_by_measurements(problem: InverseProblem) -> set[str]:
    """Unknown fields of which a measurement is not zero."""
    return {n for n, s in problem.measurements.items() if (np.abs(s.values) > _SURE * s.sd).any()}


def undetermined_by_structure(problem: InverseProblem) -> str:
    """What the equations leave open whatever the data are; empty where nothing.

    >>> from mollifier import Observations, ScalarUnknown
    >>> obs = Observations({"u": [1.0, 0.8, 0.7]}, {"t": [0.0, 0.1, 0.2]}, noise=0.01)
    >>> undetermined_by_structure(InverseProblem("u_t = -a*b*u", obs, dict.fromkeys("ab", ScalarUnknown())))
    'a and b cannot be distinguished by these equations: only a*b is in the data'
    """
    trivial = has_trivial_answer(problem)
    for group in scalings(problem):
        if len(group) > 1 or trivial:
            return scaling_text(group)
    free, lost = open_states(problem)
    return open_text(free, lost) if free else shifted(problem)


def scaling_text(group: Mapping[str, int]) -> str:
    """What a group of `scalings` leaves open, in a sentence.

    >>> scaling_text({"a": 1, "b": -1})
    'a and b cannot be distinguished by these equations: only a*b is in the data'
    """
    if len(group) > 1:
        fixed = fixed_by_scaling(group)
        return f"{listed(group)} cannot be distinguished by these equations: only {fixed} is in the data"
    return f"nothing fixes the scale of {listed(group)}: every term that could fix it contains it"


def scalings(problem: InverseProblem) -> list[dict[str, int]]:
    """Groups of unknowns and hidden states whose sizes the equations fix only together, whatever the data.

    Each is a mapping unknown -> exponent: multiply every unknown by a factor to the power of its exponent
    and all equations hold as before. ``{"k": 1, "s": -1}``: only k*s is fixed; ``{"a": 1, "b": 1}``: only
    b/a; ``{"k": 1}``: k has no scale. Measurements of a field that are not zero fix its size.

    >>> from mollifier import Observations, ScalarUnknown
    >>> x, t = np.random.default_rng(0).random((2, 50))
    >>> obs = Observations({"u": x * t}, {"x": x, "t": t}, noise=0.01)
    >>> both = {"k": ScalarUnknown(), "s": ScalarUnknown()}
    >>> scalings(InverseProblem("u_t = k*s*u_xx", obs, both))
    [{'k': 1, 's': -1}]
    >>> scalings(InverseProblem("k*u_t = s*u_xx", obs, both))
    [{'k': 1, 's': 1}]
    >>> scalings(InverseProblem("u_t = k*u_xx + s", obs, both))
    []
    """
    names = [*problem.unknowns, *problem.hidden]
    owner = _owners(problem, names)  # a field's derivatives scale as it does
    rows: list[list[int]] = []
    for equation in problem.system.imposed:
        powers = [_powers(term, owner, names) for term in equation.terms]
        for p, fixed in powers:
            rows += [[p_ - q_ for p_, q_ in zip(p, powers[0][0], strict=True)]]
            rows += [[int(n == f) for n in names] for f in fixed]
    rows += [[int(n == name) for n in names] for name in _sized_by_measurements(problem)]
    found = []
    for vector in sympy.Matrix(rows).nullspace():
        vector = vector * sympy.ilcm(1, *(v.q for v in vector))
        whole = [int(v) for v in vector / (sympy.igcd(0, *vector) or 1)]
        if next(w for w in whole if w) < 0:
            whole = [-w for w in whole]
        found.append({n: w for n, w in zip(names, whole, strict=True) if w})
    return found


def _powers(
    term: sympy.Expr, owner: Mapping[sympy.Symbol, str], names: list[str]
) -> tuple[list[int], set[str]]:
    """The whole powers in which unknowns multiply a term, and unknowns that it holds otherwise."""
    power, fixed = dict.fromkeys(names, 0), set()
    for base, exponent in term.as_powers_dict().items():
        held = {owner[s] for s in base.free_symbols | sympy.sympify(exponent).free_symbols if s in owner}
        if base in owner and sympy.sympify(exponent).is_Integer:
            power[owner[base]] += int(exponent)
        else:
            fixed |= held
    return list(power.values()), fixed


def gauges(problem: InverseProblem) -> dict[str, tuple[str, ...]]:
    """Unknown fields and hidden states of which only derivatives enter.

    Each has the coordinates S, as many as possible, of which any function may be added to it, a constant
    where there are none: all equations hold as before.

    >>> from mollifier import FieldUnknown, Observations
    >>> x, y, t = np.random.default_rng(0).random((3, 50))
    >>> obs = Observations({"u": x * t, "v": y * t}, {"x": x, "y": y, "t": t}, noise=0.01)
    >>> gauges(InverseProblem("u_t = -p_x; v_t = -p_y", obs, {"p": FieldUnknown()}))
    {'p': ('t',)}
    >>> gauges(InverseProblem("u_t = -p_x + p*u; v_t = -p_y", obs, {"p": FieldUnknown()}))
    {}
    """
    resolve, found = problem.system.names.resolve, {}
    varied = {c for states in problem.laws.values() for c in states}
    fields = (n for n in problem.unknown_fields if n not in problem.measurements)
    for name in (*fields, *(n for n in problem.hidden if n not in varied)):
        over = problem.coordinates_of(name)
        used = [d for s in problem.system.symbols if (d := resolve(s).derivative).field == name]
        subsets = (part for size in range(1, len(over) + 1) for part in combinations(over, size))
        for along in subsets:
            if all(any(d.along(c) for c in along) for d in used):
                found[name] = tuple(c for c in over if c not in along)
                break
    return found


def gauge_text(problem: InverseProblem, name: str) -> str:
    """What a field of `gauges` is known up to, and how it is reported."""
    left = gauges(problem)[name]
    what = f"a function of {', '.join(left)}" if left else "a constant"
    over = [c for c in problem.coordinates_of(name) if c not in left]
    each = f" at each {', '.join(left)}" if left else ""
    mean = f"its mean over {', '.join(over)}{each} is zero"
    return f"Only derivatives of {name} enter, which is free up to {what}: {mean}."


def constant_fields(problem: InverseProblem) -> Iterator[str]:
    """Fields that vary no more than their noise, of those that were measured often enough to show it."""
    for f in (f for f in problem.fields if f not in problem.states):
        s = problem.data.samples(f)
        if len(s.values) < _FEW:
            continue
        spread, noise = np.std(s.values), np.sqrt(np.mean(s.sd**2))
        if spread <= 1.05 * noise or spread <= 1e-12 * np.abs(s.values).max():
            yield f


def below_noise(terms: Terms) -> Iterator[tuple[str, float]]:
    """Derivatives of fields that noise exceeds at single places, with the ratio of noise to the whole."""
    for name, error in terms.sd.items():
        value = rms(terms.env[name])
        signal = np.sqrt(max(value**2 - rms(error) ** 2, 0.0))
        if rms(error) > signal and value > _ZERO * terms.natural[name]:
            yield name, rms(error) / value
