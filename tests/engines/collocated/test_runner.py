"""Interruption of a run, and its resumption."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from engine_problems import heat, small
from mollifier.engines.collocated.checkpoint import FILE
from mollifier.engines.network.optimisers import WarmUp
from mollifier.errors import CheckpointError
from mollifier.io.files import OutputError
from mollifier.io.signals import TERMINATED
from mollifier.nn.mlp import MLP
from mollifier.problem.inverse_problem import InverseProblem
from run_problems import NEWTON, problem, solve

LBFGS = small(
    training={"warmup_steps": 20, "adam_steps": 12, "steps": 60, "optimiser": "lbfgs"},
    collocation={"max_nodes": 100},
)
MIXED = small(training={**LBFGS["training"], "precision": "float32"}, collocation=LBFGS["collocation"])


def stop_at(stage, step, number=signal.SIGINT):
    def follow(event):
        if event.stage == stage and event.step == step:
            os.kill(os.getpid(), number)

    return follow


def without_time(solution):
    return solution.history.drop_vars("seconds")


def assert_same(one, other):
    assert one.estimates == other.estimates
    assert one.status == other.status
    xr.testing.assert_identical(one.dataset, other.dataset)
    xr.testing.assert_identical(one.fit, other.fit)
    xr.testing.assert_identical(without_time(one), without_time(other))


@pytest.fixture(scope="module")
def unbroken():
    settings = {"newton": NEWTON, "lbfgs": LBFGS, "mixed": MIXED}
    return {name: solve(problem(), settings=s) for name, s in settings.items()}


@pytest.mark.parametrize(
    ("kind", "stage", "step"),
    [
        pytest.param("newton", "warm-up", 13, marks=pytest.mark.slow),
        ("newton", "warm-up", 30),
        ("newton", "gauss-newton", 1),
        ("newton", "gauss-newton", 7),
        ("lbfgs", "adam", 5),
        ("lbfgs", "lbfgs", 3),
        ("mixed", "lbfgs", 3),
    ],
)
def test_resumed_run_is_the_unbroken_one_to_the_bit(kind, stage, step, unbroken, tmp_path):
    settings = {"newton": NEWTON, "lbfgs": LBFGS, "mixed": MIXED}[kind]
    handler = signal.getsignal(signal.SIGINT)
    broken = solve(problem(), settings=settings, folder=tmp_path, progress=stop_at(stage, step))
    assert signal.getsignal(signal.SIGINT) is handler
    assert broken.status.name == "interrupted"
    assert broken.history.sizes["step"] < unbroken[kind].history.sizes["step"]
    assert f"at step {step} of {stage}" in broken.status.message
    resumed = solve(problem(), settings=settings, folder=tmp_path, resume=True)
    assert_same(resumed, unbroken[kind])


def test_run_may_be_broken_off_many_times(unbroken, tmp_path):
    solve(problem(), settings=NEWTON, folder=tmp_path, progress=stop_at("warm-up", 2))
    for stage, step in (("warm-up", 21), ("gauss-newton", 2), ("gauss-newton", 3)):
        solution = solve(
            problem(), settings=NEWTON, folder=tmp_path, resume=True, progress=stop_at(stage, step)
        )
        assert solution.status.name == "interrupted"
    assert_same(solve(problem(), settings=NEWTON, folder=tmp_path, resume=True), unbroken["newton"])


def test_finished_run_can_be_resumed_and_stays_what_it_was(tmp_path):
    settings = small(training={"warmup_steps": 100, "steps": 60, "tolerance": 0.2})
    first = solve(heat(100), settings=settings, folder=tmp_path)
    assert first.status.name == "converged"
    assert_same(solve(heat(100), settings=settings, folder=tmp_path, resume=True), first)


def test_steps_without_gain_are_counted_across_a_break(tmp_path):
    settings = small(training={"warmup_steps": 100, "steps": 60, "tolerance": 0.2})
    whole = solve(heat(100), settings=settings)
    steps = int((whole.history["stage"] == "gauss-newton").sum())
    solve(heat(100), settings=settings, folder=tmp_path, progress=stop_at("gauss-newton", steps - 1))
    assert_same(solve(heat(100), settings=settings, folder=tmp_path, resume=True), whole)


def test_sigterm_ends_the_process_at_its_next_solve():
    """What was found is returned; a script that solves many problems does not go on."""
    try:
        broken = solve(problem(), settings=NEWTON, progress=stop_at("warm-up", 3, signal.SIGTERM))
        assert broken.status.name == "interrupted"
        assert np.isfinite(broken.dataset["u"].values).all()
        with pytest.raises(SystemExit, match="143"):
            solve(problem(), settings=NEWTON)
    finally:
        TERMINATED.clear()


def test_signal_within_a_long_step(monkeypatch):
    """A step that takes long is not waited for; the last good values are the answer."""

    taken, step = [], WarmUp.step

    def long_step(stage):
        taken.append(stage)
        if len(taken) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(100):
                time.sleep(0.1)
        return step(stage)

    monkeypatch.setattr(WarmUp, "step", long_step)
    begun = time.monotonic()
    broken = solve(problem(), settings=NEWTON)
    assert broken.status.name == "interrupted"
    assert "within step 3" in broken.status.message
    assert time.monotonic() - begun < 8


def test_any_thread_may_solve():
    found = []
    thread = threading.Thread(target=lambda: found.append(solve(problem(), settings=NEWTON)))
    thread.start()
    thread.join()
    assert found[0].status.name in ("step limit", "converged")


def test_second_signal_stops_at_once():
    def twice(event):
        if event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        solve(problem(), settings=NEWTON, progress=twice)
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.slow
def test_process_that_is_told_to_stop_leaves_a_checkpoint(tmp_path):
    code = (
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2] / 'support')!r})\n"
        "from run_problems import NEWTON, problem, solve\n"
        "def follow(event):\n"
        "    if event.stage == 'gauss-newton':\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        f"solution = solve(problem(), settings=NEWTON, folder={str(tmp_path)!r}, progress=follow)\n"
        "print(solution.status.name)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "interrupted"
    resumed = solve(problem(), settings=NEWTON, folder=tmp_path, resume=True)
    assert resumed.history.sizes["step"] == 42


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A checkpoint of a broken run, as bytes."""
    folder = tmp_path_factory.mktemp("kept")
    solve(problem(), settings=NEWTON, folder=folder, progress=stop_at("gauss-newton", 3))
    return (folder / FILE).read_bytes()


