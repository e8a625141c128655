"""One engine in its own process: its answer, its seconds and its memory, kept so that it is resumed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import xarray as xr

from mollifier import errors
from mollifier.engines.collocated.checkpoint import kept
from mollifier.engines.progress import Progress
from mollifier.engines.registry import variants
from mollifier.engines.solve import solve
from mollifier.io.executors import end_with_parent
from mollifier.io.files import jsonable, write_json
from mollifier.io.plugins import load_plugins
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution, load_solution

Follow = Callable[[Progress], None]
Result = TypeVar("Result")

REFUSED, FAILED, INTERRUPTED = "refused", "failed", "interrupted"

_REFUSALS = (errors.EquationError, errors.DataError, errors.ConfigurationError, errors.GridError)
_EVERY = 0.1  # seconds between reports, so that reporting takes no time worth measuring
_READY = "ready"
_FILE, _CHECKSUM = "outcome.json", "solution.sha256"


@dataclass(frozen=True)
class Task:
    """What a process is given beside the problem.

    ``engine`` is a name of `mollifier.engines.registry.variants`; ``settings`` are of its model. ``folder``
    keeps the engine's checkpoints; ``resume`` resumes from one of this very run.
    """

    engine: str
    seed: int
    settings: Any
    threads: int
    folder: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    solution: Solution | None  #: None where there is none.
    #: Why there is none: "refused" (the engine cannot serve the problem), "failed" or "interrupted".
    status: str = ""
    message: str = ""
    #: Wall clock of `mollifier.solve` alone; imports and the start of the process are left out.
    seconds: float | None = None
    memory: float | None = None  #: MiB, see `with_peak`. Neither is given for a refusal.


def portable(problem: InverseProblem) -> bytes | None:
    """The problem for another process; None where it cannot be sent there.

    An equation given as a callable cannot: what it means may not exist in another process. Nor can any
    problem from within a daemonic process, which may start none.
    """
    given = problem.equation if isinstance(problem.equation, list | tuple) else [problem.equation]
    if any(callable(e) and not hasattr(e, "free_symbols") for e in given):
        return None
    if multiprocessing.current_process().daemon:
        return None
    try:
        return pickle.dumps(problem)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


def run_here(problem: InverseProblem, task: Task, progress: Follow | None = None) -> Outcome:
    """Solve in this process; memory, which the process shares with all else, is not known."""
    engine = variants()[task.engine][0].name
    begun = time.perf_counter()
    try:
        solution = _solved(problem, engine, task, progress)
    except _REFUSALS as error:
        return Outcome(None, REFUSED, str(error))
    # Whatever goes wrong inside one engine must not take the others' answers along.
    except Exception as error:
        return Outcome(None, FAILED, f"{type(error).__name__}: {error}", time.perf_counter() - begun)
    return Outcome(solution, seconds=time.perf_counter() - begun)


def _solved(problem: InverseProblem, engine: str, task: Task, progress: Follow | None) -> Solution:
    """The answer, resumed from a checkpoint of this very run if the task asks to resume and there is one."""
    given: dict[str, Any] = {
        "rng": task.seed,
        "settings": task.settings,
        "progress": progress,
        "folder": task.folder,
    }
    if task.resume and task.folder is not None and kept(task.folder):
        with suppress(errors.CheckpointError):
            return solve(problem, engine, resume=True, **given)
    return solve(problem, engine, **given)


def run_apart(payload: bytes, task: Task, progress: Follow | None = None) -> Outcome:
    """Solve in a freshly spawned process, which ends with this call whatever happens."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    given = theirs, payload, pickle.dumps(task), progress is not None
    process = context.Process(target=_serve, args=given, daemon=True)
    try:
        with _ignoring_interrupts():
            process.start()
        theirs.close()
        return _listen(ours, process, task.engine, progress)
    finally:
        if process.pid is not None:
            process.kill()
            process.join()
            process.close()
        ours.close()


def check_start() -> None:
    """Refuse to compare while this very process is being started."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise errors.ConfigurationError(_UNGUARDED)


_UNGUARDED = (
    "compare starts new processes, and each of them imports the calling script. Put the call under "
    "if __name__ == '__main__': in a script file, or use a notebook, an interactive session or the command "
    "'mollifier compare'."
)


def _listen(ours: Any, process: Any, engine: str, progress: Follow | None) -> Outcome:
    """Pass on what the process reports, until its answer or its end."""
    ready = False
    while True:
        try:
            item = ours.recv()
        except (EOFError, ConnectionResetError):
            process.join()
            if not ready:
                raise errors.ConfigurationError(
                    f"A process for engine '{engine}' ended with exit code {process.exitcode} before it was "
                    f"ready. {_UNGUARDED}"
                ) from None
            reason = f"its process ended with exit code {process.exitcode} before it had an answer"
            killed = "its process was killed (signal 9): most often there was not enough memory"
            return Outcome(None, FAILED, killed if process.exitcode == -9 else reason)
        if isinstance(item, Outcome):
            return item
        ready = True
        if isinstance(item, Progress) and progress is not None:
            progress(replace(item, engine=engine))


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """A process started within ignores Ctrl-C, which a terminal sends to all: the parent alone ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


