"""The equation language: what it reads, what it computes, and how it complains."""

import ast

import numpy as np
import pytest
import sympy

from equation_names import NAMES, residual
from mollifier.equations.names import Names
from mollifier.equations.scan import fields_in
from mollifier.equations.syntax import read
from mollifier.equations.system import parse
from mollifier.errors import EquationError


def same(a, b) -> bool:
    return sympy.expand(a - b) == 0


def symbols(names: str):
    return sympy.symbols(names)


# --- the language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u_t = div(k*grad(u)) + s", "u_t - k*u_xx - k*u_yy - k_x*u_x - k_y*u_y - s"),
        ("u_t + u*u_x - nu*u_xx", "u_t + u*u_x - nu*u_xx"),
        ("0 = lap(u)", "-u_xx - u_yy"),
        ("bilap(u)", "u_xxxx + 2*u_xxyy + u_yyyy"),
        ("dx(u*w)", "u*w_x + u_x*w"),
        ("dxx(u^2)", "2*u_x**2 + 2*u*u_xx"),
        ("dxy(u)", "u_xy"),
        ("dt(x*u)", "x*u_t"),
        ("dx(x*u)", "u + x*u_x"),
        ("u_yx", "u_xy"),
        ("u_tyx", "u_txy"),
        ("dot([1, 2], grad(u))", "u_x + 2*u_y"),
        ("dot(grad(u) + [w, -w], grad(u)/2)", "u_x**2/2 + w*u_x/2 + u_y**2/2 - w*u_y/2"),
        ("div(-grad(u))", "-u_xx - u_yy"),
        ("dot(lap([u, w]), [1, 1])", "u_xx + u_yy + w_xx + w_yy"),
        ("-u^2", "-u**2"),
        ("u**2*r", "r*u**2"),
        ("2^-1*u", "u/2"),
        ("u^2^3", "u**8"),
        ("u/2/w", "u/(2*w)"),
        ("u - w - r", "u - w - r"),
        ("--u", "u"),
        ("r*dx(c)*u + u_x", "u_x"),
        ("dt(k*u)", "k*u_t"),
        ("dt(s*u)", "s*u_t"),
        ("u \u2212 2\u00b7w", "u - 2*w"),
        ("1e-2*u + .5*w + 3.*r", "u/100 + w/2 + 3*r"),
        ("u_t = (\n div(k*grad(u))\n + r*u )", "u_t - k*u_xx - k*u_yy - k_x*u_x - k_y*u_y - r*u"),
        ("u_t = r*u\n  + s  # the source", "u_t - r*u - s"),
        ("u_t = r*u\n  - s", "u_t - r*u + s"),
        ("u_t =\n r*u", "u_t - r*u"),
    ],
)
def test_parse_forms(text, expected):
    assert sympy.nsimplify(sympy.expand(residual(text) - _by_hand(expected))) == 0


def _by_hand(expected: str) -> sympy.Expr:
    """Expected residuals are sums of products; read them without the code under test."""

    def visit(node):
        match node:
            case ast.Expression(body):
                return visit(body)
            case ast.BinOp(left, op, right):
                a, b = visit(left), visit(right)
                return {"Add": a + b, "Sub": a - b, "Mult": a * b, "Div": a / b, "Pow": a**b}[
                    type(op).__name__
                ]
            case ast.UnaryOp(_, operand):
                return -visit(operand)
            case ast.Name(name):
                return sympy.Symbol(name)
            case ast.Constant(value):
                return sympy.Integer(value)
        raise AssertionError(node)

    return visit(ast.parse(expected, mode="eval"))


def test_names_keywords_and_unicode():
    """Python keywords and unicode are names."""
    u_xx, u_yy, lam = symbols("u_xx u_yy lambda")
    assert same(residual("lambda*lap(u)"), lam * (u_xx + u_yy))
    names = Names(("ξ", "t"), {"φ": ("ξ", "t"), "class": ("ξ", "t")}, {"κ": ("ξ",), "if": ()})
    system = parse("φ_t = dξ(κ*φ_ξ) + if*class_ξξ", names)
    assert system.equations[0].symbols == ("class_ξξ", "if", "κ", "κ_ξ", "φ_t", "φ_ξ", "φ_ξξ")


