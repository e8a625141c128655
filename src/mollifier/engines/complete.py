"""What a solution needs beside what was found, so that its equation can be read and solved again."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from mollifier._version import __version__
from mollifier.engines.base import Request
from mollifier.engines.gates.gates import gated
from mollifier.engines.visits import unit_attrs
from mollifier.errors import DataError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.labels import labels
from mollifier.problem.serialization import described
from mollifier.problem.solution import Solution


def recorded(engine: str, request: Request, solution: Solution, seconds: float) -> Solution:
    """The solution with what was asked of an engine and where; the settings where it has not adapted them."""
    problem, versions, threads = request.problem, {"mollifier": __version__, "numpy": np.__version__}, ""
    if torch := sys.modules.get("torch"):
        versions["torch"], threads = torch.__version__, f", {torch.get_num_threads()} threads"
    made = problem.described | {
        "engine": engine,
        "settings": request.settings.model_dump(mode="json"),
        "seed": request.seed,
        "versions": versions,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}{threads}",
        "device": "cpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "noise": {f: problem.data.noise_sd(f) for f in problem.fields},
        "noise_source": {f: problem.data.noise_source(f) for f in problem.fields},
        "seconds": seconds,
    }
    return replace(solution, provenance={**made, **solution.provenance})


def complete(problem: InverseProblem, solution: Solution) -> Solution:
    """The solution as users get it.

    It has the equation's known coefficients on its grid, the periods of its coordinates, the names of its
    experiments, the bounds of its unknowns and the units that the equation gives them, and the status that
    the gates leave it.
    """
    dataset, data = solution.dataset.copy(), problem.data
    for name, period in data.periodic.items():
        if name in dataset.coords:
            dataset[name].attrs["periodic"] = period
    for name in labels(problem):
        if name in dataset.coords:
            dataset[name].attrs["experiments"] = data.dataset[name].attrs.get("experiments", "")
    for name in problem.known:
        over = tuple(str(c) for c in dataset.dims if c in data.coordinates_of(name))
        mesh = np.meshgrid(*(dataset[c].values for c in over), indexing="ij")
        try:
            values = data.interpolate(name, dict(zip(over, mesh, strict=True)), method="cubic")
        except DataError:  # beside gaps: whoever needs it there says that it is missing
            continue
        attrs: dict[str, Any] = {"role": "known"} | unit_attrs(data.units.get(name, ""))
        dataset[name] = (over, np.asarray(values), attrs)
    for name, unknown in problem.unknown_fields.items():
        bounds = {"valid_min": unknown.lower, "valid_max": unknown.upper}
        if name in dataset:
            dataset[name].attrs |= {n: v for n, v in bounds.items() if v is not None}
    estimates = {
        n: replace(e, lower=problem.unknowns[n].lower, upper=problem.unknowns[n].upper)
        for n, e in solution.estimates.items()
    }
    stated = {n: u.unit for n, u in {**problem.unknowns, **problem.states}.items() if u.unit}
    for name, unit in {**problem.units.found, **stated}.items():
        for n in {name, f"{name}_sd", f"{name}_prior_sd"} & {*map(str, dataset.data_vars)}:
            dataset[n].attrs.setdefault("units", unit)
        if name in estimates:
            estimates[name] = replace(estimates[name], unit=unit)
    dataset = described(dataset, data.dataset)
    notes = {"masked": data.dataset.attrs.get("masked"), "units": problem.units.conflicts}
    provenance = {**solution.provenance, **{n: note for n, note in notes.items() if note}}
    solution = replace(solution, estimates=estimates, dataset=dataset, provenance=provenance)
    return replace(solution, status=gated(problem, solution))
