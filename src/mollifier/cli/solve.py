"""Runs of problem files, one or one for every value of a column of the data: what they print and save."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from mollifier.cli.progress import Follower, Steps
from mollifier.cli.terminal import BAD_INPUT, INTERRUPTED, NO_ANSWER, Terminal, complain, message
from mollifier.errors import ConfigurationError, MollifierError
from mollifier.io.files import ensure_folder, write_json, write_rows, write_text

if TYPE_CHECKING:
    from mollifier.diagnostics.compare.comparison import Comparison
    from mollifier.problem.inverse_problem import InverseProblem
    from mollifier.problem.problem_file import ProblemFile
    from mollifier.problem.solution import Solution
    from mollifier.problem.status import Status

_MOST_VALUES = 1000
_GIVEN, _CHECKPOINT = "problem.json", "checkpoint.pt"
# How many where the file does not say.
_REPEATS = {"bootstrap": 50, "ensemble": 8}
_EXPLAINED = {"undetermined": ("No answer", "bold red"), "misfit": ("Take care", "yellow")}


def run(
    terminal: Terminal, file: ProblemFile, folder: Path, resume: bool = False, label: str = ""
) -> Solution:
    """Solve the problem of a file, with progress; the folder keeps a checkpoint and what the file said."""
    problem = file.problem()
    if file.intervals.kind == "ensemble":
        return _ensemble(terminal, file, problem, folder, resume)
    from mollifier.engines.solve import solve as solve_problem

    again = resume
    resume = resume and not _to_begin(terminal, folder)
    write_json(folder / _GIVEN, file.to_dict())
    with Follower(terminal.err, terminal.silent, label) as follow:
        solution = solve_problem(
            problem,
            file.engine,
            seed=file.seed,
            settings=file.settings,
            progress=follow,
            folder=folder,
            resume=resume,
            start=file.start,
        )
    if file.intervals.kind == "own" or exit_code(solution):
        return solution
    return _bootstrap(terminal, file, problem, solution, folder, again)


def _bootstrap(
    terminal: Terminal,
    file: ProblemFile,
    problem: InverseProblem,
    solution: Solution,
    folder: Path,
    resume: bool,
) -> Solution:
    """Standard errors from repeats, kept in a folder of their own; the engine's where that is interrupted."""
    from mollifier.diagnostics.intervals.bootstrap import bootstrap
    from mollifier.problem.status import Status

    given = file.intervals
    with Steps(terminal.err, terminal.silent) as follow:
        try:
            return bootstrap(
                problem,
                solution,
                given.repeats or _REPEATS["bootstrap"],
                seed=file.seed,
                folder=folder / "bootstrap",
                resume=resume,
                processes=given.processes,
                progress=follow,
            )
        except KeyboardInterrupt:
            told = "stopped within the bootstrap: standard errors are the engine's own; resume takes it up"
            return replace(solution, status=Status("interrupted", told))


def _ensemble(
    terminal: Terminal, file: ProblemFile, problem: InverseProblem, folder: Path, resume: bool
) -> Solution:
    """Members, each kept in a folder of its own."""
    from mollifier.diagnostics.intervals.ensemble import ensemble

    if file.engine not in ("auto", "network") or file.start is not None:
        given = f"start '{file.start}'" if file.start is not None else f"engine '{file.engine}'"
        raise ConfigurationError(
            f"An ensemble was asked for with {given}; it is of networks that start from random weights. "
            "Leave that out, or take --intervals bootstrap, which serves every engine."
        )
    write_json(folder / _GIVEN, file.to_dict())
    with Steps(terminal.err, terminal.silent) as follow:
        return ensemble(
            problem,
            file.intervals.repeats or _REPEATS["ensemble"],
            seed=file.seed,
            settings=file.settings,
            folder=folder / "ensemble",
            resume=resume,
            processes=file.intervals.processes,
            progress=follow,
        )


def _to_begin(terminal: Terminal, folder: Path) -> bool:
    """Whether a run to go on with was ended before anything of it was kept, so that it begins again."""
    begin = (folder / _GIVEN).is_file() and not (folder / _CHECKPOINT).exists()
    if begin:
        terminal.say(f"Nothing of the run in {folder} was kept yet: it begins again.", "yellow")
    return begin


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
        terminal.say(estimates_table(solution))
    lines = [n for n in solution.summary().splitlines() if not n.startswith("Estimate ")]
    if solution.status.name in _EXPLAINED:
        lines[0] = f"Status    {solution.status.name}"  # the warning below says the rest
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
        terminal.give({**as_dict(solution), **known, "folder": folder, "figures": files})
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


def as_dict(solution: Solution) -> dict[str, Any]:
    """A solution's numbers."""
    estimates = {
        n: {
            "value": e.value,
            "sd": e.sd,
            "interval_95": None if e.sd is None else e.interval(0.95),
            "unit": e.unit,
        }
        for n, e in solution.estimates.items()
    }
    status = {"name": solution.status.name, "message": solution.status.message}
    return {
        "status": status,
        "estimates": estimates,
        "misfit": solution.misfit,
        "provenance": solution.provenance,
    }


