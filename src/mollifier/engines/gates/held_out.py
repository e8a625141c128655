"""The gate on held-out samples: whether a fit predicts what it has not seen."""

from __future__ import annotations

import numpy as np

from mollifier.mollify.distributions import beta_upper, normal_upper
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

LEVEL = 1e-3  #: Probability of a false alarm, shared by the fields.

FEWEST = 3  #: Held-out samples of a field below which they are not judged.


def held_out_misfit(problem: InverseProblem, solution: Solution) -> Status | None:
    """`misfit` where half of a field's held-out samples are farther from the fit than noise explains.

    With right standard errors, a fit that follows each sample by a share h leaves a mean square of 1 - h, and
    1/(1 - h) at samples like them that were held out (as leave-one-out residuals; Golub, Heath and Wahba,
    Technometrics 21:215, 1979). Estimated standard errors may be too small: where an engine says how much its
    fit leaves, ``provenance["freedom"]``, the variance is that of the fitted samples, their mean square over
    1 - h. The median of the held-out errors is judged, by the distribution of an order statistic: a few
    outliers, or places beyond the fitted samples, do not move it.
    """
    for name in solution.observed:
        z, held = np.abs(solution.scaled_errors(name)), solution.fit[f"{name}_held_out"].values.astype(bool)
        seen, unseen = z[~held & np.isfinite(z)], z[held & np.isfinite(z)]
        if len(unseen) < FEWEST or not len(seen):
            continue
        left = max(float(np.mean(seen**2)), 1 / len(seen))
        squares = [1 / left, left]
        if problem.data.noise_source(name) == "estimated":
            squares.append(left / solution.provenance.get("freedom", 1.0) ** 2)
        most = expected_median(len(unseen), LEVEL / len(solution.observed)) * np.sqrt(max(squares))
        median = float(np.quantile(unseen, 0.5, method="lower"))
        if median > most:
            return Status(
                "misfit",
                f"half of the {len(unseen)} held-out samples of '{name}' are more than {median:.2g} standard "
                f"errors from the fit, which noise explains up to {most:.2g}: the fit follows the noise, or "
                "the equation is wrong. Unknowns may be off by more than their standard errors; fewer "
                "unknowns, or another engine, may help",
            )
    return None


def expected_median(count: int, level: float) -> float:
    """Lower median of the sizes of ``count`` standard normal numbers, exceeded with probability ``level``.

    >>> round(expected_median(6, 1e-3), 2), round(expected_median(10_000, 0.5), 2)
    (1.67, 0.67)
    """
    above = count // 2
    return float(normal_upper(0.5 - beta_upper(level, count - above, above + 1) / 2))
