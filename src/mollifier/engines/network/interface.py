"""The network engine in the registry; torch is loaded when it solves."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mollifier.engines.base import Cost, Engine, Request
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution

# Seconds: start, per row of a step, steps; MiB: start, bytes per number, weights (docs: check).
_START, _PER_ROW, _STEPS, _MIB, _BYTES, _WEIGHTS = 10.0, 7.0e-5, 60, 300.0, 8.0, 900


class NetworkEngine(Engine):
    """States and unknown fields as networks; suits whatever the other engines do not."""

    name = "network"
    settings = NetworkSettings
    takes = frozenset({"resume", "network", "start"})
    solves_states = True
    questions = frozenset(
        {
            "conditions that give no boundary term",
            "hidden states that it cannot eliminate",
            "laws of the state",
            "noise that values share",
        }
    )
    variants: ClassVar = {
        "network": {"derivatives": "mollifier"},
        "nested": {"derivatives": "nested"},
        "taylor": {"derivatives": "taylor"},
    }

    def cost(self, problem: InverseProblem, collocation: Collocation) -> Cost:
        """Gauss-Newton: rows of data and collocation nodes, by weights."""
        nodes = float(np.prod([a.size for a in collocation.grid]))
        rows = nodes * len(problem.system.equations) + sum(
            len(problem.data.samples(f).values) for f in problem.fields
        )
        nets = len(problem.all_states) + len(problem.unknown_fields)
        step = (0.3 + _PER_ROW * rows) * nets / 2
        slopes = min(2 * nodes * _WEIGHTS * nets, NetworkTuning().most_jacobian)  # with the halo
        return Cost(_START + _STEPS * step, _MIB + _BYTES * slopes / 2**20)

    def solve(self, request: Request) -> Solution:
        """As `mollifier.engines.network.engine.solve_network`."""
        from mollifier.engines.network.engine import solve_network

        return solve_network(request)


NETWORK = NetworkEngine()