def exit_code(solution: Solution) -> int:
    """0 for an answer, converged or not; 1 for none (undetermined, non-finite loss); 130 if interrupted."""
    codes = {"undetermined": NO_ANSWER, "non-finite loss": NO_ANSWER, "interrupted": INTERRUPTED}
    return codes.get(solution.status.name, 0)


def estimates_table(solution: Solution) -> Table:
    """The scalars with their 95 % intervals."""
    table = Table()
    for name in ("unknown", "estimate", "95 % interval"):
        table.add_column(name)
    for name, e in solution.estimates.items():
        interval = "" if e.sd is None else "{:.5g} to {:.5g}".format(*e.interval(0.95))
        table.add_row(Text(name), Text(str(e).removeprefix(f"{name} = ")), interval)
    return table


def label(value: Any) -> str:
    """A value as a part of a file name.

    >>> label(12000.0), label(0.5), label("PC-3 / a")
    ('12000', '0.5', 'PC-3___a')
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return re.sub(r"[^\w.+-]", "_", str(value))


def sweep(terminal: Terminal, file: ProblemFile, name: str, folder: Path, resume: bool, figures: bool) -> int:
    """Solve for each value, print and save ``estimates.csv``; a value that fails is noted and passed over.

    Returns
    -------
    int
        The exit code: 0 where all have an answer, 1 where some have none, 2 where none could be run, 130 when
        interrupted.
    """
    values = file.values_of(name)
    if not 0 < len(values) <= _MOST_VALUES:
        raise ConfigurationError(
            f"'{name}' takes {len(values):,} values; 1 to {_MOST_VALUES:,} were wanted. "
            "List some of them under data.select."
        )
    rows: list[dict[str, Any]] = []
    codes: list[int] = []
    for value in values:
        place = folder / f"{name}={label(value)}"
        row: dict[str, Any] = {name: value, "status": "failed", "message": ""}
        go_on = resume and (place / _CHECKPOINT).exists()
        try:
            solution = run(
                terminal, file.selecting(name, value), ensure_folder(place), go_on, f"{name}={value}"
            )
            row |= _row(solution)
            if "chosen_because" in solution.provenance:
                terminal.say(f"{name}={value}: {chosen_line(solution).removeprefix('Engine    ')}")
            codes.append(exit_code(solution))
            solution.save(place)
            if figures:
                from mollifier.reporting.figures import save_figures

                save_figures(solution, place)
        except (MollifierError, OSError) as error:
            row["message"] = message(error)
            codes.append(BAD_INPUT)
            complain(terminal, f"{name}={value}: {row['message']}")
        rows.append(row)
        if codes[-1] == INTERRUPTED:
            break
    _deliver_all(terminal, rows, name, folder)
    if codes[-1] == INTERRUPTED:
        return INTERRUPTED
    return 0 if not any(codes) else BAD_INPUT if set(codes) == {BAD_INPUT} else NO_ANSWER


def compare_engines(
    terminal: Terminal,
    file: ProblemFile,
    engines: list[str] | None,
    folder: Path,
    figures: bool,
    resume: bool = False,
) -> int:
    """Put the problem of a file to several engines, print the table and the verdict, then save all.

    Returns
    -------
    int
        The exit code: 0 where an engine converged and no two disagree; 1 where none converged or two
        disagree; 130 when interrupted.
    """
    problem = file.problem()
    from mollifier.diagnostics.compare.comparison import compare
    from mollifier.engines.collocated.settings import CollocatedSettings
    from mollifier.problem.settings import validated

    write_json(folder / _GIVEN, file.to_dict())
    settings = dict(file.settings)
    share = validated(CollocatedSettings, {"held_out": settings.pop("held_out", 0.1)}).held_out
    with Follower(terminal.err, terminal.silent) as follow:
        found = compare(
            problem,
            engines,
            seed=file.seed,
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


def _row(solution: Solution) -> dict[str, Any]:
    row: dict[str, Any] = {"status": solution.status.name, "message": solution.status.message}
    for n, e in solution.estimates.items():
        row |= {n: e.value, f"{n}_sd": e.sd, f"{n}_unit": e.unit}
    for v, misfit in solution.misfit.items():
        row |= {f"misfit_{v}": misfit["fitted"], f"misfit_{v}_held_out": misfit["held_out"]}
    return row


def _deliver_all(terminal: Terminal, rows: list[dict[str, Any]], name: str, folder: Path) -> None:
    """Print first, then save."""
    columns = list(dict.fromkeys(k for row in rows for k in row))
    names = [c for c in columns if f"{c}_sd" in columns]
    lines = [[str(row[name]), *(_cell(row, n) for n in names), row["status"]] for row in rows]
    terminal.table((name, *names, "status"), lines)
    terminal.give({"each": name, "rows": rows, "folder": folder})
    columns = [name, *(c for c in columns if c not in (name, "status", "message")), "status", "message"]
    path = write_rows(folder / "estimates.csv", rows, columns)
    terminal.say(f"Files     {path}, and one folder for each value")


def _cell(row: dict[str, Any], name: str) -> str:
    from mollifier.problem.estimate import Estimate

    if name not in row:
        return ""
    estimate = Estimate(name, row[name], row[f"{name}_sd"], row[f"{name}_unit"])
    return str(estimate).removeprefix(f"{name} = ")
