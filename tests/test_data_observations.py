"""Observations: construction, samples, parts, interpolation, and what bad arrays are told."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from mollifier.data import Observations
from mollifier.errors import DataError


def field(nx=24, nt=18, **attrs):
    x, t = np.linspace(0, 1, nx), np.linspace(0, 2, nt)
    u = np.sin(3 * x[:, None]) * np.exp(-t) + 1
    return xr.Dataset(
        {"u": (("x", "t"), u, {"units": "K"})}, coords={"x": ("x", x, {"units": "m", **attrs}), "t": t}
    )


def points(n=60, seed=0):
    rng = np.random.default_rng(seed)
    x, t = rng.random((2, n))
    return Observations(values={"u": np.sin(x + t), "v": x}, points={"t": t, "x": x}, noise={"u": 0.05})


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


def test_a_dataset_with_a_bare_dimension_is_scattered():
    dataset = xr.Dataset(
        {"u": ("obs", np.arange(5.0)), "x": ("obs", np.arange(5.0)), "t": ("obs", np.ones(5) + np.arange(5))}
    )
    obs = Observations.from_dataset(dataset)
    assert (obs.gridded, obs.coordinates, obs.variables) == (False, ("x", "t"), ("u",))
    again = Observations.from_dataset(points().dataset)
    assert again.digest() == points().digest()
    assert again.noise_source("u") == "given"


def test_three_variables_named_like_coordinates_stay_variables():
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
        ({"u": [1j, 2]}, {"x": [1, 2]}, "complex numbers"),
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
        (lambda d: d.isel(x=slice(None, None, -1)), r"'x' decreases.*sortby\('x'\)"),
        (lambda d: d.isel(x=[0, 1, 1, 2]), r"'x' repeats.*drop_duplicates"),
        (lambda d: d.isel(t=[3]), r"'t' has one point only.*select\(t="),
        (lambda d: d.drop_vars("x"), r"'x' of .* has no coordinate values"),
        (lambda d: d * np.nan, "are missing"),
        (lambda d: d * 1j, "complex"),
        (lambda d: d.assign_coords(x=d.x.where(d.x > 0)), "not finite"),
        (lambda d: d.assign(u=d.u.astype(str)), "text"),
        (lambda d: d.drop_vars("u"), "no variable"),
        (lambda d: d.assign_coords(x=d.x.assign_attrs(periodic=0.5)), "has period 0.5"),
        (lambda d: d.assign_coords(x=d.x.assign_attrs(periodic=-1)), "positive period"),
        (lambda d: d["u"].values, "given a ndarray"),
    ],
)
def test_bad_gridded(change, message):
    with pytest.raises(DataError, match=message):
        Observations.from_dataset(change(field()))


def test_unknown_names_are_told_the_nearest():
    obs = Observations.from_dataset(field())
    with pytest.raises(DataError, match=r"no variable 'uu'\. Did you mean 'u'"):
        obs.samples("uu")
    with pytest.raises(DataError, match="Known names"):
        obs.select(depth=1)
    with pytest.raises(DataError, match=r"'x' is nowhere 0.5005\. There are: .*0\.52"):
        obs.select(x=0.5005)
    with pytest.raises(DataError, match="no 'temp' to rename"):
        obs.rename({"temp": "u"})
    with pytest.raises(DataError, match="units names 'q'"):
        Observations.from_dataset(field(), units={"q": "m"})
    with pytest.raises(DataError, match="Variable 'q' is not in the data"):
        Observations.from_dataset(field(), variables=["q"])
    with pytest.raises(DataError, match="periodic"):
        Observations({"u": [1, 2]}, {"x": [1, 2]}, periodic={"x": True})


def test_select_window_mask():
    obs = Observations.from_dataset(field(periodic=True), noise=0.1)
    line = obs.select(t=obs.dataset.t.values[4])
    assert line.coordinates == ("x",)
    assert "selected: t" in line.summary()
    cut = obs.window(x=(0.2, None))
    assert cut.bounds["x"][0] >= 0.2
    assert "x" not in cut.periodic
    assert obs.window(x=(None, None)).periodic == obs.periodic
    # The noise is absolute: a window with another rms keeps it.
    assert cut.noise_sd("u") == pytest.approx(obs.noise_sd("u"))
    masked = obs.mask(obs.dataset["x"] < 0.5)
    assert masked.bounds["x"][1] < 0.5
    with pytest.raises(DataError, match="No data lie in x"):
        obs.window(x=(5, 6))
    with pytest.raises(DataError, match=r"a pair \(lower, upper\)"):
        obs.window(x=3)
    with pytest.raises(DataError, match="fit no variable"):
        obs.mask(np.ones(3))


def test_select_a_column_of_scattered_points():
    x = np.arange(12.0)
    obs = Observations({"u": x}, {"x": x}, columns={"well": ["a", "b"] * 6})
    assert obs.select(well="b").samples("u").values.tolist() == [1, 3, 5, 7, 9, 11]
    assert obs.select(well=["a", "b"]).digest() == obs.digest()
    with pytest.raises(DataError, match="There are: a, b"):
        obs.select(well="c")


@settings(max_examples=15, deadline=None)
@given(fraction=st.floats(0.05, 0.95), seed=st.integers(0, 99), gridded=st.booleans())
def test_hold_out_is_a_partition(fraction, seed, gridded):
    obs = Observations.from_dataset(field(8, 7), noise=0.1) if gridded else points()
    train, test = obs.hold_out(fraction, seed)
    rows = [{tuple(r) for r in part.samples("u").points} for part in (train, test, obs)]
    assert rows[0].isdisjoint(rows[1])
    assert rows[0] | rows[1] == rows[2]
    assert train.gridded == obs.gridded
    assert train.noise_sd("u") == pytest.approx(obs.noise_sd("u"))
    assert obs.hold_out(fraction, seed)[0].digest() == train.digest()


def test_hold_out_leaves_known_coefficients_whole():
    obs = Observations.from_dataset(field().assign(D=("x", np.ones(24))), noise=0.1)
    train, test = obs.hold_out(0.5, 1)
    assert train.samples("D").values.size == test.samples("D").values.size == 24
    with pytest.raises(DataError, match="between 0 and 1"):
        obs.hold_out(1.5)
    with pytest.raises(DataError, match="leaves one part empty"):
        obs.hold_out(1e-6)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(10, 56), seed=st.integers(0, 99))
def test_thin_is_a_subset(n, seed):
    obs = Observations.from_dataset(field(8, 7), noise=0.1)
    part = obs.thin(n, seed)
    assert not part.gridded
    s = part.samples("u")
    assert s.values.size == n
    assert {tuple(r) for r in s.points} <= {tuple(r) for r in obs.samples("u").points}
    with pytest.raises(DataError, match="from 2 to 56"):
        obs.thin(57)


def test_thin_carries_known_coefficients():
    obs = Observations.from_dataset(field().assign(D=("x", np.arange(24.0))), noise=0.1).thin(30)
    s = obs.samples("D")
    np.testing.assert_allclose(s.values, 23 * s.points[:, 0])


def test_add_noise_scales_with_rms():
    obs = Observations.from_dataset(field(80, 60))
    noisy = obs.add_noise(0.1, seed=3)
    assert noisy.noise_source("u") == "estimated"
    assert noisy.noise["u"] == pytest.approx(0.1, rel=0.1)
    known = Observations.from_dataset(field(), noise=0.03).add_noise({"u": 0.04})
    assert known.noise_sd("u") == pytest.approx(0.05 * Observations.from_dataset(field()).rms("u"))
    with pytest.raises(DataError, match="0 or more"):
        obs.add_noise(-1)


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


def test_summary_says_what_matters():
    text = str(Observations.from_dataset(field(), noise=0.02))
    assert "grid of 24 x 18 (x, t)" in text
    assert "noise 2 % of rms (given)" in text
    assert "K" in text
    assert "point: 60" in repr(points())
    assert "too few values" in str(Observations({"u": [1, 2]}, {"x": [0, 1]}))


def test_trust_scales_the_errors_of_a_profile():
    plain = Observations.from_dataset(field().assign(D=("x", np.ones(24))), noise=0.1)
    before = plain.digest()
    obs = plain.trust(0.2, t=1e-12)
    s = obs.samples("u")
    np.testing.assert_allclose(s.sd, plain.noise_sd("u") * np.where(s.points[:, 1] == 0, 0.2, 1.0))
    np.testing.assert_array_equal(obs.samples("D").sd, plain.samples("D").sd)
    assert obs.noise_sd("u") == pytest.approx(plain.noise_sd("u"))
    assert (obs.noise_source("u"), obs.variables) == ("given", ("u", "D"))
    assert "24 values trusted" in str(obs)
    assert plain.digest() == before
    assert plain.samples("u").sd.min() == plain.noise_sd("u")
    # Both ends of an axis; then a corner, which multiplies again.
    both = plain.trust(0.5, x=[0, 1]).trust(0.5, x=0, t=0)
    sd = both.samples("u").sd.reshape(24, 18) / plain.noise_sd("u")
    np.testing.assert_allclose(sd[[0, 0, -1, 5], [0, 1, 0, 0]], [0.25, 0.5, 0.5, 1])
    assert both.samples("D").sd[0] == pytest.approx(0.5 * plain.samples("D").sd[0])
    assert set(both.dataset.data_vars) == {
        *("u", "u_standard_error", "u_trusted", "D", "D_standard_error", "D_trusted")
    }


def test_trust_estimates_over_everything_first():
    plain = Observations.from_dataset(field(60, 40)).add_noise(0.05, seed=1)
    obs = plain.trust(t=0)
    assert obs.noise_source("u") == "estimated"
    assert obs.noise_sd("u") == plain.noise_sd("u")
    late = obs.window(t=(1, 2)).add_noise(0.0)
    assert late.noise_source("u") == "estimated"
    assert late.noise_sd("u") == pytest.approx(plain.noise_sd("u"))
    # Too few values of a known coefficient to estimate its noise: it stays as it is.
    few = Observations.from_dataset(field(4, 18).assign(D=("x", np.ones(4)))).add_noise({"u": 0.05})
    few = few.trust(x=0)
    assert few.samples("u").sd[0] == pytest.approx(0.1 * few.noise_sd("u"))
    assert "too few values" in str(few)
    with pytest.raises(DataError, match="cannot be estimated"):
        Observations({"u": [1, 2]}, {"x": [0, 1]}).trust(x=0)


def test_trust_with_errors_of_their_own_and_replicates():
    rng = np.random.default_rng(0)
    u = field()["u"].values[None] + 0.1 * rng.standard_normal((4, 24, 18))
    dataset = field().drop_vars("u").assign(u=(("well", "x", "t"), u), w=(("well", "x", "t"), u))
    dataset = dataset.assign(err=("x", np.linspace(0.1, 0.2, 24)))
    plain = Observations.from_dataset(dataset, {"u": "err", "w": "err"}, replicates=["well"])
    obs = plain.trust(t=0)
    assert obs.variables == ("u", "w")
    assert "err" not in obs.dataset
    s = obs.samples("w")
    np.testing.assert_allclose(s.sd, (0.1 + 0.1 * s.points[:, 0]) * np.where(s.points[:, 1] == 0, 0.1, 1.0))
    assert obs.noise_sd("u") == pytest.approx(0.15)
    assert np.sum(obs.scattered().samples("u").sd < 0.05) == 4 * 24
    assert np.sum(obs.select(well=1).samples("u").sd < 0.05) == 24


def test_trust_survives_every_part(tmp_path):
    obs = Observations.from_dataset(field(), noise=0.1).trust(0.1, t=0)
    sd, low = obs.noise_sd("u"), 0.5 * obs.noise_sd("u")
    obs.dataset.to_netcdf(tmp_path / "a.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "a.nc", engine="scipy") as file:
        back = Observations.from_dataset(file.load())
    parts = {
        "whole": (Observations.from_dataset(obs.dataset), 24),
        "one": (Observations.from_dataset(obs.dataset, variables=["u"]), 24),
        "file": (back, 24),
        "window": (obs.window(x=(0.5, 1)), 12),
        "select": (obs.select(x=[0, 1]), 2),
        "line": (obs.select(x=0), 1),
        "scattered": (obs.scattered(), 24),
        "thin": (obs.thin(24 * 18 - 1), None),
        "renamed": (obs.rename({"u": "c", "t": "s", "u_trusted": "sure"}).rename({"c": "u"}), 24),
    }
    for name, (part, count) in parts.items():
        small = int(np.sum(part.samples("u").sd < low))
        assert small == count or (count is None and small in (23, 24)), name
        assert part.noise_sd("u") == pytest.approx(sd), name
        assert (part.variables, part.noise_source("u")) == (("u",), "given"), name
        train, test = part.hold_out(0.5)
        assert np.sum(train.samples("u").sd < low) == small, name
        assert not (test.samples("u").sd < low).any(), name
    assert parts["whole"][0].digest() == back.digest() == obs.digest()
    profile = obs.select(t=0)
    assert profile.noise_sd("u") == pytest.approx(0.1 * sd)
    with pytest.raises(DataError, match="Trusted samples are never held out"):
        profile.hold_out(0.5)
    # Noise given anew takes the place of all that was said of it.
    anew = Observations.from_dataset(obs.dataset, noise=0.1)
    assert anew.variables == ("u",)
    assert np.ptp(anew.samples("u").sd) == 0


def test_trust_of_scattered_points():
    plain = points()
    at = plain.dataset["t"].values[7]
    obs = plain.trust(t=at)
    np.testing.assert_allclose(
        obs.samples("u").sd / plain.noise_sd("u"), np.where(np.arange(60) == 7, 0.1, 1)
    )
    assert (obs.noise_source("u"), obs.noise_source("v")) == ("given", "estimated")
    assert plain.trust(t=np.float32(at)).digest() == obs.digest()
    for seed in range(5):
        assert at not in obs.hold_out(0.8, seed)[1].dataset["t"].values
        assert at not in obs.hold_out(0.8, seed, variables=["u"])[1].samples("u").points[:, 1]


@pytest.mark.parametrize(
    ("factor", "where", "message"),
    [
        (0.1, {"tt": 0}, r"no coordinate 'tt' to trust\. Did you mean 't'"),
        (0.1, {"t": 0.01}, r"'t' is nowhere 0.01\. There are: 0.0, 0.117"),
        (0.1, {"t": "start"}, "'t' is nowhere 'start'"),
        (0.1, {}, "Nothing to trust was named"),
        (0.1, {"x": []}, "No variable has values where"),
        (0.1, {"x": 0.0}, "No variable has values where x = 0.0"),
        (0, {"t": 0}, "factor 0; a number above 0"),
        (2, {"t": 0}, "factor 2"),
        (float("nan"), {"t": 0}, "factor nan"),
    ],
)
def test_bad_trust(factor, where, message):
    obs = Observations.from_dataset(field(), noise=0.1).mask(xr.DataArray(np.arange(24) > 0, dims="x"))
    with pytest.raises(DataError, match=message):
        obs.trust(factor, **where)


def test_a_single_line_keeps_errors_that_vary_along_another():
    obs = Observations.from_dataset(field().assign(err=("t", np.linspace(0.1, 0.2, 18))), {"u": "err"})
    np.testing.assert_allclose(obs.select(t=2.0).samples("u").sd, 0.2)
