"""Whether the residuals of the measurements are independent, for engines that solve for the states.

One gain or offset for each sensor or frame and correlation along them, or along the only coordinate, are seen
in the residuals, and so are terms that the equation lacks. A fit absorbs part of the noise, which makes its
residuals slightly negatively correlated: the tests are one-sided.
"""

from __future__ import annotations

import numpy as np

from mollifier.data.effects import Rows, Seen
from mollifier.data.noise_structure import EFFECTS, Kind, NoiseFinding
from mollifier.engines.gates.noise import FEWEST
from mollifier.engines.registry import ENGINES
from mollifier.equations.names import time_coordinate
from mollifier.mollify.arrays import Array, Index
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

_LEVEL = 5e-4  # Level of each of them.
_FEWEST = 3  # Rows, and values in a row on average, below which nothing is tested.
# A structure is grave where it widens the variance of a mean over so many values by such a share.
_WINDOW = 10
_GRAVE = 0.44
_SERIES = "series"  # residuals over one coordinate


def independent_residuals(problem: InverseProblem, solution: Solution) -> Status | None:
    """A misfit where residuals have something in common along a sensor or within a frame, if not declared."""
    engine = str(solution.provenance.get("engine"))
    if engine not in ENGINES or not ENGINES[engine].solves_states:
        return None
    for f in problem.fields:
        declared = {e.kind for e in problem.data.noise_effects(f)}
        for group, rows in _rows(problem, solution, f).items():
            seen = _grave(rows)
            if seen is not None and not declared & {seen.how, f"{group}_{seen.how}"}:
                what = {"gain": "gain", "offset": "offset", "correlated": "slow change"}[seen.how]
                share = f"{100 * seen.part / rows.variance:.0f} % of their variance"
                where = f"a common {what} in each {group}" if group != _SERIES else f"a {what}"
                return Status(
                    "misfit",
                    f"the residuals of {f} have {where} ({share}): the noise has, or the equation lacks "
                    "something; the standard errors assume independent noise. If it is the noise, declare "
                    f"it, as {_declaration(problem, solution, f, group, rows, seen)}",
                )
    return None


def _declaration(
    problem: InverseProblem, solution: Solution, field: str, group: str, rows: Rows, seen: Seen
) -> str:
    """The words of a problem file for what the residuals have in common."""
    names = problem.data.coordinates_of(field)
    time = time_coordinate(names)
    along = (
        names[0] if len(names) == 1 else time if group == "sensor" else next(c for c in names if c != time)
    )
    if seen.how == "correlated":
        step = float(np.median(np.diff(np.unique(solution.fit[along].values))))
        return NoiseFinding("correlated", 0.0, along, rows.length * step).declaration(field)
    size = seen.size
    if seen.how == "offset":  # of standardised residuals
        sd, values = solution.fit[f"{field}_sd"].values, solution.fit[field].values
        size *= float(np.nanmedian(sd) / np.sqrt(np.nanmean(values**2)))
    kind: Kind = EFFECTS[group == "sensor", seen.how]
    return NoiseFinding(kind, size).declaration(field)


def _grave(rows: Rows) -> Seen | None:
    seen = rows.seen(_LEVEL)
    count = rows.there.sum() / max(len(rows.there), 1)
    if seen is None or seen.part * min(_WINDOW, count) < _GRAVE * rows.variance:
        return None
    return seen


def _rows(problem: InverseProblem, solution: Solution, field: str) -> dict[str, Rows]:
    """Standardised residuals by sensor in order of time, and by frame, where there are enough of either."""
    fit = solution.fit
    z = solution.scaled_errors(field)
    kept = np.isfinite(z) & ~fit[f"{field}_held_out"].values.astype(bool)
    names = problem.data.coordinates_of(field)
    time = time_coordinate(names)
    if len(names) == 1:
        order = np.argsort(fit[names[0]].values[kept])
        series = z[kept][order][None]
        return {_SERIES: Rows(series, 0 * series, np.ones_like(series))} if series.size >= FEWEST else {}
    if not time:
        return {}
    level = (fit[f"{field}_fitted"].values / fit[f"{field}_sd"].values)[kept]
    t = fit[time].values[kept]
    place = np.stack([fit[c].values[kept] for c in names if c != time], axis=-1)
    groups = {"sensor": (np.unique(place, axis=0, return_inverse=True)[1].ravel(), t)}
    groups["frame"] = np.unique(t, return_inverse=True)[1].ravel(), place[:, 0]
    found = {n: _stacked(z[kept], level, *group) for n, group in groups.items()}
    few = _FEWEST
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
