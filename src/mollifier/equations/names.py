"""What the names of an equation may mean."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mollifier.equations.geometry import Geometry, geometry
from mollifier.equations.hints import foreign
from mollifier.errors import EquationError, check_known, did_you_mean
from mollifier.mollify.orders import Derivative

MAX_ORDER = 12
TIME_NAMES = ("t", "time")
TIME_UNITS = (
    *("ns", "us", "µs", "ms", "s", "sec", "second", "seconds", "min", "minute", "minutes", "h", "hr", "hour"),
    *("hours", "d", "day", "days", "week", "weeks", "month", "months", "yr", "year", "years"),
)
# Names that say that a coordinate is time, as `days` and `t_s` do; `s`, `d` and `h` may be lengths.
_CALLED = (
    *("date", "datetime", "day", *(u for u in TIME_UNITS if len(u) > 3)),
    *(f"{name}_{unit}" for name in TIME_NAMES for unit in TIME_UNITS),
)
# The order of a vector's components, whatever that of the data: images are stored along y, then x.
_COMPONENTS = ("x", "lon", "longitude", "y", "lat", "latitude", "z")
#: Names of the imaginary unit in problems with complex names, where they mean nothing else.
IMAGINARY = ("i", "I")


def parts_of(name: str) -> tuple[str, str]:
    """The names of the real and the imaginary part of a complex variable.

    >>> parts_of("psi")
    ('psi_re', 'psi_im')
    """
    return f"{name}_re", f"{name}_im"


def time_coordinate(names: Iterable[str], units: Mapping[str, str] | None = None) -> str:
    """The name among these of the time coordinate; empty where there is none.

    It is ``t`` or ``time``; else that in capitals; else the one coordinate whose unit is one of time; else
    the one without a unit whose name says it, as ``days``, ``date`` and ``t_s``.

    >>> time_coordinate(["x", "time"]), time_coordinate(["x", "y"])
    ('time', '')
    >>> time_coordinate(["T", "t"]), time_coordinate(["x", "Time"])
    ('t', 'Time')
    >>> time_coordinate(["Ort", "Zeit"], {"Ort": "mm", "Zeit": "s"})
    'Zeit'
    >>> time_coordinate(["x", "days"]), time_coordinate(["s", "n"]), time_coordinate(["x", "t_s"])
    ('days', '', 't_s')
    """
    given, units = tuple(names), units or {}
    named = [n for n in TIME_NAMES if n in given] or [n for n in given if n.lower() in TIME_NAMES]
    measured = [n for n in given if units.get(n, "") in TIME_UNITS]
    called = [n for n in given if not units.get(n) and n.lower() in _CALLED]
    if named:
        return named[0]
    return next((found[0] for found in (measured, called) if len(found) == 1), "")


def _component(coordinate: str) -> int:
    """The place of a straight coordinate among the components of a vector."""
    name = coordinate.lower()
    return _COMPONENTS.index(name) if name in _COMPONENTS else len(_COMPONENTS)


class Reference(NamedTuple):
    """The meaning of one name: ``kind`` is coordinate, field, unknown, known or constant."""

    kind: str
    derivative: Derivative


@dataclass(frozen=True)
class Names:
    """What the names of an equation may mean.

    Raises `EquationError` if a name is declared twice, a constant is not finite, or something varies over no
    coordinate.

    >>> names = Names(("x", "t"), fields={"u": ("x", "t")}, unknowns={"k": ("x",)})
    >>> names.time, names.spatial
    ('t', ('x',))
    >>> names.resolve("u_tx").derivative.name
    'u_tx'
    >>> Names(("t", "y", "x")).spatial, Names(("time", "lat", "lon"), system="lonlat").spatial
    (('x', 'y'), ('lon', 'lat'))
    """

    coordinates: tuple[str, ...]  #: Names of the coordinates.
    #: State variable -> the coordinates it depends on (usually all).
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Unknown -> the coordinates it varies over, ``()`` for a scalar. Unknown fields may be differentiated. A
    #: field in place of a coordinate makes it a law of the state, ``{"D": ("u",)}``, with the chain rule.
    unknowns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Known data -> its coordinates, ``()`` for a constant. Known fields are not differentiated.
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)  #: Numbers, put in place of their names.
    #: The time coordinate; by default as `time_coordinate` finds it. ``""`` for none. The
    #: other coordinates are spatial: ``lap``, ``grad`` and ``div`` act over them.
    time: str | None = None
    #: The system of the spatial coordinates, as `geometry` takes it; Cartesian by default.
    system: str | Mapping[str, Any] | None = None
    #: Coordinates whose values number experiments: they are not spatial, and nothing is differentiated along
    #: them.
    experiments: tuple[str, ...] = ()
    #: Coordinate -> its unit, which says whether an angle is in degrees, and what is time.
    units: Mapping[str, str] = field(default_factory=dict)
    #: Coordinate -> component of the unit vector along which ``dn(u)`` is the derivative.
    normal: Mapping[str, float] = field(default_factory=dict)
    #: All coordinates but time and those that number experiments, in the order of the components of a vector:
    #: that of the system, else x, y, z (lon, lat) first and others as they are in the data.
    spatial: tuple[str, ...] = field(init=False, repr=False)
    geometry: Geometry = field(init=False, repr=False)  #: The lengths of steps along the spatial coordinates.

    def __post_init__(self) -> None:
        object.__setattr__(self, "coordinates", tuple(self.coordinates))
        if len(set(self.coordinates)) < len(self.coordinates):
            raise EquationError(f"The coordinates {self.coordinates} repeat a name.")
        kinds: dict[str, str] = {}
        for kind in ("coordinate", "field", "unknown", "known", "constant"):
            for name in self._of(kind):
                if name in kinds:
                    raise EquationError(
                        f"'{name}' is declared twice: as {kinds[name]} and as {kind}. Rename one."
                    )
                kinds[name] = kind
        for kind in ("field", "unknown", "known"):
            allowed = set(self.coordinates) | (set(self.fields) if kind == "unknown" else set())
            for name, over in self._of(kind).items():
                text = f"The {kind} '{name}' varies over '{{}}', not a coordinate."
                check_known(over, allowed, EquationError, text)
        for name, value in self.constants.items():
            if not (isinstance(value, numbers.Real) and math.isfinite(value)):
                raise EquationError(f"The constant '{name}' is {value!r:.60}; a finite number was expected.")
        if self.time is None:
            passing = [c for c in self.coordinates if c not in self.experiments]
            object.__setattr__(self, "time", time_coordinate(passing, self.units))
        elif self.time:
            text = "The time coordinate '{}' is not among the coordinates."
            check_known(self.time, self.coordinates, EquationError, text)
        space = [c for c in self.coordinates if c != self.time and c not in self.experiments]
        found = Geometry() if self.system is None else geometry(self.system, space, self.units)
        object.__setattr__(self, "geometry", found)
        object.__setattr__(self, "spatial", tuple(found.scale or sorted(space, key=_component)))
        object.__setattr__(self, "_kinds", kinds)
        object.__setattr__(self, "_resolved", {})

    def _of(self, kind: str) -> Mapping[str, tuple[str, ...]]:
        return {
            "coordinate": dict.fromkeys(self.coordinates, ()),
            "field": self.fields,
            "unknown": self.unknowns,
            "known": self.known,
            "constant": dict.fromkeys(self.constants, ()),
        }[kind]

    @property
    def declared(self) -> tuple[str, ...]:
        """Every declared name."""
        return tuple(self._kinds)

    def kind(self, name: str) -> str:
        """coordinate, field, unknown, known or constant; ``""`` for a name that is not declared."""
        return self._kinds.get(name, "")

    def over(self, name: str) -> tuple[str, ...]:
        """What a declared variable varies over."""
        for group in (self.fields, self.unknowns, self.known):
            if name in group:
                return tuple(group[name])
        return ()

    @property
    def complex(self) -> tuple[str, ...]:
        """Names that stand for a real and an imaginary part: both are declared, and they are not."""
        found = (n.removesuffix("_re") for n in self.declared if n.endswith("_re"))
        return tuple(n for n in found if n and not self.kind(n) and self.kind(parts_of(n)[1]))

    def parts(self, name: str) -> tuple[str, str] | None:
        """The parts of a complex name, or of a derivative of it; None for other names.

        >>> Names(("x",), fields={"psi_re": ("x",), "psi_im": ("x",)}).parts("psi_xx")
        ('psi_re_xx', 'psi_im_xx')
        """
        for base in self.complex:
            if name == base or (name.startswith(f"{base}_") and name not in self.declared):
                suffix = name[len(base) :]
                real, imaginary = parts_of(base)
                if not suffix.startswith(("_re", "_im")) or suffix[3:4] not in ("", "_"):
                    return real + suffix, imaginary + suffix
        return None

    def resolve(self, name: str) -> Reference:
        """The meaning of a name in an equation.

        Raises `EquationError` if it is not declared, or is a derivative that does not exist.
        """
        cache: dict[str, Reference] = self._resolved
        if name not in cache:
            cache[name] = self._resolve(name)
        return cache[name]

    def states_in(self, expression: Any) -> list[Derivative]:
        """State variables and their derivatives in a SymPy expression, by name.

        >>> import sympy
        >>> names = Names(("x",), fields={"u": ("x",)}, unknowns={"k": ()})
        >>> [d.name for d in names.states_in(sympy.Symbol("k") * sympy.Symbol("u_x"))]
        ['u_x']
        """
        found = map(self.resolve, sorted(map(str, expression.free_symbols)))
        return [r.derivative for r in found if r.kind == "field"]

    def _resolve(self, name: str) -> Reference:
        found = [d for d in self._derivatives_named(name) if self.kind(d.field) in ("field", "unknown")]
        if self.kind(name):
            if found:
                raise EquationError(
                    f"'{name}' is declared as {self.kind(name)}, and is also a derivative of "
                    f"'{found[0].field}'. Rename one of the two."
                )
            return Reference(self.kind(name), Derivative(name))
        if found:
            if found[0].total > MAX_ORDER:
                raise EquationError(
                    f"'{name}' is of order {found[0].total}; at most {MAX_ORDER} is supported."
                )
            return Reference(self.kind(found[0].field), found[0])
        raise EquationError(self._explain(name))

    def _derivatives_named(self, name: str) -> list[Derivative]:
        """Ways to read a name as a derivative of something declared, longest base first."""
        found = []
        for cut in range(len(name) - 1, 0, -1):
            base, suffix = name[:cut], name[cut + 1 :]
            if name[cut] != "_" or not self.kind(base):
                continue
            over = self.over(base)
            longest = max(map(len, over), default=0)
            if not over or len(suffix) > (MAX_ORDER + 4) * longest:
                continue
            d = Derivative.parse(name, over)
            if d.total and d.field == base:
                found.append(d)
        return found

    def _explain(self, name: str) -> str:
        """Why a name means nothing here."""
        known = [d for d in self._derivatives_named(name) if self.kind(d.field) == "known"]
        if known:
            return not_differentiated(known[0].field)
        base, _, suffix = name.rpartition("_")
        if base and self.kind(base) in ("field", "unknown", "known"):
            over = self.over(base)
            if not over:
                return f"'{name}': '{base}' is one number and has no derivatives."
            if len(suffix) > MAX_ORDER * max(map(len, over)):
                return f"'{name[:20]}...' is of too high an order; at most {MAX_ORDER} is supported."
            if Derivative.parse(f"{base}_{suffix}", self.coordinates).total:
                return f"'{name}': '{base}' varies over {', '.join(over)} only."
            hint = foreign("dt", over, self.time or "") if suffix == "t" else ""
            return (
                f"'{name}': '{suffix}' is not a run of the coordinates {', '.join(over)} of '{base}'.{hint}"
            )
        alone = self._alone(name)
        if alone:
            missing, part = alone
            return f"'{name}' needs both parts of a complex variable: '{missing}' is missing beside '{part}'."
        candidates = list(self.declared)
        if base and suffix:
            candidates += [f"{n}_{suffix}" for n in (*self.fields, *self.unknowns) if self._reads(n, suffix)]
        start = name[:1] if self.kind(name[1:]) else name  # du, Δu
        hint = foreign(start, self.coordinates, self.time or "") or did_you_mean(name, candidates)
        return f"'{name}' is not a name of this problem.{hint}"

    def _alone(self, name: str) -> tuple[str, str] | None:
        """The missing and the declared part of a complex variable, where a name needs both."""
        for part in (n for n in self.declared if n.endswith(("_re", "_im"))):
            whole = part[:-3]
            missing = next(p for p in parts_of(whole) if p != part)
            derivative = name.startswith(f"{whole}_") and self._reads(part, name[len(whole) + 1 :])
            if not self.kind(missing) and (derivative or name in (*IMAGINARY, whole, missing)):
                return missing, part
        return None

    def _reads(self, base: str, suffix: str) -> bool:
        return any(d.field == base for d in self._derivatives_named(f"{base}_{suffix}"))


def not_differentiated(name: str) -> str:
    """The text of the error for a derivative of known data."""
    return (
        f"'{name}' is known data, and known fields are not differentiated; make '{name}' a field of the "
        "problem (a state variable)."
    )
