"""Test functions: what their sums integrate exactly, how errors fall, sums as dense matrices."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import fixed_quad
from scipy.interpolate import make_interp_spline

from mollifier.engines.weak import axes as one_axis
from mollifier.engines.weak.axes import axis_tests
from mollifier.engines.weak.quadrature import Interpolant
from mollifier.mollify.grid import Axis
from mollifier.mollify.kernels import BSpline, Polynomial
from weak_axes import AXES, SPLINES, dense, small_space


def kernel_of(tests, order, density):
    if density:
        return Polynomial(one_axis.test_degree(tests.radius / tests.axis.spacing, order))
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
        expected = [integral(f, tests, c, kernel, k) for c in tests.centres]
        result.append(np.abs(tests.weights[k] @ values - expected).max() * tests.radius**k)
    return np.array(result)


@pytest.mark.parametrize("density", [3.0, SPLINES])
@pytest.mark.parametrize("radius", [0.1, 0.137, 0.3, 0.5])
@pytest.mark.parametrize("name", ["even", "uneven", "short"])
@pytest.mark.parametrize("degree", [0, 1, 4])
def test_quadrature_polynomials(name, radius, density, degree):
    """As far as weights below 1e-11 of the largest are left out."""
    errors = quadrature_errors(AXES[name], radius, lambda x: (x - 0.3) ** degree, density=density)
    assert errors.max() < 1e-9


@pytest.mark.parametrize("density", [3.0, SPLINES])
@pytest.mark.parametrize("name", ["periodic", "uneven and periodic"])
@pytest.mark.parametrize("radius", [0.12, 0.4])
def test_quadrature_periodic_constants(name, radius, density):
    assert quadrature_errors(AXES[name], radius, np.ones_like, density=density).max() < 1e-9


@pytest.mark.parametrize("count", [2, 3, 5])
def test_quadrature_short_axes(count):
    """Polynomials that the nodes determine are integrated exactly."""
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
def test_quadrature_spline_order(order, uneven):
    """A quintic spline leaves O(h^6), or less where errors of neighbours cancel, at one radius."""
    errors = [quadrature_errors(refined(n, uneven), 0.4, wave, density=SPLINES)[order] for n in (16, 31, 61)]
    assert np.log2(errors[0] / errors[2]) / 2 > 5.5
    assert errors[2] < 1e-7


def test_quadrature_trapezoid_order():
    """The kernel's degree grows with the cells in its radius, and with it the order."""
    errors = [quadrature_errors(Axis("x", 0.0, 2.0, n), 0.5, wave).max() for n in (81, 161, 321)]
    assert errors[0] < 2e-6
    assert errors[2] < 1e-8
    assert errors[0] > errors[1] > errors[2]


def test_weights_of_derivatives_sum_to_zero():
    """Derivatives of a constant are nothing, for every radius there is."""
    for axis in AXES.values():
        for cells in (3.0, 5.0, 8.0, 12.0, 19.9, 20.0, 26.0):
            tests = axis_tests(axis, min(cells * axis.spacing, axis.length / 2), 2, 3.0)
            for k in (1, 2):
                assert np.abs(tests.weights[k].sum(1)).max() * tests.radius**k < 1e-7


@pytest.mark.parametrize("points", [np.sort(np.random.default_rng(0).random(60)), 1.5 ** np.arange(15.0)])
@pytest.mark.parametrize("periodic", [False, True])
def test_weights_irregular_nodes_noise(points, periodic):
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
def test_weights_moments(axis, share, density):
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
def test_splines_partition_of_unity(name, radius):
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


ORDERS = [((0, 0, 0), (0, 0, 0)), ((2, 1, 0), (0, 1, 0)), ((1, 0, 0), (2, 0, 0))]
SLABS = [slice(None), slice(0, 5), slice(5, 12)]


@pytest.mark.parametrize("density", [3.0, SPLINES])
@pytest.mark.parametrize(("one", "two"), ORDERS)
@pytest.mark.parametrize("slab", SLABS)
def test_space_dense_matrices(one, two, slab, density):
    """Sums are those of dense matrices, and pairs that are left out do not overlap."""
    grid, tests = small_space(density)
    rng = np.random.default_rng(0)
    values = rng.standard_normal(grid.shape)
    there = np.zeros(grid.shape, dtype=bool)
    there[slab] = True
    a, b, cut = dense(tests, one), dense(tests, two), values.ravel() * there.ravel()
    i, j = tests.pairs
    close = {"rtol": 1e-10, "atol": 1e-10 * np.abs(a).max() * np.abs(b).max()}
    np.testing.assert_allclose(tests.project(values[slab], one, slab), a @ cut, **close)
    np.testing.assert_allclose(tests.squared([(values[slab], one, two)], slab), (a * b) @ cut, **close)
    full = (a * cut) @ b.T
    np.testing.assert_allclose(tests.products([(values[slab], one, two)], slab), full[i, j], **close)
    full[i, j] = 0.0
    assert np.abs(full).max() < 1e-10 * close["atol"] / 1e-10  # pairs left out do not meet


