"""Equations ready to be evaluated, and `parse`, which makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, TypeAlias

import sympy

from mollifier.equations.algebra import Algebra, Crossing, differentiate, expand, parts_of_equation
from mollifier.equations.build import TreeBuilder, from_sympy, listed, trace
from mollifier.equations.conservative import ConservativeTerm, conservative
from mollifier.equations.lower import ArrayFunction, Program, lower
from mollifier.equations.names import Names
from mollifier.equations.syntax import read
from mollifier.errors import EquationError, check_known
from mollifier.mollify.orders import Derivative

EquationLike: TypeAlias = str | sympy.Expr | sympy.Equality | Callable[..., Any]

# Operations times names of a residual: what its partial derivatives take, under a second.
_LARGEST = 10_000
_EXHAUSTIVE = 12  # up to this many unknowns the largest linear set is searched for exactly


@dataclass(frozen=True)
class Equation:
    """One equation, ``residual = 0``.

    >>> import numpy as np
    >>> names = Names(("x", "t"), fields={"u": ("x", "t")}, unknowns={"k": ("x",)})
    >>> equation = parse("u_t = div(k*grad(u))", names).equations[0]
    >>> equation.residual
    -k*u_xx - k_x*u_x + u_t
    >>> equation.symbols
    ('k', 'k_x', 'u_t', 'u_x', 'u_xx')
    >>> env = {"u_t": np.ones(3), "k": 2.0, "k_x": 0.0, "u_x": np.zeros(3), "u_xx": np.arange(3.0)}
    >>> equation.evaluate(env)
    array([ 1., -1., -3.])
    >>> equation.partial("k")(env)
    array([-0., -1., -2.])
    """

    text: str  #: The equation as it was given.
    #: Left minus right side, in plain SymPy symbols with canonical names (``u_xx``, ``k_x``, ``x``, ``s``),
    #: every operator carried out by the product rule.
    residual: sympy.Expr
    names: Names  #: What the names mean.
    #: Coordinate -> the place to which the equation is restricted; empty where it holds everywhere.
    at: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.0  #: Standard error of the equation in its own unit; 0 where it holds exactly.
    #: What the residual holds at an edge of unknown place only, times derivatives of jumps (`Crossing`).
    crossing: sympy.Expr = sympy.S.Zero

    @cached_property
    def terms(self) -> tuple[sympy.Expr, ...]:
        """Additive terms of the residual, multiplied out."""
        return sympy.Add.make_args(expand(self.residual))  # type: ignore[return-value]

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names whose values the residual needs, sorted."""
        return self._function.symbols

    @cached_property
    def _function(self) -> ArrayFunction:
        return ArrayFunction(self.residual)

    @cached_property
    def _terms_program(self) -> Program:
        return lower(self.terms)

    @cached_property
    def _partials(self) -> dict[str, ArrayFunction]:
        return {}

    def evaluate(self, env: Mapping[str, Any]) -> Any:
        """The residual on arrays.

        ``env`` has a NumPy array or torch tensor for each of `symbols`, of shapes that broadcast. The result
        has the broadcast shape; it is a torch tensor if any value is one, differentiable. Raises
        `EquationError` if a name is missing.
        """
        return self._function(env)

    def evaluate_terms(self, env: Mapping[str, Any]) -> list[Any]:
        """Arrays, one for each of `terms`; each broadcasts to the residual's shape, and they sum to it."""
        return self._terms_program.run(env)

    def partial(self, name: str) -> ArrayFunction:
        """d residual / d symbol, all other symbols held, as a function of ``env``.

        A constant partial gives an array of shape ``()``; for a symbol that is absent it is zero. Raises
        `EquationError` if the name means nothing in this problem.
        """
        name = self._canonical(name)
        if name not in self._partials:
            self._partials[name] = ArrayFunction(differentiate(self.residual, sympy.Symbol(name)))
        return self._partials[name]

    def collect(self, names: Iterable[str]) -> tuple[ArrayFunction, dict[str, ArrayFunction]]:
        """Split ``residual = remainder + sum of name * factor``.

        ``names`` are symbols, usually scalar unknowns, in which the residual is jointly affine. Remainder and
        factors are functions of ``env`` that need no values of the names. Raises `EquationError` if the
        residual is not affine in them.
        """
        symbols = {name: sympy.Symbol(self._canonical(name)) for name in names}
        expanded = expand(self.residual)
        factors = {name: expand(differentiate(expanded, s)) for name, s in symbols.items()}
        for name, factor in factors.items():
            for other, s in symbols.items():
                if factor.has(s):
                    raise EquationError(
                        f"The equation is not linear in {' and '.join(sorted({name, other}))}: {self.text}"
                    )
        remainder: Any = expanded.xreplace(dict.fromkeys(symbols.values(), sympy.S.Zero))
        return ArrayFunction(remainder), {n: ArrayFunction(f) for n, f in factors.items()}

    def conservative(self) -> list[ConservativeTerm]:
        """The residual as terms ``coefficient * D^a flux``; see `ConservativeTerm`.

        >>> names = Names(("x", "t"), fields={"u": ("x", "t")}, unknowns={"nu": ()})
        >>> for c in parse("u_t + u*u_x = nu*u_xx", names).equations[0].conservative():
        ...     print(c.coefficient, c.derivative, c.flux)
        -nu {'x': 2} u
        1 {'x': 1} u**2/2
        1 {'t': 1} u
        """
        return conservative(sympy.Add(*self.terms), self.names)

    def _canonical(self, name: str) -> str:
        return self.names.resolve(name).derivative.name

    def __str__(self) -> str:
        where = ", ".join(f"{c} = {x:.6g}" for c, x in self.at.items())
        known = f" (± {self.noise:.3g})" if self.noise else ""
        return f"{self.text} at {where}{known}" if where else self.text


