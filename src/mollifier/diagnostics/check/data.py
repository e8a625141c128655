"""Counts, ranges, noise and coverage of the data, and which unknown enters where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import sympy
from scipy.spatial import KDTree

from mollifier.data.noise import of_rms
from mollifier.diagnostics.check.findings import Finding, about
from mollifier.engines.identifiability.structure import constant_fields
from mollifier.errors import DataError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.measurements import summary

info, warn, error = about("data")

# Places of the domain at which holes are sought, and the share of them that may lie in some.
_PLACES, _HOLES = 4000, 0.1
_NAMED = 1.1  # Places of a label on average, up to which it names them.
# A hole is a place farther from every sample than a feature, or than so many typical distances of samples.
_FAR = 4.0


def of_data(problem: InverseProblem, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Counts, ranges and noise of every variable that the equation uses."""
    obs = problem.data
    yield info(obs.summary().splitlines()[0] + ".")
    if "selected" in obs.dataset.attrs:
        yield info(f"Selected: {obs.dataset.attrs['selected']}.")
    bounds, units, numbers["data"] = obs.bounds, obs.units, {}
    for c in problem.coordinates:
        low, high = bounds[c]
        yield info(f"{c}: {low:.4g} to {high:.4g} {units.get(c, '')}".rstrip() + ".")
    for v in (*problem.fields, *problem.known):
        array = obs.dataset[v]
        missing = int(array.isnull().sum())
        part = f", {missing:,} missing ({100 * missing / array.size:.0f} %)" if missing else ""
        low, high = bounds[v]
        text = f"{v}: {array.size - missing:,} values{part}, {low:.4g} to {high:.4g} {units.get(v, '')}"
        yield info(text.rstrip() + ".")
        numbers["data"][v] = {"values": array.size - missing, "missing": missing, "range": [low, high]}
        try:
            fraction = obs.noise_sd(v) / (obs.rms(v) or 1.0)
        except DataError as why:
            yield Finding("error" if v in problem.fields else "warning", "noise", str(why))
            continue
        source = obs.noise_source(v)
        numbers["data"][v] |= {"noise": fraction, "noise_source": source}
        yield Finding("info", "noise", f"{v}: {of_rms(fraction)}, {source}.")
        for found in obs.noise_findings(v):
            declare = f"Declare it: {words}." if (words := found.declaration(v)) and found.grave else ""
            level = "warning" if found.grave else "info"
            yield Finding(level, "noise", f"{v}: {found.text}; intervals assume independent noise.", declare)
    for name, labels in obs.dataset.coords.items():
        count = np.unique(labels.values).size if labels.attrs.get("role") == "label" else 1
        if count > 1 and name != "replicate" and not _names_places(problem, str(name)):
            yield warn(
                f"The samples mix {count} values of '{name}' and are taken for one field.",
                "If they are different experiments, choose one (data.select) or solve each (--each).",
            )
    if not any(f in numbers["data"] and "noise" not in numbers["data"][f] for f in problem.fields):
        for f in constant_fields(problem):
            yield error(
                f"{f} does not vary beyond its noise: a constant field says nothing about the unknowns.",
                "Check the column, the mask and the noise given.",
            )


def _names_places(problem: InverseProblem, label: str) -> bool:
    """Whether a label names places, as wells or stations: nearly every value is at one place only."""
    dataset = problem.data.dataset
    if problem.data.gridded:
        return False
    space = [c for c in problem.coordinates if c != problem.system.names.time] or list(problem.coordinates)
    values = np.unique(dataset[label].values, return_inverse=True)[1].ravel()
    pairs = np.unique(np.column_stack([values, *(dataset[c].values for c in space)]), axis=0)
    return len(pairs) <= _NAMED * (values.max() + 1)


