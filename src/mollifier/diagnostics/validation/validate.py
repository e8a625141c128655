"""One verb, validate, and the noun it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.data.interpolation import on_grid
from mollifier.data.observations import Observations
from mollifier.diagnostics.validation import again
from mollifier.diagnostics.validation.evidence import Misfit, misfit
from mollifier.diagnostics.validation.forward import solve_forward
from mollifier.diagnostics.validation.statement import (
    InexpressibleError,
    coefficients,
    grid_of,
    marched,
    solved_fields,
    system_of,
)
from mollifier.diagnostics.validation.verdict import Finding, judged, worst
from mollifier.equations.system import EquationSystem
from mollifier.errors import ConfigurationError, DataError, did_you_mean
from mollifier.io.files import jsonable
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import NO_ANSWER

Array = NDArray[np.float64]
Verdict = Literal["holds", "doubtful", "refuted"]

# Finer grids are tried until the forward solution changes by less than this share of the noise.
_FINE, _LEVELS = 0.1, (1, 2, 4, 8)
_MOST_NODES = {1: 801, 2: 6_000, 3: 12_000}
_MOST_NUMBERS = 4_000_000
_LEAST = 16  # nodes along each axis
# The noise is taken to be no less than this share of a field's rms: no grid is exact.
_FLOOR = 1e-3
# Of an engine's own words these speak against its answer; others only say when it stopped.
_AGAINST = (*NO_ANSWER, "misfit", "interrupted")


@dataclass(frozen=True, eq=False)
class Validation:
    """Whether an answer stands up.

    Attributes
    ----------
    status
        "holds", "doubtful" or "refuted".
    reasons
        Why it does not simply hold; empty where it does.
    notes
        What was done, and what could not be.
    table
        One row a test: ``test``, ``field``, ``count``, ``ratio`` (mean square error over the noise's
        variance) with its 95 % interval ``low`` and ``high``, ``coherent`` (rms of what neighbouring errors
        share, in units of the noise), ``p`` (chance of such a ratio from noise alone), ``p_white`` (chance of
        neighbours so much alike) and ``verdict``.
    forward
        The equation's solution with what was found; empty where it could not be solved.
    """

    status: Verdict
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    table: tuple[Mapping[str, Any], ...] = ()
    forward: xr.Dataset = field(default_factory=xr.Dataset)

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return self.status == "holds"

    def columns(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows of cells of a table for reading."""
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


