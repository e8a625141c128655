"""Gauss-Newton over the networks' weights and the unknowns, by dense normal equations.

One first Jacobian dg/dtheta of each network serves an equation of any order (see `linearise`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mollifier.data.observations import Observations
from mollifier.engines.collocated.factored import Combination, is_factored, on_grid
from mollifier.engines.collocated.jacobian import network_jacobian
from mollifier.engines.collocated.levenberg_marquardt import Component, LevenbergMarquardt, System
from mollifier.engines.collocated.model import Block, Model
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.operators import nonzeros
from mollifier.engines.collocated.residuals import Residuals
from mollifier.engines.linalg.normal import Damped, SchurComplement
from mollifier.engines.network.held_out import Held
from mollifier.engines.network.smoothness import Unknowns, averaged, maximum_evidence
from mollifier.engines.priors.field_prior import Choice, Shape
from mollifier.nn.differentiation.mollifier import Mollified
from mollifier.nn.layers import count
from mollifier.nn.random_features import RandomFeatures
from mollifier.problem.status import StatusName

Array = NDArray[np.float64]
Key = int | str | tuple[int, int]
"""What rows depend on: a block's weights, a raw scalar by its name, the weights of one channel."""

# Rows of the dense Jacobian formed at a time.
_CHUNK = 8192
# Damping at first where states are linear in their weights: only what the equation makes of them is not.
_LINEAR_DAMPING = 1e-6
# Times that the smoothness of unknown fields is found anew, and how near a strength is to the best, in
# logarithm.
_UPDATES, _NEAR = 4, 0.7
# Weights of an unknown field that are not reduced to those that matter, and the share of the largest
# eigenvalue of its slopes below which there is none.
_FEW, _ROUNDING = 400, 1e-12
# Least share of the samples that is left over for the equation's residuals.
_LEAST_FREEDOM = 1e-3
# Standard errors by which held-out data must be fitted worse for a weight to be too high.
_SURE = 2.0
# Most weights, network Jacobian and sparse weights held, in numbers.
MOST_PARAMETERS = 6000
MOST_JACOBIAN = 250_000_000
MOST_WEIGHTS = 100_000_000
# Most of the equation's part of the loss that the noise of the data excuses.
_MOST_LEFT = 1.0
_MISSED = (
    "the equation is missed by {:.2g} times the data's relative noise: it is wrong, or the run ended far "
    "from the answer. Another seed, or a start from the answer of 'weak' or 'joint', may help; "
    "'mollifier validate' tells more"
)
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
    if sum(sizes) > MOST_PARAMETERS or nonzeros(model) > MOST_WEIGHTS:
        return False
    held = sum(_rows_held(b) * n for b, n in zip(model.blocks, sizes, strict=True))
    if held > MOST_JACOBIAN:
        return False
    try:
        for b in model.blocks:
            if not is_factored(b):
                network_jacobian(b.network, b.nodes()[:2])
    except RuntimeError:  # a module that torch.func cannot batch
        return False
    return True


def _rows_held(block: Block) -> int:
    """Rows of a block's Jacobian that are held at a time."""
    if not is_factored(block):
        return len(block.nodes()) * len(block.names)
    if on_grid(block):
        return 0
    return int(np.prod(block.mollified.observed_shape)) * len(block.names)


