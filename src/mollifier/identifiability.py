"""Whether the data can tell the unknowns at all, seen from the equation's terms at some of the samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

from mollifier.equations import Equation
from mollifier.pointwise import LocalFit, local_fits
from mollifier.problem import InverseProblem

Array = NDArray[np.float64]

_CENTRES = 300
# A factor this small beside what its derivatives could be is round-off.
_ZERO = 1e-6
_PROPORTIONAL = 0.999
_NEARLY = 0.98
_SURE = 4.0  # standard errors from zero of a reading that is not zero
_LOST = 1.5  # a factor's rms in units of its own standard error


@dataclass(frozen=True)
class Terms:
    """The fields and their derivatives at some of the samples, and what the equation makes of them.

    Attributes
    ----------
    env, sd, natural
        Symbol -> values and standard errors, shape (n,), and the size the symbol would have if the field
        varied over its window as much as it does at all.
    """

    problem: InverseProblem
    env: Mapping[str, Any]
    sd: Mapping[str, Array]
    natural: Mapping[str, float]

    def factor(self, function: Any) -> tuple[Array, Array, float]:
        """A function's values and their standard errors, shape (n,), and its natural size."""
        shape = np.shape(next(iter(self.env.values())))
        value = np.broadcast_to(np.asarray(function(self.env), float), shape)
        square = np.zeros(shape)
        for name in set(function.symbols) & self.sd.keys():
            square = square + (function({**self.env, name: self.env[name] + self.sd[name]}) - value) ** 2
        natural = np.abs(np.asarray(function({**self.env, **self.natural}), float)).max()
        return value, np.sqrt(square), float(natural)


def terms_at_samples(problem: InverseProblem, features: Mapping[str, float], seed: int = 0) -> Terms:
    """Evaluate all that the equations need at up to 300 samples, with unknowns at their start or at 1.

    Raises
    ------
    DataError
        If known data cannot be evaluated there.
    """
    main = max(problem.fields, key=lambda f: len(problem.data.coordinates_of(f)))
    samples = problem.data.samples(main)
    chosen = np.random.default_rng(seed).permutation(len(samples.points))[:_CENTRES]
    places = dict(zip(samples.coordinates, samples.points[np.sort(chosen)].T, strict=True))
    env: dict[str, Any] = dict(places)
    sd: dict[str, Array] = {}
    natural: dict[str, float] = {}
    for f in problem.fields:
        s = problem.data.samples(f)
        needed = problem.system.derivatives.get(f, ())
        orders = [tuple(d.along(c) for c in s.coordinates) for d in needed]
        if not orders:
            continue
        at = np.stack([places[c] for c in s.coordinates], axis=-1)
        fit = local_fits(s, at, orders, np.array([features[c] for c in s.coordinates]))
        for d, o in zip(needed, orders, strict=True):
            env[d.name], sd[d.name] = fit.values[o], fit.sd[o]
            natural[d.name] = _natural(fit, o, s.values)
    for name, unknown in problem.unknowns.items():
        for d in problem.system.derivatives.get(name, ()):
            level = 1.0 if unknown.initial is None else unknown.initial
            if name in problem.readings:
                level = float(np.mean(problem.readings[name].values))
            env[d.name] = np.full(len(chosen), level if d.total == 0 else 0.0)
    for v in problem.known:
        over = problem.data.coordinates_of(v)
        env[v] = problem.data.interpolate(v, {c: places[c] for c in over})
    return Terms(problem, env, sd, natural)


def _natural(fit: LocalFit, order: tuple[int, ...], values: Array) -> float:
    size = float(np.ptp(values)) if sum(order) else float(np.abs(values).max())
    return size / float(np.prod([h**k for k, h in zip(order, fit.lengths, strict=True)]))


def sizes(terms: Terms) -> Iterator[tuple[Equation, list[tuple[sympy.Expr, float]]]]:
    """For each equation its terms and their root mean squares over the samples."""
    for equation in terms.problem.system.equations:
        values = equation.evaluate_terms(terms.env)
        yield equation, [(t, _rms(np.atleast_1d(v))) for t, v in zip(equation.terms, values, strict=True)]


