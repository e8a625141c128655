"""Numbers with their standard errors and bounds."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import load_solution


def test_interval_within_bounds():
    assert Estimate("D", 0.1, 0.1).interval()[0] < 0
    assert Estimate("D", 0.1, 0.1, lower=0.0, upper=0.2).interval() == (0.0, 0.2)
    assert Estimate("D", 0.1, 0.01, lower=0.0).interval() == pytest.approx((0.0804, 0.1196), abs=1e-4)


@pytest.mark.parametrize("engine", ["weak", "joint"])
def test_answers_keep_their_bounds(engine, tmp_path):
    """Of numbers and fields, through a file."""
    x, t = np.linspace(0, 2, 24), np.linspace(0, 1, 24)
    u = np.exp(-0.9 * t) * np.sin(3 * x[:, None]) + np.exp(-0.1 * t) * np.sin(x[:, None])
    u = u + 0.02 * np.random.default_rng(0).standard_normal(u.shape)
    unknowns = {"k": mf.FieldUnknown(over="x", lower=0.0), "r": mf.ScalarUnknown(lower=-0.01, upper=1.0)}
    data = xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t})
    solution = mf.solve(mf.InverseProblem("u_t = dx(k*u_x) - r*u", data, unknowns), engine)
    solution.save(tmp_path)
    for found in (solution, load_solution(tmp_path)):
        e = found.estimates["r"]
        assert (e.lower, e.upper) == (-0.01, 1.0)
        if e.sd is not None:
            low, high = e.interval()
            assert -0.01 <= low <= high <= 1.0
        assert found.dataset["k"].attrs["valid_min"] == 0.0
        assert "valid_max" not in found.dataset["k"].attrs
