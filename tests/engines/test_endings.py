"""How a run ends: limits, progress, losses that are not finite, steps that gain nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import mollifier as mf
from engine_problems import gridded, heat, heat_values, small
from mollifier.data.observations import Observations
from mollifier.engines.network.engine import prepare_networks
from mollifier.engines.network.gauss_newton import GaussNewton
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import validated
from mollifier.problem.unknowns import ScalarUnknown
from run_problems import NEWTON, problem, solve


def test_the_time_limit():
    settings = {**NEWTON, "training": {"warmup_steps": 100_000, "time_limit": 0.2}}
    solution = solve(problem(), settings=settings)
    assert solution.status.name == "time limit"
    assert "0.2 s had passed at step" in solution.status.message
    assert np.isfinite(solution.dataset["u"].values).all()


def test_the_step_limit_and_runs_without_a_step():
    assert solve(problem(), settings=NEWTON).status.name == "step limit"
    for changes in ({"steps": 0}, {"steps": 0, "warmup_steps": 0}, {"warmup_steps": 0, "steps": 2}):
        settings = {**NEWTON, "training": {**NEWTON["training"], **changes}}
        solution = solve(problem(), settings=settings)
        assert solution.status.name == "step limit"
        assert np.isfinite(solution.estimates["D"].value)
        if changes.get("steps") == changes.get("warmup_steps") == 0:
            assert solution.history.sizes["step"] == 0


@pytest.mark.parametrize("engine", ["joint", "network"])
@pytest.mark.parametrize("limit", [{"steps": 3}, {"time_limit": 1e-3}])
def test_a_run_cut_short_has_no_standard_errors(engine, limit):
    """The curvature of the loss on the way to its minimum says nothing about how far that is."""
    settings = {"training": limit, "collocation": {"max_nodes": 100}}
    solution = mf.solve(problem(), engine, settings=settings)
    assert solution.status.name in ("step limit", "time limit")
    assert solution.estimates["D"].sd is None
    assert "k_sd" not in solution.dataset
    assert "±" not in solution.summary()


@pytest.mark.slow
def test_a_warm_up_ends_where_the_data_are_fitted_to_within_their_noise():
    settings = small(training={"warmup_steps": 3000, "steps": 0}, collocation={"nodes": {"x": 9, "t": 9}})
    loud, quiet = (
        solve(heat(noise=noise), settings=settings).history["data"].values for noise in (0.3, 1e-3)
    )
    assert len(loud) < len(quiet) == 3000
    assert loud[-1] <= 1.25 < loud[:-1].min()
    assert quiet.min() > 1.25


def test_progress_says_where_a_run_stands():
    events = []
    solve(problem(), settings=NEWTON, progress=events.append)
    assert [e.stage for e in events] == ["warm-up"] * 30 + ["gauss-newton"] * 12
    last = events[-1]
    assert (last.engine, last.step, last.steps, last.left) == ("network", 12, 12, 0.0)
    assert set(last.losses) == {"loss", "data", "residual", "prior"}
    assert set(last.estimates) == {"D"}
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(events))


@pytest.mark.parametrize("optimiser", ["gauss-newton", "lbfgs"])
@pytest.mark.parametrize(
    ("equation", "unknowns", "named"),
    [
        ("u_t = D*u_xx + log(u - 1.5)", {"D": ScalarUnknown()}, "log"),
        ("u_t = D*u_xx + exp(a*u)", {"D": ScalarUnknown(), "a": ScalarUnknown(initial=5000.0)}, "exp"),
    ],
)
def test_a_loss_that_is_not_finite_is_named_and_good_values_kept(equation, unknowns, named, optimiser):
    found = InverseProblem(equation, gridded(heat_values, nx=12, nt=12), unknowns)
    training = {"warmup_steps": 100, "adam_steps": 10, "steps": 20, "optimiser": optimiser}
    solution = solve(found, settings=small(training=training))
    assert solution.status.name == "non-finite loss"
    assert named in solution.status.message
    assert "last good values are kept" in solution.status.message
    assert np.isfinite(solution.dataset["u"].values).all()
    assert np.isfinite(solution.fit["u_fitted"].values).all()
    for estimate in solution.estimates.values():
        assert np.isfinite(estimate.value)
        assert estimate.sd is None or np.isfinite(estimate.sd)


def test_a_run_that_diverges_halfway_goes_back():
    """Adam at an absurd rate overflows exp only after some steps."""
    found = InverseProblem(
        "u_t = 0.1*u_xx + D*exp(a*u)",
        gridded(heat_values, nx=12, nt=12),
        {"D": ScalarUnknown(), "a": ScalarUnknown(initial=1.0)},
    )
    training = {
        "warmup_steps": 60,
        "adam_steps": 400,
        "steps": 20,
        "optimiser": "lbfgs",
        "learning_rate": 5000.0,
    }
    solution = solve(found, settings=small(training=training))
    assert solution.status.name == "non-finite loss"
    assert np.isfinite(solution.dataset["u"].values).all()
    # The stage's first step was taken and recorded, and is gone: the last good values are from before it.
    path = solution.history["a"].values
    assert 61 <= len(path) < 61 + 25
    assert np.isnan(path[:60]).all()
    assert solution.estimates["a"].value == 1.0
    assert abs(path[60]) > 100


@pytest.mark.parametrize("optimiser", ["gauss-newton", "lbfgs"])
def test_a_gradient_that_is_not_finite_is_not_followed(optimiser):
    """The square root has a value at zero, and no slope."""
    unknowns = {"D": ScalarUnknown(initial=0.0)}
    found = InverseProblem("u_t = sqrt(D)*u_xx", gridded(heat_values, nx=12, nt=12), unknowns)
    training = {"warmup_steps": 30, "adam_steps": 10, "steps": 20, "optimiser": optimiser}
    solution = solve(found, settings=small(training=training))
    assert solution.status.name == "non-finite loss"
    assert "the gradient is not a finite number" in solution.status.message
    assert solution.history.sizes["step"] == 30
    assert solution.estimates["D"].value == 0.0
    assert np.isfinite(solution.dataset["u"].values).all()


def stage_of(**changes):
    """A Gauss-Newton stage at full weight."""
    settings = validated(NetworkSettings, small(**changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        objective, _ = prepare_networks(heat(60), settings, 0)
    stage = GaussNewton(objective, 100, 1e-3, NetworkTuning())
    stage.weight = 1.0
    return stage


def test_a_stage_that_no_step_can_help_is_stalled(monkeypatch):
    stage = stage_of()
    real = stage.normal_equations
    monkeypatch.setattr(stage, "normal_equations", lambda *a, **k: (real(*a)[0], -real(*a)[1]))  # uphill
    before = stage.objective(1.0).numbers()["loss"]
    steps = 0
    while not stage.finished:
        stage.step()
        steps += 1
        assert steps < 20
    assert stage.outcome == "stalled"
    assert "no step lowers the loss" in stage.finished
    assert stage.objective(1.0).numbers()["loss"] == pytest.approx(before)


def test_a_stage_at_its_minimum_has_converged(monkeypatch):
    stage = stage_of()
    real = stage.normal_equations
    monkeypatch.setattr(stage, "normal_equations", lambda *a, **k: (real(*a)[0], -1e-9 * real(*a)[1]))
    # No step was taken: the residual of the equation at the pretended minimum is large, and misses terms.
    stage.tuning = replace(stage.tuning, most_residual=np.inf)
    monkeypatch.setattr(stage, "_missing", str)
    stage.step()
    assert stage.outcome == "converged"
    assert "or was predicted to" in stage.finished


def test_a_stalled_run_says_so(monkeypatch):
    real = GaussNewton.normal_equations
    monkeypatch.setattr(
        GaussNewton, "normal_equations", lambda *a, **k: (real(*a, **k)[0], -real(*a, **k)[1])
    )
    solution = solve(heat(60), settings=small(training={"warmup_steps": 20, "steps": 60}))
    assert solution.status.name == "stalled"


def test_data_without_variation_are_solved_or_refused():
    x, t = np.random.default_rng(0).random((2, 60))
    for level in (0.0, 5.0):
        data = Observations(values={"u": np.full(60, level)}, points={"x": x, "t": t}, noise={"u": 0.01})
        found = InverseProblem("u_t = D*u_xx", data, {"D": ScalarUnknown()})
        solution = solve(found, settings=NEWTON)
        np.testing.assert_allclose(solution.fit["u_fitted"].values, level, atol=0.1 + 0.05 * level)
