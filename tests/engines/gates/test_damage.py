"""Damaged values that were fitted: never `converged` with a wrong value."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.engines.likelihood import weights

X, T = np.linspace(0, 1, 61), np.linspace(0, 1, 51)


def heat(seed: int) -> np.ndarray:
    modes = ((1.0, 1), (0.5, 3))
    u = sum(a * np.outer(np.sin(n * np.pi * X), np.exp(-0.05 * (n * np.pi) ** 2 * T)) for a, n in modes)
    return u + 0.01 * np.random.default_rng(seed).standard_normal(u.shape)


def problem(u: np.ndarray, mask: bool) -> mf.InverseProblem:
    obs = mf.Observations.from_dataset(xr.Dataset({"u": (("x", "t"), u)}, {"x": X, "t": T}))
    data = obs.mask_outliers() if mask else obs
    return mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown()})


def spikes(u: np.ndarray) -> None:
    r = np.random.default_rng(0)
    bad = r.random(u.shape) < 0.006
    u[bad] += r.choice([-1, 1], bad.sum()) * r.uniform(1, 5, bad.sum())


def one_spike(u: np.ndarray) -> None:
    u[30, 25] += 3.0


def stuck(u: np.ndarray) -> None:
    u[20] = u[20, 0]


def fill(u: np.ndarray) -> None:
    u[:, 10] = -9999


def zero(u: np.ndarray) -> None:
    u[:, [10, 30]] = 0


@pytest.mark.parametrize("damage", [spikes, one_spike, stuck, fill, zero])
def test_damage_weak_is_named_or_masked(damage) -> None:
    u = heat(6)
    damage(u)
    status = mf.solve(problem(u, False), "weak").status
    assert status.name == "misfit"
    assert "of u (" in status.message
    assert "--mask-outliers" in status.message
    solution = mf.solve(problem(u, True), "weak")
    assert solution.status.ok
    assert abs(solution.estimates["D"].value - 0.05) < 3 * solution.estimates["D"].sd
    assert "of u (" in solution.provenance["masked"]


def test_damage_joint_is_named_before_why_it_ended() -> None:
    r = np.random.default_rng(7)
    x, t = r.uniform(0, 1, (2, 200))
    u = np.exp(-0.5 * t) * np.sin(np.pi * x) + 0.01 * r.standard_normal(200)
    u[[5, 100]] += [3, -2]
    obs = mf.Observations({"u": u}, {"x": x, "t": t})
    asked = mf.InverseProblem("u_t = D*u_xx", obs, {"D": mf.ScalarUnknown()})
    cut = mf.solve(asked, "joint", settings={"training": {"steps": 2}})
    assert cut.status.name == "step limit"
    assert cut.status.message.startswith("2 values of u (1 %) are far from all neighbours")


def test_check_names_damage_and_looks_past_it() -> None:
    """Spikes are no front, no noise and no short waves."""
    u = heat(6)
    spikes(u)
    found, clean = mf.check(problem(u, False)), mf.check(problem(heat(6), False))
    assert [f.topic for f in found.warnings] == ["data"]
    assert "values of u (0." in found.warnings[0].text
    assert found.numbers["damage"]["u"]["isolated"] == pytest.approx(19, abs=6)
    assert found.numbers["data"]["u"]["noise"] == pytest.approx(clean.numbers["data"]["u"]["noise"], rel=0.1)
    assert not found.suggested


@pytest.mark.parametrize("engine", ["joint", pytest.param("network", marks=pytest.mark.slow)])
@pytest.mark.parametrize("likelihood", ["normal", "student", pytest.param("huber", marks=pytest.mark.slow)])
def test_damage_scattered_by_likelihood(engine: str, likelihood: str) -> None:
    """Four wild values of 400: named, and soon; a robust likelihood gives the right number."""
    r = np.random.default_rng(7)
    x, t = r.uniform(0, 1, (2, 400))
    modes = ((1.0, 1), (0.5, 3))
    u = sum(a * np.exp(-0.05 * (n * np.pi) ** 2 * t) * np.sin(n * np.pi * x) for a, n in modes)
    u = u + 0.01 * r.standard_normal(400)
    u[[5, 100, 220, 333]] += [3, -2, 4, 1.5]
    data = mf.Observations({"u": u}, {"x": x, "t": t})
    asked = mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown()})
    settings = {"training": {"likelihood": likelihood}}
    settings |= {"network": {"kind": "random-features"}} if engine == "network" else {}
    solution = mf.solve(asked, engine, settings=settings)
    if likelihood == "normal":
        assert solution.status.name == "misfit"
        assert solution.status.message.startswith("4 values of u (1 %) are far from all neighbours")
    else:
        assert solution.status.ok
        assert abs(solution.estimates["D"].value - 0.05) < 2 * solution.estimates["D"].sd
        assert solution.provenance["masked"].startswith("4 values of u")


def test_damage_weak_by_likelihood() -> None:
    """Values of eight standard deviations are too near for spikes; the fit leaves them out."""
    u, r = heat(8), np.random.default_rng(8)
    u += np.where(r.random(u.shape) < 0.03, 0.08 * r.standard_normal(u.shape), 0)
    sd = {}
    for likelihood in ("normal", "student"):
        solution = mf.solve(problem(u, False), "weak", settings={"training": {"likelihood": likelihood}})
        sd[likelihood] = solution.estimates["D"].sd
    assert solution.status.ok
    assert abs(solution.estimates["D"].value - 0.05) < 3 * solution.estimates["D"].sd
    assert sd["student"] < 0.8 * sd["normal"]


@pytest.mark.parametrize("kind", ["student", "huber"])
def test_likelihood_weights_give_the_information(kind: str) -> None:
    """The standard error of a robust mean is the spread of such means, for normal and for heavy tails."""
    r = np.random.default_rng(0)
    for draw in (r.standard_normal, lambda size: r.standard_t(3, size)):
        z = draw((400, 200))
        means, errors = [], []
        for row in z:
            mean = np.median(row)
            for _ in range(20):
                w = weights(row - mean, kind, 0.5)
                mean = np.average(row, weights=w)
            means.append(mean)
            errors.append(w.sum() ** -0.5)
        assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)


def test_damage_limit_named_and_left_out() -> None:
    """A plate reader that saturates below the capacity: named, and without these values K is found."""
    t, rng = np.linspace(0, 14, 57), np.random.default_rng(0)
    u = np.array([1.2 / (1 + (1.2 / a - 1) * np.exp(-0.8 * t)) for a in (0.02, 0.1, 0.2)])
    u = np.minimum(np.round(u * (1 + 0.01 * rng.normal(size=u.shape)), 3), 1.1)
    data = mf.Observations({"u": u.ravel()}, {"well": np.repeat(list("abc"), 57), "t": np.tile(t, 3)})
    unknowns = {n: mf.ScalarUnknown(lower=0) for n in "rK"}
    problem = mf.InverseProblem("u_t = r*u*(1 - u/K)", data, unknowns)
    solution = mf.solve(problem)
    assert solution.status.name == "misfit"
    assert "1.1, the largest value: the instrument saturates" in solution.status.message
    K = mf.solve(mf.InverseProblem("u_t = r*u*(1 - u/K)", data.mask_outliers(), unknowns)).estimates["K"]
    assert abs(K.value - 1.2) < 4 * K.sd < 0.2