# In the folder of a task


def outcome_of(
    problem: InverseProblem, payload: bytes | None, task: Task, progress: Follow | None
) -> Outcome:
    """What one engine makes of the problem; what it made of it before where the task says to resume.

    ``payload`` is the problem for another process, None where it must be solved in this one. The outcome is
    kept in the task's folder, if it has one. ``progress`` is as in `compare`.
    """
    known_by = mark(problem, task) if task.folder is not None else ""
    if task.folder is not None and task.resume and (found := recall(task.folder, known_by)) is not None:
        return found
    here = payload is None
    outcome = run_here(problem, task, progress) if here else run_apart(payload, task, progress)
    if task.folder is not None:
        keep(task.folder, outcome, known_by)
    return outcome


def mark(problem: InverseProblem, task: Task) -> str:
    """What an outcome is known by: engine, data, equation, unknowns, all settings, seed."""
    settings = task.settings.model_dump(mode="json")
    content = problem.described | {"settings": settings, "seed": task.seed, "engine": task.engine}
    return hashlib.sha256(json.dumps(jsonable(content), sort_keys=True).encode()).hexdigest()


def keep(folder: Path, outcome: Outcome, known_by: str) -> None:
    """Save an outcome that is final: a solution that ran to its end, or a refusal."""
    solution, checksum = outcome.solution, None
    if solution is None and outcome.status != REFUSED:
        return
    if solution is not None:
        if solution.status.name == INTERRUPTED:
            return
        solution.save(folder)
        checksum = (folder / _CHECKSUM).read_text(encoding="utf-8")
    # Last, so that it never speaks of a solution that is not there.
    content = {n: getattr(outcome, n) for n in ("status", "message", "seconds", "memory")}
    write_json(folder / _FILE, {**content, "mark": known_by, "solution": checksum})


def recall(folder: Path, known_by: str) -> Outcome | None:
    """The outcome that was kept; None where there is none of this very task that can be read whole."""
    with suppress(OSError, ValueError, KeyError, TypeError, errors.MollifierError):
        found: dict[str, Any] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        if found.pop("mark") != known_by:
            return None
        checksum = found.pop("solution")
        if checksum is None:
            return Outcome(None, **found)
        if checksum == (folder / _CHECKSUM).read_text(encoding="utf-8"):
            return Outcome(load_solution(folder), **found)
    return None


# In the child


def _serve(pipe: Any, payload: bytes, pickled: bytes, follow: bool) -> None:
    """Entry of the process: solve, measure, answer."""
    load_plugins()  # before what they define is unpickled
    task: Task = pickle.loads(pickled)
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(task.threads)
    with suppress(BrokenPipeError):
        pipe.send(_READY)
        try:
            problem = pickle.loads(payload)
        except Exception as error:  # whatever unpickling may raise
            reason = f"the problem cannot be read in another process: {type(error).__name__}: {error}"
            pipe.send(Outcome(None, FAILED, reason))
            return
        outcome, memory = with_peak(lambda: run_here(problem, task, _reporter(pipe) if follow else None))
        pipe.send(outcome if outcome.status == REFUSED else replace(outcome, memory=memory))


def _reporter(pipe: Any) -> Follow:
    last = -_EVERY

    def report(event: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            # Fields cannot be evaluated from another process: they are left empty.
            copies = {"losses": dict(event.losses), "estimates": dict(event.estimates)}
            pipe.send(replace(event, fields=xr.Dataset, **copies))

    return report


def with_peak(function: Callable[[], Result]) -> tuple[Result, float | None]:
    """What a call returns, and the highest resident memory during it less that before it, MiB.

    Resident memory of the whole process is what a user's machine must hold: arrays, the workspace of the
    mathematics library, and what the allocator keeps. On Linux the kernel's high-water mark (VmHWM) is set
    back to the present before the call; ``ru_maxrss`` would not do there, since a spawned process inherits
    its parent's. Elsewhere it is ``ru_maxrss`` less its value after all imports; None where there is neither.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = _peak_memory()
    result = function()
    after = _peak_memory()
    return result, None if before is None or after is None else max(after - before, 0.0)


def _peak_memory() -> float | None:
    """The highest resident memory of this process so far, MiB."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 1024
