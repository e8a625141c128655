"""How a run ends, and how it is taken up again."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from engine_problems import gridded, heat, heat_values, small
from mollifier import engines
from mollifier.data import Observations
from mollifier.engines.checkpoint import FILE
from mollifier.engines.gauss_newton import GaussNewton
from mollifier.engines.network import prepare
from mollifier.errors import CheckpointError
from mollifier.files import OutputError
from mollifier.networks import MLP
from mollifier.problem import InverseProblem
from mollifier.settings import Settings, validated
from mollifier.unknowns import FieldUnknown, ScalarUnknown

solve = partial(engines.solve, engine="network")

NEWTON = small(training={"warmup_steps": 30, "steps": 12}, collocation={"max_nodes": 100})
LBFGS = small(
    training={"warmup_steps": 20, "adam_steps": 12, "steps": 60, "optimiser": "lbfgs"},
    collocation={"max_nodes": 100},
)
MIXED = small(training={**LBFGS["training"], "precision": "float32"}, collocation=LBFGS["collocation"])


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small arrays gain nothing from more threads, and lose much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def problem(**unknown):
    """Small, with a field and a number, so that every kind of state is in a checkpoint."""
    data = heat(60).data
    unknowns = {"D": ScalarUnknown(**unknown), "k": FieldUnknown(over=("x",), lower=-1.0)}
    return InverseProblem("u_t = D*u_xx + k*u", data, unknowns)


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
        ("newton", "warm-up", 13),
        ("newton", "warm-up", 30),
        ("newton", "gauss-newton", 1),
        ("newton", "gauss-newton", 7),
        ("lbfgs", "adam", 5),
        ("lbfgs", "lbfgs", 3),
        ("mixed", "lbfgs", 3),
    ],
)
def test_a_resumed_run_is_the_unbroken_one_to_the_bit(kind, stage, step, unbroken, tmp_path):
    settings = {"newton": NEWTON, "lbfgs": LBFGS, "mixed": MIXED}[kind]
    handler = signal.getsignal(signal.SIGINT)
    broken = solve(problem(), settings=settings, folder=tmp_path, progress=stop_at(stage, step))
    assert signal.getsignal(signal.SIGINT) is handler
    assert broken.status.name == "interrupted"
    assert broken.history.sizes["step"] < unbroken[kind].history.sizes["step"]
    assert f"at step {step} of {stage}" in broken.status.message
    resumed = solve(problem(), settings=settings, folder=tmp_path, resume=True)
    assert_same(resumed, unbroken[kind])


def test_a_run_may_be_broken_off_many_times(unbroken, tmp_path):
    solve(problem(), settings=NEWTON, folder=tmp_path, progress=stop_at("warm-up", 2))
    for stage, step in (("warm-up", 21), ("gauss-newton", 2), ("gauss-newton", 3)):
        solution = solve(
            problem(), settings=NEWTON, folder=tmp_path, resume=True, progress=stop_at(stage, step)
        )
        assert solution.status.name == "interrupted"
    assert_same(solve(problem(), settings=NEWTON, folder=tmp_path, resume=True), unbroken["newton"])


def test_a_finished_run_can_be_resumed_and_stays_what_it_was(tmp_path):
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


def test_sigterm_stops_too_and_any_thread_may_solve(tmp_path):
    broken = solve(problem(), settings=NEWTON, progress=stop_at("warm-up", 3, signal.SIGTERM))
    assert broken.status.name == "interrupted"
    assert np.isfinite(broken.dataset["u"].values).all()
    found = []
    thread = threading.Thread(target=lambda: found.append(solve(problem(), settings=NEWTON)))
    thread.start()
    thread.join()
    assert found[0].status.name in ("step limit", "converged")


def test_a_second_signal_stops_at_once():
    def twice(event):
        if event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        solve(problem(), settings=NEWTON, progress=twice)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_process_that_is_told_to_stop_leaves_a_checkpoint(tmp_path):
    code = (
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_engines_runs import NEWTON, problem, solve\n"
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
        "random",
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
def test_a_damaged_checkpoint_is_refused(damage, message, kept, tmp_path):
    (tmp_path / FILE).write_bytes(damage(kept))
    with pytest.raises(CheckpointError, match=message):
        solve(problem(), settings=NEWTON, folder=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"format": 99}, "another version"),
        (lambda s: [1, 2], "another version"),
        (lambda s: {n: v for n, v in s.items() if n != "fingerprint"}, "another version"),
        (lambda s: {n: v for n, v in s.items() if n != "random"}, "does not fit this run"),
        (lambda s: s | {"objective": {}}, "does not fit this run"),
        (lambda s: s | {"optimiser": {}}, "does not fit this run"),
        (lambda s: s | {"finished": []}, "does not fit this run"),
    ],
)
def test_a_checkpoint_of_other_content_is_refused(change, message, kept, tmp_path):
    path = tmp_path / FILE
    path.write_bytes(kept)
    torch.save(change(torch.load(path, weights_only=True)), path)
    with pytest.raises(CheckpointError, match=message):
        solve(problem(), settings=NEWTON, folder=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"seed": 1}, "its seed is 0, here it is 1"),
        (
            {"settings": small(training={**NEWTON["training"], "learning_rate": 0.1})},
            "max_nodes|learning_rate",
        ),
        ({"problem": lambda: problem(lower=0.0)}, "its unknowns.D is"),
        ({"problem": lambda: heat(60)}, "its equation is"),
        ({"network": MLP(2, 1, width=8, depth=2)}, "its network is None"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(what, message, kept, tmp_path):
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


def test_a_full_disk_is_said_and_the_earlier_checkpoint_stays(kept, tmp_path, monkeypatch):
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


def test_a_file_that_the_system_cuts_short_is_said_too(tmp_path):
    """A real limit on the size of files, as quotas set it."""
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


def test_the_time_limit():
    settings = {**NEWTON, "training": {"warmup_steps": 100_000, "time_limit": 0.2}}
    solution = solve(problem(), settings=settings)
    assert solution.status.name == "time limit"
    assert "0.2 s had passed at step" in solution.status.message
    assert np.isfinite(solution.dataset["u"].values).all()


def test_the_step_limit_and_runs_without_a_step():
    assert solve(problem(), settings=NEWTON).status.name == "step limit"
    for changes in ({"steps": 0}, {"steps": 0, "warmup_steps": 0}, {"warmup_steps": 0, "steps": 2}):
        settings = {**NEWTON, "training": {**NEWTON["training"], **changes}}
        solution = solve(problem(), settings=settings)
        assert solution.status.name == "step limit"
        assert np.isfinite(solution.estimates["D"].value)
        if changes.get("steps") == changes.get("warmup_steps") == 0:
            assert solution.history.sizes["step"] == 0


def test_progress_says_where_a_run_stands():
    events = []
    solve(problem(), settings=NEWTON, progress=events.append)
    assert [e.stage for e in events] == ["warm-up"] * 30 + ["gauss-newton"] * 12
    last = events[-1]
    assert (last.engine, last.step, last.steps, last.left) == ("network", 12, 12, 0.0)
    assert set(last.losses) == {"loss", "data", "residual", "prior"}
    assert set(last.estimates) == {"D"}
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(events))


@pytest.mark.parametrize("optimiser", ["gauss-newton", "lbfgs"])
@pytest.mark.parametrize(
    ("equation", "unknowns", "named"),
    [
        ("u_t = D*log(u - 1.5)", {"D": ScalarUnknown()}, "log"),
        ("u_t = D*u_xx + exp(a*u)", {"D": ScalarUnknown(), "a": ScalarUnknown(initial=5000.0)}, "exp"),
    ],
)
def test_a_loss_that_is_not_finite_is_named_and_good_values_kept(equation, unknowns, named, optimiser):
    found = InverseProblem(equation, gridded(heat_values, nx=12, nt=12), unknowns)
    training = {"warmup_steps": 100, "adam_steps": 10, "steps": 20, "optimiser": optimiser}
    solution = solve(found, settings=small(training=training))
    assert solution.status.name == "non-finite loss"
    assert named in solution.status.message
    assert "last good values are kept" in solution.status.message
    assert np.isfinite(solution.dataset["u"].values).all()
    assert np.isfinite(solution.fit["u_fitted"].values).all()
    for estimate in solution.estimates.values():
        assert np.isfinite(estimate.value)
        assert estimate.sd is None or np.isfinite(estimate.sd)


def test_a_run_that_diverges_halfway_goes_back():
    """Adam at an absurd rate overflows exp only after some steps."""
    found = InverseProblem(
        "u_t = D*exp(a*u)", gridded(heat_values, nx=12, nt=12), {"D": ScalarUnknown(), "a": ScalarUnknown()}
    )
    training = {
        "warmup_steps": 60,
        "adam_steps": 400,
        "steps": 20,
        "optimiser": "lbfgs",
        "learning_rate": 5000.0,
    }
    solution = solve(found, settings=small(training=training))
    assert solution.status.name == "non-finite loss"
    assert np.isfinite(solution.dataset["u"].values).all()
    # The stage's first step was taken and recorded, and is gone: the last good values are from before it.
    path = solution.history["a"].values
    assert 61 <= len(path) < 61 + 25
    assert np.isnan(path[:60]).all()
    assert solution.estimates["a"].value == 1.0
    assert abs(path[60]) > 100


@pytest.mark.parametrize("optimiser", ["gauss-newton", "lbfgs"])
def test_a_gradient_that_is_not_finite_is_not_followed(optimiser):
    """The square root has a value at zero, and no slope."""
    unknowns = {"D": ScalarUnknown(initial=0.0)}
    found = InverseProblem("u_t = sqrt(D)*u_xx", gridded(heat_values, nx=12, nt=12), unknowns)
    training = {"warmup_steps": 30, "adam_steps": 10, "steps": 20, "optimiser": optimiser}
    solution = solve(found, settings=small(training=training))
    assert solution.status.name == "non-finite loss"
    assert "the gradient is not a finite number" in solution.status.message
    assert solution.history.sizes["step"] == 30
    assert solution.estimates["D"].value == 0.0
    assert np.isfinite(solution.dataset["u"].values).all()


def stage_of(**changes):
    """A Gauss-Newton stage at full weight."""
    settings = validated(Settings, small(**changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        objective, _ = prepare(heat(60), settings, 0, None)
    stage = GaussNewton(objective, 100, 1e-3)
    stage.weight = 1.0
    return stage


def test_a_stage_that_no_step_can_help_is_stalled(monkeypatch):
    stage = stage_of()
    real = stage.normal_equations
    monkeypatch.setattr(stage, "normal_equations", lambda *a: (real(*a)[0], -real(*a)[1]))  # uphill
    before = stage.objective(1.0).numbers()["loss"]
    steps = 0
    while not stage.finished:
        stage.step()
        steps += 1
        assert steps < 20
    assert stage.outcome == "stalled"
    assert "no step lowers the loss" in stage.finished
    assert stage.objective(1.0).numbers()["loss"] == pytest.approx(before)


def test_a_stage_at_its_minimum_has_converged(monkeypatch):
    stage = stage_of()
    real = stage.normal_equations
    monkeypatch.setattr(stage, "normal_equations", lambda *a: (real(*a)[0], -1e-9 * real(*a)[1]))
    stage.step()
    assert stage.outcome == "converged"
    assert "none promised more" in stage.finished


def test_a_stalled_run_says_so(monkeypatch):
    real = GaussNewton.normal_equations
    monkeypatch.setattr(
        GaussNewton, "normal_equations", lambda *a, **k: (real(*a, **k)[0], -real(*a, **k)[1])
    )
    solution = solve(heat(60), settings=small(training={"warmup_steps": 20, "steps": 60}))
    assert solution.status.name == "stalled"


def test_data_without_variation_are_solved_or_refused():
    x, t = np.random.default_rng(0).random((2, 60))
    for level in (0.0, 5.0):
        data = Observations(values={"u": np.full(60, level)}, points={"x": x, "t": t}, noise={"u": 0.01})
        found = InverseProblem("u_t = D*u_xx", data, {"D": ScalarUnknown()})
        solution = solve(found, settings=NEWTON)
        np.testing.assert_allclose(solution.fit["u_fitted"].values, level, atol=0.1 + 0.05 * level)
