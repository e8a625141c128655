"""The first stage of the joint engine: smoothing splines of the data, without the equation."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from mollifier.engines.collocated.calibrate import calibrate
from mollifier.engines.collocated.objective import Target
from mollifier.engines.collocated.stages import Stage
from mollifier.engines.joint.eliminated import Eliminated
from mollifier.engines.joint.spline import FieldPriors
from mollifier.engines.joint.system import probes
from mollifier.engines.linalg.banded import factored, order_within
from mollifier.engines.priors.search import minimise
from mollifier.mollify.arrays import Array


class Smoothing(Stage):
    """Fits each state's data by a smoothing spline, whose strength maximises the marginal likelihood.

    It is one step, followed by a first guess of the unknowns (`calibrate`); it sets the objective's
    ``attainable`` misfit.
    """

    name = "fit"
    estimates = False

    def __init__(self, linearisation: FieldPriors) -> None:
        self.linearisation, self.objective = linearisation, linearisation.objective
        self.tuning = linearisation.tuning

    def step(self) -> dict[str, float]:
        """Fit every target, again while that changes rows of the data."""
        misfit = self._fit()
        for _ in range(self.tuning.reweighings if self.objective.rows_vary else 0):
            nodes = self.objective.model.node_values()
            if self.linearisation.reweigh(nodes, 1.0) < self.tuning.reweighed:
                break
            misfit = self._fit()
        # Any measurements of an unknown field can be fitted: their misfit is the expected one, their noise.
        values = sum(len(self.objective.target_tensors(t)[1]) for t in self.objective.measurements)
        misfit += values / self.objective.count
        self.objective.attainable.fill_(misfit)
        return {"data": misfit, "residual": float("nan"), "prior": 0.0, "loss": misfit}

    def _fit(self) -> float:
        """The smoothing spline of every target; their misfit."""
        misfit = 0.0
        for i, target in enumerate(self.objective.targets):
            strength, values, shared, part = _smooth(self.linearisation, target, i)
            coefficients = next(self.objective.model.blocks[target.block].network.parameters())
            with torch.no_grad():
                coefficients[:, target.channel] = torch.from_numpy(values)
                if target.name in self.objective.model.noise:
                    self.objective.model.noise[target.name].coefficients.copy_(torch.from_numpy(shared))
            self.objective.roughness[i] = self._along(i, strength)
            misfit += part
        measured = len(self.objective.targets)
        for i in range(measured, len(self.objective.states)):
            alike = self.objective.roughness[:measured].max(dim=1).values.log().mean().exp()
            self.objective.roughness[i] = self._along(i, float(alike))
        return misfit

    def close(self) -> None:
        """Guess the unknowns. The states keep their smoothness until evidence with the equation loosens it.

        With less, states through few sensors oscillate between them to satisfy the equation of a poor guess.
        """
        calibrate(self.objective)
        if self.objective.model.problem.hidden:  # no data show how smooth these are
            self.objective.roughness *= self.tuning.hidden_strength

    def _along(self, i: int, strength: float) -> Tensor:
        """A state's strength along every coordinate, shape (coordinates,); zero where it does not vary."""
        grid = self.objective.model.blocks[self.objective.states[i].block].grid
        names = self.objective.model.problem.coordinates
        return torch.tensor([strength if n in grid.names else 0.0 for n in names], dtype=torch.float64)


def _smooth(linearisation: FieldPriors, target: Target, i: int) -> tuple[float, Array, Array, float]:
    """The smoothing spline of a target.

    Its strength, values at the nodes (nodes,), coefficients (k,) of declared noise, and mean squared misfit,
    which is that by each degree of freedom that the spline leaves, but for outliers.
    """
    objective, tuning, data = linearisation.objective, linearisation.tuning, linearisation.data[i]
    block = objective.model.blocks[target.block]
    nodes = block.mollified.lattice
    used = linearisation.roughness.used(target.block)
    order = order_within(used, nodes.shape)
    back = np.argsort(order)[np.count_nonzero(~used) :]
    zero = [np.zeros((len(b.names), b.mollified.lattice.size)) for b in objective.model.blocks]
    parts = linearisation.roughness.rows(target, zero, slopes=True, alone=True).values()
    stacked = sp.vstack([p.fields[target.block, target.channel] for p in parts], format="csr")
    rough = sp.csr_array(stacked)[:, back]
    rows = data.matrix[:, back]
    right = (data.values - float(block.level[target.channel])) * data.share
    square = sp.csr_array(rows.T @ rows) * objective.count
    penalty = sp.csr_array(rough.T @ rough) * objective.count
    slope = rows.T @ right * objective.count
    shared = sp.csr_array((len(right), 0)) if data.shared is None else data.shared
    between = sp.csr_array(rows.T @ shared) * objective.count
    border = (shared.T @ shared).toarray() * objective.count + np.eye(shared.shape[1])
    inner = shared.T @ right * objective.count
    free = np.prod(
        [a.size if a.discrete else 1 if a.periodic else min(tuning.state_difference, a.size) for a in nodes]
    )
    rank = len(back) - float(free)

    def at(log: float) -> Eliminated:
        return Eliminated(factored(sp.csr_array(square + np.exp(log) * penalty)), between, border)

    def along(log: float) -> float:
        found = at(log)
        fitted = float(found.energies(slope[:, None], inner[:, None])[0])
        return found.log_determinant - fitted - rank * log

    grid, tolerance = tuning.smoothing_evaluations, tuning.smoothing_tolerance
    best = minimise(along, *tuning.smoothing_strengths, count=grid, tolerance=tolerance)[0]
    found, count = at(best), objective.count
    x, b = found.solve(slope, inner)
    errors = np.concatenate([rows @ x + shared @ b - right, b / np.sqrt(count)])
    own, more = np.split(probes(len(errors), tuning), [len(right)])
    followed = count * found.energies(rows.T @ own, shared.T @ own + more / np.sqrt(count)).sum()
    left = max(len(errors) - followed, 1.0) / len(right)
    squares = np.square(errors)
    misfit = max(squares.sum(), np.minimum(squares, tuning.outlier_sds**2 / count).sum() / left)
    return float(np.exp(best)), np.where(used, x[order], 0.0), b, float(misfit)
