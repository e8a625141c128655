"""Whether the data determine the unknowns, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy
import xarray as xr

from mollifier.diagnostics.check.findings import Finding, about
from mollifier.engines.identifiability import structure as ident
from mollifier.engines.identifiability.hidden import held_by, open_states, open_text, shifted, visible
from mollifier.engines.identifiability.information import Information, information
from mollifier.engines.identifiability.posterior import WIDE
from mollifier.engines.identifiability.undetermined import (
    RATIO,
    UNDETERMINED_SHARE,
    WARNED_SHARE,
    Direction,
    listed,
)
from mollifier.engines.joint.interface import JOINT
from mollifier.engines.joint.tuning import JointTuning
from mollifier.engines.linalg.banded import NotPositiveError
from mollifier.engines.weak.hidden import without_hidden
from mollifier.equations.moving import moving_edge
from mollifier.errors import EquationError, MollifierError
from mollifier.problem.collocation import Collocation
from mollifier.problem.finite import check_finite
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.labels import labels
from mollifier.problem.settings import CollocationSettings, validated
from mollifier.problem.split import Split, search_range

info, warn, error = about("identifiability")

_DYNAMIC_RANGE = 1e8
# Noise over rms of a field averaged over its features, above which only its smoothest parts show.
_NOISY = 0.3
# Standard error that leaves a number vague, in units of the size at which its term alone balances all others.
_VAGUE = 0.3
# Most seconds that the joint engine may take by its estimate for hidden states to be sought in a check.
_SECONDS = 2.5


def of_edge(problem: InverseProblem) -> tuple[list[Finding], InverseProblem]:
    """What is said of an edge of unknown place, and the problem with it in the middle of its range.

    A problem without such an edge, or whose edge has no place, is returned as it is.
    """
    edge = moving_edge(problem.system)
    if edge is None:
        return [], problem
    try:
        low, high = search_range(problem, edge)
        posed = Split(problem, edge, (low + high) / 2).posed()
    except MollifierError as why:
        return [error(str(why))], problem
    most = JointTuning().edge_most
    text = (
        f"{edge.number} is the place of an edge along {edge.coordinate}: it is sought from {low:.4g} to "
        f"{high:.4g} by up to {most} solves. Whether what jumps there differs on both sides by more than the "
        f"noise hides is known once they are done. What follows holds if it is at {(low + high) / 2:.4g}."
    )
    return [info(text)], posed


def of_structure(problem: InverseProblem, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Unknowns that the equations fix only together, whatever the data are."""
    for c in labels(problem):
        count = np.unique(problem.data.dataset[c].values).size
        yield info(
            f"{c} numbers {count} independent curves: nothing is differentiated along it and no unknown "
            "field varies over it, so nothing is smoothed across it."
        )
    found = ident.scalings(problem)
    numbers["scalings"] = found
    for group in found:
        text = ident.scaling_text(group)
        kept = ", so any multiple of an answer that keeps it is one too."
        if len(group) == 1:
            text, kept = text[0].upper() + text[1:], ", so any multiple of an answer is one too."
        yield error(text + kept, _advice(problem, list(group)))
    free, lost = open_states(problem)
    if free:
        text = open_text(free, lost)
        yield error(
            f"{text[0].upper()}{text[1:]}.",
            f"Measure {listed(free)}, or add an equation in which it acts on what was measured.",
        )
    if moved := shifted(problem):
        yield error(f"{moved[0].upper()}{moved[1:]}.")
    for name in (n for n in problem.hidden if n not in free):
        equations = problem.system.equations
        count = sum(name in held_by(problem, e) for e in equations)
        yield info(
            f"{name}({', '.join(problem.coordinates_of(name))}) was not measured: {count} of "
            f"{len(equations)} equations hold it, and what they say of the measured states determines it."
        )
    for name in ident.gauges(problem):
        yield info(ident.gauge_text(problem, name))
    yield from _absorbing(problem)


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
            others = listed([n for n in unknown if n != whole[0]])
            yield warn(
                f"{whole[0]} varies over all coordinates and makes '{equation.text}' hold for any {others}: "
                "only its smoothness prior distinguishes them.",
                f"Let {whole[0]} vary over fewer coordinates, or give {others}.",
            )


