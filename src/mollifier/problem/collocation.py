"""Where the equation is imposed: grid, kernel and radius, chosen from the data unless given; steep fronts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mollifier.data.selection import Samples
from mollifier.errors import ConfigurationError, check_known
from mollifier.mollify.arrays import Array, Mask, nearest
from mollifier.mollify.bandwidth import feature_lengths, neighbour_changes
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import Kernel, kernel_for
from mollifier.mollify.radius import Radius
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.labels import curves, labels
from mollifier.problem.region import measured_region
from mollifier.problem.settings import CollocationSettings

# Cells between two frames of gridded data, beyond which only the shortest feature needs more.
_CELLS_BETWEEN = 4
_LEAST_NODES, _LEAST = {1: 129, 2: 33}, 21
_EDGED = 1.5  # Factor on these where a domain was given: at the corners of its edge states are steep.
# Nodes to the power of twice the order, about the condition number of the normal equations, up to which the
# least nodes are so many: beyond, rounding errors make standard errors too small.
_CONDITION = 1e13
_MOST_NODES = 10_000_000  # Upper limit: a radius given in the wrong unit needs more.


@dataclass(frozen=True)
class Collocation:
    """The collocation grid and the kernel on it."""

    grid: Grid  #: Physical coordinates.
    radius: Radius  #: Half-width by axis, in the axis's units and in cells.
    #: As in `mollifier.mollify.layer.MollifierLayer`.
    kernel: Kernel
    accuracy: int
    features: dict[str, float]  #: Shortest feature seen along each axis; infinite where none.
    needed: dict[str, int]  #: Nodes that resolve the features, before any limit.
    #: Which nodes lie in the domain or the measured region, where the equation is imposed, in the grid's
    #: shape; None where all do.
    inside: Mask | None = None
    #: Fronts narrower than the distance of the samples, by coordinate.
    fronts: Mapping[str, Front] = field(default_factory=dict)

    @property
    def left_out(self) -> float:
        """Share of the nodes outside the measured region."""
        return 0.0 if self.inside is None else float(np.mean(~self.inside))

    def within(self, names: Sequence[str]) -> Mask:
        """Which nodes over some of the coordinates lie in the measured region, in their grid's shape."""
        over = self.grid.subgrid(names)
        if self.inside is None:
            return np.ones(over.shape, dtype=np.bool_)
        others = tuple(i for i, n in enumerate(self.grid.names) if n not in over.names)
        return np.asarray(self.inside.any(axis=others), dtype=np.bool_)

    def part(self, at: Mapping[str, float]) -> Collocation:
        """The same at one place along some of the coordinates, all of whose axes keep one node.

        Nodes are in the measured region as those next to them are; all of them if none is.
        """
        inside, axes = self.inside, []
        for i, a in enumerate(self.grid):
            if a.name not in at:
                axes.append(a)
                continue
            inside = None if inside is None else inside.take(nearest(a.points, [at[a.name]]), axis=i)
            axes.append(Axis(a.name, at[a.name], at[a.name], 1, unit=a.unit))
        inside = inside if inside is not None and inside.any() else None
        return replace(self, grid=Grid(*axes), inside=inside)

    def between(self, coordinate: str) -> Collocation:
        """The same midway between neighbouring nodes along one coordinate, where both are in the region."""
        a, i, inside = self.grid[coordinate], self.grid.names.index(coordinate), self.inside
        if a.periodic:
            half = a.spacing / 2
            axis = Axis(a.name, a.lower + half, a.upper + half, a.size, True, a.unit)
            inside = None if inside is None else inside & np.roll(inside, -1, i)
        else:
            axis = Axis.from_points(a.name, (a.points[1:] + a.points[:-1]) / 2, unit=a.unit)
            first, last = slice(0, -1), slice(1, None)
            ends = [(*[slice(None)] * i, end) for end in (first, last)]
            inside = None if inside is None else inside[ends[0]] & inside[ends[1]]
        return replace(self, grid=Grid(*(axis if b is a else b for b in self.grid)), inside=inside)

    @property
    def scaled_grid(self) -> Grid:
        """The same nodes on [-1, 1] along each axis."""
        return self.grid.scaled

    @property
    def scaled_radius(self) -> Radius:
        """The radius in units of half the axis's length, on the scaled grid."""
        return Radius(self.scaled_grid, {a.name: self.radius[a.name] / a.half for a in self.grid})


def check_coordinates(problem: InverseProblem, *given: Any) -> None:
    """Refuse numbers of nodes or radii, where they are mappings, along what is no coordinate of a problem."""
    named = [c for by_coordinate in given if isinstance(by_coordinate, Mapping) for c in by_coordinate]
    text = "The collocation names '{}', not a coordinate."
    check_known(named, problem.coordinates, ConfigurationError, text)


