"""The fit of states to the data alone, for states that are linear in their weights."""

from __future__ import annotations

import torch

from mollifier.engines.collocated.calibrate import calibrate
from mollifier.engines.collocated.stages import Stage
from mollifier.engines.linalg.normal import solved
from mollifier.engines.network.gauss_newton import GaussNewton


class LeastSquares(Stage):
    """States that are linear in their weights fitted to the data alone; then a first guess of the unknowns.

    They are found by the normal equations of ``stage``, which follows.
    """

    name = "least squares"
    estimates = False

    def __init__(self, stage: GaussNewton) -> None:
        self.stage = stage

    def step(self) -> dict[str, float]:
        """Solve for the weights of all states, again while that changes rows of the data."""
        stage, losses = self.stage, self._solve()
        for _ in range(stage.tuning.reweighings):
            if stage.reweigh(stage.node_values(), 1.0) <= stage.tuning.reweighed:
                break
            losses = self._solve()
        return losses

    def _solve(self) -> dict[str, float]:
        """The weights of least squares, and the losses."""
        stage = self.stage
        nodes = stage.node_values()
        hessian, gradient = stage.normal_equations(nodes, rows=stage.linearisation.fit(nodes))
        states = slice(stage.model.nuisances)
        weights = stage.parameters()
        weights[states] += solved(hessian[states, states], -gradient[states])
        stage.set_parameters(weights)
        values = [r.values for r in stage.linearisation.fit(stage.node_values())]
        data = float(sum(v @ v for v in values))
        return {"data": data, "residual": float("nan"), "prior": 0.0, "loss": data}

    def close(self) -> None:
        """The first guess of the unknowns, the sizes of the terms, and the equation's first weight.

        The equation's part of the loss is at most the data's at first, or one, which is that of noise.
        Otherwise an equation that the states cannot satisfy would pull them off the data before the held-out
        error is known.
        """
        stage = self.stage
        calibrate(stage.objective)
        with torch.no_grad():
            parts = stage.objective(stage.weight).numbers()
        stage.weight *= min(1.0, max(parts["data"], 1.0) / max(parts["residual"], 1.0))
