"""Sums over the data: test functions, splines for unknowns, and what noise does to products of sums."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import fixed_quad

from mollifier.engines.weak import sums as sums_module
from mollifier.engines.weak import testspace
from mollifier.engines.weak.form import weak_form
from mollifier.engines.weak.integrands import Integrands
from mollifier.engines.weak.sums import Measured, Sums
from mollifier.engines.weak.testspace import axis_tests, space
from mollifier.equations import Names, parse
from mollifier.equations.lower import ArrayFunction
from mollifier.grid import Axis, Grid
from mollifier.kernels import BSpline, Polynomial
from mollifier.orders import Derivative
from mollifier.splines import AxisSplines, Basis

SPLINES = 0.0  # the density that asks for spline test functions
GAPS = np.random.default_rng(0).uniform(0.5, 1.5, 40)
UNEVEN = Axis.from_points("x", 2 * np.cumsum(GAPS) / GAPS.sum())
AXES = {
    "even": Axis("x", -1.0, 1.0, 41),
    "periodic": Axis("x", 0.0, 2.0, 40, periodic=True),
    "uneven": UNEVEN,
    "uneven and periodic": Axis.from_points("x", UNEVEN.points, periodic=2.06),
    "short": Axis("x", 0.0, 1.0, 5),
}


def kernel_of(tests, order, density):
    if density:
        return Polynomial(testspace.test_degree(tests.radius / tests.axis.spacing, order))
    return BSpline(order + 3)


def integral(f, tests, centre, kernel, order):
    """Of f against a derivative of one test function, piece by piece, where the pieces are smooth."""
    breaks = np.linspace(-1, 1, kernel.degree + 2 if isinstance(kernel, BSpline) else 3)
    pieces = pairwise(breaks)
    r = tests.radius
    return sum(
        fixed_quad(lambda s: kernel(s, order) * f(centre + r * s), a, b, n=40)[0] for a, b in pieces
    ) / (r**order)


def quadrature_errors(axis, radius, f, order=2, density=3.0):
    """Greatest error of the sums of each order, in units of the size of the test function's derivative."""
    tests = axis_tests(axis, radius, order, density)
    kernel = kernel_of(tests, order, density)
    values = f(axis.points)
    result = []
    for k in range(order + 1):
        wanted = [integral(f, tests, c, kernel, k) for c in tests.centres]
        result.append(np.abs(tests.weights[k] @ values - wanted).max() * tests.radius**k)
    return np.array(result)


@pytest.mark.parametrize("density", [3.0, SPLINES])
@pytest.mark.parametrize("radius", [0.1, 0.137, 0.3, 0.5])
@pytest.mark.parametrize("name", ["even", "uneven", "short"])
@pytest.mark.parametrize("degree", [0, 1, 4])
def test_sums_integrate_polynomials_exactly(name, radius, density, degree):
    """As far as weights below 1e-11 of the largest are left out."""
    errors = quadrature_errors(AXES[name], radius, lambda x: (x - 0.3) ** degree, density=density)
    assert errors.max() < 1e-9


@pytest.mark.parametrize("density", [3.0, SPLINES])
@pytest.mark.parametrize("name", ["periodic", "uneven and periodic"])
@pytest.mark.parametrize("radius", [0.12, 0.4])
def test_sums_integrate_constants_exactly_on_periodic_axes(name, radius, density):
    assert quadrature_errors(AXES[name], radius, np.ones_like, density=density).max() < 1e-9


@pytest.mark.parametrize("count", [2, 3, 5])
def test_short_axes_integrate_what_their_nodes_determine(count):
    axis = Axis("x", 0.0, 1.0, count)
    for degree in range(count):
        assert quadrature_errors(axis, 0.5, lambda x, d=degree: x**d).max() < 1e-11


def wave(x):
    return np.sin(3 * x) + np.cos(5 * x)


def refined(count, uneven):
    s = np.linspace(0.0, 2.0, count)
    return Axis.from_points("x", s + 0.1 * np.sin(2.5 * s)) if uneven else Axis("x", 0.0, 2.0, count)


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_spline_rule_gains_six_orders(order, uneven):
    """A quintic spline leaves O(h^6), or less where errors of neighbours cancel, at one radius."""
    errors = [quadrature_errors(refined(n, uneven), 0.4, wave, density=SPLINES)[order] for n in (16, 31, 61)]
    assert np.log2(errors[0] / errors[2]) / 2 > 5.5
    assert errors[2] < 1e-7


