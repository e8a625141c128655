"""Smooth functions over the coordinates: corrections of states are sums of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import xarray as xr
from scipy.interpolate import BSpline

from mollifier.mollify.arrays import Array, Index, Mask
from mollifier.mollify.grid import Axis, Grid

# Values of a function that are zero but for rounding.
_ZERO = 1e-12


@dataclass(frozen=True)
class SmoothModes:
    """Products of B-splines, or of Fourier modes along periodic axes, so many along each coordinate.

    ``along`` is the coordinate of evolution, "" for none. Of the products, in the order of space and then of
    the evolution, those are used that ``kept`` marks; all by default.
    """

    axes: Mapping[str, Axis]
    counts: Mapping[str, int]
    along: str = ""
    kept: Mask | None = None

    @property
    def order(self) -> tuple[str, ...]:
        """Coordinates in the order of the products: that of the evolution is the last."""
        return (*(c for c in self.axes if c != self.along), *([self.along] if self.along else []))

    @property
    def size(self) -> int:
        """Functions that are used."""
        return int(np.prod([*self.counts.values()]) if self.kept is None else self.kept.sum())

    def touching(self, grid: Grid, given: Index, starts: int) -> SmoothModes:
        """With the functions alone that differ from zero where states are given.

        That is at nodes of the grid, and in space at the first time, with so many orders of derivatives.
        """
        spatial = np.abs(self._over(grid)) > _ZERO
        ends, early = np.any(spatial[given], axis=0, keepdims=True), np.zeros((1, 1), dtype=bool)
        if self.along:
            low = np.array([self.axes[self.along].lower])
            first = np.concatenate([self.factor(self.along, low, k) for k in range(starts)])
            early = np.any(first != 0, axis=0, keepdims=True)
        return replace(self, kept=np.logical_or(ends.T, early).ravel())

    def factor(self, name: str, x: Array, order: int = 0) -> Array:
        """The functions along one coordinate, or their derivatives, shape (points, functions)."""
        axis, count = self.axes[name], self.counts[name]
        if axis.periodic:
            k = (np.arange(count) + 1) // 2
            angle = 2 * np.pi * k * (x[:, None] - axis.lower) / axis.length + np.pi / 2 * (
                np.arange(count) % 2
            )
            waves = np.cos(angle + order * np.pi / 2) * (2 * np.pi * k / axis.length) ** order
            return np.asarray(waves * np.where(k > 0, np.sqrt(2.0), 1.0), dtype=np.float64)
        degree = min(3, count - 1)
        knots = np.pad(np.linspace(axis.lower, axis.upper, count - degree + 1), degree, mode="edge")
        return np.asarray(BSpline(knots, np.eye(count), degree)(x, nu=order))

    def _over(self, grid: Grid) -> Array:
        """Products over the coordinates of a grid, shape (nodes, functions)."""
        parts = [self.factor(a.name, a.points) if a.name in self.axes else np.ones((a.size, 1)) for a in grid]
        return np.asarray(reduce(np.kron, parts, np.ones((1, 1))), dtype=np.float64)

    def given(
        self, fields: Sequence[str], parts: Sequence[tuple[str, int]], grid: Grid, time: float, more: int
    ) -> dict[tuple[str, int], Array]:
        """Corrections of each part (a field and its order along the evolution), shape (nodes, columns).

        The columns are the functions of one field after another, and ``more`` of zeros.
        """
        found, count = {}, self.size
        spatial = self._over(grid)
        for f, order in parts:
            values = np.zeros((grid.size, len(fields) * count + more))
            own = (
                np.kron(spatial, self.factor(self.along, np.array([time]), order)) if self.along else spatial
            )
            kept = own if self.kept is None else own[:, self.kept]
            values[:, fields.index(f) * count : (fields.index(f) + 1) * count] = kept
            found[f, order] = values
        return found

    def correction(self, states: xr.DataArray, coefficients: Array) -> xr.DataArray:
        """The sum of all functions on the grid of a state."""
        order = self.order
        kept = np.ones(self.size, dtype=bool) if self.kept is None else self.kept
        total = np.zeros(kept.size)
        total[kept] = coefficients
        total = total.reshape([self.counts[c] for c in order])
        for c in order:  # each contraction appends the coordinate's nodes as the last axis
            total = np.tensordot(total, self.factor(c, states[c].values.astype(float)), ([0], [1]))
        return xr.DataArray(total, {c: states[c] for c in order}, order)