def _rms(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(finite**2))) if finite.size else float("nan")


def has_trivial_answer(problem: InverseProblem) -> bool:
    """Whether zero unknowns satisfy every equation, so that any multiple of an answer is one too.

    Readings of an unknown field that are not zero set the scale.

    Examples
    --------
    >>> from mollifier import FieldUnknown, Observations
    >>> x = np.linspace(0, 1, 20)
    >>> obs = Observations(values={"u": x**2}, points={"x": x}, noise=0.01)
    >>> has_trivial_answer(InverseProblem("0 = div(k*grad(u))", obs, {"k": FieldUnknown()}))
    True
    """
    system = problem.system
    if set(system.linear_in) != set(problem.unknowns):
        return False
    if any((np.abs(s.values) > _SURE * s.sd).any() for s in problem.readings.values()):
        return False
    symbols = {
        sympy.Symbol(d.name): sympy.S.Zero for n in problem.unknowns for d in system.derivatives.get(n, ())
    }
    return all(sympy.expand(e.residual).xreplace(symbols) == 0 for e in system.equations)


def constant_fields(problem: InverseProblem) -> dict[str, float]:
    """Fields that vary no more than their noise, with the ratio of the two."""
    found = {}
    for f in problem.fields:
        s = problem.data.samples(f)
        spread, noise = float(np.std(s.values)), float(np.sqrt(np.mean(s.sd**2)))
        if spread <= 1.05 * noise or spread <= 1e-12 * float(np.abs(s.values).max()):
            found[f] = spread / noise
    return found


@dataclass(frozen=True)
class Factor:
    """What multiplies an unknown, over all equations, each in units of its largest term.

    Attributes
    ----------
    values
        Shape (n_equations * n,).
    zero, lost
        Whether it is zero up to round-off, and whether single values drown in noise.
    """

    values: Array
    zero: bool
    lost: bool


def factors(terms: Terms) -> dict[str, Factor]:
    """The factor of each scalar in which the equations are linear."""
    problem = terms.problem
    names = [n for n in problem.system.linear_in if n in problem.scalars]
    columns: dict[str, list[Array]] = {n: [] for n in names}
    errors: dict[str, list[Array]] = {n: [] for n in names}
    zero = dict.fromkeys(names, True)
    for equation, found in sizes(terms):
        scale = max((s for _, s in found if np.isfinite(s)), default=1.0) or 1.0
        held = [n for n in names if n in equation.symbols]
        for name, function in equation.collect(held)[1].items():
            value, sd, natural = terms.factor(function)
            zero[name] &= bool(_rms(value) <= _ZERO * natural)
            columns[name].append(np.nan_to_num(value) / scale)
            errors[name].append(np.nan_to_num(sd) / scale)
        for name in set(names) - set(held):
            columns[name].append(np.zeros(len(next(iter(terms.env.values())))))
            errors[name].append(np.zeros(1))
    return {
        n: Factor(
            v := np.concatenate(columns[n]), zero[n], _rms(v) <= _LOST * _rms(np.concatenate(errors[n]))
        )
        for n in names
    }


def alike(found: Mapping[str, Factor]) -> Iterator[tuple[str, str, float, bool]]:
    """Pairs of scalars whose factors are (nearly) proportional: names, cosine, and whether wholly so."""
    for a, b in combinations(found, 2):
        u, v = found[a].values, found[b].values
        size = float(np.linalg.norm(u) * np.linalg.norm(v))
        cosine = abs(float(u @ v)) / size if size > 0 else 0.0
        if cosine > _NEARLY and not (found[a].zero or found[b].zero):
            yield a, b, cosine, cosine > _PROPORTIONAL


def drowned(terms: Terms) -> Iterator[tuple[str, float]]:
    """Derivatives of fields that noise exceeds at single places, with the ratio of noise to the whole."""
    for name, error in terms.sd.items():
        value = _rms(terms.env[name])
        signal = np.sqrt(max(value**2 - _rms(error) ** 2, 0.0))
        if _rms(error) > signal and value > _ZERO * terms.natural[name]:
            yield name, _rms(error) / value
