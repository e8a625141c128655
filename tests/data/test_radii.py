"""The radius of a derivative from the noise."""

import numpy as np
import pytest
import xarray as xr

from mollifier.data.radii import best_radius
from mollifier.errors import GridError
from mollifier.mollify.differentiate import differentiate
from mollifier.mollify.orders import Derivative

X, T = np.linspace(0, 2, 100), np.linspace(0, 1, 30)
FRONT = (X[:, None] - 0.6 - 0.6 * T) / 0.15
WAVES = np.sin(3 * X[:, None] - 2 * T)
FIELDS = {
    "waves": (WAVES, -9 * WAVES),
    "front": (np.tanh(FRONT), -2 * np.tanh(FRONT) * (1 - np.tanh(FRONT) ** 2) / 0.15**2),
    "flat": (np.exp(-X)[:, None] + 0 * T, np.exp(-X)[:, None] + 0 * T),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("noise", [0.002, 0.05])
def test_radius_is_nearly_the_best(name, noise):
    """The error is at most 1.3 times that of the best of all radii, on a seed that chose nothing."""
    u, exact = FIELDS[name]
    noisy = u + noise * np.random.default_rng(20).standard_normal(u.shape)
    array = xr.DataArray(noisy, {"x": X, "t": T}, ("x", "t"), "u")

    def error(radius):
        found = differentiate(array, order="u_xx", radius={"x": radius})
        return float(np.sqrt(np.mean((found - exact) ** 2)))

    chosen = best_radius(array, Derivative.parse("u_xx", "xt"), noise)
    best = min(error(r) for r in np.geomspace(0.12, 0.95, 12))
    assert error(chosen["x"]) < 1.3 * best


def test_radius_of_too_few_nodes():
    """The error is that of the derivative."""
    array = xr.DataArray(np.arange(3.0), {"x": np.arange(3.0)}, "x")
    with pytest.raises(GridError):
        best_radius(array, Derivative.parse("u_xxxx", "x"), 0.1)
