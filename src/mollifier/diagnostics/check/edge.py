"""Whether the data can show the place of an edge."""

from __future__ import annotations

from mollifier.diagnostics.check.findings import Finding, about
from mollifier.engines.joint.tuning import JointTuning
from mollifier.equations.moving import moving_edge
from mollifier.errors import MollifierError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.split import Split, search_range

info, warn, error = about("identifiability")


def given(problem: InverseProblem) -> tuple[list[Finding], InverseProblem]:
    """What is said of an edge of unknown place, and the problem with it in the middle of its range.

    A problem without such an edge, or whose edge has no place, is returned as it is.
    """
    edge = moving_edge(problem.system)
    if edge is None:
        return [], problem
    try:
        low, high = search_range(problem, edge)
        posed = Split(problem, edge, (low + high) / 2).posed()
    except MollifierError as why:
        return [error(str(why))], problem
    most = JointTuning().edge_most
    text = (
        f"{edge.number} is the place of an edge along {edge.coordinate}: it is sought from {low:.4g} to "
        f"{high:.4g} by up to {most} solves. Whether what jumps there differs on both sides by more than the "
        f"noise hides is known once they are done. What follows holds if it is at {(low + high) / 2:.4g}."
    )
    return [info(text)], posed
