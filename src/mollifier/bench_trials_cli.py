"""The benchmark commands that try to break things, and the one of a whole application."""

from __future__ import annotations

from typing import Annotated

import typer

from mollifier.bench_tables import FOLDER, Folder, delivered, own, words
from mollifier.console import Terminal, reported
from mollifier.errors import ConfigurationError
from mollifier.options import Debug, Json, NoColour, Quiet, Resume
from mollifier.progress import Steps


def fuzz(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KIND]...", help="equation, 'problem file' or table; all by default."),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Inputs in all.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the inputs.")] = 0,
    out: Folder = FOLDER,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    debug: Debug = False,
) -> None:
    """Random and mutated equations, problem files and tables: crashes, hangs, memory, placeless refusals.

    Writes fuzz.csv, .json and .md. Exit code 1 where an input did what none may. Ctrl-C keeps the counts.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug), own(out, "fuzz") as folder:
        from mollifier.bench import fuzz as inputs
        from mollifier.config import load

        inputs.supported()
        with Steps(terminal.err, terminal.silent) as follow:
            table = inputs.run(
                count, kinds or [], load=lambda path: load(path).problem(), seed=seed, progress=follow
            )
        raise typer.Exit(delivered(terminal, table, folder, not any(r.faults for r in table.rows)))


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
    out: Folder = FOLDER,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    debug: Debug = False,
) -> None:
    """Runs killed at random moments and taken up: the numbers of the unbroken run, and every file readable?

    Writes kill.csv, .json and .md. Exit code 1 where a number differs or a file cannot be read.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug), own(out, "kill") as folder:
        from mollifier.bench import kill as killing

        with Steps(terminal.err, terminal.silent) as follow:
            table = killing.run(kinds or [], runs, seed=seed, progress=follow)
        raise typer.Exit(delivered(terminal, table, folder, killing.check(table)))


def chromatin(
    nuclei: Annotated[int, typer.Option("--nuclei", min=0, help="Simulated nuclei.")] = 20,
    methods: Annotated[
        str,
        typer.Option("--methods", metavar="NAMES", help="waves, layer, nested (networks), parted by commas."),
    ] = "waves",
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="That a network may take.")] = 60.0,
    studies: Annotated[int, typer.Option("--studies", min=0, help="Of treated and control cells.")] = 0,
    out: Folder = FOLDER,
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
    with reported(terminal, debug), own(out, "chromatin") as folder:
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
                named = words(methods)
                tables.append(simulated.run(nuclei, named, seconds, progress=follow, journal=journal))
            if studies and not any(t.interrupted for t in tables):
                journal = Journal(folder / "cohorts.trials.jsonl", resume)
                tables.append(cohorts.run(studies, progress=follow, journal=journal))
        for table in tables:
            code = max(code, delivered(terminal, table, folder, bool(table.rows)))
        raise typer.Exit(code)


# Each with an example.
TRIALS = (
    (fuzz, "mollifier bench fuzz --count 100000"),
    (kill, "mollifier bench kill joint compare --runs 20"),
    (chromatin, "mollifier bench chromatin --nuclei 3 --methods waves,layer"),
)
