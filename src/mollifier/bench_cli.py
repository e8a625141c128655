"""The benchmark commands: parse, call, print, save."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mollifier.console import INTERRUPTED, NO_ANSWER, Terminal, reported
from mollifier.errors import ConfigurationError
from mollifier.options import EPILOG, Debug, Json, NoColour, NoFigures, Quiet
from mollifier.progress import Steps

if TYPE_CHECKING:
    from mollifier.bench.table import Table

bench = typer.Typer(
    help="Measure speed and accuracy: print the table, and keep it as CSV, JSON and Markdown.",
    no_args_is_help=True,
)

Cases = Annotated[
    list[str] | None, typer.Argument(metavar="[CASE]...", help="Which; 'bench engines --list' lists them.")
]
Noise = Annotated[
    str | None,
    typer.Option(
        "--noise", metavar="LEVELS", help="sigma / rms(u), parted by commas; each case's own by default."
    ),
]
Folder = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the tables go.")]
_FOLDER = Path("out") / "bench"


@bench.command(
    epilog=f"Example: mollifier bench engines burgers kdv --noise 0.01,0.1 --engines weak,joint. {EPILOG}"
)
def engines(
    cases: Cases = None,
    noise: Noise = None,
    names: Annotated[
        str | None,
        typer.Option(
            "--engines",
            "-e",
            metavar="NAMES",
            help="weak, joint, network or auto, parted by commas; by default those that suit each case.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Draws of the noise.")] = 20,
    listed: Annotated[
        bool, typer.Option("--list", help="List the cases: equation, unknowns, size, noise.")
    ] = False,
    out: Folder = _FOLDER,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    no_figures: NoFigures = False,
    debug: Debug = False,
) -> None:
    """Errors, coverage of the intervals and seconds of the engines on problems whose answer is known.

    Writes accuracy.csv, .json, .md and a figure. Ctrl-C ends the run and keeps the seeds that are done.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug):
        if listed:
            _list(terminal, cases or [])
            return
        levels = _numbers("noise", noise)
        folder = _ensured(out)
        from mollifier.bench import accuracy

        with Steps(terminal.err, terminal.silent) as follow:
            table = accuracy.run(cases or [], levels, _words(names), range(seeds), progress=follow)
        answered = any(r.errors for r in table.rows)
        raise typer.Exit(_deliver(terminal, table, folder, answered, not no_figures))


@bench.command(epilog=f"Example: mollifier bench peers burgers kdv --noise 0.01 --seeds 3. {EPILOG}")
def peers(
    cases: Cases = None,
    noise: Noise = None,
    engine: Annotated[
        str, typer.Option("--engine", "-e", help="Ours: auto, weak, joint or network.")
    ] = "auto",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Draws of the noise.")] = 5,
    out: Folder = _FOLDER,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    debug: Debug = False,
) -> None:
    """Ours beside PySINDy's weak form and ODIL, on the same data in the same run: error and seconds.

    They come with: pip install "mollifier[peers]". One that is not there is named, and the others run.
    Without a CASE, those on which one of the two is run. Writes peers.csv, .json and .md. Ctrl-C ends the run
    and keeps the seeds that are done.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug):
        levels = _numbers("noise", noise)
        folder = _ensured(out)
        from mollifier.bench import versus

        with Steps(terminal.err, terminal.silent) as follow:
            table = versus.run(cases or [], levels, engine, range(seeds), progress=follow)
        answered = any(r.own_error < float("inf") for r in table.rows)
        raise typer.Exit(_deliver(terminal, table, folder, answered))


@bench.command(epilog=f"Example: mollifier bench scale --sizes 128,256,512. {EPILOG}")
def scale(
    sizes: Annotated[
        str, typer.Option("--sizes", metavar="NODES", help="Nodes along each of two axes, parted by commas.")
    ] = "128,256,512,1024,2048",
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Solves of each size.")] = 3,
    out: Folder = _FOLDER,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    no_figures: NoFigures = False,
    debug: Debug = False,
) -> None:
    """Seconds and memory of the weak engine against the size of the data.

    Three numbers of an advection-diffusion-reaction equation, each solve in a process of its own. Writes
    scale.csv, .json, .md and a figure. Ctrl-C ends the run and keeps what is done.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug):
        nodes = [_whole(n) for n in _numbers("sizes", sizes)]
        folder = _ensured(out)
        from mollifier.bench import scale as measure

        with Steps(terminal.err, terminal.silent) as follow:
            table = measure.run(nodes, repeats, progress=follow)
        answered = any(r.repeats for r in table.rows)
        raise typer.Exit(_deliver(terminal, table, folder, answered, not no_figures))


@bench.command(epilog=f"Example: mollifier bench derivatives --quick. {EPILOG}")
def derivatives(
    quick: Annotated[bool, typer.Option("--quick", help="Orders 2 and 4 on one grid.")] = False,
    out: Folder = _FOLDER,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    debug: Debug = False,
) -> None:
    """Seconds and memory of a training step: mollifier, nested and Taylor-mode autodiff, a data fit.

    Writes derivatives.csv, .json and .md.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug):
        folder = _ensured(out)
        from mollifier.bench import derivatives as measure

        with Steps(terminal.err, terminal.silent) as follow:
            table = measure.run(quick=quick, progress=follow)
        raise typer.Exit(_deliver(terminal, table, folder, bool(table.rows)))


def _deliver(terminal: Terminal, table: Table, folder: Path, answered: bool, figures: bool = False) -> int:
    """Print, then save: a full disk loses the files, not the numbers. Returns the exit code."""
    from mollifier.bench.table import described

    for line in filter(None, [described(table.about), table.caption]):
        terminal.say(line, "dim")
    terminal.table(table.columns, table.cells())
    for note in table.notes():
        terminal.say(note, "yellow")
    if table.summary:
        terminal.say(table.summary, "bold")
    drawn: list[Path] = []
    try:
        table.save(folder)
        if figures:
            from mollifier.report import save_benchmark

            drawn = save_benchmark(table, folder)
    finally:
        terminal.give({**table.to_dict(), "folder": folder, "figures": drawn})
    terminal.say(f"Files     {folder}{os.sep}{table.name}.*")
    if table.interrupted:
        terminal.say("Interrupted: what was measured until then is kept.", "yellow")
        return INTERRUPTED
    return 0 if answered else NO_ANSWER


def _list(terminal: Terminal, cases: list[str]) -> None:
    from mollifier.bench.catalogue import catalogue

    with Steps(terminal.err, terminal.silent) as follow:
        table = catalogue(cases, follow)
    terminal.table(table.columns, table.cells())
    terminal.give(table.to_dict())


def _ensured(folder: Path) -> Path:
    from mollifier.files import ensure_folder

    return ensure_folder(folder)


def _words(text: str | None) -> list[str]:
    return [w.strip() for w in (text or "").split(",") if w.strip()]


def _numbers(option: str, text: str | None) -> list[float]:
    """Numbers parted by commas; none where the option was not given.

    >>> _numbers("noise", "0.01, 0.1")
    [0.01, 0.1]
    >>> _numbers("noise", "1 %")
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: --noise '1 %' was given; numbers parted by commas were wanted.
    """
    try:
        found = [float(w) for w in _words(text)]
    except ValueError:
        found = []
    if text is not None and not found:
        raise ConfigurationError(f"--{option} '{text}' was given; numbers parted by commas were wanted.")
    return found


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ConfigurationError(f"--sizes holds {number:g}; whole numbers of nodes were wanted.")
    return int(number)
