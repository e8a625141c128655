"""The frame of an engine on a collocation grid: model and objective, stages, the solution read from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mollifier.data.observations import Observations
from mollifier.engines.collocated.laplace import Laplace
from mollifier.engines.collocated.levenberg_marquardt import LevenbergMarquardt
from mollifier.engines.collocated.model import Maker, Model
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.provenance import fingerprint, provenance
from mollifier.engines.collocated.readout import read_fields, read_fit, read_history
from mollifier.engines.collocated.runner import Progress, Run
from mollifier.engines.collocated.settings import CollocatedSettings
from mollifier.engines.collocated.stages import Stage
from mollifier.engines.collocated.tuning import CollocatedTuning
from mollifier.engines.collocated.verdict import judged
from mollifier.errors import ConfigurationError, DataError
from mollifier.problem.collocation import collocate
from mollifier.problem.estimate import Estimate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

Array = NDArray[np.float64]


def check_priors(problem: InverseProblem, engine: str, taken: Sequence[str]) -> None:
    """Refuse priors of unknown fields other than those taken.

    Raises
    ------
    ConfigurationError
        If one is another.
    """
    for name, unknown in problem.unknown_fields.items():
        if unknown.prior not in taken:
            raise ConfigurationError(
                f"prior='{unknown.prior}' was given for the unknown '{name}'; the {engine} engine takes "
                f"{', '.join(taken[:-1])} or {taken[-1]}. Choose one of these, or engine 'weak', which wants "
                "data on a grid."
            )


def prepare(
    problem: InverseProblem,
    settings: CollocatedSettings,
    seed: int,
    network: nn.Module | None,
    maker: Maker | None = None,
    tuning: CollocatedTuning = CollocatedTuning(),  # noqa: B008 - frozen
) -> tuple[Objective, Observations | None]:
    """Model and objective on the fitted part of the data, and the held-out part."""
    fitted, held = problem.data, None
    if settings.held_out:
        try:
            fitted, held = problem.data.hold_out(settings.held_out, seed, variables=list(problem.fields))
        except DataError:  # too few samples to hold one out: all are fitted
            held = None
    model = Model(problem, collocate(problem, settings.collocation), settings, network, maker)
    return Objective(model, fitted, settings, tuning), held


def run_stages(
    engine: str,
    start: Callable[[], tuple[Objective, Sequence[Stage], Observations | None]],
    problem: InverseProblem,
    settings: CollocatedSettings,
    seed: int,
    progress: Callable[[Progress], None] | None,
    folder: Path | None,
    resume: bool,
    marks: Mapping[str, Any],
    notes: Mapping[str, Any] | None = None,
) -> Solution:
    """Run an engine's stages and read the solution off.

    Parameters
    ----------
    engine
        Its name.
    start
        Makes the objective, the stages and the held-out part of the data; called with the seed set.
    problem, settings, seed, progress, folder, resume
        As in `solve_network`.
    marks
        What a run that is taken up must have in common with this one, beside problem, settings and seed.
    notes
        For the provenance; a run that is taken up keeps its own.
    """
    begun = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective, stages, held = start()
        run = Run(
            objective,
            stages,
            settings.training.time_limit,
            progress,
            folder,
            {**fingerprint(problem, settings, seed), **marks},
            settings.training.checkpoint_every,
            settings.training.checkpoint_steps,
            engine=engine,
            notes=dict(notes or {}),
        )
        if resume:
            run.resume()
        status = run.run()
        solution = _solution(run, status, held)
    made = provenance(problem, settings, seed, objective)
    made |= {"engine": engine, "seconds": time.monotonic() - begun, **run.notes}
    return replace(solution, provenance=made)


def _solution(run: Run, status: Status, held: Observations | None) -> Solution:
    """What the run found, with Laplace standard errors where Gauss-Newton has run."""
    objective, model = run.objective, run.objective.model
    values = model.values()
    sd: dict[str, float | None] = dict.fromkeys(values)
    spreads: dict[str, Array] = {}
    last = run.stages[-1]
    laplace = None
    if isinstance(last, LevenbergMarquardt) and run.stage >= len(run.stages) - 1:
        laplace = Laplace(last)
        sd, spreads = laplace.scalars(), laplace.fields()
    status, free = judged(status, model, laplace)
    sd |= dict.fromkeys(free, np.inf)
    units = {n: u.unit for n, u in model.problem.scalars.items()}
    estimates = {n: Estimate(n, v, sd[n], units[n]) for n, v in values.items()}
    datasets = read_fields(objective, spreads), read_fit(objective, held), read_history(run.history)
    return Solution(status, estimates, *datasets, {})
