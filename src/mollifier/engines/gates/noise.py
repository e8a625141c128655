"""Whether the data's noise is what the standard errors assume."""

from __future__ import annotations

import numpy as np

from mollifier.data.effects import MEDIAN
from mollifier.data.noise_structure import MISTAKEN
from mollifier.engines.registry import solves_states
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

#: Samples below which the size of the errors is not judged, and errors over noise that are noted.
FEWEST, MORE = 20, 1.5


def noise_as_assumed(problem: InverseProblem, solution: Solution) -> Status | None:
    """A misfit where structured noise makes intervals wrong by more than about 20 %; else a note of it.

    See `mollifier.data.observations.Observations.noise_findings`.
    """
    grows = solution.provenance.get("growing_noise", {})
    notes = [
        f"{f}: the noise grows with the value (about {100 * seen['share']:.2g} % of it), and samples were "
        f"weighted so; declare it as {{{f}: {{sd: {seen['floor']:.2g}, relative: {seen['share']:.2g}}}}}"
        for f, seen in grows.items()
    ]
    found = [
        (f, finding)
        for f in problem.fields
        for finding in problem.data.noise_findings(f)
        if not (f in grows and finding.kind == "relative")
    ]
    for grave in (True, False):
        texts = [f"{f}: {finding.text}" for f, finding in found if finding.grave is grave]
        declared = [w for f, finding in found if finding.grave is grave and (w := finding.declaration(f))]
        if texts:
            advice = f"; declare it, as {declared[0]}" if declared else ""
            text = f"{', '.join(texts)}; the standard errors assume independent noise of one size{advice}"
            if grave:
                return Status("misfit", text)
            notes.append(text)
    notes += [
        text
        for f in problem.fields
        if f not in grows and (text := _more_than_estimated(problem, solution, f))
    ]
    return Status("converged", "; ".join(notes)) if notes else None


def _more_than_estimated(problem: InverseProblem, solution: Solution, field: str) -> str:
    """A note of errors of a fit that are far larger than the noise that was estimated from the data alone."""
    if not solves_states(solution) or problem.data.noise_source(field) != "estimated":
        return ""
    z = solution.scaled_errors(field)[~solution.fit[f"{field}_held_out"].values.astype(bool)]
    z = z[np.isfinite(z)]
    if len(z) < FEWEST or np.mean(z**2) < MORE**2:
        return ""
    return (
        f"{field}: the errors are {np.sqrt(np.mean(z**2)):.2g} times the noise that was estimated: it is "
        "larger in some places, or the equation lacks something; declare the noise if it is known"
    )


def residuals_as_given(problem: InverseProblem, solution: Solution) -> Status | None:
    """A misfit where residuals are several times the noise that was given: it, or the equation, is wrong.

    Their size is that of the median, which outliers do not change.
    """
    for field in solution.observed:
        if problem.data.noise_source(field) != "given" or problem.data.noise_effects(field):
            continue  # what samples share is no part of the noise of each
        squares = np.square(solution.scaled_errors(field))
        squares = squares[np.isfinite(squares)]
        times = float(np.sqrt(np.median(squares) / MEDIAN)) if squares.size else 0.0
        if times > MISTAKEN:
            return Status(
                "misfit",
                f"the residuals of {field} are {times:.2g} times the noise that was given: the noise is "
                "larger (leave it out to have it estimated), or the equation does not hold",
            )
    return None
