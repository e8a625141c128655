"""Coverage of the engines' intervals on problems whose answer is known, over noise seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.accuracy import attempt, check_levels, described_by, median, noise_of, planned
from benchmarks.calibration import LEVELS, Calibration, Share, standardised
from benchmarks.cases.base import Case
from benchmarks.cases.registry import CASES, case
from benchmarks.cases.studies import STUDIES
from benchmarks.journal import Journal
from benchmarks.paper.problems import PROBLEMS
from benchmarks.table import Follow, Table, checked, environment, number, percent
from mollifier.engines.registry import ENGINES

CAPTION = (
    "New noise for every seed; its size, sigma / rms(u), is not given to the engine. 'Error' is the median "
    "over seeds (and the largest) of the relative error of a number or the relative L2 error of a field. Per "
    "cent of the 50, 80 and 95 % intervals that hold the truth, over the seeds with an answer; of a number "
    "with Wilson's 95 % interval of the share, of a field the mean over seeds of the share of places, with "
    "Student's. 'Least' is the smallest share of places of a seed at 95 %, 'spread' the standard deviation "
    "over seeds. 'PIT' is the largest distance of the distribution of the truths' places in their posterior "
    "from an even one, and the most that would be by chance 19 times in 20."
)

KNOWN: tuple[str, ...] = (*CASES, *(n for n in PROBLEMS if n not in CASES), *STUDIES)
# Places of a field that are kept of every solve, and parts of the histogram.
_PLACES, _BINS = 1600, 10


@dataclass(frozen=True)
class Trial:
    """One solve of one case.

    Attributes
    ----------
    status, message
        Of the solution; "refused" or "failed" and why, where there is none.
    scores
        Unknown -> (truth - estimate)/standard error at its places; those without a standard error are left
        out.
    errors
        Unknown -> error, see `Case.errors`.
    seconds
        Of the solve alone.
    """

    status: str
    message: str = ""
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    seconds: float = math.nan


@dataclass(frozen=True)
class Row:
    """One unknown of one case, by one engine at one noise, over seeds.

    Attributes
    ----------
    case, engine, noise, unknown
        What was found.
    seeds, answers
        How many were run, and how many gave a standard error.
    places
        At which a field was looked at; one for a number.
    coverage
        Per cent of the interval, of `LEVELS` -> share that holds the truth, with its interval.
    error, largest_error
        Median over seeds, and the largest; see `Case.errors`.
    least, spread
        Smallest share of places at 95 % of a seed, and standard deviation over seeds; NaN for a number.
    score
        Root mean square of (truth - estimate)/standard error: one where these are right.
    histogram
        Share of the PITs in each tenth of [0, 1].
    difference
        Distribution function of the PITs less an even one's at 0, 0.01, ..., 1.
    largest, band
        Of the difference; and the most of it that would be by chance 19 times in 20.
    seconds
        Median of a solve.
    statuses
        Status -> how often.
    message
        Why the first of those without an answer has none.
    """

    case: str
    engine: str
    noise: float
    unknown: str
    seeds: int
    answers: int
    places: int
    error: float
    largest_error: float
    coverage: dict[int, Share]
    least: float
    spread: float
    score: float
    histogram: tuple[float, ...]
    difference: tuple[float, ...]
    largest: float
    band: float
    seconds: float
    statuses: dict[str, int]
    message: str = ""


def run(
    cases: Sequence[str],
    noises: Sequence[float] = (),
    engines: Sequence[str] = (),
    seeds: Sequence[int] = range(50),
    *,
    settings: Any = None,
    progress: Follow | None = None,
    journal: Journal | None = None,
) -> Table:
    """Every engine on every case at every noise; Ctrl-C ends the run and keeps the seeds that are done.

    Seeds are the outermost loop, so that an interrupted run has about as many of each.

    Parameters
    ----------
    cases
        Of `KNOWN`: the benchmark's cases, the paper's problems, and `benchmarks.cases.studies.STUDIES`.
    noises
        sigma / rms(u); by default the levels that each case names, else its standard noise.
    engines
        Of "weak", "joint", "network" and "auto"; by default those that each case names, else "auto".
    seeds
        Of the noise and of the solve.
    settings
        As for `mollifier.solve`.
    progress
        Called before every solve.
    journal
        Where each trial is kept as it is done, and looked up before it is run.

    Raises
    ------
    ConfigurationError
        If a case or an engine is not known, or a noise or the seeds make no sense.

    Examples
    --------
    >>> table = run(["reaction_rate"], [0.05], ["joint"], seeds=range(3))
    >>> [(row.unknown, row.answers, row.places) for row in table.rows]
    [('k', 3, 501)]
    """
    names = checked("case", cases, KNOWN) if cases else list(KNOWN)
    chosen = checked("engine", engines, ("auto", *ENGINES)) if engines else ()
    check_levels(noises, seeds)
    plan = planned(names, noises, chosen, progress, build)
    journal = Journal() if journal is None else journal
    trials: list[list[Trial]] = [[] for _ in plan]
    total, stopped = len(plan) * len(seeds), False
    try:
        for i, seed in enumerate(seeds):
            for j, (made, noise, engine) in enumerate(plan):
                if progress is not None:
                    label = f"{made.name}, {engine}, noise {percent(noise_of(made, noise))}, seed {seed}"
                    progress(i * len(plan) + j, total, label)
                trials[j].append(kept_trial(journal, made, noise, engine, seed, settings))
    except KeyboardInterrupt:
        stopped = True
    rows = [
        row
        for (made, noise, engine), t in zip(plan, trials, strict=True)
        for row in rows_of(made, noise, engine, t)
    ]
    return Table("coverage", tuple(rows), COLUMNS, CAPTION, environment(), _summary(rows), stopped, _note)


def build(name: str) -> Case:
    """A case of `KNOWN`, under that name."""
    make = STUDIES.get(name) or (partial(case, name) if name in CASES else PROBLEMS[name].build)
    return replace(make(), name=name)


def kept_trial(
    journal: Journal, made: Case, noise: float | None, engine: str, seed: int, settings: Any
) -> Trial:
    """A trial from the journal, or run and put there; one that broke down is run again."""
    return journal.once(
        {**described_by(made, noise, seed, settings), "engine": engine, "places": _PLACES},
        Trial,
        lambda: trial(made, noise, engine, seed, settings),
        lambda found: found.status != "failed",
    )


def trial(made: Case, noise: float | None, engine: str, seed: int, settings: Any = None) -> Trial:
    """Solve a case once, and look where the truth is in the intervals."""
    solution, status, message, seconds = attempt(made, noise, engine, seed, settings)
    if solution is None:
        return Trial(status, message)
    scores = standardised(solution, made.truth, _PLACES)
    held = {n: z.tolist() for n, z in scores.items()}
    return Trial(status, message, held, made.errors(solution), seconds)


def rows_of(made: Case, noise: float | None, engine: str, trials: Sequence[Trial]) -> list[Row]:
    """What the trials of one case, noise and engine say of each unknown."""
    rows = []
    for name in made.truth:
        scores = [np.asarray(t.scores[name], dtype=float) for t in trials if name in t.scores]
        finite = [z for z in scores if np.isfinite(z).all()]
        if not trials:
            continue
        found = Calibration.of(np.stack(finite)) if finite else None
        shares = found.shares(95) if found is not None and found.pit.shape[1] > 1 else None
        errors = [t.errors[name] for t in trials if name in t.errors]
        at = np.linspace(0, 1, 101)
        rows.append(
            Row(
                made.name,
                engine,
                noise_of(made, noise),
                name,
                len(trials),
                len(finite),
                found.pit.shape[1] if found else 0,
                median(errors),
                max(errors, default=math.nan),
                {level: found.coverage(level) for level in LEVELS} if found else {},
                float(shares.min()) if shares is not None else math.nan,
                float(shares.std(ddof=1)) if shares is not None and len(shares) > 1 else math.nan,
                float(np.sqrt(np.mean(np.square(finite)))) if finite else math.nan,
                tuple(found.histogram(_BINS).tolist()) if found else (),
                tuple(found.difference(at).tolist()) if found else (),
                found.largest_difference if found else math.nan,
                found.band() if found else math.nan,
                median(t.seconds for t in trials),
                dict(Counter(t.status for t in trials)),
                next((t.message for t in trials if t.message), ""),
            )
        )
    return rows


def _summary(rows: Sequence[Row]) -> str:
    covered = [r for r in rows if r.coverage]
    if not covered:
        return ""
    held = sum(r.coverage[95].low <= 0.95 <= r.coverage[95].high for r in covered)
    return f"In {held} of {len(covered)} rows 95 % lies within the confidence interval of the share."


def _note(row: Row) -> str:
    return f"{row.case}, {row.engine}, {percent(row.noise)}: {row.message}" if row.message else ""


def _share(level: int) -> Callable[[Row], str]:
    return lambda row: str(row.coverage[level]).removesuffix(" %") if row.coverage else "-"


# Head of a column of the table -> its cell.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "case": lambda r: r.case,
    "noise": lambda r: percent(r.noise),
    "engine": lambda r: r.engine,
    "unknown": lambda r: r.unknown,
    "error": lambda r: f"{number(r.error, '.2g')} ({number(r.largest_error, '.2g')})",
    **{f"{level} %": _share(level) for level in LEVELS},
    "least": lambda r: number(100 * r.least, ".2g"),
    "spread": lambda r: number(100 * r.spread, ".2g"),
    "rms score": lambda r: number(r.score, ".2f"),
    "PIT": lambda r: f"{number(r.largest, '.2f')} of {number(r.band, '.2f')}",
    "seconds": lambda r: number(r.seconds),
    "seeds": lambda r: f"{r.answers} of {r.seeds}" if r.answers < r.seeds else str(r.seeds),
    "status": lambda r: ", ".join(f"{n} {s}" for s, n in r.statuses.items()),
}
