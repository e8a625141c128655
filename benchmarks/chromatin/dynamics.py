"""Moving, fading and treated nuclei whose step of the rate is known: what is found from camera frames.

Edge, pattern, motion, size, delay and spread of each nucleus are drawn by its number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr
from scipy.special import ndtr

from benchmarks.chromatin.films import filmed
from benchmarks.journal import Journal
from benchmarks.table import Follow, Table, environment
from mollifier.chromatin.cells import analyse_fields
from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.settings import StudySettings
from mollifier.chromatin.simulate import nucleus, rate_pattern, simulate

# nm, pixels of the simulation, frames, s between them, time of the treatment; photons of euchromatin in a
# pixel, background, decay of the dye (1/s), nm and relative elongation of the motion, largest angle.
_DIAMETER, _PIXELS, _FRAMES, _INTERVAL, _TREATMENT = 1000.0, 72, 18, 40.0, 250.0
_COUNTS, _GROUND, _DECAY, _DRIFT, _STRAIN, _TURN = 300.0, 20.0, 1e-3, 400.0, 0.04, 0.25
_SIZES, _DELAYS, _SPREADS, _WATER, _COMPACTION = (-0.4, 0.5, 0.8), (20.0, 90.0), (10.0, 50.0), 0.1, 5.0
CAPTION = (
    f"Nuclei of 1 um in {_FRAMES} camera frames {_INTERVAL:.0f} s apart, drifting by {_DRIFT:.0f} nm, "
    f"turning, deforming by {100 * _STRAIN:.0f} % and fading within {1 / _DECAY:.0f} s. lam changes by the "
    f"given size, with a delay and a spread, after a treatment at {_TREATMENT:.0f} s. Levels as from a "
    "calibration, exact labels in every frame. Intervals are 95 %, with what is assumed; 'noise' is whether "
    "those of noise alone hold the truth too."
)


@dataclass(frozen=True)
class Row:
    """One nucleus.

    Attributes
    ----------
    nucleus
        Its number.
    size, delay, spread
        True ones; s.
    found_size, found_delay, found_spread
        Estimates.
    size_sd, delay_sd
        Their whole standard errors.
    covers, noise
        Whether the intervals of size and delay hold the truth, with what is assumed, and by noise alone.
    status
        Of the map.
    """

    nucleus: int
    size: float
    delay: float
    spread: float
    found_size: float
    found_delay: float
    found_spread: float
    size_sd: float
    delay_sd: float
    covers: bool
    noise: bool
    status: str


def run(
    nuclei: int = 6,
    first: int = 0,
    *,
    progress: Follow | None = None,
    journal: Journal | None = None,
) -> Table:
    """The table; Ctrl-C ends the run and keeps the nuclei that are done.

    Parameters
    ----------
    nuclei, first
        How many, and the number of the first.
    progress
        Called before every nucleus.
    journal
        Where each nucleus is kept as it is done, and looked up before it is run.
    """
    journal = Journal() if journal is None else journal
    rows, stopped = [], False
    try:
        for k in range(first, first + nuclei):
            if progress is not None:
                progress(k - first, nuclei, f"nucleus {k}")
            rows.append(journal.once({"nucleus": k}, Row, partial(one, k)))
    except KeyboardInterrupt:
        stopped = True
    near = sum(abs(r.found_size / r.size - 1) < 0.15 for r in rows)
    soon = sum(abs(r.found_delay - r.delay) < _INTERVAL for r in rows)
    said = (
        f"Of {len(rows)}: size within 15 % in {near}, delay within a frame in {soon}, covered "
        f"{sum(r.covers for r in rows)}, by noise alone {sum(r.noise for r in rows)}."
    )
    return Table("dynamics", tuple(rows), COLUMNS, CAPTION, environment(), said, stopped)


def one(seed: int) -> Row:
    """One nucleus, by its number."""
    rng = np.random.default_rng(seed)
    size = float(rng.choice(_SIZES))
    delay, spread, turn = (float(rng.uniform(*ends)) for ends in (_DELAYS, _SPREADS, (-_TURN, _TURN)))
    mask = nucleus(_DIAMETER, _PIXELS, rng=seed)
    times = _INTERVAL * np.arange(_FRAMES, dtype=np.float64)
    fine = np.arange(0.0, times[-1] + 1.0, 10.0)
    course = xr.DataArray(1 + size * ndtr((fine - _TREATMENT - delay) / spread), {"t": fine}, ("t",))
    lam = (rate_pattern(mask, "patches", 0.6, 0.3, seed) * course).transpose("x", "y", "t")
    movie = simulate(ChromatinModel(), mask, lam, times, _WATER, before=1000.0, step=5.0, rng=seed)
    image, moving = filmed(
        movie, counts=_COUNTS, background=_GROUND, drift=_DRIFT, turn=turn, strain=_STRAIN, bleaching=_DECAY,
        compaction=_COMPACTION, rng=seed,
    )  # fmt: skip
    pure = _COUNTS * (1 - _WATER)
    levels = Thresholds(
        background=_GROUND, euchromatin=_GROUND + pure, heterochromatin=_GROUND + _COMPACTION * pure,
        euchromatin_water=_WATER, heterochromatin_water=_WATER, two_phases=True,
    )  # fmt: skip
    settings = StudySettings(
        follow=True, bleaching=True, treatment=_TREATMENT, thresholds=levels, domains="map", psf_sd=0.0,
        margin=0.0,
    )  # fmt: skip
    sample = NucleusData("dynamics", str(seed), "", moving, tuple(times.tolist()), (), image)
    result, found = analyse_fields(sample, settings)
    n = result.numbers
    if found is None or found.step is None:
        none = np.nan
        return Row(seed, size, delay, spread, none, none, none, none, none, False, False, result.error)
    truth = {"size": size, "delay": delay}
    whole = all(n[f"step_{k}_low"] <= v <= n[f"step_{k}_high"] for k, v in truth.items())
    alone = all(
        abs(found.step.quantities[k].value - v) < 1.96 * found.step.quantities[k].sd for k, v in truth.items()
    )
    a, b, c, d, e = (n[f"step_{k}"] for k in ("size", "delay", "spread", "size_sd", "delay_sd"))
    return Row(seed, size, delay, spread, a, b, c, d, e, whole, alone, found.status.name)


# Head of a column of the table -> its cell.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "nucleus": lambda r: str(r.nucleus),
    "size": lambda r: f"{r.size:+.2f}",
    "found": lambda r: f"{r.found_size:+.2f} ± {r.size_sd:.2f}",
    "delay": lambda r: f"{r.delay:.0f} s",
    "found delay": lambda r: f"{r.found_delay:.0f} ± {r.delay_sd:.0f} s",
    "spread": lambda r: f"{r.spread:.0f} s",
    "found spread": lambda r: f"{r.found_spread:.0f} s",
    "covers": lambda r: "yes" if r.covers else "no",
    "noise": lambda r: "yes" if r.noise else "no",
    "status": lambda r: r.status,
}
