"""Gauss-Newton with Levenberg-Marquardt damping over the networks' weights and the unknowns.

The loss is a sum of squares, and every derivative in it is linear in the values g that the networks emit.
One first Jacobian dg/dtheta of each network therefore serves an equation of any order
(`mollifier.engines.linearise`). The equation's weight is raised in steps (continuation), so that the fit
settles on the data first.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mollifier.derivatives.mollifier import Mollified
from mollifier.engines.jacobian import count, network_jacobian, trained
from mollifier.engines.linearise import Linearisation, Residuals
from mollifier.engines.model import Block, Model
from mollifier.engines.objective import Objective
from mollifier.engines.stages import NonFiniteLossError
from mollifier.solution import StatusName

Array = NDArray[np.float64]

# Rows of the dense Jacobian formed at a time.
_CHUNK = 8192
# Continuation: first weight, factor, and the relative decrease per step below which the weight is raised.
_FIRST_WEIGHT, _RAISE, _SLOW = 1e-2, 3.0, 0.05
# Damping: at first, its least, and most tries a step; beyond the most it is of no use.
_DAMPING, _LEAST_DAMPING, _MOST_DAMPING, _TRIES = 1e-3, 1e-12, 1e8, 12
# Most weights, network Jacobian and sparse weights held, in numbers.
MOST_PARAMETERS = 6000
MOST_JACOBIAN = 250_000_000
MOST_WEIGHTS = 100_000_000


def suits(model: Model) -> bool:
    """Whether derivatives are mollified, the problem is small enough, and networks can be differentiated."""
    if not all(isinstance(b.backend, Mollified) for b in model.blocks):
        return False
    sizes = [count(b.network) for b in model.blocks]
    if sum(sizes) > MOST_PARAMETERS or Linearisation.size(model) > MOST_WEIGHTS:
        return False
    if (
        sum(len(b.nodes()) * len(b.names) * n for b, n in zip(model.blocks, sizes, strict=True))
        > MOST_JACOBIAN
    ):
        return False
    try:
        for b in model.blocks:
            network_jacobian(b.network, b.nodes()[:2])
    except RuntimeError:  # a module that torch.func cannot batch
        return False
    return True


class System(Protocol):
    """The normal equations of one step."""

    @property
    def gradient(self) -> Tensor:
        """Half the slope of the loss, shape (parameters,)."""
        ...

    @property
    def finite(self) -> bool:
        """Whether every number in them is."""
        ...

    def solve(self, damping: float) -> Tensor:
        """The step, shape (parameters,)."""
        ...


@dataclass(frozen=True)
class Component:
    """One normal distribution of a mixture.

    Attributes
    ----------
    precision
        Shape (p, p).
    shift
        Of its mean from where the parameters are, shape (p,).
    share
        Of the mixture.
    """

    precision: Tensor
    shift: Array
    share: float = 1.0


class LevenbergMarquardt(ABC):
    """Levenberg-Marquardt steps on the objective, with continuation in the equation's weight.

    Raises
    ------
    ConfigurationError
        If derivatives are not mollified.
    """

    name = "gauss-newton"
    estimates = True

    def __init__(self, objective: Objective, steps: int, tolerance: float) -> None:
        self.objective, self.steps, self.tolerance = objective, steps, tolerance
        self.model = objective.model
        for block in self.model.blocks:
            _ = block.mollified
        self.damping = _DAMPING
        self.weight = _FIRST_WEIGHT
        self.finished = ""
        self.outcome: StatusName = "converged"
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
        if not np.isfinite(self._losses(nodes)["loss"]):
            raise NonFiniteLossError(self.objective.culprit())
        system = self._system(nodes)
        if not system.finite:
            raise NonFiniteLossError("the gradient")
        before = self._losses(nodes)
        start = self._parameters()
        promised = 0.0
        for _ in range(_TRIES):
            move = system.solve(self.damping)
            promised = max(promised, -float(system.gradient @ move))
            self._set_parameters(start + move)
            after = self._losses(self._node_values())
            if np.isfinite(after["loss"]) and after["loss"] < before["loss"]:
                self.damping = max(self.damping / 3, _LEAST_DAMPING)
                self._judge(before["loss"], after["loss"], promised)
                return after
            self.damping *= 4
        self._set_parameters(start)
        self._judge_failure(before["loss"], promised)
        return before

    @abstractmethod
    def _system(self, nodes: list[Array]) -> System:
        """The normal equations at values (channels, nodes) of every block."""

    @abstractmethod
    def marginal(self) -> tuple[list[Component], dict[str, slice]]:
        """How parameters are distributed among which are all of the unknowns', and where each unknown's are.

        Directions of fields that nothing determines are held; numbers are not.
        """

    @abstractmethod
    def raw(self, block: Block) -> tuple[Array, Array | sp.csr_array]:
        """An unknown field before its bijection at its nodes, (nodes,), and slopes, (nodes, parameters)."""

    def _judge(self, before: float, after: float, promised: float) -> None:
        """Raise the equation's weight when the loss settles; finish when it settles at the full weight."""
        gain = (before - after) / before if before else 0.0
        if self.weight < 1.0:
            if gain < _SLOW:
                self._raise_weight()
            return
        self._still = self._still + 1 if gain < self.tolerance else 0
        if self._still >= 3:
            self.finished = f"the loss fell by less than {self.tolerance:g} of itself per step"

    def _judge_failure(self, loss: float, promised: float) -> None:
        """No damping tried lowered the loss: that is the minimum, or there is no way on."""
        if self.weight < 1.0:
            self._raise_weight()
            self.damping = _DAMPING
        elif promised <= self.tolerance * loss:
            self.finished = f"no step lowers the loss, and none promised more than {self.tolerance:g} of it"
        elif self.damping > _MOST_DAMPING:
            self.outcome = "stalled"
            self.finished = (
                f"no step lowers the loss, though {promised / loss:.1g} of it was promised; the equation may "
                "not be smooth in the unknowns. Bounds or initial values for them, or another seed, usually "
                "help"
            )
        else:
            self.damping = max(self.damping, _DAMPING)

    def _raise_weight(self) -> None:
        self.weight = min(self.weight * _RAISE, 1.0)

    def _losses(self, nodes: list[Array]) -> dict[str, float]:
        parts = {"data": 0.0, "residual": 0.0, "prior": 0.0}
        equations = len(self.objective.equations)
        data = equations + len(self.objective.fitted)
        with np.errstate(all="ignore"):
            for i, part in enumerate(self.linearisation.residuals(nodes, self.weight, slopes=False)):
                name = "residual" if i < equations else "data" if i < data else "prior"
                parts[name] += float(part.values @ part.values)
        return parts | {"loss": sum(parts.values())}

    def _node_values(self) -> list[Array]:
        with torch.no_grad():
            return [b.network(b.nodes()).double().T.cpu().numpy() for b in self.model.blocks]

    def _tensors(self) -> list[Tensor]:
        networks = [p for b in self.model.blocks for p in trained(b.network)]
        return networks + [s.raw for s in self.model.scalars.values()]

    def _parameters(self) -> Tensor:
        return torch.cat([p.detach().double().reshape(-1).cpu() for p in self._tensors()])

    def _set_parameters(self, flat: Tensor) -> None:
        tensors = self._tensors()
        with torch.no_grad():
            for p, values in zip(tensors, flat.split([p.numel() for p in tensors]), strict=True):
                p.copy_(values.view_as(p))

    def close(self) -> None:  # noqa: B027 - a stage has one, and nothing need follow
        """Nothing follows."""

    def state_dict(self) -> dict[str, Any]:
        """Damping, weight and what convergence is judged by."""
        return {"damping": self.damping, "weight": self.weight, "still": self._still}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        self.damping, self.weight, self._still = state["damping"], state["weight"], state["still"]


