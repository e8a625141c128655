"""Runs that began from an answer, cut short and resumed."""

from __future__ import annotations

import os
import signal
import warnings
from functools import partial

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from engine_problems import heat, noisy, small
from mollifier.data.observations import Observations
from mollifier.engines import solve as base
from mollifier.errors import CheckpointError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown
from started_answers import answer

solve = partial(mf.solve, engine="network")


FEW = small(training={"warmup_steps": 30, "steps": 6}, collocation={"nodes": {"x": 15, "t": 13}})


def stop_at(stage, step):
    def follow(event):
        if (event.engine, event.stage, event.step) == ("network", stage, step):
            os.kill(os.getpid(), signal.SIGINT)

    return follow


@pytest.mark.parametrize(
    ("stage", "step"),
    [
        pytest.param("warm-up", 13, marks=pytest.mark.slow),
        ("warm-up", 30),
        pytest.param("gauss-newton", 2, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_does_not_start_again(stage, step, tmp_path, monkeypatch):
    """A field and a number, D = 0.05 and k = -2, which two modes determine."""
    x, t = np.random.default_rng(0).random((2, 100))
    u = noisy(np.exp(-2.45 * t) * np.sin(3 * x) + 0.8 * np.exp(-4.45 * t) * np.cos(7 * x), 0.01, 1)
    data = Observations({"u": u}, {"x": x, "t": t}, noise=0.01)
    problem = InverseProblem("u_t = D*u_xx + k*u", data, {"D": ScalarUnknown(), "k": FieldUnknown(over="x")})
    whole = solve(problem, settings=FEW, start="joint")
    broken = solve(problem, settings=FEW, start="joint", folder=tmp_path, progress=stop_at(stage, step))
    assert broken.status.name == "interrupted"
    monkeypatch.setattr(base, "_first", lambda *a: pytest.fail("the first engine was run again"))
    resumed = solve(problem, settings=FEW, start="joint", folder=tmp_path, resume=True)
    assert resumed.estimates == whole.estimates
    xr.testing.assert_identical(resumed.dataset, whole.dataset)
    notes = [s.provenance["started_from"] for s in (resumed, whole)]
    assert notes[0]["numbers"] == notes[1]["numbers"]
    assert notes[0]["fields"] == ["k"]


def test_a_run_is_resumed_with_the_same_start(tmp_path):
    problem = heat(60)
    first, other = answer(problem), answer(problem, 0.2)
    broken = solve(problem, settings=FEW, start=first, folder=tmp_path, progress=stop_at("warm-up", 9))
    assert broken.status.name == "interrupted"
    for start in (None, other, "joint"):
        with pytest.raises(CheckpointError, match="its start is"):
            solve(problem, settings=FEW, start=start, folder=tmp_path, resume=True)
    resumed = solve(problem, settings=FEW, start=first, folder=tmp_path, resume=True)
    assert resumed.estimates == solve(problem, settings=FEW, start=first).estimates


def test_an_undetermined_start_is_resumed_from_the_data(tmp_path):
    problem = heat(60)
    first = answer(problem, status="undetermined")
    with pytest.warns(UserWarning, match="no values to use"):
        solve(problem, settings=FEW, start=first, folder=tmp_path, progress=stop_at("warm-up", 9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed = solve(problem, settings=FEW, start=first, folder=tmp_path, resume=True)
    assert resumed.estimates == solve(problem, settings=FEW).estimates
    assert resumed.provenance["started_from"]["status"] == "undetermined"