def test_names_of_functions_as_variables():
    """Names of functions may be variables and pi may be taken."""
    names = Names(("x",), {"exp": ("x",)}, {"pi": (), "lap": ()})
    assert residual("exp(exp) - pi*lap", names).free_symbols == set(symbols("exp pi lap"))
    assert float(residual("pi*u").coeff(sympy.Symbol("u"))) == pytest.approx(np.pi)


def test_names_long_coordinates_and_time():
    """Long coordinate names and named time."""
    names = Names(("xpos", "time"), {"phi_d": ("xpos", "time")})
    assert same(
        residual("phi_d_time = lap(phi_d)", names),
        sympy.Symbol("phi_d_time") - sympy.Symbol("phi_d_xposxpos"),
    )
    names = Names(("x", "t"), {"u": ("x", "t")}, time="")
    assert same(residual("lap(u)", names), sympy.Symbol("u_xx") + sympy.Symbol("u_tt"))


def test_parse_constants():
    assert residual("u_t - g*u").coeff(sympy.Symbol("u")) == -sympy.Float(9.81)


def test_law_of_the_state_by_chain_rule():
    names = Names(("x", "t"), {"u": ("x", "t")}, {"D": ("u",)})
    u_t, u_x, u_xx, d, d_u = symbols("u_t u_x u_xx D D_u")
    system = parse("u_t = div(D*grad(u))", names)
    assert same(system.equations[0].residual, u_t - d * u_xx - d_u * u_x**2)
    assert [x.name for x in system.derivatives["D"]] == ["D", "D_u"]
    assert system.linear_in == ("D",)


# --- several equations


def test_reaction_diffusion():
    names = Names(("x", "t"), {"a": ("x", "t"), "b": ("x", "t")}, {"D": (), "f": (), "kappa": (), "idle": ()})
    text = "a_t = D*lap(a) - a*b^2 + f*(1 - a)\nb_t = lap(b)/2 + a*b^2 - (f + kappa)*b"
    system = parse(text, names)
    assert [e.text for e in system.equations] == text.split("\n")
    assert system.unused == ("idle",)
    assert system.linear_in == ("D", "f", "kappa", "idle")
    assert system.order == 2
    assert system.order_along("t") == 1
    assert {n: [d.name for d in ds] for n, ds in system.derivatives.items()} == {
        "a": ["a", "a_t", "a_xx"],
        "b": ["b", "b_t", "b_xx"],
        "D": ["D"],
        "f": ["f"],
        "kappa": ["kappa"],
    }


def test_vorticity_with_stream_function():
    system = parse(["w_t + psi_y*w_x - psi_x*w_y = nu*lap(w)", "lap(psi) = -w"], NAMES)
    w_t, w_x, w_y, w_xx, w_yy, w = symbols("w_t w_x w_y w_xx w_yy w")
    p_x, p_y, p_xx, p_yy, nu = symbols("psi_x psi_y psi_xx psi_yy nu")
    assert same(system.equations[0].residual, w_t + p_y * w_x - p_x * w_y - nu * (w_xx + w_yy))
    assert same(system.equations[1].residual, p_xx + p_yy + w)


def test_separators():
    assert len(parse("u_t = r*u; ; w_t = s;\n\npsi_t = w", NAMES).equations) == 3
    assert len(parse("u_t - u\n-w_t + w", NAMES).equations) == 2
    assert len(parse("u_t = u;\n-w_t + w", NAMES).equations) == 2
    assert len(parse(["u_t = u; w_t = w", "psi_t = w"], NAMES).equations) == 3


