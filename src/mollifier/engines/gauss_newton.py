"""Gauss-Newton with Levenberg-Marquardt damping over the networks' weights and the unknowns.

The loss is a sum of squares, and every derivative in it is linear in the values g that the networks emit. One first
Jacobian dg/dtheta of each network therefore serves an equation of any order (`mollifier.engines.linearise`). The
equation's weight is raised in steps (continuation), so that the fit settles on the data first.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from mollifier.derivatives.mollifier import Mollified
from mollifier.engines.linearise import Linearisation, Residuals, value_matrix
from mollifier.engines.model import Block, Model
from mollifier.engines.objective import Objective
from mollifier.engines.stages import NonFiniteLossError

Array = NDArray[np.float64]

# Rows of the dense Jacobian formed at a time, and points whose network Jacobian is formed at a time.
_CHUNK = 8192
# Continuation: first weight, factor, and the relative decrease per step below which the weight is raised.
_FIRST_WEIGHT, _RAISE, _SLOW = 1e-2, 3.0, 0.05
# Most network Jacobian and sparse weights held, in numbers.
MOST_JACOBIAN = 250_000_000
MOST_WEIGHTS = 40_000_000


def fits(model: Model) -> bool:
    """Whether the problem is small enough for Gauss-Newton, and its derivatives are mollified."""
    if not all(isinstance(b.backend, Mollified) for b in model.blocks):
        return False
    jacobian = sum(_nodes(b).shape[0] * len(b.names) * _count(b.network) for b in model.blocks)
    return jacobian <= MOST_JACOBIAN and Linearisation.size(model) <= MOST_WEIGHTS


class GaussNewton:
    """Levenberg-Marquardt steps on the objective."""

    name = "gauss-newton"

    def __init__(self, objective: Objective, steps: int, tolerance: float) -> None:
        self.objective, self.steps, self.tolerance = objective, steps, tolerance
        self.model = objective.model
        self.damping = 1e-3
        self.weight = _FIRST_WEIGHT
        self.finished = ""
        self._still = 0
        self._linearisation: Linearisation | None = None

    @property
    def linearisation(self) -> Linearisation:
        """The sparse matrices, formed on first use."""
        if self._linearisation is None:
            self._linearisation = Linearisation(self.objective)
        return self._linearisation

    def step(self) -> dict[str, float]:
        """One damped step: the system is formed once and solved with more damping until the loss falls."""
        nodes = self._node_values()
        before = self._losses(nodes)
        if not np.isfinite(before["loss"]):
            raise NonFiniteLossError(self.objective.culprit())
        hessian, gradient = self.normal_equations(nodes)
        start = self._parameters()
        diagonal = hessian.diagonal()
        floor = 1e-3 * diagonal.mean()
        for _ in range(12):
            damped = hessian.clone()
            damped.diagonal().add_(self.damping * (diagonal + floor))
            move = _solve(damped, -gradient)
            self._set_parameters(start + move)
            after = self._losses(self._node_values())
            if np.isfinite(after["loss"]) and after["loss"] < before["loss"]:
                self.damping = max(self.damping / 3, 1e-12)
                self._judge(before["loss"], after["loss"])
                return after
            self.damping *= 4
        self._set_parameters(start)
        self.damping = 1e-3
        self._judge(before["loss"], before["loss"])
        return before

    def _judge(self, before: float, after: float) -> None:
        """Raise the equation's weight when the loss settles; finish when it settles at the full weight."""
        gain = (before - after) / before if before else 0.0
        if self.weight < 1.0:
            if gain < _SLOW:
                self.weight = min(self.weight * _RAISE, 1.0)
            return
        self._still = self._still + 1 if gain < self.tolerance else 0
        if self._still >= 3:
            self.finished = f"the loss fell by less than {self.tolerance:g} of itself per step"

    def normal_equations(self, nodes: list[Array] | None = None) -> tuple[Tensor, Tensor]:
        """J'J (p, p) and J'r (p,) over all parameters: each network's weights, then the scalars."""
        nodes = nodes if nodes is not None else self._node_values()
        jacobians = [network_jacobian(b) for b in self.model.blocks]
        edges = np.concatenate([[0], np.cumsum([j.shape[-1] for j in jacobians])]).astype(int)
        place = {b: slice(int(edges[b]), int(edges[b + 1])) for b in range(len(jacobians))}
        place |= {n: slice(int(edges[-1]) + i, int(edges[-1]) + i + 1) for i, n in enumerate(self.model.scalars)}
        total = int(edges[-1]) + len(self.model.scalars)
        hessian, gradient = torch.zeros(total, total).double(), torch.zeros(total).double()
        slopes = {n: s.slope() for n, s in self.model.scalars.items()}  # type: ignore[operator]
        for part in self.linearisation.residuals(nodes, self.weight, slopes=True):
            for low in range(0, len(part.values), _CHUNK):
                rows = slice(low, low + _CHUNK)
                dense = _dense_rows(part, rows, jacobians, slopes)
                values = torch.from_numpy(np.ascontiguousarray(part.values[rows]))
                for a, left in dense.items():
                    gradient[place[a]] += left.T @ values
                    for b, right in dense.items():
                        if place[a].start <= place[b].start:
                            hessian[place[a], place[b]].addmm_(left.T, right)
        upper = hessian.triu(1)
        return hessian.triu_().add_(upper.T), gradient

    def _losses(self, nodes: list[Array]) -> dict[str, float]:
        parts = {"data": 0.0, "residual": 0.0, "prior": 0.0}
        count = len(self.objective.equations)
        data = count + len(self.objective.targets)
        with np.errstate(all="ignore"):
            for i, part in enumerate(self.linearisation.residuals(nodes, self.weight, slopes=False)):
                name = "residual" if i < count else "data" if i < data else "prior"
                parts[name] += float(part.values @ part.values)
        return parts | {"loss": sum(parts.values())}

    def _node_values(self) -> list[Array]:
        with torch.no_grad():
            return [b.network(_nodes(b)).double().T.cpu().numpy() for b in self.model.blocks]

    def _tensors(self) -> list[Tensor]:
        networks = [p for b in self.model.blocks for p in b.network.parameters()]
        return networks + [s.raw for s in self.model.scalars.values()]  # type: ignore[misc]

    def _parameters(self) -> Tensor:
        return torch.cat([p.detach().double().reshape(-1).cpu() for p in self._tensors()])

    def _set_parameters(self, flat: Tensor) -> None:
        with torch.no_grad():
            for p, values in zip(self._tensors(), flat.split([p.numel() for p in self._tensors()]), strict=True):
                p.copy_(values.view_as(p))

    def close(self) -> None:
        """Nothing follows."""

    def covariance(self) -> Tensor:
        """Laplace covariance of all parameters, (p, p): the inverse of n J'J, n the number of samples.

        Directions that neither data, equation nor prior determine are held at a spread of one raw unit.
        """
        hessian, _ = self.normal_equations()
        precision = hessian * self.objective.count + torch.eye(len(hessian)).double()
        return torch.cholesky_inverse(torch.linalg.cholesky(precision))

    def field_sd(self) -> dict[str, Array]:
        """Laplace standard errors of the unknown fields on their grids."""
        covariance = self.covariance()
        result: dict[str, Array] = {}
        low = 0
        for block in self.model.blocks:
            high = low + _count(block.network)
            if block.names[0] in self.model.unknown_blocks:
                jacobian = _sparse(value_matrix(block)) @ network_jacobian(block)[0]
                spread = (jacobian @ covariance[low:high, low:high]).mul_(jacobian).sum(-1).clamp_min(0).sqrt()
                result[block.names[0]] = spread.numpy().reshape(block.grid.shape)
            low = high
        return result

    def state_dict(self) -> dict[str, Any]:
        """Damping, weight and what convergence is judged by."""
        return {"damping": self.damping, "weight": self.weight, "still": self._still}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        self.damping, self.weight, self._still = state["damping"], state["weight"], state["still"]


