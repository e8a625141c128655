"""A run of a problem file: the solve, with progress and a checkpoint, and repeats for standard errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mollifier.cli.delivery import exit_code
from mollifier.cli.progress import Follower, Steps
from mollifier.cli.terminal import Terminal
from mollifier.errors import ConfigurationError
from mollifier.io.files import write_json

if TYPE_CHECKING:
    from mollifier.problem.problem_file import ProblemFile
    from mollifier.problem.solution import Solution

# Files in the folder of a run: the content of the problem file, and a checkpoint.
GIVEN, CHECKPOINT = "problem.json", "checkpoint.pt"


def run(
    terminal: Terminal,
    file: ProblemFile,
    folder: Path,
    resume: bool = False,
    label: str = "",
    executor: Any = None,
) -> Solution:
    """Solve the problem of a file, with progress; the folder keeps a checkpoint and the file's content.

    Repeats for standard errors run on the ``executor``, where there is one.
    """
    problem, chosen = file.problem(), file.intervals
    counts = (chosen.repeats,) if chosen.repeats else ()
    repeated: dict[str, Any] = {
        "rng": file.seed,
        "folder": folder / chosen.kind,
        "resume": resume,
        "processes": chosen.processes,
        "executor": executor,
    }
    if chosen.kind == "ensemble":
        from mollifier.diagnostics.intervals.ensemble import ensemble

        _require_networks(file)
        write_json(folder / GIVEN, file.to_dict())
        with Steps(terminal.err, terminal.silent) as follow:
            return ensemble(problem, *counts, settings=file.settings, progress=follow, **repeated)
    from mollifier.engines.solve import solve as solve_problem

    resume = resume and not _to_begin(terminal, folder)
    write_json(folder / GIVEN, file.to_dict())
    with Follower(terminal.err, terminal.silent, label) as follow:
        solution = solve_problem(
            problem,
            file.engine,
            rng=file.seed,
            settings=file.settings,
            progress=follow,
            folder=folder,
            resume=resume,
            start=file.start,
        )
    if chosen.kind == "own" or exit_code(solution):
        return solution
    from mollifier.diagnostics.intervals.bootstrap import bootstrap
    from mollifier.problem.status import Status

    with Steps(terminal.err, terminal.silent) as steps:
        try:
            return bootstrap(problem, solution, *counts, progress=steps, **repeated)
        except KeyboardInterrupt:
            reason = "stopped within the bootstrap: standard errors are the engine's; --resume resumes it"
            return replace(solution, status=Status("interrupted", reason))


def _require_networks(file: ProblemFile) -> None:
    """Refuse an ensemble of what does not start from random weights."""
    from mollifier.engines.registry import that_take

    if file.engine not in ("auto", *that_take("network")) or file.start is not None:
        given = f"start '{file.start}'" if file.start is not None else f"engine '{file.engine}'"
        raise ConfigurationError(
            f"An ensemble was chosen with {given}; it is of networks that start from random weights. "
            "Leave that out, or take --intervals bootstrap, which serves every engine."
        )


def _to_begin(terminal: Terminal, folder: Path) -> bool:
    """Whether a run to resume has no checkpoint yet, so that it begins again."""
    begin = (folder / GIVEN).is_file() and not (folder / CHECKPOINT).exists()
    if begin:
        terminal.say(f"Nothing of the run in {folder} was kept yet: it begins again.", "yellow")
    return begin