@pytest.mark.parametrize(
    ("text", "linear"),
    [
        ("u_t = div(k*grad(u))", ("k", "r", "nu", "lambda")),
        ("u_t = div(k*r*grad(u))", ("r", "nu", "lambda")),
        ("u_t = exp(r)*u + nu", ("k", "nu", "lambda")),
        ("u_t = r*nu*u + r*lambda*w", ("k", "nu", "lambda")),
        ("u_t = u^k + nu*k_x", ("r", "nu", "lambda")),
        ("(r + nu)*(r - nu)*u + u_t", ("k", "lambda")),
        ("r*(u + nu) - r*nu - u_t", ("k", "r", "nu", "lambda")),
    ],
)
def test_linear_in(text, linear):
    assert parse(text, NAMES).linear_in == linear


# --- errors

BAD = [
    ("u_t = k*lap(v)", "'v' is not a name of this problem", "v"),
    ("u_t = lamda*u", "Did you mean 'lambda'?", "lamda"),
    ("u_t = ps_xx", "Did you mean 'psi_xx'?", "ps_xx"),
    ("u_t = lapp(u)", "Did you mean 'lap'?", "lapp"),
    ("u_t = dz(u)", "'dz' is not a function or operator", "dz"),
    ("u_t = u_xz", "'xz' is not a run of the coordinates x, y, t of 'u'", "u_xz"),
    ("u_t = k_t", "'k' varies over x, y only", "k_t"),
    ("u_t = r_x", "'r' is one number and has no derivatives", "r_x"),
    ("u_t = s_x", "'s' is known data, and known fields are not differentiated", "s_x"),
    ("u_t = div(s*grad(u))", "make 's' a field", "div(s*grad(u))"),
    ("u_t = exp(u, w)", "exp takes 1 argument; 2 given", "exp(u, w)"),
    ("u_t = dot(grad(u))", "dot takes 2 arguments; 1 given", "dot(grad(u))"),
    ("u_t = max(u)", "max takes 2 to 8 arguments; 1 given", "max(u)"),
    ("u_t = lap()", "lap takes 1 argument; 0 given", "lap()"),
    ("u_t = grad(u)", "An equation is between scalars", "grad(u)"),
    ("u_t = div(u)", "div takes a vector", "u"),
    ("u_t = div([u, w, r])", "div takes a vector of 2 components, along x, y; this one has 3", "[u, w, r]"),
    ("u_t = u + grad(u)", "A scalar and a vector cannot be added", "grad(u)"),
    ("u_t = grad(u)*grad(w)", "Two vectors are multiplied by dot(a, b)", "grad(w)"),
    ("u_t = 1/grad(w)", "Division by a vector", "grad(w)"),
    ("u_t = sin(grad(w))", "sin takes scalars", None),
    ("u_t = dot(u, grad(w))", "dot takes two vectors", "u"),
    ("u_t = grad(grad(w))", "grad takes a scalar", "grad(w)"),
    ("u_t = r*(u - w", "This bracket is not closed", "("),
    ("u_t = r*u - w)", "closes a bracket that was not opened", ")"),
    ("u_t = r u", "An operator is missing before 'u'", "u"),
    ("u_t = 2u", "An operator is missing before 'u'", "u"),
    ("u_t = k(x)", "'k' is a name, not a function", "k"),
    ("u_t = r*", "The equation ends too early", None),
    ("u_t = = u", "Something is missing before '='", "="),
    ("u_t = u = w", "second '='", "="),
    ("u_t == u", "written with one '='", "=="),
    ("u_t = u²", "Powers are written u^2", "²"),
    ("u_t = u @ w", "The character '@' is not part", "@"),
    ("u_t = u[0]", "An operator is missing before '['", "["),
    ("u_t = w.real", "The character '.' is not part", "."),
    ("u_t = __import__('os')", "is not part of the equation language", None),
    ("u_t = exp", "'exp' needs its argument in brackets", "exp"),
    ("u_t = u/(2 - 2)", "divides by zero", "(2 - 2)"),
    ("u_t = log(0)*u", "not a finite real number", "log(0)"),
    ("u_t = (-2)^0.5*u", "not a finite real number", "(-2)^0.5"),
    ("u_t = u^1000", "The exponent 1000 is too large", "u^1000"),
    ("u_t = 1e999*u", "too large", "1e999"),
    ("u_t = dx(sign(u))", "The derivative of a jump", "dx(sign(u))"),
    ("u_t = u_xx + dx(heaviside(x - 1))", "Write a steep change, as", "dx(heaviside(x - 1))"),
    ("u_t = where(x, 1, 2)*u_xx", "where takes an inequality first", ","),
    ("u_t = where(x < 1, 1)*u_xx", "where takes 3 arguments; 2 given", "where(x < 1, 1)"),
    ("u_t = u_xx < 1", "An inequality belongs into where", "<"),
    ("u_t = piecewise(x)*u_xx", "Write where(x < a, k1, k2)", "piecewise"),
    ("u_t = (u, w)", "vectors are written [a, b]", "(u, w)"),
    ("u_xxxxxxxxxxxxxxx", "is of order 15; at most 12", None),
    ("u_" + "x" * 60, "too high an order", None),
    ("lap(lap(lap(lap(lap(lap(lap(u)))))))", "at most 12 is supported", None),
    ("u_t = u_t", "says 0 = 0", None),
    ("s = c", "neither a field nor an unknown", None),
    ("", "empty", None),
    ("u_t = \n ; # nothing", "ends too early", None),
]


