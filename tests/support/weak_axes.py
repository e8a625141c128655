"""Axes of every kind for the tests of sums and splines, and a small space of test functions on them."""

from __future__ import annotations

from functools import reduce

import numpy as np

from mollifier.engines.weak.testspace import space
from mollifier.mollify.grid import Axis, Grid

SPLINES = 0.0  # the density that asks for spline test functions
GAPS = np.random.default_rng(0).uniform(0.5, 1.5, 40)
UNEVEN = Axis.from_points("x", 2 * np.cumsum(GAPS) / GAPS.sum())
AXES = {
    "even": Axis("x", -1.0, 1.0, 41),
    "periodic": Axis("x", 0.0, 2.0, 40, periodic=True),
    "uneven": UNEVEN,
    "uneven and periodic": Axis.from_points("x", UNEVEN.points, periodic=2.06),
    "short": Axis("x", 0.0, 1.0, 5),
}


def small_space(density=3.0):
    grid = Grid(Axis("x", 0.0, 1.0, 12), Axis("y", 0.0, 1.0, 7, periodic=True), Axis("t", 0.0, 1.0, 4))
    return grid, space(grid, {"x": 0.25, "y": 0.4, "t": 0.0}, {"x": 2, "y": 1, "t": 0}, density)


def dense(tests, orders):
    """All weights as one matrix (tests, nodes)."""
    return reduce(np.kron, [a.weights[k] for a, k in zip(tests.axes, orders, strict=True)])
