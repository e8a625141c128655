"""Noise that grows with the value, as the residuals of a fit show it.

An estimate of the noise from the data alone is that of one size. Of counts, or of errors in proportion to the
value, it is the size where most values lie: the largest values then count too much, and a right answer looks
like a misfit. The residuals show how the noise grows, and samples are weighed accordingly (two-step weighted
least squares: Carroll and Ruppert, Transformation and Weighting in Regression, 1988).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mollifier.data.neighbours import neighbour_correlation
from mollifier.data.noise_structure import growth
from mollifier.mollify.arrays import Array
from mollifier.mollify.distributions import normal_tail, ranks
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import SETTLED


@dataclass(frozen=True)
class GrowthTuning:
    """When samples are weighed by the noise that the residuals show."""

    #: Level of the test, and least number of samples. Chosen on a chemostat, of which one state had 5e-4 with
    #: 45 samples; how often white noise is weighed was not measured.
    level: float = 5e-3
    fewest: int = 30
    factor: float = 2.0  #: Largest over smallest standard error from which weights matter.
    white: float = 1e-4  #: Chance of a correlation of neighbours below which residuals are no noise.
    least: float = 0.05  #: Share of the rms that a value counts as at least: values near zero are not exact.
    clip: float = 16.0  #: Squared residuals are cut at so many times their mean.
    #: Times that the weights are found, and their relative change from which once more.
    rounds: int = 3
    change: float = 0.1


DEFAULT = GrowthTuning()


@dataclass(frozen=True)
class Growth:
    """Standard error of a sample of a value u: the root of floor^2 + (share*u)^2."""

    floor: float  #: Of a value of zero, in the unit of the field.
    share: float  #: Of the value.

    def sd(self, level: Array) -> Array:
        """At values (n,)."""
        return np.hypot(self.floor, self.share * level)

    def near(self, other: Growth | None, by: float) -> bool:
        """Whether another one differs by no more than a share of it."""
        if other is None:
            return False
        return abs(other.share - self.share) <= by * self.share


def growing(problem: InverseProblem, solution: Solution, tuning: GrowthTuning = DEFAULT) -> dict[str, Growth]:
    """Fields whose noise was estimated and grows with the value, by the residuals of a fit.

    Residuals that neighbours share are no noise, and change nothing; nor do those of damaged values.
    """
    if solution.status.name not in SETTLED or problem.data.damage:
        return {}
    estimated = [f for f in problem.fields if problem.data.noise_source(f) == "estimated"]
    found = {f: _growth(problem, solution, f, tuning) for f in estimated if not problem.data.noise_effects(f)}
    return {f: seen for f, seen in found.items() if seen is not None}


def _growth(problem: InverseProblem, solution: Solution, field: str, tuning: GrowthTuning) -> Growth | None:
    points, errors, level = _residuals(problem, solution, field)
    level = _floored(level, tuning)
    if errors.size < tuning.fewest or not errors.any():
        return None
    squares = errors**2
    correlation = float(np.corrcoef(ranks(squares), ranks(level))[0, 1])
    if not normal_tail(correlation * np.sqrt(errors.size)) < tuning.level:
        return None
    floor, slope = growth(np.minimum(squares, tuning.clip * np.mean(squares)), level**2)
    seen = Growth(float(np.sqrt(floor)), float(np.sqrt(slope)))
    sd = seen.sd(level)
    if not sd.max() > tuning.factor * sd.min() > 0:
        return None
    chance = neighbour_correlation(errors / sd, points)[1]
    return None if chance is not None and chance < tuning.white else seen


def weighed(
    problem: InverseProblem, solution: Solution, found: Mapping[str, Growth], tuning: GrowthTuning = DEFAULT
) -> InverseProblem:
    """The problem with the standard errors of its samples as the residuals of a fit show them."""
    errors = {}
    for f, seen in found.items():
        fit, samples = solution.fit, problem.data.samples(f)
        there = np.isfinite(fit[f].values)
        rows = np.column_stack([*(fit[c].values for c in samples.coordinates), fit[f].values])[there]
        level = np.empty(len(samples.values))
        of_samples = np.lexsort(np.column_stack([samples.points, samples.values]).T)
        level[of_samples] = fit[f"{f}_fitted"].values[there][np.lexsort(rows.T)]
        errors[f] = seen.sd(_floored(np.abs(level), tuning))
    return replace(problem, data=problem.data.weighed(errors))


def _residuals(problem: InverseProblem, solution: Solution, field: str) -> tuple[Array, Array, Array]:
    """Places (n, d), residuals (n,) and sizes of the fitted values (n,)."""
    fit = solution.fit
    errors = fit[f"{field}_fitted"].values - fit[field].values
    there = np.isfinite(errors)
    points = np.column_stack([fit[c].values for c in problem.data.coordinates_of(field)])
    return points[there], errors[there], np.abs(fit[f"{field}_fitted"].values)[there]


def _floored(level: Array, tuning: GrowthTuning) -> Array:
    return np.maximum(level, tuning.least * float(np.sqrt(np.mean(level**2))) if level.size else 0.0)
