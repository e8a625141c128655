"""A comparison of engines on the terminal and in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mollifier.cli.progress import Follower
from mollifier.cli.run import GIVEN
from mollifier.cli.terminal import INTERRUPTED, NO_ANSWER, Terminal
from mollifier.io.files import write_json, write_rows, write_text

if TYPE_CHECKING:
    from mollifier.diagnostics.compare.comparison import Comparison
    from mollifier.problem.problem_file import ProblemFile


def compare_engines(
    terminal: Terminal,
    file: ProblemFile,
    engines: list[str] | None,
    folder: Path,
    figures: bool,
    resume: bool = False,
) -> int:
    """Solve the problem of a file by several engines, print the table and the verdict, then save all.

    The exit code is 0 where an engine converged and no two disagree, 1 where none converged or two disagree,
    and 130 when interrupted.
    """
    problem = file.problem()
    from mollifier.diagnostics.compare.comparison import compare
    from mollifier.engines.collocated.settings import CollocatedSettings
    from mollifier.problem.settings import validated

    write_json(folder / GIVEN, file.to_dict())
    settings = dict(file.settings)
    share = validated(CollocatedSettings, {"held_out": settings.pop("held_out", 0.1)}).held_out
    with Follower(terminal.err, terminal.silent) as follow:
        found = compare(
            problem,
            engines,
            rng=file.seed,
            settings=settings,
            hold_out=share,
            progress=None if terminal.silent else follow,
            folder=folder,
            resume=resume,
        )
    _say_comparison(terminal, found)
    files: list[Path] = []
    try:
        for name, solution in found.solutions.items():
            solution.save(folder / name)
        rows = [r.flat() for r in found.rows]
        columns = [c for c in dict.fromkeys(k for row in rows for k in row) if c != "message"]
        write_rows(folder / "compare.csv", rows, [*columns, "message"])
        write_json(folder / "compare.json", found.to_dict())
        write_text(folder / "compare.md", found.to_markdown())
        if figures:
            from mollifier.reporting.comparison import save_comparison

            files = save_comparison(found, folder)
    finally:
        terminal.give({**found.to_dict(), "folder": folder, "figures": files})
    terminal.say(f"Files     {folder}{os.sep}compare.*, and one folder for each engine with a solution")
    if any(r.status == "interrupted" for r in found.rows):
        return INTERRUPTED
    converged = any(s.status.ok for s in found.solutions.values())
    return 0 if converged and found.agree is not False else NO_ANSWER


def _say_comparison(terminal: Terminal, found: Comparison) -> None:
    """Table, reasons, verdict."""
    terminal.table(*found.columns())
    for row in found.rows:
        if row.message:
            terminal.say(f"{row.engine}, {row.status}: {row.message}", "" if row.estimates else "yellow")
    terminal.say("")
    first, *others = found.verdict.splitlines()
    terminal.say(first, {True: "bold green", False: "bold red", None: "bold yellow"}[found.agree])
    if others:
        terminal.say("\n".join(others))
