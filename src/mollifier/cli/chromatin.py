"""The command `mollifier chromatin`: from microscope files to maps of rates, tables and pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mollifier.cli.chromatin_settings import chosen_settings, settings_with
from mollifier.cli.options import Address, Out, Resume, with_terminal
from mollifier.cli.terminal import NO_ANSWER, Terminal
from mollifier.errors import ConfigurationError, check_known

if TYPE_CHECKING:
    from mollifier.chromatin.model import ChromatinModel
    from mollifier.chromatin.result import NucleusResult
    from mollifier.chromatin.settings import StudySettings
    from mollifier.chromatin.study import Study

_PAGE, _STUDY = "nucleus.html", "study.html"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        epilog="Example: mollifier chromatin cells/*.csv --groups groups.csv --out out/study. Exit codes: 0 "
        "a map of rates, 1 no map in any nucleus, 2 bad input or output, 3 a fault of the "
        "program, 130 interrupted."
    )(chromatin)


def _option(flag: str, text: str, metavar: str | None = None) -> Any:
    return typer.Option(flag, metavar=metavar, help=text)


@with_terminal
def chromatin(
    terminal: Terminal,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Localisation tables or images, one for each field of view."),
    ],
    labels: Annotated[
        list[Path] | None,
        _option("--labels", "Label images of nuclei: one for each file, or one for all.", "LABELS.tif"),
    ] = None,
    mask: Annotated[
        Path | None,
        _option("--mask", "Outline of the nucleus: GeoJSON or a table of vertices.", "POLYGON"),
    ] = None,
    groups: Annotated[
        Path | None,
        _option("--groups", "A table with columns file and group, and replicate.", "GROUPS.csv"),
    ] = None,
    control: Annotated[
        str | None, _option("--control", "Group that the others are compared with.", "GROUP")
    ] = None,
    unit: Annotated[str | None, _option("--unit", "Unit of positions: nm, um or px.")] = None,
    pixel_size: Annotated[float | None, _option("--pixel-size", "Pixel size of the camera.", "NM")] = None,
    z_step: Annotated[float | None, _option("--z-step", "Distance between planes.", "NM")] = None,
    axes: Annotated[str | None, _option("--axes", "Dimensions of an image, as zyx, tyx or tcyx.")] = None,
    channel: Annotated[
        str | None,
        _option("--channel", "Channel of an image, from 0; of a table, the value in its column of channels."),
    ] = None,
    euchromatin_channel: Annotated[
        str | None,
        _option(
            "--euchromatin-channel",
            "Channel of a mark of euchromatin, beside one of heterochromatin (--channel).",
            "CHANNEL",
        ),
    ] = None,
    saturated: Annotated[
        float | None, _option("--saturated", "Largest share of pixels that may have the highest value.")
    ] = None,
    columns: Annotated[
        str | None, _option("--columns", "x=NAME,y=NAME for a table, or frame,x,y for one without header.")
    ] = None,
    frame_interval: Annotated[
        float | None, _option("--frame-interval", "Seconds from frame to frame.", "S")
    ] = None,
    time_lapse: Annotated[
        bool, _option("--time-lapse", "The files are frames of one field of view, in this order.")
    ] = False,
    windows: Annotated[
        int, typer.Option("--windows", min=1, help="Number of intervals of frames of one table.")
    ] = 1,
    in_time: Annotated[bool, _option("--in-time", "Let the rate vary in time too.")] = False,
    follow: Annotated[
        bool, _option("--follow", "Follow nuclei that move, turn and deform in a time-lapse of images.")
    ] = False,
    bleaching: Annotated[
        bool, _option("--bleaching", "Divide images by the decay of each nucleus's signal.")
    ] = False,
    treatment: Annotated[
        float | None, _option("--treatment", "Time of a treatment: the rate changes once after it.", "S")
    ] = None,
    method: Annotated[str, _option("--method", "Method for the density: kernel or voronoi.")] = "kernel",
    pixel: Annotated[float | None, _option("--pixel", "Pixel size of the density.", "NM")] = None,
    width: Annotated[
        float | None, _option("--width", "Full width at half maximum of the density's kernel.", "NM")
    ] = None,
    psf_sd: Annotated[
        float | None, _option("--psf-sd", "Standard deviation of the microscope's blur.", "NM")
    ] = None,
    outline: Annotated[
        str, _option("--outline", "given, or fitted: moved to where the signal falls.")
    ] = "given",
    margin: Annotated[
        float | None,
        _option(
            "--margin", "Distance from the outline at which the map begins; by default the resolution.", "NM"
        ),
    ] = None,
    levels: Annotated[
        str | None,
        _option("--levels", "Quantiles of each nucleus (own) or of the control, or of the free energy."),
    ] = None,
    domains: Annotated[
        str, _option("--domains", "Definition of domains: auto, clusters or map (ours), kant2024 or o-snap.")
    ] = "auto",
    overrides: Annotated[
        list[str] | None,
        _option("--set", "One setting, as energy.well=6 or levels.euchromatin_quantile=0.4.", "KEY=VALUE"),
    ] = None,
    assume: Annotated[
        list[str] | None,
        _option(
            "--assume",
            "Standard deviation of something assumed, as diffusion=0.1, levels=0.05 or outline=0.",
            "KEY=SD",
        ),
    ] = None,
    quick: Annotated[bool, _option("--quick", "Use fewer test functions: a coarser map, sooner.")] = False,
    preview: Annotated[
        bool,
        _option(
            "--preview", "In seconds: repeats left in, a kernel of 100 nm, domains of the map, a coarser map."
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Number of processes; by default one for each core."),
    ] = None,
    executor: Address = None,
    figures: Annotated[
        str | None, _option("--figures", "Write each figure to a file too: svg, pdf or png.", "KIND")
    ] = None,
    out: Out = Path("out/chromatin"),
    resume: Resume = False,
) -> int:
    """Map the rates at which chromatin marks are added and removed, from microscope files.

    Each nucleus gets a page, a NetCDF file and tables; the study a page, a table of cells and, with --groups,
    a comparison with the control. A failed nucleus is reported and stops no other. --resume reuses finished
    nuclei.
    """
    given = dict(locals())
    settings = settings_with(chosen_settings(given), overrides or [], assume or [])
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
    from mollifier.io.files import ensure_folder
    from mollifier.io.lock import locked

    folder = ensure_folder(out)
    pages = _Pages(folder, settings.model, figures)
    with locked(folder):
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
        pages.draw(study_figures(study.cells), folder)
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
