"""The data of the weak engine: arrays on one grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mollifier.engines.weak.form import VARIANCE
from mollifier.engines.weak.smoothing import smoother
from mollifier.engines.weak.tuning import DEFAULT, WeakTuning
from mollifier.mollify.grid import Axis, Grid

Array = NDArray[np.float64]
Env = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class GridEffect:
    """A random effect of the noise of a field: a sum of products over the axes with independent coefficients.

    Attributes
    ----------
    field
        The field.
    sd
        Standard deviation of the coefficients, in the field's unit; of a gain, relative to the field.
    gain
        Whether it multiplies the field.
    factors
        For each axis the shapes along it, (nodes, shapes).
    """

    field: str
    sd: float
    gain: bool
    factors: tuple[Array, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shapes along each axis."""
        return tuple(f.shape[1] for f in self.factors)

    def matrices(self, slab: slice) -> list[Array]:
        """The factors, those of the first axis on a slab."""
        return [self.factors[0][slab], *self.factors[1:]]


@dataclass(frozen=True, eq=False)
class GridData:
    """Measured fields and known data on a grid.

    Attributes
    ----------
    grid
        Nodes of the data.
    values
        Fields, known data and derivatives of known data, by name; each broadcasts to the grid.
    variances
        Variance of the noise of each field, in the field's unit squared; broadcasts to the grid.
    gaps
        Nodes in wide gaps, shape of the grid, which no sum may reach; None if there are none.
    tuning
        Numbers that steer the engine.
    source
        The data that these are thinned from, and the steps along each axis; None if they are not.
    effects
        Random effects of the noise, beside the variances.
    """

    grid: Grid
    values: Env
    variances: Env
    gaps: NDArray[np.bool_] | None = None
    tuning: WeakTuning = DEFAULT
    source: tuple[GridData, Sequence[int]] | None = None
    effects: tuple[GridEffect, ...] = ()

    @cached_property
    def all_variances(self) -> dict[str, Array]:
        """Variances of each field with the mean variance of its random effects."""
        found = dict(self.variances)
        for e in self.effects:
            level = np.nanmean(self.values[e.field] ** 2) if e.gain else 1.0
            share = np.prod([np.mean((f**2).sum(1)) for f in e.factors])
            found[e.field] = found[e.field] + e.sd**2 * level * share
        return found

    @cached_property
    def smoothers(self) -> dict[str, Callable[[Array], Array]]:
        """The mollifier of least risk for each field."""
        return {
            f: smoother(self.values[f], self.grid, v, self.gaps, self.tuning)
            for f, v in self.all_variances.items()
        }

    @cached_property
    def smoothed(self) -> dict[str, Array]:
        """The fields mollified, before any thinning."""
        if self.source is not None:
            whole, steps = self.source
            return {f: _thinned(v, steps) for f, v in whole.smoothed.items()}
        return {f: smooth(self.values[f]) for f, smooth in self.smoothers.items()}

    def slabs(self) -> list[slice]:
        """Slices of the first axis that hold few enough values, but two nodes of it at least.

        On one node an array that varies along the first axis alone would look like a number.
        """
        first, rest = self.grid.shape[0], max(self.grid.size // self.grid.shape[0], 1)
        count = max(min(first // 2, int(np.ceil(first * rest / self.tuning.slab_values))), 1)
        edges = np.linspace(0, first, count + 1).astype(int)
        return [slice(a, b) for a, b in pairwise(edges)]

    def thinned(self, steps: Sequence[int]) -> GridData:
        """Every so many nodes along each axis, beginning with the first."""
        if max(steps) == 1:
            return self
        axes = []
        for axis, step in zip(self.grid, steps, strict=True):
            if step > 1:
                period = axis.length if axis.periodic else False
                axis = Axis.from_points(axis.name, axis.points[::step], periodic=period, unit=axis.unit)
            axes.append(axis)
        return GridData(
            Grid(*axes),
            {n: _thinned(v, steps) for n, v in self.values.items()},
            {n: _thinned(v, steps) for n, v in self.variances.items()},
            None if self.gaps is None else _thinned(self.gaps, steps),
            self.tuning,
            (self, steps),
            tuple(
                replace(e, factors=tuple(f[::k] for f, k in zip(e.factors, steps, strict=True)))
                for e in self.effects
            ),
        )

    def pattern(self, effect: GridEffect, slab: slice) -> Array:
        """What the coefficients of an effect multiply, times their standard deviation, on a slab."""
        level = _cut(self.smoothed[effect.field], slab) if effect.gain else np.ones(())
        return np.broadcast_to(effect.sd * level, self.shape(slab))

    def env(self, slab: slice, smoothed: bool = False) -> dict[str, Array]:
        """Names to arrays on a slab: values, with the fields smoothed on request, variances, coordinates."""
        values = {**self.values, **self.smoothed} if smoothed else self.values
        env = {n: _cut(v, slab) for n, v in values.items()}
        env |= {VARIANCE.format(n): _cut(v, slab) for n, v in self.variances.items()}
        for i, axis in enumerate(self.grid):
            points = axis.points[slab] if i == 0 else axis.points
            env[axis.name] = points.reshape([-1 if j == i else 1 for j in range(len(self.grid.shape))])
        return env

    def shape(self, slab: slice) -> tuple[int, ...]:
        """Shape of a slab."""
        return (len(range(*slab.indices(self.grid.shape[0]))), *self.grid.shape[1:])


def _thinned(values: Any, steps: Sequence[int]) -> Any:
    """Every so many values along the axes that an array varies over."""
    if not values.ndim:
        return values
    return values[
        tuple(slice(None, None, k if n > 1 else 1) for n, k in zip(values.shape, steps, strict=True))
    ]


def _cut(values: Array, slab: slice) -> Array:
    return values[slab] if values.ndim and values.shape[0] > 1 else values
