"""PINA: a network for the state and one for the unknown field, by PDE residuals and observations."""

# An extra, not installed for development.
from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from benchmarks.cases.base import Case
from benchmarks.peers.pinn import ADAM, DEPTH, LEARNING_RATE, WIDTH, Clock, Posed, Watch, pose
from mollifier.data.observations import Observations

# Between two looks at the clock.
_LBFGS_STEPS = 5


def recover(case: Case, data: Observations, seconds: float, seed: int, watch: Watch) -> xr.Dataset:
    """PINA: the unknown is a further output, the observations a `Condition`; Adam, then L-BFGS.

    As its tutorials do (1, "Introduction to PINA for Physics Informed Neural Networks training", and 7,
    "Resolution of an inverse problem"): a problem of conditions on a sampled domain, `FeedForward` tanh
    networks (here two, of 3 layers of 40), its physics-informed solver with `ScalarWeighting`, its operators
    for derivatives, its `Trainer`, optimisers in its `TorchOptimizer`. Its inverse problems know numbers
    only, so the unknown field is an output; and as a target would be compared with every output, the
    observations enter as an equation. Scaling, softplus, periodic features, the split of the fourth order,
    loss weights, rates and the choice by observations held out are those of DeepXDE here, so that
    the two differ by their own code alone.

    Adam takes a fifth of the time at rate 3e-3; L-BFGS, in double precision, the rest. Beyond 4,000
    observations: batches of 500 by the trainer, Adam throughout, single precision. Rates,
    parts and weights were set by hand after a few short runs on one seed, seen against the truth; no search
    was made, and others may serve it better. Time counts from when it is imported.

    Parameters
    ----------
    case
        Langevin, heat or chromatin.
    data
        Noisy observations of it.
    seconds
        Wall clock; the last step that is begun is one that should end within it.
    seed
        Of the start, the batches and the observations held out.
    watch
        Called now and then with the seconds so far and the best fields so far.

    Raises
    ------
    ConfigurationError
        If it is another case.
    """
    with _quiet():
        import lightning
        from pina.optim import TorchOptimizer

        started = time.perf_counter()
        lightning.seed_everything(seed, verbose=False)
        posed = pose(case, data, seed)
        torch.set_default_dtype(torch.float32 if posed.batch else torch.float64)
        network = _network(posed)
        clock = Clock(posed, seconds, watch, started)
        problem = _problem(posed)
        adam = TorchOptimizer(torch.optim.Adam, lr=LEARNING_RATE)
        _train(problem, network, adam, clock, 1.0 if posed.batch else ADAM)
        if posed.batch is None:
            lbfgs = TorchOptimizer(
                torch.optim.LBFGS,
                max_iter=_LBFGS_STEPS,
                history_size=100,
                tolerance_grad=0.0,
                tolerance_change=0.0,
                line_search_fn="strong_wolfe",
            )
            _train(problem, network, lbfgs, clock, 1.0)
        return clock.end(network.state, network.unknown)


@contextmanager
def _quiet() -> Iterator[None]:
    """The precision put back, and neither Lightning's advice nor what PINA does to warnings."""
    precision, form = torch.get_default_dtype(), warnings.formatwarning
    talk = logging.getLogger("lightning.pytorch")
    level = talk.level
    with warnings.catch_warnings():
        try:
            import pina  # noqa: F401  sets filters when it is imported

            warnings.simplefilter("ignore")
            talk.setLevel(logging.ERROR)
            yield
        finally:
            torch.set_default_dtype(precision)
            talk.setLevel(level)
            warnings.formatwarning = form


def _network(posed: Posed) -> Any:
    """A network for the state and one for the unknown, which may depend on fewer coordinates."""
    from pina.model import FeedForward

    class Pair(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            hidden = [WIDTH] * DEPTH
            wide = 1 + len(posed.balance.auxiliary)
            self.state = FeedForward(posed.inputs(posed.coordinates), wide, layers=hidden)
            self.unknown = FeedForward(posed.inputs(posed.over), 1, layers=hidden)

        def forward(self, x: Any) -> Tensor:
            ordered = x.extract(list(posed.coordinates))  # PINA sorts them by name
            return posed.outputs(ordered.as_subclass(Tensor), self.state, self.unknown)

    return Pair()


def _problem(posed: Posed) -> Any:
    """Residuals at quasi-random points, the observations as input and target."""
    from pina import Condition, LabelTensor
    from pina.domain import CartesianDomain
    from pina.equation import Equation
    from pina.operator import grad
    from pina.problem import SpatialProblem

    def residuals(x: Any, y: Any) -> Any:
        def gradient(v: Tensor, names: Any) -> list[Tensor]:
            slopes = grad(LabelTensor(v, ["v"]), x, ["v"], list(names)).as_subclass(Tensor)
            return list(slopes.split(1, dim=1))

        columns = {n: v.extract([n]).as_subclass(Tensor) for v in (x, y) for n in v.labels}
        found = posed.balance.residuals(columns, gradient)
        scales = posed.balance.scales
        # One condition has one weight, so each residual is brought to the scale of the first.
        same = [r * (scales[0] / s) for r, s in zip(found, scales, strict=True)]
        return LabelTensor(torch.cat(same, dim=1), [f"r{i}" for i in range(len(same))])

    def observed(x: Any, y: Any) -> Any:
        return y.extract([posed.state]) - x.extract(["target"])

    box = CartesianDomain(
        {c: [float(a), float(b)] for c, a, b in zip(posed.coordinates, posed.lower, posed.upper, strict=True)}
    )
    # An input with a target would be compared with all outputs, the unknown among them.
    measurements = torch.as_tensor(np.hstack([posed.points, posed.values]), dtype=torch.get_default_dtype())

    body = {
        "output_variables": list(posed.names),
        "spatial_domain": box,
        "domains": {"inside": box},
        "conditions": {
            "equation": Condition(domain="inside", equation=Equation(residuals)),
            "data": Condition(
                input=LabelTensor(measurements, [*posed.coordinates, "target"]), equation=Equation(observed)
            ),
        },
    }
    problem: Any = type("Recovery", (SpatialProblem,), body)()
    problem.discretise_domain(n=posed.collocation, mode="latin", domains="inside")
    return problem


def _train(problem: Any, network: Any, optimizer: Any, clock: Clock, until: float) -> None:
    """Descend until a part of the time is over."""
    from lightning.pytorch.callbacks import Callback
    from pina import Trainer
    from pina.solver import PhysicsInformedSingleModelSolver
    from pina.weighting import ScalarWeighting

    class Stop(Callback):
        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            trainer.should_stop = clock.step(network.state, network.unknown, until)

    posed = clock.posed
    weights = ScalarWeighting({"equation": posed.weights[0], "data": posed.weights[-1]})
    solver = PhysicsInformedSingleModelSolver(problem, network, optimizer, weighting=weights)
    trainer = Trainer(
        solver,
        batch_size=posed.batch,
        max_epochs=-1,
        accelerator="cpu",
        callbacks=[Stop()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
    )
    trainer.train()
