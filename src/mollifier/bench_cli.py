"""The benchmark commands: parse, call, print, save."""

from __future__ import annotations

from typing import Annotated

import typer

from mollifier.bench_tables import FOLDER, Cases, Folder, Noise, delivered, numbers, own, words
from mollifier.bench_trials_cli import TRIALS
from mollifier.console import Terminal, reported
from mollifier.errors import ConfigurationError
from mollifier.options import EPILOG, Debug, Json, NoColour, NoFigures, Quiet, Resume
from mollifier.progress import Steps

bench = typer.Typer(
    help="Measure speed and accuracy: print the table, and keep it as CSV, JSON and Markdown.",
    no_args_is_help=True,
)


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
    out: Folder = FOLDER,
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
        levels = numbers("noise", noise)
        with own(out, "accuracy") as folder:
            from mollifier.bench import accuracy
            from mollifier.bench.journal import Journal

            journal = Journal(folder / "accuracy.trials.jsonl", resume)
            with Steps(terminal.err, terminal.silent) as follow:
                table = accuracy.run(
                    cases or [], levels, words(names), range(seeds), progress=follow, journal=journal
                )
            answered = any(r.errors for r in table.rows)
            raise typer.Exit(delivered(terminal, table, folder, answered, not no_figures))


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
    out: Folder = FOLDER,
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
        levels = numbers("noise", noise)
        with own(out, "coverage") as folder:
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
                    words(names),
                    range(seeds),
                    settings=settings,
                    progress=follow,
                    journal=journal,
                )
            answered = any(r.answers for r in table.rows)
            raise typer.Exit(delivered(terminal, table, folder, answered, not no_figures))


@bench.command(epilog=f"Example: mollifier bench peers burgers kdv --noise 0.01 --seeds 3. {EPILOG}")
def peers(
    cases: Cases = None,
    noise: Noise = None,
    engine: Annotated[
        str, typer.Option("--engine", "-e", help="Ours: auto, weak, joint or network.")
    ] = "auto",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Draws of the noise.")] = 5,
    out: Folder = FOLDER,
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
        levels = numbers("noise", noise)
        with own(out, "peers") as folder:
            from mollifier.bench import versus
            from mollifier.bench.journal import Journal

            journal = Journal(folder / "peers.trials.jsonl", resume)
            with Steps(terminal.err, terminal.silent) as follow:
                table = versus.run(
                    cases or [], levels, engine, range(seeds), progress=follow, journal=journal
                )
            answered = any(r.own_error < float("inf") for r in table.rows)
            raise typer.Exit(delivered(terminal, table, folder, answered))


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
    out: Folder = FOLDER,
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
        levels = numbers("noise", noise)
        with own(out, "paper") as folder:
            from mollifier.bench import paper as measure
            from mollifier.bench.journal import Journal

            given = {
                "problems": problems,
                "networks": words(networks),
                "methods": words(methods),
                "noises": levels,
                "seeds": range(seeds or 0),
                "seconds": seconds,
            }
            chosen = (measure.QUICK if quick else {}) | {n: v for n, v in given.items() if v}
            plans = measure.planned(**chosen)
            journal = Journal(folder / "paper.trials.jsonl", resume)
            with Steps(terminal.err, terminal.silent) as follow:
                unknowns, derivatives = measure.run(plans, journal, follow)
            delivered(terminal, derivatives, folder, True)
            answered = any(r.relative_l2 < float("inf") for r in unknowns.rows)
            raise typer.Exit(delivered(terminal, unknowns, folder, answered, not no_figures))


@bench.command(epilog=f"Example: mollifier bench scale --sizes 128,256,512. {EPILOG}")
def scale(
    sizes: Annotated[
        str, typer.Option("--sizes", metavar="NODES", help="Nodes along each of two axes, parted by commas.")
    ] = "128,256,512,1024,2048",
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Solves of each size.")] = 3,
    out: Folder = FOLDER,
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
        nodes = [_whole(n) for n in numbers("sizes", sizes)]
        with own(out, "scale") as folder:
            from mollifier.bench import scale as measure

            with Steps(terminal.err, terminal.silent) as follow:
                table = measure.run(nodes, repeats, progress=follow)
            answered = any(r.repeats for r in table.rows)
            raise typer.Exit(delivered(terminal, table, folder, answered, not no_figures))


@bench.command(epilog=f"Example: mollifier bench derivatives --quick. {EPILOG}")
def derivatives(
    quick: Annotated[bool, typer.Option("--quick", help="Orders 2 and 4 on one grid.")] = False,
    network: Annotated[
        str, typer.Option("--network", metavar="KIND", help="As network.kind in a problem file.")
    ] = "mlp",
    out: Folder = FOLDER,
    as_json: Json = False,
    quiet: Quiet = False,
    no_colour: NoColour = False,
    debug: Debug = False,
) -> None:
    """Seconds and memory of a training step: mollifier, nested and Taylor-mode autodiff, a data fit.

    Writes derivatives.csv, .json and .md.
    """
    terminal = Terminal.of(as_json, quiet, no_colour)
    with reported(terminal, debug), own(out, "derivatives") as folder:
        from mollifier.bench import derivatives as measure

        with Steps(terminal.err, terminal.silent) as follow:
            table = measure.run(quick=quick, network=network, progress=follow)
        raise typer.Exit(delivered(terminal, table, folder, bool(table.rows)))


for command, example in TRIALS:
    bench.command(epilog=f"Example: {example}. {EPILOG}")(command)


def _list(terminal: Terminal, cases: list[str]) -> None:
    from mollifier.bench.catalogue import catalogue

    with Steps(terminal.err, terminal.silent) as follow:
        table = catalogue(cases, follow)
    terminal.table(table.columns, table.cells())
    terminal.give(table.to_dict())


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ConfigurationError(f"--sizes holds {number:g}; whole numbers of nodes were wanted.")
    return int(number)
