"""What a comparison keeps of every engine as it ends, so that an interrupted one resumes there."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from mollifier.diagnostics.compare.children import (
    INTERRUPTED,
    REFUSED,
    Follow,
    Outcome,
    Task,
    run_apart,
    run_here,
)
from mollifier.engines.collocated.provenance import fingerprint
from mollifier.errors import MollifierError
from mollifier.io.files import jsonable, write_json
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import load_solution

_FILE, _CHECKSUM = "outcome.json", "solution.sha256"


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
    content = {**fingerprint(problem, task.settings, task.seed), "settings": settings, "engine": task.engine}
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
    with suppress(OSError, ValueError, KeyError, TypeError, MollifierError):
        found: dict[str, Any] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        if found.pop("mark") != known_by:
            return None
        kept = found.pop("solution")
        if kept is None:
            return Outcome(None, **found)
        if kept == (folder / _CHECKSUM).read_text(encoding="utf-8"):
            return Outcome(load_solution(folder), **found)
    return None
