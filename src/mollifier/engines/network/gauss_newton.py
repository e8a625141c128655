"""Gauss-Newton over the networks' weights and the unknowns, by dense normal equations.

One first Jacobian dg/dtheta of each network serves an equation of any order (see `linearise`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mollifier.data.observations import Observations
from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.calibrate import rescale
from mollifier.engines.collocated.factored import is_factored
from mollifier.engines.collocated.jacobian import network_jacobian
from mollifier.engines.collocated.levenberg_marquardt import Changed, Component, LevenbergMarquardt, System
from mollifier.engines.collocated.linearise import Linearisation
from mollifier.engines.collocated.missing import Score, missing_term
from mollifier.engines.collocated.objective import Objective, Target
from mollifier.engines.collocated.residuals import Residuals
from mollifier.engines.linalg.normal import Damped, SchurComplement, solved
from mollifier.engines.network.normal_equations import NormalEquations, gram
from mollifier.engines.network.smoothness import (
    Unknowns,
    components,
    present,
    prior_search,
    weight_precision,
)
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.engines.priors.search import PriorSearch
from mollifier.engines.priors.shapes import Shape
from mollifier.engines.priors.varying import adapted, edge_evidence
from mollifier.mollify.arrays import Array, Index
from mollifier.nn.layers import count
from mollifier.nn.random_features import RandomFeatures

_MISFIT = (
    "the residual of the equation is {:.2g} times what the data's noise explains: the equation is wrong, or "
    "the run ended far from the answer. Another seed, or a start from the answer of 'weak' or 'joint', may "
    "help; 'mollifier validate' shows where"
)
_HELD_OUT_MISFIT = (
    "with more than {:.2g} of the equation's weight the held-out error increases: the network cannot satisfy "
    "the equation as closely as the data allow, or the equation is wrong. Unknowns may be off by more than "
    "their standard errors. A larger network.width, or engine 'weak', may help"
)
_TOO_FEW = (
    "{} samples of '{}' are fewer than {:g} times the {} features of its network: they leave much of the "
    "state to the equation, which features satisfy only roughly, so that unknown fields may be off by "
    "several standard errors. Engine 'joint' satisfies it exactly and takes so few"
)


@dataclass(frozen=True)
class HeldOut:
    """Samples that are not fitted."""

    #: Of a field, and its samples' places among the block's, values and standard errors.
    targets: Sequence[tuple[Target, Index, Array, Array]]

    @classmethod
    def of(cls, objective: Objective, held: Observations | None, fewest: int) -> HeldOut | None:
        """Those of all fields that are fitted; None where there are fewer than ``fewest``."""
        if held is None:
            return None
        targets = []
        for t in objective.targets:
            s = held.samples(t.name).floored(t.floor)
            place = objective.model.places[t.block].index(s.points)
            targets.append((t, place, s.values, s.sd))
        return cls(targets) if sum(len(t[2]) for t in targets) >= fewest else None

    def misfits(self, linearisation: Linearisation, nodes: list[Array]) -> Array:
        """Squared misfits in standard errors, shape (samples,)."""
        return np.concatenate(
            [
                np.square((linearisation.measured(t, nodes)[place] - values) / sd)
                for t, place, values, sd in self.targets
            ]
        )


class GaussNewton(LevenbergMarquardt):
    """Levenberg-Marquardt steps over the weights of networks: dense normal equations.

    ``held`` is the held-out part of the data, if any. Raises `ConfigurationError` if derivatives are not
    mollified.
    """

    kept = (*LevenbergMarquardt.kept, "_best", "_updates")

    def __init__(
        self,
        objective: Objective,
        steps: int,
        tolerance: float,
        tuning: NetworkTuning,
        held: Observations | None = None,
    ) -> None:
        super().__init__(objective, steps, tolerance)
        self.tuning: NetworkTuning = tuning  # pyrefly: ignore[bad-override-mutable-attribute]
        #: Whether all states are linear in their weights.
        self.linear = all(is_factored(b) for b in self.model.state_blocks)
        self.damping = tuning.linear_damping if self.linear else self.damping
        #: Held-out samples that limit the equation's weight. Only where all states are linear: other networks
        #: have not converged at a weight when it is raised.
        self.held = HeldOut.of(objective, held, tuning.held_out_samples) if self.linear else None
        self._updates = 0
        self._equations = NormalEquations(self.model, tuning)
        self._settled: tuple[Tensor, tuple[Tensor, Tensor]] | None = None
        self._best: tuple[float, Tensor, Array] | None = None

    def reweigh(self, nodes: list[Array], least_scale: float) -> float:
        """As in `LevenbergMarquardt`; what was formed with the weights before is formed again."""
        moved = super().reweigh(nodes, least_scale)
        if moved:
            self._equations, self._settled = NormalEquations(self.model, self.tuning), None
        return moved

    def _judge(self, before: float, after: float, predicted: float) -> None:
        super()._judge(before, after, predicted)
        self._update_priors()

    def _judge_failure(self, loss: float, predicted: float) -> None:
        super()._judge_failure(loss, predicted)
        self._update_priors()

    def _update_priors(self) -> None:
        """Once converged, give unknown fields the priors of maximum evidence; continue if these changed.

        Evidence takes the equation's weight for an inverse variance: it must be the full weight.
        """
        if not self.finished or self.outcome != "converged" or self.most < 1.0:
            return
        if self._updates < self.tuning.evidence_updates:
            self._updates += 1
            changed = False
            rescale(self.objective, self.linearisation.priors)
            search = self._prior_search(self.unknowns())
            for name, best in search.anew().items() if search else ():
                away = best.distance(present(self.linearisation, name))
                changed |= away > self.tuning.evidence_distance
                self.linearisation.priors[name].shape = best.shape
                self.objective.set_strength(name, best.strength)
            if changed:
                self.finished, self._still = "", 0
                return
        left = self._losses(self.node_values())["residual"]
        if left > self.tuning.most_residual:
            self.finished, self.outcome = _MISFIT.format(left**0.5), "misfit"
        elif why := self._missing():
            self.finished, self.outcome = why, "misfit"
        elif why := self._too_few():
            self.finished, self.outcome = why, "undetermined"

    def _too_few(self) -> str:
        """Why features leave unknown fields open: too few samples of a state; empty where enough."""
        least = self.tuning.samples_for_features
        for t in self.objective.targets if self.model.unknown_blocks else ():
            network, samples = self.model.blocks[t.block].network, len(self.objective.target_tensors(t)[0])
            if isinstance(network, RandomFeatures) and samples < least * network.rank:
                return _TOO_FEW.format(samples, t.name, least, network.rank)
        return ""

    def moved_by(self, changed: Changed) -> Array:
        """As in `LevenbergMarquardt`, the weights of states following."""
        nodes, hessian = self.node_values(), self._determined()[0]
        rows = changed(nodes, self.most)
        across = [self._equations.pulled(nodes, part, part.values) for part in rows]
        bases = torch.block_diag(*self.unknowns().bases.values())
        moved = solved(hessian, torch.stack(across).sum(0))[self.model.nuisances :]
        return -(bases.T @ moved).numpy()

    def _missing(self) -> str:
        """Why an equation lacks a term; empty where none does."""
        nodes, (hessian, gradient) = self.node_values(), self._determined()
        rows = list(self.linearisation.equations(nodes, self.most, slopes=True))

        def scored(part: Residuals, columns: Array) -> Score:
            across = self._equations.pulled(nodes, part, columns)
            follow = solved(hessian, across)
            score = columns.T @ part.values - (follow.T @ gradient).numpy()
            fixed, samples = columns.T @ columns, self.linearisation.samples(nodes)
            moved = self._equations.moved(nodes, samples, -follow)
            residuals, changes = (np.concatenate(v) for v in zip(*moved, strict=True))
            return Score(score, fixed - (across.T @ follow).numpy(), fixed, residuals, changes)

        return missing_term(self.linearisation, self.most, rows, scored)

    def _raise_weight(self) -> None:
        """Raise the weight until the held-out error increases; then return to the weight before."""
        if self.held is not None:
            squares = self.held.misfits(self.linearisation, self.node_values())
            if self._best is not None:
                change = squares - np.asarray(self._best[2])  # restored as torch's
                if change.mean() > self.tuning.held_out_sds * change.std() / np.sqrt(len(change)):
                    self.weight = self.most = self._best[0]
                    self.set_parameters(self._best[1])
                    self.finished = _HELD_OUT_MISFIT.format(self.weight)
                    self.outcome = "misfit"
                    return
            self._best = self.weight, self.parameters(), squares
        super()._raise_weight()

    def state_dict(self) -> dict[str, Any]:
        """As in `Stage`, with the shapes of the priors."""
        shapes = {n: astuple(p.shape) for n, p in self.linearisation.priors.items()}
        return super().state_dict() | {"shapes": shapes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        super().load_state_dict(state)
        for name, shape in state["shapes"].items():
            self.linearisation.priors[name].shape = Shape(*shape)

    def _system(self, nodes: list[Array]) -> System:
        return Damped(*self.normal_equations(nodes, self.weight, step=True))

    def marginal(self) -> tuple[list[Component], dict[str, slice]]:
        """The unknowns after eliminating the states, as a mixture over the priors of fields.

        Weights that the loss does not determine have a standard deviation of one. The equation counts in the
        precision, but adds no more error than it leaves: of its variance by its weight, the share of its
        residuals.
        """
        eliminated = self._eliminated()
        unknowns = self._in_coordinates(eliminated)
        nodes = self.node_values()
        with np.errstate(all="ignore"):  # what is not finite makes the precision not finite
            rows = list(self.linearisation.equations(nodes, self.most, slopes=True))
        left = sum(float(r.values @ r.values) for r in rows)
        equation = self.objective.count * self.normal_equations(nodes, rows=rows)[0]
        part, determined = eliminated.part(equation)
        freedom = max(1 - determined / self.objective.count, self.tuning.least_freedom)
        basis = torch.block_diag(*unknowns.bases.values())
        assumed = max(1 - left / freedom, 0.0) * (basis.T @ part @ basis).numpy()
        return components(self._prior_search(unknowns), unknowns, assumed), unknowns.places

    def edges(self) -> dict[str, float]:
        """As in `LevenbergMarquardt`, at the equation's full weight, which evidence takes for a variance."""
        search = self._prior_search(self.unknowns()) if self.most >= 1.0 else None
        return edge_evidence(*adapted(search, search.anew())[:2]) if search else {}

    def _prior_search(self, unknowns: Unknowns) -> PriorSearch | None:
        """For the priors of fields whose strength was not given; None where there are none."""
        blocks = self.model.unknown_blocks
        slopes = {n: network_jacobian(b.network, b.nodes())[0].numpy() for n, b in blocks.items()}
        nodes = self.node_values()[len(self.model.state_blocks) :]
        values = {n: g[0] for n, g in zip(blocks, nodes, strict=True)}
        return prior_search(self.linearisation, self.most, unknowns, slopes, values)

    def unknowns(self) -> Unknowns:
        """Normal equations of the unknowns at the present parameters, the states eliminated."""
        return self._in_coordinates(self._eliminated())

    def _eliminated(self) -> SchurComplement:
        """The normal equations at the present parameters, the states' weights eliminated."""
        (hessian, gradient), n = self._determined(), self.objective.count
        return SchurComplement(n * hessian, n * gradient, self.model.nuisances)

    def _determined(self) -> tuple[Tensor, Tensor]:
        """`settled`, with a normal prior of weights that the loss may leave undetermined."""
        hessian, gradient = self.settled()
        hessian, names = hessian.clone(), list(self.model.unknown_blocks)
        low = sum(map(count, self.model.noise.values()))
        for i, b in enumerate(self.model.blocks, -len(self.model.state_blocks)):
            precision = (
                weight_precision(self.objective, names[i]) if i >= 0 else 0.0 if is_factored(b) else 1.0
            )
            size = count(b.network)
            hessian.diagonal()[low : low + size] += precision / self.objective.count
            low += size
        return hessian, gradient

    def _in_coordinates(self, eliminated: SchurComplement) -> Unknowns:
        """Fields along the directions of their weights that change them."""
        bases = {n: self._directions(self.raw_slopes(b)) for n, b in self.model.unknown_blocks.items()}
        bases |= {n: torch.ones(1, 1, dtype=torch.float64) for n in self.model.scalars}
        basis = torch.block_diag(*bases.values())
        return Unknowns(basis.T @ eliminated.precision @ basis, basis.T @ eliminated.slope, bases)

    def _directions(self, slopes: Tensor) -> Tensor:
        """Directions (weights, r) that change values whose slopes are (nodes, weights), orthonormal.

        Few weights are not rotated: the small entries of their precision would be lost in the rounding of the
        large ones.
        """
        if slopes.shape[1] <= self.tuning.few_weights:
            return torch.eye(slopes.shape[1], dtype=torch.float64)
        sizes, vectors = torch.linalg.eigh(torch.nan_to_num(gram(slopes)))
        rounding = self.tuning.direction_rounding
        return vectors[:, sizes > rounding * sizes[-1].clamp_min(rounding)]

    def settled(self) -> tuple[Tensor, Tensor]:
        """`normal_equations` at the present parameters, formed once."""
        shapes = [v for p in self.linearisation.priors.values() for v in (p.shape.order, p.shape.length)]
        here = torch.tensor([self.most, *shapes]).double()
        here = torch.cat([self.parameters(), self.objective.strengths, here])
        if self._settled is None or not torch.equal(here, self._settled[0]):
            self._settled = here, self.normal_equations()
        return self._settled[1]

    def raw(self, block: Block) -> tuple[Array, Array]:
        """An unknown field before its bijection at its nodes, (nodes,), and slopes, (nodes, coordinates)."""
        slopes = self.raw_slopes(block)
        with torch.no_grad():
            values = block.inner(block.nodes()).double().cpu().numpy()[:, 0]
        return values, (slopes @ self._directions(slopes)).numpy()

    def raw_slopes(self, block: Block) -> Tensor:
        """Slopes of an unknown field before its bijection at its nodes, (nodes, weights)."""
        return network_jacobian(block.inner, block.nodes())[0]

    def normal_equations(
        self,
        nodes: list[Array] | None = None,
        weight: float | None = None,
        rows: Iterable[Residuals] | None = None,
        step: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """J'J (p, p) and J'r (p,) over all parameters: each network's weights, then the scalars.

        By default at the present `node_values`, at the weight of the equation at the end of the continuation,
        and of all rows of the loss; ``step`` is as in `NormalEquations.form`.
        """
        nodes = nodes if nodes is not None else self.node_values()
        weight = self.most if weight is None else weight
        if rows is None:
            rows = self.linearisation.residuals(nodes, weight, slopes=True)
        return self._equations.form(nodes, rows, step=step)
