"""Conservative form: fluxes and coefficients that add up to the equation again."""

import pytest
import sympy

from equation_names import NAMES, residual
from mollifier.equations.algebra import Algebra
from mollifier.equations.system import parse

# --- conservative form


def put_back(terms) -> sympy.Expr:
    algebra = Algebra(NAMES)
    return sympy.Add(*(t.coefficient * algebra.totals(t.flux, t.derivative) for t in terms))


@pytest.mark.parametrize(
    ("text", "derivatives"),
    [
        ("u_t + u*u_x = nu*u_xx", ["xx", "x", "t"]),
        ("u_t + u^2*u_x", ["x", "t"]),
        ("u_t = div(k*grad(u)) + r*u", ["xx", "yy", "x", "y", "t", ""]),
        ("u_t = lap(u^3 - u - nu*lap(u))", ["xxxx", "xxyy", "yyyy", "xx", "xx", "yy", "yy", "t"]),
        ("u_t = dx(u*w)", ["x", "t"]),
        ("u_t = k*dxx(exp(2*u))", ["xx", "t"]),
        ("u_t + dx(sin(u)) + dx(1/(1+3*u)^2) = u_x/u", ["x", "x", "x", "t"]),
        ("u_t = r*w_x*u", ["t", ""]),
        ("u_t = u*u_xx", ["t", ""]),
        ("u_t = u*u_xx + 3*u_x^2", ["xx", "t", ""]),
        ("u_t = u_x^2", ["t", ""]),
        ("u_tt = 0.1*lap(u^2) + x*u_x", ["xx", "yy", "x", "tt"]),
        ("u_xy*exp(u) + u_x*u_y*exp(u)", ["xy"]),
    ],
)
def test_conservative(text, derivatives):
    terms = parse(text, NAMES).equations[0].conservative()
    assert sympy.nsimplify(sympy.expand(put_back(terms) - residual(text))) == 0
    found = ["".join(c * n for c, n in t.derivative.items()) for t in terms]
    assert sorted(found) == sorted(derivatives)
    for t in terms:
        assert not t.derivative or not any("_" in str(s) for s in t.flux.free_symbols)
