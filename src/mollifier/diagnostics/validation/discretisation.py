"""Equations on a grid: derivatives as sparse matrices, everything that is not solved for as functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import sympy
import xarray as xr
from scipy.interpolate import CubicSpline

from mollifier.data.interpolation import interpolated
from mollifier.diagnostics.validation import finite_differences
from mollifier.diagnostics.validation.forward_problem import (
    ForwardProblem,
    NoForwardSolutionError,
    derivatives_of,
)
from mollifier.equations.algebra import differentiate
from mollifier.equations.laws import as_functions, as_symbols, laws_in
from mollifier.equations.lower import ArrayFunction
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid
from mollifier.mollify.orders import Derivative
from mollifier.problem.unknowns import value_axis

#: What is given at the inner nodes, from the environment: the place of evolution, and states for laws.
Given = Callable[[Mapping[str, Any]], Any]
Part = tuple[str, int]  #: A field and its order of differentiation along the coordinate of evolution.


def on_nodes(array: xr.DataArray, grid: Grid) -> Array:
    """A field on the nodes of a grid over its coordinates, by cubic splines, shape ``grid.shape``."""
    return interpolated(array.transpose(*grid.names), grid.coords()).reshape(grid.shape)


class Term(NamedTuple):
    """A term: the expression that it is added to, and the matrix that maps a part to it, None for ones."""

    place: int
    part: Part
    matrix: sp.csr_array | None


class Discretisation:
    """Expressions of a problem on a grid: their values, and the slopes of these in what is solved for."""

    def __init__(self, problem: ForwardProblem, grid: Grid, expressions: Sequence[sympy.Expr]) -> None:
        system, states, solved = problem.system, problem.states, problem.solved
        functions = [as_functions(e, system.names) for e in expressions]
        states_in = derivatives_of(functions, system)
        symbols = {s: sympy.Symbol(s) for s, d in states_in.items() if d.field in solved}
        slopes = [{s: differentiate(e, v) for s, v in symbols.items() if e.has(v)} for e in functions]
        laws = set().union(
            *(laws_in(e) for part, e in zip(slopes, functions, strict=True) for e in (e, *part.values()))
        )
        needed = {**states_in, **{d.name: d for d in laws}}
        orders = {c: max((d.along(c) for d in needed.values()), default=0) for c in grid.names}
        self.grid, self.coordinate, self.states = grid, problem.along, tuple(map(str, states.data_vars))
        # Nodes whose values the equation gives; those in a layer as wide as a stencil at the ends are given.
        self.inner = np.flatnonzero(finite_differences.inner(grid, orders))
        if not self.inner.size:
            raise NoForwardSolutionError(f"the solution's grid {grid.shape} is too coarse for its stencils")
        self.solved = {s: needed[s] for s in symbols}
        self.matrices = {
            s: sp.csr_array(_matrix(grid, d, grid.names)[self.inner]) for s, d in self.solved.items()
        }
        self.needed = needed
        given = {**problem.fields, **{f: states[f] for f in map(str, states.data_vars) if f not in solved}}
        self.given = {s: self._given(given[d.field], d) for s, d in needed.items() if d.field in given}
        for axis in grid:
            self.given[axis.name] = _constant(self._at_inner(axis.points, (axis.name,)))
        self.functions = [ArrayFunction(as_symbols(e)) for e in functions]
        self.partials = [{s: ArrayFunction(as_symbols(e)) for s, e in part.items()} for part in slopes]

    def _given(self, array: xr.DataArray, d: Derivative) -> Given:
        """A derivative of what is given, at the inner nodes."""
        states = {str(c): f for f in self.states if (c := value_axis(f)) in array.dims}
        if states:
            return _law(array, d, states)
        names = tuple(c for c in self.grid.names if c in array.dims)
        order = d.along(self.coordinate)

        def at_nodes(field: xr.DataArray) -> Array:
            if not names:
                return field.values
            part = self.grid.subgrid(names)
            return self._at_inner(_matrix(part, d, names) @ on_nodes(field, part).ravel(), names)

        if self.coordinate not in array.dims:
            return _constant(at_nodes(array) * (order == 0))
        nodes = array[self.coordinate]
        stack = np.stack([at_nodes(array.isel({self.coordinate: i})) for i in range(nodes.size)])
        spline = CubicSpline(nodes.values, stack)
        return lambda env: spline(env[self.coordinate], nu=order)

    def _at_inner(self, values: Array, names: tuple[str, ...]) -> Array:
        """Values over some coordinates at the inner nodes."""
        shape = [a.size if a.name in names else 1 for a in self.grid]
        whole = np.broadcast_to(values.reshape(shape), self.grid.shape)
        return np.asarray(whole.ravel()[self.inner])

    def environment(self, at: float, values: Mapping[Part, Array]) -> dict[str, Any]:
        """What the expressions need at a place of evolution, from values at all nodes."""
        env: dict[str, Any] = {self.coordinate: at}
        for s, d in self.solved.items():
            env[s] = self.matrices[s] @ values[d.field, d.along(self.coordinate)]
        for s, f in self.given.items():
            env[s] = f(env)
        return env

    def evaluated(self, env: Mapping[str, Any]) -> list[Array]:
        """Each expression at the inner nodes."""
        return [np.broadcast_to(f(env), self.inner.size) for f in self.functions]

    def slopes(self, env: Mapping[str, Any]) -> list[dict[Part, sp.csr_array]]:
        """Each expression's derivatives at inner nodes by the parts at all nodes; without those of 0."""
        rows = []
        for partials in self.partials:
            row: dict[Part, Any] = {}
            for s, slope in partials.items():
                d = self.solved[s]
                factor = sp.diags_array(np.broadcast_to(slope(env), self.inner.size))
                block = factor @ self.matrices[s]
                part = (d.field, d.along(self.coordinate))
                row[part] = row[part] + block if part in row else block
            rows.append(row)
        return rows

    def direction(self, name: str, array: xr.DataArray) -> dict[str, Given]:
        """A change of what is given, for every symbol that it occurs in."""
        return {s: self._given(array, d) for s, d in self.needed.items() if d.field == name}

    def terms(self, parts: Iterable[Part]) -> dict[str, Term]:
        """What an equation may lack, by name: a source, each state and its first and second derivatives."""
        orders = {c: max((d.along(c) for d in self.needed.values()), default=0) for c in self.grid.names}
        found: dict[str, Term] = {}
        fields: list[str] = []
        for f, order in parts:
            fields += [] if f in fields else [f]
            place = len(fields) - 1
            name = Derivative.of(f, {self.coordinate: order}).name if order else f
            found[name] = Term(place, (f, order), sp.csr_array(sp.identity(self.grid.size)))
            if not order:
                found[f"a source of {f}"] = Term(place, (f, 0), None)
                for c, most in orders.items():
                    for n in range(1, min(most, 2) + 1):
                        matrix = finite_differences.matrix(self.grid, {c: n})
                        found[Derivative.of(f, {c: n}).name] = Term(place, (f, 0), matrix)
        return found

    def sources(
        self,
        env: Mapping[str, Any],
        rows: Sequence[Mapping[Part, Any]],
        given: Mapping[Part, Array],
        directions: Sequence[Mapping[str, Given]],
        terms: Sequence[Term],
        values: Mapping[Part, Array],
        step: float,
    ) -> list[Array]:
        """Each expression's change at the inner nodes, shape (inner nodes, columns).

        ``given`` are changes of the parts, (nodes, columns), of which those at all but the inner nodes count.
        Each direction is a change of what is given, whose differences are over ``step``; a term is added to
        its expression. Directions, then terms, are the last columns.
        """
        outer = np.setdiff1d(np.arange(self.grid.size), self.inner)
        changed = [
            self.evaluated({**env, **{s: env[s] + step * f(env) for s, f in d.items()}}) for d in directions
        ]
        found, base, columns = [], self.evaluated(env), next(iter(given.values())).shape[1]
        last = columns - len(terms)
        for i, row in enumerate(rows):
            total = np.zeros((self.inner.size, columns))
            for part, block in row.items():
                total += block[:, outer] @ given[part][outer]
            for j, moved in enumerate(changed):
                total[:, last - len(changed) + j] += (moved[i] - base[i]) / step
            for j, term in enumerate(terms):
                if term.place == i:
                    total[:, last + j] += (
                        1.0 if term.matrix is None else (term.matrix @ values[term.part])[self.inner]
                    )
            found.append(total)
        return found

    def assembled(self, rows: Iterable[Mapping[Part, Any]], parts: Sequence[Part]) -> sp.csc_array:
        """Rows of blocks as one matrix, a column of blocks for each part at the inner nodes."""
        empty = sp.csr_array((self.inner.size, self.inner.size))
        blocks = [[row[p][:, self.inner] if p in row else empty for p in parts] for row in rows]
        return sp.csc_array(sp.block_array(blocks, format="csc"))


def _matrix(grid: Grid, d: Derivative, names: Iterable[str]) -> sp.csr_array:
    return finite_differences.matrix(grid, {c: d.along(c) for c in names})


def _constant(value: Array) -> Given:
    return lambda _: value


def _law(array: xr.DataArray, d: Derivative, states: Mapping[str, str]) -> Given:
    """A derivative of a law of one state, which is constant beyond the values that it is given for."""
    if len(array.dims) > 1:
        raise NoForwardSolutionError(f"'{array.name}' varies over {len(array.dims)} variables, one a state")
    ((axis, state),) = states.items()
    x = array[axis].values
    spline, order = CubicSpline(x, array.values), d.along(state)

    def at_state(env: Mapping[str, Any]) -> Array:
        values = spline(np.clip(env[state], x[0], x[-1]), nu=order)
        return values if not order else np.where((env[state] > x[0]) & (env[state] < x[-1]), values, 0.0)

    return at_state