@pytest.mark.parametrize(("text", "message", "place"), BAD)
def test_bad_equations(text, message, place):
    with pytest.raises(EquationError) as caught:
        parse(text, NAMES)
    shown = str(caught.value)
    assert message in shown
    if place is not None:
        line, carets = shown.split("\n")[-2:]
        start = carets.index("^")
        assert line[start : start + carets.count("^")] == place


def test_error_shows_its_line():
    """The error shows the right line."""
    with pytest.raises(EquationError, match=r"\n  w_t = q\*w\n        \^$"):
        parse("u_t = r*u\nw_t = q*w", NAMES)


def test_parse_limits():
    for text in (
        "u" * 20_000,
        "(" * 5_000,
        "-" * 5_000 + "u",
        "u^" * 300 + "u",
        "lap(" + "exp(" * 36 + "u" + ")" * 37,
    ):
        with pytest.raises(EquationError):
            parse(text, NAMES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coordinates": ("x", "x")}, "repeat"),
        ({"coordinates": ("x",), "fields": {"u": ("x",)}, "known": {"u": ()}}, "declared twice"),
        ({"coordinates": ("x",), "fields": {"u": ("z",)}}, "varies over 'z'"),
        ({"coordinates": ("x",), "constants": {"g": float("nan")}}, "finite"),
        ({"coordinates": ("x",), "time": "tau"}, "time coordinate 'tau'"),
    ],
)
def test_bad_names(arguments, message):
    with pytest.raises(EquationError, match=message):
        Names(**arguments)


def test_names_also_a_derivative():
    """A name that is also a derivative."""
    names = Names(("x", "t"), {"u": ("x", "t")}, known={"u_t": ("x", "t")})
    for text in ("u_t = u_xx", "dt(u) = u_xx"):
        with pytest.raises(EquationError, match="also a derivative of 'u'"):
            parse(text, names)
    assert same(residual("u_xx - u", names), sympy.Symbol("u_xx") - sympy.Symbol("u"))


# --- SymPy and callables


def test_sympy_functions_and_plain_symbols_agree_with_text():
    x, y, t, r = sympy.symbols("x y t r", real=True)
    u, k, s = sympy.Function("u")(x, y, t), sympy.Function("k")(x, y), sympy.Function("s")(x, y)
    flux = sum(sympy.Derivative(k * u.diff(c), c) for c in (x, y))
    text = residual("u_t = div(k*grad(u)) + r*u + s")
    assert same(residual(sympy.Eq(u.diff(t), flux + r * u + s)), text)
    assert same(residual(u.diff(t) - flux.doit() - r * u - s), text)
    plain = sympy.Symbol("u")
    mixed = sympy.Derivative(plain, x, 2) - sympy.Symbol("u_yx")
    assert same(residual(mixed), sympy.Symbol("u_xx") - sympy.Symbol("u_xy"))