def test_what_a_checkpoint_holds(kept, tmp_path):
    path = tmp_path / FILE
    path.write_bytes(kept)
    state = torch.load(path, weights_only=True)
    assert set(state) == {
        "format",
        "fingerprint",
        "objective",
        "stage",
        "step",
        "seconds",
        "finished",
        "optimiser",
        "history",
        "notes",
    }
    names = set(state["objective"])
    for part in ("level", "scale", "sizes", "field_scales", "raw", "shift", "weight", "bias"):
        assert any(n.endswith(part) for n in names), part
    assert state["optimiser"]["damping"] > 0
    assert state["fingerprint"]["seed"] == 0
    assert state["fingerprint"]["settings"]["network"]["width"] == 8
    assert len(state["history"]["D"]) == 33


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b"", "cannot be read"),
        (lambda b: b[: len(b) // 2], "cannot be read"),
        (lambda b: b[:-20], "cannot be read"),
        (lambda b: b"not a checkpoint at all" * 10, "cannot be read"),
        (lambda b: bytes(np.frombuffer(b, np.uint8) ^ 0x55), "cannot be read"),
    ],
)
def test_damaged_checkpoint_is_refused(damage, message, kept, tmp_path):
    (tmp_path / FILE).write_bytes(damage(kept))
    with pytest.raises(CheckpointError, match=message):
        solve(problem(), settings=NEWTON, folder=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"format": 99}, "another version"),
        (lambda s: [1, 2], "another version"),
        (lambda s: {n: v for n, v in s.items() if n != "fingerprint"}, "another version"),
        (lambda s: {n: v for n, v in s.items() if n != "notes"}, "does not fit this run"),
        (lambda s: s | {"objective": {}}, "does not fit this run"),
        (lambda s: s | {"optimiser": {}}, "does not fit this run"),
        (lambda s: s | {"finished": []}, "does not fit this run"),
    ],
)
def test_checkpoint_of_other_content_is_refused(change, message, kept, tmp_path):
    path = tmp_path / FILE
    path.write_bytes(kept)
    torch.save(change(torch.load(path, weights_only=True)), path)
    with pytest.raises(CheckpointError, match=message):
        solve(problem(), settings=NEWTON, folder=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"rng": 1}, "its seed is 0, here it is 1"),
        (
            {"settings": small(training={**NEWTON["training"], "learning_rate": 0.1})},
            "max_nodes|learning_rate",
        ),
        ({"problem": lambda: problem(lower=0.0)}, "its unknowns.D is"),
        ({"problem": lambda: heat(60)}, "its equation is"),
        ({"network": MLP(2, 1, width=8, depth=2)}, "its network is None"),
    ],
)
def test_checkpoint_of_another_run_is_refused(what, message, kept, tmp_path):
    (tmp_path / FILE).write_bytes(kept)
    what = {"settings": NEWTON, "problem": problem, **what}
    with pytest.raises(CheckpointError, match=message):
        solve(what.pop("problem")(), folder=tmp_path, resume=True, **what)


