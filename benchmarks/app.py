"""The benchmark commands: parse, call, print, save."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import stress
from benchmarks.chromatin import commands as chromatin
from benchmarks.running import FOLDER, Cases, Engines, Folder, Noise, Seeds, numbers, running, words
from mollifier.cli.options import NoFigures, Resume, command
from mollifier.cli.progress import Steps
from mollifier.cli.terminal import Terminal
from mollifier.errors import ConfigurationError

bench = typer.Typer(
    help="Measure speed and accuracy: print the table, and keep it as CSV, JSON and Markdown.",
    no_args_is_help=True,
)
_command = partial(command, bench, "python -m benchmarks")
_command("chromatin --nuclei 3 --methods waves,layer")(chromatin.chromatin)
_command("nucleus --definitions ours,preview")(chromatin.nucleus)
_command("fuzz --count 100000")(stress.fuzz)
_command("kill joint compare --runs 20")(stress.kill)


@_command("engines burgers kdv --noise 0.01,0.1 --engines weak,joint")
def engines(
    terminal: Terminal,
    cases: Cases = None,
    noise: Noise = None,
    names: Engines = None,
    seeds: Seeds = 20,
    listed: Annotated[
        bool, typer.Option("--list", help="List the cases: equation, unknowns, size, noise.")
    ] = False,
    out: Folder = FOLDER,
    resume: Resume = False,
    no_figures: NoFigures = False,
) -> int:
    """Errors, coverage of the intervals and seconds of the engines on problems whose answer is known.

    Writes accuracy.csv, .json, .md and a figure, and every solve, as it is done, to accuracy.trials.jsonl,
    from which --resume continues. Ctrl-C ends the run and keeps the seeds that are done.
    """
    if listed:
        return _list(terminal, cases or [])
    asked = cases or [], numbers("noise", noise), words(names), range(seeds)
    with running(terminal, "accuracy", out, resume) as run:
        from benchmarks import accuracy

        table = accuracy.run(*asked, progress=run.progress, journal=run.journal("accuracy"))
        return run.deliver(table, any(r.errors for r in table.rows), not no_figures)


@_command("coverage langevin kdv-small --engines network --noise 0.05")
def coverage(
    terminal: Terminal,
    cases: Cases = None,
    noise: Noise = None,
    names: Engines = None,
    seeds: Seeds = 50,
    first: Annotated[int, typer.Option(help="First seed.")] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the engines: network.width=16."),
    ] = None,
    out: Folder = FOLDER,
    resume: Resume = False,
    no_figures: NoFigures = False,
) -> int:
    """Shares of truths inside the 50, 80 and 95 % intervals, of numbers and fields, and where they fall.

    CASE is one of 'engines --list', a problem of 'paper', or a study: burgers-small, kdv-small, darcy-0,
    darcy-two-0, wells-60-10, wells-200-10 (and further media), ring, l-shape, l-corner (within 0.3 of the
    corner). Writes coverage.csv, .json, .md and a figure, and every solve, as it is done, to
    coverage.trials.jsonl, from which --resume continues. Ctrl-C ends the run and keeps the seeds done.
    """
    asked = cases or [], numbers("noise", noise), words(names), range(first, first + seeds)
    with running(terminal, "coverage", out, resume) as run:
        from benchmarks import coverage as measure
        from mollifier.engines.registry import ENGINES
        from mollifier.engines.settings import check_settings
        from mollifier.problem.problem_file import overridden

        settings = check_settings(overridden(overrides or []), list(ENGINES.values()))
        journal = run.journal("coverage")
        table = measure.run(*asked, settings=settings, progress=run.progress, journal=journal)
        return run.deliver(table, any(r.answers for r in table.rows), not no_figures)


@_command("trust noise --engines weak,joint --seeds 20")
def trust(
    terminal: Terminal,
    groups: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GROUP]...", help="white, noise, declared, equation; all by default."),
    ] = None,
    names: Engines = None,
    kinds: Annotated[
        str, typer.Option("--kinds", metavar="LIST", help="Comma-separated kinds of noise or mistakes.")
    ] = "",
    questions: Annotated[
        str, typer.Option("--questions", metavar="LIST", help="Comma-separated questions, all by default.")
    ] = "",
    seeds: Seeds = 12,
    first: Annotated[
        int, typer.Option(help="First seed; those below 1000 served to choose the program's thresholds.")
    ] = 1000,
    out: Folder = FOLDER,
    resume: Resume = False,
) -> int:
    """How often an answer that is called good is wrong: random questions, kinds of noise, wrong equations.

    Writes trust.csv, .json and .md, and every solve, as it is done, to trust.trials.jsonl, from which
    --resume continues. Ctrl-C ends the run and keeps the seeds that are done.
    """
    asked = groups or [], words(names), range(first, first + seeds), words(kinds), words(questions)
    with running(terminal, "trust", out, resume) as run:
        from benchmarks.trust import study

        table = study.run(*asked, progress=run.progress, journal=run.journal("trust"))
        return run.deliver(table, any(r.runs for r in table.rows), False)


@_command("peers burgers kdv --noise 0.01 --seeds 3")
def peers(
    terminal: Terminal,
    cases: Cases = None,
    noise: Noise = None,
    engine: Annotated[
        str, typer.Option("--engine", "-e", help="Ours: auto, weak, joint or network.")
    ] = "auto",
    seeds: Seeds = 5,
    out: Folder = FOLDER,
    resume: Resume = False,
) -> int:
    """Ours beside PySINDy's weak form and ODIL, on the same data in the same run: error and seconds.

    They come with: pip install "mollifier[peers]". One that is not there is named, and the others run.
    Without a CASE, those on which one of the two is run. Writes peers.csv, .json and .md, and every answer,
    as it comes, to peers.trials.jsonl, from which --resume continues. Ctrl-C ends the run and keeps the seeds
    that are done.
    """
    asked = cases or [], numbers("noise", noise), engine, range(seeds)
    with running(terminal, "peers", out, resume) as run:
        from benchmarks import versus

        table = versus.run(*asked, progress=run.progress, journal=run.journal("peers"))
        return run.deliver(table, any(r.own_error < math.inf for r in table.rows))


@_command("paper --quick")
def paper(
    terminal: Terminal,
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
    no_figures: NoFigures = False,
) -> int:
    """The paper's three problems: networks with the layer, autodiff, engines without networks.

    Writes paper.csv, paper-derivatives.csv, the same as .json and .md, a figure, and every answer, as it
    comes, to paper.trials.jsonl, from which --resume continues.
    """
    given = {
        "problems": problems,
        "networks": words(networks),
        "methods": words(methods),
        "noises": numbers("noise", noise),
        "seeds": range(seeds or 0),
        "seconds": seconds,
    }
    with running(terminal, "paper", out, resume) as run:
        from benchmarks.paper import runs as measure

        plans = measure.planned(**(measure.QUICK if quick else {}) | {n: v for n, v in given.items() if v})
        unknowns, derivatives = measure.run(plans, run.journal("paper"), run.progress)
        run.deliver(derivatives, True)
        return run.deliver(unknowns, any(r.relative_l2 < math.inf for r in unknowns.rows), not no_figures)


@_command("scale --sizes 128,256,512")
def scale(
    terminal: Terminal,
    sizes: Annotated[
        str, typer.Option("--sizes", metavar="NODES", help="Nodes along each of two axes, comma-separated.")
    ] = "128,256,512,1024,2048",
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Solves of each size.")] = 3,
    out: Folder = FOLDER,
    no_figures: NoFigures = False,
) -> int:
    """Seconds and memory of the weak engine against the size of the data.

    Three numbers of an advection-diffusion-reaction equation, each solve in its own process. Writes
    scale.csv, .json, .md and a figure. Ctrl-C ends the run and keeps what is done.
    """
    nodes = [_whole(n) for n in numbers("sizes", sizes)]
    with running(terminal, "scale", out) as run:
        from benchmarks import scale as measure

        table = measure.run(nodes, repeats, progress=run.progress)
        return run.deliver(table, any(r.repeats for r in table.rows), not no_figures)


@_command("solid --points 10000,100000")
def solid(
    terminal: Terminal,
    networks: Annotated[
        str, typer.Option("--networks", metavar="KINDS", help="Kinds of network, comma-separated.")
    ] = "random-features,mlp",
    points: Annotated[
        str, typer.Option("--points", metavar="LIST", help="Numbers of places, comma-separated.")
    ] = "10000",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of places, noise and solve.")] = 0,
    out: Folder = FOLDER,
) -> int:
    """CPU seconds and memory of whole solves by the network engine in four coordinates.

    A decaying wave at scattered places, each solve in its own process, in minutes. Writes solid.csv, .json
    and .md. Ctrl-C ends the run and keeps what is done.
    """
    kinds, counts = words(networks) or [], [_whole(n) for n in numbers("points", points)]
    with running(terminal, "solid", out) as run:
        from benchmarks import solid as measure

        table = measure.run(kinds, counts, seed, progress=run.progress)
        return run.deliver(table, any(r.sd > 0 for r in table.rows))


@_command("blocks --frames 500,2000")
def blocks(
    terminal: Terminal,
    frames: Annotated[
        str, typer.Option("--frames", metavar="LIST", help="Frames of the movies, comma-separated.")
    ] = "250,500,1000,2000",
    pixels: Annotated[int, typer.Option("--pixels", min=16, help="Pixels along each side.")] = 512,
    scratch: Annotated[
        Path | None,
        typer.Option("--scratch", metavar="FOLDER", help="Where the movies are made, and deleted."),
    ] = None,
    out: Folder = FOLDER,
) -> int:
    """Seconds and memory of the weak engine on movies larger than memory, and on a part in memory.

    2,000 frames of 512 pixels squared are 4.2 GB. Writes blocks.csv, .json and .md. Ctrl-C ends the run and
    keeps what is done.
    """
    counts = [_whole(n) for n in numbers("frames", frames)]
    with running(terminal, "blocks", out) as run:
        from benchmarks import blocks as measure

        table = measure.run(counts, pixels, scratch, progress=run.progress)
        return run.deliver(table, any(r.seconds < math.inf for r in table.rows))


@_command("speed --out out/bench")
def speed(
    terminal: Terminal,
    quick: Annotated[bool, typer.Option("--quick", help="Only the smallest of each.")] = False,
    out: Folder = FOLDER,
) -> int:
    """What derivatives, weak solves, commands and training steps cost beside the least code for each.

    About four minutes. Writes speed.csv, .json and .md. Ctrl-C ends the run and keeps what is done.
    """
    with running(terminal, "speed", out) as run:
        from benchmarks import speed as measure

        table = measure.run(quick, progress=run.progress)
        return run.deliver(table, bool(table.rows))


@_command("gpu --out out/bench")
def gpu(
    terminal: Terminal,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="cuda, cuda:1, ... or cpu.")
    ] = "cuda",
    quick: Annotated[bool, typer.Option("--quick", help="Only the smallest of each.")] = False,
    out: Folder = FOLDER,
) -> int:
    """The layer, Adam, L-BFGS, Gauss-Newton and the tests marked gpu on a device, in at most eight minutes.

    Writes gpu.csv, .json and .md. Ctrl-C ends the run and keeps what is done.
    """
    with running(terminal, "gpu", out) as run:
        from benchmarks import gpu as measure

        table = measure.run(device, quick, progress=run.progress)
        return run.deliver(table, any(r.seconds < math.inf for r in table.rows))


@_command("derivatives --quick")
def derivatives(
    terminal: Terminal,
    quick: Annotated[bool, typer.Option("--quick", help="Orders 2 and 4 on one grid.")] = False,
    network: Annotated[
        str, typer.Option("--network", metavar="KIND", help="As network.kind in a problem file.")
    ] = "mlp",
    out: Folder = FOLDER,
) -> int:
    """Seconds and memory of a training step: mollifier, nested and Taylor-mode autodiff, a data fit.

    Writes derivatives.csv, .json and .md.
    """
    with running(terminal, "derivatives", out) as run:
        from benchmarks import derivatives as measure

        table = measure.run(quick=quick, network=network, progress=run.progress)
        return run.deliver(table, bool(table.rows))


@_command("answers kdv --against before/answers.json")
def answers(
    terminal: Terminal,
    cases: Cases = None,
    arms: Annotated[
        str | None,
        typer.Option(
            "--arms", metavar="NAMES", help="auto, weak, joint, network, random-features, comma-separated."
        ),
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="answers.json", help="Answers of another version.")
    ] = None,
    out: Folder = FOLDER,
) -> int:
    """One answer of each case by each engine, compared with saved answers of another version.

    Writes answers.csv, .json and .md. Exit code 1 where an answer differs by more than rounding.
    """
    with running(terminal, "answers", out) as run:
        from benchmarks import answers as measure

        table = measure.run(cases or [], words(arms), against, run.progress)
        return run.deliver(table, bool(table.rows) and not any(r.changed for r in table.rows))


def _list(terminal: Terminal, cases: list[str]) -> int:
    from benchmarks.catalogue import catalogue

    with Steps(terminal.err, terminal.silent) as follow:
        table = catalogue(cases, follow)
    terminal.table(table.columns, table.cells())
    terminal.give(table.to_dict())
    return 0


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ConfigurationError(f"--sizes holds {number:g}; whole numbers of nodes were expected.")
    return int(number)