def validate(
    solution: Solution,
    problem: InverseProblem | None = None,
    *,
    held_out: Observations | None = None,
    engines: Sequence[str] = (),
    radii: bool = False,
) -> Validation:
    """Solve the equation forward with what was found, hold it against the data, and say what to think of it.

    The forward solution is refined until it changes by less than a tenth of
    the noise, and compared with every measurement that does not lie on its start or ends; so is the engine's
    own fit, where it was fitted and where not. What counts is what errors have in excess of the noise and
    what neighbouring errors share, where chance does not explain it: beyond 0.4 of the noise's standard
    deviation an answer is doubtful, beyond all of it refuted; doubtful too where the engine itself says that
    there is no answer or no fit, and where the equation cannot be solved forward.

    Parameters
    ----------
    solution
        What was found.
    problem
        The question; wanted where the solution lacks what the equation needs, and to solve again.
    held_out
        Further measurements, which no engine has seen.
    engines, radii
        Engines to compare the answer with, as `mollifier.compare` does; whether to solve again with radii of
        0.7 and 1.4 times the kernel's.

    Raises
    ------
    ConfigurationError
        If the problem is wanted and was not given, or is another one.
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
    findings, notes = [*_status(solution), *_fit_findings(solution)], _unfinished(solution)
    resolved, tests, told = _forward_or_why(solution, problem)
    findings += tests
    notes += told
    if held_out is not None:
        findings += _extra(solution, resolved, held_out)
    if problem is not None:
        findings += again.by_radius(solution, problem) if radii else []
        findings += again.by_engine(solution, problem, engines) if engines else []
    reasons = tuple(f.reason for f in findings if f.reason)
    status, table = worst(f.verdict for f in findings), tuple(f.row() for f in findings)
    return Validation(status, reasons, tuple(notes), table, resolved)


def _same_question(solution: Solution, problem: InverseProblem | None, wanted: bool) -> None:
    """Refuse a problem that the solution does not answer, or none where one is wanted."""
    if problem is None:
        if wanted:
            raise ConfigurationError(
                "To solve again, validate needs the problem: give --problem PROBLEM.yaml "
                "(validate(problem=...))."
            )
        return
    asked = {
        "equation": [e.text for e in problem.system.equations],
        "unknowns": list(problem.unknowns),
    }
    for what, names in asked.items():
        found = list(solution.provenance.get(what) or names)
        if sorted(found) != sorted(names):
            raise ConfigurationError(
                f"The problem has the {what} {', '.join(names)}, and the run has {', '.join(found)}: it is "
                "another one. Give the problem that this run answers."
            )


def _forward_or_why(
    solution: Solution, problem: InverseProblem | None
) -> tuple[xr.Dataset, list[Finding], list[str]]:
    """The forward solution, its tests and notes; where there is none, a finding that says why."""
    try:
        return _forward(solution, system_of(solution, problem))
    except InexpressibleError as reason:
        said = f"not solved forward: {reason}"
        return xr.Dataset(), [Finding("forward solution", "", None, "doubtful", said)], []


def _status(solution: Solution) -> list[Finding]:
    """What the engine itself said."""
    if solution.status.name not in _AGAINST:
        return []
    return [Finding("engine's status", "", None, "doubtful", f"the engine ended with '{solution.status}'")]


def _unfinished(solution: Solution) -> list[str]:
    """A run that was stopped is judged by what it found."""
    s = solution.status
    return [] if s.ok or s.name in _AGAINST else [f"the engine ended with '{s}'"]


def _noise(solution: Solution, name: str) -> Array:
    values, sd = solution.fit[name].values, solution.fit[f"{name}_sd"].values
    rms = float(np.sqrt(np.nanmean(np.square(values))))
    return np.maximum(sd, _FLOOR * rms)


def _points(solution: Solution, over: Sequence[str]) -> Array:
    return np.stack([solution.fit[c].values.astype(float) for c in over], axis=-1)


def _fit_findings(solution: Solution) -> list[Finding]:
    """The engine's own fit, where it was fitted and where not."""
    found = []
    for name in solution.observed:
        over = [str(d) for d in solution.dataset[name].dims] if name in solution.dataset else []
        errors = (solution.fit[f"{name}_fitted"].values - solution.fit[name].values) / _noise(solution, name)
        held = solution.fit[f"{name}_held_out"].values.astype(bool)
        for label, rows in (("fit", ~held), ("fit, held out", held)):
            rows = rows & np.isfinite(errors)
            found += _compared(label, name, errors[rows], _points(solution, over)[rows])
    return found


def _compared(label: str, name: str, errors: Array, points: Array) -> list[Finding]:
    found: Misfit | None = misfit(errors, points)
    return [] if found is None else [judged(label, name, found)]


def _forward(solution: Solution, system: EquationSystem) -> tuple[xr.Dataset, list[Finding], list[str]]:
    """The forward solution on the finest grid needed, its tests, and how it was made."""
    march = marched(system)
    solved = march.fields if march is not None else solved_fields(system)
    fields = coefficients(solution, system)
    states = solution.dataset[[f for f in solution.states if f in system.names.fields]]
    missing = [f for f in solved if f not in states or not np.isfinite(states[f].values).all()]
    if missing:
        raise InexpressibleError(f"the estimated {', '.join(missing)} is not finite everywhere")
    observed = [f for f in solved if f in solution.observed]
    rows = {f: _rows(solution, states, f, system, march is not None and march.coordinate) for f in observed}
    before: dict[str, Array] | None = None
    change, found, restarts, level = np.inf, {}, 0, 0
    values: dict[str, Array] = {}
    for n in _LEVELS:
        if n < _LEVELS[-1] and n * min(states.sizes.values()) < _LEAST:
            continue
        if level and not _affordable(states, march is not None and march.coordinate, n):
            break
        found, restarts = solve_forward(states, fields, system, march, tuple(solved), n)
        level = n
        values = {f: _at(found[f], states, _points(solution, _dims(found[f]))[rows[f]]) for f in observed}
        if before is not None:
            change = max(_rms((values[f] - before[f]) / _noise(solution, f)[rows[f]]) for f in observed)
            if change < _FINE:
                break
        before = values
    notes = [f"solved forward on {' x '.join(str(s) for s in next(iter(found.values())).shape)} nodes"]
    if restarts:
        notes.append(f"the equation lets errors grow: it was started anew {restarts} times on the way")
    findings = []
    for f in observed:
        errors = (values[f] - solution.fit[f].values[rows[f]]) / _noise(solution, f)[rows[f]]
        findings += _compared("forward solution", f, errors, _points(solution, _dims(found[f]))[rows[f]])
    if not np.isfinite(change) or change > 1 / 3:
        text = f"{change:.2g} times the noise" if np.isfinite(change) else "an unknown amount"
        notes.append(f"a grid twice as fine changes the forward solution by {text}: it is hardly resolved")
    dataset = xr.Dataset(found)
    for c in dataset.coords:
        dataset[c].attrs.update(solution.dataset[c].attrs)
    return dataset, findings, notes


