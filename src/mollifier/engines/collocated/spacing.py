"""Errors of the unknowns by the spacing of the collocation grid, as residuals between its nodes show them.

The states satisfy the equation at the nodes. Between two of them it leaves a residual R, the error of the
discretisation: the exact solution has none. A source of the size of R at the nodes changes the unknowns by
about as much as they are off: by the mean of R over a cell, which is 0.53 of that midway for splines of
degree 5 and derivatives of order 2, R being as s^2 (1 - s)^2 over a cell. The change is taken whole, as an
error of its own along each coordinate. An R above the equation's terms is no small error of these: states
oscillate between nodes, as at singular points and in corners with conditions, and it is cut to their size.
"""

from __future__ import annotations

import numpy as np
import torch

from mollifier.engines.collocated.model import Model
from mollifier.engines.collocated.part import Part
from mollifier.mollify.arrays import Array
from mollifier.mollify.kernels import BSpline
from mollifier.problem.collocation import Collocation


def residuals_between(model: Model, sizes: Array) -> dict[str, Array]:
    """Coordinate -> mean residual midway to a node's neighbours, less that at the node.

    Shape (equations, nodes), in the equations' units; zero outside the measured region, and where an
    equation is not finite. No larger than the rms of the terms of each equation, ``sizes``. Coordinates with
    two nodes, or whose values are labels, have none.
    """
    place, found = model.collocation, {}
    here = _residuals(model, model.whole)
    for i, axis in enumerate(place.grid):
        if axis.size < 3 or axis.discrete:
            continue
        part = model.part(place.between(axis.name))
        there = _residuals(model, part)
        known = np.isfinite(there) & (True if part.place.inside is None else part.place.inside)
        sums, count = (
            _beside(v, i + 1, axis.periodic) for v in (np.where(known, there, 0.0), known.astype(float))
        )
        mean = np.where(count > 0, sums / np.maximum(count, 1.0) - here, 0.0)
        mean = np.where(np.isfinite(mean) & place.within(place.grid.names), mean, 0.0)
        found[axis.name] = np.clip(mean.reshape(len(mean), -1), -sizes[:, None], sizes[:, None])
    return found


def convergence_order(place: Collocation, order: int) -> int:
    """Power of the spacing with which the error of an equation of an order decreases."""
    kernel = place.kernel
    return max(kernel.degree + 1 - order, 1) if isinstance(kernel, BSpline) else place.accuracy


def _residuals(model: Model, part: Part) -> Array:
    """Residual of each equation on a part of the grid, shape (equations, *grid)."""
    with torch.no_grad(), np.errstate(all="ignore"):
        env, shape = part.environment(model.numbers()), part.place.grid.shape
        equations = model.problem.system.equations
        return np.stack([np.broadcast_to(np.asarray(e.evaluate(env)), shape) for e in equations])


def _beside(between: Array, axis: int, periodic: bool) -> Array:
    """Sum, at each node, of the values on either side of it along an axis."""
    if periodic:
        return between + np.roll(between, 1, axis)
    pad = [(0, 0)] * between.ndim
    pad[axis] = (1, 1)
    wide = np.pad(between, pad)
    return np.asarray(np.delete(wide, -1, axis) + np.delete(wide, 0, axis))
