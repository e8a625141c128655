"""What the noise is besides white is found by kind and size, and white noise raises no alarm."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from mollifier.data.effects import Rows, overlap
from mollifier.data.noise_structure import noise_structure
from mollifier.data.observations import Observations

X, T = np.arange(64) / 64, np.linspace(0, 1, 50)


def field(seed: int) -> np.ndarray:
    """A few decaying and travelling waves about a level."""
    g = np.random.default_rng(seed)
    waves = [(g.normal() / k**0.7, k, 6 * g.random(), g.normal()) for k in range(1, 5)]
    parts = (
        a * np.exp(-0.3 * k * T) * np.cos(6.28 * k * (X[:, None] - c * T / 5) + p) for a, k, p, c in waves
    )
    return 1.5 + sum(parts)


def noisy(kind: str, u: np.ndarray, level: float, seed: int) -> np.ndarray:
    g = np.random.default_rng(seed + 1000)
    sd, white = level * np.sqrt(np.mean(u**2)), g.standard_normal((124, 110))
    w = white[: u.shape[0], : u.shape[1]]
    kernel = np.exp(-np.arange(40) / 4) / np.sqrt(np.sum(np.exp(-np.arange(40) / 2)))
    later = np.apply_along_axis(np.convolve, 1, white[: u.shape[0]], kernel)[:, 40:90]
    return {
        "white": lambda: u + sd * w,
        "relative": lambda: u * (1 + level * w),
        "sensor_gain": lambda: u * (1 + level * w[:, :1]) + sd / 4 * white[60:, 60:],
        "sensor_offset": lambda: u + sd * w[:, :1],
        "frame_gain": lambda: u * (1 + level * w[:1]),
        "frame_offset": lambda: u + sd * w[:1],
        "correlated": lambda: u + sd * later,
        "tails": lambda: u + sd * g.standard_t(3, u.shape),
        "steps": lambda: sd * np.round(u / sd),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    [
        "relative",
        "sensor_gain",
        "sensor_offset",
        "frame_gain",
        "frame_offset",
        "correlated",
        "tails",
        "steps",
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_noise_structure_kind(kind, seed):
    u = noisy(kind, field(seed), 0.02, seed)
    found = {f.kind: f for f in noise_structure(u[None], (X, T), ("x", "t"), "t")}
    assert kind in found
    if kind not in ("tails", "steps"):
        assert found[kind].size == pytest.approx(0.02, rel=0.5)


@pytest.mark.parametrize("level", [0.0, 0.001, 0.02, 0.2])
def test_noise_structure_white(level):
    """At most one of 40 fields with white noise is said to have structure."""
    alarms = 0
    for seed in range(40):
        u = noisy("white", field(seed), level, seed)
        alarms += bool(noise_structure(u[None], (X, T), ("x", "t"), "t"))
    assert alarms <= 1


def test_noise_structure_front_is_none():
    """A front that rests is no effect of sensors, and one that moves no correlation."""
    for speed in (0.0, 0.3):
        for seed in range(5):
            u = -np.tanh((X[:, None] - 0.4 - speed * T) / 0.01)
            u = u + 0.01 * np.random.default_rng(seed).standard_normal(u.shape)
            assert not [f for f in noise_structure(u[None], (X, T), ("x", "t"), "t") if f.grave]


def test_noise_structure_missing_and_uneven():
    x = np.sort(np.random.default_rng(0).random(60))
    u = (2 + np.sin(5 * x[:, None] - T)) * (1 + 0.02 * np.random.default_rng(1).standard_normal((60, 1)))
    u[np.random.default_rng(2).random(u.shape) < 0.02] = np.nan
    assert [f.kind for f in noise_structure(u[None], (x, T), ("x", "t"), "t")] == ["sensor_gain"]


def test_overlap_is_that_of_white_noise():
    """The variance of the lag product of overlapping differences, against a simulation."""
    weights = np.array([1, -4, 6, -4, 1]) / np.sqrt(70)
    w = np.random.default_rng(0).standard_normal((4000, 2, 104))
    d = np.apply_along_axis(np.convolve, 2, w, weights, "valid")
    products = (d[:, 0] * d[:, 1]).sum(-1)
    assert np.var(products) / 100 == pytest.approx(overlap(4), rel=0.1)


@pytest.mark.parametrize(
    ("given", "kind"), [(0.004, "more than given"), (0.08, "less than given"), (0.02, "")]
)
def test_noise_findings_given_noise(given, kind):
    """A noise given three times too small or too large is said."""
    u = noisy("white", field(0), 0.02, 0)
    data = xr.Dataset({"u": (("x", "t"), u)}, {"x": X, "t": T})
    found = Observations.from_dataset(data, noise=given).noise_findings("u")
    assert [f.kind for f in found] == [kind] * bool(kind)


def test_noise_findings_declared_relative():
    """Standard errors that follow the values explain noise that does."""
    u = noisy("relative", field(0), 0.02, 0)
    data = xr.Dataset({"u": (("x", "t"), u)}, {"x": X, "t": T})
    assert Observations.from_dataset(data).noise_findings("u")
    assert not Observations.from_dataset(data, noise={"u": 0.02 * np.abs(field(0))}).noise_findings("u")


def test_noise_sd_includes_structure():
    """The estimate is that of all noise, not of the part that differences along one axis leave."""
    for kind in ("sensor_offset", "frame_offset", "correlated"):
        u = noisy(kind, field(0), 0.02, 0)
        data = xr.Dataset({"u": (("x", "t"), u)}, {"x": X, "t": T})
        assert Observations.from_dataset(data).noise["u"] == pytest.approx(0.02, rel=0.35)


def test_noise_findings_scattered_given_noise():
    """At scattered points a noise given three times too large is said, and no other."""
    x, t = np.random.default_rng(0).random((2, 600))
    u = 2 + np.sin(4 * x - t) + 0.02 * np.random.default_rng(1).standard_normal(600)
    for given, kinds in ((0.04, ["less than given"]), (0.01, []), (0.003, [])):
        obs = Observations({"u": u}, {"x": x, "t": t}, noise=given)
        assert [f.kind for f in obs.noise_findings("u")] == kinds


def test_noise_structure_large():
    """A central block of large data is tested."""
    u = 2 + np.sin(np.linspace(0, 9, 900))[:, None] + 0.1 * np.random.default_rng(0).standard_normal((900, 1))
    u = u + np.linspace(0, 1, 900)
    found = noise_structure(u[None], (np.arange(900.0), np.arange(900.0)), ("x", "t"), "t")
    assert [f.kind for f in found] == ["sensor_offset"]


def test_spikes_that_differences_do_not_remove_are_no_correlation():
    """Narrow pulses that come and go: what differences leave of them is alike at neighbours, but local."""
    x, t = np.linspace(0, 1, 81), np.linspace(0, 1, 61)
    centre, start = np.array([0.2, 0.35, 0.55, 0.7, 0.85]), np.array([0.1, 0.5, 0.3, 0.7, 0.2])
    pulses = np.exp(-(((x[:, None] - centre) / 0.05) ** 2))
    u = 1 + pulses @ np.tanh((t - start[:, None]) / 0.02)
    wrong = 0
    for seed in range(20, 40):
        noisy = u + 0.01 * np.random.default_rng(seed).standard_normal(u.shape)
        found = noise_structure(noisy[None], (x, t), ("x", "t"), "t")
        wrong += any(f.kind == "correlated" and f.grave for f in found)
    assert wrong <= 4  # 12 of 20 when correlations at few places counted


@pytest.mark.parametrize("gain", [True, False])
def test_likelihood_of_an_effect_in_another_unit(gain):
    """It is a density of the values: in a unit c times smaller it is c to the minus number of values."""
    rng = np.random.default_rng(0)
    level = 1 + rng.random((20, 30))
    values = rng.standard_normal(level.shape) + rng.standard_normal((20, 1)) * (level if gain else 1.0)
    one, other = (Rows(c * values, level, np.ones(level.shape)).effect(gain) for c in (1.0, 10.0))
    assert one.likelihood - other.likelihood == pytest.approx(2 * values.size * np.log(10.0))
    assert (other.variance, other.part) == pytest.approx((100 * one.variance, 100 * one.part))
    assert one.p == pytest.approx(other.p)


@pytest.mark.parametrize("seed", range(3))
def test_fractions_of_the_same_particles_are_named(seed):
    """Histograms of 2,000 walkers; counts with independent noise about the same means are no fractions."""
    rng, edges = np.random.default_rng(40 + seed), np.linspace(-4, 4, 25)
    walkers, frames = rng.normal(-1, 0.5, 2000), []
    for _ in range(40):
        frames.append(np.histogram(walkers, edges)[0] / 2000)
        walkers = 0.95 * walkers + 0.3 * rng.normal(size=2000)
    seen, t = np.array(frames).T, np.arange(40.0)
    counted = rng.poisson(2000 * seen) / 2000
    kinds = [
        {f.kind for f in noise_structure(u[None], (edges[1:], t), ("x", "t"), "t")} for u in (seen, counted)
    ]
    assert "fractions" in kinds[0]
    assert "fractions" not in kinds[1]


def test_sums_that_do_not_change_with_independent_noise_are_no_fractions():
    """A heat equation without loss: the sum of the field is constant, that of its noise is not."""
    x, t = np.linspace(0, 1, 30), np.linspace(0, 0.2, 40)
    u = 1 + np.cos(np.pi * x[:, None]) * np.exp(-(np.pi**2) * t)
    for level in (0.0, 0.001, 0.05):
        noisy = u + level * np.random.default_rng(3).standard_normal(u.shape)
        assert not noise_structure(noisy[None], (x, t), ("x", "t"), "t")
