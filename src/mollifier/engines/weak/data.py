"""The data of the weak engine: arrays on one grid."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np

from mollifier.data.lazy import is_lazy, loaded, steps
from mollifier.data.noise import central
from mollifier.engines.linalg.dense import contract
from mollifier.engines.weak.form import VARIANCE
from mollifier.engines.weak.passes import Follow, total
from mollifier.engines.weak.smoothing import mollified, smoothing_cells, smoothing_matrix
from mollifier.engines.weak.tuning import DEFAULT, WeakTuning
from mollifier.mollify.arrays import Array, Index, Mask
from mollifier.mollify.grid import Axis, Grid

Env = Mapping[str, Array]
Slices = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class GridEffect:
    """A random effect of a field's noise: a sum of products over the axes with independent coefficients."""

    field: str
    #: Standard deviation of the coefficients, in the field's unit; of a gain, relative to the field.
    sd: float
    gain: bool  #: Whether it multiplies the field.
    factors: tuple[Array, ...]  #: For each axis the shapes along it, (nodes, shapes).

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of shapes along each axis of the grid."""
        return tuple(f.shape[1] for f in self.factors)

    def on(self, nodes: Index | slice) -> GridEffect:
        """The effect on some nodes of the first axis."""
        return replace(self, factors=(self.factors[0][nodes], *self.factors[1:]))


@dataclass(frozen=True, eq=False)
class GridData:
    """Measured fields and known data on a grid."""

    grid: Grid
    #: Fields, known data and derivatives of known data, by name; each broadcasts to the grid. Those read in
    #: blocks are dask arrays (`mollifier.engines.weak.passes`).
    values: Env
    #: Variance of the noise of each field, in the field's unit squared; broadcasts to the grid.
    variances: Env
    #: Nodes in wide gaps, shape of the grid, which no sum may reach; None if there are none.
    gaps: Mask | None = None
    tuning: WeakTuning = DEFAULT
    #: The data that these are thinned from, and their nodes along each axis; None if they are not.
    source: tuple[GridData, Slices] | None = None
    effects: tuple[GridEffect, ...] = ()  #: Random effects of the noise, beside the variances.
    #: Nodes of the first axis that are summed over; the others are a halo, for the smoothing of a block.
    inner: slice = field(default_factory=lambda: slice(None))
    #: Radius of each field's smoother, in cells; by default that of least risk.
    cells: Mapping[str, float] | None = None
    mollified: bool = False  #: Whether the fields of each block are mollified as it is read.
    #: Called with how many blocks of a pass over the data are done, and how many there are.
    follow: Follow | None = None

    @property
    def lazy(self) -> bool:
        """Whether some values are read in blocks."""
        return self.inner == slice(None) and any(map(is_lazy, self.values.values()))

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
    def part(self) -> GridData:
        """The middle of the data; all of them where they are not many."""
        return self.cut(central(self.grid.shape, self.tuning.part_values))

    @cached_property
    def chosen(self) -> Mapping[str, float]:
        """Radius of each field's smoother in cells: as given, or that of least risk."""
        if self.cells is not None:
            return self.cells
        middle, most = central(self.grid.shape, self.tuning.smoothed_values), np.inf
        part = self.cut(middle)
        if self.lazy:  # a halo as wide as the block itself on either side
            most = max(map(int, np.diff(self._edges()))) / 2
        return {
            f: smoothing_cells(part.values[f], part.grid, _cut(v, middle), part.gaps, self.tuning, most)
            for f, v in self.all_variances.items()
        }

    @cached_property
    def smoothers(self) -> dict[str, Callable[[Array], Array]]:
        """The mollifier of each field."""
        fewest = self.tuning.smoothed_nodes
        return {f: partial(mollified, grid=self.grid, cells=c, fewest=fewest) for f, c in self.chosen.items()}

    @cached_property
    def smoothed(self) -> dict[str, Array]:
        """The fields mollified, before any thinning."""
        if self.source is not None:
            whole, cut = self.source
            return whole.smoothed_at(cut)
        return {f: smooth(self.values[f]) for f, smooth in self.smoothers.items()}

    def smoothed_at(self, cut: Slices) -> dict[str, Array]:
        """The mollified fields at some nodes along each axis."""
        if not self.lazy:
            return {f: _cut(v, cut) for f, v in self.smoothed.items()}
        fewest, axes = self.tuning.smoothed_nodes, list(zip(self.grid, cut, strict=True))
        maps = {
            f: [smoothing_matrix(a, here, c, fewest).toarray() for a, here in axes]
            for f, c in self.chosen.items()
        }
        blocks = self.blocks
        tasks = (
            (block, {f: [first[:, nodes], *rest] for f, (first, *rest) in maps.items()})
            for block, nodes in blocks
        )
        return dict(zip(maps, total(_contracted, tasks, len(blocks), self.follow), strict=True))

    @cached_property
    def blocks(self) -> list[tuple[GridData, Index]]:
        """Parts of data in blocks, each with its nodes of the first axis, a halo to smooth with included."""
        first, *rest = self.grid
        halo = 2 * int(np.ceil(max(self.chosen.values(), default=0.0)))
        found: list[tuple[GridData, Index]] = []
        for begin, end in pairwise(self._edges()):
            low, high = begin - halo, end + halo
            if not first.periodic:
                low, high = max(low, 0), min(high, first.size)
            nodes = np.arange(low, high)
            turns, inside = np.divmod(nodes, first.size)
            points = first.points[inside] + turns * first.length
            block = replace(
                self,
                grid=Grid(Axis.from_points(first.name, points, unit=first.unit), *rest),
                values={n: _slab(v, inside) for n, v in self.values.items()},
                variances={n: _slab(v, inside) for n, v in self.variances.items()},
                inner=slice(begin - low, end - low),
                cells=self.chosen,
                follow=None,
            )
            found.append((block, inside))
        return found

    def _edges(self) -> list[int]:
        """Where blocks begin and end: with chunks of the file, as many as fit, and enough nodes to smooth."""
        lazy: Any = next(v for v in self.values.values() if is_lazy(v))
        rest = max(self.grid.size // self.grid.shape[0], 1)
        least = min(max(self.tuning.block_values // rest, self.tuning.smoothed_nodes), self.grid.shape[0])
        edges = [0]
        for end in np.cumsum(lazy.chunks[0]).tolist():
            if end - edges[-1] >= least:
                edges.append(end)
        edges[-1 if len(edges) > 1 else 1 :] = [self.grid.shape[0]]
        return edges

    def loaded(self, names: Collection[str] | None = None, halo: bool = True) -> GridData:
        """A block with the values of some names, all by default, in memory; without ``halo`` the inner ones.

        Raises `DataError` if values are missing.
        """
        here = slice(None) if halo or self.mollified else self.inner
        chosen = self.values if names is None or self.mollified else names
        needed = {n: v for n, v in self.values.items() if is_lazy(v) and n in chosen}
        found = {}
        for name, part in loaded({n: v[here] for n, v in needed.items()}).items():
            found[name] = np.empty(needed[name].shape)  # a halo that is not read is not summed over
            found[name][here] = part
        data = replace(self, values={**self.values, **found}, mollified=False) if found else self
        return data.clear() if self.mollified else data

    def clear(self) -> GridData:
        """The mollified fields in place of the measured ones, without noise."""
        exact = dict.fromkeys(self.variances, np.zeros(()))
        if self.lazy:
            return replace(self, variances=exact, cells=self.chosen, mollified=True)
        return replace(self, values={**self.values, **self.smoothed}, variances=exact)

    def lines(self, field: str, dimension: int) -> Array:
        """A field with all nodes of one axis and few enough of the others, in memory."""
        shape = [1 if i == dimension else n for i, n in enumerate(self.grid.shape)]
        every = steps(shape, self.tuning.spectrum_lines)
        cut = tuple(slice(None, None, 1 if i == dimension else k) for i, k in enumerate(every))
        values = loaded({field: _cut(self.values[field], cut)})[field]
        return np.broadcast_to(values, self.grid_at(cut).shape)

    @cached_property
    def slabs(self) -> list[slice]:
        """Slices of the first axis that hold few enough values, but two nodes of it at least.

        On one node an array that varies along the first axis alone would look like a number.
        """
        begin, end, _ = self.inner.indices(self.grid.shape[0])
        first, rest = end - begin, max(self.grid.size // self.grid.shape[0], 1)
        count = max(min(first // 2, int(np.ceil(first * rest / self.tuning.slab_values))), 1)
        edges = np.linspace(begin, end, count + 1).astype(int)
        return [slice(a, b) for a, b in pairwise(edges)]

    def thinned(self, every: Sequence[int]) -> GridData:
        """Every so many nodes along each axis, beginning with the first."""
        if max(every) == 1:
            return self
        cut = tuple(slice(None, None, k) for k in every)
        return replace(self.cut(cut), source=(self, cut), cells=None)

    def grid_at(self, cut: Slices) -> Grid:
        """The grid of some nodes along each axis; it stays periodic where the whole range is left."""
        axes = []
        for axis, here in zip(self.grid, cut, strict=True):
            period = (
                axis.length
                if axis.periodic and here.start in (None, 0) and here.stop in (None, axis.size)
                else False
            )
            axes.append(Axis.from_points(axis.name, axis.points[here], periodic=period, unit=axis.unit))
        return Grid(*axes)

    def cut(self, cut: Slices) -> GridData:
        """The data at some nodes along each axis, in memory."""
        return GridData(
            self.grid_at(cut),
            loaded({n: _cut(v, cut) for n, v in self.values.items()}),
            {n: _cut(v, cut) for n, v in self.variances.items()},
            None if self.gaps is None else _cut(self.gaps, cut),
            self.tuning,
            effects=tuple(
                replace(e, factors=tuple(f[here] for f, here in zip(e.factors, cut, strict=True)))
                for e in self.effects
            ),
            cells=self.cells,
        )

    def pattern(self, effect: GridEffect, slab: slice) -> Array:
        """What the coefficients of an effect multiply, times their standard deviation, on a slab."""
        level = _slab(self.smoothed[effect.field], slab) if effect.gain else np.ones(())
        return np.broadcast_to(effect.sd * level, self.shape(slab))

    def env(self, slab: slice, smoothed: bool = False) -> dict[str, Array]:
        """Names to arrays on a slab: values, with the fields smoothed on request, variances, coordinates."""
        values = {**self.values, **self.smoothed} if smoothed else self.values
        env = {n: _slab(v, slab) for n, v in values.items()}
        env |= {VARIANCE.format(n): _slab(v, slab) for n, v in self.variances.items()}
        for i, axis in enumerate(self.grid):
            points = axis.points[slab] if i == 0 else axis.points
            env[axis.name] = points.reshape([-1 if j == i else 1 for j in range(len(self.grid.shape))])
        return env

    def shape(self, slab: slice) -> tuple[int, ...]:
        """Nodes along each axis of a slab of the first one."""
        return (len(range(*slab.indices(self.grid.shape[0]))), *self.grid.shape[1:])


def _cut(values: Any, cut: Slices) -> Any:
    """Values at some nodes of the axes that an array varies over."""
    if not values.ndim:
        return values
    return values[tuple(here if n > 1 else slice(None) for n, here in zip(values.shape, cut, strict=True))]


def _contracted(task: tuple[GridData, dict[str, list[Array]]]) -> tuple[Array, ...]:
    """Fields of a block with matrices applied along their axes."""
    block, maps = task
    data = block.loaded(maps, halo=False)
    return tuple(
        contract(data.values[f][data.inner], [first[:, data.inner], *rest])
        for f, (first, *rest) in maps.items()
    )


def _slab(values: Any, slab: slice | Index) -> Any:
    return values[slab] if values.ndim and values.shape[0] > 1 else values
