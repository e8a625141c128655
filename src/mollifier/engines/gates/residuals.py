"""Whether the residuals of the measurements are independent, for engines that solve for the states.

One gain or offset for each sensor or frame and correlation along them are seen in the residuals, and so are
terms that the equation lacks. A fit absorbs part of the noise, which makes residuals slightly negatively
correlated: the tests are one-sided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mollifier.data.effects import Rows, Seen
from mollifier.engines.registry import ENGINES
from mollifier.equations.names import time_coordinate
from mollifier.mollify.arrays import Array, Index
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


@dataclass(frozen=True)
class ResidualTuning:
    """Numbers that steer the tests."""

    level: float = 5e-4  #: Level of each of them.
    fewest: int = 3  #: Rows, and values in a row on average, below which nothing is tested.
    #: A structure is grave where it widens the variance of a mean over so many values by such a share.
    window: int = 10
    grave: float = 0.44


DEFAULT = ResidualTuning()


def independent_residuals(problem: InverseProblem, solution: Solution) -> Status | None:
    """A misfit where residuals have something in common along a sensor or within a frame, if not declared."""
    engine = str(solution.provenance.get("engine"))
    if engine not in ENGINES or not ENGINES[engine].solves_states:
        return None
    for f in problem.fields:
        declared = {e.kind for e in problem.data.noise_effects(f)}
        for group, rows in _rows(problem, solution, f).items():
            seen = _grave(rows, DEFAULT)
            if seen is not None and not declared & {seen.how, f"{group}_{seen.how}"}:
                what = {"gain": "gain", "offset": "offset", "correlated": "slow change"}[seen.how]
                share = f"{100 * seen.part / rows.variance:.0f} % of their variance"
                return Status(
                    "misfit",
                    f"the residuals of {f} have a common {what} in each {group} ({share}): the noise has, or "
                    "the equation lacks something; the standard errors assume independent noise",
                )
    return None


def _grave(rows: Rows, tuning: ResidualTuning) -> Seen | None:
    seen = rows.seen(tuning.level)
    count = rows.there.sum() / max(len(rows.there), 1)
    if seen is None or seen.part * min(tuning.window, count) < tuning.grave * rows.variance:
        return None
    return seen


def _rows(problem: InverseProblem, solution: Solution, field: str) -> dict[str, Rows]:
    """Standardised residuals by sensor in order of time, and by frame, where there are enough of either."""
    fit = solution.fit
    z = solution.scaled_errors(field)
    kept = np.isfinite(z) & ~fit[f"{field}_held_out"].values.astype(bool)
    names = problem.data.coordinates_of(field)
    time = time_coordinate(names)
    if not time or len(names) < 2:
        return {}
    level = (fit[f"{field}_fitted"].values / fit[f"{field}_sd"].values)[kept]
    t = fit[time].values[kept]
    place = np.stack([fit[c].values[kept] for c in names if c != time], axis=-1)
    groups = {"sensor": (np.unique(place, axis=0, return_inverse=True)[1].ravel(), t)}
    groups["frame"] = np.unique(t, return_inverse=True)[1].ravel(), place[:, 0]
    found = {n: _stacked(z[kept], level, *group) for n, group in groups.items()}
    few = DEFAULT.fewest
    return {n: r for n, r in found.items() if len(r.values) >= few and r.there.sum() >= few * len(r.values)}


def _stacked(values: Array, level: Array, group: Index, order: Array) -> Rows:
    """Values (n,) as rows, one for each group, in order."""
    by = np.lexsort((order, group))
    group = group[by]
    column = np.arange(group.size) - np.searchsorted(group, group)
    shape = int(group.max(initial=0)) + 1, int(column.max(initial=0)) + 1
    out = [np.zeros(shape) for _ in range(3)]
    for array, part in zip(out, (values[by], level[by], np.ones(group.size)), strict=True):
        array[group, column] = part
    rows, levels, there = out
    return Rows(rows, levels, there)
