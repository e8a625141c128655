"""Damaged values: what is found, where, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf

X, T = np.linspace(0, 1, 61), np.linspace(0, 1, 51)


def heat(seed: int = 0, noise: float = 0.01) -> np.ndarray:
    """Two decaying waves at D = 0.05, shape (61, 51), with white noise."""
    modes = [(1.0, 1), (0.5, 3)]
    u = sum(a * np.outer(np.sin(n * np.pi * X), np.exp(-0.05 * (n * np.pi) ** 2 * T)) for a, n in modes)
    return u + noise * np.random.default_rng(seed).standard_normal(u.shape)


def gridded(u: np.ndarray) -> mf.Observations:
    return mf.Observations.from_dataset(xr.Dataset({"u": (("x", "t"), u)}, {"x": X, "t": T}))


def scattered(u: np.ndarray, count: int, seed: int = 0) -> mf.Observations:
    rows = np.random.default_rng(seed).permutation(u.size)[:count]
    x, t = (m.ravel()[rows] for m in np.meshgrid(X, T, indexing="ij"))
    return mf.Observations({"u": u.ravel()[rows]}, {"x": x, "t": t})


def shock(seed: int) -> np.ndarray:
    return np.tanh((X[:, None] - 0.3 - 0.4 * T) / 0.002) + 0.01 * np.random.default_rng(seed).standard_normal(
        (61, 51)
    )


def student(seed: int) -> np.ndarray:
    return heat(noise=0) + 0.02 * np.random.default_rng(seed).standard_t(5, (61, 51))


def proportional(seed: int) -> np.ndarray:
    return (heat(noise=0) + 0.6) * np.exp(0.2 * np.random.default_rng(seed).standard_normal((61, 51)))


def source(seed: int) -> np.ndarray:
    """A pulse from one place, of one cell's width in the first frame."""
    s2 = 4 * 0.02 * (0.002 + 0.2 * T)
    u = np.exp(-((X[:, None] - X[30]) ** 2) / s2) / np.sqrt(np.pi * s2)
    return u + 0.02 * np.random.default_rng(seed).standard_normal(u.shape)


def held_at_zero(seed: int) -> np.ndarray:
    return np.outer(np.where(np.isin(X, (0, 1)), 0, np.sin(np.pi * X)), np.exp(-T))


@pytest.mark.parametrize("make", [heat, shock, student, proportional, source, held_at_zero])
def test_damage_none_in_clean_fields(make) -> None:
    """Fronts, peaks, heavy tails and noise in proportion to the level are no damage."""
    for seed in (20, 21):
        assert gridded(make(seed)).damage == []
        assert scattered(make(seed), 500, seed).damage == []


def test_damage_isolated_values_gridded() -> None:
    u, r = heat(), np.random.default_rng(3)
    bad = r.random(u.shape) < 0.006
    u[bad] += r.choice([-1, 1], bad.sum()) * r.uniform(1, 5, bad.sum())
    (found,) = gridded(u).damage
    assert found.kind == "isolated"
    assert (found.mask == bad).mean() > 0.999
    assert f"{found.mask.sum()} values of u" in found.text
    assert "the first at x = " in found.text


def test_damage_isolated_values_scattered() -> None:
    r = np.random.default_rng(7)
    x, t = r.uniform(0, 1, (2, 400))
    u = np.exp(-0.05 * np.pi**2 * t) * np.sin(np.pi * x) + 0.01 * r.standard_normal(400)
    u[[5, 100, 220, 333]] += [3, -2, 4, 1.5]
    (found,) = mf.Observations({"u": u}, {"x": x, "t": t}).damage
    assert np.flatnonzero(found.mask).tolist() == [5, 100, 220, 333]


@pytest.mark.parametrize(
    ("place", "value", "kind", "said"),
    [
        ((20, slice(None)), None, "dead", "51 values of u (1.6 %) are constant"),
        ((slice(None), 10), 0.0, "dead", "all at t = 0.2"),
        ((slice(None), 10), -9999.0, "fill value", "61 values of u (2 %) are -9999, "),
        ((slice(3, 9), 10), 1e20, "fill value", "6 values of u (0.19 %) are 1e+20, "),
    ],
)
def test_damage_dead_and_filled(place, value, kind: str, said: str) -> None:
    """A stuck sensor, a frame of zeros, and fill values."""
    u, bad = heat(), np.zeros((61, 51), dtype=bool)
    u[place] = u[20, 0] if value is None else value
    bad[place] = True
    (found,) = gridded(u).damage
    assert (found.kind, found.mask.tolist()) == (kind, bad.tolist())
    assert said in found.text


def test_damage_repeated_frame() -> None:
    u = heat()
    u[:, 11:13] = u[:, 10:11]
    (found,) = gridded(u).damage
    assert (found.kind, found.text.split(", all at ")[1]) == ("dead", "t = 0.22, 0.24")


