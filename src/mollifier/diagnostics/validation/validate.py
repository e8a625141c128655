"""Whether an answer holds: `validate`, and the `Validation` it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from mollifier.data.interpolation import predicted
from mollifier.data.observations import Observations
from mollifier.diagnostics.validation import solved_again
from mollifier.diagnostics.validation.forward import forward
from mollifier.diagnostics.validation.forward_problem import NoForwardSolutionError, system_of
from mollifier.diagnostics.validation.verdict import (
    Judgement,
    Verdict,
    floored,
    judged,
    lacking,
    misfit,
    noise,
    places,
    shifted,
    unresolved,
    worst,
)
from mollifier.engines.gates.conditions import share_of_limit, violation
from mollifier.errors import ConfigurationError, DataError, did_you_mean
from mollifier.io.arguments import typed
from mollifier.io.files import jsonable
from mollifier.io.printed import Printed
from mollifier.mollify.arrays import Array
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import NO_ANSWER

# Statuses of an engine that speak against its answer; the others only say when it stopped.
_AGAINST = (*NO_ANSWER, "misfit", "interrupted")


@dataclass(frozen=True, eq=False)
class Validation(Printed):
    """Whether an answer holds."""

    #: "holds", "doubtful", "refuted", or "undetermined" where the data leave an unknown open.
    status: Verdict
    reasons: tuple[str, ...] = ()  #: Why it does not hold; empty where it does.
    notes: tuple[str, ...] = ()  #: What was done, and what could not be.
    #: One row a test: ``test``, ``field``, ``verdict`` and the numbers of
    #: `mollifier.diagnostics.validation.verdict.Misfit`.
    table: tuple[Mapping[str, Any], ...] = ()
    #: The equation's solution with the estimates; empty where it could not be solved.
    forward: xr.Dataset = field(default_factory=xr.Dataset)

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return self.status == "holds"

    def columns(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows of cells of a printed table."""
        heads = ["test", "field", "points", "misfit", "95 % interval", "coherent", "p white", "verdict"]
        rows = []
        for r in self.table:
            interval = "-" if r["low"] is None else f"{r['low']:.3g} to {r['high']:.3g}"
            numbers = [_cell(r[n]) for n in ("ratio", "coherent", "p_white")]
            count = "-" if r["count"] is None else str(r["count"])
            rows.append([r["test"], r["field"], count, numbers[0], interval, *numbers[1:], r["verdict"]])
        return heads, rows

    def to_dict(self) -> dict[str, Any]:
        """Everything but the forward solution, in types that JSON knows."""
        parts = ("status", "reasons", "notes", "table")
        return jsonable({n: getattr(self, n) for n in parts})

    def __str__(self) -> str:
        heads, rows = self.columns()
        widths = [max(len(r[i]) for r in [heads, *rows]) for i in range(len(heads))]
        lines = [f"Verdict   {self.status}"]
        lines += [f"Because   {r}" for r in self.reasons]
        lines += [f"Note      {n}" for n in self.notes]
        for row in [heads, *rows] if rows else []:
            lines.append("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
        return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


@typed()
def validate(
    solution: Solution,
    problem: InverseProblem | None = None,
    *,
    held_out: Observations | None = None,
    engines: Sequence[str] = (),
    radii: bool = False,
) -> Validation:
    """Solve the equation forward with the estimates, and compare with the data.

    The forward solution is refined until it changes by less than a tenth of the noise, and its start and
    ends are fitted to the data. It is compared with every measurement away from these; so is the engine's
    fit, over the points fitted and held out. Two sizes count where chance does not explain them: the excess
    of the mean square error over the noise, and the error that neighbours share. Beyond 0.3 of the noise's
    standard deviation an answer is doubtful, beyond all of it refuted. Where the data fit best with another
    value of an unknown, it is doubtful beyond 3 of its standard errors, refuted beyond 6. It is doubtful too
    where the engine's status is a misfit and where the equation cannot be solved forward, and undetermined
    where the status is.

    Parameters
    ----------
    solution
        The answer, of any engine.
    problem
        The question; needed where the solution lacks what the equation names, and to solve again.
    held_out
        Further measurements, which no engine has seen.
    engines, radii
        Engines to compare the answer with, as `mollifier.compare` does; whether to solve again with radii of
        0.7 and 1.4 times the kernel's.

    Raises
    ------
    ConfigurationError
        If the problem is needed and was not given, or is another one.
    DataError
        If the further measurements lack a coordinate, or hold none of the fields.

    Examples
    --------
    >>> import mollifier as mf
    >>> x, t = np.random.default_rng(0).random((2, 400))
    >>> u = np.exp(-0.5 * t) * np.sin(3 * x) + 0.02 * np.random.default_rng(1).standard_normal(400)
    >>> obs = mf.Observations(values={"u": u}, points={"x": x, "t": t}, noise={"u": np.full(400, 0.02)})
    >>> problem = mf.InverseProblem("u_t = D*u_xx", data=obs, unknowns={"D": mf.ScalarUnknown(lower=0.0)})
    >>> found = validate(mf.solve(problem, "joint"))
    >>> found.status, found.reasons
    ('holds', ())
    """
    _same_question(solution, problem, bool(engines or radii))
    findings, notes = _status(solution)
    findings += _fit_findings(solution)
    for name in solution.conditions:
        met = share_of_limit(solution, name) <= 1.0
        reason = "" if met else violation(solution, name)
        findings.append(Judgement("condition", "holds" if met else "doubtful", reason, name))
    solved = xr.Dataset()
    try:
        found = forward(solution, system_of(solution, problem))
    except NoForwardSolutionError as reason:
        findings.append(Judgement("forward solution", "doubtful", f"not solved forward: {reason}"))
    else:
        solved, notes = found.fields, [*notes, *found.notes]
        seen: list[Judgement] = []
        for name, errors in found.errors.items():
            seen += _compared("forward solution", name, errors, found.points[name])
        seen += [*(shifted(n, by) for n, by in found.shifts.items()), *lacking(found.lacking)]
        findings += seen if found.resolved else map(unresolved, seen)
    if held_out is not None:
        findings += _further(solution, solved, held_out)
    if problem is not None:
        findings += solved_again.by_radius(solution, problem) if radii else []
        findings += solved_again.by_engine(solution, problem, engines) if engines else []
    reasons = tuple(f.reason for f in findings if f.reason)
    status, table = worst(f.verdict for f in findings), tuple(f.row() for f in findings)
    return Validation(status, reasons, tuple(notes), table, solved)


def _same_question(solution: Solution, problem: InverseProblem | None, needed: bool) -> None:
    """Refuse a problem that the solution does not answer, or none where one is needed."""
    if problem is None:
        if needed:
            raise ConfigurationError(
                "To solve again, validate needs the problem: give --problem PROBLEM.yaml "
                "(validate(problem=...))."
            )
        return
    given = {"equation": [e.text for e in problem.system.equations], "unknowns": list(problem.unknowns)}
    for what, names in given.items():
        found = list(solution.provenance.get(what) or names)
        if sorted(found) != sorted(names):
            raise ConfigurationError(
                f"The problem has the {what} {', '.join(names)}, and the run has {', '.join(found)}: it is "
                "another problem. Give the problem that this run answers."
            )


def _status(solution: Solution) -> tuple[list[Judgement], list[str]]:
    """The engine's status: a finding where it speaks against the answer, a note where the run was stopped."""
    text = f"the engine ended with '{solution.status}'"
    if solution.status.name == "undetermined":
        return [Judgement("engine's status", "undetermined", solution.status.message or text)], []
    if solution.status.name in _AGAINST:
        return [Judgement("engine's status", "doubtful", text)], []
    return [], [] if solution.status.ok else [text]


def _fit_findings(solution: Solution) -> list[Judgement]:
    """The engine's fit, over the points fitted and held out."""
    found = []
    for name in solution.observed:
        over = [str(d) for d in solution.dataset[name].dims] if name in solution.dataset else []
        errors = (solution.fit[f"{name}_fitted"].values - solution.fit[name].values) / noise(solution, name)
        held = solution.fit[f"{name}_held_out"].values.astype(bool)
        for label, rows in (("fit", ~held), ("fit, held out", held)):
            rows = rows & np.isfinite(errors)
            found += _compared(label, name, errors[rows], places(solution, over)[rows])
    return found


def _compared(label: str, name: str, errors: Array, points: Array) -> list[Judgement]:
    found = misfit(errors, points)
    return [] if found is None else [judged(label, name, found)]


def _further(solution: Solution, solved: xr.Dataset, held_out: Observations) -> list[Judgement]:
    """Measurements that no engine has seen, against the forward solution, or else the states."""
    names = [f for f in solution.observed if f in held_out.variables]
    if not names:
        hint = did_you_mean(held_out.variables[0], solution.observed)
        raise DataError(f"The further measurements hold {held_out.variables}, none of the fields.{hint}")
    found = []
    for f in names:
        source = solved if f in solved else solution.dataset
        over = [str(d) for d in source[f].dims]
        samples = held_out.samples(f)
        missing = [c for c in over if c not in samples.coordinates]
        if missing:
            raise DataError(f"The further measurements of '{f}' have no coordinate {missing}.")
        points = samples.over(over)
        errors = (predicted(source[f], points) - samples.values) / floored(samples.sd, samples.values)
        inside = np.isfinite(errors)
        found += _compared("further data", f, errors[inside], points[inside])
    return found
