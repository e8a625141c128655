"""What can be said of a problem before anything is spent on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import sympy

from mollifier import identifiability as ident
from mollifier.collocation import Collocation, collocate
from mollifier.errors import DataError, GridError, MollifierError
from mollifier.files import jsonable
from mollifier.grid import Axis
from mollifier.pointwise import jumps
from mollifier.problem import InverseProblem
from mollifier.settings import Settings, validated
from mollifier.stencils import rows

Level = Literal["info", "warning", "error"]

# Neighbours that differ by more than this part of the range: the front is narrower than their distance.
_JUMP = 0.25
_FEWEST_JUMPS = 5
_NODES_PER_FEATURE = 4.0
# What samples show of a front is an upper bound of its width; so much narrower it is taken to be.
_NARROWER = 1.3
_NOISY = 0.3
_DYNAMIC_RANGE = 1e8
_MARKS = {"info": " ", "warning": "!", "error": "x"}


@dataclass(frozen=True)
class Finding:
    """One thing seen: a level, a topic, and a sentence."""

    level: Level
    topic: str
    text: str

    def __str__(self) -> str:
        return f"{_MARKS[self.level]} {self.topic:<17}{self.text}"


_info, _warn, _error = partial(Finding, "info"), partial(Finding, "warning"), partial(Finding, "error")


@dataclass(frozen=True)
class Check:
    """What `check` saw.

    Attributes
    ----------
    findings
        In the order of reading: data, noise, unknowns, scales, resolution, identifiability.
    numbers
        The figures behind them, by name, for programs.
    suggested
        Settings that would help, as dotted keys: ``{"collocation.nodes.x": 513}``.
    """

    findings: tuple[Finding, ...]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    suggested: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing was found that forbids an answer."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What forbids an answer."""
        return tuple(f for f in self.findings if f.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What may spoil an answer."""
        return tuple(f for f in self.findings if f.level == "warning")

    @property
    def verdict(self) -> str:
        """The whole in one sentence.

        >>> Check((Finding("error", "data", "The field is constant."),)).verdict
        'These data cannot answer: 1 error.'
        """
        if self.errors:
            return f"These data cannot answer: {_count(len(self.errors), 'error')}."
        advice = " ".join(f"--set {k}={v}" for k, v in self.suggested.items())
        if self.warnings:
            after = f" Try {advice}." if advice else ""
            return f"Ready, with {_count(len(self.warnings), 'warning')} to look at.{after}"
        return "Ready: nothing stands in the way."

    def to_dict(self) -> dict[str, Any]:
        """Everything in JSON's types."""
        whole = {
            "ok": self.ok,
            "verdict": self.verdict,
            "findings": [asdict(f) for f in self.findings],
            "numbers": self.numbers,
            "suggested": self.suggested,
        }
        return jsonable(whole)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings), "", self.verdict])


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def check(problem: InverseProblem, settings: Settings | Mapping[str, Any] | None = None) -> Check:
    """Look at data, noise, unknowns, scales, resolution and identifiability; takes seconds.

    Parameters
    ----------
    problem
        The question.
    settings
        As for `mollifier.solve`; those of the collocation matter.

    Raises
    ------
    ConfigurationError
        If a setting is unknown or names no coordinate.

    Examples
    --------
    >>> from mollifier import Observations, ScalarUnknown
    >>> x, t = np.random.default_rng(0).random((2, 400))
    >>> obs = Observations({"u": np.exp(-t) * np.sin(3 * x)}, {"x": x, "t": t}, noise=0.01)
    >>> found = check(InverseProblem("u_t = D*u_xx", obs, {"D": ScalarUnknown()}))
    >>> found.ok, found.numbers["order"]
    (True, 2)
    """
    settings = settings if isinstance(settings, Settings) else validated(Settings, settings or {})
    findings: list[Finding] = []
    numbers: dict[str, Any] = {"order": problem.system.order, "linear_in": list(problem.system.linear_in)}
    suggested: dict[str, Any] = {}
    findings += _data(problem, numbers)
    findings += _unknowns(problem)
    few = list(_too_few(problem))
    findings += few
    if any(f.level == "error" for f in findings):
        return Check(tuple(findings), numbers, suggested)
    place = collocate(problem, settings.collocation)
    findings += _resolution(problem, place, numbers)
    findings += _fronts(problem, place, settings, numbers, suggested)
    findings += _terms(problem, place, numbers)
    return Check(tuple(findings), numbers, suggested)


