"""Solves of random questions: how often an answer that is called good is wrong."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from benchmarks.accuracy import load
from benchmarks.calibration import standardised
from benchmarks.journal import Journal
from benchmarks.table import Follow, Table, checked, environment, number
from benchmarks.trust.noises import DECLARED, MANY_SENSORS, NOISES, SAMPLES, declared
from benchmarks.trust.questions import QUESTIONS, Question
from mollifier.data.observations import Observations
from mollifier.engines.registry import ENGINES
from mollifier.engines.solve import solve
from mollifier.errors import MollifierError
from mollifier.problem.inverse_problem import InverseProblem

CAPTION = (
    "Random questions, each with new noise. 'Called good' is the status converged. 'Wrong' is one with a "
    "number more than three standard errors off, or a field of which the 95 % intervals hold less than half; "
    "'far' is one with a number more than four off. 'Held' is the share of 95 % intervals, over all answers "
    "that are called good, that hold the truth."
)
SIZES: Mapping[str, Mapping[int, tuple[int, ...]]] = {
    "grid": {1: (60,), 2: (48, 40), 3: (20, 20, 20)},
    "uneven": {1: (60,), 2: (48, 40), 3: (20, 20, 20)},
    "few": {1: (25,), 2: (12, 30), 3: (5, 5, 30)},
    "logged": {1: (300,), 2: (12, 300), 3: (5, 5, 120)},
    "scattered": {1: (60,), 2: (400,), 3: (400,)},
}
"""Layout -> number of coordinates -> nodes along each, or the number of places."""
LEVEL = 0.02
WHITE_LEVELS = (0.001, 0.01, 0.05, 0.2)


@dataclass(frozen=True)
class Plan:
    """What is asked: one line of the table.

    Attributes
    ----------
    group
        "white", "noise", "declared" or "equation".
    what
        Level of the noise, kind of the noise, or kind of the mistake.
    layout, engine
        Of `SIZES`; of the registered engines.
    """

    group: str
    what: str
    layout: str
    engine: str


@dataclass(frozen=True)
class Trial:
    """One solve.

    Attributes
    ----------
    question, status, message
        What was asked and how it ended; "refused" or "failed" where there is no answer.
    scores
        Unknown -> (truth - estimate)/standard error at its places.
    seconds
        Of the solve.
    """

    question: str
    status: str
    message: str = ""
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    seconds: float = math.nan

    @property
    def good(self) -> bool:
        """Whether the program calls the answer good."""
        return self.status == "converged"

    def off(self, times: float) -> bool:
        """Whether a number is so many standard errors off, or a field mostly outside of its intervals."""
        for z in map(np.abs, map(np.asarray, self.scores.values())):
            if (z.max() > times) if len(z) == 1 else (np.mean(z < 1.96) < 0.5):
                return True
        return False


@dataclass(frozen=True)
class Row:
    """The trials of one plan.

    Attributes
    ----------
    group, what, layout, engine
        Of the plan.
    runs, good, wrong, far
        Solves; those called good; those of them that are wrong, and far off.
    held, fields_held
        Shares of 95 % intervals of numbers, and of places of fields, that hold the truth.
    rms
        Root mean square of the numbers' scores.
    seconds
        Median.
    statuses
        Status -> how often.
    missed
        Question and scores of the wrong answers that are called good.
    """

    group: str
    what: str
    layout: str
    engine: str
    runs: int
    good: int
    wrong: int
    far: int
    held: float
    fields_held: float
    rms: float
    seconds: float
    statuses: dict[str, int]
    missed: tuple[str, ...] = ()


def plans(groups: Sequence[str], engines: Sequence[str]) -> Iterator[Plan]:
    """All lines of the table for groups and engines."""
    for engine in engines:
        layouts = [*SIZES] if engine != "weak" else ("grid", "uneven", "few")
        noise_layouts = ("grid",) if engine in ("weak", "auto") else ("few",)
        if "white" in groups:
            for layout in layouts:
                for level in WHITE_LEVELS:
                    yield Plan("white", f"{level:g}", layout, engine)
        if "noise" in groups:
            for layout in noise_layouts:
                for kind in NOISES:
                    yield Plan("noise", kind, layout, engine)
        if "declared" in groups:
            for layout in noise_layouts:
                for kind in DECLARED:
                    yield Plan("declared", kind, layout, engine)
        if "equation" in groups:
            kinds = dict.fromkeys(
                k for make in QUESTIONS.values() for k in make(np.random.default_rng(0)).wrong
            )
            for layout in ("grid",) if engine == "weak" else ("scattered",):
                for kind in kinds:
                    yield Plan("equation", kind, layout, engine)


def observed(
    question: Question, layout: str, noise: str, level: float, rng: np.random.Generator, known: bool = False
) -> Observations:
    """Noisy measurements of a question's solution.

    Parameters
    ----------
    layout
        Of `SIZES`; "uneven" is "grid", jittered, and "few" are a few sensors, "logged" more often.
    known
        Whether the noise is declared; not at scattered places.
    """
    names = question.coordinates
    low, high = np.array(list(question.bounds.values())).T
    if layout == "scattered":
        places = low + (high - low) * rng.random((*SIZES[layout][len(names)], len(names)))
        kind = NOISES[noise] if noise in SAMPLES else NOISES["white"]
        values = kind(question.solution(*places.T), level, rng)
        return Observations({"u": values}, dict(zip(names, places.T, strict=True)))
    axes = []
    for a, b, n in zip(low, high, SIZES[layout][len(names)], strict=True):
        nodes = np.linspace(0, 1, n)
        if layout == "uneven":
            nodes[1:-1] += 0.35 / (n - 1) * rng.uniform(-1, 1, n - 2)
        axes.append(a + (b - a) * nodes)
    clean, nodes = question.solution(*np.meshgrid(*axes, indexing="ij")), dict(zip(names, axes, strict=True))
    values, words = (
        declared(noise, clean, level, rng, nodes) if known else (NOISES[noise](clean, level, rng), None)
    )
    data = xr.Dataset({"u": (names, values)}, nodes)
    return Observations.from_dataset(data, noise=None if words is None else {"u": words})


def drawn(plan: Plan, seed: int) -> tuple[Question, InverseProblem]:
    """The question of a plan at a seed, and the problem that is solved."""
    rng = np.random.default_rng([seed, *plan.what.encode(), *plan.layout.encode()])
    makers = list(QUESTIONS.values())
    question = makers[seed % len(makers)](rng)
    level = float(plan.what) if plan.group == "white" else 0.005 if plan.group == "equation" else LEVEL
    noise = plan.what if plan.group in ("noise", "declared") else "white"
    data = observed(question, plan.layout, noise, level, rng, plan.group == "declared")
    if plan.group == "equation":
        question = question.mistaken(plan.what)
    fields, constants = ["u"], dict(question.constants)
    return question, InverseProblem(question.equation, data, question.unknowns, constants, fields)


def trial(plan: Plan, seed: int) -> Trial:
    """Draw the question of a plan at a seed, to which it applies, and solve it."""
    question, problem = drawn(plan, seed)
    load(plan.engine)
    begun = time.perf_counter()
    try:
        solution = solve(problem, plan.engine, rng=seed)
    except MollifierError as error:
        return Trial(question.name, "refused", str(error))
    except Exception as error:
        return Trial(question.name, "failed", f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - begun
    scores = standardised(solution, at_nodes(question.truth, solution.dataset), 200)
    finite = {n: z[np.isfinite(z)].tolist() for n, z in scores.items()}
    status = solution.status
    return Trial(question.name, status.name, status.message, {n: z for n, z in finite.items() if z}, seconds)


def at_nodes(truth: Mapping[str, float | xr.DataArray], found: xr.Dataset) -> dict[str, float | xr.DataArray]:
    """Truths at the nodes of an answer: linear interpolation between these may exceed its standard errors."""
    return {
        n: v.interp({d: found[d] for d in v.dims}) if isinstance(v, xr.DataArray) else v
        for n, v in truth.items()
    }


def run(
    groups: Sequence[str] = (),
    engines: Sequence[str] = (),
    seeds: Sequence[int] = range(12),
    what: Sequence[str] = (),
    questions: Sequence[str] = (),
    progress: Follow | None = None,
    journal: Journal | None = None,
) -> Table:
    """Solve random questions and count the answers that are called good and are wrong.

    Parameters
    ----------
    groups
        "white" (levels and layouts), "noise" (kinds), "declared" (the same, declared as drawn), "equation"
        (mistakes); all by default.
    engines
        Of the registered ones, or "auto"; weak and joint by default.
    seeds
        Of question, noise and solve. Thresholds of the program were chosen on seeds below 1000.
    what
        Kinds or levels to which the table is limited.
    questions
        Of `QUESTIONS`, to which it is limited: seeds of others are left out.
    progress, journal
        As of `benchmarks.coverage.run`.

    Raises
    ------
    ConfigurationError
        If a name is not known.

    Examples
    --------
    >>> table = run(["noise"], ["weak"], range(1000, 1002), ["white"])
    >>> [(row.what, row.runs, row.wrong) for row in table.rows]
    [('white', 2, 0)]
    """
    chosen = checked("group", groups, ("white", "noise", "declared", "equation"))
    every = list(
        plans(chosen, checked("engine", engines, [*ENGINES, "auto"]) if engines else ["weak", "joint"])
    )
    kinds = checked("kind", what, dict.fromkeys(p.what for p in every)) if what else None
    every = [p for p in every if kinds is None or p.what in kinds]
    kept = checked("question", questions, QUESTIONS)
    journal, stopped = journal or Journal(), False
    found: dict[Plan, list[Trial]] = {p: [] for p in every}
    try:
        for i, seed in enumerate(seeds):
            for j, plan in enumerate(every):
                if progress is not None:
                    label = f"{plan.engine}, {plan.layout}, {plan.what}, seed {seed}"
                    progress(i * len(every) + j, len(every) * len(seeds), label)
                if [*QUESTIONS][seed % len(QUESTIONS)] in kept and applies(plan, seed):
                    found[plan].append(_kept(journal, plan, seed))
    except KeyboardInterrupt:
        stopped = True
    rows = [_summed(plan, trials) for plan, trials in found.items() if trials]
    about = environment(seeds=f"{min(seeds)} to {max(seeds)}")
    return Table("trust", tuple(rows), COLUMNS, CAPTION, about, _summary(rows), stopped, _note)


def applies(plan: Plan, seed: int) -> bool:
    """Whether the question of a seed can have the noise or the mistake of a plan."""
    makers = list(QUESTIONS.values())
    question = makers[seed % len(makers)](np.random.default_rng(0))
    if plan.group in ("noise", "declared"):
        return plan.what not in MANY_SENSORS or len(question.coordinates) > 1
    return plan.group == "white" or plan.what in question.wrong


def _kept(journal: Journal, plan: Plan, seed: int) -> Trial:
    known_by = {"plan": [plan.group, plan.what, plan.layout, plan.engine], "seed": seed}
    return journal.once(
        known_by, Trial, lambda: trial(plan, seed), lambda t: t.status not in ("failed", "interrupted")
    )


def _summed(plan: Plan, trials: Sequence[Trial]) -> Row:
    good = [t for t in trials if t.good]
    numbers = np.array([z[0] for t in good for z in t.scores.values() if len(z) == 1])
    places = [np.mean(np.abs(z) < 1.96) for t in good for z in t.scores.values() if len(z) > 1]
    wrong = [t for t in good if t.off(3)]
    return Row(
        plan.group,
        plan.what,
        plan.layout,
        plan.engine,
        len(trials),
        len(good),
        len(wrong),
        sum(t.off(4) for t in good),
        float(np.mean(np.abs(numbers) < 1.96)) if len(numbers) else math.nan,
        float(np.mean(places)) if places else math.nan,
        float(np.sqrt(np.mean(numbers**2))) if len(numbers) else math.nan,
        float(np.nanmedian([t.seconds for t in trials])),
        dict(Counter(t.status for t in trials)),
        tuple(_described(t) for t in [*wrong, *(t for t in trials if t.status in ("failed", "refused"))]),
    )


def _described(t: Trial) -> str:
    if not t.scores:
        return f"{t.question}: {t.status}, {t.message}"
    parts = [
        f"{n} {z[0]:.1f}" if len(z) == 1 else f"{n} held {np.mean(np.abs(z) < 1.96):.2f}"
        for n, z in t.scores.items()
    ]
    return f"{t.question}: {', '.join(parts)}"


def _summary(rows: Sequence[Row]) -> str:
    runs, good = sum(r.runs for r in rows), sum(r.good for r in rows)
    return (
        f"Of {runs} answers {good} were called good; {sum(r.wrong for r in rows)} of these are wrong and "
        f"{sum(r.far for r in rows)} far off."
    )


def _note(row: Row) -> str:
    return "\n".join(f"{row.engine}, {row.layout}, {row.what}: {m}" for m in row.missed[:4])


COLUMNS: dict[str, Callable[[Row], str]] = {
    "group": lambda r: r.group,
    "what": lambda r: r.what,
    "layout": lambda r: r.layout,
    "engine": lambda r: r.engine,
    "runs": lambda r: str(r.runs),
    "called good": lambda r: str(r.good),
    "wrong": lambda r: str(r.wrong),
    "far": lambda r: str(r.far),
    "held": lambda r: number(100 * r.held, ".0f"),
    "places held": lambda r: number(100 * r.fields_held, ".0f"),
    "rms score": lambda r: number(r.rms, ".2f"),
    "seconds": lambda r: number(r.seconds),
    "status": lambda r: ", ".join(f"{n} {s}" for s, n in r.statuses.items()),
}
