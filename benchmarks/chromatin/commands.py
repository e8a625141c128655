"""The benchmark commands on chromatin."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from benchmarks.running import FOLDER, Folder, running, words
from mollifier.cli.options import Resume
from mollifier.cli.terminal import Terminal
from mollifier.errors import ConfigurationError


def chromatin(
    terminal: Terminal,
    nuclei: Annotated[int, typer.Option("--nuclei", min=0, help="Simulated nuclei.")] = 20,
    methods: Annotated[
        str,
        typer.Option("--methods", metavar="NAMES", help="waves, layer, nested (networks), comma-separated."),
    ] = "waves",
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="That a network may take.")] = 60.0,
    first: Annotated[int, typer.Option("--first", min=0, help="Number of the first nucleus and study.")] = 0,
    diameter: Annotated[
        float | None,
        typer.Option("--diameter", min=1000, metavar="NM", help="Of nuclei; by default 1,300 to 1,800."),
    ] = None,
    outline: Annotated[
        str, typer.Option("--given", help="outline,levels or nothing: both are found in the data.")
    ] = "outline,levels",
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="NAMES", help="ten frames, one pair, still; all by default."),
    ] = None,
    studies: Annotated[int, typer.Option("--studies", min=0, help="Of treated and control cells.")] = 0,
    effect: Annotated[
        float, typer.Option("--effect", min=0.1, help="Ratio of treated to control rates; 1 for none.")
    ] = 1.3,
    dynamics: Annotated[int, typer.Option("--dynamics", min=0, help="Moving, fading, treated nuclei.")] = 0,
    out: Folder = FOLDER,
    resume: Resume = False,
) -> int:
    """Rates of simulated nuclei from localisations, and simulated studies of treated and control cells.

    A nucleus takes about half a minute, a study of eleven cells as long. Writes nuclei.csv, cohorts.csv and
    dynamics.csv, the same as .json and .md, and every answer, as it comes, to a journal, from which --resume
    continues.
    """
    if not nuclei + studies + dynamics:
        raise ConfigurationError(
            "--nuclei 0 and neither --studies nor --dynamics were given; one of them was expected."
        )
    with running(terminal, "chromatin", out, resume) as run:
        from benchmarks.chromatin import cohorts
        from benchmarks.chromatin import dynamics as treated
        from benchmarks.chromatin import nuclei as simulated

        tables = []
        if nuclei:
            given = nuclei, words(methods), seconds, first, diameter, outline, words(data)
            tables.append(simulated.run(*given, progress=run.progress, journal=run.journal("nuclei")))
        if studies and not any(t.interrupted for t in tables):
            asked = studies, effect, first
            tables.append(cohorts.run(*asked, progress=run.progress, journal=run.journal("cohorts")))
        if dynamics and not any(t.interrupted for t in tables):
            asked = dynamics, first
            tables.append(treated.run(*asked, progress=run.progress, journal=run.journal("dynamics")))
        return max(run.deliver(table, bool(table.rows)) for table in tables)


def nucleus(
    terminal: Terminal,
    definitions: Annotated[
        str,
        typer.Option(
            "--definitions", metavar="NAMES", help="ours, kant2024, o-snap, preview; all by default."
        ),
    ] = "",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Simulated nuclei.")] = 1,
    plan: Annotated[
        str, typer.Option("--plan", help="a549 (radii of ChromSTEM), or gsk (nuclei treated with GSK).")
    ] = "a549",
    scale: Annotated[
        float,
        typer.Option("--scale", min=0.1, max=2, help="Of the diameter of 16.5 um, at the same density."),
    ] = 1.0,
    out: Folder = FOLDER,
    resume: Resume = False,
) -> int:
    """A nucleus of real size, 2.4 million localisations: domains, rim, seconds and memory by each definition.

    About a minute for each. Writes nucleus.csv, .json and .md, and every row, as it comes, to a journal, from
    which --resume continues.
    """
    with running(terminal, "nucleus", out, resume) as run:
        from benchmarks.chromatin import large_nuclei
        from benchmarks.chromatin.real_nuclei import PLANS, scaled
        from benchmarks.table import checked

        options: dict[str, Any] = {"definitions": words(definitions)} if definitions else {}
        checked("plan", [plan], PLANS)
        table = large_nuclei.run(
            seeds=range(seeds), plan=scaled(scale, plan), folder=run.folder, progress=run.progress,
            journal=run.journal("nucleus"), **options,
        )  # fmt: skip
        return run.deliver(table, bool(table.rows))
