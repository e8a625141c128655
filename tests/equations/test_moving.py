"""Edges of unknown place, and what holds across them."""

from __future__ import annotations

import pytest
import sympy

from mollifier.equations.moving import Edge, jump_conditions, moving_edge
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.errors import EquationError

UNKNOWNS = {"a": (), "b": (), "k": (), "m": (), "v": (), "w": ()}
NAMES = Names(("x", "t"), {"u": ("x", "t")}, UNKNOWNS)


def across(text):
    """The edge of an equation, and what is zero there: ``u_xm`` below it and ``u_xp`` above."""
    system = parse(text, NAMES)
    edge = moving_edge(system)
    symbols = sympy.symbols("u u_x u_t u_xx")
    below, above = ({s: sympy.Symbol(f"{s}{side}") for s in symbols} for side in "mp")
    return edge, jump_conditions(system, edge, below, above)


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("u_t = dx(where(x < a, k, m)*u_x)", "k*u_xm - m*u_xp"),
        ("u_t = dx((k + (m - k)*heaviside(x - a))*u_x)", "k*u_xm - m*u_xp"),
        ("u_t = dx(where(x > a, m, k)*u_x)", "k*u_xm - m*u_xp"),
        ("u_t = dx(u_x/where(x < a, k, m))", "u_xm/k - u_xp/m"),
        ("u_t = dx(where(x < a, k*u, m)*u_x)", "k*um*u_xm - m*u_xp"),
        ("u_t = dx(where(x < a, k, m)*u_x - where(x < a, v, w)*u)", "k*u_xm - v*um - m*u_xp + w*um"),
        ("u_t = where(x < a, k, m)*u_xx", "m*(u_xm - u_xp)"),
        ("u_t = k*u_xx + dx(where(x < a, 0, v))", "k*(u_xm - u_xp) - v"),
    ],
)
def test_flux_across_an_edge(text, last):
    """The state is continuous, and so is what stands under the outer derivative; else the slope is."""
    edge, (continuous, flux) = across(text)
    assert edge == Edge("x", "a")
    assert continuous in (sympy.sympify("um - up"), sympy.sympify("up - um"))
    assert sympy.simplify(flux - sympy.sympify(last)) == 0


def test_switch_in_time():
    """A state of first order is continuous, whatever switches."""
    edge, conditions = across("u_t = where(t < a, k, m)*u")
    assert (edge, conditions) == (Edge("t", "a"), [sympy.sympify("up - um")])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("u_t = where(x < a, k, m)*u + where(x < b, v, w)", "several unknown places"),
        ("u_t = where(x < a*t, k, m)*u", "no number along a coordinate"),
        ("u_t = where(x < 2*a, k, m)*u", "no number along a coordinate"),
        ("u_t = dx(where(u < a, k, m)*u)", "The derivative of a jump"),
        ("u_t = dxx(where(x < a, k, m)*u)", "The derivative of a jump"),
        ("u_t = where(x < a, k, m)*u_xxxx", "differentiated 4 times along x"),
        ("u_t = where(x < a, k, m)*u_xx^2", "not linear in it"),
    ],
)
def test_edge_that_is_refused(text, words):
    """What is not answered is said, with the equation."""
    with pytest.raises(EquationError, match=words.replace("*", r"\*")):
        across(text)
