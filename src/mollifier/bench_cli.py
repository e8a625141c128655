"""The benchmark commands: parse, call, print, save."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mollifier.console import INTERRUPTED, NO_ANSWER, Terminal, reported
from mollifier.errors import ConfigurationError
from mollifier.options import EPILOG, Debug, Json, NoColour, NoFigures, Quiet, Resume
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
    resume: Resume = False,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    no_figures: NoFigures = False,
    debug: Debug = False,
) -> None:
    """Errors, coverage of the intervals and seconds of the engines on problems whose answer is known.

    Writes accuracy.csv, .json, .md and a figure, and every solve, as it is done, to accuracy.trials.jsonl,
    which --resume goes on from. Ctrl-C ends the run and keeps the seeds that are done.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug):
        if listed:
            _list(terminal, cases or [])
            return
        levels = _numbers("noise", noise)
        with _own(out, "accuracy") as folder:
            from mollifier.bench import accuracy
            from mollifier.bench.journal import Journal

            journal = Journal(folder / "accuracy.trials.jsonl", resume)
            with Steps(terminal.err, terminal.silent) as follow:
                table = accuracy.run(
                    cases or [], levels, _words(names), range(seeds), progress=follow, journal=journal
                )
            answered = any(r.errors for r in table.rows)
            raise typer.Exit(_deliver(terminal, table, folder, answered, not no_figures))


@bench.command(
    epilog=f"Example: mollifier bench coverage langevin kdv-small --engines network --noise 0.05. {EPILOG}"
)
def coverage(
    cases: Cases = None,
    noise: Noise = None,
    names: Annotated[
        str | None,
        typer.Option("--engines", "-e", metavar="NAMES", help="As in 'bench engines'."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Draws of the noise.")] = 50,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the engines: network.width=16."),
    ] = None,
    out: Folder = _FOLDER,
    resume: Resume = False,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    no_figures: NoFigures = False,
    debug: Debug = False,
) -> None:
    """Shares of truths inside the 50, 80 and 95 % intervals, of numbers and fields, and where they fall.

    CASE is one of 'bench engines', a problem of 'bench paper', burgers-small or kdv-small. Writes
    coverage.csv, .json, .md and a figure, and every solve, as it is done, to coverage.trials.jsonl, which
    --resume goes on from. Ctrl-C ends the run and keeps the seeds that are done.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug):
        levels = _numbers("noise", noise)
        with _own(out, "coverage") as folder:
            from mollifier.bench import coverage as measure
            from mollifier.bench.journal import Journal
            from mollifier.config import overridden
            from mollifier.settings import Settings, validated

            settings = validated(Settings, overridden(overrides or []))
            journal = Journal(folder / "coverage.trials.jsonl", resume)
            with Steps(terminal.err, terminal.silent) as follow:
                table = measure.run(
                    cases or [],
                    levels,
                    _words(names),
                    range(seeds),
                    settings=settings,
                    progress=follow,
                    journal=journal,
                )
            answered = any(r.answers for r in table.rows)
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
    resume: Resume = False,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    debug: Debug = False,
) -> None:
    """Ours beside PySINDy's weak form and ODIL, on the same data in the same run: error and seconds.

    They come with: pip install "mollifier[peers]". One that is not there is named, and the others run.
    Without a CASE, those on which one of the two is run. Writes peers.csv, .json and .md, and every answer,
    as it comes, to peers.trials.jsonl, which --resume goes on from. Ctrl-C ends the run and keeps the seeds
    that are done.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug):
        levels = _numbers("noise", noise)
        with _own(out, "peers") as folder:
            from mollifier.bench import versus
            from mollifier.bench.journal import Journal

            journal = Journal(folder / "peers.trials.jsonl", resume)
            with Steps(terminal.err, terminal.silent) as follow:
                table = versus.run(
                    cases or [], levels, engine, range(seeds), progress=follow, journal=journal
                )
            answered = any(r.own_error < float("inf") for r in table.rows)
            raise typer.Exit(_deliver(terminal, table, folder, answered))


