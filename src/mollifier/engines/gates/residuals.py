"""Whether the residuals of the measurements are independent, for engines that solve for the states.

One gain or offset for each sensor or frame and correlation along them, or along the only coordinate, are seen
in the residuals, and so are terms that the equation lacks. A fit absorbs part of the noise, which makes its
residuals slightly negatively correlated: the tests are one-sided. A cycle in time, such as weekdays, is noted
and taken away first: it is no slow change, and hardly moves what is estimated over many of its periods.
"""

from __future__ import annotations

import numpy as np

from mollifier.data.effects import Rows, Seen
from mollifier.data.noise_structure import EFFECTS, Kind, NoiseFinding
from mollifier.data.series import series
from mollifier.engines.gates.cycle import cycle
from mollifier.engines.gates.noise import FEWEST
from mollifier.engines.registry import solves_states
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
    """A misfit where residuals have something in common along a sensor or within a frame, if not declared.

    A note of a cycle in time.
    """
    if not solves_states(solution):
        return None
    notes = []
    for f in problem.fields:
        declared = {e.kind for e in problem.data.noise_effects(f)}
        note, groups = _rows(problem, solution, f)
        notes += [note] if note else []
        for group, rows in groups.items():
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
    return Status("converged", "; ".join(notes)) if notes else None


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


def _rows(problem: InverseProblem, solution: Solution, field: str) -> tuple[str, dict[str, Rows]]:
    """A note of a cycle in standardised residuals; these without it, where there are enough of either.

    By sensor in order of time, and by frame.
    """
    fit, names = solution.fit, problem.data.coordinates_of(field)
    z = solution.scaled_errors(field)
    kept = np.isfinite(z) & ~fit[f"{field}_held_out"].values.astype(bool)
    time, sensor = series({c: fit[c].values[kept] for c in names})
    if not time:
        return "", {}
    z, t = z[kept], fit[time].values[kept]
    note, found = "", cycle(t, z, sensor) if np.issubdtype(t.dtype, np.number) else None
    if found is not None:
        z = found.left
        note = (
            f"the residuals of {field} repeat every {found.period:.2g} along {time} "
            f"({100 * found.share:.0f} % of their variance), as by weekdays or mains hum, which standard "
            f"errors take for noise: give the cycle as known data in the equation, or average {field} over it"
        )
    if len(names) == 1:
        values = z[np.argsort(t)][None]
        rows = Rows(values, 0 * values, np.ones_like(values))
        return note, {_SERIES: rows} if values.size >= FEWEST else {}
    level = (fit[f"{field}_fitted"].values / fit[f"{field}_sd"].values)[kept]
    place = fit[next(c for c in names if c != time)].values[kept]
    groups = {"sensor": (sensor, t)}
    groups["frame"] = np.unique(t, return_inverse=True)[1].ravel(), place
    stacked = {n: _stacked(z, level, *group) for n, group in groups.items()}
    few = _FEWEST
    enough = {
        n: r for n, r in stacked.items() if len(r.values) >= few and r.there.sum() >= few * len(r.values)
    }
    return note, enough


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
