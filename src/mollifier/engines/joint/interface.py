"""The joint engine in the registry; torch is loaded when it solves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mollifier.engines.base import Cost, Engine, Request
from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.joint.tuning import JointTuning
from mollifier.equations.moving import moving_edge
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution

# Most coordinates of a collocation grid: the cost of the factor grows too fast with more.
_MOST_COORDINATES = 3
# Seconds: start, steps; of a step per operation of the factor, per node, per operation of the unknowns' own
# factor and of those that couple them to the states (docs: check).
_START, _STEPS, _FACTOR, _NODE, _UNKNOWN, _COUPLED = 1.2, 35, 2e-10, 3.5e-5, 2.2e-9, 5e-10
# Share of that which a fit with edges takes: its prior has one shape, and it starts from an answer.
_EDGED = 0.25
_MIB, _MIB_NODE, _MIB_UNKNOWN = 400.0, 0.028, 0.7  # MiB: start, per node, per unknown.
_MIB_ENTRY = 60 / 2**20  # MiB: an entry of the rows of the data, of which two systems hold copies.


class JointEngine(Engine):
    """Estimates states and unknowns together, on a grid of nodes over the domain."""

    name = "joint"
    settings = JointSettings
    takes = frozenset({"resume"})
    solves_states = True
    questions = frozenset(
        {
            "conditions that give no boundary term",
            "edges at unknown places",
            "hidden states that it cannot eliminate",
            "laws of the state",
            "noise that values share",
            "unknowns of each experiment",
        }
    )

    def unsuited(self, problem: InverseProblem) -> str | None:
        """The reason: a grid of nodes is too large with many coordinates."""
        count = len(problem.coordinates)
        return f"nodes cannot fill {count} coordinates" if count > _MOST_COORDINATES else None

    def cost(self, problem: InverseProblem, collocation: Collocation) -> Cost:
        """Per step a banded factor of the states, a full one of the unknowns, and what couples them."""
        tuning, sides, solves = JointTuning(), 1, 1
        if moving_edge(problem.system):
            sides, solves = 2, tuning.edge_most
        states, scalars = sides * len(problem.all_states), len(problem.scalars)

        def fit(cells: Sequence[int], finer: int) -> tuple[float, float]:
            """Seconds and MiB of a fit with so many cells of fields and times as many nodes."""
            shape = sorted(finer * a.size for a in collocation.grid)
            size = float(np.prod(shape))
            share = min(1.0, tuning.nodes_in_space / size) if len(shape) > 2 else 1.0
            nodes, across = size * share * states, size / shape[-1] * share ** (1 - 1 / len(shape))
            band = 2 * max(collocation.radius.cells.values()) * across * states
            unknowns = scalars + sum(
                _coefficients(u.over or (), collocation, tuning.law_cells if n in problem.laws else cells)
                for n, u in problem.unknown_fields.items()
            )
            once = _FACTOR * nodes * band**2 + _NODE * nodes
            once += _UNKNOWN * unknowns**3 + _COUPLED * nodes * band * unknowns
            return _STEPS * once, _MIB + _MIB_NODE * nodes + _MIB_UNKNOWN * unknowns

        seconds, mebibytes = fit(tuning.field_cells, 1)
        free = [n for n in problem.may_have_edges("auto", "tv") if not problem.unknown_fields[n].smoothness]
        edges = _EDGED * fit(tuning.edge_cells, 2)[0] if free else 0.0
        taps = float(np.prod([2 * n for n in collocation.radius.reach.values()]))
        entries = taps * sum(len(problem.data.samples(f).values) for f in problem.fields)
        return Cost(_START + solves * seconds, mebibytes + _MIB_ENTRY * entries, edges)

    def solve(self, request: Request) -> Solution:
        """Solve by `mollifier.engines.joint.engine.solve_joint`, for the place of an edge many times."""
        from mollifier.engines.joint.engine import solve_joint
        from mollifier.engines.joint.moving import solve_moving

        edge = moving_edge(request.problem.system)
        return solve_moving(request, edge) if edge else solve_joint(request)


def _coefficients(over: Sequence[str], collocation: Collocation, by_number: Sequence[int]) -> int:
    """Coefficients of the spline of an unknown field; cells along each axis by the number of axes."""
    cells = by_number[min(len(over), len(by_number)) - 1]
    sizes = {a.name: a.size for a in collocation.grid}
    return int(np.prod([min(sizes.get(c, cells), cells) + 5 for c in over]))


JOINT = JointEngine()
