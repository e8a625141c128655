"""Laws of the state in equations: how they are written, differentiated, integrated and moved to fluxes."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from mollifier.equations.laws import Law, as_functions, as_symbols, laws_in
from mollifier.equations.names import Names
from mollifier.equations.scan import arguments_in
from mollifier.equations.system import parse
from mollifier.errors import EquationError

NAMES = Names(("x", "t"), {"u": ("x", "t")}, {"D": ("u",), "r": ("u", "x"), "a": ()})


@pytest.mark.parametrize(
    ("text", "derivatives"),
    [
        ("u_t = dx(D(u)*u_x)", [{"x": 2}, {"t": 1}]),
        ("u_t = D*u_xx + D_u*u_x^2", [{"x": 2}, {"t": 1}]),
        ("u_t = dx(u*D(u)*u_x)", [{"x": 2}, {"t": 1}]),
        ("u_t = lap(D(u) - a*u_xx)", [{"x": 4}, {"x": 2}, {"t": 1}]),
        ("D(u)*u_t = u_xx + r(u, x)", [{"x": 2}, {"t": 1}, {}]),
        ("u_t = dx(D(u)*(u_x + 1))", [{"x": 2}, {"t": 1}, {"x": 1}]),
    ],
)
def test_conservative_law(text, derivatives):
    """Every derivative moves out of a law's term, and the terms add up to the residual."""
    equation = parse(text, NAMES).equations[0]
    terms = equation.conservative()
    assert [t.derivative for t in terms] == derivatives
    whole = 0
    for t in terms:
        flux = t.flux
        for c, n in t.derivative.items():
            for _ in range(n):
                parts = [
                    (s, sympy.Symbol(f"{s}_{c}" if "_" not in str(s) else f"{s}{c}"))
                    for s in flux.free_symbols
                ]
                flux = sum(flux.diff(s) * s_c for s, s_c in parts if s != sympy.Symbol("x"))
        whole += t.coefficient * flux
    assert sympy.expand(as_symbols(sympy.expand(whole)) - equation.residual) == 0


def test_law_derivatives_and_antiderivatives():
    """The derivative of an antiderivative is the law; names differ."""
    law, u = as_functions(sympy.Symbol("D_uu"), NAMES), sympy.Symbol("u")
    assert isinstance(law, Law)
    assert law.integral(u).integral(u).integral(u).diff(u, 3) == law
    assert {d.name for d in laws_in(law + law.integral(u).integral(u).integral(u))} == {"D_uu", "D_(1/u)"}


def test_law_over_state_and_place_differentiates_by_both():
    """The total derivative along x takes the law's own change with x, too."""
    residual = parse("u_t = dx(r(u, x))", NAMES).equations[0].residual
    assert residual == sympy.sympify("u_t - r_x - r_u*u_x")


def test_law_written_with_its_argument_is_the_plain_name():
    """``D(u)`` is D, and a call with other arguments is refused with both ways to write it."""
    assert (
        parse("u_t = D(u)*u_xx", NAMES).equations[0].residual
        == parse("u_t = D*u_xx", NAMES).equations[0].residual
    )
    with pytest.raises(EquationError, match=r"without arguments, or as D\(u\), or put \* before"):
        parse("u_t = D(x)*u_xx", NAMES)


def test_arguments_in_text_and_sympy():
    """What names are written with is read from texts and SymPy expressions, functions apart."""
    x, u = sympy.symbols("x u")
    f = sympy.Function("f")
    assert arguments_in("u_t = sin(u)*D(u) + lap(u)") == {"D": ("u",)}
    assert arguments_in(f(u) - x) == {"f": ("u",)}


def test_evaluate_law_as_plain_symbols():
    """The residual itself stays in plain symbols, which every engine evaluates."""
    equation = parse("u_t = dx(D(u)*u_x)", NAMES).equations[0]
    env = {"u_t": np.ones(2), "D": 2.0, "D_u": 3.0, "u_x": np.array([1.0, 2.0]), "u_xx": 0.5}
    assert equation.evaluate(env).tolist() == [-3.0, -12.0]