def test_the_trapezoidal_rule_gains_with_the_radius_in_cells():
    """The kernel's degree grows with the cells in its radius, and with it the order."""
    errors = [quadrature_errors(Axis("x", 0.0, 2.0, n), 0.5, wave).max() for n in (81, 161, 321)]
    assert errors[0] < 2e-6
    assert errors[2] < 1e-8
    assert errors[0] > errors[1] > errors[2]


def test_a_large_mean_leaves_no_trace_in_derivatives():
    """Derivatives of a constant are nothing, for every radius there is."""
    for axis in AXES.values():
        for cells in (3.0, 5.0, 8.0, 12.0, 19.9, 20.0, 26.0):
            tests = axis_tests(axis, min(cells * axis.spacing, axis.length / 2), 2, 3.0)
            for k in (1, 2):
                assert np.abs(tests.weights[k].sum(1)).max() * tests.radius**k < 1e-7


@pytest.mark.parametrize("points", [np.sort(np.random.default_rng(0).random(60)), 1.5 ** np.arange(15.0)])
@pytest.mark.parametrize("periodic", [False, True])
def test_irregular_nodes_do_not_multiply_noise(points, periodic):
    """White noise of one density passes about as on even nodes, 1.1; a quintic would pass hundreds."""
    axis = Axis.from_points("x", points, periodic=periodic and float(np.ptp(points) * 1.02))
    tests = axis_tests(axis, 0.4 * axis.length, 1, 3.0)
    gain = np.sqrt((tests.weights[0] ** 2 / np.gradient(axis.points)).sum(1) * tests.radius)
    assert gain.max() < 1.3


axes = st.builds(
    lambda gaps, periodic: Axis.from_points("x", np.cumsum(gaps), periodic=periodic and float(sum(gaps))),
    st.lists(st.floats(0.5, 2.0), min_size=6, max_size=24),
    st.booleans(),
)


@given(axes, st.floats(0.05, 0.5), st.sampled_from([3.0, SPLINES]))
def test_weights_of_any_axis(axis, share, density):
    """The zeroth derivative has mass one, the first moment of the first derivative is -1."""
    tests = axis_tests(axis, share * axis.length, 1, density)
    np.testing.assert_allclose(tests.weights[0].sum(1), 1.0, rtol=1e-8)
    assert np.abs(tests.weights[1].sum(1)).max() * tests.radius < 1e-8
    if not axis.periodic:
        x = axis.points - axis.points[0]
        np.testing.assert_allclose(tests.weights[1] @ x, -1.0, rtol=1e-6)
        np.testing.assert_allclose(tests.weights[0] @ axis.points, tests.centres, rtol=1e-8)
        assert tests.centres[0] - tests.radius >= axis.lower - 1e-9
        assert tests.centres[-1] + tests.radius <= axis.upper + 1e-9
    assert tests.count <= axis.size


@pytest.mark.parametrize("name", ["even", "periodic", "uneven", "uneven and periodic"])
@pytest.mark.parametrize("radius", [0.2, 0.33])
def test_spline_test_functions_add_up_to_a_constant(name, radius):
    """Everywhere on a periodic axis; else where no spline beyond the ends would reach."""
    axis = AXES[name]
    tests = axis_tests(axis, radius, 2)
    x = np.linspace(axis.lower, axis.upper, 201)
    if not axis.periodic:
        x = x[(x >= axis.lower + 2 * tests.radius) & (x <= axis.upper - 2 * tests.radius)]
    distance = x - tests.centres[:, None]
    if axis.periodic:
        distance = (distance + axis.length / 2) % axis.length - axis.length / 2
    density = tests.radius * tests.count / axis.length if axis.periodic else 3.0  # six pieces in two radii
    assert len(x) > 20
    np.testing.assert_allclose(BSpline(5)(distance / tests.radius).sum(0), density, rtol=1e-10)


# -- products over axes ----------------------------------------------------------------------------


def small_space(density=3.0):
    grid = Grid(Axis("x", 0.0, 1.0, 12), Axis("y", 0.0, 1.0, 7, periodic=True), Axis("t", 0.0, 1.0, 4))
    return grid, space(grid, {"x": 0.25, "y": 0.4, "t": 0.0}, {"x": 2, "y": 1, "t": 0}, density)


