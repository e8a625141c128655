"""Tests that every answer passes before it is called converged, whichever engine found it.

A gate reads a finished solution and its problem and returns a graver status, or None. Gates see what all
engines return: the estimates, the fields, and the table of the fit. What only one engine knows, such as its
weak residuals, is judged by that engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mollifier.engines.held_out_gate import held_out_misfit
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

Gate = Callable[[InverseProblem, Solution], Status | None]

GATES: Sequence[Gate] = (held_out_misfit,)
"""In order: the first that objects gives the status."""


def gated(problem: InverseProblem, solution: Solution, gates: Sequence[Gate] | None = None) -> Status:
    """The status of a solution after all gates; one that is not `converged` already stays as it is.

    Parameters
    ----------
    problem, solution
        The question and an engine's answer.
    gates
        By default `GATES`.
    """
    if not solution.status.ok:
        return solution.status
    found = (gate(problem, solution) for gate in (GATES if gates is None else gates))
    return next((status for status in found if status is not None), solution.status)