@bench.command(epilog=f"Example: mollifier bench paper --quick. {EPILOG}")
def paper(
    problems: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROBLEM]...", help="Of the paper: langevin, heat, heat-20, chromatin, ..."),
    ] = None,
    networks: Annotated[
        str | None, typer.Option("--networks", metavar="KINDS", help="As network.kind in a problem file.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            metavar="NAMES",
            help="Of mollifier, nested, taylor (each with every network), weak, joint, deepxde, pina.",
        ),
    ] = None,
    noise: Noise = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Of noise and weights; 5.")] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=1, help="The most that an answer may take; 300.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Three problems, two networks, one noise and seed, 30 s each.")
    ] = False,
    out: Folder = _FOLDER,
    resume: Resume = False,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    no_figures: NoFigures = False,
    debug: Debug = False,
) -> None:
    """The paper's three problems: networks with the layer, autodiff, engines without networks.

    Writes paper.csv, paper-derivatives.csv, the same as .json and .md, a figure, and every answer, as it
    comes, to paper.trials.jsonl, which --resume goes on from.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug):
        levels = _numbers("noise", noise)
        with _own(out, "paper") as folder:
            from mollifier.bench import paper as measure
            from mollifier.bench.journal import Journal

            given = {
                "problems": problems,
                "networks": _words(networks),
                "methods": _words(methods),
                "noises": levels,
                "seeds": range(seeds or 0),
                "seconds": seconds,
            }
            chosen = (measure.QUICK if quick else {}) | {n: v for n, v in given.items() if v}
            plans = measure.planned(**chosen)
            journal = Journal(folder / "paper.trials.jsonl", resume)
            with Steps(terminal.err, terminal.silent) as follow:
                unknowns, derivatives = measure.run(plans, journal, follow)
            _deliver(terminal, derivatives, folder, True)
            answered = any(r.relative_l2 < float("inf") for r in unknowns.rows)
            raise typer.Exit(_deliver(terminal, unknowns, folder, answered, not no_figures))


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
        with _own(out, "scale") as folder:
            from mollifier.bench import scale as measure

            with Steps(terminal.err, terminal.silent) as follow:
                table = measure.run(nodes, repeats, progress=follow)
            answered = any(r.repeats for r in table.rows)
            raise typer.Exit(_deliver(terminal, table, folder, answered, not no_figures))


@bench.command(epilog=f"Example: mollifier bench derivatives --quick. {EPILOG}")
def derivatives(
    quick: Annotated[bool, typer.Option("--quick", help="Orders 2 and 4 on one grid.")] = False,
    network: Annotated[
        str, typer.Option("--network", metavar="KIND", help="As network.kind in a problem file.")
    ] = "mlp",
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
    with reported(terminal, debug), _own(out, "derivatives") as folder:
        from mollifier.bench import derivatives as measure

        with Steps(terminal.err, terminal.silent) as follow:
            table = measure.run(quick=quick, network=network, progress=follow)
        raise typer.Exit(_deliver(terminal, table, folder, bool(table.rows)))


@bench.command(epilog=f"Example: mollifier bench fuzz --count 100000. {EPILOG}")
def fuzz(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KIND]...", help="equation, 'problem file' or table; all by default."),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Inputs in all.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the inputs.")] = 0,
    out: Folder = _FOLDER,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    debug: Debug = False,
) -> None:
    """Random and mutated equations, problem files and tables: crashes, hangs, memory, placeless refusals.

    Writes fuzz.csv, .json and .md. Exit code 1 where an input did what none may. Ctrl-C keeps the counts.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug), _own(out, "fuzz") as folder:
        from mollifier.bench import fuzz as inputs
        from mollifier.config import load

        inputs.supported()
        with Steps(terminal.err, terminal.silent) as follow:
            table = inputs.run(
                count, kinds or [], load=lambda path: load(path).problem(), seed=seed, progress=follow
            )
        raise typer.Exit(_deliver(terminal, table, folder, not any(r.faults for r in table.rows)))


@bench.command(epilog=f"Example: mollifier bench kill joint compare --runs 20. {EPILOG}")
def kill(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND]...",
            help="network, lbfgs, joint, finer, each, compare, bench, chromatin, pool; all by default.",
        ),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Processes to kill in all.")] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the moments.")] = 0,
    out: Folder = _FOLDER,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    debug: Debug = False,
) -> None:
    """Runs killed at random moments and taken up: the numbers of the unbroken run, and every file readable?

    Writes kill.csv, .json and .md. Exit code 1 where a number differs or a file cannot be read.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug), _own(out, "kill") as folder:
        from mollifier.bench import kill as killing

        with Steps(terminal.err, terminal.silent) as follow:
            table = killing.run(kinds or [], runs, seed=seed, progress=follow)
        raise typer.Exit(_deliver(terminal, table, folder, killing.check(table)))


@bench.command(epilog=f"Example: mollifier bench chromatin --nuclei 3 --methods waves,layer. {EPILOG}")
def chromatin(
    nuclei: Annotated[int, typer.Option("--nuclei", min=0, help="Simulated nuclei.")] = 20,
    methods: Annotated[
        str,
        typer.Option("--methods", metavar="NAMES", help="waves, layer, nested (networks), parted by commas."),
    ] = "waves",
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="That a network may take.")] = 60.0,
    studies: Annotated[int, typer.Option("--studies", min=0, help="Of treated and control cells.")] = 0,
    out: Folder = _FOLDER,
    resume: Resume = False,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    debug: Debug = False,
) -> None:
    """Rates of simulated nuclei from localisations, and simulated studies of treated and control cells.

    A nucleus takes about half a minute, a study of eleven cells as long. Writes nuclei.csv and cohorts.csv,
    the same as .json and .md, and every answer, as it comes, to a journal, which --resume goes on from.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug), _own(out, "chromatin") as folder:
        from mollifier.apps.chromatin import cohorts
        from mollifier.apps.chromatin import nuclei as simulated
        from mollifier.bench.journal import Journal

        if not nuclei + studies:
            raise ConfigurationError("--nuclei 0 and no --studies were given; one of the two was wanted.")
        code = 0
        with Steps(terminal.err, terminal.silent) as follow:
            tables = []
            if nuclei:
                journal = Journal(folder / "nuclei.trials.jsonl", resume)
                named = _words(methods)
                tables.append(simulated.run(nuclei, named, seconds, progress=follow, journal=journal))
            if studies and not any(t.interrupted for t in tables):
                journal = Journal(folder / "cohorts.trials.jsonl", resume)
                tables.append(cohorts.run(studies, progress=follow, journal=journal))
        for table in tables:
            code = max(code, _deliver(terminal, table, folder, bool(table.rows)))
        raise typer.Exit(code)


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


@contextmanager
def _own(folder: Path, name: str) -> Iterator[Path]:
    """The folder, made if need be, with no other run of this benchmark in it."""
    from mollifier.files import ensure_folder
    from mollifier.lock import locked

    with locked(ensure_folder(folder), name):
        yield folder


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
