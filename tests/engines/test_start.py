"""Starting the network engine from an answer found before."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

import mollifier as mf
from engine_problems import conductivity_of_x, gridded, heat, heat_values, small
from mollifier.data.observations import Observations
from mollifier.engines import solve as base
from mollifier.engines.start import _filled, origin, sampled, search_values
from mollifier.errors import ConfigurationError
from mollifier.problem.estimate import Estimate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.status import Status
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown
from started_answers import answer

solve = partial(mf.solve, engine="network")

NONE = small(training={"steps": 0}, collocation={"nodes": {"x": 21, "t": 17}})
FEW = small(training={"warmup_steps": 30, "steps": 6}, collocation={"nodes": {"x": 15, "t": 13}})


@pytest.fixture(scope="module")
def dense():
    """A diffusivity from a grid that suits the weak engine."""
    data = gridded(heat_values, nx=60, nt=40, noise=0.02)
    return InverseProblem("u_t = D*u_xx", data, {"D": ScalarUnknown(lower=0.0)})


@pytest.fixture(scope="module")
def conductivity():
    problem = conductivity_of_x()
    return problem, mf.solve(problem, "joint", settings={"joint": {"cells": 8}})


def taken(solution):
    """Gauss-Newton steps taken, and the loss at their end."""
    rows = solution.history["stage"].values == "gauss-newton"
    return int(rows.sum()), float(solution.history["loss"].values[-1])


# What is started


@pytest.mark.parametrize("name", ["weak", pytest.param("joint", marks=pytest.mark.slow)])
def test_a_number_starts_at_the_answers_value(name, dense):
    first = mf.solve(dense, name)
    started = solve(dense, settings=NONE, start=first)
    assert started.estimates["D"].value == pytest.approx(first.estimates["D"].value, rel=1e-12)
    note = started.provenance["started_from"]
    assert (note["engine"], note["status"]) == (name, first.status.name)
    assert note["numbers"] == {"D": first.estimates["D"].value}
    assert note["states"] == ([] if name == "weak" else ["u"])
    without = solve(dense, settings=NONE)
    assert "started_from" not in without.provenance
    assert abs(without.estimates["D"].value / first.estimates["D"].value - 1) > 1e-3


@pytest.mark.slow
def test_a_field_and_its_state_start_at_the_answers(conductivity):
    problem, first = conductivity
    chosen = small(training={"steps": 0, "warmup_steps": 1500})
    started, without = solve(problem, settings=chosen, start=first), solve(problem, settings=chosen)
    places = {c: started.dataset[c] for c in ("x", "t")}
    for name, near in (("k", 0.02), ("u", 0.02)):
        exact = first.dataset[name].interp({d: places[d] for d in first.dataset[name].dims}).values
        size = np.linalg.norm(exact)
        assert np.linalg.norm(started.dataset[name].values - exact) < near * size
        if name == "k":
            assert np.ptp(without.dataset[name].values) < 0.5 * np.ptp(started.dataset[name].values)
    assert started.provenance["started_from"]["fields"] == ["k"]


def test_a_state_of_the_weak_engine_is_not_taken(dense):
    first = answer(dense)
    assert origin(dense, first, "", with_states=False).states == {}
    assert list(origin(dense, replace(first, provenance={**first.provenance, "engine": "joint"}), "").states)
    # A state far from the data shows which of the two was fitted.
    moved = first.dataset.assign(u=first.dataset["u"] + 0.5)
    chosen = small(training={"steps": 0, "warmup_steps": 300}, collocation=NONE["collocation"])
    for engine, level in (("weak", 0.0), ("joint", 0.5)):
        known = {**first.provenance, "engine": engine}
        found = solve(dense, settings=chosen, start=replace(first, dataset=moved, provenance=known))
        difference = float(found.dataset["u"].mean()) - float(first.dataset["u"].mean())
        assert difference == pytest.approx(level, abs=0.1)


@pytest.mark.slow
def test_a_start_takes_fewer_steps_to_the_same_loss(conductivity):
    problem, first = conductivity
    # Losses with priors of different strengths say nothing of one another.
    given = {"k": replace(problem.unknowns["k"], smoothness=1e-3)}
    problem = InverseProblem(problem.equation, problem.data, given, constants=problem.constants)
    chosen = small(training={"warmup_steps": 300, "steps": 100})
    (plain, loss), (started, reached) = (
        taken(solve(problem, settings=chosen, start=start)) for start in (None, first)
    )
    assert reached < 1.03 * loss
    assert started < plain


def test_a_start_by_lbfgs():
    training = {"optimiser": "lbfgs", "adam_steps": 5, "steps": 20, "warmup_steps": 30}
    problem = heat(100)
    found = solve(problem, settings=small(training=training), start=answer(problem, value=0.1))
    assert found.history["D"].values[~np.isnan(found.history["D"].values)][0] == pytest.approx(0.1, rel=0.1)


def test_the_size_that_curvature_is_measured_in_does_not_depend_on_the_start(conductivity):
    from mollifier.engines.network.engine import prepare_networks
    from mollifier.engines.network.optimisers import WarmUp
    from mollifier.engines.network.settings import NetworkSettings
    from mollifier.engines.network.tuning import NetworkTuning
    from mollifier.problem.settings import validated

    problem, first = conductivity
    scales = []
    for begin in (None, origin(problem, first, "")):
        torch.manual_seed(0)
        objective, _ = prepare_networks(problem, validated(NetworkSettings, small()), 0)
        stage = WarmUp(objective, 300, 5e-3, NetworkTuning(), begin)
        for _ in range(300):
            stage.step()
        stage.close()
        scales.append(objective.field_scale("k"))
    assert scales[1] == pytest.approx(scales[0], rel=0.2)


# Bounds


@pytest.mark.parametrize(
    ("bounds", "value", "sd", "expected"),
    [
        ({"lower": 0.0}, 0.0, 0.01, 0.01),
        ({"lower": 0.0}, -1.0, 0.01, 0.01),
        ({"lower": 0.0}, 1e-9, 0.01, 0.01),
        ({"upper": 0.2}, 0.2, 0.02, 0.18),
        ({"lower": 0.0, "upper": 0.2}, 0.12, 0.01, 0.12),
        ({"lower": 0.0, "upper": 0.2}, 0.7, None, 0.1),
        ({}, -3.0, None, -3.0),
    ],
)
def test_a_number_starts_within_its_bounds(bounds, value, sd, expected):
    problem = heat(60, **bounds)
    chosen = small(training={"steps": 0, "warmup_steps": 2})
    found = solve(problem, settings=chosen, start=answer(problem, value, sd)).estimates["D"].value
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("bounds", "low", "high"), [({"lower": 0.0}, 0.0, 0.5), ({"upper": -1.0}, -2.0, -1.0), ({}, -1.2, -0.8)]
)
def test_a_first_guess_beyond_a_bound_starts_beside_it(bounds, low, high):
    """u_t = -1 by the data."""
    data = gridded(lambda x, t: 2 - t + 0 * x, noise=0.01)
    problem = InverseProblem("u_t = a", data, {"a": ScalarUnknown(**bounds)})
    steps = {"warmup_steps": 300, "steps": 0}
    solution = solve(problem, settings=small(training=steps, collocation={"nodes": {"x": 15, "t": 13}}))
    assert low < solution.estimates["a"].value < high


def test_a_field_beyond_its_bounds_starts_within_them():
    data = gridded(heat_values)
    unknown = FieldUnknown(over=("x",), lower=0.0, upper=0.3)
    problem = InverseProblem("u_t = dx(k*u_x) + D*u", data, {"k": unknown, "D": ScalarUnknown()})
    x = np.linspace(0, 1, 30)
    k = xr.DataArray(0.2 + 0.5 * np.sin(6 * x), {"x": x}, ("x",))
    first = answer(problem, k=k)
    found = solve(problem, settings=small(training={"steps": 0}), start=first).dataset["k"]
    assert (found > 0).all()
    assert (found < 0.3).all()
    inside = np.clip(k.interp(x=found["x"]), 0.0, 0.3)
    assert float(np.abs(found - inside).mean()) < 0.05


# By name


@pytest.mark.parametrize(("name", "engine"), [("weak", "weak"), ("joint", "joint"), ("auto", "weak")])
def test_a_start_by_name_is_solved_first(name, engine, dense):
    found = solve(dense, settings=FEW, start=name)
    note = found.provenance["started_from"]
    assert note["engine"] == engine
    assert note["numbers"]["D"] == pytest.approx(0.1, rel=0.1)
    assert ("chosen_because" in note) == (name == "auto")
    assert found.provenance["engine"] == "network"


def test_the_first_engine_takes_its_own_number_of_steps_and_kind_of_derivative():
    few = {"steps": 3, "optimiser": "lbfgs", "warmup_steps": 5, "adam_steps": 2}
    chosen = small(training=few, derivatives="nested", collocation={"max_nodes": 100})
    note = solve(heat(100), settings=chosen, start="joint").provenance["started_from"]
    assert note["status"] == "converged"
    assert note["numbers"]["D"] == pytest.approx(0.1, rel=0.05)


def test_auto_starts_nothing_where_no_other_engine_suits():
    points = np.random.default_rng(0).random((4, 60))
    u = np.exp(-points[3]) * np.sin(points[:3].sum(0))
    data = Observations({"u": u}, dict(zip("xyzt", points, strict=True)), noise=0.01)
    problem = InverseProblem("u_t = D*lap(u)", data, {"D": ScalarUnknown()})
    few = {"warmup_steps": 2, "adam_steps": 0, "steps": 0, "optimiser": "lbfgs"}
    chosen = small(training=few, collocation={"max_nodes": 16}, derivatives="nested")
    note = solve(problem, settings=chosen, start="auto").provenance["started_from"]
    assert note["engine"] is None
    assert "4 coordinates" in note["chosen_because"]


def test_an_engine_left_open_becomes_the_network_where_a_start_is_given():
    problem = heat(60)
    found = mf.solve(problem, settings=FEW, start=answer(problem))
    assert found.provenance["engine"] == "network"
    assert found.provenance["chosen_because"] == "an answer to start from was given"


def test_ctrl_c_in_the_first_engine_ends_it_all(monkeypatch):
    problem = heat(60)
    broken = replace(answer(problem), status=Status("interrupted", "stopped"))
    monkeypatch.setattr(base, "_first", lambda *a: broken)
    assert solve(problem, settings=FEW, start="joint") is broken


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, estimates={}), r"has the unknowns \(none\); the problem's, D, were expected"),
        (lambda s: replace(s, estimates={"a": Estimate("a", 1.0)}), "has the unknowns a; the problem's, D"),
        (
            lambda s: replace(s, dataset=s.dataset.rename(t="s")),
            "has the coordinates x, s; the problem's, x, t",
        ),
        (lambda s: replace(s, dataset=s.dataset.assign_coords(x=1e3 * s.dataset["x"])), "along 'x'"),
        (lambda s: replace(s, dataset=s.dataset.assign_coords(x=0.1 * s.dataset["x"])), "along 'x'"),
    ],
)
def test_an_answer_of_another_problem_is_refused(change, message):
    problem = heat(60)
    with pytest.raises(ConfigurationError, match=message):
        solve(problem, settings=FEW, start=change(answer(problem)))


def test_a_field_over_other_coordinates_is_refused():
    problem = conductivity_of_x(60)
    k = xr.DataArray(np.ones(20), {"t": np.linspace(0, 1, 20)}, ("t",))
    first = replace(answer(problem, k=k), estimates={})
    with pytest.raises(ConfigurationError, match=r"has the unknowns k\(t\); the problem's, k\(x\), were"):
        solve(problem, settings=FEW, start=first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": "network"}, "start was given as 'network'; a solution or one of weak, joint, auto"),
        ({"start": "jiont"}, "Did you mean 'joint'"),
        ({"start": 3}, "start was given as int"),
        ({"start": "weak", "engine": "joint"}, "'start' was given to engine 'joint', which does not use it"),
        ({"start": "joint", "engine": "weak"}, "given to engine 'weak'"),
    ],
)
def test_what_is_no_start_is_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        solve(heat(60), **arguments)


@pytest.mark.parametrize("status", ["undetermined", "non-finite loss"])
def test_no_answer_starts_nothing_and_says_so(status):
    problem = heat(60)
    with pytest.warns(UserWarning, match=f"has no values to use \\({status}\\): the run starts"):
        found = solve(problem, settings=FEW, start=answer(problem, 7.0, status=status))
    plain = solve(problem, settings=FEW)
    assert found.estimates["D"].value == plain.estimates["D"].value
    xr.testing.assert_identical(found.dataset, plain.dataset)
    assert found.provenance["started_from"]["status"] == status
    assert found.provenance["started_from"]["numbers"] == {}


def test_a_value_that_is_not_finite_starts_nothing():
    problem = heat(60)
    with pytest.warns(UserWarning, match="has no values to use"):
        solve(problem, settings=FEW, start=answer(problem, float("nan")))


# Checkpoints


# Small parts


def test_a_field_is_sampled_where_it_is_asked():
    x, y = np.linspace(0, 1, 11), np.linspace(2, 4, 5)
    plane = xr.DataArray(3 * x + 2 * y[:, None], {"y": y, "x": x}, ("y", "x"))
    points = {"x": np.array([0.05, 0.5, 1.2]), "y": np.array([2.1, 3.0, 5.0])}
    np.testing.assert_allclose(sampled(plane, points, {}), [0.15 + 4.2, 1.5 + 6.0, 3.0 + 8.0])
    wave = xr.DataArray(np.cos(2 * np.pi * x[:-1]), {"x": x[:-1]}, ("x",))
    places = {"x": np.array([0.95, 1.0, 1.1, -0.1])}
    middle = (np.cos(1.8 * np.pi) + 1) / 2
    expected = [middle, 1.0, np.cos(0.2 * np.pi), np.cos(0.2 * np.pi)]
    np.testing.assert_allclose(sampled(wave, places, {"x": 1.0}), expected, atol=1e-12)


def test_the_start_of_a_problem_file(tmp_path):
    from typer.testing import CliRunner

    from mollifier.cli.app import app
    from mollifier.problem.problem_file import load

    data = heat(60).data
    rows = np.stack([*(data.samples("u").points.T), data.samples("u").values], 1)
    np.savetxt(tmp_path / "u.csv", rows, delimiter=",", header="x,t,u", comments="")
    path = tmp_path / "heat.yaml"
    path.write_text(
        "equation: u_t = D*u_xx\ndata: {file: u.csv, coordinates: [x, t], values: u, noise: 0.01}\n"
        "unknowns: {D: scalar}\nengine: network\nnetwork: {width: 6, depth: 1}\n"
        "training: {warmup_steps: 5, steps: 2}\ncollocation: {nodes: {x: 12, t: 12}}\n"
    )
    assert load(path).start is None
    assert load(path, ["start=joint"]).start == "joint"
    call = ["solve", str(path), "--set", "start=joint", "--out", str(tmp_path / "out"), "--no-figures"]
    result = CliRunner().invoke(app, [*call, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["provenance"]["started_from"]["engine"] == "joint"
    wrong = CliRunner().invoke(app, [*call[:3], "start=jiont", *call[4:]])
    assert wrong.exit_code == 2


def test_fields_that_are_unknown_outside_the_measured_region():
    """Nodes outside, which are NaN, start at the value of the nearest node inside."""
    field = xr.DataArray([[np.nan, 1.0, 2.0], [3.0, np.nan, 5.0]], dims=("x", "y"))
    assert np.isin(_filled(field).values, field.values[np.isfinite(field.values)]).all()
    assert _filled(field).values[1, 2] == 5.0
    assert _filled(field * np.nan).isnull().all()


def test_search_values_sweeps_and_then_multiplies():
    """Two numbers are tried in turn, as often as there are sweeps, and the best is multiplied."""
    held, tried = {"a": 1.0, "b": 1.0}, []

    def improves(name, value):
        tried.append(name)
        better = abs(value - 24.0) < abs(held[name] - 24.0)
        held[name] = value if better else held[name]
        return better

    values = {n: np.array([2.0, 3.0]) for n in held}
    search_values(values, 2, [(2.0,)], 3, held.__getitem__, improves)
    assert tried[:8] == ["a", "a", "b", "b"] * 2
    assert held == {"a": 24.0, "b": 24.0}
