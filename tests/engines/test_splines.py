"""Splines for unknowns: values, slopes, penalties, and fields over some of the axes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import fixed_quad

from mollifier.engines.splines.basis import AxisSplines, Basis
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.orders import Derivative
from weak_axes import AXES, small_space


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
def test_mass_is_the_mean_square(name):
    axis, s = AXES[name], splines(name)
    basis = Basis("k", {"x": s}, Grid(axis))
    c = np.random.default_rng(3).standard_normal(s.size)
    cells = 9 if axis.periodic else 4
    edges = np.linspace(axis.lower, axis.upper, cells + 1)
    total = sum(fixed_quad(lambda x: (s.matrix(0, x) @ c) ** 2, a, b, n=8)[0] for a, b in pairwise(edges))
    assert c @ basis.mass @ c == pytest.approx(total / axis.length, rel=1e-10)


def test_mass_over_two_axes():
    """The mean square of f = x y."""
    grid = Grid(Axis("x", -1.0, 1.0, 9), Axis("y", -1.0, 1.0, 8))
    basis = Basis("k", {a.name: AxisSplines(a, 7, 5) for a in grid}, grid)
    values = np.multiply.outer(grid["x"].points, grid["y"].points).ravel()
    c = np.linalg.lstsq(basis.at(grid), values, rcond=None)[0]
    assert c @ basis.mass @ c == pytest.approx(1 / 9, rel=1e-8)


def test_a_field_over_some_of_the_axes():
    grid, _ = small_space()
    basis = Basis("k", {"y": AxisSplines(grid["y"], 6, 3)}, grid)
    c = np.random.default_rng(4).standard_normal(6)
    found = basis.evaluate(c, Derivative.parse("k_y", ["y"]))
    assert found.shape == (1, 7, 1)
    np.testing.assert_allclose(found[0, :, 0], basis.splines["y"].matrix(1) @ c)
    np.testing.assert_allclose(basis.at(grid.subgrid(["y"])), basis.splines["y"].matrix(0))
