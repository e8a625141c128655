"""Forward problems on a grid, once solved: finite differences in space, and what the solution responds to.

Along an evolution by SciPy's explicit Runge-Kutta method of order five where the equation allows long enough
steps, else by its implicit Radau method; without an evolution by sparse Newton steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import xarray as xr
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

from mollifier.diagnostics.validation.discretisation import Discretisation, Part, Term, on_nodes
from mollifier.diagnostics.validation.forward_problem import Evolution, ForwardProblem, NoForwardSolutionError
from mollifier.diagnostics.validation.modes import SmoothModes
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid

_RELATIVE = 1e-6
_EVALUATIONS = 8_000
# Evaluations of an explicit step, and the length of a stable one in inverse spectral radii (Hairer and
# Wanner, Solving Ordinary Differential Equations II, section IV.2). Explicit steps are taken where two runs
# fit: an implicit method needs two to three times the evaluations for waves that errors of the start begin.
_STAGES, _STABLE, _FEW = 6, 3.0, _EVALUATIONS / 3
# An unstable equation is restarted where an error at the start has grown by so much, at most so often.
_GROWN, _WINDOWS = 30.0, 32
_MODES = 6
# Newton steps at most, their relative size at the end, and the least share of one.
_NEWTON, _SETTLED, _LEAST_STEP = 40, 1e-10, 1e-3


class _Budget(Exception):  # noqa: N818 - a signal, no error
    """Too many evaluations, or values that are not finite."""


class MethodOfLines:
    """Evolution equations on a grid, with so many steps of output for one between the nodes of the states."""

    def __init__(self, problem: ForwardProblem, evolution: Evolution, grid: Grid, refined: int) -> None:
        states = problem.states
        along = evolution.coordinate
        self.evolution, self.grid = evolution, grid
        self.discrete = Discretisation(problem, grid, evolution.rates)
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
        self.path: dict[Part, Array] = {}
        self.starts: list[int] = []

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
        return self.discrete.assembled(self._rows(rates), self.parts)

    def _rows(self, rates: Mapping[str, Mapping[Part, sp.csr_array]]) -> list[Mapping[Part, sp.csr_array]]:
        """Derivatives of the rate of every part, from those of the highest."""
        one = sp.csr_array(sp.identity(self.grid.size, format="csr"))[self.discrete.inner]
        return [{(f, k + 1): one} if (f, k + 1) in self.parts else rates[f] for f, k in self.parts]

    def _run(self, low: int, high: int, push: float = 0.0) -> dict[Part, Array]:
        """Parts at the times from one to another, shape (times, nodes), the start perturbed by a push."""
        given = [self.bounds[f](self.times[low], k)[self.discrete.inner] for f, k in self.parts]
        if push:
            bump = _bump(self.grid)[self.discrete.inner]
            given = [
                s + push * self.scale[f] * bump * (k == 0)
                for s, (f, k) in zip(given, self.parts, strict=True)
            ]
        times = self.times[low : high + 1]
        level = np.concatenate(
            [np.full(self.discrete.inner.size, _RELATIVE * self.scale[f]) for f, _ in self.parts]
        )
        start = np.concatenate(given)
        way: dict[str, Any] = (
            {"method": "RK45"} if self._explicit(times, start) else {"method": "Radau", "jac": self._slope}
        )
        try:
            with np.errstate(all="ignore"):
                done = solve_ivp(
                    self._rate,
                    (times[0], times[-1]),
                    start,
                    t_eval=times,
                    rtol=10 * _RELATIVE,
                    atol=level,
                    **way,
                )
        except (_Budget, RuntimeError, ValueError):
            slow = f"it takes more than {_EVALUATIONS:,} evaluations of the equation"
            why = slow if self.left < 0 else "its solution with the estimates blows up"
            raise NoForwardSolutionError(why) from None
        if done.status != 0 or not np.isfinite(done.y).all():
            raise NoForwardSolutionError("its solution with the estimates blows up")
        states = [self._whole(t, y) for t, y in zip(times, done.y.T, strict=True)]
        return {p: np.stack([s[p] for s in states]) for p in self.parts}

    def _explicit(self, times: Array, start: Array) -> bool:
        """Whether stable explicit steps are few enough."""
        slope = self._slope(times[0], start)
        radius = float(spla.norm(slope @ slope, 1)) ** 0.5
        return _STAGES * radius * float(times[-1] - times[0]) / _STABLE < _FEW

    def solve(self) -> dict[str, xr.DataArray]:
        """In one go where errors at the start do not grow, else in as few windows as keep them small."""
        windows, failed = 1, ""
        parts: list[tuple[dict[Part, Array], float]] = []
        self.left = _EVALUATIONS
        last = len(self.times) - 1
        starts = np.zeros(1, dtype=int)
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
        self.starts = [int(i) for i in starts[:-1]]
        self.path = {
            part: np.concatenate([parts[0][0][part], *(p[part][1:] for p, _ in parts[1:])])
            for part in self.parts
        }
        coords = {self.evolution.coordinate: self.times, **{a.name: a.points for a in self.grid}}
        over = (self.evolution.coordinate, *self.grid.names)
        return {
            f: xr.DataArray(self.path[f, 0].reshape(-1, *self.grid.shape), coords, over)
            for f in self.evolution.fields
        }

    @property
    def restarts(self) -> int:
        """How often the evolution was restarted from the states."""
        return len(self.starts) - 1

    def responses(
        self, modes: SmoothModes, directions: Mapping[str, xr.DataArray], terms: Sequence[Term], step: float
    ) -> Iterator[dict[str, Array]]:
        """Of each state at one time after another, shape (nodes, columns).

        The columns are corrections of all states, as of `SmoothModes.given`, changes of what is estimated,
        and terms that the equations lack. By the trapezoidal rule along the solution, anew from each restart.
        """
        discrete, fields, inner = self.discrete, list(self.evolution.fields), self.discrete.inner
        ways = [discrete.direction(n, a) for n, a in directions.items()]
        one = sp.identity(len(self.parts) * inner.size, format="csc")
        last: tuple[Any, Array, Array] | None = None
        for i, t in enumerate(self.times):
            given = modes.given(fields, self.parts, self.grid, t, len(ways) + len(terms))
            here = {p: v[i] for p, v in self.path.items()}
            env = discrete.environment(t, here)
            slopes = discrete.slopes(env)
            matrix = discrete.assembled(self._rows(dict(zip(fields, slopes, strict=True))), self.parts)
            rates = discrete.sources(env, slopes, given, ways, terms, here, step)
            sources = dict(zip(fields, rates, strict=True))
            zero = np.zeros_like(sources[fields[0]])
            source = np.concatenate([zero if (f, k + 1) in self.parts else sources[f] for f, k in self.parts])
            values = start = np.concatenate([given[p][inner] for p in self.parts])
            if last is not None:
                half = (t - self.times[i - 1]) / 2
                right = last[1] + half * (last[0] @ last[1] + last[2] + source)
                values = _factors(sp.csc_array(one - half * matrix)).solve(right)
            last = matrix, start if i in self.starts else values, source
            for part, now in zip(self.parts, np.split(values, len(self.parts)), strict=True):
                given[part][inner] = now
            yield {f: given[f, 0] for f in fields}

    def _grown(self, low: int, high: int) -> tuple[dict[Part, Array], float]:
        """The solution, and by how much a small smooth error at its start grows."""
        base, pushed = self._run(low, high), self._run(low, high, 1e-4)
        with np.errstate(over="ignore"):
            sizes = [
                np.linalg.norm(pushed[f, 0] - base[f, 0], axis=1) / self.scale[f]
                for f in self.evolution.fields
            ]
        size = np.max(sizes, axis=0)
        return base, float(size.max() / size[0]) if size[0] > 0 else 1.0


def _factors(matrix: sp.csc_array) -> spla.SuperLU:
    """Factors by an ordering for patterns that are nearly symmetric, as those of differences in space are."""
    return spla.splu(matrix, permc_spec="MMD_AT_PLUS_A")


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


class Steady:
    """Equations without a coordinate of evolution on a grid, solved everywhere at once by Newton's method."""

    times = np.zeros(1)
    restarts = 0

    def __init__(self, problem: ForwardProblem, grid: Grid) -> None:
        residuals = [e.residual for e in problem.system.equations]
        self.discrete, self.grid = Discretisation(problem, grid, residuals), grid
        self.values: dict[Part, Array] = {
            (f, 0): on_nodes(problem.states[f], grid).ravel() for f in problem.solved
        }
        self.parts = list(self.values)

    def solve(self) -> dict[str, xr.DataArray]:
        """States that obey the equations, by damped Newton steps from the estimated ones."""
        discrete, u = self.discrete, self.values
        first, size, moved = None, np.inf, np.inf
        for _ in range(_NEWTON):
            env = discrete.environment(0.0, u)
            residual = np.concatenate(discrete.evaluated(env))
            size = float(np.linalg.norm(residual))
            first = size if first is None else first
            if not np.isfinite(size):
                break
            try:
                step = _factors(discrete.assembled(discrete.slopes(env), list(u))).solve(residual)
            except RuntimeError:
                raise NoForwardSolutionError("the linearised equation is singular") from None
            better = _damped(discrete, u, step, size)
            if better is None:
                break
            moved = max(float(np.abs(better[p] - u[p]).max()) / (float(np.ptp(u[p])) or 1.0) for p in u)
            u = better
            if moved < _SETTLED:
                break
        # Rounding stops Newton's method long after the equation holds.
        if not np.isfinite(size) or (size > 1e-6 * (first or 1.0) and moved > 1e-6):
            raise NoForwardSolutionError("Newton's method found no solution with the estimates")
        self.values = u
        coords = {a.name: a.points for a in self.grid}
        return {
            f: xr.DataArray(v.reshape(self.grid.shape), coords, self.grid.names) for (f, _), v in u.items()
        }

    def responses(
        self, modes: SmoothModes, directions: Mapping[str, xr.DataArray], terms: Sequence[Term], step: float
    ) -> Iterator[dict[str, Array]]:
        """Of each state, as of `MethodOfLines.responses`."""
        discrete, parts = self.discrete, self.parts
        given = modes.given([f for f, _ in parts], parts, self.grid, 0.0, len(directions) + len(terms))
        ways = [discrete.direction(n, a) for n, a in directions.items()]
        env = discrete.environment(0.0, self.values)
        rows = discrete.slopes(env)
        source = np.concatenate(discrete.sources(env, rows, given, ways, terms, self.values, step))
        inner = -_factors(discrete.assembled(rows, parts)).solve(source)
        for part, values in zip(parts, np.split(inner, len(parts)), strict=True):
            given[part][discrete.inner] = values
        yield {f: given[f, 0] for f, _ in parts}


def _damped(
    discrete: Discretisation, u: Mapping[Part, Array], step: Array, size: float
) -> dict[Part, Array] | None:
    """The values after the longest of halved steps that reduces the residual; None where none does."""
    share = 1.0
    while share > _LEAST_STEP:
        trial = {p: v.copy() for p, v in u.items()}
        for values, part in zip(trial.values(), np.split(step, len(trial)), strict=True):
            values[discrete.inner] -= share * part
        residual = np.concatenate(discrete.evaluated(discrete.environment(0.0, trial)))
        if np.linalg.norm(residual) < size:
            return trial
        share /= 2
    return None


Solver = MethodOfLines | Steady


def solve_on(problem: ForwardProblem, refined: int) -> tuple[Solver, dict[str, xr.DataArray]]:
    """A problem on the grid of a refinement, and its solution, with the attributes of the coordinates."""
    grid = problem.grid(refined)
    evolution = problem.evolution
    solver = MethodOfLines(problem, evolution, grid, refined) if evolution else Steady(problem, grid)
    found = solver.solve()
    for v in found.values():
        for c in v.dims:
            v[c].attrs.update(problem.states[c].attrs)
    return solver, found
