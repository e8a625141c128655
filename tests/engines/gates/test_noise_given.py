"""Noise that was given much too small: no answer on it is called good."""

from __future__ import annotations

import numpy as np
import pytest

import mollifier as mf


def beam(given: float | None) -> mf.InverseProblem:
    """A cantilever of stiffness one under its weight, deflections with a noise of .001."""
    x = np.linspace(0, 1, 41)
    w = x**4 / 24 - x**3 / 6 + x**2 / 4 + 0.001 * np.random.default_rng(0).standard_normal(41)
    noise = None if given is None else {"w": np.full(41, given)}
    conditions = [mf.Condition(e, at={"x": 0.0}) for e in ("w = 0", "w_x = 0")]
    conditions += [mf.Condition(e, at={"x": 1.0}) for e in ("w_xx = 0", "w_xxx = 0")]
    return mf.InverseProblem(
        "E*w_xxxx = 1",
        mf.Observations({"w": w}, {"x": x}, noise=noise),
        {"E": mf.ScalarUnknown(lower=0)},
        conditions=conditions,
    )


@pytest.mark.parametrize("times", [5, 15])
def test_noise_given_far_too_small_is_said(times):
    """With a fifteenth the fit ended where E is 0, before the equation had its weight: no misfit was seen."""
    solution = mf.solve(beam(1e-3 / times), "joint")
    assert solution.status.name == "misfit"
    # The fit ends at a part of the equation's weight, where E depends on the path to it: 1.060 with a
    # standard error of 0.097 from one first guess, 0.999 with 0.018 from another.
    assert solution.estimates["E"].value == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("given", [0.001, None])
def test_noise_as_it_is_or_estimated(given):
    solution = mf.solve(beam(given), "joint")
    assert solution.status.ok
    assert abs(solution.estimates["E"].value - 1) < 3 * solution.estimates["E"].sd
