"""Whether the data tell the unknowns, and tell them apart: in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
import xarray as xr

from mollifier.diagnostics.check.findings import Finding, error, info, warn
from mollifier.engines.identifiability import structure as ident
from mollifier.engines.identifiability.information import Direction, Information, information
from mollifier.equations.algebra import differentiate
from mollifier.equations.lower import ArrayFunction
from mollifier.errors import MollifierError
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem

_DYNAMIC_RANGE = 1e8
# Noise over rms of a field averaged over its features, above which only its smoothest parts are seen.
_NOISY = 0.3
# Standard errors that leave a number unknown or vague, in units of the size at which its term alone balances
# all others.
_UNKNOWN, _VAGUE = 10.0, 0.3
# Shares of the domain in which a field is not told, likewise.
_UNTOLD, _PATCHY = 0.25, 0.1
# How far a ratio may be from a plain fraction that it is written as.
_PLAIN = 0.05
# Ratios below which halves are written out, and below which whole numbers are.
_FEW, _MANY = 4.0, 12.0


def of_structure(problem: InverseProblem, numbers: dict[str, Any]) -> Iterator[Finding]:
    """What no data can tell, whatever they are: unknowns that the equations fix only together."""
    found = ident.scalings(problem)
    numbers["scalings"] = found
    for group in found:
        names = _listed(list(group))
        if len(group) == 1:
            yield error(
                "identifiability",
                f"Nothing fixes the scale of {names}: every term that decides holds it, so any multiple "
                "of an answer is one too.",
                _advice(problem, list(group)),
            )
        else:
            yield error(
                "identifiability",
                f"{names} cannot be told apart by this equation: only {fixed(group)}, so any multiple of an "
                "answer that keeps it is one too.",
                _advice(problem, list(group)),
            )
    yield from _absorbing(problem)
    if not found and ident.has_trivial_answer(problem):
        yield error(
            "identifiability",
            f"Every term of every equation holds {' or '.join(problem.unknowns)}, so zero solves it and any "
            "multiple of an answer is one too.",
            _advice(problem, list(problem.unknowns)),
        )


def _absorbing(problem: InverseProblem) -> Iterator[Finding]:
    """Fields over all coordinates that make an equation hold whatever its other unknowns are."""
    everywhere = set(problem.coordinates)
    for equation in problem.system.equations:
        held = {problem.system.names.resolve(s).derivative for s in equation.symbols}
        unknown = [n for n in problem.unknowns if n in {d.field for d in held}]
        whole = [
            n
            for n in unknown
            if set(problem.unknowns[n].over or ()) == everywhere
            and not any(d.total for d in held if d.field == n)
            and n in problem.system.linear_in
        ]
        if whole and len(unknown) > 1:
            others = _listed([n for n in unknown if n != whole[0]])
            yield warn(
                "identifiability",
                f"{whole[0]} varies over all coordinates and makes '{equation.text}' hold for any {others}: "
                "only the smoothness that is held of it tells them apart.",
                f"Let {whole[0]} vary over fewer coordinates, or give {others}.",
            )


def _advice(problem: InverseProblem, names: list[str]) -> str:
    fields = [n for n in names if n in problem.unknown_fields]
    readings = f", readings of {fields[0]} (FieldUnknown(readings=...))" if fields else ""
    return f"Give {' or '.join(names)} as a constant{readings}, or a source term that is known."


def fixed(group: Mapping[str, int]) -> str:
    """The combinations that stay the same when unknowns scale with these exponents.

    >>> fixed({"k": 1, "s": -1}), fixed({"a": 1, "b": 1}), fixed({"a": 1, "b": 2, "c": 1})
    ('k*s', 'b/a', 'b/a^2, c/a')
    """
    (first, p), *rest = group.items()
    return ", ".join(_product(first, p, name, q) for name, q in rest)


def _product(a: str, p: int, b: str, q: int) -> str:
    """``b^p / a^q`` in lowest terms."""
    ratio = Fraction(q, p)
    up, down = ratio.denominator, ratio.numerator
    power = {1: ""}
    left, right = f"{b}{power.get(up, f'^{up}')}", f"{a}{power.get(abs(down), f'^{abs(down)}')}"
    return f"{right}*{left}" if down < 0 else f"{left}/{right}"


def combination(change: Mapping[str, float]) -> str:
    """What is still fixed where two numbers may change together, with plain fractions where they are near.

    >>> combination({"r": 1.0, "s": -1.0}), combination({"D": 1.0, "r": 3.97})
    ('r + s', 'r - 4*D')
    """
    (a, first), (b, second) = change.items()
    ratio = second / first
    if abs(ratio) < 1 - _PLAIN:
        a, b, ratio = b, a, 1 / ratio
    near = Fraction(ratio).limit_denominator(2 if abs(ratio) < _FEW else 1)
    text = (
        str(near) if abs(float(near) - ratio) < _PLAIN * abs(ratio) and abs(ratio) < _MANY else f"{ratio:.2g}"
    )
    size = text.lstrip("-")
    other = a if size == "1" else f"{size}*{a}"
    if ratio > 0:
        return f"{b} - {other}"
    return f"{a} + {b}" if size == "1" else f"{b} + {other}"


def of_terms(
    problem: InverseProblem, place: Collocation, numbers: dict[str, Any], maps: dict[str, xr.DataArray]
) -> Iterator[Finding]:
    """Sizes and noise of the terms, and whether they tell the unknowns."""
    try:
        terms = ident.terms_at_samples(problem, place.features)
    except MollifierError as why:
        yield info("scales", f"The terms could not be looked at: {why}")
        return
    yield from _sizes(terms, numbers)
    yield from _noise(terms, numbers)
    told = information(terms)
    maps.update(told.maps)
    numbers["information"] = {
        "independent": told.independent,
        "numbers": {
            n: {"value": told.values[n], "sd": told.sd[n], "scale": told.scale[n]} for n in told.values
        },
        "directions": [{"change": dict(d.change), "sine": d.sine} for d in told.directions],
        "untold": told.untold,
        "untold_alone": told.alone,
        "misfit": told.misfit,
    }
    yield from _numbers(problem, told)
    for direction in told.directions:
        yield _apart(direction, problem.system.linear_in)
    yield from _fields(problem, told)


def _sizes(terms: ident.Terms, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Typical sizes of the terms, and whether the smallest is lost beside the largest."""
    problem = terms.problem
    numbers["terms"] = {}
    for equation, found in ident.sizes(terms):
        text = ", ".join(f"{name}: {size:.2g}" for name, size in found)
        numbers["terms"][equation.text] = {str(name): size for name, size in found}
        yield info("scales", f"typical sizes, with unknowns at their start or 1: {text}.")
        known = {s for t, s in found if not {str(x) for x in t.free_symbols} & set(problem.unknowns)}
        seen = [s for s in known if np.isfinite(s) and s > 0]
        if seen and max(seen) > _DYNAMIC_RANGE * min(seen):
            yield warn(
                "scales",
                f"Terms without unknowns differ by {max(seen) / min(seen):.0e} in size: the smaller is lost.",
                "Look at the units of data and constants.",
            )