def test_other_data_are_another_run(kept, tmp_path):
    (tmp_path / FILE).write_bytes(kept)
    unknowns = problem().unknowns
    other = InverseProblem("u_t = D*u_xx + k*u", heat(60, seed=9).data, unknowns)
    with pytest.raises(CheckpointError, match="its data is"):
        solve(other, settings=NEWTON, folder=tmp_path, resume=True)


def test_more_steps_and_another_time_limit_are_the_same_run(kept, tmp_path):
    (tmp_path / FILE).write_bytes(kept)
    longer = {**NEWTON, "training": {**NEWTON["training"], "steps": 14, "time_limit": 1000}}
    assert solve(problem(), settings=longer, folder=tmp_path, resume=True).history.sizes["step"] == 44


def test_no_checkpoint_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="There is no checkpoint at"):
        solve(problem(), settings=NEWTON, folder=tmp_path, resume=True)


def test_full_disk_is_said_and_the_earlier_checkpoint_stays(kept, tmp_path, monkeypatch):
    path = tmp_path / FILE
    path.write_bytes(kept)
    real = Path.write_bytes

    def full(self, data):
        if self.suffix == ".pt":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device"):
        solve(problem(), settings=NEWTON, folder=tmp_path, resume=True)
    assert path.read_bytes() == kept
    assert [p.name for p in tmp_path.iterdir()] == [FILE]
    monkeypatch.undo()
    assert solve(problem(), settings=NEWTON, folder=tmp_path, resume=True).history.sizes["step"] == 42


def test_file_that_the_system_cuts_short_is_said_too(tmp_path):
    """A real limit on the size of files, as quotas set it."""
    resource = pytest.importorskip("resource", reason="limits on files are of Unix")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
        with pytest.raises(OutputError, match="Cannot write"):
            solve(problem(), settings=NEWTON, folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_are_written_while_running(tmp_path):
    seen = []
    settings = {**NEWTON, "training": {**NEWTON["training"], "checkpoint_every": 1e-6}}
    solve(
        problem(),
        settings=settings,
        folder=tmp_path,
        progress=lambda event: seen.append((tmp_path / FILE).exists()),
    )
    assert seen[0] is False
    assert all(seen[1:])


def test_runs_in_threads_give_the_answer_of_a_run_alone():
    """The weights are drawn from the generator of the process, by one run at a time."""

    def run(_: int) -> float:
        return solve(problem(), settings=NEWTON).estimates["D"].value

    alone = run(0)
    with ThreadPoolExecutor(3) as threads:
        assert set(threads.map(run, range(3))) == {alone}
