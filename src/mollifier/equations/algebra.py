"""The algebra of residuals: SymPy expressions in plain symbols whose names are derivatives, ``u_xx``.

Differentiation is ours in two places. The total derivative along a coordinate knows that ``u_x`` is the
derivative of ``u``; and absolute values, signs and steps are differentiated as on the real line, almost
everywhere. Complex expressions are taken apart into their real and imaginary parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import sympy

from mollifier.equations.functions import FUNCTIONS
from mollifier.equations.names import MAX_ORDER, Names, not_differentiated
from mollifier.errors import EquationError
from mollifier.mollify.orders import Derivative

MAX_POWER = 10  # powers of sums above this are not multiplied out
MAX_TERMS = 2_000
MAX_SIZE = 5_000
MAX_WORK = 15_000  # operations gone through by product and chain rule: under a second
_EACH_TERM = 10  # operations that multiplying out one term is worth
_JUMP = sympy.Dummy("jump")
_BAD = (sympy.zoo, sympy.nan, sympy.oo, sympy.S.NegativeInfinity)


class _Sign(sympy.Function):
    """Substitute for sign; its derivative is zero almost everywhere."""

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return sympy.S.Zero


class _Step(_Sign):
    """Substitute for Heaviside's step."""


class _Magnitude(sympy.Function):
    """Substitute for the absolute value of a real number."""

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return cast(sympy.Expr, _Sign(self.args[0]))


class Crossing(sympy.Function):
    """The derivative of a jump at a place that is an unknown number: zero but there (`edges`)."""


def differentiate(expr: sympy.Expr, symbol: sympy.Symbol) -> sympy.Expr:
    """Partial derivative by one symbol, all others held; jumps count as zero almost everywhere.

    >>> u, v = sympy.symbols("u v")
    >>> differentiate(sympy.Abs(u) * v, u)
    v*sign(u)
    """
    if not expr.has(sympy.Abs, sympy.sign, sympy.Heaviside, sympy.Max, sympy.Min):
        return expr.diff(symbol)
    safe: Any = expr.replace(sympy.Abs, _Magnitude).replace(sympy.sign, _Sign)
    safe = safe.replace(sympy.Heaviside, lambda x, *_: _Step(x))
    result = safe.diff(symbol).replace(sympy.Heaviside, lambda x, *_: _Step(x))
    result = result.replace(_Magnitude, sympy.Abs).replace(_Step, sympy.Heaviside)
    return result.replace(_Sign, sympy.sign)


def number(value: float) -> sympy.Expr:
    """A number, exact where it is whole; raises `EquationError` if it is not finite."""
    if not math.isfinite(value):
        raise EquationError("This number is too large, or not a number.")
    if value == int(value) and abs(value) < 1e15:
        return sympy.Integer(int(value))
    return sympy.Float(value)


def check_finite(expr: sympy.Expr) -> sympy.Expr:
    """The expression itself; raises `EquationError` if a number in it is not real and finite."""
    if expr.has(*_BAD):
        raise EquationError(
            "This is not a finite real number (a division by zero, or a root of a negative number)."
        )
    for n in expr.atoms(sympy.Number):
        try:
            finite = math.isfinite(float(n))
        except OverflowError:
            finite = False
        if not finite:
            raise EquationError("A number here is too large.")
    return expr


def power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    """``base`` to the ``exponent``; numbers are folded as floats so that no power can grow without bound.

    Raises `EquationError` if the exponent is above 100 in size, or the result is not real and finite.
    """
    if exponent.is_number:
        n, d = _bounded(float(exponent)).as_integer_ratio()
        exponent = sympy.Rational(n, d) if d <= 64 else sympy.Float(float(exponent))
    if base.is_number:
        low = float(base)
        if not exponent.is_number:
            if low <= 0:
                raise EquationError(f"The base of a variable power must be positive; it is {low:g}.")
        elif not (
            isinstance(base, sympy.Rational) and isinstance(exponent, sympy.Integer) and abs(low) < 1e6
        ):
            return number(_fold(lambda: low ** float(exponent)))
    result = sympy.Pow(base, exponent)
    for part in result.atoms(sympy.Pow):  # SymPy multiplies the exponents of powers of powers
        if part.exp.is_number:
            _bounded(float(part.exp))
    return result


