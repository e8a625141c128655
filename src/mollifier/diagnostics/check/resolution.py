"""Whether grid, kernel and data are fine enough for the order and for what changes fastest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mollifier.diagnostics.check.findings import Finding, about
from mollifier.engines.choose import choose
from mollifier.engines.gates.alias import possible_aliases, short_waves
from mollifier.engines.registry import ENGINES
from mollifier.errors import GridError
from mollifier.mollify.grid import Axis
from mollifier.mollify.kernels import Kernel
from mollifier.mollify.stencils import rows
from mollifier.problem.collocation import FRONT_JUMP, NODES_PER_FEATURE, Collocation, rounded
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import keys_at

info, warn, error = about("resolution")

_HIGHEST = 200.0  # Waves over a radius up to which a kernel's spectrum is searched, in radians.


def too_few(problem: InverseProblem) -> Iterator[Finding]:
    """Axes with fewer distinct positions than the order along them can be taken from."""
    for c in problem.coordinates:
        order = max(problem.system.order_along(c, f) for f in problem.all_states)
        places = np.unique(problem.data.dataset[c].values).size
        if order and places < order + 1:
            yield error(
                f"A derivative of higher order than the grid can carry: order {order} along {c} needs data "
                f"at {order + 1} values of {c} at least, and there are {places}.",
                f"Measure at more values of {c}, or ask with an equation of lower order.",
            )


def of_grid(problem: InverseProblem, place: Collocation, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Grid, kernel and radius against the features and the order."""
    numbers["collocation"] = {
        "nodes": {a.name: a.size for a in place.grid},
        "needed": place.needed,
        "radius": dict(place.radius),
        "cells": place.radius.cells,
        "kernel": repr(place.kernel),
        "features": place.features,
        "left_out": place.left_out,
        "shortest_wave": {},
    }
    shape = " x ".join(f"{a.name}: {a.size}" for a in place.grid)
    size = int(np.prod(place.grid.shape))
    yield info(f"collocation grid {shape} ({size:,} nodes), kernel {place.kernel}.")
    if place.inside is not None:
        where = (
            "the measured region, in holes or corners of the box without samples (collocation.region)"
            if problem.interior is None
            else f"the domain ({problem.interior.name})"
        )
        yield info(
            f"{100 * place.left_out:.0f} % of the nodes lie outside {where}: joint and network do not impose "
            "the equation there, and leave the fields open."
        )
    for axis in place.grid:
        c, unit = axis.name, f" {axis.unit}" if axis.unit else ""
        if axis.discrete:
            continue
        feature = place.features[c]
        seen = f"shortest feature seen {feature:.3g}{unit}" if np.isfinite(feature) else "no feature seen"
        wave = shortest_wave(place.kernel, place.radius[c])
        numbers["collocation"]["shortest_wave"][c] = wave
        yield info(
            f"{c}: spacing {axis.spacing:.3g}{unit}, radius {place.radius[c]:.3g}{unit}"
            f" ({place.radius.cells[c]:.2g} cells), follows waves down to {wave:.3g}{unit}, {seen}."
        )
        order = problem.system.order_along(c)
        if order and not np.isfinite(feature):
            yield warn(
                f"No change of the field along {c} beyond the noise is seen between "
                f"neighbouring samples; derivatives along {c} rest on slow changes only."
            )
        if axis.size < place.needed[c]:
            text = (
                f"{c}: {place.needed[c]} nodes are needed and {axis.size} are left by collocation.max_nodes"
            )
            engine = ENGINES[choose(problem)[0]]
            if "max_nodes" not in keys_at(engine.settings, ["collocation"]):
                yield info(f"{text}; the {engine.name} engine uses those of the data.")
            else:
                yield warn(f"{text}.", f"Raise it, or set collocation.nodes.{c}.")
        elif np.isfinite(feature) and axis.spacing > feature / 2:
            yield warn(
                f"{c}: the spacing leaves fewer than 2 nodes to the shortest "
                f"feature; about {rounded(NODES_PER_FEATURE * axis.length / feature)} along "
                f"collocation.nodes.{c} would resolve it."
            )
        yield from _carried(axis, place, order)


def _carried(axis: Axis, place: Collocation, order: int) -> Iterator[Finding]:
    """Whether a whole kernel holds the nodes that the order needs."""
    reach = place.radius[axis.name]
    n = 2 * int(np.ceil(reach / axis.spacing)) + 1
    some = Axis(axis.name, -(n - 1) / 2 * axis.spacing, (n - 1) / 2 * axis.spacing, n)
    try:
        rows(some, np.zeros(1), place.kernel, reach, order, place.accuracy)
    except GridError as why:
        yield error(f"{axis.name}: {why}", "Widen collocation.radius, or leave it to the data.")


def of_fronts(
    place: Collocation, max_nodes: int, numbers: dict[str, Any], suggested: dict[str, Any]
) -> Iterator[Finding]:
    """Fronts narrower than the distance of the samples, and whether the nodes carry them."""
    numbers["fronts"] = {}
    for c, front in place.fronts.items():
        axis = place.grid[c]
        nodes = front.nodes(axis.length)
        numbers["fronts"][c] = {"places": front.places, "width": front.width, "nodes": nodes}
        text = (
            f"{front.field} changes by more than {100 * FRONT_JUMP:.0f} % of its range between neighbouring "
            f"samples along {c} at {front.places} places: a front there is narrower than the data spacing "
            f"(at most {front.width:.2g} wide)"
        )
        if axis.size > 0.75 * nodes:
            yield info(f"{text}; {axis.size} nodes along {c} should carry it.")
            continue
        suggested[f"collocation.nodes.{c}"] = max(nodes, suggested.get(f"collocation.nodes.{c}", 0))
        rest = [a.size for a in place.grid if a.name != c]
        size = nodes * int(np.prod(rest, dtype=int))
        over = f" ({size:,} nodes in all)" if size > max_nodes else ""
        yield warn(
            f"{text}, and {axis.size} nodes may smear it.", f"Set collocation.nodes.{c}: {nodes}{over}."
        )


def of_waves(problem: InverseProblem, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Waves of so few nodes that they may be aliases of shorter ones."""
    numbers["short_waves"] = short_waves(problem)
    found = possible_aliases(problem)
    if found is not None:
        yield error(*found)


def shortest_wave(kernel: Kernel, radius: float) -> float:
    """The wavelength that a kernel halves, in the unit of the radius.

    >>> from mollifier.mollify.kernels import BSpline
    >>> round(shortest_wave(BSpline(5), 3.0), 2)  # in cells
    3.82
    """
    s = np.linspace(-1.0, 1.0, 2001)
    weight = np.asarray(kernel(s), float)
    weight = weight / weight.sum()
    steps = np.linspace(0.0, _HIGHEST, 4001)
    above = np.array([weight @ np.cos(k * s) for k in steps]) - 0.5
    if not (above < 0).any():
        return 0.0
    at = int(np.argmax(above < 0))
    low, high = above[at - 1], above[at]
    return 2 * np.pi * radius / float(steps[at - 1] + (steps[at] - steps[at - 1]) * low / (low - high))
