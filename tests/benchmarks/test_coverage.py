"""Coverage of the engines' intervals: shares, rows, figure, and a run that is taken up."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import accuracy, coverage
from benchmarks.app import bench
from benchmarks.cases.registry import case
from benchmarks.coverage import KNOWN, Trial, build, rows_of, run
from benchmarks.journal import Journal
from benchmarks.pages import save_benchmark
from mollifier.errors import ConfigurationError


def trials(rng, factor, n=200):
    """What an engine would leave whose standard errors are too small by a factor."""
    scores = factor * rng.standard_normal((n, 1))
    return [Trial("converged", scores={"a": z.tolist(), "nu": (-z).tolist()}, seconds=1.0) for z in scores]


def test_rows_tell_right_from_narrow():
    made, rng = build("burgers-small"), np.random.default_rng(0)
    right = rows_of(made, 0.05, "network", trials(rng, 1.0))
    narrow = rows_of(made, 0.05, "network", trials(rng, 2.0))
    assert [r.unknown for r in right] == ["a", "nu"]
    for row in right:
        assert row.coverage[95].low <= 0.95 <= row.coverage[95].high
        assert row.largest < row.band
        assert row.score == pytest.approx(1.0, abs=0.15)
        assert math.isnan(row.spread)
    for row in narrow:
        assert row.coverage[95].high < 0.85
        assert row.largest > row.band
        assert row.histogram[0] > 0.15
        assert sum(row.histogram) == pytest.approx(1.0)


def test_a_field_has_its_spread_over_seeds():
    made, rng = build("reaction_rate"), np.random.default_rng(0)
    scores = rng.standard_normal((30, 1)) + 0.1 * rng.standard_normal((30, 40))
    found = [Trial("converged", scores={"k": z.tolist()}) for z in scores] + [Trial("refused", "no")]
    (row,) = rows_of(made, None, "joint", found)
    assert (row.seeds, row.answers, row.places) == (31, 30, 40)
    shares = np.mean(np.abs(scores) < 1.959964, axis=1)
    assert row.coverage[95].value == pytest.approx(shares.mean())
    assert row.spread == pytest.approx(shares.std(ddof=1))
    assert row.statuses == {"converged": 30, "refused": 1}
    assert row.message == "no"


def test_an_unknown_without_standard_errors_has_an_empty_row():
    (row,) = rows_of(build("reaction_rate"), None, "joint", [Trial("failed", "broke")])
    assert (row.answers, row.coverage) == (0, {})
    assert math.isnan(row.largest)


def test_small_versions_carry_their_truth():
    made = build("burgers-small")
    assert made.name == "burgers-small"
    assert made.scalars["nu"] == pytest.approx(0.03 / np.pi)
    assert case("burgers", nodes=64, frames=33).scalars["nu"] == pytest.approx(0.01 / np.pi)
    assert {"langevin", "heat-20", "kdv-small", "chromatin-pair"} <= set(KNOWN)


def test_shares_are_those_of_the_benchmark_of_accuracy():
    made = build("reaction_rate")
    found, told = coverage.trial(made, 0.05, "joint", 1), accuracy.trial(made, 0.05, "joint", 1)
    z = np.array(found.scores["k"])
    shares = [np.mean(np.abs(z) <= h) for h in (0.67449, 1.28155, 1.95996)]
    # On fewer of the truth's nodes.
    assert told.covered["k"] == pytest.approx(shares, abs=0.02)


@pytest.mark.slow
def test_a_run_that_is_taken_up_gives_the_same_bits(tmp_path):
    path = tmp_path / "trials.jsonl"

    def stop(done, total, what):
        if "seed 2" in what:
            raise KeyboardInterrupt

    broken = run(["reaction_rate"], [0.05], ["joint"], range(4), journal=Journal(path), progress=stop)
    assert broken.interrupted
    assert broken.rows[0].seeds == 2
    seen = []
    again = run(
        ["reaction_rate"], [0.05], ["joint"], range(4), journal=Journal(path, resume=True),
        progress=lambda done, total, what: seen.append(what),
    )  # fmt: skip
    whole = run(["reaction_rate"], [0.05], ["joint"], range(4))
    assert again.rows[0].histogram == whole.rows[0].histogram
    assert again.rows[0].score == whole.rows[0].score
    assert len(path.read_text().splitlines()) == 4
    assert len(seen) == 5
    files = save_benchmark(again, tmp_path)
    assert [f.suffix for f in files] == [".png", ".svg"]
    assert all(f.stat().st_size > 1000 for f in files)
    assert "| reaction_rate | 5 % | joint | k |" in again.to_markdown()


def test_the_command(tmp_path):
    asked = ["coverage", "reaction_rate", "-e", "joint", "--noise", "0.05", "--seeds", "2", "--json"]
    result = CliRunner().invoke(
        bench, [*asked, "--no-figures", "--set", "held_out=0.0", "--out", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert rows[0]["unknown"] == "k"
    assert set(rows[0]["coverage"]["95"]) == {"value", "low", "high"}
    assert {p.name for p in tmp_path.iterdir()} >= {"coverage.csv", "coverage.md", "coverage.trials.jsonl"}
    wrong = CliRunner().invoke(bench, ["coverage", "kdv-smal", "--out", str(tmp_path)])
    assert wrong.exit_code == 2
    assert "Did you mean 'kdv-small'?" in wrong.output


def test_what_is_not_known_is_refused():
    with pytest.raises(ConfigurationError, match="There is no engine"):
        run(["langevin"], engines=["nework"])
