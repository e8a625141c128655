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
    t = np.linspace(0, 4, 60)
    u = np.sin(3 * t) / 3 + np.sin(4 * t) / 16 + np.sin(2 * t) / 8 - 0.5 * t  # k = 1 + cos(t)/2, r = 0.5
    u = u + 0.01 * np.random.default_rng(0).standard_normal(t.size)
    unknowns = {"k": mf.FieldUnknown(lower=0.0), "r": mf.ScalarUnknown(lower=-0.01, upper=1.0)}
    data = xr.Dataset({"u": ("t", u), "v": ("t", np.cos(3 * t))}, {"t": t})
    solution = mf.solve(mf.InverseProblem("u_t = k*v - r", data, unknowns), engine)
    solution.save(tmp_path)
    for found in (solution, load_solution(tmp_path)):
        e = found.estimates["r"]
        assert (e.lower, e.upper) == (-0.01, 1.0)
        low, high = e.interval()
        assert -0.01 <= low < 0.5 < high <= 1.0
        assert found.dataset["k"].attrs["valid_min"] == 0.0
        assert "valid_max" not in found.dataset["k"].attrs