def _bounded(exponent: float) -> float:
    if abs(exponent) > 100:
        raise EquationError(f"The exponent {exponent:g} is too large; at most 100 in size is supported.")
    return exponent


def _fold(compute: Any, why: str = "a division by zero, or a root of a negative number") -> float:
    """A number computed in floats; where it is not finite, the message says why."""
    try:
        result = compute()
    except (ArithmeticError, ValueError):
        result = math.nan
    if isinstance(result, complex) or not math.isfinite(result):
        raise EquationError(f"This is not a finite real number ({why}).")
    return float(result)


def apply(name: str, args: tuple[sympy.Expr, ...]) -> sympy.Expr:
    """A function of `FUNCTIONS`; numbers are evaluated at once.

    Raises `EquationError` if the arguments lie outside its domain, or SymPy cannot form it.
    """
    function = FUNCTIONS[name]
    if all(a.is_number for a in args):
        values = [float(a) for a in args]
        return number(_fold(lambda: function.number(*values), f"{name} is defined for {function.domain}"))
    try:
        return function.symbolic(*args)
    except (TypeError, ValueError, ArithmeticError) as e:
        raise EquationError(f"SymPy cannot form {name} of this: {e}.") from e


def count_terms(expr: sympy.Expr) -> int:
    """How many additive terms multiplying out would give, before like terms meet."""
    if expr.is_Add:
        return sum(map(count_terms, expr.args))  # type: ignore[arg-type]
    if expr.is_Mul:
        return math.prod(map(count_terms, expr.args))  # type: ignore[arg-type]
    if (n := _whole_power(expr)) is not None:
        m = count_terms(expr.args[0])  # type: ignore[arg-type]
        return math.comb(n + m - 1, n)
    return 1


def _whole_power(expr: sympy.Basic) -> int | None:
    """n where the expression is a sum to the power 2 <= n <= `MAX_POWER`."""
    if expr.is_Pow and expr.args[0].is_Add and expr.args[1].is_Integer:
        n = int(expr.args[1])  # type: ignore[call-overload]
        return n if 2 <= n <= MAX_POWER else None
    return None


def expand(expr: sympy.Expr) -> sympy.Expr:
    """Multiply out products and small powers of sums, at the top level only and within `MAX_TERMS`.

    >>> u, v = sympy.symbols("u v")
    >>> expand(u * (u + v) + sympy.sin(u * (u + v)))
    u**2 + u*v + sin(u*(u + v))
    """
    return sympy.Add(*_additive(expr))


def _additive(expr: Any) -> list[sympy.Expr]:
    if expr.is_Add:
        return [t for a in expr.args for t in _additive(a)]
    if not (expr.is_Mul or _whole_power(expr)) or count_terms(expr) > MAX_TERMS:
        return [expr]
    n = _whole_power(expr)
    factors = [expr.args[0]] * n if n else expr.args
    result: list[Any] = [sympy.S.One]
    for f in factors:
        parts = _additive(f)
        result = [sympy.Mul(a, b) for a in result for b in parts]
        if len(parts) > 1:
            result = list(sympy.Add.make_args(sympy.Add(*result)))
    return result


def _no_function(jump: sympy.Basic) -> EquationError:
    return EquationError(
        f"The derivative of a jump, {jump}, is not a function. Write a steep change, as "
        "0.5 + 0.5*tanh((x - a)/w) for heaviside(x - a), with nodes closer than w."
    )