def of_damage(problem: InverseProblem, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Values of fields and known coefficients that are no measurements."""
    numbers["damage"] = {}
    for d in problem.data.part.damage:
        if d.variable in (*problem.fields, *problem.known):
            numbers["damage"].setdefault(d.variable, {})[d.kind] = int(d.mask.sum())
            yield warn(
                f"{d.text}. What follows is found without them.",
                "Leave them out with --mask-outliers (data.mask_outliers: true; in Python "
                "data.mask_outliers()), or see whether they are real.",
            )


def of_unknowns(problem: InverseProblem) -> Iterator[Finding]:
    """Which unknown enters which equation, multiplying what."""
    system = problem.system
    for i, equation in enumerate(system.imposed, start=1):
        head = f"'{equation}': " if equation.at else f"equation {i}: " if len(system.equations) > 1 else ""
        for name in problem.unknowns:
            own = {sympy.Symbol(d.name) for d in system.derivatives.get(name, ())}
            held = [t for t in equation.terms if t.free_symbols & own]
            if not held:
                continue
            field, linear = problem.unknown_fields.get(name), name in system.linear_in
            over = f"({', '.join(field.over or ())})" if field else ""
            how = "linear" if linear else "not linear: starts from the best of many values, or from initial"
            terms = ", ".join(map(str, held[:4])) + (", ..." if len(held) > 4 else "")
            yield Finding("info", "unknowns", f"{head}{name}{over} enters in {terms} ({how}).")
    for name, samples in problem.measurements.items():
        yield Finding("info", "unknowns", summary(name, samples))


def of_units(problem: InverseProblem, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Terms whose units differ, and the units that follow for names without one."""
    numbers["units"] = dict(problem.units.found)
    for text in problem.units.conflicts:
        yield Finding("warning", "units", text, "Give coordinates, variables and unknowns units that agree.")
    if found := problem.units.found:
        units = ", ".join(f"{n} in {unit}" for n, unit in found.items())
        yield Finding("info", "units", f"the equation gives what has no unit: {units}.")


def of_coverage(
    problem: InverseProblem, features: Mapping[str, float], numbers: dict[str, Any]
) -> Iterator[Finding]:
    """Parts of the box of the data that hold no sample: holes, and edges that were not measured."""
    numbers["coverage"] = {}
    rng = np.random.default_rng(0)
    for f in problem.fields:
        if problem.data.gridded and not bool(problem.data.dataset[f].isnull().any()):
            numbers["coverage"][f] = {"empty": 0.0, "empty_at_edges": 0.0}
            continue
        s = problem.data.samples(f)
        box = np.array([problem.bounds[c] for c in s.coordinates])
        length = np.where(box[:, 1] > box[:, 0], box[:, 1] - box[:, 0], 1.0)
        metric = np.minimum([features[c] for c in s.coordinates], length)
        metric = np.maximum(metric, [_FAR * _gap(x) for x in s.points.T]) if problem.data.gridded else metric
        tree = KDTree(s.points / metric)
        some = s.points[rng.permutation(len(s.points))[:_PLACES]] / metric
        typical = float(np.median(tree.query(some, 2)[0][:, 1])) if len(s.points) > 1 else 1.0
        places = box[:, 0] + length * rng.random((_PLACES, len(box)))
        if problem.interior is not None:
            places = places[problem.interior.contains(dict(zip(s.coordinates, places.T, strict=True)))]
        distance = np.asarray(tree.query(places / metric)[0])
        empty = distance > max(1.0, _FAR * typical)
        share = float(empty.mean())
        edge = np.any((places < box[:, 0] + 0.05 * length) | (places > box[:, 1] - 0.05 * length), axis=1)
        numbers["coverage"][f] = {
            "empty": share,
            "empty_at_edges": float(empty[edge].mean()) if edge.any() else 0.0,
            "farthest": float(distance.max()),
        }
        if share > _HOLES:
            middle = np.round(places[np.argmax(distance)], 3)
            where = ", ".join(f"{c} = {x:g}" for c, x in zip(s.coordinates, middle, strict=True))
            yield Finding(
                "warning",
                "coverage",
                f"{100 * share:.0f} % of the box of the data lie farther from every sample of {f} than its "
                f"shortest feature, as around {where}: nothing is known there.",
                "Measure there, or cut the data to where they are dense (data.window, a mask).",
            )
        else:
            yield Finding("info", "coverage", f"samples of {f} leave {100 * share:.0f} % of their box empty.")


def _gap(x: Any) -> float:
    """The typical distance of neighbouring nodes."""
    nodes = np.unique(x)
    return float(np.median(np.diff(nodes))) if nodes.size > 1 else 0.0
