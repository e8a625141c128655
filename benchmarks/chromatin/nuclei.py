"""Simulated nuclei whose rates are known, imaged as localisations, read in several ways: how near they come.

Edge, pattern of rates and number of localisations of each nucleus are drawn by its number.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_args

import numpy as np
import xarray as xr

from benchmarks.accuracy import median
from benchmarks.chromatin.films import finer
from benchmarks.chromatin.problem import posed
from benchmarks.journal import Journal
from benchmarks.table import Follow, Table, checked, environment, number, percent
from mollifier.chromatin.cells import analyse_nucleus
from mollifier.chromatin.demo import imaged
from mollifier.chromatin.fractions import Thresholds, fractions
from mollifier.chromatin.infer import KNOWN, infer_rate
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.mask import nuclei_from_data
from mollifier.chromatin.model import RATE, ChromatinModel
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.settings import Assumptions, StudySettings
from mollifier.chromatin.signals import signal
from mollifier.chromatin.simulate import Pattern, nucleus, rate_pattern, simulate
from mollifier.engines.solve import solve
from mollifier.problem.inverse_problem import InverseProblem

# Patterns with a correlation to speak of; frames and s between them.
PATTERNS: tuple[Pattern, ...] = tuple(p for p in get_args(Pattern) if p != "uniform")
_FRAMES, _INTERVAL = 10, 40.0
_LEVEL, _CONTRAST, _WIDTH, _DETECTION = 0.6, 0.4, 24.0, 0.7
# What is read: which of the frames.
DATA = {"ten frames": tuple(range(_FRAMES)), "one pair": (0, _FRAMES - 1), "still": (0,)}
# How: by waves of the nucleus, or by a network whose derivatives are taken by the layer or by autodiff.
METHODS = {"waves": "", "layer": "mollifier", "nested": "nested"}
CAPTION = (
    "Simulated nuclei, 1 to 3 million localisations (2 to 3 with --diameter) in each of ten frames 40 s "
    "apart (marks are erased within 500 s); the pair is the first and the last frame. Outline and levels are "
    "as from a calibration, or, with --given nothing, found in the data, with intervals that include their "
    "errors. Correlation, relative L2 error and coverage of the 95 % intervals over all pixels of a nucleus: "
    "median and worst, and the mean coverage. Error of mean: of the mean rate of a nucleus in its standard "
    "errors, root mean square. Seconds of inference, the density apart, or of the whole "
    "analysis. Networks are given the fields that 'waves' is given and are stopped after the same time each; "
    "'ratio' is their read-out point by point."
)
GIVEN = ("outline,levels", "nothing")
# What remains given with nothing else: the model and its nucleoplasm.
_KNOWN = Assumptions(
    well=0.0, mixing=0.0, packed=0.0, interface=0.0, diffusion=0.0, acetylation=0.0, water=0.0
)


@dataclass(frozen=True)
class Size:
    """Sizes between which those of a nucleus are drawn, and how it is simulated.

    Attributes
    ----------
    diameters, seen
        In nm, and localisations in a frame.
    pixel, step
        Of the simulation in nm, and its time step in s before the first frame.
    finer
        Parts of a pixel in which labels are drawn, by cubic interpolation.
    """

    diameters: tuple[float, float] = (1300.0, 1800.0)
    seen: tuple[float, float] = (1e6, 3e6)
    pixel: float = 14.0
    step: float | None = None
    finer: int = 1

    @classmethod
    def of(cls, diameter: float | None) -> Size:
        """The sizes for nuclei of this diameter or up to a tenth more."""
        if diameter is None:
            return _SMALL
        return cls((diameter, 1.1 * diameter), (2e6, 3e6), 20.0, 10.0, 2)


_SMALL = Size()


@dataclass(frozen=True)
class Trial:
    """One answer to one nucleus.

    Attributes
    ----------
    correlation, relative_l2
        Of lam over the nucleus.
    coverage
        Share of its pixels whose 95 % interval holds the truth; NaN without intervals.
    seconds
        Of the inference.
    status
        Of the answer.
    localizations
        In all frames read.
    mean_error
        Of the mean of lam, weighted by phi_e, in its standard errors; NaN without intervals.
    """

    correlation: float
    relative_l2: float
    coverage: float
    seconds: float
    status: str
    localizations: int
    mean_error: float = math.nan


@dataclass(frozen=True)
class Row:
    """One way to read one kind of data, over nuclei.

    Attributes
    ----------
    data, method, nuclei
        What was run.
    correlation, least
        Median and smallest.
    relative_l2, worst
        Median and largest.
    coverage, seconds
        Medians.
    mean_coverage, mean_error
        Over the nuclei: mean, and root mean square.
    converged
        How many were.
    """

    data: str
    method: str
    nuclei: int
    correlation: float
    least: float
    relative_l2: float
    worst: float
    coverage: float
    mean_coverage: float
    mean_error: float
    seconds: float
    converged: int


def run(
    nuclei: int = 20,
    methods: Sequence[str] = ("waves",),
    seconds: float = 60.0,
    first: int = 0,
    diameter: float | None = None,
    given: str = "outline,levels",
    data: Sequence[str] = (),
    *,
    progress: Follow | None = None,
    journal: Journal | None = None,
) -> Table:
    """The table; Ctrl-C ends the run and keeps the nuclei that are done.

    Parameters
    ----------
    nuclei
        How many.
    methods
        Of `METHODS`; networks are asked about ten frames alone.
    seconds
        That a network may take.
    first
        Number of the first nucleus.
    diameter
        In nm; by default 1,300 to 1,800.
    given
        Of `GIVEN`; networks are given outline and levels always.
    data
        Of `DATA`, all by default; frames after the last that is read are not simulated.
    progress
        Called before every answer.
    journal
        Where each answer is saved as it comes; saved answers are reused.

    Raises
    ------
    ConfigurationError
        If there is no such method or data, or nothing such is given.
    """
    checked("method", methods, METHODS)
    checked("given", [given], GIVEN)
    data = checked("data", data, DATA)
    journal = Journal() if journal is None else journal
    found: dict[tuple[str, str], list[Trial]] = {}
    plan = [(d, m) for m in methods for d in (data if m == "waves" else ("ten frames",))]
    frames, stopped = 1 + max(DATA[d][-1] for d, _ in plan), False
    try:
        for k in range(nuclei):
            made = _Made(first + k, frames, diameter, given)
            for i, (kind, method) in enumerate(plan):
                if progress is not None:
                    progress(k * len(plan) + i, nuclei * len(plan), f"nucleus {k + 1}, {kind}, {method}")
                _answered(found, journal, made, kind, method, seconds)
    except KeyboardInterrupt:
        stopped = True
    rows = tuple(_row(kind, method, trials) for (kind, method), trials in found.items())
    return Table("nuclei", rows, COLUMNS, CAPTION, environment(), interrupted=stopped)


def _answered(
    found: dict[tuple[str, str], list[Trial]],
    journal: Journal,
    made: _Made,
    data: str,
    method: str,
    seconds: float,
) -> None:
    """One answer, and with a network's the read-out that comes with it."""
    ways = (method,) if method == "waves" else (method, f"{method}, ratio")
    kept: list[Trial] = []

    def measured(way: int) -> Trial:
        if not kept:
            kept.extend(made.read(data) if method == "waves" else made.network(data, method, seconds))
        return kept[way]

    for i, way in enumerate(ways):
        known_by = {"nucleus": made.seed, "data": data, "method": way}
        known_by |= {"diameter": made.diameter} if made.diameter else {}
        known_by |= {"given": made.given} if method == "waves" and made.given != GIVEN[0] else {}
        known_by |= {} if method == "waves" else {"seconds": seconds}
        trial = journal.once(known_by, Trial, partial(measured, i))
        found.setdefault((data, way), []).append(trial)


