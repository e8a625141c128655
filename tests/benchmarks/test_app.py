"""The benchmark commands: what they print and write, their exit codes, and what they say of bad input."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import accuracy, blocks, derivatives, gpu, scale, speed, versus
from benchmarks.table import Table
from command_line import call, refused


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_row(name: str, row: Any, columns: Any, **options: Any) -> Any:
    """Stands for a benchmark: tells its progress and gives a table of one row."""

    def run(*_: Any, progress: Any, **__: Any) -> Table:
        progress(0, 4, "the first of them")
        return Table(name, (row,), columns, "How it was measured.", {"device": "CPU"}, **options)

    return run


ACCURATE = accuracy.Row(
    "kdv", "weak", 0.1, 4, {"a": 0.02}, 0.02, (0.01, 0.04), 0.05, {"a": {50: 0.5, 95: 1.0}}, 1.5,
    {"converged": 4},
)  # fmt: skip
SIZED = [scale.Row(n, n * n, n * n / 2**17, 1, n / 100, n / 10, 1.0, 0.01) for n in (64, 128)]
BENCHES = {
    "engines": (accuracy, "accuracy", ACCURATE),
    "peers": (versus, "peers", versus.Row("kdv", 0.1, "odil", "weak", 4, 0.2, 0.1, 2.0, 9.0, 3.0, 3.0, 0.1)),
    "scale": (scale, "scale", SIZED[0]),
    "speed": (speed, "speed", speed.Row("solve", 4096, 0.5, "by hand", 0.1)),
    "blocks": (blocks, "blocks", blocks.Row("in blocks", 2000, 512, 4.2, 90.0, 700.0, 1.1, "converged")),
    "gpu": (gpu, "gpu", gpu.Row("layer", 4096, 0.01, 12.0, 1e-7)),
    "derivatives": (derivatives, "derivatives", derivatives.Row("nested", "eager", 2, 64, 4096, 0.001)),
}


@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_prints_and_saves(here: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    module, stem, row = BENCHES[name]
    monkeypatch.setattr(module, "run", one_row(stem, row, module.COLUMNS))
    result = call("bench", name, "--out", "kept")
    assert result.exit_code == 0, result.output
    assert "1/4: the first of them" in result.stderr
    assert "How it was measured." in result.stdout
    for head in module.COLUMNS:
        assert head in result.stdout
    figures = {f"{stem}.png", f"{stem}.svg"} if name in ("engines", "scale") else set()
    assert {p.name for p in Path("kept").iterdir()} == {
        f"{stem}.{k}" for k in ("csv", "json", "md")
    } | figures
    assert len(list(csv.DictReader(Path(f"kept/{stem}.csv").read_text().splitlines()))) == 1
    answer = json.loads(call("bench", name, "--json").stdout)
    assert answer["rows"] == json.loads(Path(f"out/bench/{stem}.json").read_text())["rows"]
    monkeypatch.setattr(module, "run", one_row(stem, row, module.COLUMNS, interrupted=True))
    result = call("bench", name, "--out", "part")
    assert result.exit_code == 130
    assert "Interrupted" in result.stdout
    assert "Interrupted" in Path(f"part/{stem}.md").read_text()


def test_benchmarks_without_an_answer(here: Path, monkeypatch: pytest.MonkeyPatch):
    silent = replace(ACCURATE, errors={}, worst=np.inf, quartiles=(np.inf, np.inf), message="why not")
    table = Table("accuracy", (silent,), accuracy.COLUMNS, note=lambda row: row.message)
    monkeypatch.setattr(accuracy, "run", lambda *_, **__: table)
    result = call("bench", "engines", "--no-figures")
    assert result.exit_code == 1
    assert "why not" in result.stdout
    assert not Path("out/bench/accuracy.png").exists()


def test_what_the_options_of_a_benchmark_become(here: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []

    def run(*given: Any, progress: Any, journal: Any) -> Table:
        calls.append(given)
        return Table("accuracy", (), accuracy.COLUMNS)

    monkeypatch.setattr(accuracy, "run", run)
    call("bench", "engines", "kdv", "heat", "--noise", "0.01, 0.1", "--engines", "weak,joint", "--seeds", "3")
    call("bench", "engines")
    assert calls[0] == (["kdv", "heat"], [0.01, 0.1], ["weak", "joint"], range(3))
    assert calls[1] == ([], [], [], range(20))


def test_the_cases_are_listed(here: Path):
    result = call("bench", "engines", "langevin", "reaction_rate", "--list")
    assert result.exit_code == 0
    assert "u_t = s*u + lam" in result.stdout
    assert "lam(t)" in result.stdout
    assert not Path("out").exists()
    listed = json.loads(call("bench", "engines", "langevin", "--list", "--json").stdout)
    assert listed["rows"][0]["size"] == "501"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["engines", "burger"],
            "There is no case 'burger'. Did you mean 'burgers'? Known: advection_diffusion,",
        ),
        (["engines", "burger", "--list"], "Did you mean 'burgers'? Known: advection_diffusion,"),
        (["engines", "kdv", "--engines", "weka"], "There is no engine 'weka'. Did you mean 'weak'?"),
        (["engines", "kdv", "--noise", "1 %"], "--noise '1 %' was given; comma-separated numbers"),
        (["engines", "kdv", "--noise", "0.1,-1"], "noise -1 was given; a number of 0 or more was expected"),
        (["peers", "burger"], "Did you mean 'burgers'?"),
        (["peers", "--engine", "pysindy"], "There is no engine 'pysindy'."),
        (["peers", "--noise", "nan"], "noise nan was given"),
        (["scale", "--sizes", "8,64"], "size 8 was given; at least 16 nodes"),
        (["scale", "--sizes", "64.5"], "--sizes holds 64.5; whole numbers"),
        (["scale", "--sizes", ","], "--sizes ',' was given"),
    ],
)
def test_bad_input_of_a_benchmark(here: Path, words: list[str], message: str):
    assert message in refused("bench", *words, "-q")
