"""Parts and variants of observations: selected, masked, held out, thinned, noisier, trusted."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from measured_fields import field, points
from mollifier.data.observations import Observations
from mollifier.errors import DataError


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
    noisy = obs.add_noise(0.1, rng=3)
    assert noisy.noise_source("u") == "estimated"
    assert noisy.noise["u"] == pytest.approx(0.1, rel=0.1)
    known = Observations.from_dataset(field(), noise=0.03).add_noise({"u": 0.04})
    assert known.noise_sd("u") == pytest.approx(0.05 * Observations.from_dataset(field()).rms("u"))
    with pytest.raises(DataError, match="0 or more"):
        obs.add_noise(-1)


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
    plain = Observations.from_dataset(field(60, 40)).add_noise(0.05, rng=1)
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


def test_trust_with_given_errors_and_replicates():
    """Trust with errors of their own and replicates."""
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
        (0.1, {"t": 0.01}, r"'t' has no value 0.01\. There are: 0.0, 0.117"),
        (0.1, {"t": "start"}, "'t' has no value 'start'"),
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


def test_select_keeps_errors_along_another_axis():
    """A single line keeps errors that vary along another."""
    obs = Observations.from_dataset(field().assign(err=("t", np.linspace(0.1, 0.2, 18))), {"u": "err"})
    np.testing.assert_allclose(obs.select(t=2.0).samples("u").sd, 0.2)


def test_samples_over_some_coordinates():
    """Places, columns and parts of samples agree with their points."""
    samples = Observations({"u": [1.0, 2.0, 3.0]}, {"x": [0.0, 0.5, 1.0], "t": [4.0, 5.0, 6.0]}, 0.1).samples(
        "u"
    )
    assert [*samples.places] == ["x", "t"]
    assert samples.places["t"].tolist() == [4.0, 5.0, 6.0]
    assert samples.over(["t", "x"]).tolist() == [[4.0, 0.0], [5.0, 0.5], [6.0, 1.0]]
    part = samples.part(np.array([2, 0]), ["t"])
    assert (part.coordinates, part.points.tolist(), part.values.tolist()) == (
        ("t",),
        [[6.0], [4.0]],
        [3.0, 1.0],
    )