def _advice(problem: InverseProblem, names: list[str]) -> str:
    fields = [n for n in names if n in problem.unknown_fields]
    hidden = [n for n in names if n in problem.hidden]
    numbers = [n for n in names if n not in hidden]
    constants = [f"{' or '.join(numbers)} as a constant"] if numbers else []
    measured = [f"measurements of {fields[0]} (FieldUnknown(measurements=...))"] if fields else []
    states = [f"data of {hidden[0]}"] if hidden else []
    return f"Give {', '.join(constants + measured + states)}, or a source term that is known."


def of_values(problem: InverseProblem, place: Collocation | None = None) -> Iterator[Finding]:
    """Coefficients that are not finite where the data are, or at the nodes."""
    try:
        check_finite(problem, place)
    except EquationError as why:
        yield Finding("error", "scales", str(why))


def of_terms(
    problem: InverseProblem,
    place: Collocation,
    chosen: CollocationSettings,
    numbers: dict[str, Any],
    maps: dict[str, xr.DataArray],
) -> Iterator[Finding]:
    """Sizes and noise of the terms, and whether they determine the unknowns."""
    problem, terms = without_hidden(problem) or problem, None
    if visible(problem) is not None:
        try:
            terms = ident.terms_at_samples(problem, place.features)
        except MollifierError as why:
            yield Finding("warning", "scales", f"The terms could not be evaluated: {why}")
            return
        yield from _sizes(terms, numbers)
        yield from _noise(terms, numbers)
    if terms is None or problem.system.conditions or problem.states:
        cost = JOINT.cost(problem, place).seconds
        if problem.states and cost > _SECONDS:
            yield info(
                f"{listed(problem.states)} would be sought for {cost:.0f} s: how well the unknowns are "
                "determined is known once the problem is solved."
            )
            return
        try:
            found = _through_states(problem, chosen)
        except (MollifierError, NotPositiveError) as why:
            yield warn(f"What the data determine through the states could not be examined: {why}")
            return
    else:
        found = information(terms)
    maps.update(found.maps)
    numbers["information"] = {
        "independent": found.independent,
        "numbers": {
            n: {"value": found.values[n], "sd": found.sd[n], "scale": found.scale[n]} for n in found.values
        },
        "directions": [{"change": dict(d.change), "sine": d.sine} for d in found.directions],
        "undetermined": found.undetermined,
        "undetermined_alone": found.alone,
        "misfit": found.misfit,
    }
    yield from _numbers(problem, found)
    for direction in found.directions:
        yield _free(direction, problem.system.linear_in)
    yield from _fields(problem, found)


def _through_states(problem: InverseProblem, chosen: CollocationSettings) -> Information:
    """The information by the states of the whole domain; torch is loaded here."""
    from mollifier.engines.joint.information import information_through_states
    from mollifier.engines.joint.settings import JointSettings

    return information_through_states(problem, validated(JointSettings, {"collocation": chosen}))


