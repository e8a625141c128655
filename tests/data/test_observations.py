"""Observations: construction, samples, interpolation, and the messages for bad arrays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from measured_fields import field, points
from mollifier.data.observations import Observations
from mollifier.errors import DataError


def test_scattered_order_units_and_bounds():
    obs = Observations(
        {"u": [1.0, np.nan, 3.0]}, {"time": [0, 5, 1], "x": [0, 1, 2]}, units={"u": "K", "x": "m"}
    )
    assert obs.coordinates == ("x", "time")
    assert obs.variables == ("u",)
    assert not obs.gridded
    assert obs.units == {"u": "K", "x": "m"}
    assert obs.bounds == {"x": (0.0, 2.0), "time": (0.0, 1.0), "u": (1.0, 3.0)}
    with pytest.raises(DataError, match=r"scattered over .* have no grid"):
        obs.grid()


def test_gridded_samples_grid_and_period():
    dataset = field(periodic=True)
    dataset["u"][2, 3] = np.nan
    obs = Observations.from_dataset(dataset, noise=0.1)
    s = obs.samples("u")
    assert obs.grid().shape == (24, 18)
    assert obs.grid("t").names == ("t",)
    assert obs.periodic["x"] == pytest.approx(24 / 23)
    assert obs.grid()["x"].periodic
    assert s.points.shape == (24 * 18 - 1, 2)
    assert np.isfinite(s.values).all()
    np.testing.assert_allclose(s.values, np.sin(3 * s.points[:, 0]) * np.exp(-s.points[:, 1]) + 1)
    np.testing.assert_allclose(s.sd, 0.1 * np.sqrt(np.nanmean(dataset["u"].values ** 2)))
    assert obs.noise == pytest.approx({"u": 0.1})


def test_variables_share_the_order_of_the_coordinates():
    dataset = field()
    dataset["w"] = (("t", "x"), dataset["u"].values.T)
    dataset["D"] = ("x", dataset["x"].values)
    obs = Observations.from_dataset(dataset)
    np.testing.assert_array_equal(obs.dataset["w"].values, obs.dataset["u"].values)
    assert obs.coordinates_of("D") == ("x",)
    assert obs.samples("D").points.shape == (24, 1)


def test_replicates_become_samples():
    rng = np.random.default_rng(0)
    u = field()["u"].values[None] + 0.1 * rng.standard_normal((4, 24, 18))
    dataset = field().drop_vars("u").assign(u=(("well", "x", "t"), u))
    with pytest.raises(DataError, match=r"'well'.*no coordinate values.*replicates"):
        Observations.from_dataset(dataset)
    obs = Observations.from_dataset(dataset, replicates=("well",))
    assert obs.coordinates == ("x", "t")
    assert obs.samples("u").values.size == 4 * 24 * 18
    assert obs.noise_sd("u") == pytest.approx(0.1, rel=0.1)
    assert obs.select(well=2).dataset["u"].shape == (24, 18)
    assert obs.scattered().dataset.sizes["point"] == 4 * 24 * 18
    assert "4 repeats (well)" in str(obs)


def test_dataset_with_a_bare_dimension():
    """A dataset with a bare dimension is scattered."""
    dataset = xr.Dataset(
        {"u": ("obs", np.arange(5.0)), "x": ("obs", np.arange(5.0)), "t": ("obs", np.ones(5) + np.arange(5))}
    )
    obs = Observations.from_dataset(dataset)
    assert (obs.gridded, obs.coordinates, obs.variables) == (False, ("x", "t"), ("u",))
    again = Observations.from_dataset(points().dataset)
    assert again.digest() == points().digest()
    assert again.noise_source("u") == "given"


def test_variables_named_like_coordinates():
    """Three variables named like coordinates stay variables."""
    t = np.linspace(0, 1, 20)
    obs = Observations.from_dataset(xr.Dataset({n: ("t", np.sin(t)) for n in "xyz"}, coords={"t": t}))
    assert (obs.variables, obs.coordinates) == (("x", "y", "z"), ("t",))


def test_dates_become_seconds():
    dataset = field().assign_coords(
        t=np.datetime64("2024-01-01", "ns") + np.arange(18) * np.timedelta64(1, "h")
    )
    obs = Observations.from_dataset(dataset)
    assert obs.bounds["t"] == (0.0, 17 * 3600.0)
    assert obs.units["t"] == "s"
    assert obs.dataset["t"].attrs["origin"].startswith("2024-01-01")


def test_dates_with_a_time_zone_become_seconds():
    when = pd.Series(pd.date_range("2024-03-31", periods=6, freq="h", tz="Europe/Berlin"))
    obs = Observations({"u": np.arange(6.0)}, {"t": when})
    assert obs.bounds["t"] == (0.0, 5 * 3600.0)
    assert obs.dataset["t"].attrs["origin"].startswith("2024-03-30T23")


def test_tensors_with_a_gradient_are_taken():
    torch = pytest.importorskip("torch")
    values = torch.arange(5.0, requires_grad=True)
    obs = Observations({"u": values}, {"x": torch.linspace(0, 1, 5)})
    assert np.array_equal(obs.dataset["u"].values, np.arange(5.0))


def test_variables_of_text_are_left_out():
    """Names of stations beside the values are no variable, unless they are named."""
    named = field().assign(station=("x", [f"s{i}" for i in range(field().sizes["x"])]))
    assert Observations.from_dataset(named).variables == ("u",)
    with pytest.raises(DataError, match="'station' holds text"):
        Observations.from_dataset(named, variables=["u", "station"])


def test_arrays_are_copied_and_frozen():
    dataset = field()
    obs = Observations.from_dataset(dataset)
    dataset["u"][:] = 0
    assert obs.rms("u") > 1
    with pytest.raises(ValueError, match="read-only"):
        obs.dataset["u"].values[0] = 1


def test_noise_as_array_name_and_round_trip():
    dataset = field().assign(err=("x", np.linspace(0.1, 0.2, 24)))
    by_name = Observations.from_dataset(dataset, noise={"u": "err"})
    assert by_name.variables == ("u",)
    s = by_name.samples("u")
    np.testing.assert_allclose(s.sd, 0.1 + 0.1 * s.points[:, 0])
    by_array = Observations.from_dataset(field(), noise={"u": np.full((24, 18), 0.3)})
    assert by_array.noise_sd("u") == pytest.approx(0.3)
    renamed = by_name.rename({"u": "c", "err": "c_err", "x": "y"})
    assert renamed.noise_sd("c") == pytest.approx(by_name.noise_sd("u"))
    assert renamed.coordinates == ("y", "t")
    assert by_name.thin(50, 1).noise_source("u") == "given"
    assert Observations.from_dataset(by_name.dataset).noise_source("u") == "given"


def test_zero_noise_leaves_finite_weights():
    s = Observations.from_dataset(field(), noise=0.0).samples("u")
    assert (s.sd > 0).all()


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"u": -0.1}, "fraction of rms of 0 or more"),
        ({"u": np.nan}, "fraction of rms"),
        ({"u": [0.1, 0.2]}, r"shape \(2,\).*\(60,\)"),
        ({"u": []}, r"shape \(0,\)"),
        ({"u": np.full(60, np.inf)}, "60 values that are not finite"),
        ({"u": np.full(60, -1.0)}, "60 below zero"),
        ({"uu": 0.1}, "Did you mean 'u'"),
        ({"u": "uerr"}, "'uerr' of 'u' is not in the data"),
        ([0.1], "was given a list"),
        (True, "was given a bool"),
    ],
)
def test_bad_noise(noise, message):
    x = np.linspace(0, 1, 60)
    with pytest.raises(DataError, match=message):
        Observations({"u": x}, {"x": x}, noise)


@pytest.mark.parametrize(
    ("values", "at", "message"),
    [
        ({"u": np.ones((3, 4))}, {"x": np.arange(3), "t": np.arange(4)}, "use Observations.from_dataset"),
        ({"u": [1, 2]}, {"x": [1, 2, 3]}, r"one shape \(n,\)"),
        ({"u": ["a", "b"]}, {"x": [1, 2]}, "holds text"),
        ({"u": [None, "b"]}, {"x": [1, 2]}, "holds objects"),
        ({"u": [np.inf, 1]}, {"x": [1, 2]}, "1 infinite values; mark"),
        ({"u": [np.nan, np.nan]}, {"x": [1, 2]}, "All 2 values of 'u' are missing"),
        ({"u": [1, 2]}, {"x": [1, np.nan]}, "'x' has 1 points that are not finite"),
        ({"u": []}, {"x": []}, "empty|no points"),
        ({"u": [1, 2]}, {"u": [1, 2]}, "more than one of values"),
        ({}, {"x": [1, 2]}, "at least one variable"),
    ],
)
def test_bad_scattered(values, at, message):
    with pytest.raises(DataError, match=message):
        Observations(values, at)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.isel(x=[1, 0, 2]), r"'x' decreases.*sortby\('x'\)"),
        (lambda d: d.isel(x=[0, 1, 1, 2]), r"'x' repeats.*drop_duplicates"),
        (lambda d: d.isel(t=[3]), r"'t' has one point only.*select\(t="),
        (lambda d: d.drop_vars("x"), r"'x' of .* has no coordinate values"),
        (lambda d: d * np.nan, "are missing"),
        (lambda d: d.assign(u=d.u.astype(str)), "text"),
        (lambda d: d.drop_vars("u"), "no variable"),
        (lambda d: d.assign_coords(x=d.x.assign_attrs(periodic=0.5)), "has period 0.5"),
        (lambda d: d.assign_coords(x=d.x.assign_attrs(periodic=-1)), "positive period"),
        (lambda d: d["u"].values, "A ndarray was given"),
    ],
)
def test_bad_gridded(change, message):
    with pytest.raises(DataError, match=message):
        Observations.from_dataset(change(field()))


def test_unknown_names_nearest():
    """The message for an unknown name holds the nearest one."""
    obs = Observations.from_dataset(field())
    with pytest.raises(DataError, match=r"no variable 'uu'\. Did you mean 'u'"):
        obs.samples("uu")
    with pytest.raises(DataError, match="Known names"):
        obs.select(depth=1)
    with pytest.raises(DataError, match=r"'x' has no value 0.5005\. There are: .*0\.52"):
        obs.select(x=0.5005)
    with pytest.raises(DataError, match="no 'temp' to rename"):
        obs.rename({"temp": "u"})
    with pytest.raises(DataError, match="units names 'q'"):
        Observations.from_dataset(field(), units={"q": "m"})
    with pytest.raises(DataError, match="Variable 'q' is not in the data"):
        Observations.from_dataset(field(), variables=["q"])
    with pytest.raises(DataError, match="periodic"):
        Observations({"u": [1, 2]}, {"x": [1, 2]}, periodic={"x": True})


def test_digest_ignores_layout_but_not_values():
    a = field().assign(v=field()["u"])
    b = a[["v", "u"]].copy(deep=True)
    assert Observations.from_dataset(a).digest() == Observations.from_dataset(b).digest()
    b["u"][0, 0] += 1e-12
    assert Observations.from_dataset(a).digest() != Observations.from_dataset(b).digest()
    assert Observations.from_dataset(a.rename(v="w")).digest() != Observations.from_dataset(a).digest()


@pytest.mark.parametrize(("method", "order"), [("linear", 2), ("cubic", 4)])
def test_interpolation_order(method, order):
    at = {"x": np.linspace(0.11, 0.83, 37)[:, None], "t": np.linspace(0.2, 1.7, 5)}
    exact = np.sin(3 * at["x"]) * np.exp(-at["t"]) + 1
    error = [
        np.abs(Observations.from_dataset(field(n, n)).interpolate("u", at, method) - exact).max()
        for n in (17, 33, 65)
    ]
    slope = np.log2(error[0] / error[2]) / 2
    assert slope == pytest.approx(order, abs=0.4)


def test_interpolation_edges_gaps_and_periods():
    obs = Observations.from_dataset(field())
    np.testing.assert_allclose(obs.interpolate("u", {"x": -5.0, "t": 0.0}), 1.0)
    x = np.arange(32) / 32
    ring = Observations.from_dataset(
        xr.Dataset({"u": ("x", np.sin(2 * np.pi * x))}, coords={"x": x}), periodic={"x": True}
    )
    for method, tolerance in (("linear", 1e-2), ("cubic", 1e-4)):
        at = np.linspace(-1, 2, 50)
        np.testing.assert_allclose(
            ring.interpolate("u", {"x": at}, method), np.sin(2 * np.pi * at), atol=tolerance
        )
    holed = obs.mask(xr.DataArray(np.arange(24) != 5, dims="x"))
    assert np.isfinite(holed.interpolate("u", {"x": obs.dataset.x.values[6], "t": 0.0}))
    with pytest.raises(DataError, match="beside its missing values"):
        holed.interpolate("u", {"x": 5.5 / 23, "t": 0.0})
    with pytest.raises(DataError, match="no points were given along"):
        obs.interpolate("u", {"x": 0.5})
    with pytest.raises(DataError, match="Did you mean 'linear'"):
        obs.interpolate("u", {"x": 0.5, "t": 0.5}, "linea")


def test_scattered_interpolation():
    obs = points(400)
    at = {"x": np.array([0.3, 0.7, 9.0]), "t": np.array([0.4, 0.5, 9.0])}
    got = obs.interpolate("u", at)
    np.testing.assert_allclose(got[:2], np.sin(at["x"] + at["t"])[:2], atol=0.02)
    assert np.isfinite(got[2])
    line = Observations({"u": [0.0, 2.0, 4.0]}, {"x": [0, 0, 2]})
    np.testing.assert_allclose(line.interpolate("u", {"x": [-1, 1, 3]}), [1, 2.5, 4])


def test_summary():
    text = str(Observations.from_dataset(field(), noise=0.02))
    assert "grid of 24 x 18 (x, t)" in text
    assert "noise 2 % of rms (given)" in text
    assert "K" in text
    assert "point: 60" in repr(points())
    assert "too few values" in str(Observations({"u": [1, 2]}, {"x": [0, 1]}))


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_coordinate_whose_powers_overflow(scale):
    x = np.linspace(0, scale, 5)
    with pytest.raises(DataError, match="change its unit"):
        Observations({"u": x / scale}, {"x": x})


@pytest.mark.filterwarnings("ignore:Duplicate dimension names")
def test_dataset_with_a_repeated_dimension():
    u = xr.DataArray(np.ones((4, 4)), dims=("x", "x"), coords={"y": 1.0}, name="u")
    with pytest.raises(DataError, match=r"'u' has the dimensions \('x', 'x'\); each was expected once"):
        Observations.from_dataset(u)
