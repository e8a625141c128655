"""The forward problem of a solution: its equations, their coefficients, and what is solved for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy
import xarray as xr

from mollifier.equations.names import Names
from mollifier.equations.system import EquationSystem, parse
from mollifier.errors import EquationError, MollifierError
from mollifier.mollify.grid import Grid, axis_of
from mollifier.mollify.orders import Derivative
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.unknowns import value_axis

#: The coordinate that ordinary differential equations are given, along which nothing varies.
UNIFORM = "uniform"
# Most nodes at a time, by the number of coordinates, and most values of a solution.
_MOST_NODES = {1: 801, 2: 6_000, 3: 12_000}
_MOST_NUMBERS = 4_000_000


class NoForwardSolutionError(MollifierError):
    """A forward problem that cannot be solved; the message says why."""


@dataclass(frozen=True)
class Evolution:
    """Evolution equations along one coordinate: time, or one along which all derivatives are of first order.

    ``orders`` are those of each field's highest derivative along it, 1 or 2, and ``rates`` these derivatives.
    """

    coordinate: str
    fields: tuple[str, ...]
    orders: tuple[int, ...]
    rates: tuple[sympy.Expr, ...]


@dataclass(frozen=True, eq=False)
class ForwardProblem:
    """States that are solved for, from the estimated ones and from all else that the equations name.

    Of the states, starts and ends count, and those that are not solved for.
    """

    states: xr.Dataset
    fields: Mapping[str, xr.DataArray]
    system: EquationSystem
    evolution: Evolution | None
    solved: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.space:  # an ordinary differential equation: the same everywhere along a coordinate added
            object.__setattr__(self, "states", self.states.expand_dims({UNIFORM: [0.0, 1.0]}))
        for f in self.solved:
            if set(self.states[f].dims) != set(self.states.dims):
                raise NoForwardSolutionError(f"'{f}' does not vary over all coordinates")

    @property
    def along(self) -> str:
        """The coordinate of evolution, "" for none."""
        return "" if self.evolution is None else self.evolution.coordinate

    @property
    def space(self) -> tuple[str, ...]:
        """The coordinates that are discretised."""
        return tuple(c for c in map(str, self.states.dims) if c != self.along)

    def grid(self, refined: int) -> Grid:
        """The coordinates that are discretised, with so many cells along each axis for one of the states'."""
        axes = [axis_of(self.states[c]) for c in self.space]
        sizes = [a.size * refined if a.periodic else (a.size - 1) * refined + 1 for a in axes]
        return Grid(*(replace(a, size=n, nodes=None) for a, n in zip(axes, sizes, strict=True)))

    def affordable(self, refined: int) -> bool:
        """Whether a grid is small enough."""
        sizes = {c: (n - 1) * refined + 1 for c, n in self.states.sizes.items()}
        space = [n for c, n in sizes.items() if c != self.along]
        most = _MOST_NODES.get(len(space), _MOST_NODES[3]) * (1 if self.along else 4)
        total = float(np.prod([float(n) for n in sizes.values()]))
        return float(np.prod(space)) <= most and total <= _MOST_NUMBERS


def system_of(solution: Solution, problem: InverseProblem | None) -> EquationSystem:
    """The equations, from the problem where it is given, else from the solution's provenance."""
    if problem is not None:
        return replace(problem.system, conditions=())
    p, data = solution.provenance, solution.dataset
    if not p.get("equation"):
        raise NoForwardSolutionError("the solution does not hold its equation: give the problem")
    fields = (*(p.get("fields") or solution.states), *p.get("states", {}))

    states = {value_axis(f): f for f in fields}
    varied = {
        d for n in (*fields, *solution.unknown_fields, *solution.known) if n in data for d in data[n].dims
    }

    def over(name: str) -> tuple[str, ...]:
        return tuple(states.get(str(c), str(c)) for c in data[name].dims) if name in data else ()

    names = Names(
        coordinates=tuple(str(c) for c in data.dims if c in varied and c not in states),
        fields={f: over(f) for f in dict.fromkeys(fields)},
        unknowns={n: over(n) for n in (*solution.estimates, *solution.unknown_fields)},
        known={n: over(n) for n in solution.known},
        constants=p.get("constants") or {},
        system=p.get("geometry"),
        experiments=tuple(p.get("experiments") or ()),
        units={str(c): str(data[c].attrs.get("units", "")) for c in data.dims},
    )
    try:
        return parse([e.replace("**", "^") for e in p["equation"]], names)
    except EquationError as error:
        first = str(error).splitlines()[0]
        raise NoForwardSolutionError(
            f"the equation cannot be read back ({first}): give the problem"
        ) from None