class _Made:
    """A nucleus by number, simulated and imaged at its first use."""

    def __init__(self, seed: int, frames: int, diameter: float | None, given: str) -> None:
        self.seed, self.frames, self.model = seed, frames, ChromatinModel()
        self.diameter, self.given = diameter, given
        self._seen: tuple[NucleusData, Thresholds, xr.DataArray] | None = None
        self._fields: dict[str, xr.Dataset] = {}

    def _imaged(self) -> tuple[NucleusData, Thresholds, xr.DataArray]:
        if self._seen is None:
            rng, size = np.random.default_rng(self.seed), Size.of(self.diameter)
            diameter, seen = rng.uniform(*size.diameters), rng.uniform(*size.seen)
            mask = nucleus(diameter, round(1.15 * diameter / size.pixel), rng=self.seed)
            kind = PATTERNS[self.seed % len(PATTERNS)]
            rate = rate_pattern(mask, kind, _LEVEL, _CONTRAST, self.seed)
            times = [_INTERVAL * k for k in range(self.frames)]
            formed = simulate(
                self.model, mask, rate, times[:1], before=1000.0, step=size.step, rng=self.seed
            )["phi_d"].isel(t=0)
            movie = simulate(self.model, mask, rate, times, before=0.0, start=formed)
            self._seen = (*imaged(finer(movie, size.finer), seen / _DETECTION, self.seed), rate)
        return self._seen

    def _sample(self, data: str) -> NucleusData:
        sample, part = self._imaged()[0], DATA[data]
        frames, times = sample.frames, sample.times
        return replace(sample, frames=tuple(frames[k] for k in part), times=tuple(times[k] for k in part))

    def _given(self, data: str) -> xr.Dataset:
        if data not in self._fields:
            sample, levels = self._sample(data), self._imaged()[1]
            value = signal(sample, StudySettings(width=_WIDTH, merge=False))
            self._fields[data] = fractions(value, sample.mask, thresholds=levels)
        return self._fields[data]

    def _trial(
        self, data: str, found: xr.Dataset, name: str, seconds: float, status: str, mean_sd: float = math.nan
    ) -> Trial:
        sample, _, rate = self._imaged()
        exact = (
            rate.interp(x=found["x"], y=found["y"], kwargs={"fill_value": None}).transpose("x", "y").values
        )
        lam = found[name].transpose("x", "y").values
        here = np.isfinite(lam) & np.isfinite(exact)
        a, b = lam[here], exact[here]
        coverage = off = math.nan
        if f"{name}_sd" in found:
            sd = found[f"{name}_sd"].transpose("x", "y").values[here]
            coverage = float(np.mean(np.abs(a - b) < 1.96 * sd))
            shown = found["phi_e"].where(found["identifiability"] < KNOWN).fillna(0.0)
            weight = shown.mean([d for d in shown.dims if d == "t"]).transpose("x", "y").values[here]
            off = float(np.average(a - b, weights=weight)) / mean_sd
        error = float(np.linalg.norm(a - b) / np.linalg.norm(b)) if here.any() else math.inf
        varies = here.any() and float(np.std(a)) > 0
        correlation = float(np.corrcoef(a, b)[0, 1]) if varies else 0.0
        count = sum(len(sample.frames[k]) for k in DATA[data])
        return Trial(correlation, error, coverage, seconds, status, count, off)

    def read(self, data: str) -> list[Trial]:
        """By the waves of the nucleus."""
        if self.given == "nothing":
            return [self._found(data)]
        given = self._given(data)
        begun = time.perf_counter()
        found = infer_rate(given, self.model)
        spent = time.perf_counter() - begun
        mean_sd = found.mean(found.weight)[1]
        return [self._trial(data, found.dataset, RATE, spent, found.status.name, mean_sd)]

    def _found(self, data: str) -> Trial:
        """As the command reads it: the outline is detected, and the levels are those of the free energy."""
        sample, water = self._sample(data), self._imaged()[1].euchromatin_water
        settings = StudySettings(
            levels="energy",
            thresholds=Thresholds(euchromatin_water=water, heterochromatin_water=water),
            assume=_KNOWN,
            domains="map",
        )
        begun = time.perf_counter()
        x, y = (np.concatenate([getattr(f, c) for f in sample.frames]) for c in ("x", "y"))
        mask = nuclei_from_data(Localizations(x, y), settings.detection).whole[0].mask
        result = analyse_nucleus(replace(sample, mask=mask), settings)
        spent = time.perf_counter() - begun
        if result.rate is None:
            return Trial(0.0, math.inf, 0.0, spent, result.error, 0)
        rate = result.rate
        sd: xr.DataArray = (rate[f"{RATE}_sd"] ** 2 + rate[f"{RATE}_assumed_sd"] ** 2) ** 0.5
        status = str(rate.attrs["status"]).partition(":")[0]
        mean_sd = result.numbers["rate_total_sd"]
        return self._trial(data, rate.assign({f"{RATE}_sd": sd}), RATE, spent, status, mean_sd)

    def network(self, data: str, method: str, seconds: float) -> list[Trial]:
        """By a network, and its read-out point by point."""
        problem = posed(self._given(data), self.model)
        settings: dict[str, Any] = {"training": {"time_limit": seconds}, "derivatives": METHODS[method]}
        begun = time.perf_counter()
        solution = solve(problem, "network", rng=self.seed, settings=settings)
        spent = time.perf_counter() - begun
        fields = solution.dataset.assign(ratio=_ratio(problem, solution.dataset))
        fields = fields.assign_coords({c: fields[c].values * self.model.length for c in ("x", "y")})
        inside = self._given(data)["phi_d"].notnull().all("t").astype(float)
        inside = inside.interp(x=fields["x"], y=fields["y"], method="nearest") > 0
        both = fields[[RATE, "ratio"]].where(inside)
        return [self._trial(data, both, n, spent, solution.status.name) for n in (RATE, "ratio")]


