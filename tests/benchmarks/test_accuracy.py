"""Accuracy and coverage of the engines: the arithmetic over seeds, and what a run keeps."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import xarray as xr

from benchmarks import accuracy
from benchmarks.accuracy import Row, Trial
from benchmarks.cases.base import Case
from benchmarks.cases.registry import CASES, case
from benchmarks.pages import save_benchmark
from benchmarks.table import Table
from mollifier.errors import ConfigurationError, DataError
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status
from mollifier.problem.unknowns import ScalarUnknown


def build() -> Case:
    """Waves that decay, on a grid that is solved at once."""
    x, t = np.linspace(0, 3, 41), np.linspace(0, 1, 51)
    u = np.exp(-0.4 * t) * np.sin(2 * x)[:, None] + 0.5 * np.exp(-2.5 * t) * np.cos(5 * x)[:, None]
    return Case(
        name="decay",
        title="Diffusion",
        equation="u_t = D*u_xx",
        unknowns={"D": ScalarUnknown()},
        clean=xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}),
        truth={"D": 0.1},
        source="Ours.",
        fails="It does not.",
        fields=("u",),
        levels=(0.01, 0.02),
        engines=("weak", "auto"),
        targets={0.01: 0.05},
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, "decay", build)


def solution(status: str = "converged", estimate: float | None = None, fields: xr.Dataset | None = None):
    estimates = {} if estimate is None else {"D": Estimate("D", estimate, 0.01)}
    fit, history = (xr.Dataset({"u": (dim, [1.0])}) for dim in ("observation", "step"))
    return Solution(Status(status, "the message"), estimates, fields or xr.Dataset(), fit, history, {})


class Solver:
    """Stands for `solve`: one answer after another, the last for ever."""

    def __init__(self, *answers: float | str | BaseException) -> None:
        self.answers = list(answers)

    def __call__(self, problem, engine, rng, settings):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return solution(answer) if isinstance(answer, str) else solution(estimate=answer)


def measured(monkeypatch: pytest.MonkeyPatch, *answers: float | str | BaseException) -> Row:
    monkeypatch.setattr(accuracy, "solve", Solver(*answers))
    return accuracy.measure(build(), 0.01, "weak", range(len(answers)))


def test_each_case_says_what_is_run(small):
    told = []
    table = accuracy.run(["decay"], seeds=range(2), progress=lambda *step: told.append(step))
    assert [(r.engine, r.noise, r.seeds, r.target) for r in table.rows] == [
        ("weak", 0.01, 2, 0.05),  # and not twice, though "auto" takes it too
        ("weak", 0.02, 2, None),
    ]
    assert told[0] == (0, 1, "making decay")
    assert told[-1] == (3, 4, "decay, weak, noise 2 %, seed 1")
    row = table.rows[0]
    assert row.worst == row.errors["D"] < 0.05
    assert 0 < row.seconds < 60
    assert row.statuses == {"converged": 2}
    named = accuracy.run(["decay"], [0.05], ["joint"], range(1))
    assert [(r.engine, r.noise) for r in named.rows] == [("joint", 0.05)]


def test_errors_are_medians(monkeypatch):
    row = measured(monkeypatch, 0.11, 0.12, 0.13, 0.14, 0.15)
    assert row.errors["D"] == row.worst == pytest.approx(0.3)
    assert row.quartiles == pytest.approx((0.2, 0.4))


def test_coverage_counts_intervals_that_hold_the_truth(monkeypatch):
    # Half widths 0.0067, 0.0128 and 0.0196 about estimates that are 0.005, 0.01, 0.015 and 0.03 off.
    row = measured(monkeypatch, 0.105, 0.09, 0.115, 0.13)
    assert row.coverage == {"D": {50: 0.25, 80: 0.5, 95: 0.75}}


def test_coverage_of_a_field():
    made = case("reaction_rate")
    exact = made.true_fields["k"]
    sd = xr.full_like(exact, 0.1)
    fields = xr.Dataset({"k": exact + 0.15, "k_sd": sd})  # 1.5 standard errors off everywhere
    assert accuracy.covered(made, solution(fields=fields))["k"].tolist() == [0.0, 0.0, 1.0]
    assert accuracy.covered(made, solution(fields=fields[["k"]])) == {}


def test_seeds_without_an_answer_count_as_infinitely_wrong(monkeypatch):
    row = measured(monkeypatch, 0.11, DataError("no good"), ZeroDivisionError("oops"), "undetermined")
    assert row.worst == math.inf
    assert row.errors["D"] == pytest.approx(0.1)
    assert row.statuses == {"converged": 1, "refused": 1, "failed": 1, "undetermined": 1}
    assert row.message == "no good"
    assert measured(monkeypatch, 0.11, 0.12, DataError("no")).worst == pytest.approx(0.2)
    table = Table("accuracy", (row,), accuracy.COLUMNS)
    assert "| - |" in table.to_markdown()
    json.dumps(table.to_dict(), allow_nan=False)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), "interrupted"])
def test_ctrl_c_keeps_the_seeds_that_are_done(small, monkeypatch, stop):
    monkeypatch.setattr(accuracy, "solve", Solver(0.1, 0.1, 0.1, stop))
    table = accuracy.run(["decay"], [0.01, 0.02, 0.05], ["weak"], range(2))
    assert table.interrupted
    assert [(r.noise, r.seeds) for r in table.rows] == [(0.01, 2), (0.02, 1)]
    monkeypatch.setattr(accuracy, "solve", Solver(stop))
    assert accuracy.run(["decay"], [0.01], ["weak"], range(2)).rows == ()


def test_the_noise_of_a_case():
    absolute = case("inverse_poisson")
    rms = math.sqrt(float((absolute.clean["u"] ** 2).mean()))
    assert accuracy.noise_of(absolute, None) == pytest.approx(0.1 / rms)
    assert accuracy.noise_of(absolute, 0.3) == 0.3
    assert accuracy.levels_of(absolute, []) == [None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cases": ["deca"]}, "Did you mean 'decay'"),
        ({"engines": ["wek"]}, "Did you mean 'weak'"),
        ({"noises": [math.nan]}, "noise nan"),
        ({"seeds": range(0)}, "No seeds"),
    ],
)
def test_what_is_refused_at_once(small, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        accuracy.run(**{"cases": ["decay"], **changes})


def row(case: str, noise: float, worst: float, target: float | None = None) -> Row:
    covered = {"a": {50: 0.4, 80: 0.8, 95: 0.9}} if math.isfinite(worst) else {}
    errors = {"a": worst} if covered else {}
    ends = (worst / 2, math.inf) if covered else (math.inf, math.inf)
    return Row(case, "weak", noise, 4, errors, worst, ends, target, covered, 1.0, {"converged": 4})


def test_files_and_figure(tmp_path):
    rows = (
        row("kdv", 0.01, 0.1, 0.2),
        row("kdv", 0.1, 2.0, 0.5),
        row("heat", 0.0, 0.1),
        row("x", 0.1, math.inf),
    )
    table = Table("accuracy", rows, accuracy.COLUMNS, "How | why.")
    table.save(tmp_path)
    found = list(csv.DictReader((tmp_path / "accuracy.csv").read_text().splitlines()))
    assert [r["coverage_a_95"] for r in found] == ["0.9", "0.9", "0.9", ""]
    assert json.loads((tmp_path / "accuracy.json").read_text())["rows"][3]["worst"] is None
    assert (tmp_path / "accuracy.md").read_text().count("\n| ") == 5
    written = save_benchmark(table, tmp_path)
    assert [p.name for p in written] == ["accuracy.png", "accuracy.svg"]
    assert save_benchmark(Table("accuracy", (), accuracy.COLUMNS), tmp_path) == []
    assert save_benchmark(Table("peers", rows, {}), tmp_path) == []


def test_the_figure_shows_errors_target_and_nominal_coverage():
    from benchmarks.pages import accuracy_figure

    rows = (row("kdv", 0.01, 0.1, 0.2), row("kdv", 0.1, 2.0, 0.5))
    left, right = accuracy_figure(Table("accuracy", rows, accuracy.COLUMNS)).axes
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    lines = {tuple(line.get_ydata()) for line in left.lines}
    assert {(0.1, 2.0), (0.2, 0.5)} <= lines
    assert {(0.9, 0.9), (0.4, 0.4)} <= {tuple(line.get_ydata()) for line in right.lines}


def test_a_trial_tells_its_worst_error():
    assert Trial("converged", errors={"a": 0.1, "b": 0.4}).worst == 0.4
    assert Trial("converged", errors={"a": 0.1, "b": math.nan}).worst == math.inf
