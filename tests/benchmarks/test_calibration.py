"""Calibration: coverage, probability integral transforms and ranks."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binomtest

from benchmarks.calibration import Calibration, calibrate, pit, rank, standardised, wilson
from made_up_solutions import solution_of
from mollifier.errors import ConfigurationError
from mollifier.problem.estimate import Estimate


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (47, 50), (50, 50), (1, 3)])
def test_wilson_is_the_score_interval(hits, trials):
    found, expected = wilson(hits, trials), binomtest(hits, trials).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("hits", "trials"), [(3, 2), (0, 0), (-1, 5)])
def test_wilson_refuses_what_is_no_share(hits, trials):
    with pytest.raises(ConfigurationError, match="hits in"):
        wilson(hits, trials)


def conjugate(factor=1.0, draws=0):
    """A normal mean, its prior and five measurements; its posterior with an sd that is off by a factor."""

    def draw(rng):
        truth = rng.normal(1.0, 2.0)
        return {"r": truth}, (truth + rng.normal(0, 1.5, 5), rng)

    def infer(data):
        values, rng = data
        precision = 1 / 2.0**2 + len(values) / 1.5**2
        mean, sd = (1.0 / 2.0**2 + values.sum() / 1.5**2) / precision, factor * precision**-0.5
        return {"r": rng.normal(mean, sd, draws) if draws else Estimate("r", mean, sd)}

    return calibrate(draw, infer, runs=400)["r"]


@pytest.mark.parametrize("draws", [0, 60])
def test_the_right_posterior_is_calibrated(draws):
    found = conjugate(draws=draws)
    assert found.uniform
    for level in (50, 80, 95):
        assert found.coverage(level).low <= level / 100 <= found.coverage(level).high
    assert found.histogram(5) == pytest.approx(0.2, abs=0.07)


def test_half_the_standard_error_is_found_out():
    found = conjugate(0.5)
    assert not found.uniform
    assert found.coverage(95).high < 0.8
    assert found.difference(0.05) > found.band()
    assert found.difference(0.95) < -found.band()


def test_twice_the_standard_error_is_found_out():
    found = conjugate(2.0)
    assert not found.uniform
    assert found.coverage(50).low > 0.7
    assert found.difference(0.15) < 0 < found.difference(0.85)


def test_ranks_of_ties_are_by_lot():
    rng = np.random.default_rng(0)
    found = [rank(1.0, [0.0, 1.0, 1.0, 2.0], rng) for _ in range(500)]
    assert 0.2 <= min(found) < 0.25
    assert 0.75 < max(found) <= 0.8


def test_places_of_a_field_are_no_trials_of_their_own():
    """All places of a run share one error: the share's interval is that of the runs."""
    rng = np.random.default_rng(1)
    scores = np.repeat(rng.standard_normal((40, 1)), 500, axis=1)
    found, number = Calibration.of(scores).coverage(80), Calibration.of(scores[:, 0]).coverage(80)
    assert found.value == number.value
    assert found.high - found.low == pytest.approx(number.high - number.low, rel=0.15)
    assert Calibration.of(scores).uniform


def test_calibration_refuses_what_is_no_pit():
    for wrong in (np.zeros(3), np.full((2, 1), 1.5), np.full((2, 1), np.nan), np.zeros((0, 1))):
        with pytest.raises(ConfigurationError, match="PITs"):
            Calibration(wrong)


def test_scores_are_taken_on_the_truths_nodes():
    found = solution_of(2.0, 0.5, [1.0, 2.0, 3.0], [0.1, 0.2, 0.3])
    exact = xr.DataArray([1.0, 1.7, 3.3], {"x": [-0.01, 0.25, 1.0]}, ("x",))
    z = standardised(found, {"r": 1.0, "k": exact, "absent": 3.0})
    assert list(z) == ["r", "k"]
    assert z["r"].tolist() == [-2.0]
    assert z["k"] == pytest.approx([0.0, 0.2 / 0.15, 1.0])
    assert standardised(solution_of(2.0, None, [1.0, 2.0], None), {"r": 1.0, "k": exact}) == {}
    assert pit(0.0) == 0.5
