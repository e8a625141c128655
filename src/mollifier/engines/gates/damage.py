"""A gate: values that are no measurements were fitted."""

from __future__ import annotations

import numpy as np

from mollifier.data.damage import Damage
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

# Increase of the mean squared misfit, in the variance of the noise, up to which damaged values move no
# estimate by more than a part of its standard error.
_EXCESS = 0.1
# Share of the squares of damaged values that the fit may leave, if it takes them for a part of the field.
_FITTED = 0.25


def damaged(problem: InverseProblem, solution: Solution) -> Status | None:
    """`misfit` where damaged values were fitted as if they were measurements, and the fit departs from them.

    A robust likelihood leaves them out. Values at a limit of the instrument are noted: their size is unknown.
    """
    settings = solution.provenance.get("settings", {})
    if settings.get("training", {}).get("likelihood", "normal") != "normal":
        return None
    found, noted = [], []
    data = problem.data.part
    for d in data.damage:
        if d.variable not in problem.fields:
            continue
        if d.kind == "limit":
            noted.append(d.text)
            continue
        values = data.dataset[d.variable].values
        least = _EXCESS * np.isfinite(values).sum() * data.noise_sd(d.variable) ** 2
        fitted = solution.status.ok and _left(solution, d) < _FITTED * d.squares
        if d.squares > least and not fitted:
            found.append(d.text)
    if not found and not noted:
        return None
    if not found:
        advice = "see whether the answer stays the same without them (--mask-outliers)"
        return Status("converged", f"{'; '.join(noted)}: {advice}")
    return Status(
        "misfit",
        f"{'; '.join(found + noted)}: these are no measurements of the field, and were fitted as such. Leave "
        "them out with --mask-outliers (data.mask_outliers() in Python), or set training.likelihood: student",
    )


def _left(solution: Solution, damage: Damage) -> float:
    """The squares of damaged values that the fit leaves: its largest; infinite where there is no fit."""
    fit, field = solution.fit, damage.variable
    if field not in fit or solution.provenance.get("engine") == "weak":  # which only smooths the data
        return np.inf
    squares = np.sort(np.square((fit[field] - fit[f"{field}_fitted"]).values))
    return float(squares[np.isfinite(squares)][-int(damage.mask.sum()) :].sum())
