"""Laws of the state by the network engine."""

from __future__ import annotations

import pytest

import mollifier as mf
from tests.engines.joint.test_laws import curve
from tests.support.laws import relative_error


@pytest.mark.slow
def test_law_of_a_curve_by_a_network():
    """A network over the values of the state, by Gauss-Newton."""
    data, rate = curve(10)
    settings = {"network": {"width": 12, "depth": 2}, "training": {"warmup_steps": 300, "steps": 40}}
    problem = mf.InverseProblem("u_t = f(u)", data, {"f": mf.FieldUnknown()})
    law = mf.solve(problem, "network", settings=settings).dataset["f"]
    assert relative_error(law, rate) < 0.1
