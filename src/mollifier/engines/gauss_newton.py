"""Gauss-Newton over the networks' weights and the unknowns, by dense normal equations.

One first Jacobian dg/dtheta of each network serves an equation of any order (`mollifier.engines.linearise`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mollifier.data import Observations
from mollifier.derivatives.mollifier import Mollified
from mollifier.engines.features import Combination, factored
from mollifier.engines.held_out import Held
from mollifier.engines.jacobian import count, network_jacobian
from mollifier.engines.levenberg_marquardt import Component, LevenbergMarquardt, System
from mollifier.engines.linearise import Linearisation, Residuals
from mollifier.engines.model import Block, Model
from mollifier.engines.objective import Objective
from mollifier.engines.strengths import likeliest
from mollifier.solution import StatusName

Array = NDArray[np.float64]
Key = int | str | tuple[int, int]
"""What rows depend on: a block's weights, a raw scalar by its name, the weights of one channel."""

# Rows of the dense Jacobian formed at a time.
_CHUNK = 8192
# Times that the smoothness of unknown fields is found anew.
_UPDATES = 4
# Standard errors by which held-out data must be fitted worse for a weight to be too high.
_SURE = 2.0
# Most weights, network Jacobian and sparse weights held, in numbers.
MOST_PARAMETERS = 6000
MOST_JACOBIAN = 250_000_000
MOST_WEIGHTS = 100_000_000
_DEARER = (
    "with more than {:.2g} of the equation's weight held-out data are told worse: the network cannot obey "
    "the equation as closely as the data ask, or the equation is wrong. Unknowns may be off by more than "
    "their standard errors. A larger network.width, or engine 'weak', may help"
)


def suits(model: Model) -> bool:
    """Whether derivatives are mollified, the problem is small enough, and networks can be differentiated."""
    if not all(isinstance(b.backend, Mollified) for b in model.blocks):
        return False
    sizes = [count(b.network) for b in model.blocks]
    if sum(sizes) > MOST_PARAMETERS or Linearisation.size(model) > MOST_WEIGHTS:
        return False
    held = sum(_rows_held(b) * n for b, n in zip(model.blocks, sizes, strict=True))
    if held > MOST_JACOBIAN:
        return False
    try:
        for b in model.blocks:
            if not factored(b):
                network_jacobian(b.network, b.nodes()[:2])
    except RuntimeError:  # a module that torch.func cannot batch
        return False
    return True


def _rows_held(block: Block) -> int:
    """Rows of a block's Jacobian that are held at a time."""
    if not factored(block):
        return len(block.nodes()) * len(block.names)
    return int(np.prod(block.mollified.observed_shape)) * len(block.names)


