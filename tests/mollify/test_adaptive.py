"""A radius for each place, chosen by the noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import mollifier as mf
from mollifier.errors import GridError
from mollifier.mollify.adaptive import AdaptiveOperator

GRID = mf.Grid(mf.Axis("x", 0.0, 1.0, 301))
X = GRID["x"].points


def front(seed, noise):
    """A narrow front among smooth parts, its slope, and noise."""
    exact = np.tanh((X - 0.5) / 0.02) + 0.5 * np.sin(4 * X)
    slope = 50 / np.cosh((X - 0.5) / 0.02) ** 2 + 2 * np.cos(4 * X)
    return exact + noise * np.random.default_rng(seed).standard_normal(X.size), slope


@pytest.mark.parametrize("seed", range(10, 13))
def test_adaptive_radius_at_a_front_and_beside_it(seed):
    """As good as the best single radius at the front, and more than twice as good beside it."""
    values, slope = front(seed, 0.02)
    adaptive = mf.differentiate(values, GRID, "u_x", radius="adaptive", noise=0.02) - slope
    beside = np.abs(X - 0.5) > 0.15
    single = [mf.differentiate(values, GRID, "u_x", radius=r) - slope for r in np.geomspace(0.012, 0.3, 12)]
    best = min(single, key=lambda e: np.mean(e**2))
    assert np.mean(adaptive**2) < 1.3 * np.mean(best**2)
    assert np.mean(adaptive[beside] ** 2) < 0.25 * np.mean(best[beside] ** 2)


@pytest.mark.parametrize("order", ["u", "u_x", "u_xx", "u_xy"])
def test_adaptive_radius_of_a_polynomial(order):
    """Exact where each radius is, whatever is chosen: to degree order + 2 along each axis."""
    grid = mf.Grid(mf.Axis("x", 0.0, 1.0, 40), mf.Axis("y", 0.0, 2.0, 30))
    x, y = np.meshgrid(*(a.points for a in grid), indexing="ij")
    exact = {"u": x**2 * y**2, "u_x": 2 * x * y**2, "u_xx": 2 * y**2, "u_xy": 4 * x * y}[order]
    found = mf.differentiate(x**2 * y**2, grid, order, radius="adaptive", noise=1e-3)
    assert np.allclose(found, exact, atol=1e-8)


def test_adaptive_radius_of_one_candidate(monkeypatch):
    """With one radius to choose from it is that one."""
    values, _ = front(0, 0.1)
    monkeypatch.setattr("mollifier.mollify.adaptive._SMALLEST", 10.0)
    monkeypatch.setattr("mollifier.mollify.adaptive._FACTOR", 100.0)
    operator = AdaptiveOperator(GRID, (1,), mf.BSpline(7), {"x": "adaptive"}, 0.1)
    same = mf.differentiate(values, GRID, "u_x", radius=10 * GRID["x"].spacing)
    assert operator.cells == [10.0]
    assert np.allclose(operator(values)[0], same, rtol=0, atol=1e-10)


def test_adaptive_radius_along_one_axis_of_several():
    """The others keep theirs, batches choose apart, and periodic axes wrap."""
    grid = mf.Grid(mf.Axis("x", 0.0, 1.0, 100, periodic=True), mf.Axis("t", 0.0, 1.0, 20))
    values = np.random.default_rng(0).standard_normal((2, 100, 20))
    radius = {"x": "adaptive", "t": 0.3}
    found = mf.differentiate(values, grid, ["u", "u_x"], radius=radius, noise=1.0)
    turned = mf.differentiate(np.roll(values, 30, 1), grid, ["u", "u_x"], radius=radius, noise=1.0)
    alone = mf.differentiate(values[1], grid, "u", radius=radius, noise=1.0)
    assert np.allclose(turned["u_x"], np.roll(found["u_x"], 30, 1))
    assert np.allclose(found["u"][1], alone)
    assert found["u"].std() < 0.2


def test_adaptive_radius_of_a_dataset():
    """The noise is estimated, and other dimensions are left alone."""
    values, slope = front(0, 0.02)
    array = xr.DataArray(
        np.stack([values, front(1, 0.02)[0]]), {"run": [0, 1], "x": X}, ("run", "x"), name="u"
    )
    found = array.to_dataset().mollifier.differentiate("u_x", radius="adaptive")
    assert found.dims == ("run", "x")
    assert np.sqrt(np.mean((found.values[0] - slope) ** 2)) < 0.1 * np.sqrt(np.mean(slope**2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"radius": "adaptive"}, "with noise=None; the standard deviation"),
        ({"radius": "adaptive", "noise": 0.1, "boundary": "trim"}, "which takes 'one-sided'"),
        ({"radius": "wide"}, "a number or 'adaptive' was expected"),
        ({"radius": {"x": "adaptive", "y": 0.1}, "noise": 0.1}, "y"),
    ],
)
def test_adaptive_radius_that_is_refused(options, words):
    """What was given, and what was expected."""
    with pytest.raises(GridError, match=words):
        mf.differentiate(np.zeros(301), GRID, "u_x", **options)


def test_adaptive_radius_of_a_tensor():
    """Choices have no gradient."""
    with pytest.raises(GridError, match="takes NumPy arrays"):
        mf.differentiate(torch.zeros(301), GRID, "u", radius="adaptive", noise=0.1)
