"""Domains of any shape by the network engine."""

from __future__ import annotations

import numpy as np
import pytest

import mollifier as mf

SETTINGS = {
    "network": {"width": 16, "depth": 2},
    "training": {"warmup_steps": 300, "steps": 80},
    "collocation": {"nodes": {"x": 17, "y": 17}},
}


@pytest.mark.slow
def test_source_in_a_disc():
    """The equation is imposed inside only, and the answer is NaN outside."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 600))
    keep = np.flatnonzero(np.hypot(x, y) < 1)[:300]
    u = 0.5 * (x**2 + y**2) + x + 0.02 * rng.standard_normal(600)
    data = mf.Observations({"u": u[keep]}, {"x": x[keep], "y": y[keep]}, noise={"u": 0.03})
    problem = mf.InverseProblem(
        "lap(u) = q", data, {"q": mf.ScalarUnknown()}, domain=mf.Domain("x^2 + y^2 < 1")
    )
    solution = mf.solve(problem, "network", settings=SETTINGS)
    q = solution.estimates["q"]
    assert solution.status.ok
    assert abs(q.value - 2) < 3 * q.sd < 0.15, str(q)
    assert np.isnan(solution.dataset.u.sel(x=-0.95, y=-0.95, method="nearest"))
