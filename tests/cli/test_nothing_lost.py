"""Killed, filled up or run twice: what was found stays, and a run taken up ends in the same numbers."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import accuracy, kill
from benchmarks.journal import Journal
from benchmarks.traces import numbers, unreadable
from engine_problems import heat, small
from mollifier.chromatin import study as studies
from mollifier.cli.app import app
from mollifier.diagnostics.compare.comparison import compare
from mollifier.engines.collocated.checkpoint import load_checkpoint, save_checkpoint
from mollifier.engines.joint import engine as joint
from mollifier.engines.registry import ENGINES
from mollifier.engines.settings import used_by
from mollifier.engines.solve import solve
from mollifier.errors import DataError
from mollifier.io.files import OutputError, write_text
from mollifier.io.lock import BusyError, locked
from mollifier.problem.problem_file import load
from mollifier.problem.solution import load_solution

resource = pytest.importorskip("resource", reason="limits on files are of Unix")

FEW = small(collocation={"max_nodes": 150}, training={"warmup_steps": 40, "steps": 4, "checkpoint_steps": 1})


def part(*engines):
    """The part of `FEW` that engines use."""
    return used_by(FEW, [ENGINES[e] for e in engines])


class StopError(Exception):
    """Raised by a progress callback, as abrupt as a kill to all that runs."""


def broken(step, **options):
    """A run that ends abruptly at its so-manieth step."""
    seen = []

    def follow(event):
        seen.append(event)
        if len(seen) == step:
            raise StopError

    with pytest.raises(StopError):
        solve(progress=follow, **options)


@pytest.mark.parametrize(
    ("engine", "step"),
    [
        ("network", 42),
        ("joint", 3),
        pytest.param("network", 3, marks=pytest.mark.slow),
        pytest.param("joint", 5, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_breaks_off_is_taken_up_to_the_bit(tmp_path, engine, step):
    run = {"problem": heat(120), "engine": engine, "settings": part(engine)}
    solve(**run, folder=tmp_path / "whole").save(tmp_path / "whole")
    broken(step, **run, folder=tmp_path / "broken")
    assert not list(unreadable(tmp_path / "broken"))
    solve(**run, folder=tmp_path / "broken", resume=True).save(tmp_path / "broken")
    assert numbers(tmp_path / "broken") == numbers(tmp_path / "whole")


@pytest.mark.parametrize("engine", ["network", "joint"])
def test_a_finished_run_that_is_resumed_gives_the_same_standard_errors(tmp_path, engine):
    run = {"problem": heat(120), "engine": engine, "settings": part(engine), "folder": tmp_path}
    first, again = solve(**run), solve(**run, resume=True)
    assert first.estimates == again.estimates
    assert first.status == again.status


def finer_run(tmp_path):
    """A front whose nodes the joint engine finds too few: its second pass."""
    kill.make_files(tmp_path)
    file = load(tmp_path / "finer.yaml", ["training.steps=4"])
    return {"problem": file.problem(), "engine": "joint", "settings": file.settings}


def test_a_run_that_breaks_off_in_the_second_pass(tmp_path):
    run = finer_run(tmp_path)
    steps = []
    whole = solve(**run, folder=tmp_path / "whole", progress=steps.append)
    assert (tmp_path / "whole" / "finer" / "checkpoint.pt").exists()
    broken(len(steps) - 2, **run, folder=tmp_path / "broken")
    again = solve(**run, folder=tmp_path / "broken", resume=True)
    assert again.estimates == whole.estimates
    # What another run of the folder left for the second pass stops none.
    (tmp_path / "broken" / "finer" / "checkpoint.pt").write_bytes(b"damaged")
    assert solve(**run, folder=tmp_path / "broken", resume=True).estimates == whole.estimates
    assert joint.kept(tmp_path / "broken" / "finer")


@pytest.mark.slow
def test_a_comparison_goes_on_from_what_was_done(tmp_path, monkeypatch):
    problem, asked = heat(120), []
    whole = compare(problem, ["joint", "weak"], settings=part("joint", "weak"), folder=tmp_path)
    monkeypatch.setattr("mollifier.diagnostics.compare.children.run_apart", lambda *a: asked.append(a))
    again = compare(problem, ["joint", "weak"], settings=part("joint", "weak"), folder=tmp_path, resume=True)
    assert not asked
    assert [r.flat() for r in again.rows] == [r.flat() for r in whole.rows]
    assert again.solutions["joint"].dataset.identical(whole.solutions["joint"].dataset)


@pytest.mark.slow
def test_a_benchmark_goes_on_from_what_was_done(tmp_path, monkeypatch):
    path = tmp_path / "trials.jsonl"
    run = (["reaction_rate"], [0.05], ["joint"], range(2))
    whole = accuracy.run(*run, journal=Journal(path))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:40])  # cut short in the second
    solved, trial = [], accuracy.trial
    monkeypatch.setattr(accuracy, "trial", lambda *a: (solved.append(a[3]), trial(*a))[1])
    again = accuracy.run(*run, journal=Journal(path, resume=True))
    assert solved == [1]
    assert (again.rows[0].errors, again.rows[0].coverage) == (whole.rows[0].errors, whole.rows[0].coverage)
    assert len(path.read_text().splitlines()) == 2


def test_one_run_in_a_folder_at_a_time(tmp_path):
    code = (
        "import sys, time; from mollifier.io.lock import locked\n"
        f"with locked({str(tmp_path)!r}): print('in', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with (
            pytest.raises(BusyError, match=rf"in use by another run \(process {other.pid} on"),
            locked(tmp_path, wait=0),
        ):
            pass
        with pytest.raises(BusyError):
            solve(heat(60), "joint", settings=part("joint"), folder=tmp_path)
        with locked(tmp_path, "accuracy", wait=0):  # another name, another lock
            pass
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert other.stdout is not None
        other.stdout.close()
    assert (tmp_path / ".lock").exists()  # left by the dead
    with locked(tmp_path), locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()
    assert not (tmp_path / ".lock").exists()


def test_what_killed_runs_left_half_written_is_taken_away_in_time(tmp_path):
    old, new = (tmp_path / f".{c * 32}.tmp.nc" for c in "ab")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 3600,) * 2)
    with locked(tmp_path):
        assert not old.exists()
        assert new.exists()


def test_numpys_numbers_in_a_checkpoint_are_read_back(tmp_path):
    state = {
        "fingerprint": {},
        "allowed": np.bool_(False),
        "pairs": {(0, 1): np.float64(0.5)},
        "a": np.ones(2),
    }
    save_checkpoint(tmp_path, state)
    read = load_checkpoint(tmp_path, {})
    assert (read["allowed"], read["pairs"], read["a"].tolist()) == (False, {(0, 1): 0.5}, [1.0, 1.0])


def test_a_disk_that_fills_keeps_the_earlier_result(tmp_path):
    """Files may not grow beyond a size, which fails as a full disk does, in the middle of a write."""
    solution = solve(heat(120), "joint", settings=part("joint"))
    solution.save(tmp_path)
    write_text(tmp_path / "a.txt", "old")
    before, limits = numbers(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OutputError, match=r"a\.txt"):
            write_text(tmp_path / "a.txt", "new" * 1000)
        with pytest.raises(OutputError, match=r"solution\.nc"):
            solution.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert numbers(tmp_path) == before
    assert not list(unreadable(tmp_path))
    load_solution(tmp_path)


def test_a_full_journal_is_said(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="Free some space"):
        Journal(tmp_path / "a.jsonl").once({}, accuracy.Trial, lambda: accuracy.Trial("converged"))


@pytest.mark.stress
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", kill.KINDS)
def test_killed_at_random_moments(kind):
    assert kill.check(table := kill.run([kind], 5)), table.to_markdown()


def test_the_words_of_a_killed_run():
    for kind in kill.KINDS:
        words = kill.command(kind, Path("p"), Path("o"), True, False)
        assert words[0] in ("solve", "compare", "bench", "chromatin")
        assert words[-1] == "--resume"


def test_the_files_of_killed_runs_can_be_read(tmp_path):
    kill.make_files(tmp_path)
    problems = {path.stem: load(path).problem() for path in tmp_path.glob("*.yaml")}
    assert {*problems, "bench", "chromatin", "pool"} == set(kill.KINDS)


def test_a_study_that_breaks_off_is_taken_up_to_the_bit(tmp_path, monkeypatch):
    """Rates and pictures take seconds each and are left out; `python -m benchmarks kill` has them."""
    monkeypatch.setattr(kill, "_MOLECULES", 3_000)
    monkeypatch.setattr(kill, "_NUCLEI", 2)
    kill.make_files(tmp_path)

    def page(result, path, *_):
        return write_text(path, f"<html>{result.name}</html>")

    def none(*_, **__):
        raise DataError("none in this test")

    monkeypatch.setattr("mollifier.chromatin.cells.infer_rate", none)
    monkeypatch.setattr("mollifier.chromatin.page.nucleus_page", page)
    monkeypatch.setattr("mollifier.chromatin.page.drawing", lambda *_: "")
    known, seen = studies.analyse_nucleus, []

    def broken_at_the_second(sample, *rest, **options):
        seen.append(sample.field)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return known(sample, *rest, **options)

    def run(out, resume):
        return CliRunner().invoke(app, kill.command("chromatin", tmp_path, tmp_path / out, resume, False))

    assert run("whole", False).exit_code == 1  # no rates
    monkeypatch.setattr(studies, "analyse_nucleus", broken_at_the_second)
    assert run("broken", False).exit_code == 130
    left = {p.relative_to(tmp_path / "broken").as_posix() for p in (tmp_path / "broken").rglob("*")}
    assert left >= {"cell_0/1/result.nc", "cell_0/1/nucleus.html"}
    assert not left & {"cell_1", "cells.csv"}
    assert not list(unreadable(tmp_path / "broken"))
    assert run("broken", True).exit_code == 1
    assert seen == ["cell_0", "cell_1", "cell_1"]
    whole = numbers(tmp_path / "whole")
    assert numbers(tmp_path / "broken") == whole
    assert len([n for n, v in whole.items() if v == "page"]) == 3


def test_processes_of_a_study_end_with_it(tmp_path):
    """A study that is killed can end none of them itself."""
    code = (
        "import os, time\nfrom mollifier.io.executors import process_pool\n"
        "if __name__ == '__main__':\n"
        "    with process_pool(1) as own:\n"
        "        print(own.submit(os.getpid).result(), flush=True)\n"
        "        own.submit(time.sleep, 600).result()\n"
    )
    script = tmp_path / "study.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def alive(process):
    """Whether it runs; one that has ended and that nobody has asked after does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_files_that_a_kill_could_spoil_are_looked_into(tmp_path):
    (tmp_path / "page.html").write_text("<html><body>")
    (tmp_path / "table.csv").write_text("a,b\n1\n")
    (tmp_path / "result.nc").write_bytes(b"\x89HDF")
    (tmp_path / "whole.html").write_text("<html></html>\n")
    assert [u.split(":")[0] for u in unreadable(tmp_path)] == ["page.html", "result.nc", "table.csv"]
