"""The method of lines: finite differences in space, SciPy's implicit Radau method along what is marched."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import sympy
import xarray as xr
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

from mollifier.diagnostics.validation.layout import Layout, given, lifted
from mollifier.diagnostics.validation.statement import InexpressibleError, March, derivatives_of
from mollifier.equations.algebra import differentiate
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.system import EquationSystem
from mollifier.mollify.grid import Grid

Array = NDArray[np.float64]

_RELATIVE = 1e-6
_EVALUATIONS = 8_000
# An unstable equation is started anew where an error at the start has grown by so much, at most so often.
_GROWN, _WINDOWS = 2.0, 32
_MODES = 6


class _Budget(Exception):  # noqa: N818 - a signal, no error
    """Too many evaluations, or values that are not finite."""


class Marching:
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
        symbols = {s: sympy.Symbol(s) for s in self.own}
        self.partials = [
            {s: ArrayFunction(differentiate(r, v)) for s, v in symbols.items() if r.has(v)}
            for r in march.rates
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
