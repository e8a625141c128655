"""Tests that every answer passes before it is called converged, whichever engine found it.

A gate reads a finished solution and its problem and returns a graver status, or None. Gates see what all
engines return: the estimates, the fields, and the table of the fit. What only one engine knows, such as its
weak residuals, is judged by that engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mollifier.engines.gates.alias import resolved_between_sensors, sampled_finely
from mollifier.engines.gates.conditions import conditions_met
from mollifier.engines.gates.damage import damaged
from mollifier.engines.gates.edges import edges_blurred
from mollifier.engines.gates.held_out import held_out_misfit
from mollifier.engines.gates.noise import noise_as_assumed, residuals_as_given
from mollifier.engines.gates.residuals import independent_residuals
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

Gate = Callable[[InverseProblem, Solution], Status | None]

#: In order: the first that objects gives the status; if none does, their notes are added to it.
GATES: Sequence[Gate] = (
    damaged,
    edges_blurred,
    conditions_met,
    held_out_misfit,
    noise_as_assumed,
    residuals_as_given,
    independent_residuals,
    sampled_finely,
    resolved_between_sensors,
)

CAUSES = GATES[:2]  #: What may be the cause of a status that is not `converged`.
OF_MISFIT = (noise_as_assumed, independent_residuals)  #: Of a `misfit` besides: engines see its size alone.


def gated(problem: InverseProblem, solution: Solution, gates: Sequence[Gate] | None = None) -> Status:
    """The status of a solution after all gates; one that is not `converged` keeps its name.

    Damaged values and edges, and of a misfit what its residuals have in common, are then named before its
    message: they may be the cause.
    """
    if not solution.status.ok:
        tests = (*CAUSES, *(OF_MISFIT if solution.status.name == "misfit" else ()))
        causes = [cause(problem, solution) for cause in tests] if gates is None else []
        text = "; ".join(s.message for s in (*causes, solution.status) if s is not None)
        return replace(solution.status, message=text)
    found = [s for gate in (GATES if gates is None else gates) if (s := gate(problem, solution)) is not None]
    for status in found:
        if not status.ok:
            return status
    notes = [s.message for s in (solution.status, *found) if s.message]
    return replace(solution.status, message="; ".join(notes))
