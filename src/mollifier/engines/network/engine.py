"""The network engine: fields and unknowns as networks, derivatives by the layer (or autodiff, to compare)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mollifier.data.observations import Observations
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.runner import Progress
from mollifier.engines.collocated.solve import check_priors, prepare, run_stages
from mollifier.engines.collocated.stages import Stage
from mollifier.engines.network.gauss_newton import GaussNewton
from mollifier.engines.network.least_squares import LeastSquares
from mollifier.engines.network.optimisers import Adam, Lbfgs, WarmUp
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.network.suitable import suits_gauss_newton
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.engines.start import Origin
from mollifier.errors import ConfigurationError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution

Array = NDArray[np.float64]

# Priors of unknown fields that start from the curvature.
_PRIORS = ("auto", "h2")


def solve_network(
    problem: InverseProblem,
    settings: NetworkSettings,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    folder: Path | None = None,
    resume: bool = False,
    network: nn.Module | None = None,
    origin: Origin | None = None,
    tuning: NetworkTuning = NetworkTuning(),  # noqa: B008 - frozen
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
    check_priors(problem, "network", _PRIORS)
    device = _device(settings.training.device)

    def start() -> tuple[Objective, Sequence[Stage], Observations | None]:
        objective, held = prepare(problem, settings, seed, network, tuning=tuning)
        objective.to(device)
        return objective, _stages(objective, settings, held, None if resume else origin, tuning), held

    marks = {
        "network": None if network is None else repr(network),
        "start": None if origin is None else origin.mark,
    }
    notes = {} if origin is None else {"started_from": dict(origin.note)}
    return run_stages("network", start, problem, settings, seed, progress, folder, resume, marks, notes)


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
    objective: Objective,
    settings: NetworkSettings,
    held: Observations | None,
    origin: Origin | None,
    tuning: NetworkTuning,
) -> list[Stage]:
    """A fit to the data or an answer, then Gauss-Newton where it is small enough, else Adam and L-BFGS."""
    t = settings.training
    optimiser = t.optimiser
    if optimiser == "auto":
        optimiser = "gauss-newton" if suits_gauss_newton(objective.model, tuning) else "lbfgs"
    warm = WarmUp(objective, t.warmup_steps, t.learning_rate, tuning, origin)
    if optimiser == "gauss-newton":
        steps = tuning.gauss_newton_steps if t.steps is None else t.steps
        newton = GaussNewton(objective, steps, t.tolerance, tuning, held)
        return [LeastSquares(newton) if newton.linear and origin is None else warm, newton]
    steps = tuning.lbfgs_steps if t.steps is None else t.steps
    adam = Adam(objective, t.adam_steps, t.learning_rate * tuning.adam_share, tuning)
    return [warm, adam, Lbfgs(objective, steps, t.tolerance, tuning)]
