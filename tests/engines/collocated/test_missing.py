"""The score test of missing terms: calibrated on right answers, and it finds what the misfit does not."""

from __future__ import annotations

import numpy as np
import pytest

import mollifier as mf
from benchmarks.trust.study import Plan, drawn
from engine_problems import heat
from mollifier.engines.collocated.missing import Score, significance, sources
from mollifier.mollify.grid import Axis, Grid

FEW = {"collocation": {"max_nodes": 400}}


def decaying(seed: int, equation: str, noise: float = 0.05, rate: float = 0.6) -> mf.InverseProblem:
    """Three modes of u_t = 0.04 u_xx + rate*u, at 300 places."""
    rng = np.random.default_rng(seed)
    x, t = rng.random((2, 300))
    u = sum(
        a * np.exp((rate - 0.04 * k**2) * t) * np.sin(k * x + p)
        for a, k, p in ((1.0, 2.0, 0.5), (0.7, 4.0, 1.0), (0.7, 7.0, 2.0))
    )
    u = u + noise * np.sqrt(np.mean(u**2)) * rng.standard_normal(300)
    data = mf.Observations({"u": u}, {"x": x, "t": t}, noise={"u": noise})
    return mf.InverseProblem(equation, data, {"D": mf.ScalarUnknown()})


def score(slope, variance, fixed) -> Score:
    """With noise of one size."""
    return Score(np.asarray(slope), variance, fixed, np.ones(9), np.zeros((9, len(variance))))


def test_sources_are_independent_in_two_coordinates():
    grid = Grid(Axis("x", 0.0, 2.0, 9), Axis("t", -1.0, 1.0, 8))
    assert np.linalg.matrix_rank(sources(grid, 3)) == sources(grid, 3).shape[1] == 10


def test_significance_is_uniform_without_a_source():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((4, 4))
    variance = root @ root.T
    chances = [
        significance(score(root @ rng.standard_normal(4), variance, np.diag(np.diag(variance))))[2]
        for _ in range(2000)
    ]
    assert np.mean(np.array(chances) < 0.1) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(("count", "power"), [(25, 0.65), (300, 0.9)])
def test_significance_where_noise_grows_with_the_source(count, power):
    """Noise of one size would explain less; a source of seven standard errors is still found."""
    rng, x = np.random.default_rng(1), np.linspace(-1, 1, count)
    shapes, sizes = np.stack([x**k for k in range(3)], axis=1), 0.2 + 2 * x**2
    sizes, eye = sizes / np.sqrt(np.mean(sizes**2)), shapes.T @ shapes
    source = 7 * shapes[:, 2] / np.linalg.norm(shapes[:, 2])

    def found(noise, moved):
        """Share of chances below the level that a single test may have."""
        chances = [significance(Score(shapes.T @ e, eye, eye, e, moved))[2] for e in noise]
        return np.mean(np.array(chances) < 1e-3)

    draws = rng.standard_normal((500, count))
    assert found(draws * sizes, 0 * shapes) > 0.015
    assert found(draws * sizes, shapes) < 0.01
    assert found(draws + source, 0 * shapes) > 0.97
    assert found(draws + source, shapes) > power


def test_significance_ignores_directions_without_variance():
    square, degrees, _ = significance(score([2.0, 1.0], np.diag([1.0, 1e-13]), np.eye(2)))
    assert (square, degrees) == (pytest.approx(4.0), 1)
    assert significance(score(np.zeros(2), np.zeros((2, 2)), np.zeros((2, 2)))) == (0.0, 0, 1.0)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("value", [pytest.param(0.0, marks=pytest.mark.slow), 1.0])
def test_constant_field_is_undetermined_without_a_warning(value):
    """A column that does not vary holds nothing of the unknown, and the reason says so."""
    x, t = np.random.default_rng(0).random((2, 60))
    data = mf.Observations({"u": np.full(60, value)}, {"x": x, "t": t})
    problem = mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown(lower=0)})
    found = mf.solve(problem, "joint", settings=FEW)
    assert found.status.name == "undetermined"
    assert "u does not vary beyond its noise" in found.status.message


@pytest.mark.parametrize("engine", ["joint", pytest.param("network", marks=pytest.mark.slow)])
def test_missing_term_is_a_misfit_and_its_twin_converges(engine):
    """States absorb a missing reaction, so that the misfit of all data together hardly shows it."""
    right = mf.solve(decaying(0, "u_t = D*u_xx + 0.6*u"), engine, settings=FEW)
    assert right.status.name == "converged"
    assert abs(right.estimates["D"].value - 0.04) < 4 * right.estimates["D"].sd
    wrong = mf.solve(decaying(0, "u_t = D*u_xx"), engine, settings=FEW)
    assert wrong.status.name == "misfit"


def test_missing_term_message_names_equation_and_source():
    found = mf.solve(decaying(3, "u_t = D*u_xx + 0.75*u"), "joint", settings=FEW)
    assert found.status.name == "misfit"
    assert "in 'u_t = D*u_xx + 0.75*u', a source of degree" in found.status.message


def test_number_held_at_its_bound_is_no_missing_term():
    """The bound is 1.5 standard errors above the estimate without it: the answer at the bound is right."""
    found = mf.solve(heat(200, 0.01, lower=0.1006), "joint", settings=FEW)
    assert found.status.name == "converged"
    assert found.estimates["D"].value == pytest.approx(0.1006, abs=1e-6)
    assert found.estimates["D"].sd > 1e-4


def test_noise_in_proportion_to_the_value_is_no_missing_term():
    """Waves seen by few sensors: with noise of one size a source would have a chance of 2e-4."""
    problem = drawn(Plan("noise", "proportional", "few", "joint"), 1200)[1]
    found = mf.solve(problem, "joint", rng=1200)
    assert found.status.name == "converged"