class GaussNewton(LevenbergMarquardt):
    """Levenberg-Marquardt steps over the weights of networks: dense normal equations.

    Attributes
    ----------
    linear
        Whether all states are linear in their weights.
    held
        What tells when the equation's weight is too high. Only where they are: other networks are still far
        from their best at a weight when it is raised.

    Raises
    ------
    ConfigurationError
        If derivatives are not mollified.
    """

    def __init__(
        self, objective: Objective, steps: int, tolerance: float, held: Observations | None = None
    ) -> None:
        super().__init__(objective, steps, tolerance)
        self.linear = all(is_factored(b) for b in self.model.state_blocks)
        self.damping = _LINEAR_DAMPING if self.linear else self.damping
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
        if not self.finished or self.outcome != "converged" or self.most < 1.0:
            return
        if self._updates < _UPDATES:
            self._updates += 1
            changed = False
            for name, best in maximum_evidence(self).items():
                prior = self.linearisation.priors[name]
                present = Choice(prior.shape, self.objective.strength(name))
                changed |= best.distance(present) > _NEAR
                prior.shape = best.shape
                self.objective.set_strength(name, best.strength)
            if changed:
                self.finished, self._still = "", 0
                return
        left = self._losses(self.node_values())["residual"]
        if left > _MOST_LEFT:
            self.finished, self.outcome = _MISSED.format(left**0.5), "misfit"

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
        shapes = {n: astuple(p.shape) for n, p in self.linearisation.priors.items()}
        return super().state_dict() | {"best": self._best, "updates": self._updates, "shapes": shapes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        super().load_state_dict(state)
        self._best, self._updates = state["best"], state["updates"]
        for name, shape in state["shapes"].items():
            self.linearisation.priors[name].shape = Shape(*shape)

    def node_values(self) -> list[Array]:
        """Values (channels, nodes) of every block; weights (channels, weights) of one linear in them."""
        with torch.no_grad():
            parts = [
                b.network.last.weight if isinstance(b.network, RandomFeatures) else b.network(b.nodes()).T
                for b in self.model.blocks
            ]
        return [part.detach().double().cpu().numpy() for part in parts]

    def _system(self, nodes: list[Array]) -> System:
        return Damped(*self.normal_equations(nodes, self.weight))

    def marginal(self) -> tuple[list[Component], dict[str, slice]]:
        """The unknowns when the states follow them, over the priors of fields that the data admit.

        Weights that the loss does not hold have a spread of one. The equation draws the unknowns, but brings
        in no more error than it leaves: of its variance, as its weight has it, the share that its residuals
        have.
        """
        following = self._following()
        unknowns = self._in_coordinates(following)
        nodes = self.node_values()
        with np.errstate(all="ignore"):  # what is not finite makes the precision so
            rows = list(self.linearisation.equations(nodes, self.most, slopes=True))
        left = sum(float(r.values @ r.values) for r in rows)
        equation = self.objective.count * self.normal_equations(nodes, rows=rows)[0]
        part, determined = following.part(equation)
        share = left / max(1 - determined / self.objective.count, _LEAST_FREEDOM)
        basis = torch.block_diag(*unknowns.bases.values())
        return averaged(self, unknowns, max(1 - share, 0.0) * basis.T @ part @ basis), unknowns.places

    def unknowns(self) -> Unknowns:
        """Normal equations of the unknowns where the model stands, the states eliminated."""
        return self._in_coordinates(self._following())

    def _following(self) -> SchurComplement:
        """The normal equations where the model stands; the states' weights follow the others."""
        hessian, gradient = (self.objective.count * part for part in self.settled())
        edges = np.cumsum([0, *(count(b.network) for b in self.model.blocks)]).tolist()
        for b, low, high in zip(self.model.blocks, edges, edges[1:], strict=False):
            hessian.diagonal()[low:high] += 0.0 if is_factored(b) else 1.0
        return SchurComplement(hessian, gradient, edges[len(self.model.state_blocks)])

    def _in_coordinates(self, following: SchurComplement) -> Unknowns:
        """Fields along the directions of their weights that move them."""
        bases = {n: _moving(self.raw_slopes(b)) for n, b in self.model.unknown_blocks.items()}
        bases |= {n: torch.ones(1, 1, dtype=torch.float64) for n in self.model.scalars}
        basis = torch.block_diag(*bases.values())
        return Unknowns(basis.T @ following.precision @ basis, basis.T @ following.slope, bases)

    def settled(self) -> tuple[Tensor, Tensor]:
        """`normal_equations` where the model stands, formed once."""
        shapes = [v for p in self.linearisation.priors.values() for v in (p.shape.order, p.shape.length)]
        here = torch.tensor([self.most, *shapes]).double()
        here = torch.cat([self.parameters(), self.objective.strengths, here])
        if self._settled is None or not torch.equal(here, self._settled[0]):
            self._settled = here, self.normal_equations()
        return self._settled[1]

    def raw(self, block: Block) -> tuple[Array, Array]:
        """An unknown field before its bijection at its nodes, (nodes,), and slopes, (nodes, coordinates)."""
        network, slopes = _inner(block), self.raw_slopes(block)
        with torch.no_grad():
            values = network(block.nodes()).double().cpu().numpy()[:, 0]
        return values, (slopes @ _moving(slopes)).numpy()

    def raw_slopes(self, block: Block) -> Tensor:
        """Slopes of an unknown field before its bijection at its nodes, (nodes, weights)."""
        return network_jacobian(_inner(block), block.nodes())[0]

    def slopes(self, block: Block) -> Tensor:
        """Slopes of an unknown field at its nodes, (nodes, weights)."""
        return network_jacobian(block.network, block.nodes())[0]

    def values(self, block: Block) -> Array:
        """An unknown field at its nodes, (nodes,)."""
        with torch.no_grad():
            return block.network(block.nodes()).double().cpu().numpy()[:, 0]

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
            if is_factored(b):
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
                for some in _slices(part):
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
        """Add rows whose matrix is the same in every step, its Gram matrix formed once."""
        if not part.constant:
            return False
        ((key, matrix),) = part.fields.items()
        if id(matrix) not in self._grams:
            # The matrix is held, so that no other can have its identity.
            gram = torch.zeros_like(hessian[place[key], place[key]])
            for some in _slices(part):
                gram += _gram(matrix[some])
            self._grams[id(matrix)] = matrix, gram
        hessian[place[key], place[key]] += self._grams[id(matrix)][1]
        for some in _slices(part):
            gradient[place[key]] += matrix[some].T @ torch.from_numpy(np.ascontiguousarray(part.values[some]))
        return True


def _slices(part: Residuals) -> Iterator[slice]:
    """Rows that are formed at a time."""
    chunk = max(_CHUNK // part.step, 1) * part.step
    return (slice(low, low + chunk) for low in range(0, len(part.values), chunk))


def _inner(block: Block) -> nn.Module:
    """The network of an unknown field, without what keeps it within its bounds."""
    network = block.network[0]  # pyright: ignore[reportIndexIssue]
    assert isinstance(network, nn.Module)
    return network


def _moving(slopes: Tensor) -> Tensor:
    """Directions (weights, r) that change values whose slopes are (nodes, weights), orthonormal.

    Few weights are left as they are: rotated, the small entries of their precision would drown in the
    rounding of the large ones.
    """
    if slopes.shape[1] <= _FEW:
        return torch.eye(slopes.shape[1], dtype=torch.float64)
    sizes, vectors = torch.linalg.eigh(torch.nan_to_num(_gram(slopes)))
    return vectors[:, sizes > _ROUNDING * sizes[-1].clamp_min(_ROUNDING)]


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
