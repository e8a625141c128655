"""The benchmark commands that attack the program: random input, and runs that are killed."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmarks.running import FOLDER, Folder, running
from mollifier.cli.terminal import Terminal


def fuzz(
    terminal: Terminal,
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KIND]...", help="equation, 'problem file' or table; all by default."),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Inputs in all.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the inputs.")] = 0,
    out: Folder = FOLDER,
) -> int:
    """Random and mutated equations, problem files and tables: crashes, hangs, memory, placeless refusals.

    Writes fuzz.csv, .json and .md. Exit code 1 where an input did what none may. Ctrl-C keeps the counts.
    """
    with running(terminal, "fuzz", out) as run:
        from benchmarks import fuzz as inputs
        from mollifier.problem.problem_file import load

        inputs.supported()
        table = inputs.run(
            count, kinds or [], load=lambda path: load(path).problem(), seed=seed, progress=run.progress
        )
        return run.deliver(table, not any(r.faults for r in table.rows))


def kill(
    terminal: Terminal,
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
) -> int:
    """Runs killed at random moments and resumed: the numbers of the unbroken run, and every file readable?

    Writes kill.csv, .json and .md. Exit code 1 where a number differs or a file cannot be read.
    """
    with running(terminal, "kill", out) as run:
        from benchmarks import kill as killing

        table = killing.run(kinds or [], runs, seed=seed, progress=run.progress)
        return run.deliver(table, killing.check(table))
