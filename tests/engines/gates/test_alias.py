"""A state that swings between the sensors is no answer, though all measurements are explained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from benchmarks.trust.study import Plan, drawn
from mollifier.engines.choose import choose
from mollifier.engines.gates.alias import (
    between,
    possible_aliases,
    resolved_between_sensors,
    short_waves,
    too_coarse,
)


def test_between_sensors_aliased_growth() -> None:
    """Twelve sensors see three waves and eight alike: a state with a wave that all of them miss is named."""
    question, problem = drawn(Plan("white", "0.01", "few", "joint"), 10)
    assert question.name == "growth"
    solution = mf.solve(problem, "joint", rng=10)
    assert solution.status.ok
    truth, found = float(question.truth["D"]), solution.estimates["D"]
    assert found.sd is not None
    assert abs(found.value - truth) < 3 * found.sd
    state = solution.dataset["u"]
    missed = state + 0.5 * state.std() * np.sin(11 * np.pi * state["x"])
    status = resolved_between_sensors(problem, replace(solution, dataset=solution.dataset.assign(u=missed)))
    assert status is not None
    assert "between the places of measurement along x" in status.message


def test_short_waves_of_a_field_that_does_not_vary_are_noise() -> None:
    """A gradient along x alone, counted: along y nothing is left but noise that grows with the counts."""
    x, y = np.linspace(0, 500, 120), np.arange(20) * 4.0
    counts = np.random.default_rng(0).poisson(300 * np.exp(-x / 100)[:, None] + 20 + 0 * y).astype(float)
    data = mf.Observations.from_dataset(xr.Dataset({"u": (("x", "y"), counts)}, {"x": x, "y": y}))
    problem = mf.InverseProblem("lap(u) = k*(u - 20)", data, {"k": mf.ScalarUnknown()})
    assert short_waves(problem)["u"]["y"] == 0.0


def test_between_few_or_dense_sensors_is_zero() -> None:
    x = np.linspace(0, 1, 33)
    state = xr.DataArray(np.sin(40 * x), {"x": x}, ("x",))
    assert between(state, "x", x) == 0.0
    assert between(state, "x", x[:3]) == 0.0
    assert between(state.where(x > 0.1), "x", x[::4]) == 0.0


@pytest.mark.parametrize("engine", ["weak", "joint"])
def test_waves_of_few_sensors_are_undetermined(engine: str) -> None:
    """Two waves over five sensors look like one and a half: no engine can say which, and `check` says so."""
    x, t = np.linspace(0, 1, 5), np.linspace(0, 1, 30)
    decaying = np.exp(-0.01 * (4.4 * np.pi) ** 2 * t) * np.sin(4.4 * np.pi * x + 0.4)[:, None]
    noisy = decaying + 0.002 * np.random.default_rng(0).standard_normal(decaying.shape)
    data = mf.Observations.from_dataset(xr.Dataset({"u": (("x", "t"), noisy)}, {"x": x, "t": t}))
    problem = mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown(lower=0)})
    assert "aliases" in str(mf.check(problem))
    status = mf.solve(problem, engine, rng=0).status
    assert status.name in ("undetermined", "misfit")
    assert short_waves(problem)["u"]["x"] > 0.2


def test_short_waves_of_uneven_sensors_are_no_aliases() -> None:
    """Five depths, each twice the one above: most of the variance is in short waves, and D is found."""
    x, t = np.array([0.03, 0.06, 0.12, 0.3, 0.6]), np.linspace(0, 1.5, 40)
    k = np.pi * np.arange(1, 9)[:, None, None]
    size, phase = np.random.default_rng(2).normal(size=(2, 8, 1, 1))
    waves = size / np.sqrt(k) * np.cos(k * x[:, None] + 3 * phase) * np.exp((0.3 - 0.02 * k**2) * t)
    u = waves.sum(axis=0)
    u = u + 0.01 * np.sqrt(np.mean(u**2)) * np.random.default_rng(3).normal(size=u.shape)
    data = mf.Observations.from_dataset(xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}))
    problem = mf.InverseProblem(
        "u_t = D*u_xx + r*u", data, {"D": mf.ScalarUnknown(), "r": mf.ScalarUnknown()}
    )
    assert short_waves(problem)["u"]["x"] > 0.02
    assert possible_aliases(problem) is None
    assert "aliases" not in str(mf.check(problem))
    solution = mf.solve(problem, "joint", rng=0)
    assert solution.status.ok
    low, high = solution.estimates["D"].interval(0.99)
    assert low < 0.02 < high


def test_few_sensors_go_to_the_joint_engine() -> None:
    """Waves of fewer than six sensors, however many frames: the weak engine says which engine takes them.

    Sampling that is too coarse is no misfit of equation or noise.
    """
    sensors, grid = (drawn(Plan("white", "0.001", layout, "weak"), 2)[1] for layout in ("logged", "grid"))
    why = too_coarse(sensors)
    assert why is not None
    assert "along x" in why
    assert too_coarse(grid) is None
    assert choose(sensors) == ("joint", why)
    assert mf.check(sensors).numbers["engine"] == "joint"
    status = mf.solve(sensors, "weak").status
    assert status.name == "undetermined"
    assert f"{why}, so that this engine cannot tell; engine 'joint' does without such" in status.message
