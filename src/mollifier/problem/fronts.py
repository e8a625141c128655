"""Fronts narrower than the distance of the samples, and the nodes that carry them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mollifier.data.selection import Samples
from mollifier.mollify.arrays import Array
from mollifier.mollify.bandwidth import neighbour_changes
from mollifier.problem.inverse_problem import InverseProblem

NODES_PER_FEATURE = 4.0
"""Nodes per shortest feature (the range of the field over its steepest slope): about a spline's width."""


@dataclass(frozen=True)
class FrontTuning:
    """Numbers that steer how fronts are found."""

    jump: float = 0.25
    """Change between neighbours, as a part of the field's range, from which a front is narrower than their
    distance."""
    fewest: int = 5
    """Such pairs of neighbours along a coordinate below which they may be chance."""
    narrower: float = 1.3
    """What samples show of a front is an upper limit of its width; so much narrower it is taken to be."""
    centres: int = 20_000
    """Most samples whose neighbours are looked at."""


TUNING = FrontTuning()


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
        return rounded(TUNING.narrower * NODES_PER_FEATURE * length / self.width)


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
            if count >= TUNING.fewest and problem.system.order_along(c) and steeper:
                found[c] = Front(f, count, width)
    return found


def jumps(samples: Samples, features: Array, tuning: FrontTuning = TUNING) -> Iterator[tuple[int, float]]:
    """Fronts that neighbouring samples straddle: for each coordinate their number and the steepest's width.

    ``features``, shape (d,), are the shortest along each coordinate, in its unit. A front is a change between
    neighbours, noise allowed for, by more than ``tuning.jump``.

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
    some = np.random.default_rng(0).permutation(len(points))[: tuning.centres]
    share = len(points) / len(some)
    step, along, change = neighbour_changes(points, values, samples.sd, metric, some)
    change /= spread or 1.0
    for a in range(points.shape[1]):
        first = np.argmin(np.where(along[..., a], step[..., a], np.inf), axis=1)
        index = np.arange(len(some)), first
        jump = along[..., a][index] & (change[index] > tuning.jump)
        width = np.sort(step[..., a][index][jump] * metric[a] / change[index][jump])
        yield round(int(jump.sum()) * share), float(width[min(2, len(width)) - 1]) if len(width) else np.inf
