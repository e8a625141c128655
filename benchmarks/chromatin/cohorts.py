"""Studies of treated and control cells whose effect is known, simulated from chromatin to localisations.

Every cell differs from the others of its group, as cells do. What a study finds is held beside the effect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.journal import Journal
from benchmarks.table import Follow, Table, environment, number
from mollifier.chromatin.cells import analyse_nucleus
from mollifier.chromatin.comparison import compare_groups
from mollifier.chromatin.demo import imaged
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.settings import Assumptions, StudySettings
from mollifier.chromatin.simulate import nucleus, rate_pattern, simulate

# Cells of a study, how much more the treated ones methylate, and the standard deviation of log(lam) between
# cells.
TREATED, CONTROL, EFFECT, SPREAD = 6, 5, 1.3, 0.1
# nm, pixels of the simulation, labels in a frame, s between the two frames, nm of the kernel.
_DIAMETER, _PIXELS, _LABELS, _INTERVAL, _WIDTH = 1000.0, 80, 4e5, 200.0, 24.0
_LEVEL, _CONTRAST = 0.5, 0.3
# p, adjusted, below which a difference is called.
_CALLED = 0.05
# What is assumed is right here; the standard error of a cell is not used.
_EXACT = Assumptions(**dict.fromkeys(Assumptions.__dataclass_fields__, 0.0))
CAPTION = (
    f"Each study: {TREATED} treated and {CONTROL} control cells, every one with an edge, a pattern and a "
    f"separate level (standard deviation {100 * SPREAD:.0f} % between cells), simulated, imaged as some "
    "280,000 localisations in each of two frames, and analysed like measured ones. Ratio of group means of "
    "lam and its 95 % interval. A difference is called as on the page of a study, where p, adjusted for the "
    "number of quantities, is below 0.05: of lam, and in brackets of how many other quantities. 'Cells' is "
    "the rms error of a cell's mean rate."
)


@dataclass(frozen=True)
class Row:
    """One study.

    Attributes
    ----------
    study
        Its number.
    ratio, low, high
        Treated over control.
    sign, covers, calls
        Whether the ratio lies above one, the interval holds the truth, and a difference of lam is called.
    others
        How many other quantities differ.
    cells
        Relative rms error of the cells' mean rates.
    failed
        Cells without a rate.
    """

    study: int
    ratio: float
    low: float
    high: float
    sign: bool
    covers: bool
    calls: bool
    others: int
    cells: float
    failed: int


def run(
    studies: int = 20,
    effect: float = EFFECT,
    first: int = 0,
    *,
    progress: Follow | None = None,
    journal: Journal | None = None,
) -> Table:
    """The table; Ctrl-C ends the run and keeps the studies that are done.

    Parameters
    ----------
    studies, effect
        How many, and the ratio of the treated to the control rate; 1 for none.
    first
        Number of the first study.
    progress
        Called before every cell.
    journal
        Where each study is kept as it is done, and looked up before it is run.
    """
    journal = Journal() if journal is None else journal
    each, rows, stopped = TREATED + CONTROL, [], False
    try:
        for k in range(studies):

            def report(cell: int, k: int = k) -> None:
                if progress is not None:
                    progress(k * each + cell, studies * each, f"study {first + k}, cell {cell + 1}")

            number = first + k
            made = partial(study, number, report, effect)
            rows.append(journal.once({"study": number, "effect": effect}, Row, made))
    except KeyboardInterrupt:
        stopped = True
    right, held, called = (sum(getattr(r, n) for r in rows) for n in ("sign", "covers", "calls"))
    any_called = sum(r.calls or r.others > 0 for r in rows)
    said = (
        f"Truth {effect:g}: ratio above one in {right} of {len(rows)} studies, truth within the interval in "
        f"{held}; a difference of lam is called in {called}, of any quantity in {any_called}."
    )
    return Table("cohorts", tuple(rows), COLUMNS, CAPTION, environment(), said, stopped)


def study(number: int, report: Callable[[int], None] = lambda cell: None, effect: float = EFFECT) -> Row:
    """One study, by its number."""
    rng = np.random.default_rng(1000 + number)
    groups = ["treated"] * TREATED + ["control"] * CONTROL
    cells, errors = [], []
    for k, group in enumerate(groups):
        report(k)
        level = _LEVEL * (effect if group == "treated" else 1.0) * float(np.exp(SPREAD * rng.normal()))
        found, exact = _cell(level, seed=100 * number + k)
        cells.append({"group": group, **found})
        errors.append(found.get("rate", np.nan) / exact - 1)
    table = compare_groups(pd.DataFrame(cells), "control").set_index("quantity")
    ratio, low, high = (float(table[n]["rate"]) for n in ("ratio", "ratio_low", "ratio_high"))
    called = table["p_holm"] < _CALLED
    known = np.array(errors)[np.isfinite(errors)]
    rms = float(np.sqrt(np.mean(known**2)))
    tests = ratio > 1, low <= effect <= high, bool(called["rate"]), int(called.drop("rate").sum())
    return Row(number, ratio, low, high, *tests, rms, len(errors) - len(known))


def _cell(level: float, seed: int) -> tuple[dict[str, float], float]:
    """Numbers of one cell, and its true mean rate with the weights of euchromatin."""
    mask = nucleus(_DIAMETER, _PIXELS, rng=seed)
    rate = rate_pattern(mask, "patches", level, _CONTRAST, seed)
    movie = simulate(ChromatinModel(), mask, rate, [0.0, _INTERVAL], before=600.0, rng=seed)
    sample, levels = imaged(movie, _LABELS, seed)
    settings = StudySettings(
        width=_WIDTH, merge=False, thresholds=levels, domains="map", quick=True, margin=0.0,
        assume=_EXACT,
    )  # fmt: skip
    result = analyse_nucleus(sample, settings)
    phi_e = (1 - movie["phi_n"] - movie["phi_d"]).mean("t")
    exact = float((rate * phi_e).sum() / phi_e.where(mask).sum())
    return result.numbers, exact


# Head of a column of the table -> its cell.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "study": lambda r: str(r.study),
    "ratio": lambda r: f"{r.ratio:.3f}",
    "95 % interval": lambda r: f"{r.low:.3f} to {r.high:.3f}",
    "above one": lambda r: "yes" if r.sign else "no",
    "covers": lambda r: "yes" if r.covers else "no",
    "called": lambda r: f"{'yes' if r.calls else 'no'} ({r.others})",
    "cells": lambda r: number(r.cells, ".2g"),
}
