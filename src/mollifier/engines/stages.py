"""The stages of training: each takes steps on the objective and can be saved between any two of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from mollifier.engines.calibrate import calibrate
from mollifier.engines.objective import Objective


class NonFiniteLossError(ArithmeticError):
    """The loss, or its gradient, is not a finite number; the message names the term."""


class Stage(Protocol):
    """A run of steps of one optimiser."""

    name: str
    steps: int

    def step(self) -> dict[str, float]:
        """Take one step; the losses before it."""
        ...

    @property
    def finished(self) -> str:
        """Why the stage is over before its steps are, or nothing."""
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

    The warm-up evaluates the networks where the data are, without the kernel, and ends with a first guess of the
    unknowns (`calibrate`).
    """

    def __init__(self, objective: Objective, steps: int, rate: float, warmup: bool) -> None:
        self.name = "warm-up" if warmup else "adam"
        self.objective, self.steps, self.rate, self.warmup = objective, steps, rate, warmup
        parameters = (objective.model.state_blocks if warmup else objective.model).parameters()
        self.optimiser = torch.optim.Adam(list(parameters), lr=rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimiser, max(steps, 1), eta_min=rate / 50
        )
        self.finished = ""

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
        self.optimiser.step()
        self.schedule.step()
        return losses

    def _data_loss(self) -> Tensor:
        observed = []
        for block in self.objective.model.state_blocks:
            values = block.backend.evaluate(block.network).flatten(1)  # type: ignore[operator,union-attr]
            observed.append(values * block.scale[:, None] + block.level[:, None])  # type: ignore[index]
        return self.objective.misfits(observed).square().sum() / max(self.objective.count, 1)

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
    _ITERATIONS = 10

    def __init__(self, objective: Objective, steps: int, tolerance: float) -> None:
        self.objective, self.tolerance = objective, tolerance
        self.steps = max(steps // self._ITERATIONS, 1) if steps else 0
        self.optimiser = torch.optim.LBFGS(
            list(objective.model.parameters()),
            max_iter=self._ITERATIONS,
            max_eval=2 * self._ITERATIONS,
            history_size=50,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        self.finished = ""
        self._before = float("inf")
        self._still = 0

    def step(self) -> dict[str, float]:
        """Ten iterations; finished when three steps in a row gain less than the tolerance for each iteration."""
        seen: list[dict[str, float]] = []

        def closure() -> Tensor:
            self.optimiser.zero_grad()
            parts = self.objective()
            if not torch.isfinite(parts.total):
                raise NonFiniteLossError(self.objective.culprit())
            parts.total.backward()
            seen.append(parts.numbers())
            return parts.total

        self.optimiser.step(closure)  # type: ignore[arg-type]
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
        self._before, self._still = state["before"], state["still"]


Progressed = Callable[[Stage, int, dict[str, float]], None]