def dense(tests, orders):
    """All weights as one matrix (tests, nodes)."""
    return reduce(np.kron, [a.weights[k] for a, k in zip(tests.axes, orders, strict=True)])


ORDERS = [((0, 0, 0), (0, 0, 0)), ((2, 1, 0), (0, 1, 0)), ((1, 0, 0), (2, 0, 0))]
SLABS = [slice(None), slice(0, 5), slice(5, 12)]


@pytest.mark.parametrize("density", [3.0, SPLINES])
@pytest.mark.parametrize(("one", "two"), ORDERS)
@pytest.mark.parametrize("slab", SLABS)
def test_sums_are_those_of_dense_matrices(one, two, slab, density):
    grid, tests = small_space(density)
    rng = np.random.default_rng(0)
    values = rng.standard_normal(grid.shape)
    there = np.zeros(grid.shape, dtype=bool)
    there[slab] = True
    a, b, cut = dense(tests, one), dense(tests, two), values.ravel() * there.ravel()
    i, j = tests.pairs
    close = {"rtol": 1e-10, "atol": 1e-10 * np.abs(a).max() * np.abs(b).max()}
    np.testing.assert_allclose(tests.project(values[slab], one, slab), a @ cut, **close)
    np.testing.assert_allclose(tests.squared(values[slab], one, two, slab), (a * b) @ cut, **close)
    full = (a * cut) @ b.T
    np.testing.assert_allclose(tests.products(values[slab], one, two, slab), full[i, j], **close)
    full[i, j] = 0.0
    assert np.abs(full).max() < 1e-10 * close["atol"] / 1e-10  # pairs left out do not meet


@pytest.mark.parametrize(("one", "two"), ORDERS)
@pytest.mark.parametrize("slab", SLABS)
def test_adjoints(one, two, slab):
    """<A x, y> = <x, A' y>."""
    grid, tests = small_space()
    rng = np.random.default_rng(1)
    x = rng.standard_normal(grid.shape)[slab]
    for forward, back, arguments in (
        (tests.project, tests.adjoint, (one,)),
        (tests.squared, tests.squared_adjoint, (one, two)),
        (tests.products, tests.products_adjoint, (one, two)),
    ):
        found = forward(x, *arguments, slab)
        y = rng.standard_normal(found.shape)
        size = np.linalg.norm(found) * np.linalg.norm(y)
        assert abs(found @ y - np.sum(x * back(y, *arguments, slab))) < 1e-12 * size


@pytest.mark.parametrize("shape", [(12, 7, 1), (1, 7, 1), (12, 1, 4), (1, 1, 1)])
def test_repeated_values_need_not_be_written_out(shape):
    grid, tests = small_space()
    part = np.random.default_rng(2).standard_normal(shape)
    repeated = np.broadcast_to(part, grid.shape)
    for orders in ((0, 0, 0), (2, 1, 0)):
        wanted = tests.project(np.ascontiguousarray(repeated), orders)
        np.testing.assert_allclose(
            tests.project(repeated, orders), wanted, atol=1e-12 * dense(tests, orders).max()
        )


def test_an_axis_along_which_nothing_is_differentiated_keeps_its_nodes():
    grid, tests = small_space()
    assert tests.axes[2].count == grid["t"].size
    assert tests.radius["t"] == 0.0
    assert tests.grid.names == grid.names
    assert tests.shape == tests.grid.shape
    assert tests.size == np.prod(tests.shape)


# -- splines for unknowns --------------------------------------------------------------------------


def splines(name, size=9, degree=5):
    return AxisSplines(AXES[name], size, degree)


@pytest.mark.parametrize("name", ["even", "uneven", "periodic"])
def test_splines_add_up_to_one_and_have_the_slopes_of_their_values(name):
    s, axis = splines(name), AXES[name]
    x, h = np.linspace(axis.lower, axis.upper, 23)[1:-1], 1e-5 * axis.length
    np.testing.assert_allclose(s.matrix(0).sum(1), 1.0, rtol=1e-12)
    for order in (1, 2, 3):
        central = (s.matrix(order - 1, x + h) - s.matrix(order - 1, x - h)) / (2 * h)
        size = np.abs(s.matrix(order, x)).max()
        # Central differences err by h^2 times the third derivative, and by rounding over h.
        np.testing.assert_allclose(s.matrix(order, x), central, atol=1e-6 * size)


