"""Levenberg-Marquardt steps on the loss, with continuation in the equation's weight.

The loss is a sum of squares, and every derivative in it is linear in the values g at the nodes (see
`linearise`). The equation's weight is raised in steps, so that the data are fitted first.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.linearise import Linearisation
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.residuals import Residuals
from mollifier.engines.collocated.stages import NonFiniteLossError, Stage
from mollifier.mollify.arrays import Array
from mollifier.nn.layers import trained

#: Values (channels, nodes) of every block, and the equation's weight -> rows, with k changes of their
#: residuals as values, (m, k).
Changed = Callable[[list[Array], float], Iterable[Residuals]]


class System(Protocol):
    """The normal equations of one step."""

    @property
    def gradient(self) -> Tensor:
        """Half the slope of the loss, shape (parameters,)."""
        ...

    @property
    def finite(self) -> bool:
        """Whether every number is finite."""
        ...

    def solve(self, damping: float) -> Tensor:
        """The step, shape (parameters,)."""
        ...


@dataclass(frozen=True)
class Component:
    """One normal distribution of a mixture."""

    precision: Array  #: Shape (p, p).
    shift: Array  #: Of its mean from where the parameters are, shape (p,).
    share: float = 1.0  #: Weight in the mixture.
    #: The part of the precision that is exact, shape (p, p): it constrains the parameters and adds no error.
    #: None for none.
    assumed: Array | None = None


class LevenbergMarquardt(Stage):
    """Levenberg-Marquardt steps on the objective, with continuation in the equation's weight.

    Raises `ConfigurationError` if derivatives are not mollified.
    """

    name = "gauss-newton"
    kept = ("damping", "weight", "most", "_still", "_reweighed")

    def __init__(self, objective: Objective, steps: int, tolerance: float) -> None:
        self.objective, self.steps, self.tolerance = objective, steps, tolerance
        self.model = objective.model
        for block in self.model.blocks:
            _ = block.mollified
        self.tuning = objective.tuning
        self.damping, self.weight, self.most = self.tuning.first_damping, self.tuning.first_weight, 1.0
        self._still, self._reweighed = 0, 0
        self.moved = 0.0
        self._linearisation: Linearisation | None = None

    @property
    def linearisation(self) -> Linearisation:
        """The sparse matrices, formed on first use."""
        if self._linearisation is None:
            self._linearisation = Linearisation(self.objective)
        return self._linearisation

    def step(self) -> dict[str, float]:
        """One step: the system is formed once and solved with increasing damping until the loss decreases."""
        nodes = self.node_values()
        if self._reweighed < self.tuning.reweighings:
            self.moved = self.reweigh(nodes, self.tuning.least_scale)
            self._reweighed += 1
        if not np.isfinite(self._losses(nodes)["loss"]):
            raise NonFiniteLossError(self.objective.first_non_finite())
        system = self._system(nodes)
        if not system.finite:
            raise NonFiniteLossError("the gradient")
        before = self._losses(nodes)
        start = self.parameters()
        predicted = 0.0
        for _ in range(self.tuning.damping_tries):
            move = system.solve(self.damping)
            predicted = max(predicted, -float(system.gradient @ move))
            self.set_parameters(start + move)
            after = self._losses(self.node_values())
            if not after["loss"] < before["loss"]:
                after = self._corrected(after)
            if np.isfinite(after["loss"]) and after["loss"] < before["loss"]:
                self.damping = max(self.damping / 3, self.tuning.least_damping)
                del system  # The verdict forms its own, and memory holds one.
                self._judge(before["loss"], after["loss"], predicted)
                return after
            self.damping *= 4
        self.set_parameters(start)
        del system
        self._judge_failure(before["loss"], predicted)
        return before

    def reweigh(self, nodes: list[Array], least_scale: float) -> float:
        """As `Objective.reweigh`, where rows of the data change between steps."""
        if not self.objective.rows_vary:
            return 0.0
        return self.linearisation.reweigh(nodes, least_scale)

    @property
    def weights_move(self) -> bool:
        """Whether the weights of the data still change."""
        return self.moved > self.tuning.reweighed and self._reweighed < self.tuning.reweighings

    @abstractmethod
    def _system(self, nodes: list[Array]) -> System:
        """The normal equations at values (channels, nodes) of every block."""

    @abstractmethod
    def marginal(self) -> tuple[list[Component], dict[str, slice]]:
        """The posterior of the unknowns' parameters, as a mixture, and where each unknown's parameters are.

        Directions of fields that nothing determines are regularised; numbers are not.
        """

    @abstractmethod
    def moved_by(self, changed: Changed) -> Array:
        """Changes (p, k) of the unknowns, as in `marginal`, by k changes of some residuals."""

    @abstractmethod
    def raw(self, block: Block) -> tuple[Array, Array | sp.csr_array]:
        """An unknown field before its bijection at its nodes, (nodes,), and slopes, (nodes, parameters)."""

    def unresolved(self, name: str, raw: Array) -> Array:
        """Standard error of a field before its bijection, (nodes,), by what coefficients do not resolve."""
        del name
        return np.zeros_like(raw)

    def _judge(self, before: float, after: float, predicted: float) -> None:
        """Raise the equation's weight when the loss stagnates; finish when it does at the full weight."""
        gain = (before - after) / before if before else 0.0
        if self.weight < self.most:
            if gain < self.tuning.slow_decrease:
                self._raise_weight()
            return
        self._still = self._still + 1 if gain < self.tolerance and not self.weights_move else 0
        if self._still >= self.tuning.steps_without_gain:
            self.finished = f"the relative decrease of the loss per step is less than {self.tolerance:g}"

    def _judge_failure(self, loss: float, predicted: float) -> None:
        """After a step that failed at any damping: the minimum is reached, or the run has stalled."""
        if self.weight < self.most:
            self._raise_weight()
            self.damping = self.tuning.first_damping
        elif predicted <= self.tolerance * loss:
            self.finished = f"no step lowers the loss or was predicted to by {self.tolerance:g} of it"
        elif self.damping > self.tuning.most_damping:
            self._stall(predicted / loss)
        else:
            self.damping = max(self.damping, self.tuning.first_damping)

    def _stall(self, predicted: float) -> None:
        """End where no step lowers the loss, though a decrease by a share of it was predicted."""
        self.outcome = "stalled"
        self.finished = (
            f"no step lowers the loss, though a decrease by {predicted:.1g} of it was predicted; the "
            "equation may not be smooth in the unknowns. Bounds or initial values for them usually help"
        )

    def _corrected(self, after: dict[str, float]) -> dict[str, float]:
        """The losses once a step that failed was corrected to second order; unchanged by default."""
        return after

    def _raise_weight(self) -> None:
        self.weight = min(self.weight * self.tuning.weight_factor, self.most)

    def _losses(self, nodes: list[Array]) -> dict[str, float]:
        parts = {"data": 0.0, "residual": 0.0, "prior": 0.0}
        equations = len(self.objective.imposed)
        data = equations + len(self.objective.fitted) + len(self.model.noise)
        with np.errstate(all="ignore"):
            for i, part in enumerate(self.linearisation.residuals(nodes, self.weight, slopes=False)):
                name = "residual" if i < equations else "data" if i < data else "prior"
                parts[name] += float(part.values @ part.values)
        return parts | {"loss": sum(parts.values())}

    def node_values(self) -> list[Array]:
        """`Model.node_values` at the present parameters."""
        return self.model.node_values()

    def _tensors(self) -> list[Tensor]:
        parts = (*self.model.noise.values(), *(b.network for b in self.model.blocks))
        networks = [p for part in parts for p in trained(part)]
        return networks + [s.raw for s in self.model.scalars.values()]

    def parameters(self) -> Tensor:
        return torch.cat([p.detach().double().reshape(-1).cpu() for p in self._tensors()])

    def set_parameters(self, flat: Tensor) -> None:
        tensors = self._tensors()
        with torch.no_grad():
            for p, values in zip(tensors, flat.split([p.numel() for p in tensors]), strict=True):
                p.copy_(values.view_as(p))

    def hidden(self) -> dict[str, Array]:
        """Hidden state -> standard errors on its grid, where the engine has them."""
        return {}

    def edges(self) -> dict[str, float]:
        """Unknown field -> log-evidence for edges in it (`edge_evidence`), where the engine blurs these."""
        return {}

    def freedom(self) -> float | None:
        """Share of the data's degrees of freedom that the fit leaves, where the engine knows it."""
        return None

    def profile(self, held: Mapping[str, float]) -> float | None:
        """How much minus twice the log-likelihood grows with numbers held at values, the rest refitted.

        None where the engine does not refit the rest.
        """
        return None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        super().load_state_dict(state)
        if self._reweighed and self.objective.rows_vary:
            self.linearisation.refresh()
