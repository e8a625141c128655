"""The command in a process of its own: what it imports, its output, and pipes and disks that fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import BENCHES, HEAD, call, write_table
from mollifier.problem.solution import load_solution


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", "from mollifier.cli.app import main; main()", *words]
    return subprocess.run(
        start, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


def test_help_has_examples_and_imports_no_torch(here: Path):
    code = (
        "import sys; from mollifier.cli.app import app; "
        "app(['--help'], standalone_mode=False); app(['solve', '--help'], standalone_mode=False); "
        "heavy = {'torch', 'sympy', 'pandas', 'xarray', 'matplotlib'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert "mollifier solve examples/burgers.yaml" in found.stdout
    for word in ("check", "compare", "demo"):
        assert "Example: mollifier" in call(word, "--help").stdout
    for name in BENCHES:
        assert "Example: python -m benchmarks" in call("bench", name, "--help").stdout
    assert call("--version").stdout.startswith("mollifier ")


def test_weak_solve_imports_nothing_heavy(here: Path):
    """Without figures a solve by the weak engine loads none of torch, matplotlib, scipy.stats and pint."""
    write_table()
    words = ["solve", "u.yaml", "--no-figures", "--quiet"]
    Path("u.yaml").write_text(
        "equation: u_t = D*u_xx\nunknowns: {D: {}}\nengine: weak\ndata: {file: u.csv, values: u}\n"
    )
    code = (
        f"import sys; from mollifier.cli.app import app; app({words}, standalone_mode=False); "
        "heavy = {'torch', 'scipy.stats', 'matplotlib', 'pint'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr


@pytest.mark.slow
def test_colours_only_where_they_are_wanted(here: Path):
    forced = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert "\x1b[" in command("check", "none.yaml", **forced).stderr
    assert "\x1b[31m" not in command("check", "none.yaml", NO_COLOR="1", **forced).stderr
    for flag in ("--no-colour", "--no-color"):
        assert "\x1b[31m" not in command("check", "none.yaml", flag, **forced).stderr


def test_the_whole_way(here: Path):
    small = ["training.steps=2", "collocation.nodes={x: 17, t: 17}"]
    found = command("solve", "p.yaml", "-e", "joint", "--json", *[w for s in small for w in ("--set", s)])
    assert found.returncode == 0, found.stderr
    assert "D" in json.loads(found.stdout)["estimates"]
    assert "D" in load_solution("out").estimates
    assert list(Path("out").glob("**/*.png"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_output_that_cannot_be_written_loses_no_files(here: Path):
    """A closed pipe and a full disk end the printing only."""
    run = [sys.executable, "-m", "mollifier", "solve", "p.yaml", "-e", "joint", "--no-figures", "--out"]
    with Path("/dev/full").open("w") as full:
        found = subprocess.run([*run, "full"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (found.returncode, "No space left" in found.stderr) == (2, True), found.stderr
    assert "D" in load_solution("full").estimates
    process = subprocess.Popen([*run, "pipe"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    process.communicate()
    assert process.returncode == 0
    assert "D" in load_solution("pipe").estimates


@pytest.mark.slow
def test_output_in_an_encoding_that_lacks_characters(here: Path):
    Path("p.yaml").write_text(HEAD.replace("m^2/s", "µm^2/s"), encoding="utf-8")
    found = command("solve", "p.yaml", "-e", "joint", "--no-figures", PYTHONIOENCODING="ascii")
    assert found.returncode == 0, found.stderr
    assert "\\xb5m^2/s" in found.stdout
    found = command("solve", "p.yaml", "-e", "joint", "--json", "--no-figures", PYTHONIOENCODING="ascii")
    assert json.loads(found.stdout)["estimates"]["D"]["unit"] == "µm^2/s"
