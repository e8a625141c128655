"""The gate on edges of unknown fields, which smooth priors blur."""

from __future__ import annotations

from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

# Log-evidence by which a prior for edges exceeds the best smooth one.
_NOTED = 8.0  # From which it is noted: of smooth fields it was at most 3.
# From which intervals may not hold: fields of two values had 10 to 17 in one dimension (90 % held), 57
# and more in two (82 to 85 % held).
_GRAVE = 30.0


def edges_blurred(problem: InverseProblem, solution: Solution) -> Status | None:
    """`misfit` where the evidence is for edges in a field that an engine takes to be smooth; else a note.

    Engines keep the evidence (`mollifier.engines.priors.varying.edge_evidence`) in ``provenance["edges"]``.
    """
    del problem
    seen = {n: gain for n, gain in solution.provenance.get("edges", {}).items() if gain > _NOTED}
    if not seen:
        return None
    return Status(
        "misfit" if max(seen.values()) > _GRAVE else "converged",
        f"the evidence is for edges in {', '.join(seen)}, which this engine blurs: the field may be off "
        "there by more than its standard errors. Engine 'joint' fits fields with edges",
    )