def test_sympy_errors():
    x, y, t, q = sympy.symbols("x y t q")
    u, s = sympy.Function("u"), sympy.Function("s")
    for expr, message in [
        (u(x, y, t) - q, "'q' is not a name"),
        (u(x), "declared over"),
        (u(x - 1, y, t), "must be coordinates"),
        (s(x, y).diff(x), "known data"),
        (sympy.gamma(u(x, y, t)), "'gamma' is not a function"),
        (sympy.Derivative(u(x, y, t) * q, q), "'q'"),
        (sympy.Eq(1, 2), "was expected"),
    ]:
        with pytest.raises(EquationError, match=message):
            parse(expr, NAMES)
    with pytest.raises(EquationError, match="An equation is"):
        parse(3, NAMES)  # type: ignore[arg-type]


def test_callable():
    burgers = parse(lambda j: j["u_t"] + j["u"] * j["u_x"] - j["nu"] * j["u_xx"], NAMES)
    assert same(burgers.equations[0].residual, residual("u_t + u*u_x = nu*u_xx"))
    assert same(residual(lambda j: j["u_yx"] - sympy.exp(j["g"] * j["u"])), residual("u_xy - exp(g*u)"))
    with pytest.raises(EquationError, match=r"sympy\.exp, not numpy\.exp"):
        parse(lambda j: np.exp(j["u"]), NAMES)
    with pytest.raises(EquationError, match="'v' is not a name"):
        parse(lambda j: j["v"], NAMES)
    with pytest.raises(EquationError, match="returned NoneType"):
        parse(lambda j: None, NAMES)


# --- which variables are fields


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 = div(k*grad(u)) + s", ("u",)),
        ("u_t = v*w_xx + s", ("u", "w")),
        ("u + dx(sin(v)*w) = s", ("v", "w")),
        ("u = s", ()),
        (["u_t = s", "lap(w)"], ("u", "w")),
        (lambda j: j["u_t"] - j["s"] * j["w"], ("u",)),
        (sympy.Function("u")(*symbols("x t")).diff(sympy.Symbol("x")) + sympy.Symbol("w_t"), ("u", "w")),
    ],
)
def test_fields_in(text, expected):
    assert fields_in(text, ("u", "v", "w", "s"), ("x", "t")) == expected


def test_fields_in_with_coordinates():
    over = {"u": ("x", "t"), "c": (), "f": ("t",)}
    assert fields_in("u_t = div(c*f*grad(u))", over, ("x", "t")) == ("u",)
    assert fields_in("dt(c*f*u)", over, ("x", "t")) == ("u", "f")


def test_statements_keep_their_text():
    assert [s.text for s in read(" u_t = u ;\n w = 1 # end")] == ["u_t = u", "w = 1"]


@pytest.mark.parametrize("order", [("x", "y", "t"), ("t", "y", "x"), ("y", "t", "x")])
def test_components_of_a_vector_are_along_x_then_y_in_any_order_of_the_data(order):
    names = Names(order, fields={"u": order}, known={"a": order, "b": order})
    residual = parse("u_t = dot([a, b], grad(u)) + div([0, u])", names).equations[0].residual
    assert str(residual) == "-a*u_x - b*u_y + u_t - u_y"


def test_components_of_a_vector_are_those_of_the_system_in_any_order_of_the_data():
    def polar(*order):
        names = Names(order, fields={"u": order}, system={"system": "polar", "r": "distance"})
        return parse("u_t = dot([1, 0], grad(u))", names).equations[0].residual

    assert polar("theta", "distance", "t") == polar("distance", "theta", "t")
    assert "u_distance" in str(polar("theta", "distance", "t"))