def collocate(problem: InverseProblem, chosen: CollocationSettings | None = None) -> Collocation:
    """Grid, kernel and radius for a problem.

    Nodes and radius that are given are kept. Along `labels` without given nodes, the nodes are the values
    present, and the kernel reaches no other. Otherwise the spacing resolves the shortest feature of the
    data, and fronts that neighbouring samples straddle, within ``max_nodes``, and the radius is what the
    kernel and the order of the equation need in cells.
    """
    chosen = chosen or CollocationSettings()
    check_coordinates(problem, chosen.nodes, chosen.radius)
    kernel, cells = kernel_for(chosen.kernel, problem.system.order, chosen.degree)
    bounds, periods = problem.bounds, problem.data.periodic
    needed, fixed = {}, dict(chosen.nodes or {})
    apart = {c: np.unique(problem.data.dataset[c].values) for c in labels(problem) if c not in fixed}
    _check_labels(problem, apart)
    features = _features(problem, tuple(apart))
    steep = fronts(problem, features)
    least = _LEAST_NODES.get(len(problem.coordinates), _LEAST)
    least = least if problem.interior is None else int(_EDGED * least)
    least = min(least, max(_LEAST, int(_CONDITION ** (0.5 / max(problem.system.order, 1)))))
    for c in problem.coordinates:
        low, high = bounds[c]
        length = periods.get(c, high - low)
        if not length > 0:
            raise ConfigurationError(
                f"The data hold one point along '{c}' ({low:g}): the equation cannot be imposed over it. "
                f"Give data at several values of '{c}', or write the equation without it."
            )
        given = _given_radius(chosen, c)
        if c in apart:
            fixed[c] = len(apart[c])
        elif given is not None and c not in fixed:
            fixed[c] = int(np.ceil(length * cells / given)) + 1
        resolved = int(np.ceil(NODES_PER_FEATURE * length / features[c])) + 1
        resolved = max(resolved, steep[c].nodes(length)) if c in steep else resolved
        needed[c] = fixed.get(c) or max(min(least, _most_seen(problem, c, length)), resolved)
    nodes = _within(needed, set(fixed), chosen.max_nodes, least)
    total = float(np.prod([float(n) for n in nodes.values()]))
    if total > _MOST_NODES:
        raise ConfigurationError(
            f"The collocation needs {total:.2g} nodes ({nodes}), more than can be held; "
            "give fewer nodes or a larger radius."
        )
    axes, radius = [], {}
    for c in problem.coordinates:
        low, high = bounds[c]
        upper = low + periods[c] if c in periods else high
        axis = Axis(c, low, upper, nodes[c], c in periods, problem.data.units.get(c, ""))
        radius[c] = _given_radius(chosen, c) or cells * axis.spacing
        if c in apart:
            axis = replace(Axis.from_points(c, apart[c], unit=axis.unit), discrete=True)
            radius[c] = axis.spacing
        axes.append(axis)
    grid = Grid(*axes)
    inside = _inside(problem, grid, features, chosen)
    return Collocation(grid, Radius(grid, radius), kernel, chosen.accuracy, features, needed, inside, steep)


def _inside(
    problem: InverseProblem, grid: Grid, features: Mapping[str, float], chosen: CollocationSettings
) -> Mask | None:
    """Which nodes lie in the domain, or, where none was given, in the measured region; None where all do."""
    if problem.interior is None:
        return measured_region(problem, grid, features) if chosen.region == "data" else None
    inside = problem.interior.on(grid)
    if not inside.any():
        raise ConfigurationError(
            f"No node of the collocation grid {dict(zip(grid.names, grid.shape, strict=True))} lies inside "
            f"the domain ({problem.interior.name}), which is narrower than the distance of the nodes; give "
            "more (collocation.nodes)."
        )
    return None if inside.all() else inside


def _check_labels(problem: InverseProblem, apart: Mapping[str, Array]) -> None:
    """Refuse conditions at values of a label that are not in the data: between curves there is none."""
    for condition in problem.system.conditions:
        for c in condition.at.keys() & apart.keys():
            if not np.isclose(apart[c], condition.at[c]).any():
                raise ConfigurationError(
                    f"The condition '{condition}' is at no value of '{c}' in the data, which number curves: "
                    f"{', '.join(f'{x:g}' for x in apart[c][:6])}{', ...' if len(apart[c]) > 6 else ''}."
                )


def _most_seen(problem: InverseProblem, coordinate: str, length: float) -> int:
    """Nodes over a length that leave `_CELLS_BETWEEN` cells between neighbouring nodes of data on a grid."""
    if not problem.data.gridded:
        return _MOST_NODES
    low, high = problem.data.bounds[coordinate]
    beyond = max(length / (high - low), 1.0) if coordinate not in problem.data.periodic else 1.0
    return int(_CELLS_BETWEEN * (problem.data.dataset.sizes[coordinate] - 1) * beyond) + 1


