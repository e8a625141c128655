"""The command `mollifier chromatin`: from microscope files to maps of rates, tables and pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mollifier.cli.chromatin_settings import StudyOptions, study_settings
from mollifier.cli.options import Address, Out, Resume, option
from mollifier.cli.terminal import NO_ANSWER, Terminal
from mollifier.errors import ConfigurationError, check_known

if TYPE_CHECKING:
    from mollifier.chromatin.model import ChromatinModel
    from mollifier.chromatin.result import NucleusResult
    from mollifier.chromatin.settings import StudySettings
    from mollifier.chromatin.study import Study

_PAGE, _STUDY = "nucleus.html", "study.html"


def chromatin(
    terminal: Terminal,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Localisation tables or images, one for each field of view."),
    ],
    options: StudyOptions,
    workers: Annotated[
        int | None, option("Number of processes; by default one for each core.", min=1)
    ] = None,
    executor: Address = None,
    figures: Annotated[
        str | None, option("Write each figure to a file too: svg, pdf or png.", "KIND")
    ] = None,
    out: Out = Path("out/chromatin"),
    resume: Resume = False,
) -> int:
    """Map the rates at which chromatin marks are added and removed, from microscope files.

    Each nucleus gets a page, a NetCDF file and tables; the study a page, a table of cells and, with --groups,
    a comparison with the control. A failed nucleus is reported and stops no other. --resume reuses finished
    nuclei.
    """
    settings = study_settings(options)
    there = {f.name for f in files}
    if absent := [name for name in settings.groups or {} if name not in there]:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        terminal.note(f"--groups names files that were not given: {', '.join(absent[:5])}{more}.")
    if figures is not None:
        check_known(figures, ("svg", "pdf", "png"), ConfigurationError, "--figures {} was given.")
    return _study(terminal, files, settings, out, resume, workers, executor, figures)


def _study(
    terminal: Terminal,
    files: Sequence[Path],
    settings: StudySettings,
    out: Path,
    resume: bool,
    workers: int | None,
    address: str | None,
    figures: str | None,
) -> int:
    """Run, print and write; the exit code."""
    from mollifier.chromatin.figures import study_figures
    from mollifier.chromatin.page import study_page
    from mollifier.chromatin.study import analyse
    from mollifier.cli.progress import Steps
    from mollifier.io.executors import executor_at
    from mollifier.io.lock import locked

    with locked(out) as folder:
        pages = _Pages(folder, settings.model, figures)
        with (
            executor_at(address, folder / "jobs", terminal.note) as executor,
            Steps(terminal.err, terminal.silent) as follow,
        ):

            def report(done: int, total: int, what: str) -> None:
                follow(min(done, total - 1), total, what)

            study = analyse(
                files, settings, out=folder, resume=resume, workers=workers, executor=executor,
                progress=report, on_result=pages.add,
            )  # fmt: skip
        page = study_page(study, folder / _STUDY, pages.written)
        pages.draw(study_figures(study.compared), folder)
    _say(terminal, study)
    terminal.say(f"Pages     {page} and {len(pages.written)} of nuclei")
    terminal.give(
        {
            "cells": study.cells.to_dict("records"),
            "comparison": study.comparison.to_dict("records"),
            "folder": folder,
            "page": page,
            "pages": [folder / p for p in pages.written.values()],
        }
    )
    # A map without an identified pixel has no mean.
    found = (r.numbers.get("rate", math.nan) for r in study.results)
    return 0 if any(map(math.isfinite, found)) else NO_ANSWER


@dataclass
class _Pages:
    """Pages and figures of nuclei, written as each is finished; those of reused nuclei are kept."""

    folder: Path
    model: ChromatinModel
    kind: str | None  #: Of the files of figures; None for none.
    #: (field, nucleus) -> address of its page relative to the folder.
    written: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, result: NucleusResult, kept: bool) -> None:
        """Write the page and the figures of a nucleus."""
        from mollifier.chromatin.figures import nucleus_figures
        from mollifier.chromatin.page import nucleus_page
        from mollifier.chromatin.result import nucleus_folder

        if result.name:
            place = nucleus_folder(Path(), result) / _PAGE
            if not (kept and (self.folder / place).is_file()):
                nucleus_page(result, self.folder / place, self.model)
            self.draw(nucleus_figures(result), (self.folder / place).parent, kept)
            self.written[result.field, result.name] = place.as_posix()

    def draw(self, every: Mapping[str, Any], where: Path, kept: bool = False) -> None:
        """Write figures to files, if the command says so."""
        from mollifier.reporting.style import save_all

        if self.kind is not None:
            named = {f"{name}.{self.kind}": make for name, make in every.items()}
            save_all({n: make for n, make in named.items() if not (kept and (where / n).is_file())}, where)


def _say(terminal: Terminal, study: Study) -> None:
    from mollifier.chromatin.comparison import NOT_COMPARED
    from mollifier.chromatin.page import number

    heads = ("nucleus", "group", "um^2", "resolution nm", "domains", "lam", "±", "identified", "balance")
    keys = ("area", "resolution", "domains", "rate", "rate_total_sd", "identified", "defect")
    rows = [
        (
            f"{r.field} {r.name}".strip(),
            r.group,
            *(number(r.numbers[k]) if k in r.numbers else "" for k in keys),
        )
        for r in study.results
    ]
    terminal.table(heads, rows)
    for r in study.results:
        doubt = r.error or r.status
        if doubt and not doubt.startswith("converged"):
            terminal.say(f"{r.field} {r.name}".strip() + f": {doubt}", "yellow")
    found = study.comparison
    if len(found):
        shown = ("mean", "mean_control", "difference", "difference_low", "difference_high", "ratio", "g")
        shown += ("p_holm",)
        lines = [
            (f"{r['quantity']}, {r['group']}", *(number(r[k]) for k in shown))
            for r in found.to_dict("records")
        ]
        terminal.table(("against the control", *(s.replace("_", " ") for s in shown)), lines)
        if not study.settings.comparable:
            terminal.say(NOT_COMPARED, "yellow")
