"""Nuclei of real size with published statistics, recovered by the command `mollifier chromatin`.

It reads each as a file, once for every definition of a domain. What it finds is held beside the same
definition on what was simulated, and beside what the definition finds without errors of localisation.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import KDTree

from benchmarks.chromatin.real_nuclei import Plan, Reading, RealNucleus
from benchmarks.journal import Journal
from benchmarks.table import Follow, Table, environment, number, percent
from mollifier.chromatin.settings import DEFINITIONS, DomainRule
from mollifier.errors import ConfigurationError, did_you_mean

CAPTION = (
    "Simulated nuclei with background, blinking, drift and localisation errors, read by the command in one "
    "process, pages included. The truth is that of the simulated discs and rim, by the averages and the "
    "spacing of the definition, or what the whole definition finds in the same nucleus with as many "
    "localisations of as many molecules, without errors, background and drift, in the true outline. Found: "
    "domains inside that hold the centre of a cluster or have theirs in one; extra: other clusters inside, "
    "per domain. Radius, spacing and thickness of the rim: found over true. Lamina: share of the area of "
    "heterochromatin at the lamina, found and true. Seconds: wall clock and processor; peak: resident memory."
)
PREVIEW = "preview"
# What is held beside the answer: what was simulated, and what the definition finds in it without errors.
TRUTHS = ("discs", "definition")


@dataclass(frozen=True)
class Row:
    """One nucleus by one definition, beside one truth.

    Attributes
    ----------
    definition, seed
        Name of the definition, or "preview", and seed of the nucleus.
    truth
        Of `TRUTHS`.
    localizations, domains
        Rows of the table, and true domains inside.
    found, extra
        Share of the true domains found, and clusters inside that are none of them, per true domain.
    radius, spacing, thickness
        Found over true.
    lamina, lamina_true
        Share of the area of heterochromatin at the lamina.
    seconds, processor, memory_mib
        Of the command.
    message
        Why there is no answer.
    """

    definition: str
    seed: int
    truth: str
    localizations: int
    domains: int = 0
    found: float = math.nan
    extra: float = math.nan
    radius: float = math.nan
    spacing: float = math.nan
    thickness: float = math.nan
    lamina: float = math.nan
    lamina_true: float = math.nan
    seconds: float = math.nan
    processor: float = math.nan
    memory_mib: float = math.nan
    message: str = ""


def run(
    definitions: Sequence[str] = (*DEFINITIONS, PREVIEW),
    seeds: Sequence[int] = (0,),
    *,
    plan: Plan | None = None,
    folder: Path,
    options: Sequence[str] = (),
    progress: Follow | None = None,
    journal: Journal | None = None,
) -> Table:
    """The table; Ctrl-C ends the run and keeps the rows that are done.

    Parameters
    ----------
    definitions
        Names of `mollifier.chromatin.settings.DEFINITIONS`, and "preview".
    seeds
        Of the nuclei.
    plan
        `Plan` by default.
    folder
        Folder of the simulated files and of the results.
    options
        Further options of the command, as "--quick".
    progress
        Called before every command.
    journal
        Where each row is kept as it is done, and looked up before it is run.

    Raises
    ------
    ConfigurationError
        If there is no such definition.
    """
    known = (*DEFINITIONS, PREVIEW)
    for name in definitions:
        if name not in known:
            raise ConfigurationError(f"There is no definition '{name}'.{did_you_mean(name, known)}")
    plan, journal = plan or Plan(), Journal() if journal is None else journal
    rows, stopped = [], False
    try:
        for n, seed in enumerate(seeds):
            nucleus = RealNucleus(plan, seed)
            for k, name in enumerate(definitions):
                if progress is not None:
                    progress(
                        n * len(definitions) + k, len(seeds) * len(definitions), f"nucleus {seed}, {name}"
                    )
                answer = _Answer(nucleus, name, folder, options)
                for truth in TRUTHS:
                    asked = {"plan": str(plan), "definition": name, "seed": seed, "options": list(options)}
                    asked |= {"truth": truth}
                    rows.append(journal.once(asked, Row, partial(answer.beside, truth)))
    except KeyboardInterrupt:
        stopped = True
    return Table("nucleus", tuple(rows), COLUMNS, CAPTION, environment(), "", stopped, lambda r: r.message)


class _Answer:
    """What the command finds in a nucleus, run at the first comparison."""

    def __init__(self, nucleus: RealNucleus, name: str, folder: Path, options: Sequence[str]) -> None:
        self._nucleus, self._name, self._options = nucleus, name, options
        self._file = folder / f"nucleus_{nucleus.seed}.csv"
        self._out = folder / f"nucleus_{nucleus.seed}_{name}"

    @cached_property
    def _spent(self) -> tuple[float, float, float]:
        """Seconds, processor seconds and MiB of the command, on a file that is written if it is missing."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._nucleus.measured[0].to_csv(self._file, index=False)
        name = self._name
        chosen = ["--preview"] if name == PREVIEW else ["--domains", "clusters" if name == "ours" else name]
        command = [sys.executable, "-m", "mollifier", "chromatin", str(self._file), *chosen, *self._options]
        begun = time.perf_counter()
        with subprocess.Popen([*command, "--workers", "1", "--quiet", "--out", str(self._out)]) as process:
            _, _, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - begun
            process.returncode = 0
        # Linux reports kilobytes.
        return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024

    def beside(self, truth: str) -> Row:
        """The answer beside a truth of `TRUTHS`."""
        spent, cells, plan = self._spent, self._out / "cells.csv", self._nucleus.plan
        row = Row(self._name, self._nucleus.seed, truth, plan.localizations)
        seconds, processor, memory = spent
        row = replace(row, seconds=seconds, processor=processor, memory_mib=memory)
        if not cells.is_file():
            return replace(row, message=f"{self._name}: no result")
        cell: Any = pd.read_csv(cells).iloc[0]
        table: Any = pd.read_csv(self._out / self._file.stem / "1" / "domains.csv")
        return replace(row, **_compared(table, cell, self._known(truth, float(cell["resolution"]))))

    def _known(self, truth: str, resolution: float) -> Reading:
        rule = DEFINITIONS.get(self._name, DomainRule())
        if rule.select == "phase":
            rule = replace(rule, lamina=max(rule.lamina, resolution))
        return self._nucleus.measured[1].discs(rule) if truth == "discs" else self._nucleus.exact(rule)


