"""Several engines on one problem: the same data, honest costs, and agreement or disagreement stated."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from compared_solutions import doctored, made
from engine_problems import conductivity_of_x, gridded, heat, heat_values, small, waves
from mollifier.data.observations import Observations
from mollifier.diagnostics.compare import children, verdict
from mollifier.diagnostics.compare.comparison import Comparison, compare
from mollifier.diagnostics.compare.rows import Row, predicted
from mollifier.engines.weak.settings import WeakSettings
from mollifier.errors import ConfigurationError, DataError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status
from mollifier.problem.unknowns import ScalarUnknown

TINY = small(training={"warmup_steps": 300, "steps": 150}, held_out=0.3)
JOINT = {"collocation": {"max_nodes": 300}, "held_out": 0.3}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small arrays gain nothing from more threads; the processes started take the number over."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines run in this process, without the seconds that a new one takes to start."""
    monkeypatch.setattr(children, "portable", lambda problem: None)


def dense(equation: Any = "u_t = D*u_xx") -> InverseProblem:
    return InverseProblem(equation, gridded(heat_values, 30, 25), {"D": ScalarUnknown()})


# Whole comparisons


@pytest.fixture(scope="module")
def found():
    events: list[Any] = []
    comparison = compare(dense(), ("weak", "joint"), settings=JOINT, progress=events.append)
    return comparison, events


def test_engines_in_processes_of_their_own(found):
    comparison, events = found
    assert [r.engine for r in comparison.rows] == ["weak", "joint"]
    for row in comparison.rows:
        assert row.estimates["D"].value == pytest.approx(0.1, rel=0.02)
        assert 0.8 < row.misfit["u"] < 1.3
        assert row.seconds > 0
    if sys.platform != "win32":
        assert all(0 < r.memory < 2000 for r in comparison.rows)
    assert comparison.about["own_process"]
    assert comparison.agree
    assert comparison.verdict.startswith("Agreement of weak and joint on D, within 3 combined")
    assert "joint" in {e.engine for e in events}
    assert not multiprocessing.active_children()


def test_every_engine_is_given_the_same_part(found):
    comparison, _ = found
    assert (comparison.about["fitted"], comparison.about["held_out"]) == (675, 75)
    for solution in comparison.solutions.values():
        assert not solution.fit["u_held_out"].values.any()
        assert np.isfinite(solution.fit["u"].values).sum() == 675
        assert not solution.provenance["settings"].get("held_out")  # weak has no such setting
    assert len({s.provenance["data"] for s in comparison.solutions.values()}) == 1


def test_a_comparison_for_reading_and_for_programs(found):
    comparison, _ = found
    text = comparison.to_markdown()
    assert text.startswith(
        "u_t = D*u_xx: 675 samples fitted, 75 held out, seed 0, 1 thread\n\n| engine | D |"
    )
    assert text.count("\n| ") == 5 - 1
    content = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert [r["engine"] for r in content["rows"]] == ["weak", "joint"]
    assert content["agree"] is True
    assert content["pairs"][0]["engines"] == ["weak", "joint"]


@pytest.mark.slow
def test_an_engine_that_cannot_serve_says_why_and_stops_no_other(here):
    comparison = compare(conductivity_of_x(200), ["weak", "taylor", "joint"], settings=TINY)
    weak, taylor, joint = comparison.rows
    assert (weak.status, weak.seconds, weak.memory) == ("refused", None, None)
    assert "scattered" in weak.message
    assert taylor.status in ("converged", "step limit")
    assert joint.status in ("converged", "step limit")
    assert set(joint.fields["k"]) == {"low", "high", "sd"}
    assert not comparison.verdict.startswith("Only")
    assert "weak, refused" in comparison.to_markdown()


def test_a_callable_equation_is_solved_in_this_process():
    comparison = compare(dense(lambda j: j["u_t"] - j["D"] * j["u_xx"]), ["weak"], hold_out=0)
    (row,) = comparison.rows
    assert row.estimates["D"].value == pytest.approx(0.1, rel=0.02)
    assert (row.memory, row.misfit["u"], comparison.about["own_process"]) == (None, None, False)


