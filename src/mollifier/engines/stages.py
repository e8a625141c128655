"""The stages of training: each takes steps on the objective and can be saved between any two of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from mollifier.engines.calibrate import calibrate
from mollifier.engines.jacobian import trained
from mollifier.engines.objective import Objective
from mollifier.solution import StatusName


class NonFiniteLossError(ArithmeticError):
    """The loss, or its gradient, is not a finite number; the message names the term."""


class Stage(Protocol):
    """A run of steps of one optimiser."""

    name: str
    steps: int
    finished: str
    """Why the stage is over before its steps are, or nothing."""
    outcome: StatusName
    """What having finished means."""
    estimates: bool
    """Whether the unknowns have values yet."""

    def step(self) -> dict[str, float]:
        """Take one step; the losses before it."""
        ...

    def close(self) -> None:
        """What follows the last step."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on beside the model."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        ...


class Adam:
    """Adam with a cosine schedule, on the data alone (``warmup``) or on the whole loss.

    The warm-up evaluates the networks where the data are, without the kernel, and ends with a first guess of
    the unknowns (`calibrate`).
    """

    def __init__(self, objective: Objective, steps: int, rate: float, warmup: bool) -> None:
        self.name = "warm-up" if warmup else "adam"
        self.objective, self.steps, self.rate, self.warmup = objective, steps, rate, warmup
        self.estimates = not warmup
        model = objective.model
        parts = [b.network for b in model.state_blocks] if warmup else [model]
        self.parameters = [p for part in parts for p in trained(part)]
        self.optimiser = torch.optim.Adam(self.parameters, lr=rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimiser, max(steps, 1), eta_min=rate / 50
        )
        self.finished = ""
        self.outcome: StatusName = "converged"

    def step(self) -> dict[str, float]:
        """One Adam step."""
        self.optimiser.zero_grad()
        if self.warmup:
            data = self._data_loss()
            losses = {"data": float(data.detach()), "residual": float("nan"), "prior": 0.0}
            losses["loss"] = losses["data"]
            total = data
        else:
            parts = self.objective()
            losses, total = parts.numbers(), parts.total
        if not torch.isfinite(total):
            raise NonFiniteLossError(self.objective.culprit())
        total.backward()
        _check_gradient(self.objective, self.parameters)
        self.optimiser.step()
        self.schedule.step()
        return losses

    def _data_loss(self) -> Tensor:
        observed = []
        for block in self.objective.model.state_blocks:
            values = block.backend.evaluate(block.network)
            assert values is not None
            observed.append(block.physical(values))
        return self.objective.misfits(observed).square().sum() / self.objective.count

    def close(self) -> None:
        """After the warm-up, the first guess of the unknowns."""
        if self.warmup:
            calibrate(self.objective)

    def state_dict(self) -> dict[str, Any]:
        """Moments and schedule."""
        return {"optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


class Lbfgs:
    """L-BFGS with a strong Wolfe line search, ten iterations a step."""

    name = "lbfgs"
    estimates = True
    _ITERATIONS = 10

    def __init__(self, objective: Objective, steps: int, tolerance: float) -> None:
        self.objective, self.tolerance = objective, tolerance
        self.steps = max(steps // self._ITERATIONS, 1) if steps else 0
        self.parameters = trained(objective.model)
        self.optimiser = torch.optim.LBFGS(
            self.parameters,
            max_iter=self._ITERATIONS,
            max_eval=2 * self._ITERATIONS,
            history_size=50,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        self.finished = ""
        self.outcome: StatusName = "converged"
        self._before = float("inf")
        self._still = 0

    def step(self) -> dict[str, float]:
        """Ten iterations; finished when three steps in a row gain less than the tolerance an iteration."""
        seen: list[dict[str, float]] = []

        def closure() -> float:
            self.optimiser.zero_grad()
            parts = self.objective()
            if not torch.isfinite(parts.total):
                raise NonFiniteLossError(self.objective.culprit())
            parts.total.backward()
            _check_gradient(self.objective, self.parameters)
            seen.append(parts.numbers())
            return seen[-1]["loss"]

        self.optimiser.step(closure)
        losses = seen[-1]
        gained = self._before - losses["loss"]
        self._still = self._still + 1 if gained < self._ITERATIONS * self.tolerance * losses["loss"] else 0
        self._before = losses["loss"]
        if self._still >= 3:
            self.finished = f"the loss fell by less than {self.tolerance:g} of itself per step"
        return losses

    def close(self) -> None:
        """Nothing follows."""

    def state_dict(self) -> dict[str, Any]:
        """Curvature pairs and what convergence is judged by."""
        return {"optimiser": self.optimiser.state_dict(), "before": self._before, "still": self._still}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        self.optimiser.load_state_dict(state["optimiser"])
        # Torch casts to the type of the first parameter; networks in float32 stand beside numbers in float64.
        kept = self.optimiser.state[self.parameters[0]]
        kept.update(state["optimiser"]["state"].get(0, {}))
        self._before, self._still = state["before"], state["still"]


def _check_gradient(objective: Objective, parameters: Sequence[Tensor]) -> None:
    """Refuse to take a step along what is not finite."""
    norms = [p.grad.abs().max() for p in parameters if p.grad is not None and p.numel()]
    if not bool(torch.isfinite(torch.stack([n.double() for n in norms])).all()):
        raise NonFiniteLossError(objective.culprit())