def coefficients(solution: Solution, system: EquationSystem) -> dict[str, xr.DataArray]:
    """Estimated unknowns and known coefficients by name; numbers have no dimensions."""
    found: dict[str, xr.DataArray] = {}
    names = {system.names.resolve(s).derivative.field: system.names.resolve(s).kind for s in system.symbols}
    for name, kind in names.items():
        if kind in ("coordinate", "field"):
            continue
        if name in solution.estimates:
            found[name] = xr.DataArray(solution.estimates[name].value)
        elif name in solution.dataset:
            found[name] = solution.dataset[name]
        else:
            raise NoForwardSolutionError(f"the solution does not hold '{name}', which its equation names")
        if not np.isfinite(found[name].values).all():
            raise NoForwardSolutionError(
                f"'{name}' is not finite everywhere; equations are solved forward in boxes, not in domains "
                "of another shape"
            )
    return found


def evolution_of(system: EquationSystem) -> Evolution | None:
    """The equations solved for their rates; None where they have no coordinate of evolution."""
    names = system.names
    if any(e.crossing != 0 for e in system.equations):
        raise NoForwardSolutionError("a flux jumps at an edge, where its derivative is no function")
    time = names.time if names.time and _orders(system, names.time) else ""
    first = [c for c in names.spatial if set(_orders(system, c).values()) == {1}]
    coordinate = time or (first[0] if first else "")
    if not coordinate:
        return None
    orders = _orders(system, coordinate)
    if len(orders) != len(system.equations):
        raise NoForwardSolutionError(
            f"{len(system.equations)} equations were given for {len(orders)} fields that change along "
            f"{coordinate}"
        )
    for ds in system.derivatives.values():
        for d in ds:
            if d.field in orders and 0 < d.along(coordinate) < d.total:
                raise NoForwardSolutionError(f"{d.name} mixes {coordinate} with another coordinate")
    if max(orders.values()) > 2:
        raise NoForwardSolutionError(f"the order along {coordinate} is above two")
    highest = [sympy.Symbol(Derivative.of(f, {coordinate: n}).name) for f, n in orders.items()]
    residuals = sympy.Matrix([e.residual for e in system.equations])
    slopes = residuals.jacobian(highest)
    if slopes.free_symbols & set(highest) or slopes.det() == 0:
        raise NoForwardSolutionError(f"the equations cannot be solved for {', '.join(map(str, highest))}")
    rest = residuals.subs(dict.fromkeys(highest, 0))
    rates = -slopes.LUsolve(rest)
    return Evolution(coordinate, tuple(orders), tuple(orders.values()), tuple(rates))


def _orders(system: EquationSystem, coordinate: str) -> dict[str, int]:
    """Field -> its highest order along a coordinate, of those that are differentiated along it."""
    return {f: n for f in system.names.fields if (n := system.order_along(coordinate, f))}


def solved_fields(system: EquationSystem) -> tuple[str, ...]:
    """States that equations without a coordinate of evolution are solved for."""
    fields = tuple(f for f in system.names.fields if any(d.total for d in system.derivatives.get(f, ())))
    if len(fields) != len(system.equations):
        raise NoForwardSolutionError(
            f"{len(system.equations)} equations were given for the {len(fields)} fields they differentiate"
        )
    return fields


def derivatives_of(expressions: Any, system: EquationSystem) -> dict[str, Derivative]:
    """Symbols of fields and unknowns in some expressions, and what they denote."""
    symbols = {s.name for e in expressions for s in e.free_symbols}
    found = {s: system.names.resolve(s) for s in sorted(symbols)}
    return {s: r.derivative for s, r in found.items() if r.kind in ("field", "unknown", "known")}
