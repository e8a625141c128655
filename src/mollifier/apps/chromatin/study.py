"""Many nuclei side by side: every one for itself, then the tables of cells, groups and their comparison."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mollifier.apps.chromatin.cells import analyse_nucleus
from mollifier.apps.chromatin.groups import compare_groups, control_of, group_table
from mollifier.apps.chromatin.result import NucleusResult
from mollifier.apps.chromatin.samples import Sample, StudySettings, Unread, field_name, samples
from mollifier.apps.chromatin.signals import relative_levels
from mollifier.errors import DataError
from mollifier.files import ensure_folder, jsonable, write_json, write_text

CELLS, GROUPS, COMPARISON, SETTINGS = "cells.csv", "groups.csv", "comparison.csv", "settings.json"
# Nuclei in memory to each process.
_AHEAD = 2

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class Study:
    """All nuclei of a study.

    Attributes
    ----------
    results
        One a nucleus, and one with an error for every file that could not be read.
    settings
        All choices.
    levels
        Of euchromatin and heterochromatin beside a nucleus's own mean, where controls set them for all.
    folder
        Where results were written; None where they were not.
    """

    results: list[NucleusResult]
    settings: StudySettings
    levels: tuple[float, float] | None = None
    folder: Path | None = None

    @property
    def cells(self) -> pd.DataFrame:
        """One row a nucleus."""
        return pd.DataFrame([r.row for r in self.results])

    @property
    def groups(self) -> pd.DataFrame:
        """One row a group and quantity; empty without groups."""
        cells = self.cells
        named: Any = cells[cells["group"] != ""] if len(cells) else cells
        return group_table(named) if len(named) else pd.DataFrame()

    @property
    def comparison(self) -> pd.DataFrame:
        """Every group against the control; empty where there is one group or none."""
        cells = self.cells
        named: Any = cells[cells["group"] != ""] if len(cells) else cells
        if not len(named) or named["group"].nunique() < 2:
            return pd.DataFrame()
        return compare_groups(named, self.settings.control)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the tables as CSV, and the settings.

        Raises
        ------
        OutputError
            If the folder cannot be written to.
        """
        target = ensure_folder(folder)
        tables = {CELLS: self.cells, GROUPS: self.groups, COMPARISON: self.comparison}
        files = [write_text(target / n, t.to_csv(index=False)) for n, t in tables.items() if len(t)]
        return [*files, write_json(target / SETTINGS, dataclasses.asdict(self.settings))]


def analyse(
    files: Sequence[str | os.PathLike[str]],
    settings: StudySettings | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    on_result: Callable[[NucleusResult, bool], None] | None = None,
) -> Study:
    """Every nucleus of every file, side by side in processes of their own.

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
        Take what ``out`` holds of the same data with the same settings instead of computing it again.
    workers
        Processes; as many as there are processors by default, and 1 for none but this one.
    progress
        Called with how many are done, how many are known so far, and what was finished.
    on_result
        Called with each result as it comes, and whether it was kept from a run before.

    Returns
    -------
    Study

    Raises
    ------
    ConfigurationError
        If the settings contradict one another or the files.
    DataError
        If no file could be read; the message is that of the first.

    Examples
    --------
    >>> import tempfile
    >>> from mollifier.apps.chromatin.microscope import localizations
    >>> from mollifier.apps.chromatin.model import ChromatinModel
    >>> from mollifier.apps.chromatin.simulate import nucleus, simulate
    >>> movie = simulate(ChromatinModel(), nucleus(1500.0, 48), 0.6, [0.0], before=300.0)
    >>> folder = tempfile.mkdtemp()
    >>> file = Path(folder) / "cell.csv"
    >>> table = localizations(movie, count=40_000, precision=10.0).drop(columns="frame")
    >>> table.to_csv(file, index=False)
    >>> from mollifier.apps.chromatin.mask import Finding
    >>> small = Finding(pixel=50, smoothing=50, closing=100, min_area=1e5)
    >>> study = analyse([file], StudySettings(finding=small, quick=True), workers=1)
    >>> study.cells[["field", "nucleus"]].values.tolist()
    [['cell', '1']]
    """
    chosen = settings or StudySettings()
    folder = None if out is None else ensure_folder(out)
    count = max(workers or _processors(), 1)
    paths = [Path(f) for f in files]
    levels = _levels(paths, chosen, count) if chosen.levels == "control" else None
    stamp = fingerprint(paths, chosen, levels) if folder is not None else {}

    results: list[NucleusResult] = []
    total = 0

    def finished(result: NucleusResult, kept: bool = False) -> None:
        results.append(result)
        if folder is not None and not kept and result.name:
            result.save(nucleus_folder(folder, result), stamp.get(result.field, ""))
        if on_result is not None:
            on_result(result, kept)
        if progress is not None:
            progress(len(results), max(total, len(results)), f"{result.field} {result.name}".strip())

    def pending() -> Iterator[Sample]:
        nonlocal total
        for found in samples(paths, chosen):
            total += 1
            if isinstance(found, Unread):
                finished(NucleusResult(found.field, "", found.group, error=found.error))
                continue
            kept = None
            if folder is not None and resume:
                kept = _kept(nucleus_folder(folder, found), stamp[found.field])
            if kept is None:
                yield found
            else:
                finished(kept, kept=True)

    for result in _side_by_side(pending(), chosen, levels, count):
        finished(result)
    if results and not any(r.name for r in results):
        raise DataError(results[0].error)
    order = {f: k for k, f in enumerate(dict.fromkeys(_fields(paths, chosen)))}
    results.sort(key=lambda r: (order.get(r.field, 0), _natural(r.name)))
    study = Study(results, chosen, levels, folder)
    if folder is not None:
        study.save(folder)
    return study


