"""The simulator of nuclei: orders of convergence, conservation, shapes, patterns, and its microscope."""

import numpy as np
import pytest
import xarray as xr

from mollifier.chromatin.model import ChromatinModel, FreeEnergy
from mollifier.chromatin.rasters import edge_distance, laplacian
from mollifier.chromatin.simulate import (
    chromatin_density,
    localizations,
    nucleus,
    rate_pattern,
    simulate,
    with_noise,
)
from mollifier.errors import ConfigurationError, DataError

MODEL = ChromatinModel()
SIDE = 600.0


def corner(pixels: int) -> xr.DataArray:
    """An L of three quarters of a square, the same shape on every grid."""
    place = SIDE * (np.arange(pixels) + 0.5) / pixels - SIDE / 2
    inside = ~((place[:, None] > 0) & (place > 0))
    return xr.DataArray(inside, {"x": place, "y": place}, ("x", "y"), "mask")


def bump(mask: xr.DataArray) -> xr.DataArray:
    x, y = mask["x"] / SIDE * 2 * np.pi, mask["y"] / SIDE * 2 * np.pi
    return (0.3 * np.cos(x) * np.cos(y) - 0.2).rename("start")


def run(pixels: int, step: float, rate: xr.DataArray | float = 0.6) -> xr.Dataset:
    mask = corner(pixels)
    return simulate(MODEL, mask, rate, [0.0, 40.0], before=0.0, step=step, start=bump(mask))


def rms(a: xr.DataArray) -> float:
    return float(np.sqrt((a**2).mean()))


def test_simulate_second_order_in_spacing():
    """Second order in the spacing."""
    coarse, middle, fine = (run(n, 2.0)["phi_d"].isel(t=1) for n in (24, 48, 96))

    def blocks(a: xr.DataArray, k: int) -> xr.DataArray:
        return a.coarsen(x=k, y=k).reduce(np.mean)

    first, second = rms(coarse - blocks(middle, 2).values), rms(middle - blocks(fine, 2).values)
    assert 1.5 < np.log2(first / second) < 2.6


def test_simulate_second_order_in_step():
    """Second order in the step."""
    a, b, c = (run(32, h)["phi_d"].isel(t=1) for h in (4.0, 2.0, 1.0))
    assert 1.6 < np.log2(rms(a - b) / rms(b - c)) < 2.6


def test_simulate_integral_changes_by_reactions():
    """d/dt integral phi_d = 2 Gamma integral (lam phi_e - phi_h), over one small step."""
    mask = nucleus(800.0, 48, rng=1)
    lam = rate_pattern(mask, "gradient", rng=1)
    start = simulate(MODEL, mask, lam, [0.0], before=200.0, rng=1)["phi_d"].isel(t=0, drop=True)
    movie = simulate(MODEL, mask, lam, [0.0, 0.02], before=0.0, start=start)
    phi_d, q = movie["phi_d"].isel(t=0), 1 - movie["phi_n"]
    grown = float((movie["phi_d"].isel(t=1) - phi_d).sum()) / 0.02
    expected = 2 * MODEL.acetylation * float((lam * (q - phi_d) / 2 - (q + phi_d) / 2).sum())
    assert grown == pytest.approx(expected, rel=1e-3)


def test_simulate_laplacian_without_flux():
    """No flux leaves."""
    matrix = laplacian(nucleus(500.0, 30).values, 3.0)
    assert abs(matrix.sum(0)).max() < 1e-12
    assert abs(matrix - matrix.T).max() == 0


def test_simulate_rate_in_time():
    """A rate in time takes over."""
    mask = corner(24)
    rate = xr.concat([mask * 0 + 0.3, mask * 0 + 1.2], xr.DataArray([0.0, 40.0], dims="t", name="t"))
    moving = run(24, 2.0, rate)["phi_d"].isel(t=1).mean()
    low, high = (run(24, 2.0, v)["phi_d"].isel(t=1).mean() for v in (0.3, 1.2))
    assert float(low) < float(moving) < float(high)