class Algebra:
    """Symbols and total derivatives for the names of one problem, with a bound on the work."""

    def __init__(self, names: Names, most: int = MAX_WORK) -> None:
        self.names = names
        self.work, self.most = 0, most

    def value(self, name: str) -> sympy.Expr:
        """What a name becomes: its canonical symbol, the number of a constant, or its two parts."""
        if parts := self.names.parts(name):
            real, imaginary = map(self.value, parts)
            return real + sympy.I * imaginary
        reference = self.names.resolve(name)
        if reference.kind == "constant":
            return number(float(self.names.constants[name]))
        return self.symbol(reference.derivative)

    def symbol(self, derivative: Derivative) -> sympy.Symbol:
        """The plain symbol of a derivative; `EquationError` if its order is too high."""
        if derivative.total > MAX_ORDER:
            raise EquationError(
                f"A derivative of '{derivative.field}' of order {derivative.total} arises; at most "
                f"{MAX_ORDER} is supported."
            )
        if derivative.total:
            self.names.resolve(derivative.name)  # raises where the name is also something else
        return sympy.Symbol(derivative.name)

    def total(self, expr: sympy.Expr, coordinate: str) -> sympy.Expr:
        """Total derivative along a coordinate, by chain and product rule, multiplied out.

        >>> algebra = Algebra(Names(("x",), fields={"u": ("x",)}))
        >>> algebra.total(sympy.Symbol("u") ** 2 * sympy.Symbol("x"), "x")
        u**2 + 2*u*u_x*x
        """
        self._spend(expr, len(expr.free_symbols))
        parts: list[Any] = []
        jumps = expr.atoms(sympy.sign, sympy.Heaviside, Crossing) - self.edges(expr)
        jumps = {j for j in jumps if any(self._along(str(s), coordinate) != 0 for s in j.free_symbols)}
        for jump in jumps - self.moving(expr):
            raise _no_function(jump)
        for jump in jumps:
            held: Any = expr.xreplace({jump: _JUMP})
            slope: Any = differentiate(held, _JUMP)
            parts.append(slope.xreplace({_JUMP: jump}) * Crossing(jump))
        for symbol in sorted(expr.free_symbols, key=str):
            inner = self._along(symbol.name, coordinate)  # type: ignore[attr-defined]
            if inner != 0:
                parts.append(differentiate(expr, symbol) * inner)  # type: ignore[arg-type]
        whole = sympy.Add(*parts)
        self._spend(whole, 1, sum(min(count_terms(a), MAX_TERMS) for a in sympy.Add.make_args(whole)))
        result = expand(whole)
        self._spend(result)
        return result

    def edges(self, expr: sympy.Expr) -> set[sympy.Basic]:
        """Jumps at known places: off them their derivative is zero."""
        jumps, places = expr.atoms(sympy.sign, sympy.Heaviside), {*self.names.coordinates}
        return {j for j in jumps if {str(s) for s in j.free_symbols} <= places}

    def moving(self, expr: sympy.Expr) -> set[sympy.Basic]:
        """Jumps at places that are unknown numbers."""
        numbers = {n for n, over in self.names.unknowns.items() if not over}
        held = {j: {str(s) for s in j.free_symbols} for j in expr.atoms(sympy.sign, sympy.Heaviside)}
        places = numbers | {*self.names.coordinates}
        return {j for j, s in held.items() if s <= places and numbers & s and not s <= numbers}

    def written(self, expr: sympy.Expr, orders: Mapping[str, int] | Iterable[tuple[str, int]]) -> sympy.Expr:
        """`totals` of what is written in an equation: a jump that leaves no trace in it is refused."""
        result = self.totals(expr, orders)
        for lost in self.edges(expr) - self.edges(result):
            if any(self._along(str(s), c) != 0 for s in lost.free_symbols for c in dict(orders)):
                raise _no_function(lost)
        return result

    def totals(self, expr: sympy.Expr, orders: Mapping[str, int] | Iterable[tuple[str, int]]) -> sympy.Expr:
        """Repeated total derivatives by a multi-index."""
        for coordinate, n in dict(orders).items():
            for _ in range(n):
                expr = self.total(expr, coordinate)
        return expr

    def _along(self, name: str, coordinate: str) -> sympy.Expr:
        """Total derivative of one symbol."""
        kind, derivative = self.names.resolve(name)
        if kind == "coordinate":
            return sympy.S.One if name == coordinate else sympy.S.Zero
        over = self.names.over(derivative.field)
        if kind == "known" and coordinate in over:
            raise EquationError(not_differentiated(derivative.field))
        parts = []
        for c in over:
            if c == coordinate:
                parts.append(self.symbol(derivative.differentiate(c)))
            elif self.names.kind(c) == "field" and coordinate in self.names.over(c):
                inner = self.symbol(Derivative.of(c, {coordinate: 1}))
                parts.append(self.symbol(derivative.differentiate(c)) * inner)
        return sympy.Add(*parts)

    def _spend(self, expr: sympy.Expr, times: int = 1, terms: int = 0) -> None:
        """Count an expression gone through so many times, and terms to be multiplied out."""
        size = 0
        for _ in sympy.preorder_traversal(expr):
            size += 1
            if size > MAX_SIZE:
                break
        self.work += size * times + _EACH_TERM * terms
        if size > MAX_SIZE or self.work > self.most:
            raise EquationError(
                "The derivatives of this expression have too many terms; write it in simpler parts."
            )