def _sizes(terms: ident.Terms, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Typical sizes of the terms, and whether the smallest is lost beside the largest."""
    problem = terms.problem
    numbers["terms"] = {}
    for equation, found in ident.sizes(terms):
        text = ", ".join(f"{name}: {size:.2g}" for name, size in found)
        numbers["terms"][equation.text] = {str(name): size for name, size in found}
        note, doubt, _ = about("scales")
        yield note(f"typical sizes, with unknowns at their start or 1: {text}.")
        known = {s for t, s in found if not {str(x) for x in t.free_symbols} & set(problem.unknowns)}
        seen = [s for s in known if np.isfinite(s) and s > 0]
        if seen and max(seen) > _DYNAMIC_RANGE * min(seen):
            yield doubt(
                f"Terms without unknowns differ by {max(seen) / min(seen):.0e} in size: the smaller is lost.",
                "Look at the units of data and constants.",
            )


def _noise(terms: ident.Terms, numbers: dict[str, Any]) -> Iterator[Finding]:
    """The noise of every term, relative to it, at single places averaged over the window."""
    numbers["noise_gain"] = {}
    note, doubt, _ = about("noise")
    for equation, found in ident.sizes(terms):
        gains = {str(t): _gain(terms, t, size) for t, size in found}
        shown = {t: g for t, g in gains.items() if g is not None}
        numbers["noise_gain"][equation.text] = shown
        if shown:
            text = ", ".join(f"{t}: {100 * g:.2g} %" for t, g in shown.items())
            yield note(f"noise of the terms at single places, averaged over their window: {text}.")
    for f, share in terms.noise.items():
        text = (
            f"averaged over a window as wide as its features allow, {f} keeps {100 * share:.2g} % of noise."
        )
        advice = "Expect wide intervals, and smooth fields only; average repeats, or trust known values."
        yield doubt(text, advice) if share > _NOISY else note(text)
    for name, ratio in ident.below_noise(terms):
        yield note(
            f"At single places noise hides {name} ({100 * ratio:.0f} % of it): the answer rests on all "
            "samples together."
        )


def _gain(terms: ident.Terms, term: sympy.Expr, size: float) -> float | None:
    """Standard deviation of a term's noise over the term's root mean square; None where it carries none."""
    if not {str(s) for s in term.free_symbols} & set(terms.symbols) or not size > 0:
        return None
    return float(np.sqrt(terms.noise_variance(terms.by_noise(term)))) / size


def _numbers(problem: InverseProblem, found: Information) -> Iterator[Finding]:
    """How well each number is determined, and which multiply zero."""
    together = {n for d in found.directions for n in d.change if not d.hidden}
    for name in found.zero:
        yield error(
            f"What multiplies {name} is zero at all samples: these data hold nothing of it.",
            f"Give {name} as a constant, or data where it acts.",
        )
    for name, sd in found.sd.items():
        if name in found.zero or name in together:
            continue
        share = sd / found.scale[name]
        vague = (
            f"{name} is known to about {sd:.2g} only, and at {found.scale[name]:.2g} its term would be as "
            "large as all others"
        )
        finer = "Reduce the number of unknowns, give more or less noisy data, or bounds."
        if name in found.below_noise:
            text = f"What multiplies {name} does not exceed the noise at single places"
            yield warn(f"{text}: all samples together may determine it, or not.", finer)
        elif share > RATIO * WIDE:
            yield error(f"{vague}: these data do not determine it.", finer)
        elif share > _VAGUE:
            yield warn(f"{vague}: expect a wide interval.", finer)
        else:
            unit = f" {problem.unknowns[name].unit}".rstrip()
            yield info(f"{name} is known to about {sd:.2g}{unit} or better.")


def _free(direction: Direction, linear: tuple[str, ...]) -> Finding:
    """Numbers that can change together without any sign of it in the data, or that noise may hide."""
    names = list(direction.change)
    if direction.hidden:
        return warn(
            f"At single places noise hides whether {listed(names)} can be distinguished: all samples "
            "together may determine them, or not.",
            "Reduce the number of unknowns, or give more or less noisy data.",
        )
    return error(
        f"{listed(names)} cannot be distinguished here: {direction.text(linear)} (their terms are "
        f"proportional over these data to {100 * direction.sine:.2g} %).",
        f"Give {' or '.join(names)} as a constant, or add data of another kind.",
    )


def _fields(problem: InverseProblem, found: Information) -> Iterator[Finding]:
    """How well each unknown field is determined."""
    for name, share in found.undetermined.items():
        where = ", ".join(problem.unknown_fields[name].over or ())
        here = f"over {100 * share:.0f} % of the places the data say little or nothing about {name}({where})"
        sentence = here[0].upper() + here[1:]
        advice = (
            f"Give measurements of {name} there (FieldUnknown(measurements=...)), measure where what "
            "multiplies it is not zero, or take it as a number."
        )
        if share > UNDETERMINED_SHARE and found.alone[name] < WARNED_SHARE:
            others = [n for n in problem.unknowns if n != name]
            yield error(
                f"{name} cannot be distinguished from {listed(others)}: alone it could be found, together "
                f"{here}.",
                f"Give one of them, or measurements of {name} (FieldUnknown(measurements=...)).",
            )
        elif share > UNDETERMINED_SHARE:
            yield error(f"{sentence}.", advice)
        elif share > WARNED_SHARE:
            yield warn(f"{sentence}: there the prior decides.", advice)
        else:
            yield info(f"{name}({where}) is determined, coarsely, wherever there are data.")
