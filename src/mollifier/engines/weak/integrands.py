"""The expressions of a weak form that are summed over the data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations_with_replacement, product

import numpy as np
import sympy

from mollifier.engines.weak.form import WeakForm
from mollifier.equations.algebra import differentiate, expand
from mollifier.equations.laws import as_symbols, laws_in
from mollifier.equations.lower import Program, lower
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array

Env = Mapping[str, Array]

AT_SMOOTHED = ("known noise", "gain")  #: Kinds that are evaluated at smoothed fields.


class Integrands:
    """The expressions of a weak form that are summed over the data, compiled to array programs.

    Keys of the expressions, where c and d are indices of channels and u and v derivatives of unknowns:
    ``("slope", c, u)`` the integrand's derivative by u, ``("rest", c)`` the integrand less the sum of these
    times u, which is free of unknowns where they are linear, ``("noise", c, d)`` the covariance of two
    integrands, half of it for c = d, so that sums with their transpose have all of it,
    ``("product", c, u, d, v)`` the covariance of the slopes of two numbers, ``("bias", c, u, d)`` that of
    such a slope and an integrand less the sum of these times their numbers, each as an expression in noisy
    values; ``("known noise", c, d)`` as an expression in true values, and ``("gain", c, f)`` an integrand's
    derivative by the field f, both to be evaluated at smoothed fields.
    """

    def __init__(self, form: WeakForm) -> None:
        self.form = form
        integrands = [c.integrand for c in form.channels]
        numbers = range(len(integrands))
        rows = [form.expectation(e) for e in integrands]
        laws = sorted(set().union(*(laws_in(e) for e in rows)))
        plain = [u for u in form.unknowns if u not in laws]
        slopes = {(c, u): form.slope(rows[c], u) for c in numbers for u in (*plain, *laws)}
        #: (channel, derivative of an unknown) -> the integrand's slope in noisy values, where it is not zero.
        self.slopes = {key: e for key, e in slopes.items() if e != 0}
        # Slopes by fields are instrumental variables, whose products are not corrected.
        exact = {(c, u): form.slope(integrands[c], u) for c, u in self.slopes if u.field in form.numbers}
        linear = {c: sum(sympy.Symbol(u.name) * e for (d, u), e in exact.items() if d == c) for c in numbers}
        pairs = combinations_with_replacement(numbers, 2)
        products = {
            c: sum((sympy.Symbol(u.name) * self.slopes.get((c, u), 0) for u in (*plain, *laws)), 0)
            for c in numbers
        }
        found: dict[tuple, sympy.Expr] = {
            ("rest", c): expand(as_symbols(rows[c]) - products[c]) for c in numbers
        }
        found |= {("slope", *key): e for key, e in self.slopes.items()}
        for (c, d), (kind, known) in product(pairs, (("noise", False), ("known noise", True))):
            found[kind, c, d] = form.covariance(integrands[c] / (1 + (c == d)), integrands[d], known)
        for key, e in exact.items():
            found |= {("bias", *key, d): form.covariance(e, integrands[d] - linear[d]) for d in numbers}
        for (one, e), (two, f) in combinations_with_replacement(exact.items(), 2):
            found["product", *one, *two] = form.covariance(e, f)
        for c, f in product(numbers, form.fields):
            found["gain", c, f] = differentiate(integrands[c], sympy.Symbol(f))
        found = {key: e for key, e in found.items() if e != 0}
        fields = [sympy.Symbol(f) for f in form.fields]
        #: Derivatives of unknowns in the expressions: those of the form, and those of laws by which their
        #: noise counts.
        self.unknowns = (*plain, *sorted(set().union(laws, *(laws_in(e) for e in found.values()))))
        named = [sympy.Symbol(u.name) for u in self.unknowns]
        #: Whether no slope depends on the unknowns.
        self.linear = not any(e.has(*named) for e in self.slopes.values())
        #: Whether the covariance of the residuals depends on the fields.
        self.heteroscedastic = any(e.has(*fields) for (kind, *_), e in found.items() if kind == "noise")
        self._keys = tuple(found)
        # Compiled together, so that an expression is rounded in the same way wherever it is evaluated.
        self._whole = lower([as_symbols(e) for e in found.values()])
        self._programs: dict[tuple[str, ...], Program] = {}

    @property
    def instructions(self) -> int:
        """Length of the compiled program of all expressions."""
        return len(self._whole.instructions)

    def keys(self, *kinds: str) -> list[tuple]:
        """Keys of the expressions of some kinds, in the order of their values."""
        return [k for k in self._keys if k[0] in kinds]

    def program(self, *kinds: str) -> Program:
        """The compiled expressions of some kinds."""
        if kinds not in self._programs:
            places = [i for i, k in enumerate(self._keys) if k[0] in kinds]
            self._programs[kinds] = self._whole.restricted(places)
        return self._programs[kinds]

    def evaluate(self, env: Env, *kinds: str) -> dict[tuple, Array]:
        """The expressions of some kinds, by key, which broadcast; `DataError` if a value is not finite."""
        with np.errstate(all="ignore"):
            values = self.program(*kinds).run(env)
        if not all(np.isfinite(v).all() for v in values):
            named = ", ".join(f"'{f}'" for f in self.form.fields)
            raise DataError(
                f"A term of the equation is not a finite number at some measured values of {named}: noise "
                "takes them to where it is not defined, or an unknown's value does. Bound the unknowns, give "
                "initial values, or use engine 'joint' or 'network'."
            )
        return {k: np.asarray(v, dtype=float) for k, v in zip(self.keys(*kinds), values, strict=True)}


@lru_cache(maxsize=16)
def integrands_of(form: WeakForm) -> Integrands:
    """The expressions of a form; many problems, as of repeats, have one form."""
    return Integrands(form)