def _ratio(problem: InverseProblem, fields: xr.Dataset) -> xr.DataArray:
    """lam point by point: minus the rest of the equation over its factor, over the frames."""
    equation = problem.system.equations[0]
    rest, factors = equation.collect([RATE])
    dims = ("x", "y", "t")
    env = {n: fields[n].transpose(*dims).values for n in equation.symbols if n != RATE}
    shape = env["phi_h"].shape
    top, bottom = (np.broadcast_to(np.asarray(f(env)), shape) for f in (rest, factors[RATE]))
    found = -np.sum(top * bottom, -1) / np.sum(bottom**2, -1)
    return xr.DataArray(found, {c: fields[c] for c in dims[:2]}, dims[:2])


def _row(data: str, method: str, trials: Sequence[Trial]) -> Row:
    errors, near = [t.relative_l2 for t in trials], [t.correlation for t in trials]
    return Row(
        data,
        method,
        len(trials),
        median(near),
        min(near),
        median(errors),
        max(errors),
        median(t.coverage for t in trials),
        float(np.mean([t.coverage for t in trials])),
        float(np.sqrt(np.mean([t.mean_error**2 for t in trials]))),
        median(t.seconds for t in trials),
        sum(t.status == "converged" for t in trials),
    )


# Head of a column of the table -> its cell.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "data": lambda r: r.data,
    "method": lambda r: r.method,
    "nuclei": lambda r: str(r.nuclei),
    "correlation": lambda r: f"{r.correlation:.3f}",
    "least": lambda r: f"{r.least:.3f}",
    "relative L2": lambda r: number(r.relative_l2),
    "worst": lambda r: number(r.worst),
    "coverage": lambda r: percent(r.coverage) if math.isfinite(r.coverage) else "-",
    "mean coverage": lambda r: percent(r.mean_coverage) if math.isfinite(r.mean_coverage) else "-",
    "error of mean": lambda r: number(r.mean_error) if math.isfinite(r.mean_error) else "-",
    "seconds": lambda r: number(r.seconds),
    "converged": lambda r: str(r.converged),
}
