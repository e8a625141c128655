"""Syntax trees, SymPy expressions and Python callables -> residuals in the algebra's symbols."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import sympy
from sympy.core.function import AppliedUndef

from mollifier.equations.algebra import (
    Algebra,
    apply,
    check_finite,
    conjugate,
    expand,
    magnitude,
    number,
    power,
    reciprocal,
    split,
)
from mollifier.equations.functions import FUNCTIONS, name_of
from mollifier.equations.hints import foreign
from mollifier.equations.names import IMAGINARY
from mollifier.equations.syntax import WHERE, Node, Statement, error_at
from mollifier.errors import EquationError, did_you_mean
from mollifier.mollify.orders import Derivative

Vector = tuple[sympy.Expr, ...]
OPERATORS = {"lap": 1, "bilap": 1, "grad": 1, "div": 1, "dot": 2, "conj": 1, "re": 1, "im": 1}
NORMAL = "dn"  #: The derivative along the outward normal, in conditions at the edge of a domain.
_COMPLEX = {"conj": conjugate, "re": lambda e: split(e)[0], "im": lambda e: split(e)[1]}


def operator_coordinates(name: str, coordinates: tuple[str, ...]) -> Derivative | None:
    """``dxx`` as a multi-index over the coordinates, where it is one.

    >>> dict(operator_coordinates("dxxy", ("x", "y")).orders)
    {'x': 2, 'y': 1}
    """
    if not name.startswith("d") or len(name) > 64:
        return None
    d = Derivative.parse(f"d_{name[1:]}", coordinates)
    return d if d.total else None


def listed(equations: Any) -> list[Any]:
    """The equations given, one or a sequence of them, as a list."""
    several = isinstance(equations, Sequence) and not isinstance(equations, str | bytes)
    return list(equations) if several else [equations]


class TreeBuilder:
    """Lowers the trees of one source text; every error shows its place in that text."""

    def __init__(self, source: str, algebra: Algebra) -> None:
        self.source = source
        self.algebra = algebra
        self.spatial = algebra.names.spatial

    def residual(self, statement: Statement) -> sympy.Expr:
        """Left minus right side."""
        text, sides = "An equation is between scalars; write one for each component.", statement.sides
        values = [self.scalar(side, text) for side in sides]
        start, end = sides[0].start, sides[-1].end
        return self.guard(start, end, lambda: check_finite(values[0] - sympy.Add(*values[1:])))

    def guard(self, start: int, end: int, compute: Callable[[], Any]) -> Any:
        """Run, and give errors their place."""
        try:
            return compute()
        except EquationError as e:
            raise error_at(self.source, start, end, str(e)) from None
        except RecursionError:
            raise error_at(
                self.source, start, end, "This expression is nested too deep; split it up."
            ) from None

    def fail(self, node: Node, message: str) -> NoReturn:
        raise error_at(self.source, node.start, node.end, message)

    def scalar(self, node: Node, message: str = "A scalar was expected here, not a vector.") -> sympy.Expr:
        value = self.value(node)
        if isinstance(value, tuple):
            self.fail(node, message)
        return value

    def value(self, node: Node) -> sympy.Expr | Vector:
        """The expression of a node, or a tuple of expressions for a vector."""
        result = getattr(self, f"_{node.kind}")(node)
        if not isinstance(result, tuple) and result.is_number:
            self.guard(node.start, node.end, lambda: check_finite(result))
        return result

    def _number(self, node: Node) -> sympy.Expr:
        return self.guard(node.start, node.end, lambda: number(float(node.value)))

    def _name(self, node: Node) -> sympy.Expr:
        names = self.algebra.names
        if node.value == "pi" and not names.kind("pi"):
            return sympy.pi
        if node.value in IMAGINARY and names.complex and not names.kind(node.value):
            return sympy.I
        if not names.kind(node.value) and (node.value in FUNCTIONS or node.value in OPERATORS):
            self.fail(node, f"'{node.value}' needs its argument in brackets, as in {node.value}(u).")
        return self.guard(node.start, node.end, lambda: self.algebra.value(node.value))

    def _negative(self, node: Node) -> sympy.Expr | Vector:
        value = self.value(node.children[0])
        return tuple(-v for v in value) if isinstance(value, tuple) else -value

    def _sum(self, node: Node) -> sympy.Expr | Vector:
        values = [self.value(c) for c in node.children]
        first = values[0]
        for child, v in zip(node.children, values, strict=True):
            if isinstance(v, tuple) != isinstance(first, tuple):
                self.fail(child, "A scalar and a vector cannot be added; did you mean div(...) or dot(...)?")
            if isinstance(v, tuple) and isinstance(first, tuple) and len(v) != len(first):
                self.fail(child, f"Vectors of {len(first)} and {len(v)} components cannot be added.")
        signs = [1 if s == "+" else -1 for s in node.value]
        components = zip(*(v if isinstance(v, tuple) else (v,) for v in values), strict=True)
        sums = tuple(sympy.Add(*(s * v for s, v in zip(signs, c, strict=True))) for c in components)
        return sums if isinstance(first, tuple) else sums[0]

    def _product(self, node: Node) -> sympy.Expr | Vector:
        vector: Vector | None = None
        factors: list[sympy.Expr] = []
        for operator, child in zip(node.value, node.children, strict=True):
            value = self.value(child)
            if isinstance(value, tuple):
                if operator == "/":
                    self.fail(child, "Division by a vector has no meaning.")
                if vector is not None:
                    self.fail(child, "Two vectors are multiplied by dot(a, b).")
                vector = value
            elif operator == "/":
                if value == 0:
                    self.fail(child, "This divides by zero.")
                factors.append(self.guard(child.start, child.end, lambda v=value: reciprocal(v)))
            else:
                factors.append(value)
        scale = sympy.Mul(*factors)
        return scale if vector is None else tuple(scale * v for v in vector)

    def _power(self, node: Node) -> sympy.Expr:
        base, exponent = (self.scalar(c, "Powers are of scalars; |v|^2 is dot(v, v).") for c in node.children)
        return self.guard(node.start, node.end, lambda: power(base, exponent))

    def _vector(self, node: Node) -> Vector:
        if not node.children:
            self.fail(node, "A vector needs components, as in [a, b].")
        return tuple(self.scalar(c, "A vector's components are scalars.") for c in node.children)

    def _call(self, node: Node) -> sympy.Expr | Vector:
        name = node.value
        if name == WHERE:
            self._arity(node, 3)
            side, first, second = (self.scalar(c, f"{name} takes scalars.") for c in node.children)
            step = self.guard(node.start, node.end, lambda: apply("heaviside", (side,)))
            return second + (first - second) * step
        if name in FUNCTIONS:
            self._arity(node, None if FUNCTIONS[name].many else 1)
            args = tuple(self.scalar(c, f"{name} takes scalars.") for c in node.children)
            if name == "abs" and args[0].has(sympy.I):
                return self.guard(node.start, node.end, lambda: magnitude(args[0]))
            return self.guard(node.start, node.end, lambda: apply(name, args))
        orders = operator_coordinates(name, self.algebra.names.coordinates)
        over = self.algebra.names.over(name)
        if over and sorted(c.value if c.kind == "name" else "" for c in node.children) == sorted(over):
            return self.guard(node.start, node.end, lambda: self.algebra.value(name))
        if name == NORMAL and self.algebra.names.normal:
            return self._normal(node)
        if name not in OPERATORS and orders is None:
            self._unknown_call(node)
        self._arity(node, OPERATORS.get(name, 1))
        args = [self.value(c) for c in node.children]
        if name in ("lap", "bilap", "grad", "div") and not self.spatial:
            self.fail(node, f"{name} acts over spatial coordinates, and there are none beside time.")
        if name in _COMPLEX:
            scalar = self.scalar(node.children[0], f"{name} takes a scalar.")
            return self.guard(node.start, node.end, lambda: _COMPLEX[name](scalar))
        if name == "dot":
            return self._dot(node, args)
        if name == "div":
            return self._div(node, args[0])
        if name == "grad":
            if isinstance(args[0], tuple):
                self.fail(node.children[0], "grad takes a scalar; the gradient of a vector is not supported.")
            return self._grad(node, args[0])
        if isinstance(args[0], tuple):
            return tuple(self._operate(node, a, orders) for a in args[0])
        return self._operate(node, args[0], orders)

    def _operate(self, node: Node, arg: sympy.Expr, orders: Derivative | None) -> sympy.Expr:
        """lap, bilap or a derivative by name, of one scalar."""
        if node.value not in OPERATORS and orders is not None:
            return self._along(node, arg, orders.orders)
        for _ in range(2 if node.value == "bilap" else 1):
            arg = self._divergence(node, self._grad(node, arg))
        return arg

    def _grad(self, node: Node, arg: sympy.Expr) -> Vector:
        """Components along unit vectors."""
        lengths = self.algebra.names.geometry
        return tuple(self._along(node, arg, [(c, 1)]) / lengths.along(c) for c in self.spatial)

    def _normal(self, node: Node) -> sympy.Expr:
        """The derivative of a scalar along the outward normal."""
        self._arity(node, 1)
        slopes = zip(self._grad(node, self.scalar(node.children[0])), self.spatial, strict=True)
        normal = self.algebra.names.normal
        return sympy.Add(*(number(normal[c]) * s for s, c in slopes if c in normal))

    def _divergence(self, node: Node, arg: Vector) -> sympy.Expr:
        """Of components along unit vectors, multiplied out."""
        lengths = self.algebra.names.geometry
        fluxes = [
            (c, a * (lengths.volume / lengths.along(c))) for c, a in zip(self.spatial, arg, strict=True)
        ]
        return expand(sympy.Add(*(self._along(node, f, [(c, 1)]) for c, f in fluxes)) / lengths.volume)

    def _along(self, node: Node, arg: sympy.Expr, orders: Any) -> sympy.Expr:
        return self.guard(node.start, node.end, lambda: self.algebra.written(arg, orders))

    def _dot(self, node: Node, args: list[Any]) -> sympy.Expr:
        for child, arg in zip(node.children, args, strict=True):
            if not isinstance(arg, tuple):
                self.fail(child, "dot takes two vectors, from grad(...) or written [a, b].")
        a, b = args
        if len(a) != len(b):
            self.fail(
                node,
                f"dot was given vectors of {len(a)} and {len(b)} components; those of grad are along "
                f"{', '.join(self.spatial)}.",
            )
        return sympy.Add(*(x * y for x, y in zip(a, b, strict=True)))

    def _div(self, node: Node, arg: sympy.Expr | Vector) -> sympy.Expr:
        if not isinstance(arg, tuple):
            self.fail(
                node.children[0],
                "div takes a vector, from grad(...) or written [a, b]; for one axis use dx(...).",
            )
        if len(arg) != len(self.spatial):
            expected = f"{len(self.spatial)} components, along {', '.join(self.spatial)}"
            self.fail(node.children[0], f"div takes a vector of {expected}; this one has {len(arg)}.")
        return self._divergence(node, arg)

    def _arity(self, node: Node, expected: int | None) -> None:
        given = len(node.children)
        if given == expected or (expected is None and 2 <= given <= 8):
            return
        many = "2 to 8 arguments" if expected is None else f"{expected} argument{'s' if expected > 1 else ''}"
        self.fail(node, f"{node.value} takes {many}; {given} given.")

    def _unknown_call(self, node: Node) -> NoReturn:
        names, end = self.algebra.names, node.start + len(node.value)
        if names.kind(node.value):
            over = ", ".join(names.over(node.value))
            message = (
                f"'{node.value}' is a name, not a function: write it without arguments"
                f"{f', or as {node.value}({over})' * bool(over)}, or put * before the bracket. Values at "
                "other places or times, as u(t - 1), are outside of the language."
            )
        else:
            single = [f"d{c}" for c in names.coordinates]
            hint = foreign(node.value, names.coordinates, names.time or "")
            hint = hint or did_you_mean(node.value, [*FUNCTIONS, *OPERATORS, *single])
            message = f"'{node.value}' is not a function or operator of the equation language.{hint}"
        raise error_at(self.source, node.start, end, message)


def from_sympy(expr: Any, algebra: Algebra) -> sympy.Expr:
    """A residual from a SymPy expression or Eq, in functions of the coordinates or in plain symbols.

    Raises `EquationError` if it holds names or functions that the problem or the language does not have.
    """
    try:
        if isinstance(expr, sympy.Equality):
            left, right = (_convert(side, algebra) for side in expr.args)
            return check_finite(left - right)
        if not isinstance(expr, sympy.Expr):
            raise EquationError(f"A SymPy expression or Eq was expected, not {type(expr).__name__} ({expr}).")
        return check_finite(_convert(expr, algebra))
    except EquationError as e:
        raise EquationError(f"{e}\n  {expr}") from None
    except RecursionError:
        raise EquationError("The SymPy expression is nested too deep.") from None


def _convert(e: Any, algebra: Algebra) -> sympy.Expr:
    if isinstance(e, sympy.Symbol):
        return algebra.value(e.name)
    if e.is_Number or e is sympy.pi or e is sympy.E or (e is sympy.I and algebra.names.complex):
        return e
    if isinstance(e, AppliedUndef):
        return _applied(e, algebra)
    if isinstance(e, sympy.Derivative):
        result = _convert(e.expr, algebra)
        variables: Any = e.variable_count
        for variable, count in variables:
            if not count.is_Integer or algebra.names.kind(str(variable)) != "coordinate":
                raise EquationError(f"{e} differentiates by '{variable}', which is not a coordinate.")
            result = algebra.written(result, [(str(variable), int(count))])
        return result
    args = [_convert(a, algebra) for a in e.args]
    if isinstance(e, (sympy.Add, sympy.Mul)):
        return e.func(*args)
    if isinstance(e, sympy.Pow):
        return power(args[0], args[1])
    if name := name_of(e.func):
        return apply(name, tuple(args if FUNCTIONS[name].many else args[:1]))
    raise EquationError(f"'{e.func.__name__}' is not a function of the equation language.")


def _applied(e: Any, algebra: Algebra) -> sympy.Expr:
    """``u(x, t)`` as the symbol of u."""
    name, names = e.func.__name__, algebra.names
    value = algebra.value(name)
    for a in e.args:
        if not (isinstance(a, sympy.Symbol) and names.kind(a.name) in ("coordinate", "field")):
            raise EquationError(f"{e}: the arguments of '{name}' must be coordinates, not {a}.")
    over = names.over(names.resolve(name).derivative.field)
    if {str(a) for a in e.args} != set(over):
        raise EquationError(f"{e}: '{name}' is declared over ({', '.join(over)}).")
    return value


class _Trace(Mapping[str, Any]):
    """The jet handed to a callable: every name is a symbol."""

    def __init__(self, lookup: Callable[[str], Any], declared: tuple[str, ...]) -> None:
        self._lookup = lookup
        self._declared = declared

    def __getitem__(self, name: str) -> Any:
        return self._lookup(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)


def trace(function: Callable[[Any], Any], lookup: Callable[[str], Any], declared: tuple[str, ...]) -> Any:
    """Call a function of a jet once, with symbols in place of arrays.

    Raises `EquationError` if it needs arrays, or does not return an expression.
    """
    label = getattr(function, "__name__", type(function).__name__)
    try:
        result = function(_Trace(lookup, declared))
    except EquationError:
        raise
    except Exception as e:
        raise EquationError(
            f"The residual '{label}' could not be traced with SymPy symbols ({type(e).__name__}: {e}). Use "
            "SymPy's functions (sympy.exp, not numpy.exp or torch.exp), or write the equation as text."
        ) from e
    if not isinstance(result, (sympy.Expr, sympy.Equality)):
        raise EquationError(
            f"The residual '{label}' returned {type(result).__name__}; an expression in the entries of its "
            "jet was expected."
        )
    return result
