"""The command compare: what it prints and writes, and its exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import mollifier.diagnostics.compare.comparison
from compared_solutions import doctored, made
from engine_problems import gridded, heat_values
from mollifier.cli.app import app
from mollifier.diagnostics.compare.comparison import Comparison, compare
from mollifier.io.files import OutputError
from mollifier.problem.solution import Solution, load_solution

# The command


@pytest.fixture
def faked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A problem file, and compare in place of which what is put into the list is given."""
    monkeypatch.chdir(tmp_path)
    gridded(heat_values, 12, 12).dataset.to_netcdf("u.nc", engine="h5netcdf")
    Path("p.yaml").write_text(
        'equation: "u_t = D*u_xx"\ndata: {file: u.nc}\nunknowns: {D: {}}\nheld_out: 0.2\n'
    )
    given: list[Any] = []
    calls: list[Any] = []

    def fake(problem: Any, engines: Any, **options: Any) -> Comparison:
        calls.append((engines, options))
        return given[0]

    monkeypatch.setattr(mollifier.diagnostics.compare.comparison, "compare", fake)
    return given, calls


GOOD, FAR = made(scalars={"D": (1.0, 0.03)}), made(scalars={"D": (1.3, 0.04)})


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["compare", "p.yaml", *words])


def test_the_command_prints_and_saves(faked):
    given, calls = faked
    given.append(doctored(weak=GOOD, joint=made(scalars={"D": (1.02, 0.04)}), nested=None))
    result = run("--engines", "weak, joint,nested", "--seed", "3", "--out", "out")
    assert result.exit_code == 0, result.output
    assert "Agreement of weak and joint on D" in result.stdout
    assert "nested, refused: it cannot" in result.stdout
    engines, options = calls[0]
    assert engines == ["weak", "joint", "nested"]
    assert (options["rng"], options["hold_out"]) == (3, 0.2)
    assert load_solution("out/weak").estimates["D"].value == 1.0
    rows = list(csv.DictReader(Path("out/compare.csv").read_text().splitlines()))
    assert [(r["engine"], r["status"], r["D"]) for r in rows] == [
        ("weak", "converged", "1.0"),
        ("joint", "converged", "1.02"),
        ("nested", "refused", ""),
    ]
    assert json.loads(Path("out/compare.json").read_text())["agree"] is True
    assert Path("out/compare.md").read_text().startswith("| engine | D |")
    assert Path("out/compare.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in Path("out/compare.svg").read_text()


@pytest.mark.parametrize(
    ("solutions", "code"),
    [
        ({"weak": GOOD, "joint": None}, 0),
        ({"weak": GOOD, "joint": FAR}, 1),
        ({"weak": made("undetermined"), "joint": made("step limit")}, 1),
        ({"weak": None}, 1),
        ({"weak": GOOD, "network": made("interrupted")}, 130),
    ],
)
def test_exit_codes_of_a_comparison(faked, solutions, code: int):
    faked[0].append(doctored(**solutions))
    result = run("--json", "--no-figures")
    assert (result.exit_code, result.stderr) == (code, "")
    content = json.loads(result.stdout)
    assert [r["engine"] for r in content["rows"]] == list(solutions)
    assert content["figures"] == []
    assert not Path("out/compare.png").exists()
    assert run("--quiet", "--no-figures").output == ""


def test_bad_input_of_the_command(faked, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mollifier.diagnostics.compare.comparison, "compare", compare)
    result = run("--engines", "weak,networc")
    assert result.exit_code == 2
    assert "Did you mean 'network'?" in result.stderr
    assert run("--set", "trainin.steps=3").exit_code == 2


def test_a_full_disk_loses_the_files_not_the_verdict(faked, monkeypatch: pytest.MonkeyPatch):
    def full(self: Solution, folder: Any) -> Path:
        raise OutputError("Cannot write: no space left.")

    monkeypatch.setattr(Solution, "save", full)
    faked[0].append(doctored(weak=GOOD))
    result = run("--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["rows"][0]["engine"] == "weak"
