"""The shift by an offset or a drift is that of a fit to shifted data."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf

X, T = np.arange(40) / 40, np.linspace(0, 1, 40)


def solved(shift):
    u = sum(
        np.exp(-0.01 * k**2 * T) * np.cos(k * (X[:, None] - 0.4 * T)) / k for k in 2 * np.pi * np.arange(1, 3)
    )
    u = 10 * u + 1.0
    noise = 0.002 * np.random.default_rng(0).standard_normal(u.shape)
    rms = np.sqrt(np.mean((u + noise) ** 2))
    data = xr.Dataset(
        {"u": (("x", "t"), u + noise + rms * shift)}, {"x": ("x", X, {"periodic": 1.0}), "t": T}
    )
    problem = mf.InverseProblem(
        "u_t = D*u_xx - c*u*u_x + r*u",
        mf.Observations.from_dataset(data, noise=0.002),
        {n: mf.ScalarUnknown() for n in "Dcr"},
    )
    return mf.solve(problem, "weak", settings={"collocation": {"radius": {"x": 0.2, "t": 0.25}}})


@pytest.mark.parametrize(("what", "shift"), [("offset of u", 0.01), ("drift of u", 0.01 * (T - 0.5))])
def test_sensitivity_is_the_shift_of_a_fit(what, shift):
    first, second = solved(0.0), solved(shift)
    for name, shifts in first.provenance["sensitivity"].items():
        moved = second.estimates[name].value - first.estimates[name].value
        assert shifts[what] == pytest.approx(moved, rel=0.1, abs=0.2 * first.estimates[name].sd)


def test_sensitivity_is_printed():
    assert "of 1 % of rms" in solved(0.0).summary()
