"""The measured region of space: where the equation is imposed by default.

A hole in the data, or a corner of their box that lies outside of the body, may be a part of the world in
which the equation does not hold. A place is left out if a ball that holds it, with its centre in the box of
the data, is empty of samples (an alpha hull: Edelsbrunner, Kirkpatrick and Seidel, IEEE Trans. Inf. Theory
29:551, 1983). The ball is so large that samples which fill the box at random leave it empty nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import sympy
from scipy.spatial import KDTree

from mollifier.mollify.arrays import Array, Mask
from mollifier.mollify.grid import Axis, Grid
from mollifier.problem.conditions import reached
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.labels import labels

# Distinct places in space from which a region is sought: fewer do not show its shape.
_LEAST_PLACES = 100
_PROBES = 4000  # Places of the box at which the distance to the nearest sample is taken.
# Quantiles of that distance; their ratio shows the dimension of the sampling.
_QUANTILES = (0.10, 0.25)
# Expected number of samples in the part of the ball that a corner of the box leaves.
_IN_CORNER = 7.0
_FEATURES = 0.25  # Least radius of the ball, in the shortest feature of the fields.
# Centres of balls along each of two coordinates, and of three or more.
_CENTRES = (121, 41)
_LEAST_SHARE = 0.01  # Share of the nodes up to which none is left out.


def measured_region(problem: InverseProblem, grid: Grid, features: Mapping[str, float]) -> Mask | None:
    """Which nodes of a grid over all coordinates lie in the measured region; None where all do.

    Time and labels do not matter: a place of space is in the region at all times. With one coordinate of
    space, few places, data that fill a grid, or conditions beyond the data, the region is the box. Distances
    are in lengths of the box.
    """
    space = [c for c in problem.system.names.spatial if c in grid.names and c not in labels(problem)]
    if len(space) < 2 or any(not set(space) <= set(problem.data.coordinates_of(f)) for f in problem.fields):
        return None
    reach = reached(problem.places, problem.data)
    if any(reach[c] != problem.data.bounds[c] for c in space):
        return None
    if problem.data.gridded and not any(bool(problem.data.dataset[f].isnull().any()) for f in problem.fields):
        return None
    samples = np.unique(np.concatenate([_places(problem, f, space) for f in problem.fields]), axis=0)
    if len(samples) < _LEAST_PLACES:
        return None
    axes = [grid[c] for c in space]
    low, length = (np.array([getattr(a, part) for a in axes]) for part in ("lower", "length"))
    wraps = np.array([float(a.periodic) for a in axes])  # the period of a scaled axis, 0 for none
    scaled = (samples - low) / length
    tree = KDTree(np.where(wraps > 0, scaled % 1.0, scaled), boxsize=wraps)
    probes = _spread(_PROBES, len(axes))
    shortest = min(features[a.name] / a.length for a in axes)
    radius = _radius(np.asarray(tree.query(probes)[0]), len(axes))
    radius = max(radius, _FEATURES * min(shortest, 1.0))
    count = _CENTRES[min(len(axes) - 2, 1)]
    centres = Grid(*(Axis(a.name, 0.0, 1.0, count, a.periodic) for a in axes)).coords()
    empty = centres[np.asarray(tree.query(centres)[0]) >= radius]
    if not len(empty):
        return None
    nodes = (grid.subgrid(space).coords() - low) / length
    inside = np.asarray(KDTree(empty, boxsize=wraps).query(nodes)[0]) >= radius
    if not inside.any() or np.mean(~inside) < _LEAST_SHARE:
        return None
    shape = [a.size if a.name in space else 1 for a in grid]
    return np.array(np.broadcast_to(inside.reshape(shape), grid.shape))


def _spread(count: int, dimension: int) -> Array:
    """Places that fill the unit box evenly, (count, dimension), by Halton's sequence.

    `scipy.stats`, which has it, takes half a second to import.

    >>> _spread(4, 2).round(3).tolist()
    [[0.0, 0.0], [0.5, 0.333], [0.25, 0.667], [0.75, 0.111]]
    """
    found = np.zeros((count, dimension))
    for i, column in enumerate(found.T):
        base, left, unit = int(sympy.prime(i + 1)), np.arange(count), 1.0
        while left.any():
            unit /= base
            column += unit * (left % base)
            left //= base
    return found


def _radius(distance: Array, dimension: int) -> float:
    """Radius of a ball that is hardly ever empty, from distances of random places to the nearest sample.

    For samples at random with n in the unit of volume, a distance is below d with the probability
    ``1 - exp(-n V(d))``, and V grows with a power of d that the ratio of two quantiles shows: it is lower
    than the dimension where samples lie along lines.
    """
    first, second = np.quantile(distance, _QUANTILES)
    held = -np.log1p(-np.array(_QUANTILES))
    power = np.log(_IN_CORNER * 2**dimension / held[0]) / np.log(held[1] / held[0])
    return float(first * (second / first) ** power) if first > 0 else np.inf


def _places(problem: InverseProblem, field: str, space: list[str]) -> Array:
    """Where in space a field was measured at some time, shape (n, coordinates of space)."""
    data = problem.data
    if not data.gridded:
        return data.samples(field).over(space)
    array = data.dataset[field].notnull()
    seen = array.any([d for d in array.dims if d not in space]).transpose(*space)
    index = np.nonzero(seen.values)
    return np.stack([data.dataset[c].values[i] for c, i in zip(space, index, strict=True)], axis=-1)
