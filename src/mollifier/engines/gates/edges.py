"""The gate on edges of unknown fields, which smooth priors blur."""

from __future__ import annotations

from dataclasses import dataclass

from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


@dataclass(frozen=True)
class EdgeTuning:
    """Log-evidence by which a prior for edges exceeds the best smooth one."""

    noted: float = 8.0  #: From which it is noted: of smooth fields it was at most 3.
    #: From which intervals may not hold: fields of two values had 10 to 17 in one dimension (90 % held), 57
    #: and more in two (82 to 85 % held).
    grave: float = 30.0


DEFAULT = EdgeTuning()


def edges_blurred(problem: InverseProblem, solution: Solution) -> Status | None:
    """`misfit` where the evidence is for edges in a field that an engine takes to be smooth; else a note.

    Engines keep the evidence (`mollifier.engines.priors.varying.edge_evidence`) in ``provenance["edges"]``.
    """
    del problem
    seen = {n: gain for n, gain in solution.provenance.get("edges", {}).items() if gain > DEFAULT.noted}
    if not seen:
        return None
    return Status(
        "misfit" if max(seen.values()) > DEFAULT.grave else "converged",
        f"the evidence is for edges in {', '.join(seen)}, which this engine blurs: the field may be off "
        "there by more than its standard errors. Engine 'joint' fits fields with edges",
    )
