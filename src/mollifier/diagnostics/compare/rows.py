"""What one engine made of a problem: its numbers and fields, and its misfit on data kept from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mollifier.data import interpolation
from mollifier.data.observations import Observations
from mollifier.diagnostics.compare.children import Outcome
from mollifier.mollify.arrays import Array, rms
from mollifier.problem.estimate import Estimate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution


@dataclass(frozen=True)
class Row:
    """What one engine made of the problem."""

    engine: str  #: Its name.
    #: As in `Status`; "refused" where the engine cannot serve the problem, "failed" where it broke down,
    #: "interrupted" where it was not let finish.
    status: str
    message: str = ""  #: What the status means, or the reason.
    estimates: Mapping[str, Estimate] = field(default_factory=dict)  #: Scalar unknown -> `Estimate`.
    #: Unknown field -> its least and greatest value and the rms of its standard error ("low", "high", "sd").
    fields: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    #: Field -> rms of (predicted - measured)/sd over the held-out samples; about 1 is what noise leaves. None
    #: where none was held out or the data have no noise.
    misfit: Mapping[str, float | None] = field(default_factory=dict)
    seconds: float | None = None  #: Wall clock of the solve alone.
    #: MiB that the solve took at most; None where it ran in the calling process. See
    #: `mollifier.diagnostics.compare.children.with_peak`.
    memory: float | None = None

    def flat(self) -> dict[str, Any]:
        """One level of columns, for a table."""
        row: dict[str, Any] = {"engine": self.engine, "status": self.status}
        for n, e in self.estimates.items():
            row |= {n: e.value, f"{n}_sd": e.sd, f"{n}_unit": e.unit}
        for n, f in self.fields.items():
            row |= {f"{n}_low": f["low"], f"{n}_high": f["high"], f"{n}_rms_sd": f["sd"]}
        row |= {f"misfit_{n}_held_out": m for n, m in self.misfit.items()}
        return row | {"seconds": self.seconds, "memory_mib": self.memory, "message": self.message}


def row_of(name: str, outcome: Outcome, problem: InverseProblem, held: Observations | None) -> Row:
    """What came of an engine on the data of ``problem``, its prediction judged on those held out, if any."""
    solution = outcome.solution
    if solution is None:
        return Row(name, outcome.status, outcome.message, seconds=outcome.seconds, memory=outcome.memory)
    misfit = {f: None if held is None else _misfit(solution, problem, held, f) for f in problem.fields}
    return Row(
        name,
        solution.status.name,
        solution.status.message,
        dict(solution.estimates),
        {n: _extent(solution, n) for n in problem.unknown_fields if n in solution.dataset},
        misfit,
        outcome.seconds,
        outcome.memory,
    )


def _extent(solution: Solution, name: str) -> dict[str, float | None]:
    def finite(variable: str) -> Array:
        values = solution.dataset[variable].values if variable in solution.dataset else np.empty(0)
        return values[np.isfinite(values)]

    values, sd = finite(name), finite(f"{name}_sd")
    return {
        "low": float(values.min()) if values.size else None,
        "high": float(values.max()) if values.size else None,
        "sd": rms(sd) if sd.size else None,
    }


def _misfit(solution: Solution, problem: InverseProblem, held: Observations, name: str) -> float | None:
    """Rms of (predicted - measured)/sd over the held-out samples that lie within the solution's grid."""
    if not was_split(problem, held, name):
        return None
    samples = held.samples(name)
    found = predicted(solution, problem, name, samples.points)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (found - samples.values) / samples.sd
    return rms(z) if np.isfinite(z).any() else None


def was_split(problem: InverseProblem, held: Observations, name: str) -> bool:
    """Whether samples of a field were held out; one on fewer coordinates than the rest is whole in both."""
    given, kept = problem.data.dataset[name].values, held.dataset[name].values
    return bool(np.isfinite(kept).any()) and not np.array_equal(given, kept, equal_nan=True)


def predicted(solution: Solution, problem: InverseProblem, name: str, points: Array) -> Array:
    """A solution's state field at points of shape (n, d), by cubic interpolation of its nodes.

    The columns of ``points`` are the field's coordinates in the order of the data. NaN, shape (n,), beyond
    the ends of the grid (axes that wrap have none), and everywhere if the field is missing or not finite.
    """
    if name not in solution.dataset or not np.isfinite(solution.dataset[name].values).all():
        return np.full(len(points), np.nan)
    return interpolation.predicted(
        solution.dataset[name].transpose(*problem.data.coordinates_of(name)), points
    )