def test_splines_hold_polynomials_of_their_degree():
    s, axis = splines("uneven"), AXES["uneven"]
    x = np.linspace(axis.lower, axis.upper, 60)
    p = np.polynomial.Polynomial([0.3, -1.0, 0.5, 0.2, -0.1, 0.4])
    coefficients = np.linalg.lstsq(s.matrix(0, x), p(x), rcond=None)[0]
    for order in range(6):
        exact = p.deriv(order)(axis.points) if order else p(axis.points)
        np.testing.assert_allclose(s.matrix(order) @ coefficients, exact, atol=1e-8)


def test_periodic_splines_wrap():
    s, axis = splines("periodic"), AXES["periodic"]
    for order in range(5):  # of degree 5, the fourth derivative is continuous
        ends = s.matrix(order, np.array([axis.lower, axis.upper]))
        np.testing.assert_allclose(ends[0], ends[1], atol=1e-9 * np.abs(ends).max())


@pytest.mark.parametrize("name", ["even", "periodic"])
@pytest.mark.parametrize("order", [0, 1, 2, 4])
def test_the_penalty_is_the_mean_squared_derivative(name, order):
    axis, s = AXES[name], splines(name)
    basis = Basis("k", {"x": s}, Grid(axis))
    c = np.random.default_rng(3).standard_normal(s.size)
    cells = 9 if axis.periodic else 4
    edges = np.linspace(axis.lower, axis.upper, cells + 1)
    total = sum(fixed_quad(lambda x: (s.matrix(order, x) @ c) ** 2, a, b, n=8)[0] for a, b in pairwise(edges))
    wanted = total / axis.length * (axis.length / 2) ** (2 * order)
    assert c @ basis.penalty(order) @ c == pytest.approx(wanted, rel=1e-10)


def test_the_penalty_over_two_axes_counts_mixed_derivatives_twice():
    """For f = x y the second derivatives per half-length are one mixed one, there both ways round."""
    grid = Grid(Axis("x", -1.0, 1.0, 9), Axis("y", -1.0, 1.0, 8))
    basis = Basis("k", {a.name: AxisSplines(a, 7, 5) for a in grid}, grid)
    values = np.multiply.outer(grid["x"].points, grid["y"].points).ravel()
    c = np.linalg.lstsq(basis.at(grid), values, rcond=None)[0]
    assert c @ basis.penalty(2) @ c == pytest.approx(2.0, rel=1e-8)
    assert c @ basis.penalty(1) @ c == pytest.approx(2 / 3, rel=1e-8)  # mean x^2 + mean y^2
    assert c @ basis.penalty(0) @ c == pytest.approx(1 / 9, rel=1e-8)


def test_a_field_over_some_of_the_axes():
    grid, _ = small_space()
    basis = Basis("k", {"y": AxisSplines(grid["y"], 6, 3)}, grid)
    c = np.random.default_rng(4).standard_normal(6)
    found = basis.evaluate(c, Derivative.parse("k_y", ["y"], ["k"]))
    assert found.shape == (1, 7, 1)
    np.testing.assert_allclose(found[0, :, 0], basis.splines["y"].matrix(1) @ c)
    np.testing.assert_allclose(basis.at(grid.subgrid(["y"])), basis.splines["y"].matrix(0))


# -- rows, slopes, covariance, bias ----------------------------------------------------------------

NAMES = Names(
    ("x", "t"),
    {"u": ("x", "t"), "v": ("x", "t")},
    {"a": (), "b": (), "k": ("x",)},
    {"s": ("x", "t")},
)
SYSTEMS = {
    "numbers": "u_t + a*u*u_x = b*u_xx",
    "a field": "u_t = div(k*grad(u)) + a*s*u",
    "two equations": "u_t = a*u_xx - u*v + s; v_t = b*v_xx + a*b*u^2",
    "a product of a field and a number": "u_t = a*k*u + b*v_x; v_t = k*u^2",
}


