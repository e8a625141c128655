"""Conditions along the edge of a domain: one at each of some places, with the outward normal there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from mollifier.data.observations import Observations
from mollifier.errors import ConfigurationError
from mollifier.mollify.arrays import Array, Mask
from mollifier.problem.conditions import ALL, EDGE, Condition
from mollifier.problem.domain import Interior
from mollifier.problem.shapes import inequalities

# Numbers that steer how the edge is found; lengths are those of the data's box.

_NODES = 301  # Nodes a side, between which the edge is sought.
_BEYOND = 0.25  # How far beyond the data.
_HALVINGS = 40  # Bisections of each link between a node inside and one outside.
_PLACES = 32  # Places of a condition, as even along the edge as the farthest-point rule makes them.
_AROUND = 0.03  # Radius in which a parabola is fitted to the edge, whose normal is taken.
# Rms distance from the line fitted there over the length along it, beyond which there is a corner.
_STRAIGHT = 0.2


def at_edges(
    conditions: Sequence[Condition],
    interior: Interior | None,
    data: Observations,
    constants: Mapping[str, float],
) -> tuple[Condition, ...]:
    """The conditions, those along the edge as one for each of its places."""
    found: list[Condition] = []
    for condition in conditions:
        found += [condition] if EDGE not in condition.places else _along(condition, interior, data, constants)
    return tuple(found)


def _along(
    condition: Condition, interior: Interior | None, data: Observations, constants: Mapping[str, float]
) -> Iterator[Condition]:
    names = () if interior is None else interior.coordinates(data)
    if interior is None or len(names) != 2:
        raise ConfigurationError(
            f"The condition '{condition.equation}' is at the edge, and "
            + ("there is no domain." if interior is None else f"the domain is over {', '.join(names)}.")
            + " A domain over two coordinates was expected, as in domain=Domain(inside='x^2 + y^2 < 1')."
        )
    points, normals = edge(interior, names, data)
    where = str(condition.places[EDGE])
    chosen = np.ones(len(points), dtype=bool)
    for shape in inequalities(where, data, constants) if where != ALL else ():
        chosen &= shape.holds(points[:, [names.index(c) for c in shape.coordinates]])
    if not chosen.any():
        raise ConfigurationError(
            f"The condition '{condition.equation}' is at the edge of the domain ({interior.name})"
            f"{'' if where == ALL else f' where {where}'}, which is not within {_BEYOND:g} lengths of "
            "the data."
        )
    points, normals = points[chosen], normals[chosen]
    rest = {c: x for c, x in condition.places.items() if c != EDGE}
    for i in _spread(points, _PLACES):
        at = {c: float(x) for c, x in zip(names, points[i], strict=True)}
        normal = {c: float(x) for c, x in zip(names, normals[i], strict=True)}
        yield replace(condition, at=at | rest, normal=normal)


def edge(interior: Interior, names: Sequence[str], data: Observations) -> tuple[Array, Array]:
    """Places on the edge of a domain and outward unit normals, (n, 2) each, but for its corners."""
    low, high = (np.array([data.bounds[c][end] for c in names]) for end in (0, 1))
    length = high - low
    axes = [np.linspace(a - _BEYOND * n, b + _BEYOND * n, _NODES)
            for a, b, n in zip(low, high, length, strict=True)]  # fmt: skip
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def holds(points: Array) -> Mask:
        return interior.contains(dict(zip(names, points.reshape(-1, 2).T, strict=True))).reshape(
            points.shape[:-1]
        )

    inner = holds(nodes)
    ends: list[tuple[Array, Array]] = []
    for first, second in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
        differ, begins = inner[first] != inner[second], inner[first]
        a, b = nodes[first][differ], nodes[second][differ]
        starts = begins[differ][:, None]
        ends.append((np.where(starts, a, b), np.where(starts, b, a)))
    inside, outside = (np.concatenate([e[k] for e in ends]) for k in (0, 1))
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        held = holds(middle)[:, None]
        inside, outside = np.where(held, middle, inside), np.where(held, outside, middle)
    if not len(inside):
        return inside, inside
    normals, smooth = np.zeros_like(inside), np.zeros(len(inside), dtype=bool)
    tree = KDTree(inside / length)
    for i, near in enumerate(tree.query_ball_point(inside / length, _AROUND)):
        part = inside[near] - inside[i]
        _, spread, (along, across) = np.linalg.svd(part - part.mean(axis=0), full_matrices=True)
        smooth[i] = len(near) > 3 and spread[1] < _STRAIGHT * spread[0]
        if smooth[i]:
            slope = np.polyfit(part @ along, part @ across, 2)[1]
            normals[i] = (across - slope * along) / np.hypot(1.0, slope)
    step = 1e-2 * _AROUND * length
    normals *= np.where(holds(inside + step * normals), -1.0, 1.0)[:, None]
    return inside[smooth], normals[smooth]


def _spread(points: Array, most: int) -> list[int]:
    """Numbers of points far from one another, each the farthest from those before it."""
    chosen, distance = [0], np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < min(most, len(points)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen
