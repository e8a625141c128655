"""Many nuclei in parallel, then the tables of cells and groups and their comparison."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mollifier.chromatin.cells import analyse_nucleus
from mollifier.chromatin.comparison import AMOUNTS, compare_groups, control_of, group_table
from mollifier.chromatin.nucleus_data import NucleusData, Unread, field_name, read_nuclei
from mollifier.chromatin.result import NucleusResult, fingerprint, kept_result, nucleus_folder
from mollifier.chromatin.settings import StudySettings
from mollifier.chromatin.signals import relative_levels
from mollifier.chromatin.structure import density_quantiles, pooled_quantile
from mollifier.errors import DataError
from mollifier.io.executors import processors, run_tasks
from mollifier.io.files import ensure_folder, write_json, write_text

CELLS, GROUPS, COMPARISON, SETTINGS = "cells.csv", "groups.csv", "comparison.csv", "settings.json"
FEATURES = "features.csv"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class Study:
    """All nuclei of a study."""

    #: One for each nucleus, and one with an error for each file that could not be read.
    results: list[NucleusResult]
    settings: StudySettings  #: Settings of the study.
    #: Levels of euchromatin and heterochromatin in units of each nucleus's mean signal, if the controls set
    #: them for all nuclei.
    levels: tuple[float, float] | None = None
    folder: Path | None = None  #: Where results were written; None if they were not.

    @property
    def cells(self) -> pd.DataFrame:
        """One row for each nucleus."""
        table = pd.DataFrame([r.row for r in self.results])
        if of := self._replicates:
            table.insert(3, "replicate", [of.get(r.field, "") for r in self.results])
        return table

    @property
    def _replicates(self) -> dict[str, str]:
        """Field of view -> replicate."""
        return {field_name(Path(f)): name for f, name in (self.settings.replicates or {}).items()}

    @property
    def features(self) -> pd.DataFrame:
        """One row for each nucleus of localisations, with the columns of O-SNAP."""
        rows = []
        for r in (r for r in self.results if len(r.features)):
            replicate = self._replicates.get(r.field, "")
            named = {"group": r.group, "biological_replicate": replicate, "name": f"{r.field} {r.name}"}
            rows.append(named | r.features.iloc[0].to_dict())
        return pd.DataFrame(rows)

    @property
    def groups(self) -> pd.DataFrame:
        """One row for each group and quantity; empty without groups."""
        named = self._grouped
        return group_table(named) if len(named) else pd.DataFrame()

    @property
    def comparison(self) -> pd.DataFrame:
        """Every group against the control, by the quantities of `compared`; empty with fewer than two."""
        named = self.compared
        several = len(named) and named["group"].nunique() > 1
        return compare_groups(named, self.settings.control) if several else pd.DataFrame()

    @property
    def _grouped(self) -> Any:
        cells = self.cells
        return cells[cells["group"] != ""] if len(cells) else cells

    @property
    def compared(self) -> Any:
        """The cells of groups, without ``AMOUNTS`` where the levels make them alike in all nuclei."""
        cells = self._grouped
        return cells if self.settings.comparable else cells.drop(columns=list(AMOUNTS), errors="ignore")

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the tables as CSV, and the settings; `OutputError` if the folder cannot be written to."""
        target = ensure_folder(folder)
        tables = {
            CELLS: self.cells,
            GROUPS: self.groups,
            COMPARISON: self.comparison,
            FEATURES: self.features,
        }
        files = [write_text(target / n, t.to_csv(index=False)) for n, t in tables.items() if len(t)]
        return [*files, write_json(target / SETTINGS, dataclasses.asdict(self.settings))]


def analyse(
    files: Sequence[str | os.PathLike[str]],
    settings: StudySettings | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    on_result: Callable[[NucleusResult, bool], None] | None = None,
) -> Study:
    """Analyse every nucleus of every file, in parallel processes.

    A nucleus or a file that fails keeps its row, with the error, and stops no other.

    Parameters
    ----------
    files
        Localisation tables or images, each a field of view (or, with ``time_lapse``, a frame of one).
    settings
        `StudySettings` by default.
    out
        Folder for ``FIELD/NUCLEUS/result.nc`` and its tables, written as each nucleus is finished.
    resume
        Reuse the results in ``out`` of the same data with the same settings.
    workers
        Number of processes; one for each processor by default, and 1 to run in this process.
    executor
        A `concurrent.futures.Executor` that runs the nuclei in place of new processes.
    progress
        Called with the number of nuclei done, the number known so far, and the name of the last one.
    on_result
        Called with each result as it comes, and whether it was reused from an earlier run.

    Raises
    ------
    ConfigurationError
        If the settings contradict one another or the files.
    DataError
        If no file could be read; the message is that of the first.

    Examples
    --------
    >>> import tempfile
    >>> from mollifier.chromatin.simulate import localizations
    >>> from mollifier.chromatin.model import ChromatinModel
    >>> from mollifier.chromatin.simulate import nucleus
    >>> from mollifier.chromatin.simulate import simulate
    >>> movie = simulate(ChromatinModel(), nucleus(1500.0, 48), 0.6, [0.0], before=300.0)
    >>> folder = tempfile.mkdtemp()
    >>> file = Path(folder) / "cell.csv"
    >>> table = localizations(movie, count=40_000, precision=10.0).drop(columns="frame")
    >>> table.to_csv(file, index=False)
    >>> from mollifier.chromatin.mask import NucleusDetection
    >>> small = NucleusDetection(pixel=50, smoothing=50, closing=100, min_area=1e5)
    >>> study = analyse([file], StudySettings(detection=small, quick=True), workers=1)
    >>> study.cells[["field", "nucleus"]].values.tolist()
    [['cell', '1']]
    """
    chosen = settings or StudySettings()
    folder = None if out is None else ensure_folder(out)
    paths = [Path(f) for f in files]
    relative = chosen.levels == "control" and not chosen.thresholds.given
    levels = _levels(paths, chosen) if relative else None
    count = max(workers or processors(), 1)
    chosen = _pooled(paths, chosen, executor, count)
    stamps = fingerprint(paths, chosen, levels) if folder is not None else {}
    found = _Results(folder, stamps, progress, on_result)
    missing = found.missing(read_nuclei(paths, chosen), resume)
    work = partial(analyse_nucleus, settings=chosen, levels=levels)
    for _, result in run_tasks(work, missing, executor, workers=count, lost=_lost):
        found.take(result)
    fields = [field_name(p) for p in (paths[:1] if chosen.time_lapse else paths)]
    study = Study(found.ordered(fields), chosen, levels, folder)
    if folder is not None:
        study.save(folder)
    return study


