"""What xarray's objects get from this package."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.errors import DataError

X, T = np.linspace(0, 1, 60), np.linspace(0, 3, 40)


def dataset(dims):
    u = np.sin(3 * X[:, None]) * np.exp(-T)
    whole = xr.Dataset({"u": (("x", "t"), u, {"units": "K"})}, {"x": ("x", X, {"units": "m"}), "t": T})
    return whole.transpose(*dims)


@pytest.mark.parametrize("dims", [("x", "t"), ("t", "x")])
def test_accessor_differentiates_in_any_order_of_dimensions(dims):
    """As the function does, with dimensions, coordinates and units kept."""
    found = dataset(dims).mollifier.differentiate("u_xx", radius={"x": 0.1})
    assert (found.dims, found.name, found.attrs["units"]) == (dims, "u_xx", "K/m^2")
    xr.testing.assert_equal(found, mf.differentiate(dataset(dims)["u"], order="u_xx", radius={"x": 0.1}))
    assert abs(found + 9 * dataset(dims)["u"]).max() < 0.01


def test_accessor_of_an_array_and_of_several_orders():
    """Several derivatives make a dataset; an array has the accessor too."""
    found = dataset(("x", "t")).mollifier.differentiate(["u_t", "u_xx"], radius={"x": 0.1, "t": 0.3})
    assert list(found.data_vars) == ["u_t", "u_xx"]
    assert abs(found["u_t"] + dataset(("x", "t"))["u"]).max() < 0.01
    plain = dataset(("x", "t"))["u"].drop_attrs().rename(None)
    np.testing.assert_array_equal(
        plain.mollifier.differentiate("u_t", radius={"t": 0.3}),
        dataset(("x", "t"))["u"].mollifier.differentiate("u_t", radius={"t": 0.3}),
    )


@pytest.mark.parametrize(("boundary", "size"), [("one-sided", 40), ("trim", 34)])
def test_accessor_along_dates(boundary, size):
    """Dates stay dates, and the radius is in seconds."""
    days = np.datetime64("2020-01-01", "ns") + np.arange(40) * np.timedelta64(1, "D")
    data = dataset(("x", "t")).assign_coords(t=days)
    found = data.mollifier.differentiate("u_t", radius={"t": 4 * 86400.0}, boundary=boundary)
    assert found.t.dtype.kind == "M"
    assert found.sizes["t"] == size
    rate = T[1] / 86400
    inner = found.sel(t=days[5:-5])
    np.testing.assert_allclose(inner, -rate * data["u"].sel(t=days[5:-5]), rtol=0, atol=1e-3 * rate)


def test_accessor_along_a_decreasing_axis():
    """As latitudes often are: the same numbers at the same places, in the order given."""
    data, radius = dataset(("x", "t")), {"x": 0.1}
    turned = data.isel(x=slice(None, None, -1)).mollifier.differentiate("u_x", radius)
    assert turned.x[0] > turned.x[-1]
    xr.testing.assert_allclose(turned.sortby("x"), data.mollifier.differentiate("u_x", radius))


def test_accessor_chooses_the_radius_by_the_noise():
    """More noise, a larger radius; the attribute states it."""
    radii = []
    for noise in (0.001, 0.1):
        data = dataset(("x", "t"))
        data["u"] = data["u"] + noise * np.random.default_rng(5).standard_normal(data["u"].shape)
        found = data.mollifier.differentiate("u_x")
        radii.append(float(found.attrs["radius"].removeprefix("x = ")))
        assert abs(found - 3 * np.cos(3 * data.x) * np.exp(-data.t)).mean() < (0.02 if noise < 0.01 else 0.3)
    assert radii[0] < radii[1]


def test_accessor_names_the_variables():
    """A variable that is not there is named, with the nearest."""
    with pytest.raises(DataError, match="no variable 'v'"):
        dataset(("x", "t")).mollifier.differentiate("v_x", radius=0.1)


def test_accessor_gives_observations():
    """As `Observations.from_dataset`."""
    obs = dataset(("t", "x")).mollifier.observations(noise=0.01, coordinates=["x", "t"])
    assert (obs.coordinates, obs.units) == (("x", "t"), {"u": "K", "x": "m"})


@pytest.mark.parametrize(
    "order",
    ["import xarray, mollifier", "import mollifier; importlib.util.find_spec('xarray'); import xarray"],
)
def test_accessor_is_there_whichever_is_imported_first(order):
    """And no other import hook is left behind."""
    code = f"import sys, importlib.util; before = len(sys.meta_path); {order}; xarray.Dataset().mollifier"
    subprocess.run([sys.executable, "-c", f"{code}; assert len(sys.meta_path) == before"], check=True)