def _affordable(states: xr.Dataset, march: str | bool, refined: int) -> bool:
    sizes = {c: (n - 1) * refined + 1 for c, n in states.sizes.items()}
    space = [n for c, n in sizes.items() if c != march]
    nodes = float(np.prod(space))
    most = _MOST_NODES.get(len(space), _MOST_NODES[3]) * (1 if march else 4)
    return nodes <= most and float(np.prod([float(n) for n in sizes.values()])) <= _MOST_NUMBERS


def _rows(
    solution: Solution, states: xr.Dataset, name: str, system: EquationSystem, march: str | bool
) -> NDArray[np.bool_]:
    """Measurements within the grid and away from its start and ends, where the states were put in."""
    fit = solution.fit
    keep = np.isfinite(fit[name].values)
    for c in map(str, states[name].dims):
        if states[c].attrs.get("periodic"):
            continue
        x, nodes = fit[c].values.astype(float), states[c].values
        gap = float(np.max(np.diff(nodes)))
        keep &= x > nodes[0] + 0.5 * gap
        if c != march and any(d.along(c) for ds in system.derivatives.values() for d in ds):
            keep &= x < nodes[-1] - 0.5 * gap
    return keep


def _at(field: xr.DataArray, states: xr.Dataset, points: Array) -> Array:
    """A forward solution at points (n, d), cubic."""
    names = tuple(map(str, field.dims))
    for c in names:
        field[c].attrs.update(states[c].attrs)
    return on_grid(str(field.name), field.values, grid_of(field.to_dataset(name="v"), names), points, "cubic")


def _dims(field: xr.DataArray) -> list[str]:
    return [str(d) for d in field.dims]


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _extra(solution: Solution, resolved: xr.Dataset, held_out: Observations) -> list[Finding]:
    """Measurements that no engine has seen, against the forward solution, or else the states."""
    names = [f for f in solution.observed if f in held_out.variables]
    if not names:
        hint = did_you_mean(held_out.variables[0], solution.observed)
        raise DataError(f"The further measurements hold {held_out.variables}, none of the fields.{hint}")
    found = []
    for f in names:
        source = resolved if f in resolved else solution.dataset
        over = [str(d) for d in source[f].dims]
        samples = held_out.samples(f)
        missing = [c for c in over if c not in samples.coordinates]
        if missing:
            raise DataError(f"The further measurements of '{f}' have no coordinate {missing}.")
        points = samples.points[:, [samples.coordinates.index(c) for c in over]]
        low = np.array([float(source[c].values[0]) for c in over])
        high = np.array([float(source[c].values[-1]) for c in over])
        wraps = np.array([bool(source[c].attrs.get("periodic")) for c in over])
        inside = np.all(((points >= low) & (points <= high)) | wraps, axis=1)
        rms = float(np.sqrt(np.mean(samples.values**2)))
        sd = np.maximum(samples.sd, _FLOOR * rms)[inside]
        errors = (_at(source[f].copy(), solution.dataset, points[inside]) - samples.values[inside]) / sd
        found += _compared("further data", f, errors, points[inside])
    return found
