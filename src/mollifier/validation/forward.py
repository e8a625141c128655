"""The equation solved forward with what was found, on even grids, by finite differences.

With a coordinate to march along: the method of lines and SciPy's implicit Radau method. Without one: sparse
Newton steps. Values at the start and in a layer as wide as a stencil at the ends are those of the estimated
states; all others come from the equation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import sympy
import xarray as xr
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline
from scipy.sparse.linalg import splu

from mollifier.data.interpolation import on_grid
from mollifier.equations import EquationSystem
from mollifier.equations.lower import ArrayFunction
from mollifier.grid import Axis, Grid
from mollifier.orders import Derivative
from mollifier.validation import finite
from mollifier.validation.statement import InexpressibleError, March, derivatives_of, grid_of

Array = NDArray[np.float64]

_RELATIVE = 1e-6
_EVALUATIONS = 8_000
_NEWTON, _SETTLED = 40, 1e-10
# An unstable equation is started anew where an error at the start has grown by so much, at most so often.
_GROWN, _WINDOWS = 2.0, 32
_MODES = 6
_NOWHERE = "nowhere"


def lifted(array: xr.DataArray, grid: Grid) -> Array:
    """A field on a finer grid over the same coordinates, by cubic splines, shape ``grid.shape``."""
    axes = []
    for name in grid.names:
        x, period = array[name].values.astype(float), array[name].attrs.get("periodic")
        even = grid[name]
        upper = x[0] + float(period) if period else x[-1]
        axes.append(Axis(name, x[0], upper, x.size, even.periodic, nodes=None if period else tuple(x)))
    values = array.transpose(*grid.names).values.astype(float)
    points = np.stack([m.ravel() for m in np.meshgrid(*(a.points for a in grid), indexing="ij")], -1)
    return on_grid(str(array.name), values, Grid(*axes), points, "cubic").reshape(grid.shape)


@dataclass(frozen=True)
class Layout:
    """Where the equation is solved, and what it takes from the solution there.

    Attributes
    ----------
    grid
        The coordinates that are discretised: all but the one marched along.
    inner
        Nodes that the equation gives, flat.
    """

    grid: Grid
    inner: NDArray[np.intp]

    @classmethod
    def of(cls, grid: Grid, needed: Mapping[str, Derivative]) -> Layout:
        """With layers as wide as the highest derivative along each axis asks for."""
        orders = {c: max((d.along(c) for d in needed.values()), default=0) for c in grid.names}
        found = cls(grid, np.flatnonzero(finite.inner(grid, orders)))
        if not found.inner.size:
            raise InexpressibleError(f"the solution's grid {grid.shape} is too coarse for its stencils")
        return found

    def matrix(self, d: Derivative) -> sp.csr_array:
        """Rows at the inner nodes, shape (inner, nodes)."""
        return sp.csr_array(finite.matrix(self.grid, {c: d.along(c) for c in self.grid.names})[self.inner])

    def spread(self, values: Array, names: tuple[str, ...]) -> Array:
        """Values over some coordinates at the inner nodes."""
        shape = [a.size if a.name in names else 1 for a in self.grid]
        whole = np.broadcast_to(values.reshape(shape), self.grid.shape)
        return np.asarray(whole.ravel()[self.inner])


def given(
    layout: Layout, fields: Mapping[str, xr.DataArray], needed: Mapping[str, Derivative], march: str
) -> dict[str, Callable[[float], Any]]:
    """Symbols that are not solved for, as functions of the coordinate marched along."""
    found: dict[str, Callable[[float], Any]] = {}
    for symbol, d in needed.items():
        if d.field not in fields:
            continue
        array = fields[d.field]
        names = tuple(c for c in layout.grid.names if c in array.dims)
        part = layout.grid.subgrid(names) if names else None
        orders = {c: d.along(c) for c in names}

        def at_nodes(
            values: Array, part: Grid | None = part, orders: Any = orders, names: Any = names
        ) -> Array:
            if part is None:
                return np.asarray(values)
            return layout.spread(finite.matrix(part, orders) @ values.ravel(), names)

        if march in array.dims:
            slices = [array.isel({march: i}) for i in range(array.sizes[march])]
            stack = np.stack([at_nodes(s.values if part is None else lifted(s, part)) for s in slices])
            found[symbol] = partial(CubicSpline(array[march].values, stack), nu=d.along(march))
        else:
            fixed = at_nodes(array.values if part is None else lifted(array, part))
            found[symbol] = _constant(fixed * (d.along(march) == 0))
    for c in layout.grid.names:
        axis = layout.grid[c]
        found[c] = _constant(layout.spread(axis.points, (c,)))
    if march:
        found[march] = lambda t: t
    return found


def _constant(value: Array) -> Callable[[float], Array]:
    return lambda _: value


def solve_forward(
    states: xr.Dataset,
    fields: Mapping[str, xr.DataArray],
    system: EquationSystem,
    march: March | None,
    solved: tuple[str, ...],
    refined: int,
) -> tuple[dict[str, xr.DataArray], int]:
    """Fields that the equation gives, and how often it was started anew.

    Parameters
    ----------
    states
        Estimated states: starts, ends, and what is not solved for.
    fields
        Everything else that the equations name.
    march, solved
        As `mollifier.validation.statement` says.
    refined
        Cells along each axis for one of the solution's.

    Raises
    ------
    InexpressibleError
        If the equation cannot be solved: its solution blows up, or no Newton step helps.
    """
    names = tuple(c for c in map(str, states.dims) if march is None or c != march.coordinate)
    if not names:  # an ordinary differential equation: the same everywhere along a coordinate of no meaning
        wide = states.expand_dims({_NOWHERE: [0.0, 1.0]})
        found, restarts = solve_forward(wide, fields, system, march, solved, refined)
        return {f: v.isel({_NOWHERE: 0}, drop=True) for f, v in found.items()}, restarts
    sizes = {}
    for c in names:
        n, periodic = states.sizes[c], bool(states[c].attrs.get("periodic"))
        sizes[c] = n * refined if periodic else (n - 1) * refined + 1
    for f in solved:
        if set(states[f].dims) != set(states.dims):
            raise InexpressibleError(f"'{f}' does not vary over all coordinates")
    grid = grid_of(states, names, sizes)
    if march is None:
        return _Steady(states, fields, system, solved, grid).solve(), 0
    return _Marching(states, fields, system, march, grid, refined).solve()


class _Steady:
    """Equations solved everywhere at once, by Newton's method from the estimated states."""

    def __init__(
        self,
        states: xr.Dataset,
        fields: Mapping[str, xr.DataArray],
        system: EquationSystem,
        solved: tuple[str, ...],
        grid: Grid,
    ) -> None:
        residuals = [e.residual for e in system.equations]
        needed = derivatives_of(residuals, system)
        self.solved, self.grid = solved, grid
        self.layout = Layout.of(grid, needed)
        self.own = {s: d for s, d in needed.items() if d.field in solved}
        self.matrices = {s: self.layout.matrix(d) for s, d in self.own.items()}
        others = {**fields, **{f: states[f] for f in map(str, states.data_vars) if f not in solved}}
        self.env = {s: f(0.0) for s, f in given(self.layout, others, needed, "").items()}
        self.start = {f: lifted(states[f], grid).ravel() for f in solved}
        self.functions = [ArrayFunction(r) for r in residuals]
        self.partials = [{s: e.partial(s) for s in self.own} for e in system.equations]

    def _environment(self, u: Mapping[str, Array]) -> dict[str, Any]:
        return self.env | {s: self.matrices[s] @ u[d.field] for s, d in self.own.items()}

    def _residual(self, u: Mapping[str, Array]) -> Array:
        env, n = self._environment(u), self.layout.inner.size
        return np.concatenate([np.broadcast_to(f(env), n) for f in self.functions])

    def _slope(self, u: Mapping[str, Array]) -> sp.csc_array:
        env, inner = self._environment(u), self.layout.inner
        rows = []
        for partials in self.partials:
            row = {f: sp.csr_array((inner.size, inner.size)) for f in self.solved}
            for s, d in self.own.items():
                factor = np.broadcast_to(partials[s](env), inner.size)
                row[d.field] = row[d.field] + sp.diags_array(factor) @ self.matrices[s][:, inner]
            rows.append(list(row.values()))
        return sp.csc_array(sp.block_array(rows, format="csc"))

    def solve(self) -> dict[str, xr.DataArray]:
        u = {f: v.copy() for f, v in self.start.items()}
        inner, first = self.layout.inner, None
        size, moved = np.inf, np.inf
        for _ in range(_NEWTON):
            residual = self._residual(u)
            size = float(np.linalg.norm(residual))
            first = size if first is None else first
            if not np.isfinite(size):
                break
            try:
                step = splu(self._slope(u)).solve(residual)
            except RuntimeError:
                raise InexpressibleError("the linearised equation is singular") from None
            share, better = 1.0, None
            while share > 1e-3:
                trial = {f: v.copy() for f, v in u.items()}
                for i, f in enumerate(self.solved):
                    trial[f][inner] -= share * step[i * inner.size : (i + 1) * inner.size]
                if np.linalg.norm(self._residual(trial)) < size:
                    better = trial
                    break
                share /= 2
            if better is None:
                break
            moved = max(float(np.abs(better[f] - u[f]).max()) / (float(np.ptp(u[f])) or 1.0) for f in u)
            u = better
            if moved < _SETTLED:
                break
        # Rounding stops Newton's method long after the equation holds.
        if not np.isfinite(size) or (size > 1e-6 * (first or 1.0) and moved > 1e-6):
            raise InexpressibleError("Newton's method found no solution of the equation with what was found")
        coords = {a.name: a.points for a in self.grid}
        return {f: xr.DataArray(v.reshape(self.grid.shape), coords, self.grid.names) for f, v in u.items()}


