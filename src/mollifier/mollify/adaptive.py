"""A radius that varies from place to place: wide where the values are smooth, narrow at fronts.

Estimates with ever wider kernels are compared at each place. The widest is taken that differs from none of
the narrower ones by more than their noise explains (Lepski, Theory Probab. Appl. 35:454, 1990; for kernels
with a radius at each place: Lepski, Mammen and Spokoiny, Ann. Statist. 25:929, 1997).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import scipy

from mollifier.errors import GridError
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid
from mollifier.mollify.kernels import Kernel, namespace
from mollifier.mollify.matrices import rows_matrix
from mollifier.mollify.operators import TensorOperator

ADAPTIVE = "adaptive"  #: The radius of an axis along which it varies from place to place.


# Numbers that steer the choice; `docs/howto/interop.md` says how well it does.

# Smallest radius, in spacings, and the factor from one to the next.
_SMALLEST = 2.0
_FACTOR = 1.4
_LONGEST = 0.5  # Largest radius, in lengths of the shortest axis.
_DEVIATIONS = 3.0  # Standard deviations of a difference's noise beyond which it is bias.
# Distance over which the chosen scale is averaged, in the radius chosen: a place that chance has given a
# narrow kernel among wide ones is outvoted.
_AVERAGED = 1.0
# Upper limit on the weights along an axis of the largest radius (memory).
_MOST_WEIGHTS = 10_000_000


class AdaptiveOperator:
    """A derivative of values on a grid with a radius for each place, where `TensorOperator` has one for all.

    A result is a mean of those of two radii, so that polynomials are as exact as with either.

    Grid, kernel and accuracy are as for `TensorOperator`; rows are one-sided at the ends. ``order`` is that
    along each axis, and ``radius`` has that of each axis, or "adaptive", the same in spacings along all such
    axes. ``noise`` is the standard deviation of the values' noise, which is white. Raises `GridError` if it
    is no number of 0 or more, or the grid cannot carry the order.

    >>> from mollifier.mollify.grid import Axis
    >>> from mollifier.mollify.kernels import BSpline
    >>> grid = Grid(Axis("x", 0.0, 1.0, 200))
    >>> front = np.tanh((grid["x"].points - 0.5) / 0.02)
    >>> noisy = front + 0.02 * np.random.default_rng(0).standard_normal(200)
    >>> _, scale = AdaptiveOperator(grid, (0,), BSpline(7), {"x": "adaptive"}, 0.02)(noisy)
    >>> bool(scale[90:110].max() < scale[20:60].min())
    True
    """

    def __init__(
        self,
        grid: Grid,
        order: tuple[int, ...],
        kernel: Kernel,
        radius: Mapping[str, float | str],
        noise: float | None,
        accuracy: int = 3,
    ) -> None:
        if noise is None or not noise >= 0 or not math.isfinite(noise):
            raise GridError(
                f"radius='{ADAPTIVE}' was given with noise={noise}; the standard deviation of the values' "
                "noise was expected, a number of 0 or more. dataset.mollifier.differentiate estimates it."
            )
        self.grid, self.order, self.noise = grid, order, noise
        self.varied = [a.name for a in grid if radius[a.name] == ADAPTIVE and a.size > 1]
        #: The radii that are compared, in spacings.
        self.cells: list[float] = []
        self._operators: list[TensorOperator] = []
        for cells in self._candidates():
            own = {n: cells * grid[n].spacing if n in self.varied else r for n, r in radius.items()}
            own = {n: 1.0 if r == ADAPTIVE else float(r) for n, r in own.items()}  # of a single node
            with suppress(GridError):  # too narrow for the order
                made = TensorOperator(grid, [order], kernel, own, boundary="one-sided", accuracy=accuracy)
                self.cells.append(cells)
                self._operators.append(made)
        if not self.cells:
            shape = dict(zip(grid.names, grid.shape, strict=True))
            raise GridError(f"A grid of {shape} nodes is too small for a derivative of order {order}.")

    def _candidates(self) -> Iterator[float]:
        """The radii to compare, in spacings, from the smallest on by `_FACTOR`."""
        axes = [self.grid[n] for n in self.varied]
        most = min(min(_LONGEST * a.length / a.spacing, _MOST_WEIGHTS / (2 * a.size)) for a in axes)
        cells = _SMALLEST
        while cells <= most:
            yield cells
            cells *= _FACTOR

    def __call__(self, values: Array) -> tuple[Array, Array]:
        """The derivative, and where between the radii `cells`, 0 the first, that of each place is.

        Values and results are (..., *grid.shape). Raises `GridError` if the values are no NumPy array.
        """
        if namespace(values) is not np:
            raise GridError(f"radius='{ADAPTIVE}' takes NumPy arrays; a {type(values).__name__} was given.")
        found = np.stack([operator(values)[0] for operator in self._operators])
        scale, last = self._scale(found), len(found) - 1
        low = np.minimum(scale.astype(int), max(last - 1, 0))
        first, second = (np.take_along_axis(found, k[None], 0)[0] for k in (low, np.minimum(low + 1, last)))
        return np.asarray(first + (scale - low) * (second - first)), scale

    def _scale(self, found: Array) -> Array:
        """The widest radius at each place without visible bias, averaged over about that radius."""
        chosen, fits = np.zeros(found.shape[1:], dtype=int), np.ones(found.shape[1:], dtype=bool)
        products = self._products()
        for j in range(1, len(found)):
            for k in range(j):
                variance = products[j, j] + products[k, k] - 2 * products[j, k]
                limit = _DEVIATIONS * self.noise * np.sqrt(np.maximum(variance, 0.0))
                fits &= np.abs(found[j] - found[k]) <= limit
            chosen[fits] = j
        means = [self._averaged(chosen.astype(float), cells) for cells in self.cells]
        return np.take_along_axis(np.stack(means), chosen[None], 0)[0]

    def _averaged(self, scale: Array, cells: float) -> Array:
        """Means over so many spacings to either side along the axes with a varying radius."""
        reach = 2 * round(_AVERAGED * cells) + 1
        sizes = [reach if n in self.varied else 1 for n in self.grid.names]
        modes = ["wrap" if a.periodic else "nearest" for a in self.grid]
        batch = scale.ndim - len(sizes)
        size: Any = [1] * batch + sizes
        mode: Any = ["nearest"] * batch + modes
        return scipy.ndimage.uniform_filter(scale, size, mode=mode)

    def _products(self) -> dict[tuple[int, int], Array]:
        """Covariances, per unit of white noise, of the results with two radii, each of the grid's shape."""
        rows = [[rows_matrix(o.axes[d].rows[k]) for d, k in enumerate(self.order)] for o in self._operators]
        found = {}
        for j in range(len(rows)):
            for k in range(j + 1):
                parts = [a.multiply(b).sum(axis=1) for a, b in zip(rows[j], rows[k], strict=True)]
                grids = np.meshgrid(*parts, indexing="ij", sparse=True)
                found[j, k] = np.asarray(math.prod(grids[1:], start=grids[0]))
        return found
