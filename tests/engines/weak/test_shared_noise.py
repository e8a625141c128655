"""Random effects of the noise in the weak engine: modes by differences, coverage."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.engines.weak.engine import _Run
from mollifier.engines.weak.settings import WeakSettings

TRUTH = {"D": 0.005, "c": 0.5}


def waves(seed, kind, level=0.02, n=48, frames=40):
    """Decaying waves that travel, with a little white noise and one kind of shared noise."""
    g = np.random.default_rng(seed)
    x, t = np.arange(n) / n, np.linspace(0, 1, frames)
    u = 0.5 + sum(
        g.normal()
        * np.exp(-0.005 * (2 * np.pi * k) ** 2 * t)
        * np.cos(2 * np.pi * k * (x[:, None] - 0.5 * t))
        for k in (1, 2, 3)
    )
    sd = level * np.sqrt(np.mean(u**2))
    shared = {
        "sensor_gain": u * level * g.standard_normal((n, 1)),
        "sensor_offset": sd * g.standard_normal((n, 1)),
        "frame_offset": sd * g.standard_normal((1, frames)),
        "offset": sd * g.choice([-1.0, 1.0]),
    }[kind]
    v = u + shared + sd / 4 * g.standard_normal(u.shape)
    data = xr.Dataset({"u": (("x", "t"), v)}, {"x": ("x", x, {"periodic": 1.0}), "t": t})
    return mf.Observations.from_dataset(data, noise={"u": {"fraction": level / 4, kind: level}})


def problem(data, equation="u_t = D*u_xx - c*u_x"):
    return mf.InverseProblem(equation, data, {n: mf.ScalarUnknown() for n in "Dc"})


@pytest.mark.parametrize("kind", ["sensor_gain", "frame_offset"])
def test_modes_are_derivatives_of_residuals(kind):
    """R is what the residuals change by when the field changes by an effect."""
    run = _Run(problem(waves(0, kind), "u_t = D*u_xx - c*u*u_x"), WeakSettings())
    selection = run.selection([1, 1])
    space, at = selection.space(run.first), np.array([0.01, 0.4])
    sums = selection.estimator.sums
    modes = sums.modes(space, at)
    effect, data = sums.data.effects[0], run.data
    coefficients = np.random.default_rng(1).standard_normal(modes.shape[1])
    level = data.smoothed["u"] if effect.gain else np.ones(data.grid.shape)
    shape = (-1, 1) if effect.shape[0] > 1 else (1, -1)
    change = effect.sd * level * coefficients.reshape(shape)

    def residuals(step):
        data.values["u"] = data.smoothed["u"] + step * change
        return run.selection([1, 1]).estimator.sums.rows(space, at).residuals

    slope = (residuals(1e-4) - residuals(-1e-4)) / 2e-4
    data.values["u"] = data.smoothed["u"]
    expected = run.selection([1, 1]).estimator.sums.modes(space, at) @ coefficients
    np.testing.assert_allclose(slope, expected, rtol=0.02, atol=1e-3 * np.abs(slope).max())


@pytest.mark.parametrize("kind", ["sensor_gain", "sensor_offset", "frame_offset", "offset"])
def test_solve_declared_noise_is_covered(kind):
    solution = mf.solve(problem(waves(3, kind)), "weak")
    assert solution.status.ok
    for name, truth in TRUTH.items():
        estimate = solution.estimates[name]
        assert abs(estimate.value - truth) < 3 * estimate.sd
        assert estimate.sd < 0.05 * truth


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sensor_gain", "sensor_offset", "frame_offset"])
def test_solve_declared_noise_coverage(kind):
    z = []
    for seed in range(10, 25):
        solution = mf.solve(problem(waves(seed, kind)), "weak")
        z += [
            (solution.estimates[n].value - v) / solution.estimates[n].sd
            for n, v in (("D", 0.005), ("c", 0.5))
        ]
    assert np.mean(np.abs(z) < 1.96) >= 0.8
    assert np.sqrt(np.mean(np.square(z))) < 1.4
