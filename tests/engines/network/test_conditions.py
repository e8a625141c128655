"""The network engine with conditions: an exact solution of a rod that cools through its end."""

from __future__ import annotations

import numpy as np
import pytest

from engine_problems import small
from mollifier.data.observations import Observations
from mollifier.engines.solve import solve
from mollifier.problem.conditions import Condition
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import ScalarUnknown

K = 0.05
H = K * np.tan(1.0)


def cooling(seed=0):
    x, t = np.random.default_rng(seed).random((2, 200))
    u = 0.5 + np.exp(-K * t) * np.cos(x) + 0.005 * np.random.default_rng(seed + 1).normal(size=200)
    data = Observations({"u": u}, {"x": x, "t": t}, noise={"u": np.full(200, 0.005)})
    conditions = [Condition("-k*u_x = h*(u - 0.5)", {"x": 1.0}), Condition("u_x = 0", {"x": 0.0})]
    unknowns = {"h": ScalarUnknown(lower=0.0)}
    return InverseProblem("u_t = k*u_xx", data, unknowns, {"k": K}, conditions=conditions)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": {"kind": "random-features", "width": 60}},
        pytest.param(
            {"derivatives": "nested", "training": {"warmup_steps": 300, "steps": 300, "adam_steps": 300}},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["gauss-newton", "random features", "lbfgs, nested"],
)
def test_transfer_coefficient_of_a_cooled_end(changes):
    """In a condition alone; by every way to differentiate and to optimise."""
    found = solve(cooling(), "network", settings=small() | changes)
    assert abs(found.estimates["h"].value - H) < 0.05 * H
    assert max(found.condition_residuals.values()) < 0.05
