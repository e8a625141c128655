"""Values of x and t that tests of the readers write to files, and find again."""

import numpy as np
import xarray as xr

from mollifier.data.observations import Observations

X, T = np.linspace(0, 1, 12), np.linspace(0, 3, 9)
U = np.sin(3 * X[:, None]) * np.exp(-T)


def labelled() -> xr.Dataset:
    return xr.Dataset(
        {"u": (("x", "t"), U, {"units": "K"})},
        coords={"x": ("x", X, {"units": "m", "periodic": 2.0}), "t": ("t", T, {"units": "h"})},
    )


def check(obs: Observations) -> None:
    assert obs.gridded
    assert obs.coordinates == ("x", "t")
    np.testing.assert_allclose(obs.dataset["u"].values, U)
    np.testing.assert_allclose(obs.grid()["t"].points, T)