def test_a_fault_in_one_engine_and_ctrl_c(here, monkeypatch: pytest.MonkeyPatch):
    def broken(problem: Any, engine: str, **options: Any) -> Solution:
        if engine == "joint":
            raise ZeroDivisionError("by zero")
        if engine == "network":
            raise KeyboardInterrupt
        return made(scalars={"D": (1.0, 0.1)})

    monkeypatch.setattr(children, "solve", broken)
    comparison = compare(heat(100), ["joint", "weak", "network", "nested"])
    assert [r.status for r in comparison.rows] == ["failed", "converged", "interrupted", "interrupted"]
    assert comparison.rows[0].message == "ZeroDivisionError: by zero"
    assert comparison.rows[3].message == "stopped before its turn"
    assert list(comparison.solutions) == ["weak"]


def test_an_engine_that_stops_on_ctrl_c_keeps_what_it_has(here, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(children, "solve", lambda *_, **__: made("interrupted", {"D": (1.0, 0.1)}))
    comparison = compare(heat(100), ["network", "joint"])
    assert [r.status for r in comparison.rows] == ["interrupted", "interrupted"]
    assert list(comparison.solutions) == ["network"]
    assert comparison.verdict == "No engine gave an answer."


@pytest.mark.slow
def test_ctrl_c_ends_the_process():
    def stop(event: Any) -> None:
        raise KeyboardInterrupt

    endless = small(training={"warmup_steps": 10**7})
    comparison = compare(heat(100), ["network"], settings=endless, progress=stop)
    assert comparison.rows[0].status == "interrupted"
    assert not multiprocessing.active_children()


class Fatal:
    """Ends the process that reads it."""

    def __reduce__(self):
        return os._exit, (3,)


def test_a_process_that_dies_says_so():
    task = children.Task("weak", 0, WeakSettings(), 1)
    outcome = children.run_apart(pickle.dumps(Fatal()), task)
    assert (outcome.status, outcome.solution) == ("failed", None)
    assert "exit code 3" in outcome.message


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the high-water mark is Linux's")
def test_memory_is_what_the_call_adds():
    """In a new process: after many tests the allocator may hold free memory that a call can take again."""
    code = (
        "import numpy as np; from mollifier.diagnostics.compare.children import with_peak\n"
        "np.ones(2**25)  # 256 MiB that are gone again\n"
        "print(with_peak(lambda: np.ones(2**23).sum())[1])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 55 < float(found.stdout) < 100


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"engines": ["weak", "jiont"]},
            ConfigurationError,
            "no engine 'jiont' to compare. Did you mean 'joint'",
        ),
        ({"engines": []}, ConfigurationError, "No engines"),
        ({"settings": {"trainin": {}}}, ConfigurationError, "trainin"),
        (
            {"settings": {"collocation": {"nodes": {"q": 33}}}},
            ConfigurationError,
            "names 'q', not a coordinate",
        ),
        ({"hold_out": 1.5}, DataError, "between 0 and 1"),
    ],
)
def test_what_is_refused_at_once(changes, error, message):
    with pytest.raises(error, match=message):
        compare(heat(50), **changes)


# Predictions


def test_a_field_that_is_whole_in_both_parts_is_not_judged(here):
    rates = gridded(waves, gaps=0.0).dataset.assign(w=("t", np.sin(np.linspace(0, 1, 19))))
    data = Observations.from_dataset(rates, noise=0.01)
    problem = InverseProblem("u_t = D*u_xx + w_t", data, {"D": ScalarUnknown()}, fields=["u", "w"])
    comparison = compare(problem, ["network"], settings=small(training={"warmup_steps": 20, "steps": 1}))
    (row,) = comparison.rows
    assert row.misfit["w"] is None
    assert row.misfit["u"] > 0
    assert comparison.about["held_out"] == round(0.1 * 25 * 19)


def test_predictions_are_those_of_the_field():
    x, t = np.linspace(0, 1, 30, endpoint=False), np.linspace(0, 1, 20)
    data = gridded(lambda x, t: np.sin(2 * np.pi * (x - t)), 30, 20, periodic=True)
    problem = InverseProblem("u_t = -c*u_x", data, {"c": ScalarUnknown()})
    field = xr.DataArray(np.sin(2 * np.pi * (x[:, None] - t)), {"x": ("x", x, {"periodic": 1.0}), "t": t})
    solution = made().__class__(
        Status("converged"), {}, xr.Dataset({"u": field.T}), made().fit, made().history, {}
    )
    points = np.array([[0.123, 0.456], [0.99, 0.5], [0.5, 1.2]])
    values = predicted(solution, problem, "u", points)
    assert values[:2] == pytest.approx(np.sin(2 * np.pi * (points[:2, 0] - points[:2, 1])), abs=1e-3)
    assert np.isnan(values[2])
    assert np.isnan(predicted(made(), problem, "u", points)).all()


