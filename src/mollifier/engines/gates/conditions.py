"""The gate on conditions: whether the answer meets them."""

from __future__ import annotations

from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

#: Rms residual from which a condition is not met: of an exact one over the rms of its terms, of one with a
#: standard error over that.
EXACT, NOISY = 0.05, 3.0


def conditions_met(problem: InverseProblem, solution: Solution) -> Status | None:
    """`misfit` where a condition is not met; the worst is named."""
    del problem
    size, name = max(((share_of_limit(solution, n), n) for n in solution.conditions), default=(0.0, ""))
    if not size > 1.0:
        return None
    return Status("misfit", violation(solution, name))


def share_of_limit(solution: Solution, name: str) -> float:
    """Rms residual of a condition, over the largest that counts as met."""
    return solution.condition_residuals[name] / (NOISY if solution.dataset[name].attrs["noise"] else EXACT)


def violation(solution: Solution, name: str) -> str:
    """What a condition leaves, in words."""
    attrs = solution.dataset[name].attrs
    unit = "its standard error" if attrs["noise"] else "the rms of its terms"
    residual = solution.condition_residuals[name]
    return (
        f"the condition '{attrs['equation']}' is not met: its rms residual is {residual:.2g} "
        f"times {unit}; it contradicts the data, the equations or another condition"
    )
