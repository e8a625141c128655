"""Data made ready for the weak engine: gaps bridged, values smoothed, the corner of a spectrum."""

from __future__ import annotations

import numpy as np
import pytest

from mollifier.engines.weak.gaps import fill_gaps
from mollifier.engines.weak.smoothing import mollified, smoothing_cells
from mollifier.engines.weak.tuning import DEFAULT
from mollifier.mollify.bandwidth import spectral_corner
from mollifier.mollify.grid import Axis, Grid
from weak_problems import T, X, heat

# -- preparation


def test_fill_gaps_scattered():
    """Gaps get values near the field; measured values stay."""
    u = heat(*np.meshgrid(X, T, indexing="ij"))
    grid = Grid(Axis.from_points("x", X), Axis.from_points("t", T))
    holes = np.random.default_rng(4).random(u.shape) < 0.1
    filled = fill_gaps(np.where(holes, np.nan, u), grid)
    np.testing.assert_allclose(filled[~holes], u[~holes], rtol=1e-12)
    assert np.abs(filled - u)[2:-2, 2:-2].max() < 1e-3
    assert np.abs(filled - u).max() < 0.02  # at the ends holes are extrapolated


@pytest.mark.parametrize("size", [3, 6, 12])
def test_fill_gaps_block(size):
    """A block may be wider than the mollifier."""
    u = heat(*np.meshgrid(X, T, indexing="ij"))
    hole = np.zeros(u.shape, dtype=bool)
    hole[20 : 20 + size, 15 : 15 + size] = True
    grid = Grid(Axis.from_points("x", X), Axis.from_points("t", T))
    assert np.abs(fill_gaps(np.where(hole, np.nan, u), grid) - u).max() < 2e-3


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
def test_smoothing_cells_error(noise):
    """The smoothed field is nearer to the true one than the noisy field is."""
    u = heat(*np.meshgrid(X, T, indexing="ij"))
    noisy = u + noise * np.random.default_rng(5).standard_normal(u.shape)
    grid = Grid(Axis.from_points("x", X), Axis.from_points("t", T))
    found = mollified(noisy, grid, smoothing_cells(noisy, grid, np.array(noise**2)), 9)
    assert np.sqrt(np.mean((found - u) ** 2)) <= (0.5 if noise else 1e-12) * max(noise, 1e-300) + 1e-15


@pytest.mark.parametrize("waves", [1, 6, 14, 20])
@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
def test_smoothing_cells_least_error(waves, noise):
    """Radii that are left out, as too wide or too narrow, are not the best ones."""
    grid = Grid(Axis("x", 0.0, 1.0, 160), Axis("t", 0.0, 1.0, 120))
    x, t = np.meshgrid(*(a.points for a in grid), indexing="ij")
    u = np.sin(2 * np.pi * waves * x + 3 * t) * np.cos(waves * t)
    noisy = u + noise * np.random.default_rng(waves).standard_normal(u.shape)
    errors = {c: np.mean((mollified(noisy, grid, c, 9) - u) ** 2) for c in (0.0, *DEFAULT.smoothing_cells)}
    found = smoothing_cells(noisy, grid, np.array(noise**2))
    assert errors[found] <= 1.1 * min(errors.values())


# -- the corner of a spectrum


PERIODIC = Axis("x", 0.0, 2 * np.pi, 200, periodic=True)
OPEN = Axis("x", 0.0, 2.0, 201)


def noise_of(sd, shape, seed=6):
    return sd * np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("mode_number", [1, 5, 40])
def test_corner_sine(mode_number):
    u = np.sin(mode_number * PERIODIC.points)[:, None] + noise_of(0.05, (200, 60))
    assert spectral_corner(u, 0, PERIODIC, 0.05**2) == pytest.approx(mode_number)
    assert spectral_corner(u.T, 1, PERIODIC, 0.05**2) == pytest.approx(mode_number)


@pytest.mark.parametrize("lines", [50, 400])
def test_corner_noise(lines):
    """A line of the mean spectrum of 50 lines exceeds twice its level once in a million."""
    corner = spectral_corner(noise_of(1.0, (200, lines)), 0, PERIODIC, 1.0)
    assert corner == pytest.approx(1.0)


def test_corner_front():
    """It is inversely proportional to the width."""
    corners = []
    for width in (0.2, 0.1, 0.05):
        front = np.tanh((OPEN.points - 1) / width)[:, None] + noise_of(1e-3, (201, 20))
        corners.append(spectral_corner(front, 0, OPEN, 1e-6))
    np.testing.assert_allclose(np.array(corners) * [0.2, 0.1, 0.05], np.mean(corners) * 0.1, rtol=0.5)
    assert corners[0] < corners[1] < corners[2]


def test_corner_straight_line():
    """It is the lowest that the axis resolves."""
    line = 3 + 5 * OPEN.points
    assert spectral_corner(np.tile(line, (4, 1)), 1, OPEN, 0.0) <= 2 * np.pi / (2 * OPEN.length) * 1.01


def test_corner_uneven_axis():
    """It is near that on an even axis."""
    points = OPEN.points + 0.02 * np.sin(9 * OPEN.points)
    uneven = Axis.from_points("x", points)
    u = np.sin(12 * points)[:, None] + noise_of(0.01, (201, 20))
    even = np.sin(12 * OPEN.points)[:, None] + noise_of(0.01, (201, 20))
    assert spectral_corner(u, 0, uneven, 1e-4) == pytest.approx(spectral_corner(even, 0, OPEN, 1e-4), rel=0.5)
