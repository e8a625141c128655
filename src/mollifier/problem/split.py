"""A problem with an edge of unknown place, for one place of it: two smooth states that meet at the edge.

A spline cannot hold the kink that a state has where a coefficient jumps. Each side of the edge therefore has
states of its own, over the distance from the edge in lengths of its side, from 0 to 1, and both meet at 0 by
`mollifier.equations.moving.jump_conditions`: an ordinary problem on a box with conditions at one of its ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy
import xarray as xr

from mollifier.data.observations import Observations
from mollifier.equations.moving import Edge, jump_conditions
from mollifier.equations.system import Equation
from mollifier.errors import ConfigurationError
from mollifier.mollify.arrays import Array
from mollifier.mollify.orders import Derivative
from mollifier.problem.conditions import Condition
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import Unknown

_DIGITS = 8  # Of places and lengths in equations, which messages show.


@dataclass(frozen=True)
class Side:
    """One side of an edge: ``coordinate = place + length * distance``, the length negative below."""

    name: str
    place: float
    length: float
    above: bool

    def state(self, name: str) -> str:
        """The name of a state, or of known data, on this side."""
        return f"{name}_{self.name}"

    def distance(self, values: Any) -> Any:
        """From the edge, in lengths of the side, of a number or an array."""
        return (values - self.place) / self.length


@dataclass(frozen=True)
class Split:
    """A problem whose edge is taken to be at a place."""

    problem: InverseProblem
    edge: Edge
    place: float

    @cached_property
    def sides(self) -> tuple[Side, Side]:
        """Below and above."""
        low, high = self.problem.bounds[self.edge.coordinate]
        below = Side(f"below_{self.edge.number}", self.place, low - self.place, False)
        return below, Side(f"above_{self.edge.number}", self.place, high - self.place, True)

    @cached_property
    def interface_conditions(self) -> list[sympy.Expr]:
        """What is zero where both sides meet."""
        end = {sympy.Symbol(self.edge.coordinate): sympy.S.Zero}
        below, above = ({s: v.xreplace(end) for s, v in self._symbols(side).items()} for side in self.sides)
        return jump_conditions(self.problem.system, self.edge, below, above)

    def posed(self, initial: Mapping[str, float] | None = None) -> InverseProblem:
        """The problem of both sides, where its other numbers may start from given values."""
        problem, c, system = self.problem, self.edge.coordinate, self.problem.system
        unknowns: dict[str, Unknown] = {n: u for n, u in problem.unknowns.items() if n != self.edge.number}
        for name, value in (initial or {}).items():
            if problem.scalars[name].admits(value):
                unknowns[name] = replace(problem.scalars[name], initial=value)
        equations = [self._written(e, e.residual, s) for e in system.equations for s in self.sides]
        places = [
            Condition(self._written(e, e.residual, s), self._at(e, s), e.noise)
            for e in system.conditions
            for s in self._sides_of(e)
        ]
        places += [Condition(e, {c: 0.0}) for e in self.interface_conditions]
        states = {
            side.state(n): replace(s, over=None) for n, s in problem.states.items() for side in self.sides
        }
        return InverseProblem(
            equations,
            self._data(),
            unknowns,
            fields=[side.state(f) for f in problem.fields for side in self.sides],
            conditions=places,
            states=states,
            experiments=problem.experiments,
        )

    def _sides_of(self, condition: Equation) -> tuple[Side, ...]:
        """Where a condition holds."""
        at = condition.at.get(self.edge.coordinate)
        return self.sides if at is None else (self.sides[at >= self.place],)

    def _at(self, condition: Equation, side: Side) -> dict[str, float | str]:
        c = self.edge.coordinate
        return {n: side.distance(x) if n == c else x for n, x in condition.at.items()}

    def _written(self, equation: Equation, residual: sympy.Expr, side: Side) -> sympy.Expr:
        """A residual by the states of one side."""
        return self.edge.sided(residual, side.above).xreplace(self._symbols(side))

    def _symbols(self, side: Side) -> dict[Any, Any]:
        """What the symbols of the equations, and the states, are on one side."""
        names, c = self.problem.system.names, self.edge.coordinate
        length, found = sympy.Float(side.length, _DIGITS), {}
        used = {s for e in self.problem.system.imposed for s in (e.residual + e.crossing).free_symbols}
        lower = {
            Derivative.of(f, {c: d.along(c) - 1})
            for f in names.fields
            for d in self.problem.system.derivatives[f]
            if d.along(c)
        }
        for symbol in used | {sympy.Symbol(d.name) for d in lower} | {*map(sympy.Symbol, names.fields)}:
            kind, d = names.resolve(str(symbol))
            if kind in ("field", "known"):
                name = Derivative(side.state(d.field), d.orders).name
                found[symbol] = sympy.Symbol(name) / length ** d.along(c)
        place = sympy.Float(side.place, _DIGITS)
        return found | {
            sympy.Symbol(c): place + length * sympy.Symbol(c),
            sympy.Symbol(self.edge.number): place,
        }

    def _data(self) -> Observations:
        """The samples of each side over the distance from the edge."""
        data, c = self.problem.data, self.edge.coordinate
        rows: list[tuple[str, Array, Array, Array]] = []
        for v in data.variables:
            samples = data.samples(v)
            x = samples.points[:, samples.coordinates.index(c)]
            for side in self.sides:
                here = (x >= self.place) == side.above
                points = samples.points[here].copy()
                points[:, samples.coordinates.index(c)] = side.distance(x[here])
                rows.append((side.state(v), points, samples.values[here], samples.sd[here]))
        ends = np.cumsum([0, *(len(r[1]) for r in rows)])
        values = {r[0]: np.full(ends[-1], np.nan) for r in rows}
        noise = {r[0]: np.full(ends[-1], np.nan) for r in rows}
        for (name, _, value, sd), low, high in zip(rows, ends, ends[1:], strict=False):
            values[name][low:high], noise[name][low:high] = value, sd
        points = np.concatenate([r[1] for r in rows])
        return Observations(values, dict(zip(data.coordinates, points.T, strict=True)), noise)

    def whole(self, answer: xr.Dataset) -> xr.Dataset:
        """Fields of an answer to `posed`, over the coordinate and by the names of the problem."""
        units, conditions = self.problem.data.units, iter(self._conditions())
        found, used = {}, set[str]()
        for name, (parts, order) in self._parts().items():
            used |= {*parts}
            if parts[0] in answer:
                sides = [answer[n] / s.length**order for n, s in zip(parts, self.sides, strict=False)]
                found[name] = self._joined(sides) if len(parts) > 1 else answer[parts[0]]
                found[name].attrs = answer[parts[0]].attrs | ({"units": units[name]} if name in units else {})
            if name in found and name.startswith("condition_"):
                attrs, text = found[name].attrs, next(conditions)
                long_name = attrs["long_name"].replace(attrs["equation"], text)
                found[name].attrs = attrs | {"equation": text, "long_name": long_name}
        rest = [n for n in map(str, answer.data_vars) if n not in used and not n.startswith("condition_")]
        others = {n: answer[n] for n in rest if self.edge.coordinate not in answer[n].dims}
        return xr.Dataset(found | others)

    def _parts(self) -> dict[str, tuple[list[str], int]]:
        """Name in the answer to the problem -> names in that to `posed`, and order along the coordinate."""
        system, found = self.problem.system, {}
        for f in self.problem.all_states:
            for d in system.derivatives[f]:
                parts = [Derivative(s.state(f), d.orders).name for s in self.sides]
                found[d.name] = parts, d.along(self.edge.coordinate)
            found[f"{f}_sd"] = [f"{s.state(f)}_sd" for s in self.sides], 0
        single = len(system.equations) == 1
        for i, _ in enumerate(system.equations):
            found["residual" if single else f"residual_{i}"] = [f"residual_{2 * i + k}" for k in (0, 1)], 0
        last = 0
        sides = [*(len(self._sides_of(e)) for e in system.conditions), *[1] * len(self.interface_conditions)]
        for i, count in enumerate(sides):
            found[f"condition_{i}"] = [f"condition_{last + k}" for k in range(count)], 0
            last += count
        return found

    def _conditions(self) -> list[str]:
        """The conditions of the problem, then those at its edge, as texts."""
        place = f"at {self.edge.coordinate} = {self.edge.number}"
        return [
            *map(str, self.problem.system.conditions),
            *(f"{e} = 0 {place}" for e in self.interface_conditions),
        ]

    def _joined(self, sides: Sequence[xr.DataArray]) -> xr.DataArray:
        """A field by its parts on both sides, over the coordinate, with one value at the edge."""
        c = self.edge.coordinate
        below, above = (
            a.assign_coords({c: s.place + s.length * a[c]}) for a, s in zip(sides, self.sides, strict=True)
        )
        return xr.concat([below.isel({c: slice(None, 0, -1)}), above], c)

    def fitted(self, fit: xr.Dataset) -> xr.Dataset:
        """The table of the fit of an answer to `posed`, by the names of the problem."""
        c, x, found = self.edge.coordinate, fit[self.edge.coordinate], {}
        for v in self.problem.fields:
            for part in ("", "_sd", "_fitted", "_held_out"):
                low, high = (fit[f"{s.state(v)}{part}"] for s in self.sides)
                found[v + part] = low | high if part == "_held_out" else low.fillna(high)
        above = fit[[self.sides[1].state(v) for v in self.problem.fields]]
        here = above.to_array().notnull().any("variable")
        place = self.place + x * xr.where(here, self.sides[1].length, self.sides[0].length)
        return xr.Dataset(found).assign_coords({c: place})


_FEWEST = 4  # Fewest different places of samples on either side of an edge.


def outermost(problem: InverseProblem, edge: Edge) -> tuple[float, float]:
    """Between which ends the place of an edge has samples on either side."""
    samples = [problem.data.samples(f) for f in problem.fields]
    places = np.unique(np.concatenate([s.points[:, s.coordinates.index(edge.coordinate)] for s in samples]))
    few = min(_FEWEST, len(places))
    return float(places[few - 1]), float(places[-few])


def search_range(problem: InverseProblem, edge: Edge) -> tuple[float, float]:
    """Between which ends the place of an edge is sought: those of `outermost` within its bounds."""
    c, unknown = edge.coordinate, problem.scalars[edge.number]
    others = {
        "a periodic coordinate": c in problem.data.periodic,
        "a domain": problem.interior is not None,
        "states without data": bool(problem.hidden),
        "a geometry": problem.geometry is not None,
        f"fields or known data that do not vary over {c}": any(
            c not in problem.coordinates_of(v) for v in (*problem.all_states, *problem.known)
        ),
        f"unknown fields over {c} or over a state": any(
            {c, *problem.all_states} & {*(u.over or ())} for u in problem.unknown_fields.values()
        ),
    }
    for what, asked in others.items():
        if asked:
            raise ConfigurationError(
                f"{edge.number} is the place of an edge, which is not sought beside {what}: give it."
            )
    ends = outermost(problem, edge)
    low = max(ends[0], -np.inf if unknown.lower is None else unknown.lower)
    high = min(ends[1], np.inf if unknown.upper is None else unknown.upper)
    if not low < high:
        raise ConfigurationError(
            f"{edge.number} is the place of an edge along {c}, and its bounds leave no place with samples at "
            f"{_FEWEST} places or more on either side, which are between {ends[0]:.4g} and {ends[1]:.4g}: "
            "data on both sides of the edge are needed."
        )
    return low, high
