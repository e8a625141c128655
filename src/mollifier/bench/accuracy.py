"""Errors, coverage of the intervals and seconds of the engines on the benchmark cases, over noise seeds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mollifier.bench.cases import Case
from mollifier.engines import solve
from mollifier.errors import MollifierError
from mollifier.solution import Solution

Array = NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.95)
# Points of a field at which intervals are looked at.
_POINTS = 4096


@dataclass(frozen=True)
class Row:
    """One engine on one case at one noise, over seeds.

    Attributes
    ----------
    case, engine, noise, seeds
        What was run; noise is sigma / rms(u).
    errors
        Unknown -> median over the seeds of the relative error (a number) or the relative L2 (a field).
    worst
        Median over the seeds of the largest of these errors.
    coverage
        Unknown -> share of the intervals of each of `LEVELS` that hold the truth: over seeds, and for a
        field over its points too.
    seconds
        Median.
    statuses
        Status -> how often.
    """

    case: str
    engine: str
    noise: float
    seeds: int
    errors: dict[str, float]
    worst: float
    coverage: dict[str, list[float]]
    seconds: float
    statuses: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure(
    case: Case,
    noise: float | None,
    engine: str = "auto",
    seeds: Iterable[int] = range(20),
    settings: Any = None,
    points: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Row:
    """Solve a case with fresh noise for every seed; the noise level is never given away.

    Parameters
    ----------
    noise
        sigma / rms(u); the case's own where None.
    points
        So many scattered readings; all the data by default.

    Examples
    --------
    >>> from mollifier.bench.cases import case
    >>> row = measure(case("reaction_rate"), 0.01, "joint", seeds=range(2))
    >>> row.seeds, sorted(row.errors), row.worst < 0.2
    (2, ['k'], True)
    """
    errors: dict[str, list[float]] = {}
    hits: dict[str, list[Array]] = {}
    seconds, statuses = [], Counter()
    count = 0
    for seed in seeds:
        count += 1
        problem = case.problem(noise, seed, points)
        begun = time.perf_counter()
        try:
            solution = solve(problem, engine, seed=seed, settings=settings)
        except MollifierError as error:
            statuses[type(error).__name__] += 1
            continue
        seconds.append(time.perf_counter() - begun)
        statuses[solution.status.name] += 1
        for n, e in case.errors(solution).items():
            errors.setdefault(n, []).append(e)
        for n, inside in covered(case, solution).items():
            hits.setdefault(n, []).append(inside)
        if progress is not None:
            progress(f"{case.name}, {engine}, noise {noise}, seed {seed}: {case.errors(solution)}")
    largest = np.max(list(errors.values()), axis=0) if errors else [np.nan]
    return Row(
        case.name,
        engine,
        float("nan") if noise is None else noise,
        count,
        {n: float(np.median(e)) for n, e in errors.items()},
        float(np.median(largest)),
        {n: np.mean(h, axis=0).tolist() for n, h in hits.items()},
        float(np.median(seconds)) if seconds else float("nan"),
        dict(statuses),
    )


def covered(case: Case, solution: Solution) -> dict[str, Array]:
    """Unknown -> share of places where the interval of each of `LEVELS` holds the truth, shape (3,).

    Unknowns without a standard error are left out.
    """
    half = np.array([NormalDist().inv_cdf(0.5 + level / 2) for level in LEVELS])
    found: dict[str, Array] = {}
    for n, exact in case.scalars.items():
        estimate = solution.estimates.get(n)
        if estimate is not None and estimate.sd is not None:
            found[n] = (abs(estimate.value - exact) <= half * estimate.sd).astype(float)
    for name, exact in case.true_fields.items():
        n = str(name)
        if f"{n}_sd" not in solution.dataset:
            continue
        step = max(int((exact.size / _POINTS) ** (1 / max(exact.ndim, 1))), 1)
        exact = exact[{d: slice(None, None, step) for d in exact.dims}]
        places = {d: exact[d].clip(solution.dataset[d].min(), solution.dataset[d].max()) for d in exact.dims}
        value, sd = (solution.dataset[v].interp(places).transpose(*exact.dims).values for v in (n, f"{n}_sd"))
        z = np.abs(value - exact.values) / sd
        found[n] = np.array([float(np.mean(z <= h)) for h in half])
    return found


def to_markdown(rows: Sequence[Row]) -> str:
    """A table with one line a row."""
    titles = ["case", "noise", "engine", "median errors", "worst", "coverage of 50 / 80 / 95 %"]
    titles += ["seconds", "seeds", "status"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for r in rows:
        errors = ", ".join(f"{n} {e:.2g}" for n, e in r.errors.items())
        coverage = ", ".join(f"{n} " + " / ".join(f"{100 * c:.0f}" for c in v) for n, v in r.coverage.items())
        status = ", ".join(f"{n} {s}" for s, n in r.statuses.items())
        noise = "own" if np.isnan(r.noise) else f"{100 * r.noise:g} %"
        cells = [
            r.case,
            noise,
            r.engine,
            errors,
            f"{r.worst:.2g}",
            coverage,
            f"{r.seconds:.2f}",
            r.seeds,
            status,
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
