"""Coordinates that only number independent curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mollifier as mf
from mollifier.errors import ConfigurationError
from mollifier.problem.collocation import collocate
from mollifier.problem.labels import labels
from mollifier.problem.settings import CollocationSettings

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
    axis = collocate(problem, CollocationSettings(nodes={"id": 11})).grid["id"]
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


def decays(seed: int, spread: float = 0.1) -> tuple[mf.Observations, np.ndarray]:
    """20 subjects, 8 times each, with rates of their own about 0.4; noise 0.02, not given."""
    rng = np.random.default_rng(seed)
    subject, t = np.repeat(np.arange(20), 8), np.tile(np.linspace(0, 5, 8), 20)
    level, rate = np.exp(rng.normal(size=20))[subject], 0.4 + spread * rng.normal(size=20)
    u = level * np.exp(-rate[subject] * t) + 0.02 * rng.normal(size=len(t))
    return mf.Observations({"u": u}, {"id": subject.astype(float), "t": t}), rate


OWN = {"k": mf.FieldUnknown(over=("id",))}


def test_each_experiment_has_a_rate_about_the_common_mean():
    """Intervals hold the rates; mean and spread are those of the population."""
    held = []
    for seed in range(3):
        data, rate = decays(seed)
        problem = mf.InverseProblem("u_t = -k*u", data, OWN, experiments="id")
        found = mf.solve(problem)
        assert (found.status.name, found.provenance["engine"]) == ("converged", "joint")
        held.append(abs(found.dataset["k"] - rate) < 1.96 * found.dataset["k_sd"])
        mean, spread = found.population("k")
        assert abs(mean.value - 0.4) < 3 * mean.sd
        assert abs(spread.value - 0.1) < 3 * spread.sd
    assert np.mean(held) > 0.9
    assert "spread of k" in str(found)
    assert mf.check(problem).verdict != "cannot be answered"


def test_rates_without_a_spread_are_drawn_to_their_mean():
    """Rates of alike subjects differ by no more than the noise: the data choose the strength of the prior."""
    data, _ = decays(5, spread=0.0)
    found = mf.solve(mf.InverseProblem("u_t = -k*u", data, OWN, experiments="id"))
    assert float(np.sqrt(np.mean((found.dataset["k"] - 0.4) ** 2))) < 0.01


def test_a_curve_for_each_experiment():
    """A rate that follows the time in each experiment by itself, from a grid."""
    rng, t = np.random.default_rng(0), np.linspace(0, 4, 60)
    phase = np.array([0.0, 1.5, 3.0])
    rate = 0.5 + 0.3 * np.sin(1.5 * t + phase[:, None])
    whole = 0.5 * t - 0.2 * (np.cos(1.5 * t + phase[:, None]) - np.cos(phase[:, None]))
    u = np.exp(-whole)
    data = xr.Dataset({"u": (("id", "t"), u + 0.005 * rng.normal(size=u.shape))}, {"id": [0.0, 1, 2], "t": t})
    unknowns = {"k": mf.FieldUnknown(over=("id", "t"))}
    found = mf.solve(mf.InverseProblem("u_t = -k*u", data, unknowns, experiments="id"), "joint")
    error = found.dataset["k"].interp(t=t).values - rate
    assert float(np.sqrt(np.mean(error**2) / np.mean(rate**2))) < 0.06


def test_names_number_experiments(tmp_path):
    """A coordinate of text is one of experiments, and the solution keeps the names."""
    data, _ = decays(0)
    table = pd.DataFrame({n: data.dataset[n].values for n in ("u", "id", "t")})
    table["id"] = [f"rat {int(i):02d}" for i in table["id"]]
    table.to_csv(tmp_path / "rats.csv", index=False)
    read = mf.read(tmp_path / "rats.csv", values="u", coordinates=["id", "t"])
    problem = mf.InverseProblem("u_t = -k*u", read, OWN)
    assert problem.experiments == ("id",)
    found = mf.solve(problem)
    assert found.dataset["id"].attrs["experiments"].startswith("rat 00, rat 01")


def test_names_of_arrays_and_datasets_number_experiments():
    """As those of files: text of NumPy, categories of pandas, and a dimension in any order."""
    data, _ = decays(0)
    columns = {n: data.dataset[n].values for n in ("u", "id", "t")}
    names = np.array([f"rat {int(i):02d}" for i in columns["id"]])
    grid = xr.Dataset(
        {"u": (("id", "t"), columns["u"].reshape(20, 8))},
        {"id": names[::8].astype(object), "t": columns["t"][:8]},
    ).isel(id=np.random.default_rng(0).permutation(20))
    table = pd.DataFrame(columns | {"id": names})
    found = [
        mf.Observations({"u": columns["u"]}, {"id": names, "t": columns["t"]}),
        mf.Observations({"u": columns["u"]}, {"id": pd.Categorical(names), "t": columns["t"]}),
        mf.Observations.from_dataset(grid),
        mf.read(table, "u", coordinates=["id", "t"]),
        mf.read(table.set_index(["id", "t"]), "u", coordinates=["id", "t"]),
    ]
    for obs in found:
        assert mf.InverseProblem("u_t = -k*u", obs, OWN).experiments == ("id",)
        assert obs.dataset["id"].attrs["experiments"].startswith("rat 00, rat 01")
        of_first = obs.select(id=0.0).samples("u").values
        assert np.array_equal(of_first, columns["u"][:8])


@pytest.mark.parametrize(
    ("equation", "experiments", "message"),
    [
        ("u_t = -k*u", "ids", "Did you mean 'id'"),
        ("u_t = -k*u", ["id", "t"], "all number experiments"),
        ("u_t = -k*u_id", "id", "differentiates along it"),
    ],
)
def test_wrong_experiments_are_refused(equation, experiments, message):
    with pytest.raises(ConfigurationError, match=message):
        mf.InverseProblem(equation, subjects(0), DECAY, experiments=experiments)


@pytest.mark.parametrize("engine", ["weak", "network"])
def test_engines_that_take_no_unknowns_of_each_experiment_name_the_one_that_does(engine):
    problem = mf.InverseProblem("u_t = -k*u", decays(0)[0], OWN, experiments="id")
    with pytest.raises(ConfigurationError, match="no unknowns of each experiment, engine 'joint' does"):
        mf.solve(problem, engine)


def test_lap_is_not_over_experiments():
    rng = np.random.default_rng(0)
    axes = {"id": [0.0, 1.0], "x": np.linspace(0, 1, 5), "t": np.linspace(0, 1, 5)}
    data = xr.Dataset({"u": (tuple(axes), rng.random((2, 5, 5)))}, axes)
    observed = mf.Observations.from_dataset(data, noise=0.1)
    problem = mf.InverseProblem("u_t = k*lap(u)", observed, DECAY, experiments="id")
    assert str(problem.system.equations[0].residual) == "-k*u_xx + u_t"


def test_the_spread_of_alike_experiments_may_be_zero():
    """Errors of the values count in those of mean and spread: intervals hold 0.5 and 0."""
    held = np.zeros(2)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        t, subject = np.tile(np.linspace(0, 3, 8), 12), np.repeat(np.arange(12.0), 8)
        u = np.exp(-0.5 * t) + 0.02 * rng.normal(size=96)
        data = mf.Observations({"u": u}, {"id": subject, "t": t})
        found = mf.solve(mf.InverseProblem("u_t = -k*u", data, OWN, experiments="id"))
        intervals = [e.interval(0.95) for e in found.population("k")]
        held += [low <= truth < high for (low, high), truth in zip(intervals, (0.5, 0.0), strict=True)]
    assert held.min() >= 3
