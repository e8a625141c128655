"""The weak form: what integration by parts leaves, and expressions that are right on average under noise."""

from __future__ import annotations

from functools import reduce
from itertools import product

import numpy as np
import pytest
import sympy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mollifier.engines.weak.form import VARIANCE, is_weak, weak_form
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.errors import EquationError

COORDINATES = x, y, t = sympy.symbols("x y t")
ALL = ("x", "y", "t")
# Smooth functions with no symmetry that could hide a wrong sign; u is positive.
FIELDS = {"u": 2 + sympy.sin(x + 2 * y - t) / 2, "v": sympy.exp(x * t / 2) * sympy.cos(y - x)}
UNKNOWNS = {
    "a": sympy.Float(0.7),
    "b": sympy.Float(-1.3),
    "k": 1 + x**2 / 2 + x * y,
    "r": sympy.cos(2 * t),
}
KNOWN = {"s": sympy.sin(x * y) + t}
NAMES = Names(
    ALL, {"u": ALL, "v": ALL}, {"a": (), "b": (), "k": ("x", "y"), "r": ("t",)}, {"s": ALL, "w": ("t",)}
)
KNOWN["w"] = sympy.exp(-t)
# FieldMeasurements data have no derivatives in an equation, but they have in its weak form.
READABLE = Names(ALL, NAMES.fields, {**NAMES.unknowns, **NAMES.known})
FUNCTIONS = {**FIELDS, **UNKNOWNS, **KNOWN}
# Gauss-Legendre is exact to degree 47: for entire functions this smooth, and a polynomial test function of
# degree 16, to rounding.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
MESH = dict(zip(ALL, np.meshgrid(NODES, NODES, NODES, indexing="ij"), strict=True))
VOLUME = np.einsum("i,j,k->ijk", WEIGHTS, WEIGHTS, WEIGHTS)


def values(expression):
    """An expression in names of derivatives on the mesh, the names' derivatives taken analytically."""
    env = {}
    for symbol in expression.free_symbols:
        reference = READABLE.resolve(symbol.name)
        if reference.kind == "coordinate":
            env[symbol.name] = MESH[symbol.name]
        else:
            f = FUNCTIONS[reference.derivative.field]
            for c, n in reference.derivative.orders:
                f = sympy.diff(f, sympy.Symbol(c), n)
            env[symbol.name] = np.broadcast_to(sympy.lambdify(COORDINATES, f)(*MESH.values()), VOLUME.shape)
    return np.broadcast_to(ArrayFunction(expression)(env), VOLUME.shape)


def bump(orders):
    """A derivative of prod (1 - c^2)^8 (1 + c/3): it vanishes at the ends with seven derivatives."""
    one = np.polynomial.Polynomial([1, 0, -1]) ** 8 * np.polynomial.Polynomial([1, 1 / 3])
    return reduce(
        np.multiply, [one.deriv(n)(c) if n else one(c) for n, c in zip(orders, MESH.values(), strict=True)]
    )


def check_by_parts(system):
    """Integral of the residual times phi = sum of integrals of the channels times derivatives of phi."""
    form = weak_form(system)
    for number, equation in enumerate(system.equations):
        strong = values(equation.residual) * bump((0, 0, 0)) * VOLUME
        weak = [values(c.integrand) * bump(c.orders) * VOLUME for c in form.channels if c.equation == number]
        # Rounding of sums of terms of this size.
        size = sum(np.abs(w).sum() for w in weak) + np.abs(strong).sum()
        assert abs(strong.sum() - sum(w.sum() for w in weak)) <= 1e-13 * size


EQUATIONS = [
    "u_t = a*lap(u)",
    "u_t + a*u*u_x = b*u_xx",
    "u_t = div(k*grad(u))",
    "u_t = r*u_xx + k*u",
    "u_tt = a*lap(u) - b*sin(u)",
    "u_t = lap(u^3 - u) - a*lap(lap(u)) + k*u^2 + 1",
    "u_t = 6*u*u_x + a*u_xxx + b*u_xxxxx",
    "x*t^2*u_t = sin(x*y)*u_xx + x*u_yy + y*u",
    "u_t = s*u_xx + s*u + s",
    "u_t = w*s*u_xx + r*s*dx(u*v) + r*s*dy(u^2)",
    "u_t = k*s*x*u_xy",
    "u_xyt = a*u_xxy + u^2*exp(b*u)",
    "u_t = a*u*u_xx + a*u_x^2",
    "u_t = lap(log(u)) + a*sqrt(u)",
    "u_t = a*u*v - u; v_t = b*lap(v) - u^2*v",
    "u_t = dx(u*v) + dy(u*v^2); v_t = k*u_x*v + k*u*v_x",
    "0 = k*lap(u) + s",
    "a*u_t = b*v; a*b*v_x = k*dy(exp(a*u))",
]


@pytest.mark.parametrize("text", EQUATIONS)
def test_weak_form_by_parts(text):
    check_by_parts(parse(text, NAMES))


def powers(names, most):
    return st.dictionaries(st.sampled_from(names), st.integers(1, most), max_size=2).map(
        lambda d: sympy.Mul(*(sympy.Symbol(n) ** m for n, m in d.items()))
    )


