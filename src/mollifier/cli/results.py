"""Commands on a finished run: validate it, write its page, and export it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mollifier.cli.options import listed, option
from mollifier.cli.terminal import NO_ANSWER, Terminal
from mollifier.errors import ConfigurationError

if TYPE_CHECKING:
    from mollifier.diagnostics.validation.validate import Validation
    from mollifier.problem.problem_file import ProblemFile
    from mollifier.problem.solution import Solution

_COLOURS = {
    "holds": "bold green",
    "doubtful": "bold yellow",
    "refuted": "bold red",
    "undetermined": "bold yellow",
}

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as solve wrote it.")]
Problem = Annotated[
    Path | None,
    option(
        "Problem file; by default the one that the folder of the run holds.",
        "PROBLEM.yaml",
        flags="--problem",
    ),
]


def validate(
    terminal: Terminal,
    run: Run,
    problem: Problem = None,
    radii: Annotated[
        bool, option("Solve again with a smaller and a larger kernel radius, and compare.")
    ] = False,
    engines: Annotated[
        str | None,
        option(
            "Solve again with these engines, comma-separated, and compare.", "NAMES", flags="--engines -e"
        ),
    ] = None,
) -> int:
    """Solve the equation forward with what was found and compare it with the data: does the answer hold?

    Initial and boundary values begin at those of the estimated states and are fitted to the data.
    """
    from mollifier.diagnostics.validation.validate import validate as stand_up
    from mollifier.io.files import write_json
    from mollifier.problem.solution import load_solution

    solution, file = load_solution(run), _problem_file(run, problem)
    if problem is not None:
        _same_unknowns(problem, solution)
    names = listed(engines)
    if names == []:
        raise ConfigurationError(f"--engines {engines} was given; comma-separated names were expected.")
    stated = file.problem() if file is not None and (names or radii or problem) else None
    found = stand_up(solution, stated, engines=names or [], radii=radii)
    _say(terminal, found)
    terminal.give({**found.to_dict(), "run": run})
    if run.is_dir():
        write_json(run / "validation.json", found.to_dict())
    return 0 if found.ok else NO_ANSWER


def report(
    terminal: Terminal,
    run: Run,
    out: Annotated[
        Path | None, option("File of the page; RUN/report.html by default.", "PAGE.html", flags="--out -o")
    ] = None,
    problem: Problem = None,
    no_validation: Annotated[bool, option("Leave out the forward solution and the tests.")] = False,
) -> int:
    """Write one HTML page of a run: question, answer, maps, fit, sensitivity, validation, how to repeat it.

    The page needs no other file and no network.
    """
    from mollifier.diagnostics.validation.validate import validate
    from mollifier.problem.solution import load_solution
    from mollifier.reporting.page.build import report as save_page

    solution = load_solution(run)
    file = problem or _beside(run)
    if problem is not None:
        _same_unknowns(problem, solution)
    text = "" if file is None else _text(file)
    found = None if no_validation else validate(solution)
    page = out or (run if run.is_dir() else run.parent) / "report.html"
    folder = str(run if run.is_dir() else run.parent)
    name = "problem.yaml" if file is None or file.suffix == ".json" else str(file)
    command = f"mollifier solve {shlex.quote(name)} --out {shlex.quote(folder)}" if text else ""
    written = save_page(solution, page, found or False, text, command)
    terminal.say(f"Page      {written} ({written.stat().st_size / 1e6:.1f} MB)")
    terminal.give({"page": written, "validation": None if found is None else found.to_dict()})
    return 0


def export(
    terminal: Terminal,
    run: Run,
    to: Annotated[Path, option("File to write, which ends in .nc or .pvd.", "FILE")],
) -> int:
    """Write the fields of a run for other programs: netCDF (.nc, CF conventions), or for ParaView (.pvd)."""
    from mollifier.problem.solution import load_solution

    written = load_solution(run).export(to)
    terminal.say(f"wrote {written}")
    terminal.give({"file": written})
    return 0


def _beside(run: Path) -> Path | None:
    """What the run's folder says of its problem."""
    folder = run if run.is_dir() else run.parent
    return next((p for p in (folder / "problem.yaml", folder / "problem.json") if p.is_file()), None)


def _same_unknowns(problem: Path, solution: Solution) -> None:
    """Refuse a problem file that asks for other unknowns than were found."""
    from mollifier.engines.settings import load_problem

    asked, found = list(load_problem(problem).unknowns), list(solution.provenance.get("unknowns") or [])
    if found and sorted(asked) != sorted(found):
        raise ConfigurationError(
            f"{problem} asks for {', '.join(asked)}, and the run found {', '.join(found)}: it is another "
            "problem. Give the problem file of this run."
        )


def _text(file: Path) -> str:
    """A problem file's text; what a run kept of one, as YAML; `ConfigurationError` if it is none."""
    if file.suffix != ".json":
        from mollifier.engines.settings import load_problem

        return load_problem(file).path.read_text(encoding="utf-8-sig")
    import yaml

    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"{file}: what the run kept of its problem is no JSON ({error}). Delete it, or give --problem."
        ) from None
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)


def _problem_file(run: Path, given: Path | None) -> ProblemFile | None:
    from mollifier.engines.settings import load_problem

    found = given or _beside(run)
    return None if found is None or found.suffix == ".json" else load_problem(found)


def _say(terminal: Terminal, found: Validation) -> None:
    terminal.table(*found.columns())
    for line in (*found.reasons, *found.notes):
        terminal.say(f"- {line}", "yellow" if line in found.reasons else "")
    terminal.say("")
    terminal.say(f"Verdict: {found.status}", _COLOURS[found.status])