@dataclass(frozen=True)
class EquationSystem:
    """Equations over the same names.

    >>> unknowns = {"a": (), "k": ("x",), "b": ()}
    >>> names = Names(("x", "t"), {"u": ("x", "t"), "v": ("x", "t")}, unknowns)
    >>> system = parse("u_t = div(k*grad(u)) - a*v; v_t = exp(-a)*u_xx", names)
    >>> {name: [d.name for d in derivatives] for name, derivatives in system.derivatives.items()}
    {'u': ['u', 'u_t', 'u_x', 'u_xx'], 'v': ['v', 'v_t'], 'a': ['a'], 'k': ['k', 'k_x']}
    >>> system.order, system.order_along("t"), system.linear_in, system.unused
    (2, 1, ('k', 'b'), ('b',))
    """

    equations: tuple[Equation, ...]  #: Those that hold everywhere.
    names: Names  #: What the names mean.
    #: Those that are restricted to places (`Equation.at`). Derivatives, orders, symbols and unknowns are of
    #: both.
    conditions: tuple[Equation, ...] = ()

    @property
    def imposed(self) -> tuple[Equation, ...]:
        """Equations, then conditions."""
        return (*self.equations, *self.conditions)

    @cached_property
    def derivatives(self) -> dict[str, tuple[Derivative, ...]]:
        """For every field and unknown in use, the derivatives needed, itself included, lowest first."""
        used: dict[str, set[Derivative]] = {}
        for equation in self.imposed:
            for name in equation.symbols:
                d = self.names.resolve(name).derivative
                used.setdefault(d.field, {Derivative(d.field)}).add(d)
        declared = [*self.names.fields, *self.names.unknowns]
        return {n: tuple(sorted(used[n], key=lambda d: (d.total, d.orders))) for n in declared if n in used}

    @property
    def order(self) -> int:
        """The largest total order of a derivative."""
        return max((d.total for ds in self.derivatives.values() for d in ds), default=0)

    def order_along(self, coordinate: str, field: str = "") -> int:
        """The largest order along one coordinate, of one field or unknown, or of all.

        Raises `EquationError` if it is not a coordinate.
        """
        check_known([coordinate], self.names.coordinates, EquationError, "'{}' is not a coordinate.")
        used = (ds for f, ds in self.derivatives.items() if field in ("", f))
        return max((d.along(coordinate) for ds in used for d in ds), default=0)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names whose values the equations need, sorted."""
        return tuple(sorted({s for e in self.imposed for s in e.symbols}))

    @cached_property
    def edges(self) -> tuple[sympy.Expr, ...]:
        """What is zero where a coefficient of a state's derivative jumps, and the state has a kink.

        >>> names = Names(("x", "t"), {"u": ("x", "t")}, {"a": (), "b": ()})
        >>> parse("u_t = dx((a + b*heaviside(x - 1))*u_x)", names).edges
        (x - 1,)
        """
        found, fields = set(), {*self.names.fields}
        jumping = [e for e in self.equations if e.residual.has(sympy.sign, sympy.Heaviside)]
        for term in (t for e in jumping for t in e.terms):
            held = [self.names.resolve(str(s)).derivative for s in term.free_symbols]
            for jump in Algebra(self.names).edges(term):
                along = {str(s) for s in jump.free_symbols}
                if any(d.field in fields and any(d.along(c) for c in along) for d in held):
                    found.add(jump.args[0])
        return tuple(sorted(found, key=str))

    @cached_property
    def unused(self) -> tuple[str, ...]:
        """Unknowns that appear in no equation."""
        return tuple(n for n in self.names.unknowns if n not in self.derivatives)

    @cached_property
    def linear_in(self) -> tuple[str, ...]:
        """The largest set of unknowns in which all residuals are jointly affine, with their derivatives.

        Among sets of one size scalars go before fields, then the order of declaration decides.
        """
        unknowns = sorted(self.names.unknowns, key=lambda n: len(self.names.over(n)) > 0)
        clashes = self._clashes()
        unknowns = [n for n in unknowns if (n, n) not in clashes]
        chosen: tuple[str, ...] = ()
        if len(unknowns) <= _EXHAUSTIVE:
            for size in range(len(unknowns), 0, -1):
                fits = (s for s in combinations(unknowns, size) if not clashes & set(combinations(s, 2)))
                chosen = next(fits, ())
                if chosen:
                    break
        else:
            for n in unknowns:
                if all((m, n) not in clashes for m in chosen):
                    chosen = (*chosen, n)
        return tuple(n for n in self.names.unknowns if n in chosen)

    def _clashes(self) -> set[tuple[str, str]]:
        """Pairs of unknowns, both ways round, with a mixed second derivative that is not zero."""
        clashes: set[tuple[str, str]] = set()
        owner = {
            sympy.Symbol(d.name): n
            for n, ds in self.derivatives.items()
            if n in self.names.unknowns
            for d in ds
        }
        for equation in self.imposed:
            residual = expand(equation.residual)
            for a in sorted(residual.free_symbols & owner.keys(), key=str):
                slope = expand(differentiate(residual, a))  # type: ignore[arg-type]
                for b in slope.free_symbols & owner.keys():
                    clashes |= {(owner[a], owner[b]), (owner[b], owner[a])}  # type: ignore[index]
        return clashes


def parse(equations: EquationLike | Sequence[EquationLike], names: Names) -> EquationSystem:
    """Read equations, with what their names mean.

    They are text (several equations separated by ``;`` or line breaks), a SymPy expression or Eq, a callable
    that takes a mapping of names and returns the residual, or a sequence of these. Raises `EquationError`,
    with its text, its place and the nearest valid name, if one cannot be read.

    >>> names = Names(("x", "y"), fields={"u": ("x", "y")}, unknowns={"lambda": ()})
    >>> parse("0 = lambda*lap(u) + u^2", names).equations[0].residual
    -lambda*(u_xx + u_yy) - u**2
    >>> parse(lambda j: j["u_xy"] - j["lambda"] * j["u"], names).equations[0].residual
    -lambda*u + u_xy
    >>> parse("u_xx + u_zz", names)
    Traceback (most recent call last):
    mollifier.errors.EquationError: 'u_zz': 'zz' is not a run of the coordinates x, y of 'u'.
      u_xx + u_zz
             ^^^^
    """
    found = [e for item in listed(equations) for e in _parse_one(item, names)]
    if not found:
        raise EquationError("No equation was given; write for example 'u_t = k*lap(u)'.")
    for equation in found:
        _check_content(equation)
    return EquationSystem(tuple(found), names)


def _parse_one(item: Any, names: Names) -> list[Equation]:
    algebra = Algebra(names)
    if isinstance(item, str):
        builder = TreeBuilder(item, algebra)
        return [e for s in read(item) for e in _equations(s.text, builder.residual(s), names)]
    if isinstance(item, (sympy.Basic, sympy.logic.boolalg.Boolean)):
        text = f"{item.lhs} = {item.rhs}" if isinstance(item, sympy.Equality) else f"{item} = 0"
        return _equations(text, from_sympy(item, algebra), names)
    if callable(item):
        residual = from_sympy(trace(item, algebra.value, names.declared), algebra)
        return _equations(f"{residual} = 0", residual, names)
    raise EquationError(
        f"An equation is a text, a SymPy expression or a callable, not {type(item).__name__} ({item!r:.60})."
    )


def _equations(text: str, residual: sympy.Expr, names: Names) -> list[Equation]:
    """One equation, or the real and the imaginary part of one with complex names."""
    found = []
    for part, r in parts_of_equation(text, residual).items():
        plain: Any = r.replace(Crossing, lambda jump: sympy.S.Zero)
        found.append(Equation(part, names.geometry.regular(plain), names, crossing=expand(r - plain)))
    return found


def _check_content(equation: Equation) -> None:
    if equation.residual.free_symbols:
        size = sum(1 for _ in sympy.preorder_traversal(equation.residual))
        if size * len(equation.residual.free_symbols) > _LARGEST:
            raise EquationError(
                f"With its derivatives carried out the equation has {size:,} operations on "
                f"{len(equation.residual.free_symbols)} names, which is too long; write it in simpler parts, "
                f"or with fewer products under high derivatives:\n  {equation.text:.300}"
            )
    if equation.residual == 0:
        raise EquationError(f"Both sides are the same, so the equation says 0 = 0:\n  {equation.text}")
    kinds = {equation.names.resolve(s).kind for s in equation.symbols}
    if not kinds & {"field", "unknown"}:
        raise EquationError(f"The equation holds neither a field nor an unknown:\n  {equation.text}")
