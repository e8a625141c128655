"""The weak form of an equation, and its expectations under noise, by SymPy.

An equation ``sum_i c_i D^(a_i) F_i(u) = 0`` is multiplied by a test function phi and integrated by parts
until no derivative is left on the data:

    sum_b  integral  D^b phi(x) E_b(u(x), x) dx = 0,
    E_b = sum_i (-1)^|a_i| binom(a_i, b) D^(a_i - b) c_i F_i(u).

Data carry noise, ``v = u + e`` with known variance s. For normal noise the operator

    T f = exp(-s/2 d^2/du^2) f

makes ``T f(v)`` an unbiased estimate of ``f(u)``, exactly so for polynomials, and ``T f(v) T g(v) - T (f
g)(v)`` one of the covariance of ``T f(v)`` with ``T g(v)``: the corrected scores of Nakamura (Biometrika
77:127, 1990).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import comb
from typing import Any

import sympy

from mollifier.engines.weak.boundary import (
    NO_CONDITIONS,
    Boundary,
    End,
    Orders,
    Trace,
    boundary_of,
    ends_of,
    traces,
)
from mollifier.engines.weak.tuning import DEFAULT, WeakTuning
from mollifier.equations.algebra import Algebra, differentiate, expand
from mollifier.equations.laws import Law, as_symbols, laws_in
from mollifier.equations.system import Equation, EquationSystem
from mollifier.errors import EquationError, MollifierError
from mollifier.mollify.orders import Derivative
from mollifier.problem.inverse_problem import InverseProblem

VARIANCE = "variance of {}"  #: Symbol of the noise variance of a field.


@dataclass(frozen=True)
class Channel:
    """One integrand of one equation, and the derivative of the test function that multiplies it."""

    equation: int  #: Index of the equation.
    #: Order b of the test function's derivative along each coordinate, or its trace at an end of it.
    orders: Orders
    #: E_b: an expression in the fields (without derivatives), coordinates, known data and unknowns; laws of
    #: the fields are functions (`mollifier.equations.laws`).
    integrand: sympy.Expr


@dataclass(frozen=True)
class WeakForm:
    """The integrands of all equations.

    >>> from mollifier.equations.names import Names
    >>> from mollifier.equations.system import parse
    >>> names = Names(("x", "t"), {"u": ("x", "t")}, {"a": (), "k": ("x",)})
    >>> form = weak_form(parse("u_t + a*u*u_x = div(k*grad(u))", names))
    >>> for c in form.channels:
    ...     print(c.orders, c.integrand)
    (0, 1) -u
    (1, 0) -a*u**2/2 - k_x*u
    (2, 0) -k*u
    >>> [d.name for d in form.unknowns]
    ['a', 'k', 'k_x']
    """

    channels: tuple[Channel, ...]  #: The integrands, grouped by equation.
    fields: tuple[str, ...]  #: The state variables, measured with noise.
    #: Derivatives of unknowns in the integrands, grouped by unknown in order of declaration.
    unknowns: tuple[Derivative, ...]
    known: tuple[Derivative, ...]  #: Derivatives of known data in the integrands.
    numbers: tuple[str, ...]  #: Names of the unknowns that are numbers.
    coordinates: tuple[str, ...]  #: Names of the coordinates, in the order of `Channel.orders`.
    #: Numbers that steer the engine; all that is built on the form reads them here.
    tuning: WeakTuning = DEFAULT
    #: For each coordinate its two ends, where test functions reach over them; none without conditions.
    ends: tuple[tuple[End | None, End | None], ...] = ()

    def order(self, axis: int) -> int:
        """Highest derivative of the test functions along an axis."""
        return max(o for c in self.channels if isinstance(o := c.orders[axis], int))

    @staticmethod
    def slope(f: sympy.Expr, unknown: Derivative) -> sympy.Expr:
        """Partial derivative of an expression by an unknown or a derivative of one, in plain symbols."""
        return differentiate(as_symbols(f), sympy.Symbol(unknown.name))

    def expectation(self, f: sympy.Expr) -> sympy.Expr:
        """``T f``: an expression in noisy values whose mean is ``f`` of the true ones.

        >>> from mollifier.equations.names import Names
        >>> from mollifier.equations.system import parse
        >>> form = weak_form(parse("u_t = r*u^3", Names(("t",), {"u": ("t",)}, {"r": ()})))
        >>> form.expectation(sympy.Symbol("u") ** 3)
        u**3 - 3*u*variance of u
        """
        return _averaged(f, self.fields, -1, self.tuning)

    def mean(self, f: sympy.Expr) -> sympy.Expr:
        """``T^-1 f``: an expression in true values that is the mean of ``f`` of noisy ones.

        >>> from mollifier.equations.names import Names
        >>> from mollifier.equations.system import parse
        >>> form = weak_form(parse("u_t = r*u^3", Names(("t",), {"u": ("t",)}, {"r": ()})))
        >>> form.mean(sympy.Symbol("u") ** 3)
        u**3 + 3*u*variance of u
        """
        return _averaged(f, self.fields, 1, self.tuning)

    def covariance(self, f: sympy.Expr, g: sympy.Expr, known: bool = False) -> sympy.Expr:
        """Covariance of ``T f`` and ``T g`` at one place.

        An expression in noisy values whose mean is the covariance, or, if the true values are ``known``, the
        covariance itself in these.
        """
        pairs = product(_terms(f, self.fields), _terms(g, self.fields))
        return sympy.Add(
            *(a * b * _covariance(m, n, self.fields, known, self.tuning) for (a, m), (b, n) in pairs)
        )


def _terms(f: sympy.Expr, fields: tuple[str, ...]) -> list[tuple[sympy.Expr, sympy.Expr]]:
    """A sum as pairs of a coefficient without fields and a factor in the fields, all factors different.

    Known and unknown coefficients, of which there may be many, are thus kept out of all expansions.
    """
    symbols = [sympy.Symbol(n) for n in fields]
    found: dict[sympy.Expr, sympy.Expr] = {}
    for term in sympy.Add.make_args(expand(f)):
        without, within = term.as_independent(*symbols, as_Add=False)
        found[within] = found.get(within, sympy.S.Zero) + without
    return [(without, within) for within, without in found.items()]


def _averaged(f: sympy.Expr, fields: tuple[str, ...], sign: int, tuning: WeakTuning) -> sympy.Expr:
    """``exp(sign * s/2 d^2/du^2) f``, as far as ``tuning`` keeps it."""
    return sympy.Add(*(a * _series(m, fields, sign, tuning) for a, m in _terms(f, fields)))


@lru_cache(maxsize=4096)
def _series(f: sympy.Expr, names: tuple[str, ...], sign: int, tuning: WeakTuning) -> sympy.Expr:
    fields = [sympy.Symbol(n) for n in names]
    powers = tuning.polynomial_powers if f.is_polynomial(*fields) else tuning.other_powers
    term, result = f, f
    for n in range(1, powers + 1):
        parts = [
            sign * sympy.Symbol(VARIANCE.format(u.name)) / (2 * n) * differentiate(differentiate(term, u), u)
            for u in fields
        ]
        term = expand(sympy.Add(*parts))
        if term == 0:
            break
        result = result + term
    return result


@lru_cache(maxsize=4096)
def _covariance(
    f: sympy.Expr, g: sympy.Expr, names: tuple[str, ...], known: bool, tuning: WeakTuning
) -> sympy.Expr:
    fields = [sympy.Symbol(n) for n in names]
    if not (f.has(*fields) and g.has(*fields)):
        return sympy.S.Zero
    if (f * g).has(Law):  # to first order: high derivatives of a law that is being found are noise
        variances = [sympy.Symbol(VARIANCE.format(n)) for n in names]
        return sympy.Add(*(s * f.diff(u) * g.diff(u) for s, u in zip(variances, fields, strict=True)))
    each = _series(f, names, -1, tuning) * _series(g, names, -1, tuning)
    found = expand(each) - _averaged(f * g, names, -1, tuning)
    return expand(_averaged(found, names, 1, tuning) if known else found)


def weak_form(
    system: EquationSystem, tuning: WeakTuning = DEFAULT, boundary: Boundary = NO_CONDITIONS
) -> WeakForm:
    """Move every derivative of a state variable onto the test function.

    Conditions at the ends of coordinates, ``boundary``, give boundary terms. Raises `EquationError`, which
    names the term, if one has derivatives of the data that cannot be moved, such as ``u_x^2``, and
    `ConfigurationError` if a condition gives no boundary term.
    """
    names = system.names
    # Known data are free of noise, so that they may be differentiated as unknowns are.
    algebra = Algebra(replace(names, unknowns={**names.unknowns, **names.known}, known={}))
    given = {key: held.solved for key, held in boundary.items()}
    terms, bare = (
        {
            (number, b): e
            for number, equation in enumerate(system.equations)
            for b, e in _integrands(equation, algebra, known).items()
        }
        for known in (given, {key: {} for key in given})
    )
    ends = ends_of(terms, bare, algebra.names, boundary)
    channels = [
        Channel(*key, terms[key])
        for key in sorted(terms, key=lambda k: (k[0], [(isinstance(o, Trace), o) for o in k[1]]))
        if all((end := ends[i][t.end]) and t.order not in end.vanishing for i, t in traces(key[1]))
    ]
    symbols = sorted({str(s) for c in channels for s in c.integrand.free_symbols})
    derivatives = [
        algebra.names.resolve(s).derivative for s in symbols if algebra.names.resolve(s).kind == "unknown"
    ]
    derivatives += sorted(set().union(*(laws_in(c.integrand) for c in channels)))
    unknowns = tuple(d for n in names.unknowns for d in derivatives if d.field == n)
    known = tuple(d for d in derivatives if d.field in names.known)
    numbers = tuple(n for n, over in names.unknowns.items() if not over)
    fields, coordinates = tuple(names.fields), names.coordinates
    return WeakForm(tuple(channels), fields, unknowns, known, numbers, coordinates, tuning, ends)


def form_of(problem: InverseProblem, tuning: WeakTuning = DEFAULT) -> WeakForm:
    """The weak form of a problem with its conditions.

    Raises `EquationError` and `ConfigurationError` as `weak_form` does, and if a condition is not along an
    edge of the data's grid.
    """
    return weak_form(problem.system, tuning, boundary_of(problem))


def carried(problem: InverseProblem) -> bool:
    """Whether every condition gives a boundary term, as far as the equation has a weak form."""
    if not (problem.system.conditions and problem.data.gridded):
        return not problem.system.conditions
    try:
        form_of(problem)
    except EquationError:
        return True
    except MollifierError:
        return False
    return True


def is_weak(system: EquationSystem) -> bool:
    """Whether every derivative of a state variable can be moved onto a test function.

    >>> from mollifier.equations.names import Names
    >>> from mollifier.equations.system import parse
    >>> names = Names(("x", "t"), {"u": ("x", "t")}, {"a": ()})
    >>> is_weak(parse("u_t = a*u*u_xx + a*u_x^2", names)), is_weak(parse("u_t = a*u_x^2", names))
    (True, False)
    """
    try:
        weak_form(system)
    except EquationError:
        return False
    return True


#: Coordinate and end -> what conditions give there.
Solved = Mapping[tuple[str, int], Mapping[sympy.Symbol, sympy.Expr]]


def _integrands(equation: Equation, algebra: Algebra, given: Solved) -> dict[Orders, sympy.Expr]:
    result: dict[Orders, sympy.Expr] = {}
    for term in equation.conservative():
        if any(d.total for d in equation.names.states_in(term.flux)):
            law = term.flux.has(Law)
            instead = (
                "Write laws inside of derivatives, as dx(D(u)*u_x)"
                if law
                else "Use engine 'joint' or 'network'"
            )
            written = as_symbols(term.coefficient * term.flux)
            raise EquationError(
                f"The weak engine cannot move the derivatives in '{written}' "
                "onto a test function: a product of derivatives is not the derivative of anything simpler. "
                f"{instead}.\n  {equation.text}"
            )
        along = [(c, term.derivative.get(c, 0)) for c in equation.names.coordinates]
        for orders, part in _by_parts(along, term.coefficient, term.flux, algebra, given):
            result[orders] = result.get(orders, sympy.S.Zero) + part
    expanded = {b: _simple(e) if any(traces(b)) else expand(e) for b, e in result.items()}
    return {b: e for b, e in expanded.items() if e != 0}


def _by_parts(
    along: list[tuple[str, int]],
    coefficient: sympy.Expr,
    flux: sympy.Expr,
    algebra: Algebra,
    given: Solved,
    orders: Orders = (),
) -> Iterator[tuple[Orders, sympy.Expr]]:
    """Parts of ``coefficient * D^n flux`` with every D on the test function, one coordinate after another."""
    if not along:
        yield orders, coefficient * flux
        return
    (c, n), *rest = along
    for b in range(n + 1):
        inner = (-1) ** n * comb(n, b) * algebra.totals(coefficient, {c: n - b})
        if inner != 0:
            yield from _by_parts(rest, inner, flux, algebra, given, (*orders, b))
    for (end, solved), j in product([(e, s) for (d, e), s in given.items() if d == c], range(n)):
        trace: Any = algebra.totals(flux, {c: n - 1 - j}).xreplace(solved)
        for b in range(j + 1):
            inner = (-1) ** (j + 1 - end) * comb(j, b) * algebra.totals(coefficient, {c: j - b})
            if inner != 0:
                yield from _by_parts(rest, inner, trace, algebra, given, (*orders, Trace(b, end)))


def _simple(expression: sympy.Expr) -> sympy.Expr:
    """Multiplied out; what conditions were divided by is cancelled."""
    whole = expand(expression)
    return expand(sympy.cancel(whole)) if sympy.denom(sympy.together(whole)).free_symbols else whole