def _data(problem: InverseProblem, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Counts, ranges and noise of every variable that the equation uses."""
    obs = problem.data
    yield _info("data", obs.summary().splitlines()[0] + ".")
    bounds, units, numbers["data"] = obs.bounds, obs.units, {}
    for c in problem.coordinates:
        low, high = bounds[c]
        yield _info("data", f"{c}: {low:.4g} to {high:.4g} {units.get(c, '')}".rstrip() + ".")
    for v in (*problem.fields, *problem.known):
        array = obs.dataset[v]
        missing = int(array.isnull().sum())
        part = f", {missing:,} missing ({100 * missing / array.size:.0f} %)" if missing else ""
        low, high = bounds[v]
        text = f"{v}: {array.size - missing:,} values{part}, {low:.4g} to {high:.4g} {units.get(v, '')}"
        yield _info("data", text.rstrip() + ".")
        numbers["data"][v] = {"values": array.size - missing, "missing": missing, "range": [low, high]}
        try:
            fraction = obs.noise_sd(v) / (obs.rms(v) or 1.0)
        except DataError as error:
            yield Finding("error" if v in problem.fields else "warning", "noise", str(error))
            continue
        source = obs.noise_source(v)
        numbers["data"][v] |= {"noise": fraction, "noise_source": source}
        loud = fraction > _NOISY
        advice = "; expect wide intervals, or smooth fields only" if loud else ""
        text = f"{v}: {100 * fraction:.2g} % of rms, {source}{advice}."
        yield Finding("warning" if loud else "info", "noise", text)
    for name, labels in obs.dataset.coords.items():
        count = np.unique(labels.values).size if labels.attrs.get("role") == "label" else 1
        if count > 1 and name != "replicate":
            yield _warn(
                "data",
                f"The samples mix {count} values of '{name}' and are taken for one field. If they are "
                "different experiments, choose one (data.select) or solve each (--each).",
            )
    if not any(f in numbers["data"] and "noise" not in numbers["data"][f] for f in problem.fields):
        for f in ident.constant_fields(problem):
            yield _error(
                "data",
                f"{f} does not vary beyond its noise: a constant field holds nothing of "
                "the unknowns. Check the column, the mask and the noise given.",
            )


def _unknowns(problem: InverseProblem) -> Iterator[Finding]:
    """Which unknown enters which equation, multiplying what."""
    system = problem.system
    for i, equation in enumerate(system.equations, start=1):
        head = f"equation {i}: " if len(system.equations) > 1 else ""
        for name in problem.unknowns:
            own = {sympy.Symbol(d.name) for d in system.derivatives.get(name, ())}
            held = [t for t in equation.terms if t.free_symbols & own]
            if not held:
                continue
            over = (
                f"({', '.join(problem.unknowns[name].over or ())})" if name in problem.unknown_fields else ""
            )
            how = (
                "linear" if name in system.linear_in else "not linear: needs a start, by initial or by bounds"
            )
            terms = ", ".join(map(str, held[:4])) + (", ..." if len(held) > 4 else "")
            yield _info("unknowns", f"{head}{name}{over} enters in {terms} ({how}).")
    if ident.has_trivial_answer(problem):
        yield _error(
            "identifiability",
            f"Every term of every equation holds {' or '.join(problem.unknowns)}"
            ", so zero solves it and any multiple of an answer is one too. Give one of them as a constant, "
            "or a source term that is known.",
        )


def _too_few(problem: InverseProblem) -> Iterator[Finding]:
    """Axes with fewer distinct positions than the order along them can be taken from."""
    for c in problem.coordinates:
        order = max(
            (d.along(c) for f in problem.fields for d in problem.system.derivatives.get(f, ())), default=0
        )
        places = np.unique(problem.data.dataset[c].values).size
        if order and places < order + 1:
            yield _error(
                "resolution",
                f"A derivative of higher order than the grid can carry: order "
                f"{order} along {c} needs data at {order + 1} values of {c} at least, and there are "
                f"{places}.",
            )


def _resolution(problem: InverseProblem, place: Collocation, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Grid, kernel and radius against the features and the order."""
    numbers["collocation"] = {
        "nodes": {a.name: a.size for a in place.grid},
        "wanted": place.wanted,
        "radius": place.radius,
        "cells": place.cells,
        "kernel": repr(place.kernel),
        "features": place.features,
    }
    shape = " x ".join(f"{a.name}: {a.size}" for a in place.grid)
    size = int(np.prod(place.grid.shape))
    yield _info("resolution", f"collocation grid {shape} ({size:,} nodes), kernel {place.kernel}.")
    for axis in place.grid:
        c, unit = axis.name, f" {axis.unit}" if axis.unit else ""
        feature = place.features[c]
        seen = f"shortest feature seen {feature:.3g}{unit}" if np.isfinite(feature) else "no feature seen"
        yield _info(
            "resolution",
            f"{c}: spacing {axis.spacing:.3g}{unit}, radius {place.radius[c]:.3g}{unit}"
            f" ({place.cells[c]:.2g} cells), {seen}.",
        )
        order = problem.system.order_along(c)
        if order and not np.isfinite(feature):
            yield _warn(
                "resolution",
                f"No change of the field along {c} beyond the noise is seen between "
                f"neighbouring samples; derivatives along {c} rest on slow changes only.",
            )
        if axis.size < place.wanted[c]:
            yield _warn(
                "resolution",
                f"{c}: {place.wanted[c]} nodes were wanted and {axis.size} are left "
                f"by collocation.max_nodes; raise it, or set collocation.nodes.{c}.",
            )
        elif np.isfinite(feature) and axis.spacing > feature / 2:
            yield _warn(
                "resolution",
                f"{c}: the spacing leaves fewer than 2 nodes to the shortest "
                f"feature; about {_power(_NODES_PER_FEATURE * axis.length / feature)} along "
                f"collocation.nodes.{c} would resolve it.",
            )
        yield from _carried(axis, place, order)


def _carried(axis: Axis, place: Collocation, order: int) -> Iterator[Finding]:
    """Whether a whole kernel holds the nodes that the order needs."""
    reach = place.radius[axis.name]
    n = 2 * int(np.ceil(reach / axis.spacing)) + 1
    some = Axis(axis.name, -(n - 1) / 2 * axis.spacing, (n - 1) / 2 * axis.spacing, n)
    try:
        rows(some, np.zeros(1), place.kernel, reach, order, place.accuracy)
    except GridError as error:
        yield _error("resolution", f"{axis.name}: {error}")


def _power(nodes: float) -> int:
    """The nearest 2^k + 1."""
    return 2 ** max(4, round(float(np.log2(nodes)))) + 1


def _fronts(
    problem: InverseProblem,
    place: Collocation,
    settings: Settings,
    numbers: dict[str, Any],
    suggested: dict[str, Any],
) -> Iterator[Finding]:
    """Fronts narrower than the distance of the samples, and the nodes that would carry them."""
    numbers["fronts"] = {}
    for f in problem.fields:
        samples = problem.data.samples(f)
        lengths = np.array([place.features[c] for c in samples.coordinates])
        for c, (count, width) in zip(samples.coordinates, jumps(samples, lengths, _JUMP), strict=True):
            if count < _FEWEST_JUMPS or not problem.system.order_along(c):
                continue
            axis = place.grid[c]
            nodes = _power(_NARROWER * _NODES_PER_FEATURE * axis.length / width)
            numbers["fronts"][c] = {"places": count, "width": width, "nodes": nodes}
            text = (
                f"{f} changes by more than {100 * _JUMP:.0f} % of its range between neighbouring samples "
                f"along {c} at {count} places: a front there is narrower than the data spacing (at most "
                f"{width:.2g} wide)"
            )
            if axis.size > 0.75 * nodes:
                yield _info("resolution", f"{text}; {axis.size} nodes along {c} should carry it.")
                continue
            suggested[f"collocation.nodes.{c}"] = max(nodes, suggested.get(f"collocation.nodes.{c}", 0))
            rest = [a.size for a in place.grid if a.name != c]
            size = nodes * int(np.prod(rest, dtype=int))
            over = f" ({size:,} nodes in all)" if size > settings.collocation.max_nodes else ""
            yield _warn(
                "resolution",
                f"{text}, and {axis.size} nodes may smear it. Set collocation.nodes.{c}: {nodes}{over}.",
            )


def _terms(problem: InverseProblem, place: Collocation, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Sizes of the terms, and whether they tell the unknowns apart."""
    try:
        terms = ident.terms_at_samples(problem, place.features)
    except MollifierError as error:
        yield _info("scales", f"The terms could not be looked at: {error}")
        return
    numbers["terms"] = {}
    for equation, found in ident.sizes(terms):
        text = ", ".join(f"{name}: {size:.2g}" for name, size in found)
        numbers["terms"][equation.text] = {str(name): size for name, size in found}
        yield _info("scales", f"typical sizes, with unknowns at their start or 1: {text}.")
        known = {s for t, s in found if not {str(x) for x in t.free_symbols} & set(problem.unknowns)}
        seen = [s for s in known if np.isfinite(s) and s > 0]
        if seen and max(seen) > _DYNAMIC_RANGE * min(seen):
            yield _warn(
                "scales",
                f"Terms without unknowns differ by {max(seen) / min(seen):.0e} in size: "
                "the smaller is lost. Look at the units of data and constants.",
            )
    highest = max((d.total for f in problem.fields for d in problem.system.derivatives.get(f, ())), default=0)
    lost = {n: r for n, r in ident.drowned(terms) if r > 0}
    for name, ratio in lost.items():
        top = problem.system.names.resolve(name).derivative.total == highest
        tail = " It is the highest derivative." if top and highest else ""
        yield _warn(
            "noise",
            f"At single places noise drowns {name} ({100 * ratio:.0f} % of it, even averaged over "
            f"the shortest feature): the answer rests on all samples together.{tail}",
        )
    yield from _identifiable(ident.factors(terms), lost)


def _identifiable(found: Mapping[str, ident.Factor], drowned: Mapping[str, float]) -> Iterator[Finding]:
    for name, factor in found.items():
        if factor.zero:
            yield _error(
                "identifiability",
                f"What multiplies {name} is zero at all samples: these data hold nothing of it. "
                f"Give {name} as a constant, or data where it acts.",
            )
        elif factor.lost and not drowned:
            yield _warn(
                "identifiability", f"What multiplies {name} is lost in noise: expect a wide interval."
            )
    for a, b, cosine, wholly in ident.alike(found):
        if wholly:
            yield _error(
                "identifiability",
                f"The terms of {a} and {b} are proportional over these data "
                f"(cosine {cosine:.4f}): only a combination of the two can be found. Fix one as a constant, "
                "or add data of another kind.",
            )
        else:
            yield _warn(
                "identifiability",
                f"The terms of {a} and {b} are nearly proportional (cosine {cosine:.3f}): "
                "their errors will be large and opposed.",
            )