def problem(name, noise=0.3, sizes=(9, 6), density=3.0):
    """Sums over a small grid with uneven variances, coefficients, and the true fields."""
    form = weak_form(parse(SYSTEMS[name], NAMES))
    x, t = Axis("x", 0.0, 1.0, sizes[0]), Axis("t", 0.0, 1.0, sizes[1])
    grid = Grid(x, t)
    mesh = np.meshgrid(x.points, t.points, indexing="ij")
    true = {"u": 1 + np.sin(2 * mesh[0] + mesh[1]), "v": np.cos(mesh[0] * mesh[1] + 1)}
    known = {"s": 1 + mesh[0] ** 2 + mesh[1], "s_x": 2 * mesh[0]}
    variances = {n: noise**2 * (1 + mesh[0] * mesh[1]) for n in form.fields}
    measured = Measured(grid, {n: true[n] for n in form.fields} | known, variances)
    unknown = [n for n in "abk" if any(d.field == n for d in form.unknowns)]
    bases = [Basis(n, {"x": AxisSplines(x, 5, 3)} if n == "k" else {}, grid) for n in unknown]
    sums = Sums(Integrands(form), measured, bases)
    coefficients = 0.5 + np.random.default_rng(5).random(sums.size)
    orders = {c: max(ch.orders[i] for ch in form.channels) for i, c in enumerate(grid.names)}
    tests = space(grid, {"x": 0.4, "t": 0.5 if orders["t"] else 0.0}, orders, density)
    return sums, tests, coefficients, true


def with_values(sums, values):
    m = sums.measured
    return Sums(sums.integrands, Measured(m.grid, {**m.values, **values}, m.variances), sums.bases)


@pytest.mark.parametrize("name", SYSTEMS)
def test_rows_are_projections_of_the_integrands(name):
    sums, tests, coefficients, _ = problem(name, noise=0.0)
    rows = sums.rows(tests, coefficients)
    env = sums.measured.env(slice(None))
    for u in sums.form.unknowns:
        basis = next(b for b in sums.bases if b.name == u.field)
        env[u.name] = basis.evaluate(coefficients[sums.place[u.field]], u)
    wanted = np.zeros((sums.equations, tests.size))
    for c in sums.form.channels:
        f = ArrayFunction(c.integrand)(env)
        wanted[c.equation] += dense(tests, c.orders) @ np.broadcast_to(f, sums.measured.grid.shape).ravel()
    np.testing.assert_allclose(rows.residuals, wanted.ravel(), atol=1e-11 * np.abs(wanted).max())
    assert not rows.variances.any()


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("density", [3.0, SPLINES])
def test_slopes_are_those_of_the_rows(name, density):
    """Central differences; exact but for rounding, for residuals of second degree in the unknowns."""
    sums, tests, coefficients, _ = problem(name, density=density)
    slopes = sums.rows(tests, coefficients).slopes.toarray()
    step = 1e-2
    for i, e in enumerate(np.eye(sums.size)):
        up, down = (sums.rows(tests, coefficients + d * step * e).residuals for d in (1, -1))
        np.testing.assert_allclose(
            slopes[:, i], (up - down) / (2 * step), atol=1e-10 * np.abs(slopes).max() + 1e-10
        )


@pytest.mark.parametrize("name", SYSTEMS)
def test_variances_spread_and_covariance_agree(name):
    sums, tests, coefficients, _ = problem(name)
    covariance = sums.covariance(tests, coefficients)
    np.testing.assert_allclose(covariance, covariance.T)
    size = 1e-11 * np.abs(covariance).max()
    np.testing.assert_allclose(np.diag(covariance), sums.rows(tests, coefficients).variances, atol=size)
    weighted = np.random.default_rng(6).standard_normal((len(covariance), 3))
    wanted = weighted.T @ covariance @ weighted
    np.testing.assert_allclose(
        sums.spread(tests, coefficients, weighted), wanted, atol=1e-11 * np.abs(wanted).max()
    )


def hermite(sums):
    """Points and weights of a mean over normal noise of every field; exact for polynomials of degree 11."""
    z, w = np.polynomial.hermite_e.hermegauss(6)
    fields = sums.form.fields
    points = np.stack(np.meshgrid(*[z] * len(fields), indexing="ij"), -1).reshape(-1, len(fields))
    weights = reduce(np.multiply.outer, [w / w.sum()] * len(fields)).ravel()
    return [
        (weight, dict(zip(fields, point, strict=True))) for weight, point in zip(weights, points, strict=True)
    ]