def _noise(terms: ident.Terms, numbers: dict[str, Any]) -> Iterator[Finding]:
    """The noise of every term, relative to it, at single places averaged over the window."""
    numbers["noise_gain"] = {}
    for equation, found in ident.sizes(terms):
        gains = {str(t): _gain(terms, t, size) for t, size in found}
        shown = {t: g for t, g in gains.items() if g is not None}
        numbers["noise_gain"][equation.text] = shown
        if shown:
            text = ", ".join(f"{t}: {100 * g:.2g} %" for t, g in shown.items())
            yield info("noise", f"noise of the terms at single places, averaged over their window: {text}.")
    for f, share in terms.noise.items():
        text = (
            f"averaged over a window as wide as its features allow, {f} keeps {100 * share:.2g} % of noise."
        )
        advice = "Expect wide intervals, and smooth fields only; average repeats, or trust known values."
        yield warn("noise", text, advice) if share > _NOISY else info("noise", text)
    lost = {n: r for n, r in ident.drowned(terms) if r > 0}
    for name, ratio in lost.items():
        yield info(
            "noise",
            f"At single places noise drowns {name} ({100 * ratio:.0f} % of it): the answer rests on all "
            "samples together.",
        )


def _gain(terms: ident.Terms, term: sympy.Expr, size: float) -> float | None:
    """Standard deviation of a term's noise over the term's root mean square; None where it carries none."""
    if not {str(s) for s in term.free_symbols} & set(terms.symbols) or not size > 0:
        return None
    slopes = [ArrayFunction(differentiate(term, sympy.Symbol(s))) for s in terms.symbols]
    g = np.stack([terms.values(s) for s in slopes], axis=1)
    return float(np.sqrt(ident.finite_mean(np.einsum("nq,nqp,np->n", g, terms.covariance, g)))) / size


