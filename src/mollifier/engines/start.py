"""Where a run starts: from an answer found before, or from the best of many values."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy
import xarray as xr

from mollifier.errors import ConfigurationError
from mollifier.mollify.arrays import Array, filled
from mollifier.problem.estimate import Estimate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import NO_ANSWER
from mollifier.problem.unknowns import Bounded


@dataclass(frozen=True)
class Origin:
    """What an answer gives a run to start from."""

    #: What a run that is resumed must have in common with the one interrupted: the name of the engine, or a
    #: digest of the answer.
    mark: str
    estimates: Mapping[str, Estimate] = field(default_factory=dict)  #: Unknown number -> its estimate.
    #: Unknown field, or state -> its values over labelled coordinates. States are all there, or none is.
    fields: Mapping[str, xr.DataArray] = field(default_factory=dict)
    states: Mapping[str, xr.DataArray] = field(default_factory=dict)
    #: For the provenance: engine, status and seconds of the answer, the numbers, the names of fields and
    #: states.
    note: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to start from."""
        return bool(self.estimates or self.fields)


def origin(problem: InverseProblem, solution: Solution, mark: str, with_states: bool = True) -> Origin:
    """What a solution of a problem gives another run of it to start from; nothing where it is no answer.

    ``mark`` is as in `Origin`; ``with_states`` if the states of the answer satisfy the equation, and so are a
    start. Raises `ConfigurationError` if unknowns or coordinates of the answer are not the problem's. Warns
    if its status is "undetermined" or "non-finite loss", or a value is not finite: it starts nothing.
    """
    _check_unknowns(problem, solution)
    _check_coordinates(problem, solution)
    note: dict[str, Any] = {
        "engine": str(solution.provenance.get("engine", "unknown")),
        "status": solution.status.name,
        "seconds": solution.provenance.get("seconds"),
    }
    if "chosen_because" in solution.provenance:
        note["chosen_because"] = solution.provenance["chosen_because"]
    estimates = {n: solution.estimates[n] for n in problem.scalars}
    fields = {n: _filled(solution.dataset[n]) for n in problem.unknown_fields}
    values = [*(e.value for e in estimates.values()), *(f.values for f in fields.values())]
    if solution.status.name in NO_ANSWER or not all(np.isfinite(v).all() for v in values):
        warnings.warn(
            f"The answer given to start from has no values to use ({solution.status}): the run starts from "
            "the data instead.",
            stacklevel=4,
        )
        return Origin(mark, note=note | {"numbers": {}, "fields": [], "states": []})
    has = with_states and all(f in solution.dataset for f in problem.all_states)
    states = {f: _filled(solution.dataset[f]) for f in problem.all_states} if has else {}
    numbers = {n: float(e.value) for n, e in estimates.items()}
    note |= {"numbers": numbers, "fields": list(fields), "states": list(states)}
    return Origin(mark, estimates, fields, states, note)


def _filled(field: xr.DataArray) -> xr.DataArray:
    """A field whose nodes outside the measured region, which are NaN, have the value of the nearest other."""
    missing = np.isnan(field.values)
    return field if missing.all() or not missing.any() else field.copy(data=filled(field.values))


def digest(solution: Solution) -> str:
    """A fingerprint of the numbers and fields of a solution.

    >>> from mollifier.problem.status import Status
    >>> rows = xr.Dataset({"loss": ("step", [])}), xr.Dataset({"u": ("observation", [])})
    >>> found = Solution(Status("converged"), {}, xr.Dataset(), rows[1], rows[0], {})
    >>> digest(found)[:8] == digest(found)[:8], len(digest(found))
    (True, 64)
    """
    found = hashlib.sha256()
    for name, estimate in sorted(solution.estimates.items()):
        found.update(f"{name}={estimate.value!r};".encode())
    for name in sorted(map(str, solution.dataset.variables)):
        found.update(name.encode())
        found.update(np.ascontiguousarray(solution.dataset[name].values).tobytes())
    return found.hexdigest()


def trial_values(unknown: Bounded, decades: int = 15, between: int = 9) -> Array:
    """Values of an unknown to start from, within its bounds, shape (n,).

    >>> from mollifier.problem.unknowns import ScalarUnknown
    >>> between = trial_values(ScalarUnknown(lower=2.0, upper=3.0))
    >>> trial_values(ScalarUnknown(lower=0.0)).min(), between.round(1).tolist()
    (np.float64(1e-15), [2.1, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9])
    """
    lower = -np.inf if unknown.lower is None else unknown.lower
    upper = np.inf if unknown.upper is None else unknown.upper
    sizes = 10.0 ** np.arange(-decades, decades + 1)
    both = np.concatenate([sizes, -sizes])
    if np.isfinite(lower) and np.isfinite(upper):
        both = np.append(both, lower + (upper - lower) * np.arange(1, between + 1) / (between + 1))
    elif np.isfinite(lower):
        both = np.append(both, lower + sizes)
    elif np.isfinite(upper):
        both = np.append(both, upper - sizes)
    return np.asarray(np.unique(both[(both > lower) & (both < upper)]), dtype=np.float64)


def search_values(
    values: Mapping[str, Array],
    sweeps: int,
    factors: Iterable[Sequence[float]],
    most: float,
    present: Callable[[str], float],
    improves: Callable[[str, float], bool],
) -> None:
    """Try values of numbers, one number after another; several numbers in some sweeps; then `improve_values`.

    ``improves`` tries a number by its name at a value, and keeps it there if that is an improvement;
    ``present`` is where it is kept.
    """
    for _ in range(sweeps if len(values) > 1 else 1):
        for name, tried in values.items():
            for value in tried:
                improves(name, float(value))
    improve_values(values, factors, most, lambda name, factor: improves(name, present(name) * factor))