@pytest.mark.parametrize(("one", "two"), ORDERS)
@pytest.mark.parametrize("slab", SLABS)
def test_space_adjoint(one, two, slab):
    """<A x, y> = <x, A' y>."""
    grid, tests = small_space()
    rng = np.random.default_rng(1)
    x = rng.standard_normal(grid.shape)[slab]
    for orders in (one, two):
        found = tests.project(x, orders, slab)
        y = rng.standard_normal(found.shape)
        size = np.linalg.norm(found) * np.linalg.norm(y)
        assert abs(found @ y - np.sum(x * tests.adjoint(y, orders, slab))) < 1e-12 * size


def test_space_sums_of_parts():
    """Sums of several arrays, constant along some axes or not, are those of each; turned, with transposes."""
    grid, tests = small_space()
    rng = np.random.default_rng(4)
    shapes = [grid.shape, grid.shape, (12, 7, 1), (1, 7, 1), (1, 1, 1)]
    values = [np.broadcast_to(rng.standard_normal(s), grid.shape) for s in shapes]
    pairs = [((2, 0, 0), (0, 1, 0)), ((0, 1, 0), (2, 1, 0)), *ORDERS]
    parts = [(v, *two) for v, two in zip(values, pairs, strict=True)]
    for of in (tests.squared, tests.products):
        found, each = of(parts), [of([part]) for part in parts]
        np.testing.assert_allclose(found, sum(each), atol=1e-11 * np.abs(each).max())
    plain, turned = np.zeros((2, tests.size, tests.size))
    plain[tests.pairs], turned[tests.pairs] = tests.products(parts), tests.products(parts, turned=True)
    np.testing.assert_allclose(turned + turned.T, plain + plain.T, atol=1e-11 * np.abs(plain).max())


@pytest.mark.parametrize(("periodic", "degree"), [(True, 5), (False, 5), (False, 3), (False, 1)])
def test_quadrature_interpolant_is_the_spline(periodic, degree):
    """Weights of the data by banded solves are those of the interpolating spline of every unit vector."""
    x = np.sort(np.random.default_rng(0).uniform(0.1, 0.9, 20)) if not periodic else np.arange(20) / 20
    axis = Axis.from_points("x", x, periodic=1.0 if periodic else False)
    found, places = Interpolant(axis, degree), np.linspace(x[0], x[-1], 57)
    edges = np.append(x, axis.upper) if periodic else x
    unit = np.vstack([np.eye(20), np.eye(20)[:1]]) if periodic else np.eye(20)
    spline = make_interp_spline(edges, unit, k=degree, bc_type="periodic" if periodic else None)
    weights = found.from_coefficients(found.functions(places).toarray())
    np.testing.assert_allclose(weights, spline(places), atol=1e-11 * np.abs(spline(places)).max())


@pytest.mark.parametrize("shape", [(12, 7, 1), (1, 7, 1), (12, 1, 4), (1, 1, 1)])
def test_space_broadcast_values(shape):
    """Arrays that repeat along an axis give the sums of the same arrays written out."""
    grid, tests = small_space()
    part = np.random.default_rng(2).standard_normal(shape)
    repeated = np.broadcast_to(part, grid.shape)
    for orders in ((0, 0, 0), (2, 1, 0)):
        expected = tests.project(np.ascontiguousarray(repeated), orders)
        np.testing.assert_allclose(
            tests.project(repeated, orders), expected, atol=1e-12 * dense(tests, orders).max()
        )


def test_space_axis_without_derivatives():
    """Its test functions are its nodes."""
    grid, tests = small_space()
    assert tests.axes[2].count == grid["t"].size
    assert tests.radius["t"] == 0.0
    assert tuple(tests.radius) == grid.names
    assert tests.shape == tuple(a.count for a in tests.axes)
    assert tests.size == np.prod(tests.shape)
