"""Parts of a validation: differences on a grid, and the misfit of errors with its interval."""

import numpy as np
import pytest
from scipy.stats import chi2

from mollifier.data.neighbours import neighbour_correlation
from mollifier.diagnostics.validation import finite_differences as finite
from mollifier.diagnostics.validation.verdict import misfit
from mollifier.mollify.grid import Axis, Grid


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_differences_are_of_fourth_order(order):
    errors = []
    for n in (40, 80):
        x = Axis("x", 0.0, 2 * np.pi, n, periodic=True)
        exact = np.sin(x.points + order * np.pi / 2)
        errors.append(np.abs(finite.matrix(Grid(x), {"x": order}) @ np.sin(x.points) - exact).max())
    assert 13 < errors[0] / errors[1] < 19


def test_differences_leave_out_what_they_cannot_reach():
    grid = Grid(Axis("x", 0, 1, 11), Axis("y", 0, 1, 9))
    d = finite.matrix(grid, {"x": 1, "y": 2})
    x, y = np.meshgrid(*(a.points for a in grid), indexing="ij")
    inner = finite.inner(grid, {"x": 1, "y": 2})
    assert inner.sum() == 7 * 5
    np.testing.assert_allclose((d @ (x**3 * y**4).ravel()).reshape(11, 9)[inner], (36 * x**2 * y**2)[inner])


def test_white_errors_are_white_and_others_are_not():
    """The chance is uniform under noise, of any distribution and over any points; what is shared is found."""
    chances = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        points = rng.random((150, 2)) ** 2
        chances.append(neighbour_correlation(rng.standard_t(5, 150), points)[1])
    assert 0.02 <= np.mean(np.array(chances) < 0.05) <= 0.09
    assert 0.4 < np.mean(chances) < 0.6
    rng = np.random.default_rng(0)
    points = rng.random((1000, 2))
    shared, chance = neighbour_correlation(rng.standard_normal(1000) + 0.5 * np.sin(9 * points[:, 0]), points)
    assert chance < 1e-6
    assert shared == pytest.approx(0.5 / np.sqrt(2), rel=0.25)


def test_shared_errors_do_not_depend_on_units():
    """Places along one axis in metres and along the other in milliseconds have the same neighbours."""
    rng = np.random.default_rng(0)
    points = rng.random((300, 2))
    errors = rng.standard_normal(300) + np.sin(9 * points.sum(axis=1))
    found = neighbour_correlation(errors, points)
    assert neighbour_correlation(errors, points * [1.0, 1000.0]) == pytest.approx(found)
    assert neighbour_correlation(errors, np.insert(points, 1, 3.0, axis=1)) == pytest.approx(found)


def test_chance_of_a_misfit_counts_five_measurements_as_one():
    found = misfit(np.full(40, 1.5), np.zeros((40, 1)))
    assert found.ratio == pytest.approx(2.25)
    assert found.p == pytest.approx(chi2.sf(2.25 * 8, 8))


def test_the_interval_of_the_misfit_covers():
    inside = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = misfit(1.5 * rng.standard_normal(40), rng.random((40, 1)))
        inside += found.low < 1.5**2 < found.high
    assert 180 <= inside <= 198
    assert misfit(np.zeros(0), np.zeros((0, 1))) is None
    assert misfit(np.ones(3), np.zeros((3, 1))).p_white is None
