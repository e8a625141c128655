"""A solution on the terminal and in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mollifier.cli.terminal import INTERRUPTED, NO_ANSWER, Terminal
from mollifier.problem.serialization import numbers

if TYPE_CHECKING:
    from mollifier.problem.solution import Solution
    from mollifier.problem.status import Status

_EXPLAINED = {"undetermined": ("No answer", "bold red"), "misfit": ("Take care", "yellow")}


def deliver(
    terminal: Terminal,
    solution: Solution,
    folder: Path,
    figures: bool,
    truth: Any = None,
    scores: Mapping[str, Any] | None = None,
) -> None:
    """Print the result, then save it: a full disk loses the files, not the numbers.

    ``scores`` holds, by name, what is printed beside a truth: a relative error, or a record of several.
    """
    if solution.estimates:
        rows = [
            (n, e.amount, "" if e.sd is None else "{:.5g} to {:.5g}".format(*e.interval(0.95)))
            for n, e in solution.estimates.items()
        ]
        terminal.table(("unknown", "estimate", "95 % interval"), rows)
    lines = [n for n in solution.summary().splitlines() if not n.startswith("Estimate ")]
    if solution.status.name in _EXPLAINED:
        lines[0] = f"Status    {solution.status.name}"  # the warning below has the message
    lines += [chosen_line(solution)] if "chosen_because" in solution.provenance else []
    for name, score in (scores or {}).items():
        shown = f"relative error {100 * score:.2g} %" if isinstance(score, float) else str(score)
        lines.append(f"Truth     {name}: {shown}")
    terminal.say("\n".join(lines))
    if not solution.status.ok:
        terminal.say(*warning(solution.status))
    files: list[Path] = []
    try:
        solution.save(folder)
        if figures:
            from mollifier.reporting.figures import save_figures

            files = list(save_figures(solution, folder, truth=truth))
    finally:
        plain = {
            n: asdict(s) if is_dataclass(s) and not isinstance(s, type) else s
            for n, s in (scores or {}).items()
        }
        known = {"scores": plain} if plain else {}
        found = {**numbers(solution), "provenance": solution.provenance}
        terminal.give({**found, **known, "folder": folder, "figures": files})
    terminal.say(f"Files     {folder}{os.sep}" + (f" ({len(files)} figures)" if files else ""))


def chosen_line(solution: Solution) -> str:
    """Which engine "auto" took, and why."""
    p = solution.provenance
    return f"Engine    {p.get('engine', '?')}, chosen by 'auto': {p['chosen_because']}"


def warning(status: Status) -> tuple[str, str]:
    """What to make of a run that did not converge, and the colour to say it in.

    >>> from mollifier.problem.status import Status
    >>> warning(Status("undetermined", "'D' is not determined: its term is lost in the noise"))
    ("No answer: undetermined: 'D' is not determined: its term is lost in the noise", 'bold red')
    """
    if status.name in _EXPLAINED:
        head, colour = _EXPLAINED[status.name]
        return f"{head}: {status}", colour
    return f"Not converged ({status.name}): see history.csv before trusting it.", "yellow"


def exit_code(solution: Solution) -> int:
    """0 for an answer, converged or not; 1 for none (undetermined, non-finite loss); 130 if interrupted."""
    codes = {"undetermined": NO_ANSWER, "non-finite loss": NO_ANSWER, "interrupted": INTERRUPTED}
    return codes.get(solution.status.name, 0)