def test_damage_in_three_coordinates() -> None:
    x, y, t = np.linspace(0, 1, 20), np.linspace(0, 1, 15), np.linspace(0, 1, 12)
    u = np.sin(3 * x[:, None, None] + y[:, None]) * np.exp(-t) + 0.01 * np.random.default_rng(
        0
    ).standard_normal((20, 15, 12))
    u[4, 5, 6], u[:, :, 3] = 5.0, 0.2
    obs = mf.Observations.from_dataset(xr.Dataset({"u": (("x", "y", "t"), u)}, {"x": x, "y": y, "t": t}))
    dead, isolated = obs.damage
    assert dead.text.endswith("all at t = 0.273")
    assert np.argwhere(isolated.mask).tolist() == [[4, 5, 6]]


def test_mask_outliers_leaves_trusted_values() -> None:
    """A copy without them, and how many and where."""
    u = heat()
    u[30, 0], u[30, 20] = 5.0, 6.0
    masked = gridded(u).trust(0.1, t=0.0).mask_outliers()
    assert np.argwhere(masked.dataset["u"].isnull().values).tolist() == [[30, 20]]
    assert "masked: 1 value of u (0.032 %) is far from all neighbours" in masked.summary()
    assert masked.mask_outliers() is masked


def test_read_mask_outliers(tmp_path) -> None:
    u = heat()
    u[:, 10] = -9999
    xr.Dataset({"u": (("x", "t"), u)}, {"x": X, "t": T}).to_netcdf(tmp_path / "u.nc")
    assert int(mf.read(tmp_path / "u.nc", mask_outliers=True).dataset["u"].isnull().sum()) == 61


def test_damage_rows_given_twice() -> None:
    """Five rows that repeat others exactly are named, and say nothing of the noise."""
    t, r = np.linspace(0, 15, 32), np.random.default_rng(0)
    u = 1.2 / (1 + 39 * np.exp(-0.5 * t)) + 0.01 * r.standard_normal(32)
    rows = r.permutation([*range(32), *range(5)])
    data = mf.Observations({"u": u[rows]}, {"t": t[rows]})
    (found,) = data.damage
    assert (found.kind, int(found.mask.sum())) == ("copy", 5)
    assert "5 values of u (14 %) are at a place a second time" in found.text
    assert 0.005 < data.noise_sd("u") < 0.02
    assert data.mask_outliers().damage == []


@pytest.mark.parametrize("counts", [True, False])
def test_damage_repeats_are_measurements(counts: bool) -> None:
    """Repeats that differ, and equal counts, are no copies."""
    t, r = np.repeat(np.arange(20.0), 2), np.random.default_rng(0)
    u = r.poisson(0.5 * np.ones(40)).astype(float) if counts else np.sin(t) + 0.01 * r.standard_normal(40)
    if not counts:
        u[1:8:2] = u[:8:2]
    assert mf.Observations({"u": u}, {"t": t}, noise=0.01).damage == []


def clipped(seed: int) -> np.ndarray:
    return np.minimum(heat(seed), 0.8)


def undetected(seed: int) -> np.ndarray:
    """Half of the limit where less is there."""
    noise = np.random.default_rng(seed).standard_normal((2, 61, 51))
    u = np.outer(np.exp(-3 * X), np.exp(-T)) * (1 + 0.03 * noise[0]) + 0.003 * noise[1]
    return np.where(u < 0.1, 0.05, u)


@pytest.mark.parametrize(
    ("make", "end", "text"), [(clipped, 0.8, "saturates"), (undetected, 0.05, "a limit of detection")]
)
def test_damage_limits_of_instruments(make, end, text) -> None:
    """Values at a limit are found on grids and at scattered points, and left out."""
    for seed in (20, 21):
        for data in (gridded(make(seed)), scattered(make(seed), 500)):
            (found,) = data.damage
            assert (found.kind, found.text.count(text)) == ("limit", 1)
            np.testing.assert_array_equal(found.mask, data.dataset["u"].values == end)
            assert data.mask_outliers().damage == []


def coarse(seed: int) -> np.ndarray:
    return np.round(heat(seed) / 0.05) * 0.05


def counts(seed: int) -> np.ndarray:
    """Photons over the offset of a camera."""
    return 100.0 + np.random.default_rng(seed).poisson(50 * np.exp(-200 * (X[:, None] - 0.3 - 0.4 * T) ** 2))


def front(seed: int) -> np.ndarray:
    """A simulated plateau, rounded or not."""
    u = np.tanh((X[:, None] - 0.3 - 0.4 * T) / 0.02)
    return np.round(u, 3) if seed == 20 else u


def saturating(seed: int) -> np.ndarray:
    """Growth that ends at a level, with noise that is rounded."""
    noise = 0.01 * np.random.default_rng(seed).standard_normal((61, 51))
    return np.round(1 / (1 + np.exp(-20 * (T - 0.3 * X[:, None]))) + noise, 2)


@pytest.mark.parametrize("make", [coarse, counts, front, saturating])
def test_damage_no_limit(make) -> None:
    """Coarse steps, counts over an offset, simulated plateaus and levels of the field are no limits."""
    for seed in (20, 21):
        for data in (gridded(make(seed)), scattered(make(seed), 500)):
            assert [d.text for d in data.damage if d.kind == "limit"] == []
