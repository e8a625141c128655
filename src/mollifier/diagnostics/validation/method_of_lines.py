"""The method of lines: finite differences in space, SciPy's implicit Radau method along the evolution."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import xarray as xr
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

from mollifier.diagnostics.validation.discretisation import Discretisation, Part, on_nodes
from mollifier.diagnostics.validation.forward_problem import Evolution, NoForwardSolutionError
from mollifier.equations.system import EquationSystem
from mollifier.mollify.grid import Grid

Array = NDArray[np.float64]

_RELATIVE = 1e-6
_EVALUATIONS = 8_000
# An unstable equation is restarted where an error at the start has grown by so much, at most so often.
_GROWN, _WINDOWS = 2.0, 32
_MODES = 6


class _Budget(Exception):  # noqa: N818 - a signal, no error
    """Too many evaluations, or values that are not finite."""


class MethodOfLines:
    """Evolution equations on a grid.

    Parameters
    ----------
    states, fields, system, grid
        As of `mollifier.diagnostics.validation.discretisation.Discretisation`.
    evolution
        The equations, solved for the rates.
    refined
        Steps of output for one between the nodes of the states.
    """

    def __init__(
        self,
        states: xr.Dataset,
        fields: Mapping[str, xr.DataArray],
        system: EquationSystem,
        evolution: Evolution,
        grid: Grid,
        refined: int,
    ) -> None:
        along = evolution.coordinate
        self.evolution, self.grid = evolution, grid
        self.discrete = Discretisation(grid, states, fields, evolution.rates, system, evolution.fields, along)
        nodes = states[along].values.astype(float)
        self.times = np.linspace(nodes[0], nodes[-1], (nodes.size - 1) * refined + 1)
        self.bounds: dict[str, CubicSpline] = {}
        for f in evolution.fields:
            slices = [on_nodes(states[f].isel({along: i}), grid).ravel() for i in range(nodes.size)]
            self.bounds[f] = CubicSpline(nodes, np.stack(slices))
        # Equations of second order are systems of first order in the field and its rate.
        self.orders = dict(zip(evolution.fields, evolution.orders, strict=True))
        self.parts: list[Part] = [(f, k) for f, n in self.orders.items() for k in range(n)]
        self.scale = {f: float(np.ptp(states[f].values)) or 1.0 for f in evolution.fields}
        self.left = 0

    def _whole(self, t: float, y: Array) -> dict[Part, Array]:
        """Fields (and their rates, of second order) at all nodes."""
        whole = {}
        for (f, k), inner in zip(self.parts, y.reshape(len(self.parts), -1), strict=True):
            values = np.array(self.bounds[f](t, k))
            values[self.discrete.inner] = inner
            whole[f, k] = values
        return whole

    def _rate(self, t: float, y: Array) -> Array:
        self.left -= 1
        if self.left < 0 or not np.isfinite(y).all():
            raise _Budget
        env = self.discrete.environment(t, self._whole(t, y))
        rates = dict(zip(self.evolution.fields, self.discrete.evaluated(env), strict=True))
        inner = dict(zip(self.parts, y.reshape(len(self.parts), -1), strict=True))
        return np.concatenate([inner.get((f, k + 1), rates[f]) for f, k in self.parts])

    def _slope(self, t: float, y: Array) -> sp.csc_array:
        slopes = self.discrete.slopes(self.discrete.environment(t, self._whole(t, y)))
        rates = dict(zip(self.evolution.fields, slopes, strict=True))
        one = sp.csr_array(sp.identity(self.discrete.inner.size, format="csr"))
        rows = [{(f, k + 1): one} if (f, k + 1) in self.parts else rates[f] for f, k in self.parts]
        return self.discrete.assembled(rows, self.parts)

    def _run(self, low: int, high: int, push: float = 0.0) -> dict[str, Array]:
        """Fields at the times from one to another, shape (times, nodes), the start perturbed by a push."""
        start = [self.bounds[f](self.times[low], k)[self.discrete.inner] for f, k in self.parts]
        if push:
            bump = _bump(self.grid)[self.discrete.inner]
            start = [
                s + push * self.scale[f] * bump * (k == 0)
                for s, (f, k) in zip(start, self.parts, strict=True)
            ]
        times = self.times[low : high + 1]
        level = np.concatenate(
            [np.full(self.discrete.inner.size, _RELATIVE * self.scale[f]) for f, _ in self.parts]
        )
        try:
            with np.errstate(all="ignore"):
                done = solve_ivp(
                    self._rate, (times[0], times[-1]), np.concatenate(start), "Radau", t_eval=times,
                    jac=self._slope, rtol=10 * _RELATIVE, atol=level,
                )  # fmt: skip
        except (_Budget, RuntimeError, ValueError):
            raise NoForwardSolutionError("its solution with the estimates blows up") from None
        if done.status != 0 or not np.isfinite(done.y).all():
            raise NoForwardSolutionError("its solution with the estimates blows up")
        states = [self._whole(t, y) for t, y in zip(times, done.y.T, strict=True)]
        return {f: np.stack([s[f, 0] for s in states]) for f in self.evolution.fields}

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
            except NoForwardSolutionError as error:
                parts, failed = [], str(error)
                if self.left < 0:
                    break
            if not failed and max(g for _, g in parts) < _GROWN:
                break
            windows *= 4 if failed else 2
        if failed:
            raise NoForwardSolutionError(failed)
        found = {}
        for f in self.evolution.fields:
            rows = [parts[0][0][f], *(p[f][1:] for p, _ in parts[1:])]
            values = np.concatenate(rows).reshape(-1, *self.grid.shape)
            coords = {self.evolution.coordinate: self.times, **{a.name: a.points for a in self.grid}}
            found[f] = xr.DataArray(values, coords, (self.evolution.coordinate, *self.grid.names))
        return found, len(parts) - 1

    def _grown(self, low: int, high: int) -> tuple[dict[str, Array], float]:
        """The solution, and by how much a small smooth error at its start grows."""
        base, pushed = self._run(low, high), self._run(low, high, 1e-4)
        with np.errstate(over="ignore"):
            sizes = [
                np.linalg.norm(pushed[f] - base[f], axis=1) / self.scale[f] for f in self.evolution.fields
            ]
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
