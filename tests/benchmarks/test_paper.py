"""The paper's problems: true derivatives, baselines, the plan, the times, a run that is taken up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from benchmarks.journal import Journal
from benchmarks.pages import save_benchmark
from benchmarks.paper import runs as paper
from benchmarks.paper.classic import FINITE, SAVGOL, classic, filtered
from benchmarks.paper.problems import PROBLEMS, differentiated, true_derivatives, with_operators
from benchmarks.paper.tables import derivative_table, unknown_table
from benchmarks.paper.trial import METHODS, Plan, Trial
from mollifier.errors import ConfigurationError
from mollifier.mollify.orders import Derivative

SCORE = {"correlation": 0.99, "relative_l2": 0.05, "interior": 0.04, "boundary": 0.1, "largest": 1.0}


def waves(periodic: bool) -> xr.DataArray:
    x = 2 * np.pi * np.arange(64) / 64 if periodic else np.linspace(0, 2 * np.pi, 64)
    attrs = {"periodic": 2 * np.pi} if periodic else {}
    values = np.sin(2 * x)[:, None] * np.cos(x)
    coords = {c: xr.Variable(c, x, attrs) for c in ("x", "y")}
    return xr.DataArray(values, coords, ("x", "y"), "u")


@pytest.mark.parametrize(("periodic", "tolerance"), [(True, 1e-10), (False, 2e-4)])
def test_true_derivatives_are_those_of_waves(periodic, tolerance):
    u = waves(periodic)
    x, y = (u[c].values for c in ("x", "y"))
    for name, exact in {
        "u_xx": -4 * np.sin(2 * x)[:, None] * np.cos(y),
        "u_xxyy": 4 * np.sin(2 * x)[:, None] * np.cos(y),
        "u_y": -np.sin(2 * x)[:, None] * np.sin(y),
    }.items():
        found = differentiated(u, Derivative.parse(name, "xy"))
        assert np.abs(found.values - exact).max() < tolerance * np.abs(exact).max()


def test_the_derivative_of_langevin_is_that_of_its_equation():
    made = PROBLEMS["langevin"].build()
    found = true_derivatives(PROBLEMS["langevin"])["u_t"]
    lam = made.true_fields["lam"].interp(t=found["t"], method="cubic")
    np.testing.assert_allclose(found.values, (-made.clean["u"] + lam).values, atol=2e-5)


def test_operators_are_sums_of_their_parts():
    u = waves(True)
    parts = {n: differentiated(u, Derivative.parse(n, "xy")) for n in ("u_xxxx", "u_xxyy", "u_yyyy")}
    found = with_operators(xr.Dataset(parts), ["u"])
    np.testing.assert_allclose(found["bilap(u)"].values, 25 * u.values, atol=1e-9)
    assert "lap(u)" not in found


def test_a_filter_is_exact_on_its_polynomials():
    x = np.linspace(0, 1, 21)
    u = xr.DataArray(x[:, None] ** 3 + x**2, {"x": x, "y": x}, ("x", "y"))
    found = filtered(u, Derivative.parse("u_xx", "xy"), 7, 3)
    assert found is not None
    np.testing.assert_allclose(found.values, np.broadcast_to(6 * x[:, None], (21, 21)), atol=1e-9)


def test_the_best_filter_beats_differences_on_noisy_data():
    found = classic("heat", 0.05, 0)
    assert set(found) == {FINITE, SAVGOL}
    for name in ("u_x", "lap(u)"):
        assert found[SAVGOL][name]["relative_l2"] < 0.5 * found[FINITE][name]["relative_l2"]
    assert classic("heat-20", 0.05, 0) == {}


def test_every_network_goes_with_every_derivative_and_the_others_alone():
    plans = paper.planned(["heat"], ["mlp", "siren"], ["nested", "joint"], [0.05], range(2), threads=1)
    assert [(p.network, p.method, p.seed) for p in plans] == [
        (n, m, s) for n, m in (("mlp", "nested"), ("siren", "nested"), ("", "joint")) for s in (0, 1)
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"problems": ["heta"]}, "There is no problem 'heta'. Did you mean 'heat'?"),
        ({"networks": ["piratnet"]}, "There is no network 'piratnet'. Did you mean 'piratenet'?"),
        ({"methods": ["autodiff"]}, "There is no method 'autodiff'"),
        ({"noises": [-1.0]}, "noise -1 was given"),
    ],
)
def test_what_is_not_known_is_refused(given, told):
    with pytest.raises(ConfigurationError, match=told.replace("?", r"\?")):
        paper.planned(**given)


def made_up(*curve: tuple[float, float], seconds: float, error: float) -> Trial:
    score = {**SCORE, "relative_l2": error}
    return Trial("time limit", "", {"k": score}, {"u_x": SCORE}, [*curve, (seconds, error)], seconds)


def test_times_are_those_to_the_error_that_nested_autodiff_ends_with():
    fast = Plan("heat", 0.05, 0, "mollifier", "mlp")
    slow = Plan("heat", 0.05, 0, "nested", "mlp")
    other = Plan("heat", 0.05, 0, "taylor", "siren")
    tried = {
        fast: made_up((1.0, 0.5), (4.0, 0.08), (9.0, 0.04), seconds=20.0, error=0.01),
        slow: made_up((30.0, 0.3), seconds=100.0, error=0.09),
        other: made_up(seconds=50.0, error=0.2),
    }
    rows = {(r.network, r.method): r for r in unknown_table(tried, {}, False).rows}
    row = rows["mlp", "mollifier"]
    assert row.times_nested == pytest.approx(25.0)
    assert row.reached == {0.1: 4.0, 0.05: 9.0, 0.02: 20.0}
    assert math.isnan(rows["mlp", "nested"].times_nested)
    assert math.isnan(rows["siren", "taylor"].times_nested)
    derivatives = derivative_table(tried, {}, False)
    assert {(r.method, r.derivative) for r in derivatives.rows} >= {("mollifier", "u_x"), (SAVGOL, "lap(u)")}


def test_a_seed_without_an_answer_is_the_worst():
    plans = [Plan("heat", 0.05, s, "joint") for s in range(2)]
    tried = {plans[0]: made_up(seconds=1.0, error=0.1), plans[1]: Trial("refused", "too large")}
    (row,) = unknown_table(tried, {}, False).rows
    assert row.worst == math.inf
    assert row.statuses == {"time limit": 1, "refused": 1}
    assert row.message == "too large"


@pytest.mark.slow
def test_a_run_in_processes_is_kept_and_taken_up(tmp_path):
    plans = paper.planned(["langevin"], ["mlp"], ["mollifier", "joint"], [0.05], range(1), 4.0, 1)
    file = tmp_path / "paper.trials.jsonl"
    unknowns, derivatives = paper.run(plans, Journal(file))
    found = {r.method: r for r in unknowns.rows}
    assert found["joint"].relative_l2 < 0.1
    assert found["joint"].correlation > 0.99
    assert found["mollifier"].statuses == {"time limit": 1}
    assert found["joint"].memory_mib > 0
    assert {r.method for r in derivatives.rows} == {"mollifier", "joint", FINITE, SAVGOL}
    again, _ = paper.run(plans, Journal(file, resume=True))
    assert again.records() == unknowns.records()
    assert len(save_benchmark(unknowns, tmp_path)) == 2


def broken(plan: Plan) -> Trial:
    raise SystemExit(3)


@pytest.mark.slow
def test_a_process_that_ends_without_an_answer_is_told():
    trial = paper._apart(Plan("heat", 0.0, 0, METHODS[0], "mlp", 1.0), broken)
    assert trial.status == "failed"
    assert "exit code 3" in trial.message


def test_the_weak_engine_has_no_steps():
    trial = paper.answer(Plan("langevin", 0.05, 0, "weak"))
    assert trial.relative_l2 < 0.2
    assert math.isnan(trial.step_s)
    assert trial.curve[-1][1] == pytest.approx(trial.relative_l2)
