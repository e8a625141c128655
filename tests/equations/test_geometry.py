"""Operators in curvilinear coordinates, against functions whose Laplacian is known in straight ones."""

import numpy as np
import pytest
import sympy

import mollifier as mf
from mollifier.equations.geometry import geometry
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.errors import EquationError

R, THETA, PHI, Z = sympy.symbols("r theta phi z", positive=True)
LON, LAT = sympy.symbols("lon lat")
DEG = sympy.pi / 180
PLANE = {"x": R * sympy.cos(THETA), "y": R * sympy.sin(THETA), "z": Z}
SPACE = {
    "x": R * sympy.sin(THETA) * sympy.cos(PHI),
    "y": R * sympy.sin(THETA) * sympy.sin(PHI),
    "z": R * sympy.cos(THETA),
}
# System, coordinates, straight coordinates in terms of them, and what the residual was multiplied by.
CASES = [
    ("polar", ("r", "theta"), PLANE, R**2),
    ("cylindrical", ("z", "r", "theta"), PLANE, R**2),
    ("spherical", ("r", "theta", "phi"), SPACE, R**2 * sympy.sin(THETA) ** 2),
]


def residual(text: str, system, coordinates, values) -> sympy.Expr:
    """The residual of an equation of u and k, with expressions put in place of the symbols."""
    names = Names(coordinates, {"u": coordinates}, {"k": coordinates}, system=system)
    found = parse(text, names).equations[0].residual
    place = {}
    for symbol in found.free_symbols:
        name = names.resolve(str(symbol)).derivative
        if name.field in values:
            along = [(sympy.Symbol(c, positive=True), n) for c, n in name.orders]
            place[symbol] = sympy.diff(values[name.field], *along) if along else values[name.field]
        else:
            place[symbol] = sympy.Symbol(str(symbol), positive=True)
    return found.subs(place)


def at_random(expression: sympy.Expr, seed: int = 0) -> float:
    """An expression's value at one place."""
    rng = np.random.default_rng(seed)
    return float(
        expression.subs({s: rng.uniform(0.3, 1.2) for s in sorted(expression.free_symbols, key=str)})
    )


@pytest.mark.parametrize(("system", "coordinates", "straight", "factor"), CASES)
@pytest.mark.parametrize("operator", ["div(k*grad(u))", "lap(u)", "dot(grad(u), grad(k))", "bilap(u)"])
def test_operators_agree_with_straight_coordinates(system, coordinates, straight, factor, operator):
    """The Laplacian, divergence and gradient of functions of x, y, z, computed in x, y, z."""
    x, y, z = xyz = sympy.symbols("x y z")
    third = z if len(coordinates) > 2 else 1
    u, k = x**2 * y**3 * third + sympy.sin(x), 1 + x * y**2 * third**2
    lap = lambda f: sum(sympy.diff(f, c, 2) for c in xyz)  # noqa: E731
    expected = {
        "div(k*grad(u))": sum(sympy.diff(k * sympy.diff(u, c), c) for c in xyz),
        "lap(u)": lap(u),
        "dot(grad(u), grad(k))": sum(sympy.diff(u, c) * sympy.diff(k, c) for c in xyz),
        "bilap(u)": lap(lap(u)),
    }[operator]
    place = {x: straight["x"], y: straight["y"], z: straight.get("z", 1)}
    values = {"u": u.subs(place), "k": k.subs(place)}
    found = residual(f"{operator} = 0", system, coordinates, values)
    power = factor**2 if operator == "bilap(u)" else factor
    for seed in range(3):
        assert at_random(found, seed) == pytest.approx(
            at_random((expected * power).subs(place), seed), rel=1e-9
        )


def test_spherical_harmonics_are_eigenfunctions_in_degrees():
    """On a sphere of radius 2 the harmonic of degree 2 has the eigenvalue -6/4."""
    names = Names(
        ("lon", "lat"), {"u": ("lon", "lat")}, {"k": ()}, system={"system": "lonlat", "radius": 2.0}
    )
    equation = parse("lap(u) = k*u", names).equations[0]
    u = sympy.sin(LAT * DEG) * sympy.cos(LAT * DEG) * sympy.cos(LON * DEG)
    place = {"lon": 20.0, "lat": 35.0, "k": -1.5}
    env = {}
    for name in equation.symbols:
        d = names.resolve(name).derivative
        env[name] = place.get(name)
        if d.field == "u":
            value = sympy.diff(u, *((sympy.Symbol(c), n) for c, n in d.orders)) if d.total else u
            env[name] = float(value.subs({LON: 20.0, LAT: 35.0}))
    assert equation.evaluate(env) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("given", "spatial", "message"),
    [
        ("polarr", ("r",), "Did you mean 'polar'"),
        ("polar", ("x", "y"), r"'r': 'x'"),
        ("polar", ("r", "theta", "z"), "not those of the polar"),
        ({"system": "polar", "r": "rr"}, ("r",), "Did you mean 'r'"),
        ({"system": "polar", "q": "r"}, ("r",), "'q' is no part of polar"),
        ("lonlat", ("lon",), "'lat' is needed"),
        ("spherical", ("theta", "phi"), "the radius is needed"),
        ({"system": "lonlat", "radius": -1}, ("lat",), "given as -1"),
    ],
)
def test_wrong_geometries_are_refused(given, spatial, message):
    with pytest.raises(EquationError, match=message):
        geometry(given, spatial)


def test_a_rate_is_found_on_a_disc_with_its_axis():
    """Two Bessel modes decay on a disc, r = 0 in the data: the diffusivity is found."""
    import xarray as xr
    from scipy.special import j0, jn_zeros

    r, t = np.linspace(0, 1, 21), np.linspace(0, 1, 25)
    a, b = jn_zeros(0, 2)
    u = j0(a * r)[:, None] * np.exp(-0.2 * a**2 * t) + 0.5 * j0(b * r)[:, None] * np.exp(-0.2 * b**2 * t)
    u = u + 0.005 * np.random.default_rng(0).normal(size=u.shape)
    data = mf.Observations.from_dataset(xr.Dataset({"u": (("r", "t"), u)}, {"r": r, "t": t}))
    problem = mf.InverseProblem(
        "u_t = D*lap(u) + s*u", data, {"D": mf.ScalarUnknown(), "s": mf.ScalarUnknown()}, geometry="polar"
    )
    found = mf.solve(problem, engine="joint")
    for name, truth in (("D", 0.2), ("s", 0.0)):
        low, high = found.estimates[name].interval(0.99)
        assert low < truth < high
    assert abs(found.estimates["D"].value - 0.2) < 0.01
    assert found.provenance["geometry"] == "polar"
    assert mf.validate(found).status == "holds"  # from the solution alone