def _numbers(problem: InverseProblem, told: Information) -> Iterator[Finding]:
    """What is told of each number, and of fields that multiply nothing."""
    together = {n for d in told.directions for n in d.change if not d.hidden}
    for name in told.zero:
        yield error(
            "identifiability",
            f"What multiplies {name} is zero at all samples: these data hold nothing of it.",
            f"Give {name} as a constant, or data where it acts.",
        )
    for name, sd in told.sd.items():
        if name in told.zero or name in together:
            continue
        share = sd / told.scale[name]
        vague = (
            f"{name} is told to about {sd:.2g} only, and at {told.scale[name]:.2g} its term would be as "
            "large as all others"
        )
        finer = "Ask a coarser question (fewer unknowns), give more or less noisy data, or bounds."
        if name in told.drowned:
            text = f"What multiplies {name} does not stand out of the noise at single places"
            yield warn("identifiability", f"{text}: all samples together may tell it, or not.", finer)
        elif share > _UNKNOWN:
            yield error("identifiability", f"{vague}: these data do not tell it.", finer)
        elif share > _VAGUE:
            yield warn("identifiability", f"{vague}: expect a wide interval.", finer)
        else:
            unit = f" {problem.unknowns[name].unit}".rstrip()
            yield info("identifiability", f"{name} is told to about {sd:.2g}{unit} or better.")


def _apart(direction: Direction, linear: tuple[str, ...]) -> Finding:
    """Numbers that cannot be told apart, or that noise hides the difference of."""
    names = list(direction.change)
    if direction.hidden:
        return warn(
            "identifiability",
            f"Noise hides at single places whether {_listed(names)} can be told apart: all samples together "
            "may tell them, or not.",
            "Ask a coarser question (fewer unknowns), or give more or less noisy data.",
        )
    if len(names) == 2 and set(names) <= set(linear):
        what = f"only {combination(direction.change)}"
    else:
        parts = ", ".join(f"{n} by {c:.3g}" for n, c in direction.change.items())
        what = f"changing {parts} leaves the equation as it is"
    return error(
        "identifiability",
        f"{_listed(names)} cannot be told apart here: {what} (their terms are proportional over these data "
        f"to {100 * direction.sine:.2g} %).",
        f"Give {' or '.join(names)} as a constant, or add data of another kind.",
    )


def _fields(problem: InverseProblem, told: Information) -> Iterator[Finding]:
    """What is told of each unknown field."""
    for name, share in told.untold.items():
        where = ", ".join(problem.unknown_fields[name].over or ())
        here = f"over {100 * share:.0f} % of the places the data tell little or nothing of {name}({where})"
        advice = (
            f"Give readings of {name} there (FieldUnknown(readings=...)), measure where what multiplies "
            "it is not zero, or take it as a number."
        )
        if share > _UNTOLD and told.alone[name] < _PATCHY:
            others = [n for n in problem.unknowns if n != name]
            yield error(
                "identifiability",
                f"{name} cannot be told apart from {_listed(others)}: alone it could be found, together "
                f"{here}.",
                f"Give one of them, or readings of {name} (FieldUnknown(readings=...)).",
            )
        elif share > _UNTOLD:
            yield error("identifiability", f"{here[0].upper()}{here[1:]}.", advice)
        elif share > _PATCHY:
            yield warn("identifiability", f"{here[0].upper()}{here[1:]}: there the prior decides.", advice)
        else:
            yield info(
                "identifiability", f"{name}({where}) is told wherever there are data, at a coarse grain."
            )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