def split(expression: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    """Real and imaginary part of an expression in real symbols.

    >>> u, v = sympy.symbols("u v")
    >>> split((u + sympy.I * v) ** 2)
    (u**2 - v**2, 2*u*v)
    """
    if not expression.has(sympy.I):
        return expression, sympy.S.Zero
    real, imaginary = [], []
    for term in sympy.Add.make_args(expand(expression)):
        outer, inner = term.as_independent(sympy.I, as_Add=False)
        if inner not in (1, sympy.I):
            raise EquationError(
                f"The real part of {inner} was not found: products, sums and whole powers of complex names, "
                "abs, conj, re and im are understood. Multiply denominators out, and write exp(i*w) as "
                "cos(w) + i*sin(w)."
            )
        (real if inner == 1 else imaginary).append(outer)
    return sympy.Add(*real), sympy.Add(*imaginary)


def conjugate(expression: sympy.Expr) -> sympy.Expr:
    """The complex conjugate of an expression in real symbols."""
    real, imaginary = split(expression)
    return real - sympy.I * imaginary


def reciprocal(expression: sympy.Expr) -> sympy.Expr:
    """One over an expression, with a real denominator."""
    if not expression.has(sympy.I):
        return 1 / expression
    real, imaginary = split(expression)
    return (real - sympy.I * imaginary) / (real**2 + imaginary**2)


def magnitude(expression: sympy.Expr) -> sympy.Expr:
    """The absolute value of an expression that holds the imaginary unit."""
    real, imaginary = split(expression)
    return sympy.sqrt(real**2 + imaginary**2)


def parts_of_equation(text: str, residual: sympy.Expr) -> dict[str, sympy.Expr]:
    """Text and residual of an equation, or of its real and its imaginary part.

    >>> u, v = sympy.symbols("u v")
    >>> parts_of_equation("i*u = v", sympy.I * u - v)
    {'re(i*u) = re(v)': -v, 'im(i*u) = im(v)': u}
    """
    try:
        parts = dict(zip(("re", "im"), split(residual), strict=True))
    except EquationError as error:
        raise EquationError(f"{error}\n  {text}") from None
    if parts["im"] == 0:
        return {text: parts["re"]}
    sides = [side.strip() for side in text.split("=")]
    return {" = ".join(f"{n}({side})" for side in sides): p for n, p in parts.items() if p != 0}
