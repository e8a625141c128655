"""Fields read as one of few levels."""

from __future__ import annotations

import numpy as np
import pytest

from mollifier.engines.priors.few_levels import few_levels
from mollifier.engines.priors.tuning import PriorTuning


def levelled(levels, seed, sd=0.05, spread=0.0):
    """Twenty plateaus of some levels, each 30 places, with a ramp of 3 places and its error between them."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.permutation(np.resize(levels, 20)), 30)
    truth = truth + spread * np.sin(np.arange(truth.size) / 7)
    ramps = np.convolve(np.pad(truth, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    errors = np.hypot(sd, 5 * np.gradient(ramps) / np.sqrt(12))
    return truth, ramps + sd * rng.standard_normal(truth.size), errors


@pytest.mark.parametrize(
    ("levels", "share"), [([1.0, 2.4], 0.7), ([0.0, 0.0, 0.0, 0.0, 1.0], 0.7), ([-0.5, 0.6, 2.0], 1.0)]
)
def test_few_levels_are_found_and_read(levels, share):
    """The reading is nearer the truth than the ramps, which may pass a third level, and its errors hold."""
    truth, field, sd = levelled(levels, 1)
    found = few_levels(field, sd, PriorTuning())
    assert found is not None
    np.testing.assert_allclose(found.levels, np.unique(levels), atol=0.03)
    mean, choice = found.read(found.levels)
    assert np.linalg.norm(mean - truth) < share * np.linalg.norm(field - truth)
    assert np.mean(np.abs(mean - truth) < 1.96 * np.hypot(choice, 0.05)) > 0.95


@pytest.mark.parametrize("spread", [0.1, 0.2, 0.5])
def test_few_levels_none_where_plateaus_vary_beyond_their_errors(spread):
    assert few_levels(*levelled([1.0, 2.4], 1, spread=spread)[1:], PriorTuning()) is None