def moved(sums, true, z, node=slice(None)):
    """The sums with values off by z standard errors, everywhere or at one node."""
    values = {n: v.copy() for n, v in true.items() if n in sums.form.fields}
    for n, v in values.items():
        v.flat[node] += z[n] * np.sqrt(sums.measured.variances[n].flat[node])
    return with_values(sums, values)


def exact_covariances(sums, tests, coefficients, true, weights):
    """Of the rows with each other, and what noise adds to G'Wr and G'WG.

    Rows and slopes are sums over nodes, whose noise is independent: the covariances of one node's parts,
    found with all others held, add up.
    """
    total = [0.0, 0.0, 0.0]
    for node in range(sums.measured.grid.size):
        means, products = [0.0, 0.0], [0.0, 0.0, 0.0]
        for weight, z in hermite(sums):
            rows = moved(sums, true, z, node).rows(tests, coefficients)
            r, g = rows.residuals, rows.slopes.toarray()
            for k, value in enumerate((r, g)):
                means[k] = means[k] + weight * value
            for k, value in enumerate((np.outer(r, r), g.T @ weights @ r, g.T @ weights @ g)):
                products[k] = products[k] + weight * value
        r, g = means
        for k, value in enumerate((np.outer(r, r), g.T @ weights @ r, g.T @ weights @ g)):
            total[k] = total[k] + products[k] - value
    return total


@pytest.mark.parametrize("density", [3.0, SPLINES])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", SYSTEMS)
def test_noise_is_allowed_for_on_average_exactly(name, whole, density):
    """Integrands are polynomials of the fields: Gauss-Hermite quadrature leaves rounding only."""
    sums, tests, coefficients, true = problem(name, sizes=(6, 3), density=density)
    rng, count = np.random.default_rng(8), sums.equations * tests.size
    diagonal = rng.random(count)
    weights = diagonal
    if whole:
        half = rng.standard_normal((count, count))
        weights = half @ half.T
    matrix = weights if whole else np.diag(diagonal)
    wanted = exact_covariances(sums, tests, coefficients, true, matrix)
    found = [0.0, 0.0, 0.0]
    for weight, z in hermite(sums):
        one = moved(sums, true, z)
        parts = (one.covariance(tests, coefficients), *one.bias(tests, coefficients, weights))
        found = [f + weight * p for f, p in zip(found, parts, strict=True)]
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, atol=1e-9 * np.abs(w).max())
    assert np.abs(wanted[1]).max() > 0


@pytest.mark.parametrize("name", SYSTEMS)
def test_rows_and_slopes_are_unbiased(name):
    sums, tests, coefficients, true = problem(name)
    clean = with_values(sums, true)
    clean = Sums(
        clean.integrands,
        Measured(clean.measured.grid, clean.measured.values, {n: np.zeros(()) for n in sums.form.fields}),
        clean.bases,
    ).rows(tests, coefficients)
    means = [0.0, 0.0]
    for weight, z in hermite(sums):
        rows = moved(sums, true, z).rows(tests, coefficients)
        means = [m + weight * p for m, p in zip(means, (rows.residuals, rows.slopes.toarray()), strict=True)]
    for mean, wanted in zip(means, (clean.residuals, clean.slopes.toarray()), strict=True):
        np.testing.assert_allclose(mean, wanted, atol=1e-11 * np.abs(wanted).max())


@pytest.mark.parametrize("name", SYSTEMS)
def test_slabs_add_up(name, monkeypatch):
    def everything():
        sums, tests, coefficients, _ = problem(name, density=SPLINES)
        rows = sums.rows(tests, coefficients)
        weights = np.linspace(1, 2, len(rows.residuals))
        columns = np.outer(weights, [1.0, 0.5])
        columns[::2, 1] = 0.0
        return [
            rows.residuals,
            rows.slopes.toarray(),
            rows.variances,
            sums.covariance(tests, coefficients),
            *sums.bias(tests, coefficients, weights),
            *sums.bias(tests, coefficients, np.diag(weights)),
            sums.spread(tests, coefficients, columns),
        ]

    whole = everything()
    monkeypatch.setattr(sums_module, "_SLAB", 20)
    assert len(problem(name)[0].measured.slabs()) > 2
    for a, b in zip(everything(), whole, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12 * np.abs(b).max())
