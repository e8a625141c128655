"""The tables of the paper's problems."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.accuracy import median
from benchmarks.paper.classic import classic
from benchmarks.paper.problems import PROBLEMS
from benchmarks.paper.trial import BY_NETWORK, Plan, Trial
from benchmarks.table import Table, number, percent

# Relative L2 errors of the unknown, of which the table says when they were reached.
MARKS = (0.1, 0.05, 0.02)
_SCORES = ("correlation", "relative_l2", "interior", "boundary")
CAPTION = (
    "Bhartari, Vinayak and Shenoy's three problems (arXiv:2505.11682). Each answer in its own process; "
    "networks are stopped after the same number of seconds. Noise is sigma / rms(u), not given "
    "to the method. Medians over the seeds of noise and weights: correlation and relative L2 error of the "
    "unknown field; worst seed; "
    "interior and boundary (the outer tenth) apart; seconds in all, of a step of the last optimiser (ten "
    "iterations of L-BFGS make a step), and until the error stays below a mark, first guess and compilation "
    "included; highest resident memory above that at the start. 'x nested': seconds that nested autodiff "
    "took for its final error over those that this method took to that error, same network; 0 where it never "
    "came there."
)
DERIVATIVES = (
    "Correlation, and relative L2 error, of derivatives of the state against the truth, medians over the "
    "seeds. Finite differences and Savitzky-Golay filters work on the data alone, with the window and degree "
    "that the truth calls best, which nobody has in practice."
)


@dataclass(frozen=True)
class Row:
    """One method on one problem at one noise, over seeds.

    Attributes
    ----------
    problem, noise, network, method, seeds
        What was run.
    correlation, relative_l2, interior, boundary
        Of the unknown field: medians.
    worst
        The largest relative L2 over the seeds; infinite where one has no answer.
    seconds, step_s, memory_mib
        Medians.
    reached
        Relative L2 -> median of the seconds until it was reached.
    times_nested
        Median of the seconds of nested autodiff over those to its final error.
    statuses
        Status -> how often.
    message
        Why the first of those without an answer has none.
    """

    problem: str
    noise: float
    network: str
    method: str
    seeds: int
    correlation: float
    relative_l2: float
    interior: float
    boundary: float
    worst: float
    seconds: float
    step_s: float
    memory_mib: float
    reached: dict[float, float]
    times_nested: float
    statuses: dict[str, int]
    message: str = ""


@dataclass(frozen=True)
class DerivativeRow:
    """One derivative by one method on one problem at one noise, over seeds; errors are medians."""

    problem: str
    noise: float
    derivative: str
    network: str
    method: str
    correlation: float
    relative_l2: float
    interior: float
    boundary: float


def unknown_table(tried: Mapping[Plan, Trial], about: Mapping[str, Any], interrupted: bool) -> Table:
    """How well, how fast and in how much memory the unknown field was found."""
    rows = []
    for plans in _grouped(tried):
        trials = [tried[p] for p in plans]
        scores = [s for t in trials for s in t.unknowns.values()]
        first = plans[0]
        rows.append(
            Row(
                problem=first.problem,
                noise=first.noise,
                network=first.network,
                method=first.method,
                seeds=len(plans),
                **{n: median(s[n] for s in scores) for n in _SCORES},
                worst=max(t.relative_l2 for t in trials),
                seconds=median(t.seconds for t in trials),
                step_s=median(t.step_s for t in trials),
                memory_mib=median(math.nan if t.memory is None else t.memory for t in trials),
                reached={m: median(t.reached(m) for t in trials) for m in MARKS},
                times_nested=median(_times_nested(p, tried) for p in plans),
                statuses=dict(Counter(t.status for t in trials)),
                message=next((t.message for t in trials if t.message), ""),
            )
        )
    return Table("paper", tuple(rows), COLUMNS, CAPTION, about, "", interrupted, _note)


def derivative_table(tried: Mapping[Plan, Trial], about: Mapping[str, Any], interrupted: bool) -> Table:
    """How well the derivatives of the states were found, finite differences and filters beside."""
    rows = []
    for plans in _grouped(tried):
        found = [tried[p].derivatives for p in plans]
        rows += _derivative_rows(plans[0], plans[0].network, plans[0].method, found)
    for problem, noise in dict.fromkeys((p.problem, p.noise) for p in tried):
        seeds = dict.fromkeys(p.seed for p in tried if (p.problem, p.noise) == (problem, noise))
        each = [classic(problem, noise, s) for s in seeds]
        for method in each[0]:
            rows += _derivative_rows(Plan(problem, noise, 0, method), "", method, [e[method] for e in each])
    order = {n: i for i, n in enumerate(PROBLEMS)}
    rows.sort(key=lambda r: (order[r.problem], r.noise, r.derivative))
    return Table("paper-derivatives", tuple(rows), OF_DERIVATIVES, DERIVATIVES, about, "", interrupted)


def _derivative_rows(
    plan: Plan, network: str, method: str, found: Sequence[Mapping[str, Mapping[str, float]]]
) -> list[DerivativeRow]:
    names = list(dict.fromkeys(n for f in found for n in f))
    return [
        DerivativeRow(
            plan.problem,
            plan.noise,
            d,
            network,
            method,
            **{n: median(f[d][n] for f in found if d in f) for n in _SCORES},
        )
        for d in names
    ]


def _grouped(tried: Mapping[Plan, Trial]) -> list[list[Plan]]:
    """Plans that differ in the seed alone."""
    groups: dict[tuple[str, float, str, str], list[Plan]] = {}
    for p in tried:
        groups.setdefault((p.problem, p.noise, p.network, p.method), []).append(p)
    return list(groups.values())


def _times_nested(plan: Plan, tried: Mapping[Plan, Trial]) -> float:
    """Seconds of nested autodiff over those until its final error was reached; 0 where it was not."""
    if plan.method not in BY_NETWORK:
        return math.nan
    same = (t for p, t in tried.items() if p.method == "nested" and _but_method(p) == _but_method(plan))
    nested = next(same, None)
    if nested is None or not math.isfinite(nested.relative_l2) or plan.method == "nested":
        return math.nan
    return nested.seconds / tried[plan].reached(nested.relative_l2)


def _but_method(plan: Plan) -> tuple[object, ...]:
    return plan.problem, plan.noise, plan.seed, plan.network


def _note(row: Row) -> str:
    if not row.message:
        return ""
    return f"{row.problem}, {row.network or '-'}, {row.method}, {percent(row.noise)}: {row.message}"


# Head of a column of the table -> its cell.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "problem": lambda r: r.problem,
    "noise": lambda r: percent(r.noise),
    "network": lambda r: r.network or "-",
    "method": lambda r: r.method,
    "correlation": lambda r: number(r.correlation, ".4f"),
    "relative L2": lambda r: number(r.relative_l2, ".2g"),
    "worst seed": lambda r: number(r.worst, ".2g"),
    "interior / boundary": lambda r: f"{number(r.interior, '.2g')} / {number(r.boundary, '.2g')}",
    "seconds": lambda r: number(r.seconds),
    "step, ms": lambda r: number(1e3 * r.step_s),
    "s to 10 / 5 / 2 %": lambda r: " / ".join(number(s, ".2g") for s in r.reached.values()),
    "x nested": lambda r: number(r.times_nested, ".2g"),
    "MiB": lambda r: number(r.memory_mib, ".0f"),
    "status": lambda r: ", ".join(f"{n} {s}" for s, n in r.statuses.items()),
}
OF_DERIVATIVES: dict[str, Callable[[DerivativeRow], str]] = {
    "problem": lambda r: r.problem,
    "noise": lambda r: percent(r.noise),
    "derivative": lambda r: r.derivative,
    "network": lambda r: r.network or "-",
    "method": lambda r: r.method,
    "correlation": lambda r: number(r.correlation, ".4f"),
    "relative L2": lambda r: number(r.relative_l2, ".2g"),
    "interior / boundary": lambda r: f"{number(r.interior, '.2g')} / {number(r.boundary, '.2g')}",
}
