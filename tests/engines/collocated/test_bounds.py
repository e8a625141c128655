"""Bounds of hidden states of which a condition gives values."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import xarray as xr
from scipy.linalg import expm

import mollifier as mf
from mollifier.engines.collocated.bounds import passed

FLOWS = ["c_t = -(k + 0.6)*c + q*b", "b_t = 0.6*c - q*b"]
"""A drug in the blood and, hidden, in tissue, which is empty at first."""


@cache
def question(**bounds):
    t = np.linspace(0.0, 12.0, 40)
    flow = np.array([[-0.85, 0.4], [0.6, -0.4]])
    c = np.array([(expm(flow * s) @ [10.0, 0.0])[0] for s in t])
    c += 0.05 * np.random.default_rng(0).normal(size=t.size)
    return mf.InverseProblem(
        FLOWS,
        mf.Observations(values={"c": c}, points={"t": t}, noise={"c": 0.05}),
        {"k": mf.ScalarUnknown(lower=0.0), "q": mf.ScalarUnknown(lower=0.0)},
        states={"b": mf.StateUnknown(**bounds)},
        conditions=[mf.Condition("b = 0", at={"t": "start"})],
    )


@pytest.mark.parametrize("lower", [0.0, -0.05])
def test_a_state_that_begins_at_its_bound_or_next_to_it_is_found(lower):
    """As without one: raw values of a bijection would grow without end, or within less than a cell."""
    found = mf.solve(question(lower=lower), "joint", rng=0)
    free = mf.solve(question(), "joint", rng=0)
    assert found.status.name == "converged"
    for name, truth in (("k", 0.25), ("q", 0.4)):
        assert found.estimates[name].value == pytest.approx(truth, abs=4 * found.estimates[name].sd)
        assert found.estimates[name].value == pytest.approx(free.estimates[name].value, rel=1e-3)


@pytest.mark.parametrize(("low", "name"), [(-0.01, ""), (-0.5, "b")])
def test_a_state_that_passes_its_bound_is_named(low, name):
    """By more than its error; not by a rounding of its course."""
    values = xr.Dataset({"b": ("t", [0.0, 2.0, 1.0, low]), "b_sd": ("t", [0.0, 0.1, 0.1, 0.05])})
    assert passed(question(lower=0.0), values).partition(" ")[0] == name
    assert passed(question(), values) == ""
