"""The frame of an engine on a collocation grid: model and objective, stages, the solution read from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import RLock
from typing import Any

import numpy as np
import torch

from mollifier.data.observations import Observations
from mollifier.engines.base import Request
from mollifier.engines.collocated.bounds import passed
from mollifier.engines.collocated.laplace import Laplace
from mollifier.engines.collocated.levenberg_marquardt import LevenbergMarquardt
from mollifier.engines.collocated.model import Maker, Model
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.readout import read_fields, read_fit, read_history
from mollifier.engines.collocated.runner import Run
from mollifier.engines.collocated.settings import CollocatedSettings
from mollifier.engines.collocated.stages import Stage
from mollifier.engines.collocated.verdict import judged
from mollifier.errors import ConfigurationError, DataError
from mollifier.mollify.arrays import Array
from mollifier.problem.collocation import collocate
from mollifier.problem.estimate import Estimate
from mollifier.problem.finite import check_finite
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import SETTLED, Status

# Torch's generator belongs to the process: one run at a time draws its weights. A run draws nothing later.
_DRAWING = RLock()


def check_priors(problem: InverseProblem, engine: str, taken: Sequence[str]) -> None:
    """Refuse priors of unknown fields that are not among those ``taken`` by an engine."""
    for name, unknown in problem.unknown_fields.items():
        if unknown.prior not in taken:
            raise ConfigurationError(
                f"prior='{unknown.prior}' was given for the unknown '{name}'; the {engine} engine takes "
                f"{', '.join(taken[:-1])} or {taken[-1]}. Choose one of these, or engine 'joint' or 'weak'."
            )


def prepare(
    problem: InverseProblem,
    settings: CollocatedSettings,
    seed: int,
    make: Maker,
    method: str = "mollifier",
    free_values: bool = False,
) -> tuple[Objective, Observations | None]:
    """Model and objective on the fitted part of the data, and the held-out part.

    The seed fixes the held-out samples; ``make``, ``method`` and ``free_values`` are as in `Model`.
    """
    fitted, held = problem.data, None
    if settings.held_out:
        try:
            fitted, held = problem.data.hold_out(settings.held_out, seed, variables=list(problem.fields))
        except DataError:  # too few samples to hold one out: all are fitted
            held = None
    collocation = collocate(problem, settings.collocation)
    check_finite(problem, collocation)
    tuning = settings.tuning
    model = Model(problem, collocation, make, method, free_values, tuning.law_cells, tuning.most_effects)
    return Objective(model, fitted, settings), held


def run_stages(
    engine: str,
    start: Callable[[], tuple[Objective, Sequence[Stage], Observations | None]],
    request: Request,
    marks: Mapping[str, Any],
    notes: Mapping[str, Any] | None = None,
) -> Solution:
    """Run an engine's stages and assemble the solution.

    ``start`` makes the objective, the stages and the held-out part of the data; it is called with the seed
    set. ``marks`` are what a resumed run must have in common with the interrupted one beside problem,
    settings and seed; ``notes`` go into the provenance, and a resumed run keeps those of the interrupted one.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        objective, stages, held = start()
    run = Run(engine, request, objective, stages, {**_fingerprint(request), **marks}, dict(notes or {}))
    if request.resume:
        run.resume()
    solution = _solution(run, run.run(), held)
    place = objective.model.collocation
    made = {
        "settings": request.settings.model_dump(mode="json"),
        "device": str(objective.sizes.device),
        "collocation": {
            "nodes": dict(zip(place.grid.names, place.grid.shape, strict=True)),
            "radius": dict(place.radius),
            "kernel": repr(place.kernel),
            "left_out": place.left_out,
        },
        "parameters": sum(p.numel() for p in objective.model.parameters()),
    }
    return replace(solution, provenance={**made, **run.notes, **solution.provenance})


def _fingerprint(request: Request) -> dict[str, Any]:
    """What a resumed run must have in common with the interrupted one, as plain values."""
    may_differ = {"training": {"time_limit", "checkpoint_every", "checkpoint_steps", "steps"}}
    settings = request.settings.model_dump(mode="json", exclude=may_differ)
    return request.problem.described | {"settings": settings, "seed": request.seed}


def _solution(run: Run, status: Status, held: Observations | None) -> Solution:
    """The solution at the end of a run, with Laplace standard errors where Gauss-Newton has settled.

    A run that was cut short, or stalled, has none: the curvature of the loss where it happens to be says
    nothing about the distance to its minimum.
    """
    objective, model = run.objective, run.objective.model
    values = model.values()
    sd: dict[str, float | None] = dict.fromkeys(values)
    spreads: dict[str, Array] = {}
    last = run.stages[-1]
    if model.problem.laws:
        model.show_laws()
    laplace, laws, notes = None, {}, {}
    if isinstance(last, LevenbergMarquardt) and status.name in SETTLED:
        laplace = Laplace(last)
        sd, spreads, laws = laplace.scalars(), laplace.fields | laplace.hidden(), laplace.laws()
        found = {"edges": last.edges(), "freedom": last.freedom()}
        notes = {name: value for name, value in found.items() if value}
    status, free = judged(status, model, laplace)
    sd |= dict.fromkeys(free, np.inf)
    units = {n: u.unit for n, u in model.problem.scalars.items()}
    estimates = {n: Estimate(n, v, sd[n], units[n]) for n, v in values.items()}
    datasets = read_fields(objective, spreads, laws), read_fit(objective, held), read_history(run.history)
    if status.ok and (why := passed(model.problem, datasets[0])):
        status = Status("misfit", why)
    moved = {} if laplace is None else laplace.sensitivity()
    known = {n: shifts for n, shifts in moved.items() if n not in free}
    return Solution(status, estimates, *datasets, {"sensitivity": known, **notes})