def improve_values(
    names: Iterable[str],
    factors: Iterable[Sequence[float]],
    most: float,
    multiplied: Callable[[str, float], bool],
) -> None:
    """Multiply numbers by factors, round by round, each up to ``most`` times as long as that improves.

    ``multiplied`` tries a number by its name with a factor, and keeps it there if that is an improvement.

    >>> size = {"a": 1.0}
    >>> def multiplied(name, factor):
    ...     better = abs(factor * size[name] - 9.0) < abs(size[name] - 9.0)
    ...     size[name] *= factor if better else 1.0
    ...     return better
    >>> improve_values(size, [(3.0, 1 / 3)], 5, multiplied)
    >>> size
    {'a': 9.0}
    """
    for tried in factors:
        for name in names:
            for factor in tried:
                times = 0
                while times < most and multiplied(name, factor):
                    times += 1


def level_within(unknown: Bounded, distance: float | None = None) -> float:
    """Between both bounds the middle; at a distance from a single one, by default its size, 1 at least; or 1.

    >>> from mollifier.problem.unknowns import ScalarUnknown
    >>> bounds = (0.0, 2.0), (0.0, None), (None, -5.0), (None, None)
    >>> [level_within(ScalarUnknown(lower=low, upper=high)) for low, high in bounds]
    [1.0, 1.0, -10.0, 1.0]
    """
    low, high = unknown.lower, unknown.upper
    if low is not None and high is not None:
        return (low + high) / 2
    if low is not None:
        return low + (distance or max(1.0, abs(low)))
    return 1.0 if high is None else high - (distance or max(1.0, abs(high)))


def sampled(values: xr.DataArray, points: Mapping[str, Array], periodic: Mapping[str, float]) -> Array:
    """A field at points, linear between its nodes; held constant beyond them, wrapped where periodic.

    Places are (n,) by coordinate, as are the periods.

    >>> phase = xr.DataArray([0.0, 1.0, 2.0], {"x": [0.0, 1.0, 2.0]}, ("x",))
    >>> sampled(phase, {"x": np.array([0.5, 2.5, 3.0])}, {})
    array([0.5, 2. , 2. ])
    >>> sampled(phase, {"x": np.array([0.5, 2.5, 3.0])}, {"x": 3.0})
    array([0.5, 1. , 0. ])
    """
    names = [str(d) for d in values.dims]
    axes, array, places = [], np.asarray(values.values, dtype=np.float64), []
    for i, name in enumerate(names):
        nodes, place = np.asarray(values[name].values, dtype=np.float64), points[name]
        if name in periodic:
            place = nodes[0] + np.mod(place - nodes[0], periodic[name])
            if nodes[-1] < nodes[0] + periodic[name] * (1 - 1e-9):
                nodes = np.append(nodes, nodes[0] + periodic[name])
                array = np.concatenate([array, np.take(array, [0], axis=i)], axis=i)
        axes.append(nodes)
        places.append(np.clip(place, nodes[0], nodes[-1]))
    return np.asarray(
        scipy.interpolate.RegularGridInterpolator(axes, array)(np.stack(places, -1)), dtype=np.float64
    )


def _check_unknowns(problem: InverseProblem, solution: Solution) -> None:
    """The same numbers, and the same fields over the same coordinates."""
    fields = {n: tuple(map(str, solution.dataset[n].dims)) for n in solution.unknown_fields}
    given = {**dict.fromkeys(solution.estimates, ()), **fields}
    expected = {n: u.over or () for n, u in problem.unknowns.items()}
    if {n: {*o} for n, o in given.items()} != {n: {*o} for n, o in expected.items()}:
        raise ConfigurationError(
            f"The answer given to start from has the unknowns {_listed(given)}; the problem's, "
            f"{_listed(expected)}, were expected. Start from an answer of the same problem."
        )


def _listed(unknowns: Mapping[str, tuple[str, ...]]) -> str:
    """Names, fields with their coordinates.

    >>> _listed({"D": (), "k": ("x", "t")})
    'D, k(x, t)'
    """
    return ", ".join(f"{n}({', '.join(o)})" if o else n for n, o in unknowns.items()) or "(none)"


def _check_coordinates(problem: InverseProblem, solution: Solution) -> None:
    """The same coordinates, over the same ranges but for a cell of the answer's grid."""
    given = {str(d): solution.dataset[d].values for d in solution.dataset.dims if d in solution.dataset}
    if set(given) != set(problem.coordinates):
        raise ConfigurationError(
            f"The answer given to start from has the coordinates {', '.join(given) or '(none)'}; the "
            f"problem's, {', '.join(problem.coordinates)}, were expected. Start from an answer of the same "
            "problem."
        )
    for name, nodes in given.items():
        low, high = problem.data.bounds[name]
        cell = float(np.abs(np.diff(nodes)).max(initial=0.0)) + 1e-9 * (high - low)
        ends = float(nodes.min()), float(nodes.max())
        inside = ends[0] - cell <= low and high <= ends[1] + cell
        if not inside or max(low - ends[0], ends[1] - high) > high - low:
            raise ConfigurationError(
                f"The answer given to start from reaches from {ends[0]:.6g} to {ends[1]:.6g} along '{name}'; "
                f"the problem's range, {low:.6g} to {high:.6g}, was expected. Start from an answer of the "
                "same problem, in the same units."
            )
