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

# Seconds: start, a step, per entry of its rows, per slope at a node, steps; weights (docs: check).
_START, _STEP, _PER_ENTRY, _PER_SLOPE, _STEPS, _WEIGHTS = 10.0, 0.15, 4e-8, 2e-8, 60, 900
_MIB, _BYTES, _SAMPLE = 390.0, 8.0, 2500.0  # MiB at the start, bytes of a slope, bytes of a sample.


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
        """Gauss-Newton: rows of equations and data, and slopes at the kernel's nodes, by weights."""
        tuning, nodes = NetworkTuning(), float(np.prod([a.size for a in collocation.grid]))
        reach = collocation.radius.reach
        taps = float(np.prod([2 * n for n in reach.values()]))
        past = {a.name: 0.0 if a.periodic else 2 * (reach[a.name] - 1) for a in collocation.grid}
        halo = float(np.prod([a.size + past[a.name] for a in collocation.grid]))
        nets = len(problem.all_states) + len(problem.unknown_fields)
        held = 0.0
        entries, slopes = nodes * _WEIGHTS * len(problem.system.equations), halo * _WEIGHTS * nets
        for f in problem.fields:
            samples = len(problem.data.samples(f).values)
            held += _SAMPLE * samples
            moved = tuning.moved(samples, taps, nodes, _WEIGHTS)
            entries += nodes * _WEIGHTS if moved else tuning.sample_work(samples, taps, _WEIGHTS)
        step = _STEP + _PER_ENTRY * entries * nets + _PER_SLOPE * slopes
        held += _BYTES * min(slopes, tuning.most_jacobian)
        return Cost(_START + _STEPS * step, _MIB + held / 2**20)

    def solve(self, request: Request) -> Solution:
        """As `mollifier.engines.network.engine.solve_network`."""
        from mollifier.engines.network.engine import solve_network

        return solve_network(request)


NETWORK = NetworkEngine()
