"""The network engine: fields and unknowns as networks, derivatives by the layer (or autodiff, to compare)."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mollifier._version import __version__
from mollifier.data.observations import Observations
from mollifier.engines.collocated.laplace import Laplace
from mollifier.engines.collocated.levenberg_marquardt import LevenbergMarquardt
from mollifier.engines.collocated.model import Maker, Model
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.readout import read_fields, read_fit, read_history
from mollifier.engines.collocated.runner import Progress, Run
from mollifier.engines.collocated.stages import Adam, Lbfgs, Stage, WarmUp
from mollifier.engines.network.gauss_newton import GaussNewton, suits
from mollifier.engines.network.least_squares import LeastSquares
from mollifier.engines.start import Origin
from mollifier.errors import ConfigurationError, DataError
from mollifier.problem.collocation import collocate
from mollifier.problem.estimate import Estimate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import Settings
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

Array = NDArray[np.float64]

_GAUSS_NEWTON_STEPS, _LBFGS_STEPS = 150, 2000
# Priors of unknown fields that start from the curvature.
_PRIORS = ("auto", "h2")


def solve_network(
    problem: InverseProblem,
    settings: Settings,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    folder: Path | None = None,
    resume: bool = False,
    network: nn.Module | None = None,
    origin: Origin | None = None,
) -> Solution:
    """Solve with networks.

    Parameters
    ----------
    problem, settings
        The question, and the choices of the run.
    seed
        Fixes the networks' starting weights and the held-out samples; the caller's random state stays.
    progress
        Called after every step.
    folder
        Where a checkpoint is kept; none by default.
    resume
        Take up the checkpoint in the folder.
    network
        A module (n, d) -> (n, fields) on coordinates scaled to [-1, 1], in place of one of the kind in the
        settings. It is copied, weights included.
    origin
        What the run starts from in place of a first guess; where it resumes, of that the mark only counts.
    """
    check_priors(problem, "network")
    device = _device(settings.training.device)

    def start() -> tuple[Objective, Sequence[Stage], Observations | None]:
        objective, held = prepare(problem, settings, seed, network)
        objective.to(device)
        return objective, _stages(objective, settings, held, None if resume else origin), held

    marks = {
        "network": None if network is None else repr(network),
        "start": None if origin is None else origin.mark,
    }
    notes = {} if origin is None else {"started_from": dict(origin.note)}
    return run_stages("network", start, problem, settings, seed, progress, folder, resume, marks, notes)


def check_priors(problem: InverseProblem, engine: str, taken: Sequence[str] = _PRIORS) -> None:
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


def run_stages(
    engine: str,
    start: Callable[[], tuple[Objective, Sequence[Stage], Observations | None]],
    problem: InverseProblem,
    settings: Settings,
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
    provenance = _provenance(problem, settings, seed, objective)
    provenance |= {"engine": engine, "seconds": time.monotonic() - begun, **run.notes}
    return replace(solution, provenance=provenance)


def prepare(
    problem: InverseProblem,
    settings: Settings,
    seed: int,
    network: nn.Module | None,
    maker: Maker | None = None,
) -> tuple[Objective, Observations | None]:
    """Model and objective on the fitted part of the data, and the held-out part."""
    fitted, held = problem.data, None
    if settings.held_out:
        try:
            fitted, held = problem.data.hold_out(settings.held_out, seed, variables=list(problem.fields))
        except DataError:  # too few samples to hold one out: all are fitted
            held = None
    model = Model(problem, collocate(problem, settings.collocation), settings, network, maker)
    return Objective(model, fitted, settings), held


def _device(name: str) -> torch.device:
    """The device by its name.

    >>> _device("gpu")
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: training.device was given as 'gpu'; 'cpu', 'cuda' or 'cuda:0' was
    wanted.
    """
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise ConfigurationError(
            f"training.device was given as '{name}'; 'cpu', 'cuda' or 'cuda:0' was wanted."
        )
    there = torch.cuda.device_count() if kind == "cuda" and torch.cuda.is_available() else 0
    if kind == "cuda" and int(number or 0) >= there:
        raise ConfigurationError(
            f"training.device was given as '{name}', but torch sees {there} CUDA devices here; set it to "
            "'cpu', or install a build of torch for the GPU."
        )
    return torch.device(name)


def _stages(
    objective: Objective, settings: Settings, held: Observations | None, origin: Origin | None
) -> list[Stage]:
    """A fit to the data or an answer, then Gauss-Newton where it is small enough, else Adam and L-BFGS."""
    t = settings.training
    optimiser = t.optimiser
    if optimiser == "auto":
        optimiser = "gauss-newton" if suits(objective.model) else "lbfgs"
    warm = WarmUp(objective, t.warmup_steps, t.learning_rate, origin)
    if optimiser == "gauss-newton":
        steps = _GAUSS_NEWTON_STEPS if t.steps is None else t.steps
        newton = GaussNewton(objective, steps, t.tolerance, held)
        return [LeastSquares(newton) if newton.linear and origin is None else warm, newton]
    steps = _LBFGS_STEPS if t.steps is None else t.steps
    adam = Adam(objective, t.adam_steps, t.learning_rate / 5)
    return [warm, adam, Lbfgs(objective, steps, t.tolerance)]


def fingerprint(problem: InverseProblem, settings: Settings, seed: int) -> dict[str, Any]:
    """What a resumed run must have in common with the one that was interrupted."""
    return {
        "equation": [e.text for e in problem.system.equations],
        "data": problem.data.digest(),
        "unknowns": problem.described,
        "constants": dict(problem.constants),
        "fields": list(problem.fields),
        "settings": settings.model_dump(
            mode="json", exclude={"training": {"time_limit", "checkpoint_every", "checkpoint_steps", "steps"}}
        ),
        "seed": seed,
    }


def _provenance(
    problem: InverseProblem, settings: Settings, seed: int, objective: Objective
) -> dict[str, Any]:
    c = objective.model.collocation
    return fingerprint(problem, settings, seed) | {
        "settings": settings.model_dump(mode="json"),
        "versions": {"mollifier": __version__, "torch": torch.__version__, "numpy": np.__version__},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "device": settings.training.device,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "collocation": {
            "nodes": dict(zip(c.grid.names, c.grid.shape, strict=True)),
            "radius": c.radius,
            "kernel": repr(c.kernel),
        },
        "parameters": sum(p.numel() for p in objective.model.parameters()),
        "noise": {f: problem.data.noise_sd(f) for f in problem.fields},
    }


def _solution(run: Run, status: Status, held: Observations | None) -> Solution:
    """What the run found, with Laplace standard errors where Gauss-Newton has run."""
    objective, model = run.objective, run.objective.model
    values = model.values()
    sd: dict[str, float | None] = dict.fromkeys(values)
    spreads: dict[str, Array] = {}
    last = run.stages[-1]
    if isinstance(last, LevenbergMarquardt) and run.stage >= len(run.stages) - 1:
        laplace = Laplace(last)
        sd, spreads = laplace.scalars(), laplace.fields()
    units = {n: u.unit for n, u in model.problem.scalars.items()}
    estimates = {n: Estimate(n, v, sd[n], units[n]) for n, v in values.items()}
    datasets = read_fields(objective, spreads), read_fit(objective, held), read_history(run.history)
    return Solution(status, estimates, *datasets, {})