def _compared(table: Any, cell: Any, true: Reading) -> dict[str, Any]:
    """Fields of a row, from the found domains and numbers and the true ones."""
    table, known = table[table["place"] == "interior"], true.numbers
    count = len(true.domains)
    ratios = {n: cell[n] / known[n] for n in ("radius", "spacing", "lamina_thickness")}
    return {
        "domains": count,
        "found": float(_paired(true.domains, table).mean()),
        "extra": float((~_paired(table, true.domains)).sum()) / count,
        "thickness": ratios.pop("lamina_thickness"),
        **ratios,
        "lamina": cell["lamina"],
        "lamina_true": known["lamina"],
    }


def _paired(one: pd.DataFrame, other: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each domain has its centre in the nearest of the others, or holds the centre of one to which it
    is the nearest.
    """

    def within(a: pd.DataFrame, b: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The nearest of b to each of a, and whether it holds the centre."""
        far, k = KDTree(b[["x", "y"]].to_numpy(dtype=float)).query(a[["x", "y"]].to_numpy(dtype=float))
        return np.asarray(k), np.asarray(far) < b["radius"].to_numpy(dtype=float)[k]

    holder, held = within(other, one)
    return within(one, other)[1] | np.isin(np.arange(len(one)), holder[held])


# Head of a column of the table -> its cell.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "definition": lambda r: r.definition,
    "seed": lambda r: str(r.seed),
    "truth": lambda r: r.truth,
    "localisations": lambda r: f"{r.localizations:,}",
    "domains": lambda r: f"{r.domains:,}",
    "found": lambda r: percent(r.found),
    "extra": lambda r: percent(r.extra),
    "radius": lambda r: number(r.radius, ".3f"),
    "spacing": lambda r: number(r.spacing, ".3f"),
    "rim": lambda r: number(r.thickness, ".3f"),
    "lamina": lambda r: number(r.lamina, ".3f"),
    "true": lambda r: number(r.lamina_true, ".3f"),
    "seconds": lambda r: number(r.seconds),
    "processor s": lambda r: number(r.processor),
    "peak, MiB": lambda r: f"{r.memory_mib:,.0f}",
}
