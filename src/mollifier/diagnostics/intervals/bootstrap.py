"""Parametric bootstrap: data simulated from a solution, and solved again.

B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, Chapman and Hall, 1993, section 6.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mollifier.data.observations import Observations, Samples
from mollifier.diagnostics.intervals.repeats import Follow, Repeats, at_places, gathered, with_spread
from mollifier.engines.registry import ENGINES
from mollifier.engines.settings import settings_for, used_by
from mollifier.engines.start import sampled
from mollifier.errors import ConfigurationError
from mollifier.io.arguments import typed
from mollifier.io.draws import Rng, seed_of
from mollifier.mollify.arrays import Array
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.measurements import exact
from mollifier.problem.solution import Solution
from mollifier.problem.unknowns import FieldUnknown, value_axis


@typed("rng", "repeats", "processes", "executor")
def bootstrap(
    problem: InverseProblem,
    solution: Solution,
    repeats: int = 50,
    *,
    rng: Rng = 0,
    folder: Path | str | None = None,
    resume: bool = False,
    processes: int = 1,
    executor: Executor | None = None,
    progress: Follow | None = None,
) -> Solution:
    """Standard errors of a solution from repeats of the whole solve, by the engine that found it.

    Each repeat has data simulated from the fitted states at the places of the data, with the noise's standard
    errors; measurements of unknown fields likewise. Engine, settings and noise model are those of the
    solution; the seed differs, so that the effect of a network's starting weights is included.

    The standard error is the root mean square distance of the repeats from the solution: their standard
    deviation, and the shift of their mean as far as it exceeds its sampling error. The shift is the engine's
    bias, such as smoothing.

    Parameters
    ----------
    problem
        The question that was solved.
    solution
        Its answer by `mollifier.solve`; its values stay.
    repeats
        How many, 3 at least. The standard error has a relative error of about 1/sqrt(2 repeats).
    rng
        Of the simulated noise: as for `mollifier.solve`.
    folder, resume, processes, executor
        As for `mollifier.diagnostics.intervals.repeats.Repeats`.
    progress
        Called before every repeat.

    Returns
    -------
    Solution
        The one given with other standard errors. ``provenance["intervals"]`` holds their label, the number
        of repeats, of answers, and the shift of each number.

    Raises
    ------
    ConfigurationError
        If the solution is of another problem, or a count makes no sense.
    MollifierError
        If fewer than three repeats give an answer.

    Examples
    --------
    >>> import numpy as np, xarray as xr, mollifier as mf
    >>> x, t = np.linspace(0, 3, 30), np.linspace(0, 1, 30)
    >>> u = np.exp(-0.1 * t) * np.sin(x[:, None]) + 0.01 * np.random.default_rng(0).standard_normal((30, 30))
    >>> data = mf.Observations.from_dataset(xr.DataArray(u, {"x": x, "t": t}, ("x", "t"), "u"))
    >>> problem = mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown()})
    >>> solution = mf.solve(problem, "weak")
    >>> again = bootstrap(problem, solution, 8)
    >>> again.estimates["D"].value == solution.estimates["D"].value
    True
    >>> 0.5 < again.estimates["D"].sd / solution.estimates["D"].sd < 2
    True
    """
    engine, settings = _engine_and_settings(problem, solution)
    seed, first = seed_of(rng), int(solution.provenance.get("seed", 0)) + 1
    again = partial(simulated, problem, solution, seed)
    place = (folder, resume, processes, executor)
    plan = Repeats("bootstrap", again, repeats, engine, settings, first, *place)
    answers = plan.run(progress)
    spread, shift = _spread(solution, answers)
    notes = {"by": plan.what, "repeats": repeats, "answers": len(answers), "seed": seed, "shift": shift}
    return with_spread(solution, spread, plan.label(answers), notes)


def _spread(solution: Solution, answers: Sequence[Solution]) -> tuple[dict[str, Array], dict[str, float]]:
    """Unknown -> its standard error, and number -> how far the mean of the answers lies from it."""
    spread, shift = {}, {}
    for name, found in gathered(solution, answers).items():
        own = solution.estimates[name].value if name in solution.estimates else solution.dataset[name].values
        variance, moved = found.var(axis=0, ddof=1), found.mean(axis=0) - own
        spread[name] = np.sqrt(variance + np.maximum(moved**2 - variance / len(found), 0.0))
        if name in solution.estimates:
            shift[name] = float(moved)
    return spread, shift


def simulated(problem: InverseProblem, solution: Solution, seed: int, number: int) -> InverseProblem:
    """The problem with data simulated from its solution: the same places, noise by seed and number."""
    rng = np.random.default_rng([seed, number])
    values = {}
    for name in problem.fields:
        samples = problem.data.samples(name)
        fitted = _fitted(problem, solution, name, samples)
        values[name] = fitted + samples.sd * rng.standard_normal(len(fitted))
        for effect in problem.data.noise_effects(name):
            shapes = effect.at(samples.places)
            shared = shapes @ rng.standard_normal(shapes.shape[1])
            values[name] += shared * fitted if effect.gain else shared
    unknowns: dict[str, Any] = dict(problem.unknowns)
    for name, samples in problem.measurements.items():
        unknown = problem.unknown_fields[name]
        assert isinstance(unknown, FieldUnknown)
        assert isinstance(unknown.measurements, Observations)
        field = solution.dataset[name]
        field = field.rename({value_axis(c): c for c in samples.coordinates if value_axis(c) in field.dims})
        found = sampled(field, samples.places, problem.data.periodic)
        found = found + samples.sd * rng.standard_normal(len(found))
        # Exact measurements of the field stay, whatever the data.
        found = np.where(exact(samples), samples.values, np.clip(found, unknown.lower, unknown.upper))
        variable = name if name in unknown.measurements.variables else unknown.measurements.variables[0]
        unknowns[name] = replace(unknown, measurements=_replaced(unknown.measurements, {variable: found}))
    return problem.of(_replaced(problem.data, values), unknowns)


def _engine_and_settings(problem: InverseProblem, solution: Solution) -> tuple[str, Any]:
    """Engine and settings of a solution, once it is one of the problem."""
    expected, found = {*problem.unknowns}, {*solution.estimates, *solution.unknown_fields}
    if expected != found or not {*problem.fields} <= {*solution.observed}:
        raise ConfigurationError(
            f"The solution is of the unknowns {', '.join(sorted(found)) or '(none)'}; the problem's, "
            f"{', '.join(sorted(expected))}, were expected. Give the solution of this very problem."
        )
    if not {"engine", "settings"} <= {*solution.provenance}:
        raise ConfigurationError(
            "The solution does not say which engine found it, and by which settings; one that "
            "mollifier.solve or load_solution gave was expected."
        )
    name, given = str(solution.provenance["engine"]), solution.provenance["settings"]
    return name, settings_for(ENGINES[name], used_by(given, [ENGINES[name]]))


def _fitted(problem: InverseProblem, solution: Solution, name: str, samples: Samples) -> Array:
    """The fitted state at its samples, shape (n,); the field interpolated where there is no fitted value."""
    fit = solution.fit
    places = np.stack([fit[c].values for c in samples.coordinates], -1)
    fitted = fit[f"{name}_fitted"].values - np.asarray(fit.get(f"{name}_shared", 0.0))
    there = np.isfinite(fitted)
    found = at_places(samples.points, places[there], fitted[there])
    missing = np.isnan(found)
    if missing.any():
        points = samples.part(np.flatnonzero(missing)).places
        found[missing] = sampled(solution.dataset[name], points, problem.data.periodic)
    return found


def _replaced(data: Observations, values: Mapping[str, Array]) -> Observations:
    """Observations with other values, in the order of their samples; all else stays."""
    dataset = data.in_memory.copy()
    for name, found in values.items():
        array = dataset[name].values.copy()
        array[np.isfinite(array)] = found
        dataset[name] = dataset[name].copy(data=array)
    return Observations.from_dataset(dataset, coordinates=data.coordinates, replicates=data.replicates)
