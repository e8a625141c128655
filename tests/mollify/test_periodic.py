"""Periodic axes that repeat their endpoint."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.mollify.periodic import repeats_first

KINDS = {
    "wave": lambda x, t: np.sin(x - 0.7 * t) + 0.5 * np.cos(2 * x - 1.4 * t),
    "short": lambda x, t: np.sin(9 * x - 0.7 * t + 1),
    "even": lambda x, t: np.cos(x) * np.exp(-t) + 0.3 * np.cos(2 * x) * np.exp(-4 * t),
    "pulse": lambda x, t: np.exp(-(((x - np.pi) / 0.4) ** 2)) * np.exp(-t),
    "shock": lambda x, t: np.sign(np.sin(x - t)),
    "flat": lambda x, t: 0 * x,
}


def wave(kind: str, n: int, endpoint: bool, noise: float, seed: int, steps: int = 61) -> xr.Dataset:
    x, t = np.linspace(0, 2 * np.pi, n, endpoint=endpoint), np.linspace(0, 1, steps)
    u = KINDS[kind](*np.meshgrid(x, t, indexing="ij"))
    u = u + noise * np.random.default_rng(seed).normal(size=u.shape)
    return xr.Dataset({"u": (("x", "t"), u)}, {"x": ("x", x, {"periodic": True}), "t": t})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [16, 33, 128])
def test_endpoint_that_is_not_repeated(kind, n):
    """No false alarm, with short waves, fronts and fields that are symmetric about the seam or flat there."""
    for noise in (0.0, 0.01, 0.1):
        for seed in range(10):
            assert not repeats_first(wave(kind, n, False, noise, seed).u.values)
            assert not repeats_first(wave(kind, n, False, noise, seed, 2).u.values)


@pytest.mark.parametrize(
    ("kind", "n", "noise"), [("wave", 33, 0.03), ("short", 128, 0.03), ("even", 33, 0.0)]
)
def test_endpoint_that_is_repeated(kind, n, noise):
    for seed in range(10):
        assert repeats_first(wave(kind, n, True, noise, seed).u.values)


def test_speed_from_data_with_both_ends():
    """The period is the span, as in data with ``linspace(0, 2 pi, 33)``: c = 0.7."""
    obs = mf.Observations.from_dataset(wave("wave", 33, True, 0.01, 0))
    assert obs.periodic["x"] == pytest.approx(2 * np.pi)
    assert "without the last slice along x, which repeats the first" in obs.summary()
    problem = mf.InverseProblem("u_t = -c*u_x", obs, {"c": mf.ScalarUnknown()})
    assert any("without the last slice along x" in f.text for f in mf.check(problem).findings)
    estimate = mf.solve(problem).estimates["c"]
    assert abs(estimate.value - 0.7) < 3 * estimate.sd
