"""Whether the units of an equation's terms agree, and the units that the equation gives to names without one.

Units are monomials in SymPy symbols, so that a term's unit is the term with the unit of each name in its
place. A name without a unit has a symbol of its own, for which the equations are solved one after another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, cast

import sympy

from mollifier.equations.names import Names
from mollifier.equations.system import Equation, parse
from mollifier.errors import EquationError

# Whole numbers up to this, and their parts by it, are plain factors; others may hide a unit, as in 0.1*u_xx.
# Within a function 1 alone is plain, as in tanh(x/3).
_PLAIN = 12
_ROUNDING = 1e-9  # Relative difference of two units that is rounding.
# Scales of temperature, as the unit of their differences.
_DIFFERENCES = {"degree_Celsius": "kelvin", "degree_Fahrenheit": "degree_Rankine"}


@dataclass(frozen=True)
class Units:
    """What units say of equations."""

    conflicts: tuple[str, ...] = ()  #: A sentence for each equation whose terms have different units.
    #: Name without a unit -> the unit that the equations give it; empty where there is a conflict.
    found: Mapping[str, str] = field(default_factory=dict)


def units_of(equations: Sequence[Equation], given: Mapping[str, str]) -> Units:
    """Compare the units of the terms of each equation; ``given`` are those of names, as ``"W/(m K)"``.

    Values enter an equation as they are, so that units have to agree in size too: ``x`` in mm and ``k`` in
    m^2/s do not. Nothing is said of what has no unit: constants, decimal numbers, names without one. A unit
    that is no known word is a quantity of its own, as cells; one that cannot be read counts as missing.

    >>> names = Names(("x", "t"), {"u": ("x", "t")}, {"k": (), "r": ()})
    >>> units = {"u": "K", "x": "mm", "t": "s"}
    >>> units_of(parse("u_t = k*u_xx + r*u", names).equations, units).found
    {'k': 'mm^2/s', 'r': '1/s'}
    >>> print(*units_of(parse("u_t = k*u_xx", names).equations, units | {"k": "m^2/s"}).conflicts)
    In 'u_t = k*u_xx', u_t is K/s and k*u_xx is K m^2/(mm^2 s), which is 1e+06 times as large.
    """
    known = {n: unit for n, text in given.items() if text and (unit := _read(text)) is not None}
    if not known:
        return Units()
    algebra, conflicts = _Algebra(equations[0].names, known), []
    for equation in {e.text: e for e in equations}.values():
        constants = dict.fromkeys(equation.names.constants, ())
        names = replace(equation.names, constants={}, known={**equation.names.known, **constants})
        try:
            for same in parse(equation.text, names).equations:  # its constants are numbers, without a unit
                algebra.alike(sympy.Add.make_args(same.residual))  # type: ignore[arg-type]
        except _DifferError as differ:
            conflicts.append(f"In '{equation.text}', {differ}.")
        except (EquationError, OverflowError):  # an exponent that is a constant; a unit as km^400
            continue
    if conflicts:
        return Units(tuple(conflicts))
    left = {n: algebra.reduced(algebra.unit(n)) for n in algebra.names.declared if n not in known}
    fixed = {n: u for n, u in left.items() if u != 1 and not u.free_symbols & algebra.open}
    return Units(found={n: _text(u) for n, u in fixed.items()})


class _DifferError(Exception):
    """Two terms have different units."""


class _Algebra:
    """Units of expressions, and what they say of the units that are open."""

    def __init__(self, names: Names, known: Mapping[str, sympy.Expr]) -> None:
        self.names, self.known = names, known
        self.constants = {sympy.Symbol(n): sympy.Float(v) for n, v in names.constants.items()}
        self.open: set[Any] = set()
        self.solved: dict[Any, sympy.Expr] = {}

    def unit(self, name: str) -> sympy.Expr:
        """The unit of a declared name."""
        if name in self.known:
            return self.known[name]
        return self._open(name)

    def _open(self, name: str) -> sympy.Symbol:
        symbol = sympy.Symbol(f"[{name}]", positive=True)
        self.open.add(symbol)
        return symbol

    def reduced(self, unit: sympy.Expr) -> sympy.Expr:
        """With the units that are solved for in their place."""
        while found := unit.free_symbols & self.solved.keys():
            unit = unit.xreplace({s: self.solved[s] for s in found})  # type: ignore[assignment]
        return unit

    def of(self, e: sympy.Expr, most: int = _PLAIN) -> sympy.Expr:
        """The unit of an expression whose plain factors are at most so large; raises `_DifferError`."""
        args = cast("tuple[sympy.Expr, ...]", e.args)
        if e.is_number:
            plain = (most * float(e)).is_integer() and abs(float(e)) <= most
            return sympy.S.One if plain else self._open(f"{e}, number {len(self.open)}")
        if isinstance(e, sympy.Symbol):
            d = self.names.resolve(e.name).derivative
            return self.unit(d.field) / sympy.Mul(*(self.unit(c) ** n for c, n in d.orders))  # type: ignore
        if isinstance(e, sympy.Mul):
            return sympy.Mul(*(self.of(a, most) for a in args))
        if isinstance(e, sympy.Pow) and (exponent := args[1].xreplace(self.constants)).is_number:
            return self.of(args[0], most) ** sympy.nsimplify(exponent, rational=True)  # type: ignore[return-value]
        if isinstance(e, sympy.Add | sympy.Max | sympy.Min | sympy.Abs):
            unit = self.alike(args, most)
            if any(abs(a) == 1 for a in args if a.is_number) and self.reduced(unit).free_symbols & self.open:
                self._solve(unit)  # 1 - u/K; where the unit is known, as in x - 1, the number may have one
            return unit
        if isinstance(e, sympy.sign | sympy.Heaviside):
            self.of(args[0])
        else:
            for a in args:
                if not self._solve(unit := self.of(a, 1)):
                    raise _DifferError(f"{_term(e)} is of {_text(self.reduced(unit))}; a number was expected")
        return sympy.S.One

    def alike(self, terms: Iterable[sympy.Expr], most: int = _PLAIN) -> sympy.Expr:
        """The one unit of several terms, of which numbers may have any; raises `_DifferError`."""
        first, *others = [a for a in terms if not a.is_number]
        unit = self.of(first, most)
        for a in others:
            own = self.of(a, most)
            if not self._solve(own / unit):  # type: ignore[arg-type]
                parts = [f"{_term(x)} is {_text(self.reduced(u))}" for x, u in ((first, unit), (a, own))]
                times = _factor(self.reduced(own / unit))  # type: ignore[arg-type]
                more = "" if times is None else f", which is {times:.6g} times as large"
                raise _DifferError(" and ".join(parts) + more)
        return unit

    def _solve(self, unit: sympy.Expr) -> bool:
        """Make a unit a pure number by one that is open, or say whether it is."""
        unit = self.reduced(unit)
        free = sorted(unit.free_symbols & self.open, key=str)
        if not free:
            return _factor(unit) == 1.0
        power = unit.as_powers_dict()[free[0]]
        self.solved[free[0]] = (unit / free[0] ** power) ** (-1 / power)  # type: ignore[operator]
        return True


def _term(e: sympy.Expr) -> str:
    """A term as people write it, without its number."""
    return str(e.as_coeff_Mul()[1]).replace("**", "^")


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(cache_folder=None)


@cache
def _read(text: str) -> sympy.Expr | None:
    """A unit as a monomial in pint's names; None if it cannot be read, or is no multiple, as of decibels."""
    from pint.errors import UndefinedUnitError

    registry = _registry()
    text = re.sub(r"([^\W\d_])(-?\d)", r"\1**\2", text.strip().replace("^", "**"))  # CF: m s-1
    try:
        while True:
            try:
                unit = registry.Unit("dimensionless" if text == "1" else text)
                break
            except UndefinedUnitError as error:
                for name in error.unit_names if isinstance(error.unit_names, tuple) else (error.unit_names,):
                    registry.define(f"{name} = [{name}]")
        powers = {_DIFFERENCES.get(n, n): p for n, p in unit._units.items()}
        found = sympy.Mul(*(sympy.Symbol(n, positive=True) ** sympy.nsimplify(p) for n, p in powers.items()))
        twice = [registry.Quantity(n, _pint(found)).to_base_units().magnitude for n in (1.0, 2.0)]
    except Exception:  # pint fails in many ways on text that is no unit
        return None
    return found if abs(twice[1] - 2 * twice[0]) <= _ROUNDING * abs(twice[1]) else None