def nucleus_folder(folder: Path, item: Sample | NucleusResult) -> Path:
    """Where the files of one nucleus go."""
    return folder / _safe(item.field) / _safe(item.name)


def fingerprint(
    paths: Sequence[Path], settings: StudySettings, levels: tuple[float, float] | None = None
) -> dict[str, str]:
    """Of every field of view, what a result depends on: the bytes of its files and the settings."""
    plain = dataclasses.asdict(settings) | {"groups": None, "control": None, "levels_found": levels}
    beside = [Path(p) for p in (*settings.labels, settings.polygon or "") if p]
    shared = json.dumps(jsonable(plain), sort_keys=True) + "".join(_digest(p) for p in beside)
    if settings.time_lapse:
        return {field_name(paths[0]): _hash(shared + "".join(map(_digest, paths)))}
    return {field_name(p): _hash(shared + _digest(p)) for p in paths}


def _fields(paths: Sequence[Path], settings: StudySettings) -> list[str]:
    return [field_name(p) for p in (paths[:1] if settings.time_lapse else paths)]


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _kept(folder: Path, stamp: str) -> NucleusResult | None:
    """A finished result of the same data and settings; None where there is none, or it is damaged."""
    try:
        result, own = NucleusResult.load(folder)
    except Exception:
        # HDF5 fails in many ways on a damaged file; it is computed again.
        return None
    return result if own == stamp else None


def _safe(name: str) -> str:
    return re.sub(r"[^\w.\-]+", "_", name) or "_"


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (0, name)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _levels(paths: Sequence[Path], settings: StudySettings, workers: int) -> tuple[float, float] | None:
    """Medians of the control nuclei's own levels."""
    control = control_of(list((settings.groups or {}).values()), settings.control)
    held = {n for n, g in (settings.groups or {}).items() if g == control}
    chosen = [p for p in paths if p.name in held]
    labels = settings.labels
    if len(labels) > 1:
        labels = tuple(label for label, p in zip(labels, paths, strict=True) if p in chosen)
    if not chosen:
        raise DataError(f"None of the files is in the group '{control}', whose levels all are read by.")
    alone = dataclasses.replace(settings, labels=labels)
    found, first = [], ""
    for sample in samples(chosen, alone):
        if isinstance(sample, Unread):
            first = first or sample.error
            continue
        try:
            found.append(relative_levels(sample, settings))
        except Exception as error:
            # A control that fails here fails in its own row too.
            first = first or str(error)
    if not found:
        raise DataError(f"No nucleus of the group '{control}' gives levels: {first}")
    e, h = np.median(np.array(found), axis=0).tolist()
    return e, h


def _begin() -> None:
    """In a new process: one thread, as there is one process to each processor; Ctrl-C is for the parent.

    A parent that was killed cannot end it, so it watches for that itself.
    """
    import signal
    import threading

    import torch

    from mollifier.compare.children import end_with_parent

    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin)


def _side_by_side(
    work: Iterable[Sample], settings: StudySettings, levels: Any, workers: int
) -> Iterator[NucleusResult]:
    """Results as they come, with no more samples read ahead than processes can take."""
    if workers == 1:
        for sample in work:
            yield analyse_nucleus(sample, settings, levels)
        return
    source = iter(work)
    pool = _pool(workers)
    running: dict[Future[NucleusResult], Sample] = {}
    try:
        while True:
            for sample in islice(source, _AHEAD * workers - len(running)):
                running[pool.submit(analyse_nucleus, sample, settings, levels)] = sample
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            broken = []
            for future in done:
                sample = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    broken.append(sample)
            if broken:
                # One process died (of memory, say) and took the pool along: who it was shows one by one.
                broken += running.values()
                running.clear()
                pool.shutdown(wait=False, cancel_futures=True)
                pool = _pool(workers)
                yield from (_alone(sample, settings, levels) for sample in broken)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _alone(sample: Sample, settings: StudySettings, levels: Any) -> NucleusResult:
    """One nucleus in a process of its own, whose death is its own."""
    with _pool(1) as pool:
        try:
            return pool.submit(analyse_nucleus, sample, settings, levels).result()
        except BrokenProcessPool:
            said = "Its process was ended by the system; there may be too little memory. Take fewer workers."
            return NucleusResult(sample.field, sample.name, sample.group, error=said)