class GaussNewton(LevenbergMarquardt):
    """Levenberg-Marquardt steps over the weights of networks: dense normal equations.

    Raises
    ------
    ConfigurationError
        If derivatives are not mollified.
    """

    def __init__(
        self, objective: Objective, steps: int, tolerance: float, held: Observations | None = None
    ) -> None:
        super().__init__(objective, steps, tolerance)
        # Other networks are still far from their best at a weight when it is raised.
        self.held = Held.of(objective, held) if self.linear else None
        self._updates = 0
        self._grams: dict[int, tuple[Tensor, Tensor]] = {}
        self._settled: tuple[Tensor, tuple[Tensor, Tensor]] | None = None
        self._best: tuple[float, Tensor, Array] | None = None

    def _judge(self, before: float, after: float, promised: float) -> None:
        super()._judge(before, after, promised)
        self._smooth_anew()

    def _judge_failure(self, loss: float, promised: float) -> None:
        super()._judge_failure(loss, promised)
        self._smooth_anew()

    def _smooth_anew(self) -> None:
        """Where it settles, give unknown fields the smoothness of the greatest evidence; go on if it changes.

        Evidence takes the equation's weight for an inverse variance, which it is at the full weight only.
        """
        if not self.finished or self.outcome != "converged" or self.most < 1.0 or self._updates >= _UPDATES:
            return
        self._updates += 1
        factor, names = likeliest(self)
        for name in names:
            self.objective.set_strength(name, self.objective.strength(name) * factor)
        if factor != 1.0:
            self.finished, self._still = "", 0

    def _raise_weight(self) -> None:
        """Up to where held-out data are fitted worse for it, as networks cannot obey the equation so closely.

        Then what was found with the weight before is taken.
        """
        if self.held is not None:
            squares = self.held.misfits(self.linearisation, self.node_values())
            if self._best is not None:
                change = squares - self._best[2]
                if change.mean() > _SURE * change.std() / np.sqrt(len(change)):
                    self.weight = self.most = self._best[0]
                    self.set_parameters(self._best[1])
                    self.finished = _DEARER.format(self.weight)
                    self.outcome: StatusName = "misfit"
                    return
            self._best = self.weight, self.parameters(), squares
        super()._raise_weight()

    def state_dict(self) -> dict[str, Any]:
        """What held-out data were fitted best with, too."""
        return super().state_dict() | {"best": self._best, "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        super().load_state_dict(state)
        self._best, self._updates = state["best"], state["updates"]

    def _system(self, nodes: list[Array]) -> System:
        return _Dense(*self.normal_equations(nodes, self.weight))

    def marginal(self) -> tuple[list[Component], dict[str, slice]]:
        """One component over all parameters; weights that the loss does not hold have a spread of one."""
        hessian, _ = self.settled()
        sizes = [count(b.network) for b in self.model.blocks] + [1] * len(self.model.scalars)
        edges = np.cumsum([0, *sizes]).tolist()
        names = [*self.model.unknown_blocks, *self.model.scalars]
        first = len(self.model.state_blocks)
        held = torch.zeros(edges[-1], dtype=torch.float64)
        for b, low, high in zip(self.model.blocks, edges, edges[1:], strict=False):
            held[low:high] = 0.0 if factored(b) else 1.0
        places = {n: slice(*edges[first + i : first + i + 2]) for i, n in enumerate(names)}
        return [Component(hessian * self.objective.count + held.diag(), np.zeros(edges[-1]))], places

    def settled(self) -> tuple[Tensor, Tensor]:
        """`normal_equations` where the model stands, formed once."""
        here = torch.cat([self.parameters(), self.objective.strengths, torch.tensor([self.most]).double()])
        if self._settled is None or not torch.equal(here, self._settled[0]):
            self._settled = here, self.normal_equations()
        return self._settled[1]

    def raw(self, block: Block) -> tuple[Array, Array]:
        """An unknown field before its bijection at its nodes, (nodes,), and slopes, (nodes, weights)."""
        network, nodes = block.network[0], block.nodes()  # pyright: ignore[reportIndexIssue]
        assert isinstance(network, nn.Module)
        with torch.no_grad():
            values = network(nodes).double().cpu().numpy()[:, 0]
        return values, network_jacobian(network, nodes)[0].numpy()

    def normal_equations(
        self,
        nodes: list[Array] | None = None,
        weight: float | None = None,
        rows: Iterable[Residuals] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """J'J (p, p) and J'r (p,) over all parameters: each network's weights, then the scalars.

        ``nodes`` are values (channels, nodes) of every block, those of the networks by default; ``weight``
        multiplies the equation's, by default as much as it is to be in the end. ``rows`` are those of the
        whole loss by default.
        """
        nodes = nodes if nodes is not None else self.node_values()
        weight = self.most if weight is None else weight
        jacobians: dict[int, Tensor] = {}
        sizes: dict[Key, int] = {}
        for i, b in enumerate(self.model.blocks):
            if factored(b):
                sizes |= {(i, channel): nodes[i].shape[1] for channel in range(len(b.names))}
            else:
                jacobians[i] = network_jacobian(b.network, b.nodes())
                sizes[i] = jacobians[i].shape[-1]
        sizes |= dict.fromkeys(self.model.scalars, 1)
        edges = np.cumsum([0, *sizes.values()]).tolist()
        place = {k: slice(low, high) for k, low, high in zip(sizes, edges[:-1], edges[1:], strict=True)}
        hessian = torch.zeros(edges[-1], edges[-1], dtype=torch.float64)
        gradient = torch.zeros(edges[-1], dtype=torch.float64)
        slopes = {n: s.slope() for n, s in self.model.scalars.items()}
        with np.errstate(all="ignore"):  # what is not finite is looked for afterwards
            for part in self.linearisation.residuals(nodes, weight, slopes=True) if rows is None else rows:
                if self._constant(part, place, hessian, gradient):
                    continue
                chunk = max(_CHUNK // part.step, 1) * part.step
                for low in range(0, len(part.values), chunk):
                    some = slice(low, low + chunk)
                    dense = _dense_rows(part, some, jacobians, slopes)
                    values = torch.from_numpy(np.ascontiguousarray(part.values[some]))
                    for a, left in dense.items():
                        gradient[place[a]] += left.T @ values
                        for b, right in dense.items():
                            if a == b:
                                hessian[place[a], place[a]] += _gram(left)
                            elif place[a].start < place[b].start:
                                hessian[place[a], place[b]].addmm_(left.T, right)
        upper = hessian.triu(1)
        return hessian.triu_().add_(upper.T), gradient

    def _constant(
        self, part: Residuals, place: Mapping[Key, slice], hessian: Tensor, gradient: Tensor
    ) -> bool:
        """Add rows whose dense matrix is the same in every step, its Gram matrix formed once."""
        if len(part.fields) != 1 or part.scalars:
            return False
        ((key, matrix),) = part.fields.items()
        if not isinstance(matrix, Tensor):
            return False
        if id(matrix) not in self._grams:
            # The matrix is held, so that no other can have its identity.
            self._grams[id(matrix)] = matrix, _gram(matrix)
        hessian[place[key], place[key]] += self._grams[id(matrix)][1]
        gradient[place[key]] += matrix.T @ torch.from_numpy(np.ascontiguousarray(part.values))
        return True


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
        return solved(damped, -self.gradient)


def _gram(matrix: Tensor) -> Tensor:
    """``M'M``; NumPy forms half of it."""
    rows = matrix.numpy()
    return torch.from_numpy(rows.T @ rows)


def _dense_rows(
    part: Residuals, rows: slice, jacobians: Mapping[int, Tensor], slopes: dict[str, float]
) -> dict[Key, Tensor]:
    """Rows of the Jacobian by what they depend on."""
    dense: dict[Key, Tensor] = {}
    for (b, channel), matrix in part.fields.items():
        if isinstance(matrix, Combination):
            dense[b, channel] = matrix[rows]
            continue
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


def solved(matrix: Tensor, right: Tensor) -> Tensor:
    """The solution (p,) of a system (p, p); by least squares where rounding has made it indefinite."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info) == 0:
        return torch.cholesky_solve(right[:, None], factor)[:, 0]
    return torch.linalg.lstsq(matrix, right[:, None]).solution[:, 0]
