"""Coordinates that only number independent curves."""

from __future__ import annotations

import numpy as np
import pytest

import mollifier as mf
from mollifier.errors import ConfigurationError
from mollifier.problem.collocation import collocate
from mollifier.problem.labels import labels
from mollifier.problem.settings import Collocation

DECAY = {"k": mf.ScalarUnknown()}


def subjects(seed: int, count: int = 20) -> mf.Observations:
    """Decay at the rate 0.4 from unrelated levels, six times each; noise 0.02, not given."""
    rng = np.random.default_rng(seed)
    subject, t = np.repeat(np.arange(count), 6), np.tile([0, 0.5, 1, 2, 3, 5.0], count)
    level = np.exp(rng.normal(size=count))[subject]
    u = level * np.exp(-0.4 * t) + 0.02 * rng.normal(size=len(t))
    return mf.Observations({"u": u}, {"id": subject.astype(float), "t": t})


def scattered(seed: int) -> mf.Observations:
    x, t = np.random.default_rng(seed).random((2, 200))
    return mf.Observations({"u": np.sin(x) * np.exp(-t)}, {"x": x, "t": t}, noise=0.01)


def test_label_and_coordinates_that_are_none():
    obs = subjects(0)
    assert labels(mf.InverseProblem("u_t = -k*u", obs, DECAY)) == ("id",)
    assert labels(mf.InverseProblem("u_t = -k*u", obs, {"k": mf.FieldUnknown(over=("id",))})) == ()
    assert labels(mf.InverseProblem("u_t = k*u_id", obs, DECAY)) == ()
    assert labels(mf.InverseProblem("u_t = -k*u", scattered(0), DECAY)) == ()


def test_nodes_along_a_label():
    """The nodes are the values present, at unit weights; given nodes make it a coordinate like others."""
    problem = mf.InverseProblem("u_t = -k*u", subjects(0).select(id=[0, 1, 5, 9]), DECAY)
    axis = collocate(problem).grid["id"]
    assert axis.discrete
    assert axis.points.tolist() == [0, 1, 5, 9]
    axis = collocate(problem, Collocation(nodes={"id": 11})).grid["id"]
    assert not axis.discrete
    assert axis.size == 11


def test_noise_of_curves_with_nothing_in_common():
    found = [subjects(seed).noise_sd("u") for seed in range(10)]
    assert 0.017 < np.mean(found) < 0.023


def test_rate_shared_by_subjects():
    """One k from 20 curves: no bias from smoothing across the subjects."""
    problem = mf.InverseProblem("u_t = -k*u", subjects(0), DECAY)
    estimate = mf.solve(problem).estimates["k"]
    assert abs(estimate.value - 0.4) < 3 * estimate.sd
    assert estimate.sd < 0.01
    found = mf.check(problem)
    assert found.verdict == "good"
    assert any("id numbers 20 independent curves" in f.text for f in found.findings)


@pytest.mark.slow
def test_rate_shared_by_subjects_over_seeds():
    """20 seeds: at least 18 of 95 % intervals hold; 40 of 40 did on seeds 4 to 43."""
    held = 0
    for seed in range(100, 120):
        estimate = mf.solve(mf.InverseProblem("u_t = -k*u", subjects(seed), DECAY)).estimates["k"]
        held += abs(estimate.value - 0.4) < 1.96 * estimate.sd
        assert abs(estimate.value - 0.4) < 0.015
    assert held >= 18


def test_network_across_labels():
    with pytest.raises(ConfigurationError, match=r"'id', so its values number independent curves"):
        mf.solve(mf.InverseProblem("u_t = -k*u", subjects(0), DECAY), "network")