class _Budget(Exception):  # noqa: N818 - a signal, no error
    """Too many evaluations, or values that are not finite."""


class _Marching:
    """The method of lines."""

    def __init__(
        self,
        states: xr.Dataset,
        fields: Mapping[str, xr.DataArray],
        system: EquationSystem,
        march: March,
        grid: Grid,
        refined: int,
    ) -> None:
        needed = derivatives_of(march.rates, system)
        self.march, self.grid = march, grid
        self.layout = Layout.of(grid, needed)
        self.own = {s: d for s, d in needed.items() if d.field in march.fields}
        self.matrices = {s: self.layout.matrix(d) for s, d in self.own.items()}
        others = {**fields, **{f: states[f] for f in map(str, states.data_vars) if f not in march.fields}}
        self.given = given(self.layout, others, needed, march.coordinate)
        nodes = states[march.coordinate].values.astype(float)
        self.times = np.linspace(nodes[0], nodes[-1], (nodes.size - 1) * refined + 1)
        self.bounds: dict[str, CubicSpline] = {}
        for f in march.fields:
            slices = [lifted(states[f].isel({march.coordinate: i}), grid).ravel() for i in range(nodes.size)]
            self.bounds[f] = CubicSpline(nodes, np.stack(slices))
        self.functions = [ArrayFunction(r) for r in march.rates]
        self.partials = [
            {s: ArrayFunction(r.diff(s)) for s in self.own if r.has(sympy.Symbol(s))} for r in march.rates
        ]
        self.blocks = [(f, k) for f, n in zip(march.fields, march.orders, strict=True) for k in range(n)]
        self.scale = {f: float(np.ptp(states[f].values)) or 1.0 for f in march.fields}
        self.left = 0

    def _parts(self, y: Array) -> dict[tuple[str, int], Array]:
        return dict(zip(self.blocks, y.reshape(len(self.blocks), -1), strict=True))

    def _whole(self, t: float, y: Array) -> dict[tuple[str, int], Array]:
        """Fields (and their rates, of second order) at all nodes."""
        whole = {}
        for (f, k), part in self._parts(y).items():
            values = np.array(self.bounds[f](t, k))
            values[self.layout.inner] = part
            whole[f, k] = values
        return whole

    def _environment(self, t: float, y: Array) -> dict[str, Any]:
        whole = self._whole(t, y)
        env = {s: f(t) for s, f in self.given.items()}
        for s, d in self.own.items():
            env[s] = self.matrices[s] @ whole[d.field, d.along(self.march.coordinate)]
        return env

    def _rate(self, t: float, y: Array) -> Array:
        self.left -= 1
        if self.left < 0 or not np.isfinite(y).all():
            raise _Budget
        env, parts, n = self._environment(t, y), self._parts(y), self.layout.inner.size
        rates = dict(zip(self.march.fields, self.functions, strict=True))
        last = dict(zip(self.march.fields, self.march.orders, strict=True))
        out = [
            np.broadcast_to(rates[f](env), n) if k == last[f] - 1 else parts[f, k + 1] for f, k in self.blocks
        ]
        return np.concatenate(out)

    def _slope(self, t: float, y: Array) -> sp.csc_array:
        env, inner = self._environment(t, y), self.layout.inner
        empty, one = sp.csr_array((inner.size, inner.size)), sp.identity(inner.size, format="csr")
        last = dict(zip(self.march.fields, self.march.orders, strict=True))
        rows = []
        for f, k in self.blocks:
            row: dict[tuple[str, int], Any] = dict.fromkeys(self.blocks, empty)
            if k < last[f] - 1:
                row[f, k + 1] = sp.csr_array(one)
            else:
                for s, slope in self.partials[self.march.fields.index(f)].items():
                    d = self.own[s]
                    place = (d.field, d.along(self.march.coordinate))
                    factor = np.broadcast_to(slope(env), inner.size)
                    row[place] = row[place] + sp.diags_array(factor) @ self.matrices[s][:, inner]
            rows.append(list(row.values()))
        return sp.csc_array(sp.block_array(rows, format="csc"))

    def _run(self, low: int, high: int, push: float = 0.0) -> dict[str, Array]:
        """Fields at the times from one to another, shape (times, nodes), the start pushed off a little."""
        start = [self.bounds[f](self.times[low], k)[self.layout.inner] for f, k in self.blocks]
        if push:
            bump = _bump(self.grid)[self.layout.inner]
            start = [
                s + push * self.scale[f] * bump * (k == 0)
                for s, (f, k) in zip(start, self.blocks, strict=True)
            ]
        times = self.times[low : high + 1]
        level = np.concatenate(
            [np.full(self.layout.inner.size, _RELATIVE * self.scale[f]) for f, _ in self.blocks]
        )
        try:
            with np.errstate(all="ignore"):
                done = solve_ivp(
                    self._rate, (times[0], times[-1]), np.concatenate(start), "Radau", t_eval=times,
                    jac=self._slope, rtol=10 * _RELATIVE, atol=level,
                )  # fmt: skip
        except (_Budget, RuntimeError, ValueError):
            raise InexpressibleError("its solution with what was found blows up") from None
        if done.status != 0 or not np.isfinite(done.y).all():
            raise InexpressibleError("its solution with what was found blows up")
        states = [self._whole(t, y) for t, y in zip(times, done.y.T, strict=True)]
        return {f: np.stack([s[f, 0] for s in states]) for f in self.march.fields}

    def solve(self) -> tuple[dict[str, xr.DataArray], int]:
        """In one go where errors at the start do not grow, else in as few windows as keep them small."""
        windows, failed = 1, ""
        parts: list[tuple[dict[str, Array], float]] = []
        self.left = _EVALUATIONS
        last = len(self.times) - 1
        while windows <= min(_WINDOWS, last):
            starts = np.linspace(0, last, windows + 1).round().astype(int)
            try:
                parts = [self._grown(a, b) for a, b in itertools.pairwise(starts)]
                failed = ""
            except InexpressibleError as error:
                parts, failed = [], str(error)
                if self.left < 0:
                    break
            if not failed and max(g for _, g in parts) < _GROWN:
                break
            windows *= 4 if failed else 2
        if failed:
            raise InexpressibleError(failed)
        found = {}
        for f in self.march.fields:
            rows = [parts[0][0][f], *(p[f][1:] for p, _ in parts[1:])]
            values = np.concatenate(rows).reshape(-1, *self.grid.shape)
            coords = {self.march.coordinate: self.times, **{a.name: a.points for a in self.grid}}
            found[f] = xr.DataArray(values, coords, (self.march.coordinate, *self.grid.names))
        return found, len(parts) - 1

    def _grown(self, low: int, high: int) -> tuple[dict[str, Array], float]:
        """The solution, and by how much a small smooth error at its start grows."""
        base, pushed = self._run(low, high), self._run(low, high, 1e-4)
        with np.errstate(over="ignore"):
            sizes = [np.linalg.norm(pushed[f] - base[f], axis=1) / self.scale[f] for f in self.march.fields]
        size = np.max(sizes, axis=0)
        return base, float(size.max() / size[0]) if size[0] > 0 else 1.0


def _bump(grid: Grid) -> Array:
    """A smooth error of rms 1 that vanishes at the ends, always the same, flat."""
    rng = np.random.default_rng(0)
    total = np.zeros(grid.shape)
    for _ in range(_MODES):
        mode = np.ones(grid.shape)
        for i, axis in enumerate(grid):
            s = (axis.points - axis.lower) / (axis.length or 1.0)
            turns = rng.integers(1, _MODES + 1)
            wave = np.sin((2 if axis.periodic else 1) * np.pi * turns * s + axis.periodic * rng.random())
            mode = mode * wave.reshape([-1 if j == i else 1 for j in range(len(grid.shape))])
        total += rng.standard_normal() * mode
    return (total / (np.sqrt(np.mean(total**2)) or 1.0)).ravel()
