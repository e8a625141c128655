"""The answers of the benchmark cases, to find out what a change of the code changed.

One solve of each case by each engine on fixed noise, small enough that all of them take minutes. Keep the
answers of one version with ``python -m benchmarks answers --out before`` and compare those of the next with
``--against before/answers.json``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import attempt
from benchmarks.cases.registry import CASES, Case, case
from benchmarks.table import Follow, Table, checked, environment, number
from mollifier.errors import ConfigurationError
from mollifier.problem.solution import Solution

CAPTION = (
    "Numbers of one solve on fixed noise. Compare versions on one machine with OMP_NUM_THREADS=1: other "
    "processors and thread counts round differently."
)
TOLERANCE = 1e-9
_POINTS = 300
_NETWORK: dict[str, Any] = {
    "training": {"steps": 3, "warmup_steps": 30},
    "network": {"width": 12, "depth": 2},
    "collocation": {"max_nodes": 600},
}
_FEATURES: dict[str, Any] = {
    "training": {"steps": 3},
    "network": {"kind": "random-features", "width": 60},
    "collocation": {"max_nodes": 600},
}
_CUBE: dict[str, Any] = {"collocation": {"max_nodes": 1500}}

# Name -> engine, settings, scattered points (None: all data).
ARMS: dict[str, tuple[str, Callable[[Case], dict[str, Any] | None], int | None]] = {
    "auto": ("auto", lambda _: None, None),
    "weak": ("weak", lambda _: None, None),
    "joint": ("joint", lambda made: _CUBE if len(made.clean.dims) > 2 else None, 400),
    "network": ("network", lambda _: _NETWORK, _POINTS),
    "random-features": ("network", lambda _: _FEATURES, _POINTS),
}


@dataclass(frozen=True)
class Row:
    """One solve.

    Attributes
    ----------
    case, arm
        Of `CASES`, and of `ARMS`.
    status, message
        Of the solution; "refused" or "failed", with the reason, where there is none.
    seconds
        Of the solve.
    numbers
        ``r``, ``r_sd`` of each scalar unknown; ``k_mean``, ``k_rms`` of each field of the solution.
    changed
        What differs from the saved answer; empty where nothing does, or where none was given.
    """

    case: str
    arm: str
    status: str
    message: str
    seconds: float
    numbers: Mapping[str, float]
    changed: tuple[str, ...] = ()


def run(
    cases: Sequence[str] = (),
    arms: Sequence[str] = (),
    against: str | os.PathLike[str] | None = None,
    progress: Follow | None = None,
) -> Table:
    """Solve each case by each arm, and compare with saved answers.

    Parameters
    ----------
    cases, arms
        Of `CASES` and `ARMS`; all by default.
    against
        ``answers.json`` of another version.
    progress
        Called before every solve.

    Raises
    ------
    ConfigurationError
        If a name is not known, or the saved answers cannot be read.

    Examples
    --------
    >>> table = run(["reaction_rate"], ["joint"])
    >>> table.rows[0].status, sorted(table.rows[0].numbers)[:2]
    ('converged', ['k_mean', 'k_ratio_mean'])
    """
    plan = [(c, a) for c in checked("case", cases, CASES) for a in checked("arm", arms, ARMS)]
    saved = {} if against is None else _saved(Path(against))
    rows: list[Row] = []
    stopped = False
    for done, (name, arm) in enumerate(plan):
        if progress is not None:
            progress(done, len(plan), f"{name}, {arm}")
        try:
            rows.append(_solved(case(name), arm, saved.get((name, arm))))
        except KeyboardInterrupt:
            stopped = True
            break
    differ = sum(bool(r.changed) for r in rows)
    summary = (
        "" if against is None else f"{len(rows) - differ} of {len(rows)} answers agree to {TOLERANCE:g}."
    )
    return Table(
        "answers",
        tuple(rows),
        COLUMNS,
        CAPTION,
        environment(),
        summary,
        stopped,
        lambda r: "\n".join(r.changed),
    )


def numbers_of(solution: Solution) -> dict[str, float]:
    """Values and standard errors of the estimates, mean and rms of every field; NaN for what is not known."""
    found: dict[str, float] = {}
    for name, e in solution.estimates.items():
        found |= {name: e.value, f"{name}_sd": math.nan if e.sd is None else e.sd}
    for name, field in solution.dataset.data_vars.items():
        values = np.asarray(field.values, dtype=float)
        values = values[np.isfinite(values)]
        if values.size:
            found |= {f"{name}_mean": float(values.mean()), f"{name}_rms": float(np.sqrt((values**2).mean()))}
    return found


def _solved(made: Case, arm: str, saved: Mapping[str, Any] | None) -> Row:
    engine, settings, points = ARMS[arm]
    if points is not None and made.clean[made.fields[0]].size <= points:
        points = None
    solution, status, message, seconds = attempt(made, None, engine, 0, settings(made), points)
    found = {} if solution is None else numbers_of(solution)
    changed = () if saved is None else tuple(_changes(f"{made.name}, {arm}", saved, status, found))
    return Row(made.name, arm, status, message, seconds, found, changed)


def _changes(place: str, saved: Mapping[str, Any], status: str, found: Mapping[str, float]) -> list[str]:
    """The differences in words.

    >>> _changes("kdv, weak", {"status": "converged", "numbers": {"a": 1.0, "b": 2.0}}, "misfit", {"a": 1.1})
    ['kdv, weak: status converged -> misfit', 'kdv, weak: a 1.0 -> 1.1', 'kdv, weak: b 2.0 -> missing']
    """
    lines = [] if saved["status"] == status else [f"{place}: status {saved['status']} -> {status}"]
    before = saved["numbers"]
    for name in dict.fromkeys([*before, *found]):
        old, new = before.get(name, "missing"), found.get(name, "missing")
        if not _alike(old, new):
            lines.append(f"{place}: {name} {old} -> {new}")
    return lines


def _note(row: Row) -> str:
    return "\n".join(row.changed)


def _alike(old: float | str | None, new: float | str | None) -> bool:
    """Whether two numbers agree; JSON has None for NaN, and "missing" agrees with nothing else."""
    if isinstance(old, str) or isinstance(new, str):
        return old == new
    old, new = (math.nan if v is None else v for v in (old, new))
    if math.isnan(old) or math.isnan(new):
        return math.isnan(old) and math.isnan(new)
    return abs(old - new) <= TOLERANCE * max(abs(old), abs(new))


def _saved(path: Path) -> dict[tuple[str, str], Mapping[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return {(row["case"], row["arm"]): row for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"The saved answers '{path}' cannot be read: {error}. Give the answers.json that "
            "'python -m benchmarks answers' wrote."
        ) from None


COLUMNS: dict[str, Callable[[Row], str]] = {
    "case": lambda r: r.case,
    "arm": lambda r: r.arm,
    "status": lambda r: r.status,
    "seconds": lambda r: number(r.seconds),
    "numbers": lambda r: str(len(r.numbers)),
    "changed": lambda r: str(len(r.changed)),
}
