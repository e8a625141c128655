"""Noise that grows with the value, as the residuals of a fit show it.

An estimate of the noise from the data alone is that of one size. Of counts, or of errors in proportion to the
value, it is the size where most values lie: the largest values then count too much, and a right answer looks
like a misfit. The residuals show how the noise grows, and samples are weighed accordingly (two-step weighted
least squares: Carroll and Ruppert, Transformation and Weighting in Regression, 1988).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mollifier.data.effects import overlap
from mollifier.data.neighbours import neighbour_correlation
from mollifier.data.noise import line_windows
from mollifier.data.noise_structure import MISTAKEN, growth
from mollifier.mollify.arrays import Array, Mask
from mollifier.mollify.distributions import normal_tail, ranks
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import SETTLED

# Level of the test, and least number of samples. Chosen on a chemostat, of which one state had 5e-4 with
# 45 samples; white noise was weighed in none of 57 other answers (docs: trust).
_LEVEL = 5e-3
_FEWEST = 30
_FACTOR = 2.0  # Largest over smallest standard error from which weights matter.
_WHITE = 1e-4  # Chance of a correlation of neighbours below which residuals are no noise.
_DIFFERENCE = 3  # Order of differences that leave of residuals what neighbours do not share.
# Share of their variance that differences of one order more must have: it is that of noise, not of waves.
_FLAT = 0.8
_LEAST_LEVEL = 0.05  # Share of the rms that a value counts as at least: values near zero are not exact.
_CLIP = 16.0  # Squared residuals are cut at so many times their mean.
#: Times that the weights are found, and their relative change from which once more.
ROUNDS = 3
CHANGE = 0.1


@dataclass(frozen=True)
class Growth:
    """Standard error of a sample of a value u: the root of floor^2 + (share*u)^2."""

    floor: float  #: Of a value of zero, in the unit of the field.
    share: float  #: Of the value.

    def sd(self, level: Array) -> Array:
        """Standard errors (n,) of samples of values (n,), in the unit of the field."""
        return np.hypot(self.floor, self.share * level)

    def near(self, other: Growth | None, by: float) -> bool:
        """Whether another one differs by no more than a share of it."""
        if other is None:
            return False
        return abs(other.share - self.share) <= by * self.share


def growing(problem: InverseProblem, solution: Solution) -> dict[str, Growth]:
    """Fields whose noise was estimated and grows with the value, by the residuals of a fit.

    What neighbours share of the residuals is no noise: differences of neighbours are without it. Residuals of
    damaged values change nothing. An `undetermined` answer may be so for the wrong weights alone.
    """
    damage = [d for d in problem.data.damage if d.kind != "limit"]
    if solution.status.name not in (*SETTLED, "undetermined") or damage:
        return {}
    estimated = [f for f in problem.fields if problem.data.noise_source(f) == "estimated"]
    found = {
        f: _growth(*_residuals(solution, f, problem.data.coordinates_of(f)))
        for f in estimated
        if not problem.data.noise_effects(f)
    }
    return {f: seen for f, seen in found.items() if seen is not None}


def _growth(points: Array, errors: Array, level: Array) -> Growth | None:
    level = _floored(level)
    seen = _seen(errors, level, errors.size)
    if _white(errors / (seen.sd(level) if seen else 1.0), points):
        return seen
    for axis in range(points.shape[1]):
        apart, around, there = _differences(points, errors, level, axis, _DIFFERENCE)
        seen = _seen(apart, around, apart.size / overlap(_DIFFERENCE))
        if seen is None or not _white(apart / seen.sd(around), there):
            continue
        further = _differences(points, errors, level, axis, _DIFFERENCE + 1)[0]
        if np.mean(further**2) > _FLAT * np.mean(apart**2):
            return seen
    return None


def _differences(
    points: Array, errors: Array, level: Array, axis: int, order: int
) -> tuple[Array, Array, Array]:
    """Differences (m,) of errors in a row along an axis, the level there, and places (m, d)."""
    index, weights = line_windows(points, axis, order)
    around = np.sqrt(np.sum((weights * level[index]) ** 2, axis=1))
    return np.sum(weights * errors[index], axis=1), around, points[index].mean(axis=1)


def _seen(errors: Array, level: Array, count: float) -> Growth | None:
    """How errors (n,), of which ``count`` are independent, grow with the level (n,); None if they do not."""
    if count < _FEWEST or not errors.any() or not np.ptp(level):
        return None
    squares = errors**2
    correlation = float(np.corrcoef(ranks(squares), ranks(level))[0, 1])
    if not normal_tail(correlation * np.sqrt(count)) < _LEVEL:
        return None
    floor, slope = growth(np.minimum(squares, _CLIP * np.mean(squares)), level**2)
    seen = Growth(float(np.sqrt(floor)), float(np.sqrt(slope)))
    sd = seen.sd(level)
    return seen if sd.max() > _FACTOR * sd.min() > 0 else None


def _white(z: Array, points: Array) -> bool:
    """Whether neighbours share nothing of standardised residuals: an equation that is wrong leaves waves."""
    chance = neighbour_correlation(z, points)[1]
    return chance is None or chance > _WHITE


def noise_of(solution: Solution, field: str) -> Array:
    """Standard errors of the samples of a field, shape (observations,), for whoever judges an answer.

    They are those of the table of the fit. Where the noise was estimated and residuals are white, they are
    larger by the rms of the standardised residuals, up to a factor of three, beyond which the equation is in
    doubt. A fit that follows the noise leaves less of it: they are never smaller.
    """
    fit = solution.fit
    sd = fit[f"{field}_sd"].values
    if solution.provenance.get("noise_source", {}).get(field) != "estimated":
        return sd
    over = [str(c) for c in fit.coords if np.isfinite(fit[c].values).any()]
    points, errors, _ = _residuals(solution, field, over)
    z = errors / sd[_there(solution, field)]
    times = float(np.sqrt(np.mean(z**2))) if z.size and np.isfinite(z).all() else 1.0
    return sd * times if 1.0 < times < MISTAKEN and _white(z, points) else sd


def weighed(problem: InverseProblem, solution: Solution, found: Mapping[str, Growth]) -> InverseProblem:
    """The problem with the standard errors of its samples as the residuals of a fit show them."""
    errors = {}
    for f, seen in found.items():
        fit, samples = solution.fit, problem.data.samples(f)
        there = np.isfinite(fit[f].values)
        rows = np.column_stack([*(fit[c].values for c in samples.coordinates), fit[f].values])[there]
        level = np.empty(len(samples.values))
        of_samples = np.lexsort(np.column_stack([samples.points, samples.values]).T)
        level[of_samples] = fit[f"{f}_fitted"].values[there][np.lexsort(rows.T)]
        errors[f] = seen.sd(_floored(np.abs(level)))
    return replace(problem, data=problem.data.weighed(errors))


def _there(solution: Solution, field: str) -> Mask:
    return np.isfinite(solution.fit[f"{field}_fitted"].values - solution.fit[field].values)


def _residuals(solution: Solution, field: str, over: Sequence[str]) -> tuple[Array, Array, Array]:
    """Places (n, d), residuals (n,) and sizes of the fitted values (n,)."""
    fit, there = solution.fit, _there(solution, field)
    fitted = fit[f"{field}_fitted"].values[there]
    points = np.column_stack([fit[c].values[there] for c in over])
    return points, fitted - fit[field].values[there], np.abs(fitted)


def _floored(level: Array) -> Array:
    return np.maximum(level, _LEAST_LEVEL * float(np.sqrt(np.mean(level**2))) if level.size else 0.0)