def network_jacobian(block: Block, points: Tensor | None = None) -> Tensor:
    """dg/dtheta of a block's network at its nodes (or other scaled points), shape (channels, points, weights)."""
    parameters = {n: p.detach() for n, p in block.network.named_parameters()}
    buffers = dict(block.network.named_buffers())

    def values(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(block.network, {**weights, **buffers}, (x[None],))[0]

    x = _nodes(block) if points is None else points
    slopes = vmap(jacrev(values), (None, 0), chunk_size=_CHUNK)(parameters, x)
    flat = [slopes[n].flatten(2) for n in parameters]
    return torch.cat(flat, dim=-1).double().movedim(1, 0).contiguous().cpu()


def _nodes(block: Block) -> Tensor:
    backend = block.backend
    assert isinstance(backend, Mollified)
    return backend.nodes(block.network)


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _dense_rows(
    part: Residuals, rows: slice, jacobians: list[Tensor], slopes: dict[str, float]
) -> dict[int | str, Tensor]:
    """Rows of the Jacobian by what they depend on: networks' weights by block, and raw scalars by name."""
    dense: dict[int | str, Tensor] = {}
    for (b, channel), matrix in part.fields.items():
        piece = _sparse(matrix[rows]) @ jacobians[b][channel]
        dense[b] = dense[b].add_(piece) if b in dense else piece
    for name, column in part.scalars.items():
        dense[name] = torch.from_numpy(np.ascontiguousarray(column[rows]) * slopes[name])[:, None]
    return dense


def _sparse(matrix: Any) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data),
            size=matrix.shape,
            check_invariants=False,
        )


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info) == 0:
        return torch.cholesky_solve(right[:, None], factor)[:, 0]
    return torch.linalg.lstsq(matrix, right[:, None]).solution[:, 0]