def test_simulate_lamina_attracts_heterochromatin():
    """The lamina draws heterochromatin to the edge."""
    mask = nucleus(800.0, 48)
    model = ChromatinModel(FreeEnergy(adhesion=1.0))
    edge = edge_distance(mask) < 60.0
    found = [
        simulate(m, mask, 0.6, [0.0], before=300.0)["phi_d"].isel(t=0).where(edge & mask).mean()
        for m in (MODEL, model)
    ]
    assert float(found[1]) > float(found[0]) + 0.05


@pytest.mark.parametrize("kind", ["uniform", "gradient", "patches", "peripheral"])
def test_rate_patterns(kind):
    """Patterns."""
    mask = nucleus(1000.0, 48, rng=2)
    lam = rate_pattern(mask, kind, level=0.5, contrast=0.3, rng=2)
    inside = np.log(lam.values[mask.values])
    assert np.exp(np.median(inside)) == pytest.approx(0.5)
    assert inside.std() == pytest.approx(0.0 if kind == "uniform" else 0.3, abs=1e-9)
    if kind == "peripheral":
        depth = edge_distance(mask).values[mask.values]
        assert np.corrcoef(depth, inside)[0, 1] < -0.8


def test_simulate_bad_shapes_and_units():
    """Shapes and units that do not fit are refused."""
    mask = nucleus(800.0, 32)
    with pytest.raises(DataError, match="empty"):
        simulate(MODEL, mask & False, 0.6, [0.0])
    with pytest.raises(ConfigurationError, match="increase"):
        simulate(MODEL, mask, 0.6, [1.0, 0.0])
    with pytest.raises(DataError, match="square"):
        simulate(MODEL, mask.assign_coords(x=2 * mask["x"]), 0.6, [0.0])
    with pytest.raises(DataError, match="pixels"):
        simulate(MODEL, mask, nucleus(800.0, 30) * 1.0, [0.0])
    with pytest.raises(ConfigurationError, match="Did you mean 'patches'"):
        rate_pattern(mask, "patchs")


@pytest.fixture(scope="module")
def movie():
    mask = nucleus(1000.0, 48, rng=3)
    return simulate(MODEL, mask, 0.6, [0.0, 50.0], before=400.0, rng=3)


def test_simulated_localisations_follow_density(movie):
    """Counts in pixels less the mean expected are Poisson: their variance is their mean."""
    table = localizations(movie, count=4e5, detection=0.5, precision=0.0, rng=1)
    density = chromatin_density(movie).isel(t=0)
    mean = (density / density.sum() * 2e5).transpose("x", "y").values
    x = movie["x"].values
    edges = np.append(x, 2 * x[-1] - x[-2]) - (x[1] - x[0]) / 2
    first = table[table["frame"] == 0]
    counts = np.histogram2d(first["x"], first["y"], bins=(edges, edges))[0]
    inside = mean > 0
    chi = float(np.mean((counts - mean)[inside] ** 2 / mean[inside]))
    assert counts[~inside].sum() == 0
    assert chi == pytest.approx(1.0, abs=5 * np.sqrt(2 / inside.sum()))


def test_simulated_localisations_repeats_and_background(movie):
    """Repeats blur and background are what they say."""
    plain = localizations(movie, count=2e4, detection=1.0, rng=2)
    more = localizations(movie, count=2e4, detection=1.0, repeats=0.5, background=0.2, rng=2)
    assert len(more) / len(plain) == pytest.approx(1.8, rel=0.03)
    again = localizations(movie, count=2e4, detection=1.0, rng=2)
    assert plain.equals(again)
    assert plain["uncertainty"].mean() == pytest.approx(15.0, rel=0.02)


def test_simulated_noise_size(movie):
    noisy = with_noise(movie, 0.05, rng=1)
    error = (noisy["phi_d"] - movie["phi_d"]).values[movie["mask"].values]
    assert error.std() == pytest.approx(0.05, rel=0.05)
    assert float(noisy["phi_d_sd"].max()) == 0.05
