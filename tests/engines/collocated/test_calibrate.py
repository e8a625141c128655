"""The first guess of the unknowns."""

from __future__ import annotations

import numpy as np
import pytest

import mollifier as mf
from mollifier.data.observations import Observations
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import ScalarUnknown


@pytest.mark.parametrize("capacity", [2.0, 100.0])
@pytest.mark.parametrize("bounds", [{}, {"lower": 0.0}, {"lower": 0.1, "upper": 1e4}])
def test_an_unknown_of_any_size_that_the_equation_is_not_linear_in(capacity, bounds):
    """From K = 1, below most values, growth turns to decay and K runs to its bound."""
    t = np.linspace(0, 10, 80)
    u = capacity / (1 + 19 * np.exp(-0.8 * t))
    noise = 0.02 * np.sqrt(np.mean(u**2)) * np.random.default_rng(1).standard_normal(80)
    data = Observations(values={"u": u + noise}, points={"t": t})
    unknowns = {"r": ScalarUnknown(), "K": ScalarUnknown(**bounds)}
    found = mf.solve(InverseProblem("u_t = r*u*(1 - u/K)", data, unknowns), "joint", rng=0)
    assert found.status.name == "converged"
    for name, truth in (("r", 0.8), ("K", capacity)):
        estimate = found.estimates[name]
        assert abs(estimate.value - truth) < 3 * estimate.sd < 0.1 * truth
