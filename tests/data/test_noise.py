"""The noise estimate recovers a known sigma, and vanishes on clean data."""

from __future__ import annotations

import numpy as np
import pytest

from mollifier.data.noise import estimate_noise
from mollifier.errors import DataError


def smooth(*x):
    result = 1.0
    for i, c in enumerate(x):
        result = result * (np.sin(4 * c + i) + 1.5)
    return result


def noisy(u, fraction, seed):
    sigma = fraction * np.sqrt(np.mean(u**2))
    return u + sigma * np.random.default_rng(seed).standard_normal(u.shape), sigma


@pytest.mark.parametrize("fraction", [0.01, 0.1])
@pytest.mark.parametrize("shape", [(300,), (64, 50), (24, 20, 22), (5, 60)])
@pytest.mark.parametrize("seed", range(3))
def test_noise_gridded(shape, fraction, seed):
    mesh = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    u, sigma = noisy(smooth(*mesh), fraction, seed)
    assert estimate_noise(u) == pytest.approx(sigma, rel=0.2)


def test_noise_of_few_curves():
    """A high order with few windows of six lines of eleven values is no longer the least in 8 % of draws."""
    t = np.linspace(0, 1, 11)
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        slopes = rng.normal(size=(6, 1))
        found.append(estimate_noise(9 + slopes * t + 0.1 * rng.normal(size=(6, 11))) / 0.1)
    assert np.mean(np.less(found, 0.6)) < 0.02
    assert np.median(found) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("fraction", [0.01, 0.1])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_noise_scattered(d, fraction):
    x = np.random.default_rng(d).random((2000, d))
    u, sigma = noisy(smooth(*x.T), fraction, d)
    assert estimate_noise(u, x) == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize("fraction", [0.002, 0.02, 0.2])
def test_noise_of_few_scattered_points(fraction):
    """Polynomials through the nearest of 60 points hold too little of the field: 6 to 20 times the noise."""
    found = []
    for seed in range(10, 16):
        x = np.random.default_rng(seed).random((60, 2))
        u, sigma = noisy(np.sin(7 * x[:, 0] + 3 * x[:, 1]) + np.cos(8 * x[:, 1]), fraction, seed)
        found.append(estimate_noise(u, x) / sigma)
    assert np.median(found) == pytest.approx(1.0, abs=0.3)
    assert min(found) > 0.4
    assert max(found) < 2.5


def test_noise_clean_data():
    """Clean data have next to none."""
    x = np.linspace(0, 1, 60)
    u = smooth(x[:, None], x)
    assert estimate_noise(u) < 1e-6
    at = np.random.default_rng(0).random((2000, 2))
    assert estimate_noise(smooth(*at.T), at) < 2e-3


def test_noise_masked_and_uneven():
    rng = np.random.default_rng(1)
    x, y = np.sort(rng.random(80)), np.linspace(0, 1, 60) ** 2
    u, sigma = noisy(smooth(x[:, None], y), 0.05, 1)
    u[rng.random(u.shape) < 0.3] = np.nan
    assert estimate_noise(u, nodes=(x, y)) == pytest.approx(sigma, rel=0.2)


def test_noise_mostly_missing():
    """Mostly missing falls back on scattered."""
    rng = np.random.default_rng(1)
    x = np.linspace(0, 1, 100)
    u, sigma = noisy(smooth(x[:, None], x), 0.05, 2)
    u[rng.random(u.shape) < 0.95] = np.nan
    assert estimate_noise(u) == pytest.approx(sigma, rel=0.25)


def test_noise_beside_a_shock():
    """A shock is set aside."""
    x, t = np.linspace(-1, 1, 256), np.linspace(0, 1, 100)
    u, sigma = noisy(-np.tanh(x[:, None] / 0.006) * (1 + t), 0.02, 0)
    assert estimate_noise(u) == pytest.approx(sigma, rel=0.2)


def test_noise_repeats():
    # A field too rough for any smooth fit: only the repeats know the noise.
    rough = np.random.default_rng(0).standard_normal(200)
    u, sigma = noisy(np.stack([rough] * 4), 0.1, 5)
    assert estimate_noise(u, repeats=(0,)) == pytest.approx(sigma, rel=0.15)
    x = np.tile(np.arange(200.0), 4)
    assert estimate_noise(u.ravel(), x[:, None]) == pytest.approx(sigma, rel=0.15)


def test_noise_too_few_values():
    with pytest.raises(DataError, match="cannot be estimated from 3 values"):
        estimate_noise([1.0, 2.0, 4.0])


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_few_samples_of_a_field_without_roughness(seed):
    """A rough Gaussian process alone takes most of such noise for the field."""
    rng = np.random.default_rng(seed)
    x, y, t = rng.random((3, 400))
    u = np.exp(-t) * np.sin(14 * x + 4 * y) + np.exp(-0.5 * t) * np.cos(6 * x - 10 * y + 1)
    found = estimate_noise(u + 0.01 * rng.standard_normal(400), points=np.stack([x, y, t], axis=-1))
    assert found == pytest.approx(0.01, rel=0.2)


def test_noise_of_short_curves_at_uneven_times():
    """Ten animals, eight days each: a field that is smooth from animal to animal took most of the noise."""
    found = []
    for seed in range(50, 62):
        rng = np.random.default_rng(seed)
        days = np.concatenate([rng.choice(30, 8, replace=False) for _ in range(10)]).astype(float)
        animal = np.repeat(np.arange(10.0), 8)
        rate, start = 0.35 * np.exp(0.25 * rng.normal(size=10)), rng.uniform(0.03, 0.1, 10)
        size = 1 / (1 + (1 / start - 1)[animal.astype(int)] * np.exp(-rate[animal.astype(int)] * days))
        points = np.column_stack([animal, days])
        found.append(estimate_noise(size + 0.01 * rng.normal(size=80), points) / 0.01)
    assert np.median(found) == pytest.approx(1.0, abs=0.15)
    assert min(found) > 0.6


@pytest.mark.parametrize("seed", range(4))
def test_noise_of_a_field_whose_waves_are_shorter_along_one_coordinate(seed):
    """One length for all coordinates is too short for time and takes a fifth of such noise for the field."""
    rng = np.random.default_rng(80 + seed)
    x, y, t = rng.random((3, 300))
    u = np.exp(-t) * np.sin(12 * x + 9 * y + seed) + np.exp(-0.5 * t) * np.cos(9 * x - 13 * y)
    found = estimate_noise(u + 0.05 * rng.standard_normal(300), points=np.stack([x, y, t], axis=-1))
    assert found == pytest.approx(0.05, rel=0.15)