def _features(problem: InverseProblem, apart: tuple[str, ...]) -> dict[str, float]:
    """Shortest feature of any field along each coordinate; infinite along those that keep curves apart."""
    features = dict.fromkeys(problem.coordinates, np.inf)
    for f in problem.fields:
        for _, s in curves(problem.data.mask_outliers().samples(f), apart):
            for c, length in zip(s.coordinates, feature_lengths(s.points, s.values, s.sd), strict=True):
                features[c] = min(features[c], float(length))
    return features


def _given_radius(chosen: CollocationSettings, coordinate: str) -> float | None:
    if isinstance(chosen.radius, Mapping):
        return chosen.radius.get(coordinate)
    return None if chosen.radius == "auto" else float(chosen.radius)


def _within(needed: dict[str, int], fixed: set[str], most: int, least: int) -> dict[str, int]:
    """Fewer nodes along the axes that were not fixed, the longest first, until they fit the limit."""
    nodes = dict(needed)
    free = [c for c in nodes if c not in fixed]
    while free and np.prod([float(n) for n in nodes.values()]) > most:
        longest = max(free, key=lambda c: nodes[c])
        if nodes[longest] <= min(least, 9):
            break
        nodes[longest] = int(nodes[longest] * 0.95)
    return nodes


#: Nodes per shortest feature (the range of the field over its steepest slope): about a spline's width.
NODES_PER_FEATURE = 4.0


#: Change between neighbours, as a part of the field's range, from which a front is narrower than their
#: distance.
FRONT_JUMP = 0.25
_FEWEST = 5  # Such pairs of neighbours along a coordinate below which they may be chance.
# What samples show of a front is an upper limit of its width; so much narrower it is taken to be.
_NARROWER = 1.3
_CENTRES = 20_000  # Most samples whose neighbours are looked at.


@dataclass(frozen=True)
class Front:
    """The steepest front of a field along a coordinate.

    ``places`` pairs of neighbouring samples straddle one; ``width`` is that of the steepest, at most.
    """

    field: str
    places: int
    width: float

    def nodes(self, length: float) -> int:
        """Nodes along an axis of that length that carry it."""
        return rounded(_NARROWER * NODES_PER_FEATURE * length / self.width)


def rounded(nodes: float) -> int:
    """The nearest 2^k + 1.

    >>> rounded(300), rounded(3)
    (257, 17)
    """
    return 2 ** max(4, round(float(np.log2(nodes)))) + 1


def fronts(problem: InverseProblem, features: Mapping[str, float]) -> dict[str, Front]:
    """The steepest front along each coordinate along which an equation differentiates, where there is one.

    ``features`` are the shortest along each coordinate, in its unit.
    """
    found: dict[str, Front] = {}
    data = problem.data.mask_outliers()
    for f in problem.fields:
        samples = data.samples(f)
        lengths = np.array([features[c] for c in samples.coordinates])
        for c, (count, width) in zip(samples.coordinates, jumps(samples, lengths), strict=True):
            steeper = c not in found or width < found[c].width
            if count >= _FEWEST and problem.system.order_along(c) and steeper:
                found[c] = Front(f, count, width)
    return found


def jumps(samples: Samples, features: Array) -> Iterator[tuple[int, float]]:
    """Fronts that neighbouring samples straddle: for each coordinate their number and the steepest's width.

    ``features``, shape (d,), are the shortest along each coordinate, in its unit. A front is a change between
    neighbours, noise allowed for, by more than ``FRONT_JUMP``.

    >>> x = np.linspace(0, 1, 40)[:, None]
    >>> samples = Samples(("x",), x, np.sign(x[:, 0] - 0.51), np.full(40, 1e-3))
    >>> [(count, round(width, 3)) for count, width in jumps(samples, np.array([0.1]))]
    [(2, 0.026)]
    """
    points, values = samples.points, samples.values
    if len(points) < 2:
        yield from [(0, np.inf)] * points.shape[1]
        return
    extent = np.where(np.ptp(points, axis=0) > 0, np.ptp(points, axis=0), 1.0)
    metric = np.minimum(features, extent)
    spread = float(np.subtract(*np.percentile(values, [99.5, 0.5])))
    some = np.random.default_rng(0).permutation(len(points))[:_CENTRES]
    share = len(points) / len(some)
    step, along, change = neighbour_changes(points, values, samples.sd, metric, some)
    change /= spread or 1.0
    for a in range(points.shape[1]):
        first = np.argmin(np.where(along[..., a], step[..., a], np.inf), axis=1)
        index = np.arange(len(some)), first
        jump = along[..., a][index] & (change[index] > FRONT_JUMP)
        width = np.sort(step[..., a][index][jump] * metric[a] / change[index][jump])
        yield round(int(jump.sum()) * share), float(width[min(2, len(width)) - 1]) if len(width) else np.inf
