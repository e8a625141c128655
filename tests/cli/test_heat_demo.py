"""The truth behind the heat demonstration, and how fields are scored."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.interpolate import RectBivariateSpline

from mollifier.cli.demos import heat
from mollifier.cli.demos.registry import DEMOS
from mollifier.diagnostics import scores
from mollifier.problem.problem_file import load
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


def test_the_truth_converges_at_second_order():
    """Against four times finer cells at common points, away from the interpolation's own error."""
    axis = np.linspace(0.05, 0.95, 37)

    def at(cells):
        x, u = heat.finite_volumes(cells)
        padded = np.concatenate([[0.0], x, [1.0]])
        return RectBivariateSpline(padded, padded, np.pad(u, 1))(axis, axis)

    fine = at(192)
    errors = [np.abs(at(n) - fine).max() for n in (12, 24, 48)]
    slopes = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (slopes > 1.7).all()
    assert errors[-1] < 1e-2


def test_the_truth_solves_a_manufactured_problem(monkeypatch):
    """u = sin(pi x) sin(pi y) with k = 1 + x: -div(k grad u) is the source."""
    monkeypatch.setattr(heat, "conductivity", lambda x, y: 1 + x)
    pi = np.pi
    monkeypatch.setattr(
        heat,
        "source",
        lambda x, y: (
            2 * pi**2 * (1 + x) * np.sin(pi * x) * np.sin(pi * y) - pi * np.cos(pi * x) * np.sin(pi * y)
        ),
    )
    errors = []
    for cells in (16, 32, 64):
        x, u = heat.finite_volumes(cells)
        errors.append(np.abs(u - np.sin(pi * x)[:, None] * np.sin(pi * x)).max())
    slopes = np.log2(np.divide(errors[:-1], errors[1:]))
    assert slopes == pytest.approx([2.0, 2.0], abs=0.15)


def test_measurements_repeat_and_carry_their_noise():
    one, two = heat.measurements(200, rng=3, cells=32), heat.measurements(200, rng=3, cells=32)
    assert one.observations.digest() == two.observations.digest()
    assert heat.measurements(200, rng=4, cells=32).observations.digest() != one.observations.digest()
    exact = heat.measurements(200, noise=0.0, rng=3, cells=32).observations.samples("u").values
    error = one.observations.samples("u").values - exact
    assert np.std(error) == pytest.approx(0.02 * np.sqrt(np.mean(exact**2)), rel=0.2)
    assert one.observations.units == {"x": "m", "y": "m", "u": "K", "s": "W/m^3"}


def test_the_conductivity_lies_where_it_is_said_to():
    k = heat.measurements(50, cells=32).truth["k"]
    assert 0.4 < float(k.min()) < 0.9
    assert 1.5 < float(k.max()) < 2.1


@pytest.mark.slow
def test_a_quick_demo_leaves_a_problem_file_that_can_be_solved(tmp_path):
    solution, truth, found = DEMOS["heat"](tmp_path, quick=True)
    assert found["u"].relative_l2 < 0.05
    assert found["k"].relative_l2 < 0.2
    assert set(truth.data_vars) == {"u", "k"}
    assert (solution.dataset["k"].values > 0).all()
    problem = load(tmp_path / "problem.yaml").problem()
    assert problem.fields == ("u",)
    assert problem.known == ("s",)


def test_scores_know_an_error_when_they_see_one():
    x = np.linspace(0, 1, 21)
    exact = xr.DataArray(np.sin(3 * x) + 2, {"x": x})
    perfect = scores.compare(exact, exact)
    assert (perfect.relative_l2, perfect.interior, perfect.largest) == (0.0, 0.0, 0.0)
    assert perfect.correlation == pytest.approx(1.0)
    scaled = scores.compare(1.1 * exact, exact)
    assert scaled.relative_l2 == pytest.approx(0.1)
    assert scaled.correlation == pytest.approx(1.0)
    edge = exact.copy()
    edge[0] += 1.0
    assert scores.compare(edge, exact).interior == 0.0
    assert scores.compare(edge, exact).largest == pytest.approx(1.0)
    assert "relative L2 0.1000" in str(scaled)


def test_fields_are_scored_on_the_grid_of_the_truth():
    coarse, fine = np.linspace(0.001, 0.999, 41), np.linspace(0, 1, 65)
    found = xr.Dataset({"k": ("x", np.sin(3 * coarse)), "residual": ("x", 0 * coarse)}, {"x": coarse})
    rows, steps = xr.Dataset({"u": ("observation", [])}), xr.Dataset({"loss": ("step", [])})
    solution = Solution(Status("converged"), {}, found, rows, steps, {})
    truth = xr.Dataset({"k": ("x", np.sin(3 * fine)), "u": ("x", fine)}, {"x": fine})
    result = scores.score(solution.dataset, truth)
    assert set(result) == {"k"}
    assert result["k"].relative_l2 < 2e-3
    assert result["k"].interior < 1e-5
