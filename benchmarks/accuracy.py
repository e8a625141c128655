"""Errors, coverage of the intervals and seconds of the engines on the benchmark cases, over noise seeds."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration import LEVELS, standardised
from benchmarks.cases.base import Case
from benchmarks.cases.registry import CASES, case
from benchmarks.journal import Journal
from benchmarks.table import Follow, Table, checked, environment, number, percent
from mollifier.engines.choose import choose
from mollifier.engines.registry import ENGINES
from mollifier.engines.settings import plain, used_by
from mollifier.engines.solve import solve
from mollifier.errors import ConfigurationError, MollifierError
from mollifier.problem.solution import Solution

Array = NDArray[np.float64]

CAPTION = (
    "Noise is sigma / rms(u) and is not given to the engine. Errors are medians over the noise seeds of the "
    "relative error of a number and of the relative L2 error of a field; 'worst' is the median (and the "
    "quartiles) of the largest of them, a seed without an answer counting as infinitely wrong. Coverage is "
    "the share of the 50, 80 and 95 % intervals that hold the truth: over the seeds with an answer, and for "
    "a field over its points too. Seconds are the median of a solve, imports left out."
)


@dataclass(frozen=True)
class Trial:
    """One solve of one case.

    Attributes
    ----------
    status, message
        Of the solution; "refused" or "failed" and why, where there is none.
    errors
        Unknown -> error, see `Case.errors`.
    covered
        Unknown -> share of its intervals of each of `LEVELS` that hold the truth.
    seconds
        Of the solve alone.
    """

    status: str
    message: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)
    covered: Mapping[str, Array] = field(default_factory=dict)
    seconds: float = math.nan

    @property
    def worst(self) -> float:
        """The largest error; infinite where an unknown was not found."""
        return largest(self.errors)


@dataclass(frozen=True)
class Row:
    """One engine on one case at one noise, over seeds.

    Attributes
    ----------
    case, engine, noise, seeds
        What was run; noise is sigma / rms(u), the largest of several variables.
    errors
        Unknown -> median over the seeds of the relative error (a number) or the relative L2 (a field).
    worst, quartiles
        Median and quartiles over the seeds of the largest of these errors; infinite where there is none.
    target
        What the case aims at for ``worst``, if it states one.
    coverage
        Unknown -> per cent of the interval, of `LEVELS` -> share that holds the truth: over seeds, and for a
        field over its points too.
    seconds
        Median.
    statuses
        Status -> how often.
    message
        Why the first of those without an answer has none.
    """

    case: str
    engine: str
    noise: float
    seeds: int
    errors: dict[str, float]
    worst: float
    quartiles: tuple[float, float]
    target: float | None
    coverage: dict[str, dict[int, float]]
    seconds: float
    statuses: dict[str, int]
    message: str = ""


def run(
    cases: Sequence[str] = (),
    noises: Sequence[float] = (),
    engines: Sequence[str] = (),
    seeds: Sequence[int] = range(20),
    *,
    settings: Any = None,
    progress: Follow | None = None,
    journal: Journal | None = None,
) -> Table:
    """Every engine on every case at every noise; Ctrl-C ends the run and keeps the seeds that are done.

    Parameters
    ----------
    cases
        Of `benchmarks.cases.registry.CASES`; all by default.
    noises
        sigma / rms(u); by default the levels that each case names, else its standard noise.
    engines
        Of "weak", "joint", "network" and "auto"; by default those that each case names, else "auto".
    seeds
        Of the noise.
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
    >>> table = run(["reaction_rate"], [0.01, 0.05], ["joint"], seeds=range(2))
    >>> [(row.engine, row.noise, row.seeds, row.worst < 0.3) for row in table.rows]
    [('joint', 0.01, 2, True), ('joint', 0.05, 2, True)]
    """
    names = checked("case", cases, CASES)
    chosen = checked("engine", engines, ("auto", *ENGINES)) if engines else ()
    check_levels(noises, seeds)
    plan = planned(names, noises, chosen, progress)
    total, done = len(plan) * len(seeds), 0
    journal = Journal() if journal is None else journal
    rows, stopped = [], False
    for made, noise, engine in plan:
        label = f"{made.name}, {engine}, noise {percent(noise_of(made, noise))}"
        trials = []
        try:
            for seed in seeds:
                if progress is not None:
                    progress(done, total, f"{label}, seed {seed}")
                trials.append(kept_trial(journal, made, noise, engine, seed, settings))
                done += 1
        except KeyboardInterrupt:
            stopped = True
        if trials:
            rows.append(_summed(made, noise, engine, trials))
        if stopped:
            break
    return Table("accuracy", tuple(rows), COLUMNS, CAPTION, environment(), "", stopped, _note)


def measure(
    case: Case,
    noise: float | None = None,
    engine: str = "auto",
    seeds: Iterable[int] = range(20),
    settings: Any = None,
    points: int | None = None,
) -> Row:
    """One engine on one case, with fresh noise for every seed; the noise level is never given away.

    Parameters
    ----------
    noise
        sigma / rms(u); the case's own where None.
    points
        So many scattered measurements; all the data by default.

    Examples
    --------
    >>> from benchmarks.cases.registry import case
    >>> row = measure(case("reaction_rate"), 0.01, "joint", seeds=range(2))
    >>> row.seeds, sorted(row.errors), row.worst < 0.2
    (2, ['k'], True)
    """
    return _summed(case, noise, engine, [trial(case, noise, engine, s, settings, points) for s in seeds])


def trial(
    case: Case,
    noise: float | None = None,
    engine: str = "auto",
    seed: int = 0,
    settings: Any = None,
    points: int | None = None,
) -> Trial:
    """Solve a case once; whatever goes wrong in an engine is a status, so that other seeds can go on."""
    solution, status, message, seconds = attempt(case, noise, engine, seed, settings, points)
    if solution is None:
        return Trial(status, message)
    return Trial(status, message, case.errors(solution), covered(case, solution), seconds)


def attempt(
    case: Case,
    noise: float | None,
    engine: str,
    seed: int,
    settings: Any = None,
    points: int | None = None,
) -> tuple[Solution | None, str, str, float]:
    """Solve a case once: solution, status, message and seconds; "refused" or "failed" where there is none.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C, also where the engine stopped in good order.
    """
    problem = case.problem(noise, seed, points)
    load(engine)
    begun = time.perf_counter()
    try:
        name = choose(problem)[0] if engine == "auto" else engine
        own = used_by(settings, [ENGINES[name]])
        solution = solve(problem, engine, rng=seed, settings=own)
    except MollifierError as error:
        return None, "refused", str(error), math.nan
    except Exception as error:
        return None, "failed", f"{type(error).__name__}: {error}", math.nan
    seconds = time.perf_counter() - begun
    status = solution.status
    if status.name == "interrupted":
        raise KeyboardInterrupt
    return solution, status.name, "" if status.ok else status.message, seconds


def kept_trial(
    journal: Journal, case: Case, noise: float | None, engine: str, seed: int, settings: Any
) -> Trial:
    """A trial from the journal, or run and put there; one that broke down is run again."""
    return journal.once(
        {**described_by(case, noise, seed, settings), "engine": engine},
        Trial,
        lambda: trial(case, noise, engine, seed, settings),
        lambda found: found.status != "failed",
    )


def described_by(case: Case, noise: float | None, seed: int, settings: Any) -> dict[str, Any]:
    """What a trial is known by in a journal, beside who is tried."""
    return {"case": case.name, "noise": noise, "seed": seed, "settings": plain(settings)}


def covered(case: Case, solution: Solution) -> dict[str, Array]:
    """Unknown -> share of places where the interval of each of `LEVELS` holds the truth, shape (3,).

    Unknowns without a standard error are left out.
    """
    half = [NormalDist().inv_cdf(0.5 + level / 200) for level in LEVELS]
    scores = standardised(solution, case.truth)
    return {n: np.array([float(np.mean(np.abs(z) <= h)) for h in half]) for n, z in scores.items()}


def noise_of(case: Case, noise: float | None) -> float:
    """sigma / rms(u) of the noisiest variable; of the case's standard noise where None.

    >>> noise_of(case("burgers"), None), noise_of(case("burgers"), 0.1)
    (0.01, 0.1)
    """
    if noise is not None:
        return noise
    rms = {v: math.sqrt(float((case.clean[v] ** 2).mean())) for v in case.noisy}
    return max(round(sd / (rms[v] or 1.0), 12) for v, sd in case.sigma().items())


def levels_of(case: Case, noises: Sequence[float]) -> list[float | None]:
    """The given noise levels, else those that the case names, else its standard noise, as None."""
    return list(noises) or list(case.levels) or [None]


def check_levels(noises: Sequence[float], seeds: Sequence[int]) -> None:
    """Refuse noises that are negative or no numbers, and no seeds.

    >>> check_levels([0.01, -0.1], range(3))
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: noise -0.1 was given; a number of 0 or more was expected.
    """
    for noise in noises:
        if not (math.isfinite(noise) and noise >= 0):
            raise ConfigurationError(f"noise {noise:g} was given; a number of 0 or more was expected.")
    if not len(seeds):
        raise ConfigurationError("No seeds were given; at least one is needed.")


def load(engine: str) -> None:
    """Import what an engine is made of, so that its first solve is not charged with it."""
    if engine != "weak":
        import mollifier.engines.joint.engine
        import mollifier.engines.network.engine  # noqa: F401


def largest(errors: Mapping[str, float]) -> float:
    """The largest error; infinite where there is none or one is missing.

    >>> largest({"a": 0.1, "b": 0.3}), largest({"a": 0.1, "b": math.nan}), largest({})
    (0.3, inf, inf)
    """
    return max((e if math.isfinite(e) else math.inf for e in errors.values()), default=math.inf)


def median(values: Iterable[float]) -> float:
    """The median; infinite where most values are, NaN where there are none or all are NaN.

    >>> median([0.1, math.inf, 0.3]), median([math.nan, 2.0]), median([])
    (0.3, 2.0, nan)
    """
    known = [v for v in values if not math.isnan(v)]
    return float(np.median(known)) if known else math.nan


def planned(
    names: Sequence[str],
    noises: Sequence[float],
    engines: Sequence[str],
    progress: Follow | None = None,
    build: Callable[[str], Case] = case,
) -> list[tuple[Case, float | None, str]]:
    """Case, noise and engine, "auto" replaced by the engine it takes; ``build`` makes a case of its name."""
    plan = []
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names), f"making {name}")
        made = build(name)
        named = engines or made.engines or ("auto",)
        chosen = [choose(made.problem())[0] if e == "auto" else e for e in named]
        plan += [(made, noise, e) for noise in levels_of(made, noises) for e in dict.fromkeys(chosen)]
    return plan


def _summed(case: Case, noise: float | None, engine: str, trials: Sequence[Trial]) -> Row:
    """What the trials of one case, noise and engine say together."""
    answers = [t for t in trials if t.errors]
    worst = [t.worst for t in trials] or [math.inf]
    names = list(dict.fromkeys(n for t in answers for n in t.errors))
    intervals = {n: [t.covered[n] for t in answers if n in t.covered] for n in names}
    shares = {n: np.mean(i, axis=0).tolist() for n, i in intervals.items() if i}
    low, high = (float(q) for q in np.quantile(worst, [0.25, 0.75], method="nearest"))
    level = noise_of(case, noise)
    return Row(
        case.name,
        engine,
        level,
        len(trials),
        {n: median(t.errors[n] for t in answers) for n in names},
        median(worst),
        (low, high),
        case.targets.get(level),
        {n: dict(zip(LEVELS, s, strict=True)) for n, s in shares.items()},
        median(t.seconds for t in trials),
        dict(Counter(t.status for t in trials)),
        next((t.message for t in trials if t.message), ""),
    )


def _worst(row: Row) -> str:
    if not math.isfinite(row.worst):
        return "-"
    return f"{row.worst:.2g} ({number(row.quartiles[0], '.2g')} to {number(row.quartiles[1], '.2g')})"


def _note(row: Row) -> str:
    return f"{row.case}, {row.engine}, {percent(row.noise)}: {row.message}" if row.message else ""


# Head of a column of the table -> its cell.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "case": lambda r: r.case,
    "noise": lambda r: percent(r.noise),
    "engine": lambda r: r.engine,
    "median errors": lambda r: ", ".join(f"{n} {number(e, '.2g')}" for n, e in r.errors.items()) or "-",
    "worst": _worst,
    "target": lambda r: number(r.target, ".2g"),
    "coverage": lambda r: (
        ", ".join(f"{n} " + " / ".join(f"{100 * c:.0f}" for c in v.values()) for n, v in r.coverage.items())
        or "-"
    ),
    "seconds": lambda r: number(r.seconds),
    "seeds": lambda r: str(r.seeds),
    "status": lambda r: ", ".join(f"{n} {s}" for s, n in r.statuses.items()),
}
