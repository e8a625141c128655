"""Conditions: equations with a place, such as boundary and initial conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mollifier.data.observations import Observations, Samples
from mollifier.data.values import is_number
from mollifier.equations.system import EquationSystem, parse
from mollifier.errors import ConfigurationError, check_known, did_you_mean
from mollifier.problem.unknowns import Unknown

Bounds = Mapping[str, tuple[float, float]]

#: The key of a condition along the edge of the domain, and the value for the whole of it.
EDGE, ALL = "edge", "all"
_EDGES = ("start", "end")
_FARTHEST = 10.0  # Lengths of the data's box beyond which a place is taken for one in another unit.


@dataclass(frozen=True)
class Condition:
    """An equation that holds at one place along some coordinates, and everywhere along the others.

    Parameters
    ----------
    equation
        One or several, as in `InverseProblem` and with the same names: ``"w = 0; w_x = 0"``. It may hold
        unknowns that occur in no other equation: a flux q over t, a transfer coefficient h, an initial field
        u0 over x.
    at
        Coordinate -> a number in its unit, "start" or "end" of the domain, or the name of an experiment:
        ``{"x": 0.0}``, ``{"t": "start", "animal": "Bea"}``. The domain is the box of the data, and reaches to
        every number given here. Or "edge", of a problem with a `Domain`, or ``{"edge": "x > 0"}`` for a part
        of its edge.
    noise
        Standard error of the equation, left minus right side, in its own unit: 0 where it holds exactly.
        Errors at places farther apart than the shortest feature of the data are independent; those at the
        places along the edge of a domain are.
    normal
        The outward normal, by which ``dn(u)`` is the derivative; found at the edge of a domain.

    Raises
    ------
    ConfigurationError
        If ``at`` names no place, or the noise is not a number of 0 or more.

    Examples
    --------
    >>> Condition("-k*u_x = h*(u - ua)", at={"x": "end"}).at
    {'x': 'end'}
    >>> Condition("dn(u) = 0", at="edge").places
    {'edge': 'all'}
    >>> Condition("u = 0", at="x^2 + y^2 = 1")
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: The condition 'u = 0' was given at 'x^2 + y^2 = 1'; coordinates with
    a number, 'start' or 'end' were expected, as in at={'x': 0.0}, or 'edge' with a domain.
    """

    equation: Any
    at: Mapping[str, float | str] | str
    noise: float = 0.0
    normal: Mapping[str, float] = field(default_factory=dict)

    @property
    def places(self) -> Mapping[str, float | str]:
        """Coordinate, or "edge" -> where."""
        return {EDGE: ALL} if isinstance(self.at, str) else self.at

    def __post_init__(self) -> None:
        text = isinstance(self.at, str) and self.at != EDGE
        if (
            text
            or not isinstance(self.at, str | Mapping)
            or not self.at
            or any(not str(c).isidentifier() for c in self.places)
        ):
            raise ConfigurationError(
                f"The condition '{self.equation}' was given at {self.at!r}; coordinates with a number, "
                "'start' or 'end' were expected, as in at={'x': 0.0}, or 'edge' with a domain."
            )
        for c, x in self.places.items():
            if not isinstance(x, str) and not is_number(x):
                raise _no_place(self, c, x)
        if not is_number(self.noise) or self.noise < 0:
            raise ConfigurationError(
                f"The condition '{self.equation}' was given noise={self.noise!r}; a standard error in the "
                "unit of the equation was expected, 0 where it holds exactly."
            )


def _no_place(condition: Condition, c: str, x: Any, names: Sequence[str] = ()) -> ConfigurationError:
    hint = did_you_mean(str(x), names) if names else ""
    return ConfigurationError(
        f"The condition '{condition.equation}' was given at {c} = {x!r}; a number, 'start' or 'end' "
        f"was expected.{hint}"
    )


def checked(given: Any, data: Observations) -> tuple[Condition, ...]:
    """The conditions, one or a sequence of them, with names of experiments as their numbers."""
    several = isinstance(given, Iterable) and not isinstance(given, str | Mapping)
    found: list[Condition] = []
    for one in given if several else (given,):
        if not isinstance(one, Condition):
            raise ConfigurationError(
                f"The condition {one!r} was given; a Condition was expected, as in "
                "conditions=[Condition('u = 0', at={'x': 0.0})]."
            )
        found.append(_numbered(one, data))
    return tuple(found)


def _numbered(condition: Condition, data: Observations) -> Condition:
    """The condition with the numbers of experiments in place of their names."""
    at: dict[str, float | str] = {}
    for c, x in condition.places.items():
        at[c] = x
        if c in data.coordinates and isinstance(x, str) and x not in _EDGES:
            names = data.dataset[c].attrs.get("experiments", "").split(", ")
            if x not in names:
                raise _no_place(condition, c, x, [n for n in names if n])
            at[c] = float(names.index(x))
    return replace(condition, at=at)


def reached(conditions: Sequence[Condition], data: Observations) -> dict[str, tuple[float, float]]:
    """Coordinate -> ends of the box of the data, extended to the places of the conditions."""
    found = {c: data.bounds[c] for c in data.coordinates}
    for condition in conditions:
        for c, x in condition.places.items():
            text = f"The condition '{condition.equation}' is at {c} = {x}; '{c}' is not a coordinate."
            check_known(c, found, ConfigurationError, text)
            low, high = data.bounds[c]
            if c in data.periodic:
                if x in _EDGES:
                    raise ConfigurationError(
                        f"The condition '{condition.equation}' is at the {x} of '{c}', which is periodic "
                        "and has none; give a number."
                    )
            elif x not in _EDGES:
                if not -_FARTHEST <= (float(x) - low) / (high - low) - 0.5 <= _FARTHEST:
                    raise ConfigurationError(
                        f"The condition '{condition.equation}' is at {c} = {x:g}, far outside of the data, "
                        f"which reach from {low:g} to {high:g}: see whether both have the same unit."
                    )
                found[c] = min(found[c][0], float(x)), max(found[c][1], float(x))
    return found


def box(
    conditions: Sequence[Condition], measurements: Mapping[str, Samples], data: Observations
) -> dict[str, tuple[float, float]]:
    """Coordinate -> ends of the box of the data, extended to conditions and to measurements of unknowns."""
    bounds = reached(conditions, data)
    for samples in measurements.values():
        for c, x in samples.places.items():
            if c in bounds and c not in data.periodic:
                bounds[c] = min(bounds[c][0], float(x.min())), max(bounds[c][1], float(x.max()))
    return bounds


def placed(
    system: EquationSystem,
    conditions: Sequence[Condition],
    unknowns: Mapping[str, Unknown],
    bounds: Bounds,
    data: Observations,
) -> EquationSystem:
    """The equations together with the conditions, as equations with a place."""
    found, resolve = [], system.names.resolve
    everywhere = {resolve(s).derivative.field for s in system.symbols}
    for condition in conditions:
        at = {c: _number(x, c, bounds, data) for c, x in condition.places.items()}
        names = replace(system.names, normal=condition.normal) if condition.normal else system.names
        parsed = parse(condition.equation, names).equations
        found += [replace(e, at=at, noise=float(condition.noise)) for e in parsed]
    for equation in found:
        for name in {resolve(s).derivative.field for s in equation.symbols} - everywhere:
            over = unknowns[name].over or () if name in unknowns else ()
            if set(over) & set(equation.at):
                kept = tuple(c for c in over if c not in equation.at)
                given = f"FieldUnknown(over={kept!r})" if kept else "ScalarUnknown()"
                raise ConfigurationError(
                    f"The unknown '{name}' varies over {', '.join(over)}, and occurs in no equation but the "
                    f"condition '{equation}': give it as {given}."
                )
    return replace(system, conditions=tuple(found))


def _number(x: float | str, coordinate: str, bounds: Bounds, data: Observations) -> float:
    low, high = bounds[coordinate]
    if coordinate in data.periodic:
        return low + (float(x) - low) % data.periodic[coordinate]
    return low if x == "start" else high if x == "end" else float(x)