def _pint(unit: sympy.Expr) -> Any:
    """The unit as one of pint; what is open keeps its name."""
    registry, powers = _registry(), unit.as_powers_dict()
    return registry.Unit(registry.UnitsContainer({str(n): float(p) for n, p in powers.items() if n != 1}))


def _factor(unit: sympy.Expr) -> float | None:
    """The number that a unit is; None where it has a dimension."""
    found = (1.0 * _pint(unit)).to_base_units()
    if not found.dimensionless:
        return None
    return 1.0 if abs(found.magnitude - 1) <= _ROUNDING else float(found.magnitude)


def _text(unit: sympy.Expr) -> str:
    """A unit in symbols that every terminal shows, as um^2/h; [u] is that of u, where it has none."""
    parts: dict[bool, list[str]] = {True: [], False: []}
    for name, power in sorted(unit.as_powers_dict().items(), key=str):
        if name != 1:
            symbol = str(name) if str(name).startswith("[") else _registry().get_symbol(str(name))
            size = "" if abs(power) == 1 else f"^{float(abs(power)):g}"
            parts[bool(power > 0)].append(symbol.replace("µ", "u").removeprefix("Δ") + size)
    above, below = (" ".join(parts[up]) for up in (True, False))
    if not below:
        return above or "a number"
    return f"{above or 1}/" + (f"({below})" if len(parts[False]) > 1 else below)
