"""Layers: numbers that jump at a known edge, which the domain leaves out."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import mollifier as mf
from mollifier.errors import ConfigurationError

EQUATION = "u_t = dx((k1 + (k2 - k1)*heaviside(x - 0.45))*u_x)"
LEFT, RIGHT = 0.02, 0.08


def heat(seed, cells=400):
    """Heat in two layers that meet at 0.45, by finite volumes with harmonic means; 50 places, 81 times."""
    h = 1 / cells
    x, t = (np.arange(cells) + 0.5) * h, np.linspace(0, 4, 81)
    k = np.where(x < 0.45, LEFT, RIGHT)
    between = 2 * k[1:] * k[:-1] / (k[1:] + k[:-1])

    def rate(t, u):
        ends = 2 * k[0] * (u[0] - np.sin(2 * t)), 2 * k[-1] * (0.3 * np.cos(3 * t) - u[-1])
        return np.diff(np.concatenate([[ends[0]], between * np.diff(u), [ends[1]]])) / h**2

    start = np.exp(-(((x - 0.4) / 0.2) ** 2))
    u = solve_ivp(rate, (0, 4), start, "LSODA", t, rtol=1e-8, atol=1e-10, lband=1, uband=1).y[4::8]
    noisy = u + 0.01 * np.sqrt(np.mean(u**2)) * np.random.default_rng(seed).standard_normal(u.shape)
    made = xr.Dataset({"u": (("x", "t"), noisy)}, {"x": x[4::8], "t": t})
    return mf.Observations.from_dataset(made, noise={"u": 0.01})


def posed(data, band):
    """The question with a band left out; None for no domain."""
    unknowns = {"k1": mf.ScalarUnknown(lower=0.0), "k2": mf.ScalarUnknown(lower=0.0)}
    domain = None if band is None else mf.Domain(f"max(x - 0.45, 0.45 - x) > {band}")
    return mf.InverseProblem(EQUATION, data, unknowns, domain=domain)


def test_numbers_of_two_layers():
    """One on either side of a band, without a model of the kink between."""
    solution = mf.solve(posed(heat(10), 0.02))
    assert solution.provenance["engine"] == "weak"
    assert solution.status.ok
    for name, true in (("k1", LEFT), ("k2", RIGHT)):
        found = solution.estimates[name]
        assert abs(found.value - true) < 3 * found.sd < 0.05 * true


@pytest.mark.parametrize("band", [None, 1e-4])
def test_edge_that_the_domain_does_not_leave_out(band):
    """Neighbouring nodes on either side of it are refused, with the domain to give."""
    with pytest.raises(ConfigurationError, match=r"jumps where x - 0.45 = 0.*Leave out a band"):
        posed(heat(10), band)