def _pooled(
    paths: Sequence[Path], settings: StudySettings, executor: Executor | None, workers: int
) -> StudySettings:
    """The settings with the Voronoi density of heterochromatin pooled over the files."""
    rule = settings.rule
    if rule.select != "voronoi" or rule.level is not None or len(paths) == 1:
        return settings
    samples = (s for s in read_nuclei(paths, settings) if not isinstance(s, Unread))
    work, none = density_quantiles, (0, np.zeros(0))
    found = [q for _, q in run_tasks(work, samples, executor, workers=workers, lost=lambda _: none)]
    level = pooled_quantile(found, rule.threshold)
    return dataclasses.replace(settings, rule=dataclasses.replace(rule, level=level))


def _lost(nucleus: NucleusData) -> NucleusResult:
    """The result of a nucleus whose process was ended by the system."""
    error = "Its process was ended by the system; there may be too little memory. Use fewer --workers."
    return NucleusResult(nucleus.field, nucleus.name, nucleus.group, error=error)


@dataclass(eq=False)
class _Results:
    """Results of a study as they come: saved in the folder if there is one, reported, and put in order."""

    folder: Path | None
    stamps: Mapping[str, str]  #: Field of view -> fingerprint of its files and settings.
    progress: Progress | None
    on_result: Callable[[NucleusResult, bool], None] | None
    known: int = 0
    found: list[NucleusResult] = dataclasses.field(default_factory=list)

    def missing(self, every: Iterable[NucleusData | Unread], resume: bool) -> Iterator[NucleusData]:
        """The nuclei that remain to be analysed; finished results of the others are reused."""
        for one in every:
            self.known += 1
            if isinstance(one, Unread):
                self.take(NucleusResult(one.field, "", one.group, error=one.error))
                continue
            kept = None
            if self.folder is not None and resume:
                kept = kept_result(nucleus_folder(self.folder, one), self.stamps[one.field])
            if kept is None:
                yield one
            else:
                # The table of groups may have been corrected since.
                self.take(dataclasses.replace(kept, group=one.group), kept=kept.group == one.group)

    def take(self, result: NucleusResult, kept: bool = False) -> None:
        """Record a result; ``kept`` if it was reused from an earlier run."""
        self.found.append(result)
        if self.folder is not None and not kept and result.name:
            result.save(nucleus_folder(self.folder, result), self.stamps.get(result.field, ""))
        if self.on_result is not None:
            self.on_result(result, kept)
        if self.progress is not None:
            done = len(self.found)
            self.progress(done, max(self.known, done), f"{result.field} {result.name}".strip())

    def ordered(self, fields: Sequence[str]) -> list[NucleusResult]:
        """Sorted by field of view, in the order of the files, and nucleus; `DataError` if none was read."""
        if self.found and not any(r.name for r in self.found):
            raise DataError(self.found[0].error)
        order = {f: k for k, f in enumerate(dict.fromkeys(fields))}

        def place(r: NucleusResult) -> tuple[int, int, str]:
            numbered = r.name.isdigit()
            return order.get(r.field, 0), int(r.name) if numbered else 0, "" if numbered else r.name

        return sorted(self.found, key=place)


def _levels(paths: Sequence[Path], settings: StudySettings) -> tuple[float, float] | None:
    """Medians of the relative levels of the control nuclei."""
    control = control_of(list((settings.groups or {}).values()), settings.control)
    held = {n for n, g in (settings.groups or {}).items() if g == control}
    chosen, labels = [p for p in paths if p.name in held], settings.labels
    if len(labels) > 1:
        labels = tuple(label for label, p in zip(labels, paths, strict=True) if p in chosen)
    if not chosen:
        raise DataError(
            f"None of the files is in the group '{control}', whose levels set those of all nuclei."
        )
    found, first = [], ""
    for sample in read_nuclei(chosen, dataclasses.replace(settings, labels=labels)):
        try:
            if isinstance(sample, Unread):
                raise DataError(sample.error)
            found.append(relative_levels(sample, settings))
        except Exception as error:
            # A control that fails here reports the error in its row too.
            first = first or str(error)
    if not found:
        raise DataError(f"No nucleus of the group '{control}' gives levels: {first}")
    e, h = np.median(np.array(found), axis=0).tolist()
    return e, h
