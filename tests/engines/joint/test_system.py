"""The normal equations of the joint engine: what residuals say of the standard errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

import mollifier as mf

T = np.linspace(0, 8, 200)


def logistic(numbers: np.ndarray) -> np.ndarray:
    r, most, start = numbers
    return most / (1 + (most / start - 1) * np.exp(-r * T))


@pytest.mark.parametrize("noisy", [slice(100, 200), slice(0, 50)])
def test_dispersion_is_that_of_the_samples_that_count(noisy):
    """Noise of 0.01 as stated, but three times that in a part of the samples: errors of least squares."""
    true, size = np.array([1.0, 1.0, 0.1]), np.full(T.size, 0.01)
    size[noisy] *= 3
    u = logistic(true) + size * np.random.default_rng(3).standard_normal(T.size)
    data = mf.Observations({"u": u}, {"t": T}, noise={"u": 0.01})
    unknowns = {n: mf.ScalarUnknown(initial=1.0) for n in ("r", "K")}
    found = mf.solve(mf.InverseProblem("u_t = r*u*(1 - u/K)", data, unknowns), "joint").estimates
    gains = np.linalg.pinv(approx_fprime(true, logistic, 1e-6))
    stated, shown = (np.sqrt(np.square(gains) @ np.square(s)) for s in (np.full(T.size, 0.01), size))
    for name, after in zip(unknowns, shown, strict=False):
        assert found[name].sd == pytest.approx(after, rel=0.25)
        assert abs(found[name].value - 1) < 2.5 * found[name].sd
    assert max(shown / stated) > 2