@st.composite
def conservative_terms(draw, fields):
    """``c D^a flux``, the coefficient free of the fields."""
    flux = sympy.Symbol("u") ** draw(st.integers(1, 3)) * draw(powers(fields, 2))
    text = f"{draw(st.integers(-3, 3).filter(bool))}*{draw(powers(['a', 'k', 's', 'x', 't'], 2))}*"
    inner = str(flux).replace("**", "^")
    for c in draw(st.lists(st.sampled_from(ALL), max_size=3)):
        inner = f"d{c}({inner})"
    return text.replace("**", "^") + inner


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(conservative_terms(["u"]), conservative_terms(["u"]))
def test_weak_form_conservative_sums(one, two):
    check_by_parts(parse(f"u_t + {one} + {two} = 1", NAMES))


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(conservative_terms(["u", "v"]))
def test_weak_form_two_fields(term):
    check_by_parts(parse(f"v_t + {term} = 0", NAMES))


@pytest.mark.parametrize(
    ("text", "named"),
    [("u_t = a*u_x^2", "u_x**2"), ("u_t = v*u_xx", "u_xx*v"), ("u_t = u_xx; v_t = b*abs(v_x)", "Abs(v_x)")],
)
def test_weak_form_error_names_term(text, named):
    system = parse(text, NAMES)
    assert not is_weak(system)
    with pytest.raises(EquationError) as caught:
        weak_form(system)
    assert named in str(caught.value)
    assert "'joint'" in str(caught.value)


def test_weak_form_contents():
    form = weak_form(parse("u_t = div(k*grad(u)) + s*v*u_x + s*u*v_x - a*r", NAMES))
    assert form.fields == ("u", "v")
    assert [d.name for d in form.unknowns] == ["a", "k", "k_x", "k_y", "r"]
    assert [d.name for d in form.known] == ["s", "s_x"]
    assert is_weak(parse("u_t = a", NAMES))


def gauss_hermite(expression, means, variances, nodes=12):
    """Mean over normal noise of u and v; exact for polynomials of degree below 24 in each."""
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    weight = np.multiply.outer(w, w) / (2 * np.pi)
    env = {"a": 0.7, "x": 0.3}
    for n, m, s, e in zip("uv", means, variances, np.meshgrid(z, z, indexing="ij"), strict=True):
        env |= {n: m + np.sqrt(s) * e, VARIANCE.format(n): s}
    return float(np.sum(weight * ArrayFunction(expression)(env)))


polynomials = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=3
).map(
    lambda terms: sympy.Add(*(c * x * sympy.Symbol("u") ** m * sympy.Symbol("v") ** n for c, m, n in terms))
)
FORM = weak_form(parse("u_t = a*u*v", NAMES))
MEANS, VARIANCES = (0.8, -1.1), (0.3, 0.05)


def exact(f):
    return float(f.subs({"u": MEANS[0], "v": MEANS[1], "a": 0.7, "x": 0.3}))


@settings(max_examples=20)
@given(polynomials)
def test_expectation_polynomials(f):
    found = gauss_hermite(FORM.expectation(f), MEANS, VARIANCES)
    assert found == pytest.approx(exact(f), rel=1e-11, abs=1e-11)


@settings(max_examples=20)
@given(polynomials, polynomials)
def test_covariance_polynomials(f, g):
    one, two = FORM.expectation(f), FORM.expectation(g)
    found = gauss_hermite(FORM.covariance(f, g), MEANS, VARIANCES)
    expected = gauss_hermite(one * two, MEANS, VARIANCES) - exact(f) * exact(g)
    size = gauss_hermite(one**2, MEANS, VARIANCES) * gauss_hermite(two**2, MEANS, VARIANCES)
    assert found == pytest.approx(expected, abs=1e-11 * (1 + np.sqrt(size)))


@pytest.mark.parametrize("f", ["exp(-u)*v", "sin(2*u)", "1/(3 + u)", "log(5 + u + v)", "u^2*exp(u/2)"])
def test_expectation_other_functions(f):
    """Halving the variances divides what is left by 2^3."""
    f = parse(f"u_t = {f}", NAMES).equations[0].residual.subs("u_t", 0)
    left = [abs(gauss_hermite(FORM.expectation(f), MEANS, (s, s), nodes=40) - exact(f)) for s in (0.02, 0.01)]
    assert left[0] / left[1] == pytest.approx(8, rel=0.25)  # the next power is a few hundredths of the first
    assert left[1] < 1e-4


def test_expectation_without_field():
    f = sympy.Symbol("a") ** 2 * x
    assert FORM.expectation(f) == f
    assert FORM.covariance(f, sympy.Symbol("u")) == 0


def test_covariance_different_fields():
    """Noise of different fields is independent."""
    u, v = sympy.symbols("u v")
    assert FORM.covariance(u, v) == 0
    assert FORM.covariance(u, u) == sympy.Symbol(VARIANCE.format("u"))


def test_weak_form_known_coefficient():
    """D(s u_xx) moves two derivatives onto s phi."""
    form = weak_form(parse("u_t = s*u_xx", NAMES))
    orders = {c.orders: c.integrand for c in form.channels}
    u, s_x, s_xx = sympy.symbols("u s_x s_xx")
    assert orders[0, 0, 0] == -s_xx * u
    assert orders[1, 0, 0] == -2 * s_x * u
    assert set(orders) == set(product((0, 1, 2), (0,), (0,))) | {(0, 0, 1)}