# Verdicts


def test_disagreement_is_stated():
    comparison = doctored(
        weak=made(scalars={"D": (1.0, 0.03)}),
        joint=made(scalars={"D": (1.3, 0.04)}),
        network=made(scalars={"D": (1.05, 0.04)}),
        taylor=None,
    )
    assert comparison.agree is False
    assert comparison.verdict.splitlines() == [
        "Disagreement on D.",
        "D: weak and joint differ by 6 combined standard errors (23 %); 3 are allowed.",
        "D: joint and network differ by 4.4 combined standard errors (19 %); 3 are allowed.",
        "Of those that agree, D: weak and network differ by 1 combined standard errors (4.8 %), the most.",
    ]


def test_engines_without_standard_errors_and_without_answers():
    comparison = doctored(
        weak=made("undetermined", {"D": (9.0, 0.01)}),
        nested=made("step limit", {"D": (1.0, None)}),
        taylor=made(scalars={"D": (1.1, None)}),
    )
    assert comparison.answers == ("nested", "taylor")
    assert comparison.agree is None
    assert comparison.verdict.splitlines() == [
        "Undecided: too few engines give standard errors.",
        "Not judged: D: nested and taylor differ by 9.1 %; nested and taylor give no standard error.",
        "To be taken with care, since not converged: nested (step limit).",
    ]
    assert doctored(weak=None).verdict == "No engine gave an answer."
    alone = doctored(weak=made(scalars={"D": (1.0, 0.1)}), joint=made(scalars={"E": (1.0, 0.1)}))
    assert "share no unknown" in alone.verdict


@pytest.mark.parametrize(("value", "ratio"), [(1.0, 0.0), (1.1, np.inf)])
def test_answers_that_are_exact(value: float, ratio: float):
    """With standard errors of zero any difference is a disagreement."""
    (pair,) = doctored(weak=made(scalars={"D": (1.0, 0.0)}), joint=made(scalars={"D": (value, 0.0)})).pairs
    assert (pair.ratio, pair.agrees) == (ratio, ratio == 0.0)


@pytest.mark.parametrize(("shift", "agrees"), [(0.05, True), (0.4, False)])
def test_fields_on_unlike_grids(shift: float, agrees: bool):
    comparison = doctored(
        joint=made(fields={"k": (np.linspace(1, 2, 9), 0.1)}),
        network=made(fields={"k": (np.linspace(1, 2, 33) + shift, 0.1)}),
    )
    (pair,) = comparison.pairs
    assert pair.agrees is agrees
    assert pair.ratio == pytest.approx(shift / np.hypot(0.1, 0.1))
    assert pair.relative == pytest.approx(shift / 1.5, rel=0.15)
    assert comparison.verdict.startswith("Agreement" if agrees else "Disagreement")
    assert "in the 2-norm" in comparison.verdict


def test_places_without_a_finite_standard_error_are_left_out():
    one, other = (made(fields={"k": (np.ones(n), 0.1)}) for n in (9, 33))
    one.dataset["k_sd"].values[:5] = np.inf
    other.dataset["k"].values[:15] = 9.0
    (pair,) = doctored(joint=one, network=other).pairs
    assert (pair.ratio, pair.agrees) == (0.0, True)
    one.dataset["k_sd"].values[:] = np.inf
    (pair,) = doctored(joint=one, network=other).pairs
    assert (pair.ratio, pair.lacking) == (None, ("network", "joint"))


def test_a_worse_prediction_is_named():
    comparison = doctored(weak=made(scalars={"D": (1.0, 0.1)}), joint=made(scalars={"D": (1.0, None)}))
    rows = (comparison.rows[0], Row("joint", "converged", misfit={"u": 4.0}))
    changed = Comparison(comparison.solutions, rows)
    assert "joint predicts the held-out u worse than weak (misfit 4 against 1)." in changed.verdict
    assert verdict.worse({"weak": {"u": None}}) == []
