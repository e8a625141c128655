"""The network engine: states and unknown fields as networks, derivatives by the layer or by autodiff."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mollifier.data.observations import Observations
from mollifier.engines.base import Request
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.solve import check_priors, prepare, run_stages
from mollifier.engines.collocated.stages import Stage
from mollifier.engines.network.gauss_newton import GaussNewton
from mollifier.engines.network.least_squares import LeastSquares
from mollifier.engines.network.networks import NetworkMaker
from mollifier.engines.network.optimisers import Adam, Lbfgs, WarmUp
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.network.suitable import check_size, suits_gauss_newton
from mollifier.engines.start import Origin
from mollifier.errors import ConfigurationError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.labels import labels
from mollifier.problem.solution import Solution

# The priors of unknown fields: evidence improves on the squared curvature, or keeps to it.
_PRIORS = ("auto", "h2")


def solve_network(request: Request) -> Solution:
    """Solve with networks.

    The request's ``network`` represents the states in place of one of the kind in the settings, and is
    copied, weights included; its ``start`` replaces the first guess (a resumed run reads its mark only).
    Raises `ConfigurationError` if a prior is not one of these, the device is not available, the network does
    not fit the fields or its training the memory, or a coordinate only numbers independent curves.
    """
    problem, settings, origin = request.problem, request.settings, request.start
    check_priors(problem, "network", _PRIORS)
    for c in labels(problem):
        if c not in (settings.collocation.nodes or {}):
            raise ConfigurationError(
                f"The equation relates nothing along '{c}', so its values number independent curves, and a "
                "network would smooth across them. Take engine 'joint', or give collocation.nodes."
                f"{c} if the fields are smooth along {c}."
            )
    device = _device(settings.training.device)

    def start() -> tuple[Objective, Sequence[Stage], Observations | None]:
        objective, held = prepare_networks(problem, settings, request.seed, request.network)
        objective.to(device)
        return objective, _stages(objective, settings, held, None if request.resume else origin), held

    marks = {
        "network": None if request.network is None else repr(request.network),
        "start": None if origin is None else origin.mark,
    }
    notes = {} if origin is None else {"started_from": dict(origin.note)}
    return run_stages("network", start, request, marks, notes)


def prepare_networks(
    problem: InverseProblem, settings: NetworkSettings, seed: int, network: nn.Module | None = None
) -> tuple[Objective, Observations | None]:
    """Objective of networks on the fitted part of the data, and the held-out part.

    The states have the ``network``, or one of the kind in the settings.
    """
    make = NetworkMaker(problem, settings, network)
    return prepare(problem, settings, seed, make, settings.derivatives)


def _device(name: str) -> torch.device:
    """The device by its name.

    >>> _device("gpu")
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: training.device was given as 'gpu'; 'cpu', 'cuda' or 'cuda:0' was
    expected.
    """
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise ConfigurationError(
            f"training.device was given as '{name}'; 'cpu', 'cuda' or 'cuda:0' was expected."
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
) -> list[Stage]:
    """A fit to the data or an answer, then Gauss-Newton where it is small enough, else Adam and L-BFGS."""
    t, tuning = settings.training, settings.tuning
    optimiser = t.optimiser
    if optimiser == "auto":
        optimiser = "gauss-newton" if suits_gauss_newton(objective.model, tuning) else "lbfgs"
    check_size(objective.model, optimiser, tuning)
    warm = WarmUp(objective, t.warmup_steps, t.learning_rate, tuning, origin)
    if optimiser == "gauss-newton":
        steps = tuning.gauss_newton_steps if t.steps is None else t.steps
        newton = GaussNewton(objective, steps, t.tolerance, tuning, held)
        return [LeastSquares(newton) if newton.linear and origin is None else warm, newton]
    steps = tuning.lbfgs_steps if t.steps is None else t.steps
    adam = Adam(objective, t.adam_steps, t.learning_rate * tuning.adam_share, tuning)
    return [warm, adam, Lbfgs(objective, steps, t.tolerance, tuning)]
