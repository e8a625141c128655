"""The joint engine in the registry; torch is loaded when it solves."""

from __future__ import annotations

import numpy as np

from mollifier.engines.base import Cost, Engine, Request
from mollifier.engines.joint.settings import JointSettings
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution

# Most coordinates of a collocation grid: the cost of the factor grows too fast with more.
_MOST_COORDINATES = 3
# Seconds: start, per operation, per node, rounds; MiB: start, bytes per number of the factor (docs: check).
_START, _OPERATION, _NODE, _ROUNDS, _MIB, _BYTES = 1.0, 2e-10, 1.5e-4, 60, 30.0, 8.0


class JointEngine(Engine):
    """Estimates states and unknowns together, on a grid of nodes over the domain."""

    name = "joint"
    settings = JointSettings
    takes = frozenset({"resume"})
    solves_states = True
    questions = frozenset(
        {"conditions at places", "hidden states that it cannot eliminate", "unknowns of each experiment"}
    )

    def unsuited(self, problem: InverseProblem) -> str | None:
        """The reason: a grid of nodes is too large with many coordinates."""
        count = len(problem.coordinates)
        return f"nodes cannot fill {count} coordinates" if count > _MOST_COORDINATES else None

    def cost(self, problem: InverseProblem, collocation: Collocation) -> Cost:
        """Seconds and MiB of a banded Cholesky factor per step: nodes times the square of the bandwidth."""
        shape = sorted(a.size for a in collocation.grid)
        nodes = float(np.prod(shape)) * len(problem.all_states)
        degree = 2 * max(collocation.radius.cells.values())
        band = degree * float(np.prod(shape[:-1])) * len(problem.all_states)
        once = _OPERATION * nodes * band**2 + _NODE * nodes
        return Cost(_START + _ROUNDS * once, _MIB + _BYTES * nodes * band / 2**20)

    def solve(self, request: Request) -> Solution:
        """Solve by `mollifier.engines.joint.engine.solve_joint`."""
        from mollifier.engines.joint.engine import solve_joint

        r = request
        return solve_joint(r.problem, r.settings, r.seed, r.progress, r.folder, r.resume)


JOINT = JointEngine()
