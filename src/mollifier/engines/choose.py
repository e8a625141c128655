"""Which engine suits a problem, and why."""

from __future__ import annotations

import numpy as np

from mollifier.engines.weak.form import is_weak
from mollifier.problem.inverse_problem import InverseProblem

# Nodes from which a grid is dense: below, a fit that solves the equation exactly uses the data better.
_DENSE = 2000
# Share of a gridded field that may be missing, and coordinates that nodes can fill. Measured on 60 x 50 nodes
# with 5 % noise, a number and a field k(x): with 30 % missing here and there the weak engine's errors are 1.6
# to 11 times the joint engine's, with 50 % no test function is left; without a block of 36 % the number is as
# good, k(x) 1.6 to 3.3 times as far off. Where all lies around an object, as a nucleus, weak may be named.
_MOST_MISSING, _MOST_COORDINATES = 0.2, 3


def choose(problem: InverseProblem) -> tuple[str, str]:
    """The engine that suits a problem, and the reason in one line.

    Dense data on a grid go to the weak engine where the equation has a weak form; other data to the joint
    engine while nodes can fill the domain; the rest to the network.

    Examples
    --------
    >>> from mollifier import Observations, ScalarUnknown
    >>> x, t = np.random.default_rng(0).random((2, 300))
    >>> obs = Observations({"u": np.exp(-t) * np.sin(3 * x)}, {"x": x, "t": t}, noise=0.01)
    >>> choose(InverseProblem("u_t = D*u_xx", obs, {"D": ScalarUnknown()}))
    ('joint', 'the data are scattered over x, t')
    """
    against = _against_weak(problem)
    if not against:
        size = problem.data.grid(problem.coordinates).size
        return (
            "weak",
            f"the data fill a grid of {size:,} nodes and every derivative moves onto a test function",
        )
    if len(problem.coordinates) <= _MOST_COORDINATES:
        return "joint", against
    return "network", f"{against}, and nodes cannot fill {len(problem.coordinates)} coordinates"


def _against_weak(problem: InverseProblem) -> str:
    """Why the weak engine will not do; nothing where it will."""
    data = problem.data
    if not data.gridded:
        return f"the data are scattered over {', '.join(problem.coordinates)}"
    partial = [f for f in problem.fields if set(data.coordinates_of(f)) != set(problem.coordinates)]
    if partial:
        return f"'{partial[0]}' is measured over {', '.join(data.coordinates_of(partial[0]))} only"
    if not is_weak(problem.system):
        return "the equation holds products of derivatives, which have no weak form"
    grid = data.grid(problem.coordinates)
    weak_only = any(u.prior == "tv" for u in problem.unknown_fields.values())
    if grid.size < _DENSE and not weak_only:
        return f"the grid has {grid.size:,} nodes only"
    alone = [n for n, u in problem.unknown_fields.items() if set(u.over or ()) == set(grid.names)]
    if alone and not weak_only and len(grid.names) <= 2:
        return f"'{alone[0]}' varies over all coordinates, so that no sum over the grid takes its noise away"
    short = [a.name for a in grid if a.size < 2 * problem.system.order_along(a.name) + 1]
    if short:
        return f"there are too few nodes along {', '.join(short)} for the orders of the equation"
    missing = max(float(np.mean(~np.isfinite(data.dataset[f].values))) for f in problem.fields)
    if missing > _MOST_MISSING:
        return f"{100 * missing:.0f} % of the grid are missing"
    return ""