class GaussNewton(LevenbergMarquardt):
    """Levenberg-Marquardt steps over the weights of networks: dense normal equations.

    Raises
    ------
    ConfigurationError
        If derivatives are not mollified.
    """

    def _system(self, nodes: list[Array]) -> System:
        return _Dense(*self.normal_equations(nodes, self.weight))

    def marginal(self) -> tuple[list[Component], dict[str, slice]]:
        """One component over all parameters; weights of networks are held to a spread of one."""
        hessian, _ = self.normal_equations()
        sizes = [count(b.network) for b in self.model.blocks] + [1] * len(self.model.scalars)
        edges = np.cumsum([0, *sizes]).tolist()
        names = [*self.model.unknown_blocks, *self.model.scalars]
        first = len(self.model.state_blocks)
        held = torch.zeros(edges[-1], dtype=torch.float64)
        held[: edges[len(self.model.blocks)]] = 1.0
        places = {n: slice(*edges[first + i : first + i + 2]) for i, n in enumerate(names)}
        return [Component(hessian * self.objective.count + held.diag(), np.zeros(edges[-1]))], places

    def raw(self, block: Block) -> tuple[Array, Array]:
        """An unknown field before its bijection at its nodes, (nodes,), and slopes, (nodes, weights)."""
        network, nodes = block.network[0], block.nodes()  # pyright: ignore[reportIndexIssue]
        assert isinstance(network, nn.Module)
        with torch.no_grad():
            values = network(nodes).double().cpu().numpy()[:, 0]
        return values, network_jacobian(network, nodes)[0].numpy()

    def normal_equations(
        self, nodes: list[Array] | None = None, weight: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """J'J (p, p) and J'r (p,) over all parameters: each network's weights, then the scalars.

        ``nodes`` are values (channels, nodes) of every block, those of the networks by default; ``weight``
        multiplies the equation's.
        """
        nodes = nodes if nodes is not None else self._node_values()
        jacobians = [network_jacobian(b.network, b.nodes()) for b in self.model.blocks]
        edges = np.cumsum([0, *(j.shape[-1] for j in jacobians), *(1 for _ in self.model.scalars)]).tolist()
        keys: list[int | str] = [*range(len(jacobians)), *self.model.scalars]
        place = {k: slice(low, high) for k, low, high in zip(keys, edges[:-1], edges[1:], strict=True)}
        hessian = torch.zeros(edges[-1], edges[-1], dtype=torch.float64)
        gradient = torch.zeros(edges[-1], dtype=torch.float64)
        slopes = {n: s.slope() for n, s in self.model.scalars.items()}
        with np.errstate(all="ignore"):  # what is not finite is looked for afterwards
            for part in self.linearisation.residuals(nodes, weight, slopes=True):
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


class _Dense:
    """Normal equations (p, p) and (p,) whose diagonal is raised."""

    def __init__(self, hessian: Tensor, gradient: Tensor) -> None:
        self.hessian, self.gradient = hessian, gradient
        self.diagonal = hessian.diagonal()
        self.floor = 1e-3 * self.diagonal.mean()

    @property
    def finite(self) -> bool:
        return bool(torch.isfinite(self.hessian).all() and torch.isfinite(self.gradient).all())

    def solve(self, damping: float) -> Tensor:
        damped = self.hessian.clone()
        damped.diagonal().add_(damping * (self.diagonal + self.floor))
        return _solve(damped, -self.gradient)


def _dense_rows(
    part: Residuals, rows: slice, jacobians: list[Tensor], slopes: dict[str, float]
) -> dict[int | str, Tensor]:
    """Rows of the Jacobian by what they depend on: networks' weights by block, and raw scalars by name."""
    dense: dict[int | str, Tensor] = {}
    for (b, channel), matrix in part.fields.items():
        piece = sparse_tensor(matrix[rows]) @ jacobians[b][channel]
        dense[b] = dense[b].add_(piece) if b in dense else piece
    for name, column in part.scalars.items():
        dense[name] = torch.from_numpy(np.ascontiguousarray(column[rows]) * slopes[name])[:, None]
    return dense


def sparse_tensor(matrix: Any) -> Tensor:
    """A SciPy CSR matrix as a torch one."""
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
