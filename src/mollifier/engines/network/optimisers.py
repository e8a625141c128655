"""The first-order stages of the network engine: Adam on the data, Adam and L-BFGS on the whole loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.calibrate import adopt, calibrate
from mollifier.engines.collocated.objective import Losses, Objective, plain
from mollifier.engines.collocated.stages import NonFiniteLossError, Stage
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.engines.start import Origin, sampled
from mollifier.nn.layers import trained


class Adam(Stage):
    """Adam (Kingma and Ba, arXiv:1412.6980) with a cosine schedule on the whole loss.

    ``rate`` is the first learning rate.
    """

    name = "adam"

    def __init__(self, objective: Objective, steps: int, rate: float, tuning: NetworkTuning) -> None:
        self.objective, self.steps, self.tuning = objective, steps, tuning
        self.parameters = trained(objective.model)
        self.optimiser = torch.optim.Adam(self.parameters, lr=rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimiser, max(steps, 1), eta_min=rate * tuning.last_rate
        )

    def step(self) -> dict[str, float]:
        """One Adam step."""
        self.optimiser.zero_grad()
        losses = _descended(self.objective, self._loss(), self.parameters)
        self.optimiser.step()
        self.schedule.step()
        return losses

    def _loss(self) -> Losses:
        """The loss by its parts."""
        return self.objective()

    def state_dict(self) -> dict[str, Any]:
        """As in `Stage`, with moments and schedule."""
        optimiser, schedule = self.optimiser.state_dict(), self.schedule.state_dict()
        return super().state_dict() | {"optimiser": optimiser, "schedule": schedule}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        super().load_state_dict(state)
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


class WarmUp(Adam):
    """Adam on the data alone, which ends with a first guess of the unknowns (`calibrate`).

    It stops early once the data are fitted to within their noise: a closer fit would be undone by the
    equation. The networks are evaluated without the kernel. Given an earlier answer, the unknowns start at
    its values, and the networks are fitted to its fields: unknown fields, and states where it has them.
    """

    name = "warm-up"
    kept = ("adopted", "targets")
    estimates = False

    def __init__(
        self,
        objective: Objective,
        steps: int,
        rate: float,
        tuning: NetworkTuning,
        origin: Origin | None = None,
    ) -> None:
        super().__init__(objective, steps, rate, tuning)
        self.adopted = bool(origin)
        self.targets: dict[int, tuple[Tensor, Tensor]] = {}
        if origin:
            adopt(objective, origin)
            for b, block in enumerate(objective.model.blocks):
                held = origin.states if block.bijection is None else origin.fields
                if all(n in held for n in block.names):
                    self.targets[b] = _targets(objective, block, held, tuning.start_nodes)

    def step(self) -> dict[str, float]:
        """One Adam step; the stage ends if the data were fitted before it."""
        losses = super().step() | {"residual": float("nan")}
        if not self.targets and losses["data"] <= self.tuning.fitted_misfit:
            self.finished = "the data are fitted to within their noise"
        return losses

    def _loss(self) -> Losses:
        model, nothing = self.objective.model, self.objective.sizes.new_zeros(())
        total = nothing
        if not any(b in self.targets for b in range(len(model.state_blocks))):
            total = self._data_loss()
        for b, (points, values) in self.targets.items():
            total = total + self._distance(model.blocks[b], points, values)
        return Losses(total, nothing, nothing)

    def _data_loss(self) -> Tensor:
        observed: dict[int, Tensor] = {}
        for b, block in enumerate(self.objective.model.state_blocks):
            values = block.backend.evaluate(block.network)
            assert values is not None
            observed[b] = block.physical(values)
        return self.objective.data_loss(observed)

    def _distance(self, block: Block, points: Tensor, values: Tensor) -> Tensor:
        """Mean squared distance of a block's fields from an answer's, in units of the relative noise."""
        like = trained(block.network)[0]
        found = block.physical(block.network(points.to(like)).to(values).T)
        scale = block.scale if block.bijection is None else values.square().mean(1).sqrt()
        return ((found - values) / (scale[:, None] * self.objective.tau)).square().mean()

    def close(self) -> None:
        """The first guess of the unknowns, unless an answer gave it, and the sizes of the terms."""
        calibrate(self.objective, self.adopted)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        super().load_state_dict(state)
        where = self.objective.sizes.device
        self.targets = {b: (x.to(where), v.to(where)) for b, (x, v) in self.targets.items()}


def _targets(
    objective: Objective, block: Block, held: Mapping[str, xr.DataArray], most: int
) -> tuple[Tensor, Tensor]:
    """Scaled points (n, d) of a block's grid, at most so many, and an answer's values (channels, n) there."""
    problem, names = objective.model.problem, block.grid.names
    scaled = objective.model.collocation.scaled_grid.subgrid(names).coords()
    physical = block.grid.coords()
    if len(physical) > most:
        chosen = torch.randperm(len(physical))[:most].numpy()
        scaled, physical = scaled[chosen], physical[chosen]
    points = dict(zip(names, physical.T, strict=True))
    values = np.stack([sampled(held[n], points, problem.data.periodic) for n in block.names])
    for i, n in enumerate(block.names):
        unknown = problem.unknowns.get(n)
        if unknown is not None:
            values[i] = np.clip(values[i], unknown.lower, unknown.upper)
    where = objective.sizes.device
    return torch.from_numpy(np.ascontiguousarray(scaled)).to(where), torch.from_numpy(values).to(where)


class Lbfgs(Stage):
    """L-BFGS with a strong Wolfe line search, several iterations a step.

    It takes at most ``steps`` iterations, and has converged where the relative decrease of the loss per
    iteration is below ``tolerance``.
    """

    name = "lbfgs"
    kept = ("_before", "_still")

    def __init__(self, objective: Objective, steps: int, tolerance: float, tuning: NetworkTuning) -> None:
        self.objective, self.tolerance, self.tuning = objective, tolerance, tuning
        iterations = tuning.lbfgs_iterations
        self.steps = max(steps // iterations, 1) if steps else 0
        self.parameters = trained(objective.model)
        self.optimiser = torch.optim.LBFGS(
            self.parameters,
            max_iter=iterations,
            max_eval=2 * iterations,
            history_size=tuning.lbfgs_history,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        self._before = float("inf")
        self._still = 0

    def step(self) -> dict[str, float]:
        """Several iterations; converged after some steps in a row below the tolerance."""
        seen: list[dict[str, float]] = []

        def closure() -> float:
            self.optimiser.zero_grad()
            seen.append(_descended(self.objective, self.objective(), self.parameters))
            return seen[-1]["loss"]

        self.optimiser.step(closure)
        losses = seen[-1]
        gained = self._before - losses["loss"]
        least = self.tuning.lbfgs_iterations * self.tolerance * losses["loss"]
        self._still = self._still + 1 if gained < least else 0
        self._before = losses["loss"]
        if self._still >= self.tuning.steps_without_gain:
            self.finished = f"the relative decrease of the loss per step is less than {self.tolerance:g}"
        return losses

    def state_dict(self) -> dict[str, Any]:
        """As in `Stage`, with pairs of steps and gradients."""
        return super().state_dict() | {"optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        super().load_state_dict(state)
        self.optimiser.load_state_dict(state["optimiser"])
        # Torch casts the state to the first parameter's type; networks may be float32, numbers are float64.
        self.optimiser.state[self.parameters[0]].update(state["optimiser"]["state"].get(0, {}))


def _descended(objective: Objective, losses: Losses, parameters: Sequence[Tensor]) -> dict[str, float]:
    """The parts of a loss, whose gradient is set; a device is waited for once.

    Raises `NonFiniteLossError` if the loss or its gradient is not finite.
    """
    losses.total.backward()
    largest = [p.grad.abs().max().to(losses.data) for p in parameters if p.grad is not None and p.numel()]
    numbers = plain(losses.parts | {"gradient": torch.stack(largest).sum()})
    if not math.isfinite(numbers["loss"] + numbers.pop("gradient")):
        raise NonFiniteLossError(objective.first_non_finite())
    return numbers
