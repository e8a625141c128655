"""The fit of states to the data alone, where they are linear in their weights."""

from __future__ import annotations

from typing import Any

from mollifier.engines.calibrate import calibrate
from mollifier.engines.gauss_newton import GaussNewton, solved
from mollifier.engines.jacobian import count
from mollifier.solution import StatusName


class LeastSquares:
    """States that are linear in their weights fitted to the data alone; then a first guess of the unknowns.

    Parameters
    ----------
    stage
        The stage that follows, whose normal equations are taken.
    """

    name = "least squares"
    steps = 1
    estimates = False

    def __init__(self, stage: GaussNewton) -> None:
        self.stage = stage
        self.finished = ""
        self.outcome: StatusName = "converged"

    def step(self) -> dict[str, float]:
        """Solve for the weights of all states."""
        stage = self.stage
        nodes = stage.node_values()
        hessian, gradient = stage.normal_equations(nodes, rows=stage.linearisation.fit(nodes))
        states = slice(0, sum(count(b.network) for b in stage.model.state_blocks))
        weights = stage.parameters()
        weights[states] += solved(hessian[states, states], -gradient[states])
        stage.set_parameters(weights)
        values = [r.values for r in stage.linearisation.fit(stage.node_values())]
        data = float(sum(v @ v for v in values))
        return {"data": data, "residual": float("nan"), "prior": 0.0, "loss": data}

    def close(self) -> None:
        """The first guess of the unknowns, and the sizes of the terms."""
        calibrate(self.stage.objective)

    def state_dict(self) -> dict[str, Any]:
        """Nothing is kept between steps."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing was kept."""
