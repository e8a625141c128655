"""Whether the data's noise is what the standard errors assume."""

from __future__ import annotations

from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


def noise_as_assumed(problem: InverseProblem, solution: Solution) -> Status | None:
    """A misfit where structured noise makes intervals wrong by more than about 20 %; else a note of it.

    Examples
    --------
    See `mollifier.data.observations.Observations.noise_findings`.
    """
    grows = solution.provenance.get("growing_noise", {})  # its residuals are judged elsewhere
    notes = [
        f"{f}: the noise grows with the value (about {100 * seen['share']:.2g} % of it), and samples were "
        f"weighed so; to declare it: {{{f}: {{sd: {seen['floor']:.2g}, relative: {seen['share']:.2g}}}}}"
        for f, seen in grows.items()
    ]
    found = [
        (f, finding)
        for f in problem.fields
        for finding in problem.data.noise_findings(f)
        if not (f in grows and finding.kind == "relative")
    ]
    for name in (True, False):
        texts = [f"{f}: {finding.text}" for f, finding in found if finding.grave is name]
        declared = [w for f, finding in found if finding.grave is name and (w := finding.declaration(f))]
        if texts:
            advice = f"; declare it, as {declared[0]}" if declared else ""
            message = f"{', '.join(texts)}; the standard errors assume independent noise of one size{advice}"
            return Status("misfit" if name else "converged", message)
    return Status("converged", "; ".join(notes)) if notes else None
