"""The gate on conditions, on solutions made up for it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from mollifier.diagnostics.validation.validate import validate
from mollifier.engines.gates.conditions import conditions_met
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


def answer(residual, noise):
    """One whose condition leaves this residual, in its unit."""
    attrs = {"role": "condition", "equation": "u = 0 at x = 0", "noise": noise, "long_name": "residual"}
    fields = xr.Dataset({"condition_0": ("t", np.full(5, residual), attrs)}, {"t": np.arange(5.0)})
    fit, history = xr.Dataset({"n": ("observation", [])}), xr.Dataset({"loss": ("step", [])})
    return Solution(Status("converged"), {}, fields, fit, history, {})


@pytest.mark.parametrize(
    ("residual", "noise", "met"), [(1e-3, 0, True), (0.2, 0, False), (2.0, 0.1, True), (4.0, 0.1, False)]
)
def test_condition_not_met_is_a_misfit(residual, noise, met):
    """Exact ones to 5 % of their terms, others to three standard errors."""
    solution = answer(residual, noise)
    status = conditions_met(None, solution)
    assert (status is None) == met
    assert met or "'u = 0 at x = 0' is not met" in status.message
    rows = [r for r in validate(solution).table if r["test"] == "condition"]
    assert [r["verdict"] for r in rows] == ["holds" if met else "doubtful"]
