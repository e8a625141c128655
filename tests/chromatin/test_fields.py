"""Chromatin densities: repeats of a molecule, densities that count right, error bars that cover."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations, combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.spatial import KDTree

import mollifier as mf
from chromatin_plane import DISC, FIELD, SIDE
from mollifier.chromatin.density import PoissonMoments, density, stencil
from mollifier.chromatin.localizations import Localizations, read_localizations
from mollifier.chromatin.mask import nucleus_from_polygon
from mollifier.chromatin.rasters import on_grid
from mollifier.chromatin.resolution import (
    DARK,
    FWHM,
    Resolution,
    estimate_precision,
    merge_repeats,
    neighbours,
)
from mollifier.chromatin.voronoi import cell_areas, point_density
from mollifier.errors import DataError, MollifierError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def uniform(n: int, seed: int = 0) -> Localizations:
    return Localizations(*np.random.default_rng(seed).uniform(0, SIDE, (2, n)), field=FIELD)


def total(field: xr.Dataset) -> float:
    return float(field.density.sum()) * float(field.attrs["pixel"]) ** 2


def blinking(
    molecules: int, repeats: int, precision: float, seed: int = 0
) -> tuple[Localizations, np.ndarray]:
    """Molecules that show in so many frames in a row, far from others in time; and where they are."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, SIDE, (2, molecules))
    frame = np.repeat(rng.permutation(molecules) * 2 * repeats, repeats) + np.tile(
        np.arange(repeats), molecules
    )
    x, y = np.repeat(place, repeats, axis=1) + precision * rng.standard_normal((2, frame.size))
    return Localizations(x, y, frame, field=FIELD), place


# Repeats


def test_neighbours_all_pairs():
    """Neighbours are all pairs within reach."""
    rng = np.random.default_rng(3)
    locs = Localizations(*rng.uniform(0, 300, (2, 400)), rng.integers(0, 9, 400))
    assert locs.frame is not None
    apart = np.hypot(locs.x[:, None] - locs.x, locs.y[:, None] - locs.y)
    for lag in (1, 3):
        i, j = np.nonzero((apart <= 40) & (locs.frame[None, :] - locs.frame[:, None] == lag))
        earlier, later, distance = neighbours(locs, 40.0, lag)
        assert set(zip(i.tolist(), j.tolist(), strict=True)) == set(
            zip(earlier.tolist(), later.tolist(), strict=True)
        )
        np.testing.assert_allclose(distance, apart[earlier, later])


@pytest.mark.parametrize("precision", [6.0, 14.0, 25.0])
def test_precision_from_repeats(precision):
    """Precision shows in repeats."""
    locs, _ = blinking(3_000, 2, precision)
    found = estimate_precision(locs)
    assert found is not None
    assert found == pytest.approx(precision, rel=0.05)


def test_precision_none_without_repeats():
    """No precision without repeats."""
    rng = np.random.default_rng(4)
    locs = Localizations(*rng.uniform(0, SIDE, (2, 20_000)), rng.integers(0, 400, 20_000))
    assert estimate_precision(locs) is None
    merged = merge_repeats(locs, precision=10.0)
    assert len(merged) == len(locs)
    assert merged.provenance["repeats"].startswith("none merged")


def test_repeats_merged():
    """Merged repeats are the molecules."""
    locs, place = blinking(2_000, 4, 8.0)
    merged = merge_repeats(locs, precision=8.0)
    # A link in 90 is missed at three standard errors, of which there are three to a molecule.
    assert len(merged) == pytest.approx(2_000 * (1 + 3 * math.exp(-4.5)), rel=0.02)
    assert merged.precision is not None
    assert np.median(merged.precision) == pytest.approx(4.0)
    near = KDTree(place.T).query(np.stack([merged.x, merged.y], axis=1))[0]
    # The median of a Rayleigh distribution; few molecules are in parts, which are farther off.
    assert np.median(near) == pytest.approx(4.0 * math.sqrt(2 * math.log(2)), rel=0.05)


def test_repeats_gap():
    """Localisations two frames apart are not merged, and what is said of repeats names them."""
    locs, _ = blinking(1_000, 2, 5.0)
    assert locs.frame is not None
    late = Localizations(locs.x, locs.y, locs.frame + np.tile([0, 1], 1_000))
    found = merge_repeats(late, precision=5.0)
    assert len(found) == 2_000
    assert f" of 2,000 others again {DARK}" in found.provenance["repeats"]
    assert DARK not in merge_repeats(locs, precision=5.0).provenance["repeats"]


# Density


def test_poisson_moments_by_the_kernel_in_the_plane():
    """Sums over the kernel along one axis are those over its product in the plane."""
    width, pixel, mean, errors = 60.0, 20.0, 0.003, 36.0
    found, w = PoissonMoments.of(width, pixel, mean, errors), stencil(width, pixel)
    kernel = np.pad(np.outer(w, w), 1)
    slopes = np.gradient(np.pad(kernel, 1), pixel)
    slopes = [g[1:-1, 1:-1] for g in slopes]
    steep, square = sum(g**2 for g in slopes), float(np.sum(kernel**2))
    assert found.area == pytest.approx(mean * pixel**2 / square)
    assert found.skew == pytest.approx(np.sum(kernel**3) / square**2)
    assert found.slope == pytest.approx(np.sum(steep) / square)
    assert found.mixed == pytest.approx(np.sum(kernel * steep) / square**2)
    place = pixel * (np.arange(len(kernel)) - (len(kernel) - 1) / 2)
    spread = np.sum(kernel.sum(1) * place**2)
    assert found.blur == pytest.approx(spread + pixel**2 / 12 + errors)


def test_poisson_moments_of_a_blurred_wave():
    """Blurred square and cube of a wave follow from its blurred image, to first order in the variance."""
    x, wave, blur = 2 * np.pi * np.arange(600) / 600, 3.0, 4e-3
    square, cube = PoissonMoments(np.inf, 1.0, 0.0, 0.0, blur).powers(
        np.tile((2 + np.exp(-blur * wave**2 / 2) * np.cos(wave * x))[:, None, None], (1, 4, 1)), x[1]
    )
    # cos^2 and cos^3 as sums of waves, each fainter by its own factor.
    first, second, third = (np.exp(-blur * (k * wave) ** 2 / 2) * np.cos(k * wave * x) for k in (1, 2, 3))
    squares = 4.5 + 4 * first + second / 2
    cubes = 8 + 12 * first + 3 * (1 + second) + (third + 3 * first) / 4
    plain = np.abs((2 + first) ** 2 - squares).max(), np.abs((2 + first) ** 3 - cubes).max()
    inner = slice(2, -2)
    assert np.abs(square[inner, 0, 0] - squares[inner]).max() < 0.05 * plain[0]
    assert np.abs(cube[inner, 0, 0] - cubes[inner]).max() < 0.05 * plain[1]


def poisson_mean(function, mean):
    """Exact mean of a cubic polynomial of independent Poisson numbers (n,), from its values at few counts.

    By ``E f(N) = exp(sum_j mean_j D_j) f(0)`` with D_j the forward difference in one number.
    """
    draws = [c for k in range(4) for c in combinations_with_replacement(range(len(mean)), k)]
    counts = np.array([np.bincount(c, minlength=len(mean)) for c in map(np.intp, map(list, draws))])
    values, total = dict(zip(draws, function(counts), strict=True)), 0.0
    for c in draws:
        parts = [tuple(p) for k in range(len(c) + 1) for p in combinations(c, k)]
        difference = sum((-1) ** (len(c) - len(p)) * values[p] for p in parts)
        repeats = math.prod(math.factorial(c.count(j)) for j in set(c))
        total += math.prod(mean[j] for j in c) / repeats * difference
    return total


def test_poisson_moments_on_a_slope():
    """Noise adds nothing to the mean of ``s |grad s|^2``, by which cubes are blurred, on a slope."""
    pixel, light = 1.0, 0.4
    w = np.trim_zeros(stencil(2.0, pixel))
    moments = PoissonMoments.of(2.0, pixel, light, 0.0)
    rows = np.stack([np.roll(np.pad(w, (0, 2)), k) for k in range(3)])
    mean = np.outer(1 + 0.2 * (np.arange(rows.shape[1]) - rows.shape[1] // 2), np.ones(rows.shape[1]))

    def blurred(counts):
        seen = counts.reshape(-1, *mean.shape) / light
        s = np.einsum("ia,fab,jb->ijf", rows, seen, rows)
        with_blur, without = (moments._replace(blur=b).powers(s, pixel)[1][1, 1] for b in (1.0, 0.0))
        return (with_blur - without) / 3

    exact = 0.2**2
    found = poisson_mean(blurred, light * mean.ravel())
    least = min(moments.slope, moments.mixed / moments.area, exact) / moments.area
    # Differences of so narrow a kernel are slopes to a third of the least correction.
    assert abs(found - exact) < 0.5 * least


def test_density_stencil_width():
    w = stencil(300.0, 20.0)
    place = 20.0 * (np.arange(w.size) - w.size // 2)
    assert w.sum() == pytest.approx(1)
    assert (w >= 0).all()
    assert math.sqrt(float(np.sum(w * place**2))) * FWHM == pytest.approx(300, rel=0.01)


def test_density_integrates_to_the_count():
    locs = uniform(20_000)
    assert total(density(locs, width=150)) == pytest.approx(20_000, rel=0.005)
    inner = locs.select((np.abs(locs.x - 3e3) < 2e3) & (np.abs(locs.y - 3e3) < 2e3))
    # The kernel keeps the count to rounding where it does not reach the edge.
    assert total(density(inner, width=150)) == pytest.approx(len(inner), rel=1e-9)


def test_density_inside_a_mask():
    locs = uniform(40_000)
    mask = nucleus_from_polygon(DISC, pixel=40).mask
    field = density(locs, mask=mask, width=200)
    inside = int((np.hypot(locs.x - 3_000, locs.y - 3_000) < 2_500).sum())
    assert field.attrs["molecules"] == pytest.approx(inside, rel=0.005)
    assert total(field) == pytest.approx(inside, rel=0.01)
    assert field.attrs["area"] == pytest.approx(np.pi * 2_500**2, rel=0.01)
    # An even density stays even at the edge: no darker than inside beyond the noise of so many pixels.
    rho = 40_000 / SIDE**2
    away = np.hypot(field.x - 3_000, field.y - 3_000)
    rim = field.density.where(away > 2_350)
    assert float(rim.mean()) == pytest.approx(rho, rel=0.03)
    assert bool(np.isnan(field.density.where(away > 2_600)).all())


def test_density_of_even_field():
    """An even field is even."""
    nodes = 10.0 * np.arange(300) + 5
    x, y = (a.ravel() for a in np.meshgrid(nodes, nodes))
    field = density(Localizations(x, y, field=(0, 3_000, 0, 3_000)), pixel=30, width=120)
    np.testing.assert_allclose(field.density, 0.01, rtol=1e-9)


@pytest.mark.parametrize("behind", [4, 15])
def test_density_errors_coverage(behind):
    """95 % intervals hold the true density in 90 to 98 % of the pixels, whatever counts lie behind them."""
    width = 300.0
    rho = behind / float(density(uniform(100), width=width).attrs["noise_area"])
    covered, ratio = [], []
    for seed in range(12):
        n = np.random.default_rng(seed).poisson(rho * SIDE**2)
        field = density(uniform(n, seed + 100), width=width)
        covered.append(float((abs(field.density - rho) < 1.96 * field.density_sd).mean()))
        ratio.append(float(field.density.std() / field.density_sd.mean()))
    assert 0.90 < np.mean(covered) < 0.98
    assert np.mean(ratio) == pytest.approx(1, abs=0.12)


def test_density_error_of_empty_place():
    """Nothing seen is not certain."""
    locs = Localizations([100.0, 5_900.0], [100.0, 5_900.0], field=FIELD)
    field = density(locs, width=300)
    middle = field.sel(x=3_000, y=3_000, method="nearest")
    assert float(middle.density) == 0
    assert float(middle.density_sd) == pytest.approx(1 / field.attrs["noise_area"], rel=1e-6)


def test_density_noise_area():
    """Kernel errors average out over the noise area."""
    n, width = 10_000, 200.0
    rho = n / SIDE**2
    means, area = [], 0.0
    for seed in range(24):
        field = density(uniform(n, seed), width=width)
        centre = field.density.sel(x=slice(1_000, 5_000), y=slice(1_000, 5_000))
        means.append(float(centre.mean()))
        area = float(field.attrs["noise_area"])
    single = math.sqrt(rho / area)
    # 16 um^2 hold that many independent values; n is fixed, which takes the field's share of the variance.
    expected = single / math.sqrt(4_000**2 / area) * math.sqrt(1 - (4_000 / SIDE) ** 2)
    assert np.std(means) == pytest.approx(expected, rel=0.35)


def test_voronoi_cells_fill_the_rectangle():
    rng = np.random.default_rng(5)
    points = np.concatenate([rng.normal(300, 15, (2, 500)), rng.uniform(0, 1_000, (2, 40))], axis=1)
    points = points[:, (points > 0).all(axis=0) & (points < 1_000).all(axis=0)]
    area = cell_areas(*points, (0, 1_000, 0, 1_000))
    assert area.sum() == pytest.approx(1e6, rel=1e-9)
    assert area.min() > 0
    fine = np.stack(np.meshgrid(*[np.arange(0.5, 1_000, 1.0)] * 2, indexing="ij"), -1).reshape(-1, 2)
    counted = np.bincount(KDTree(points.T).query(fine)[1], minlength=area.size)
    large = area > 2_000
    assert large.sum() > 20
    np.testing.assert_allclose(counted[large], area[large], rtol=0.02)


def test_voronoi_coincident_points():
    """Coincident points count each."""
    locs = uniform(2_000)
    one, two = (point_density(x, y) for x, y in ((locs.x, locs.y), np.tile([locs.x, locs.y], 2)))
    np.testing.assert_allclose(two, 2 * np.tile(one, 2))


def test_voronoi_too_few_points():
    """Cells need places."""
    with pytest.raises(DataError, match="at least three"):
        cell_areas(np.array([1.0, 2.0]), np.array([1.0, 2.0]), (0, 4, 0, 4))


def test_resolution_of_known_data():
    locs, _ = blinking(20_000, 2, 10.0)
    field = density(replace(locs, precision=np.full(len(locs), 10.0)))
    merged = FWHM * 10.0
    nyquist = 2 / math.sqrt(20_000 / SIDE**2)
    assert field.attrs["resolution_nyquist"] == pytest.approx(nyquist, rel=0.03)
    assert field.attrs["resolution"] == pytest.approx(math.hypot(merged, nyquist), rel=0.03)
    assert Resolution(math.nan, 5.0, 80.0).total == 80.0
    assert field.attrs["repeats"].startswith("40,000 rows")


def test_density_of_several_tables():
    """Frames of a time-lapse, on the pixels of the first: each as it is by itself on these."""
    rng = np.random.default_rng(7)
    locs = [Localizations(*rng.uniform(0, SIDE, (2, n)), field=FIELD) for n in (20_000, 30_000)]
    both = density(locs, times=[0.0, 60.0])
    alone = density(locs[1], pixel=both.attrs["pixel"], width=both.attrs["kernel_width"])
    assert both.t.values.tolist() == [0.0, 60.0]
    np.testing.assert_allclose(both.density.isel(t=1), alone.density)
    np.testing.assert_allclose(both.density_sd.isel(t=0), density(locs[0]).density_sd)
    with pytest.raises(DataError, match="a time for each table"):
        density(locs)


def test_density_windows_in_time():
    """Windows in time."""
    rng = np.random.default_rng(6)
    x, y = rng.uniform(0, SIDE, (2, 30_000))
    frame = np.where(
        rng.random(30_000) < x / SIDE, rng.integers(500, 1_000, 30_000), rng.integers(0, 500, 30_000)
    )
    locs = Localizations(x, y, frame, field=FIELD)
    times, parts = locs.windows(2, 0.02)
    field = density(parts, times=times, width=400, merge=False)
    np.testing.assert_allclose(field.t, [5.0, 15.0])
    assert total(field) == pytest.approx(30_000, rel=0.01)
    share = field.density.mean("y").isel(t=1) / field.density.mean("y").sum("t")
    np.testing.assert_allclose(share, field.x / SIDE, atol=0.06)
    assert mf.Observations.from_dataset(field).coordinates == ("x", "y", "t")


BAD = {
    "pixels too coarse": ({"pixel": 300, "width": 200}, "too narrow for pixels"),
    "pixels too fine": ({"pixel": 0.1}, "at most"),
    "no width": ({"width": 0}, "width=0"),
}


@pytest.mark.parametrize("case", BAD)
def test_density_bad_options(case):
    """Bad choices of density."""
    options, message = BAD[case]
    rng = np.random.default_rng(7)
    locs = Localizations(*rng.uniform(0, SIDE, (2, 200)), np.arange(200) % 8, field=FIELD)
    with pytest.raises(MollifierError, match=message):
        density(locs, **options)


def test_windows_bad_options():
    """Windows need times, and frames enough."""
    locs = Localizations(*np.random.default_rng(7).uniform(0, SIDE, (2, 200)), np.arange(200) % 8)
    with pytest.raises(DataError, match="time stamps are missing: the time between frames"):
        locs.windows(3, None)
    with pytest.raises(DataError, match="time stamps are missing: frames are not known"):
        uniform(100).windows(3, 1.0)
    with pytest.raises(DataError, match="for 8 frames"):
        locs.windows(9_999, 1.0)


def test_density_empty_masks():
    """Masks without molecules."""
    mask = nucleus_from_polygon(DISC + 50_000, pixel=100).mask
    with pytest.raises(DataError, match=r"lies inside the mask.*one unit"):
        density(uniform(100), mask=mask)
    with pytest.raises(DataError, match="mask is empty"):
        density(uniform(100), mask=mask & False)
    with pytest.raises(DataError, match="frame column"):
        merge_repeats(uniform(100), precision=5.0)


def test_masks_on_other_grids():
    mask = nucleus_from_polygon(DISC, pixel=50).mask
    x = np.arange(-500, 6_500, 70.0)
    found = on_grid(mask, x, x)
    exact = np.hypot(x[:, None] - 3_000, x[None, :] - 3_000)
    assert found[exact < 2_400].all()
    assert not found[exact > 2_600].any()


def test_density_of_real_localisations():
    path = SHARED / "clathrin_localizations.csv"
    if not path.exists():
        pytest.skip("the reference file clathrin_localizations.csv is not beside the repository")
    field = density(read_localizations(path))
    assert field.attrs["repeats"].startswith("23,517 rows")
    assert total(field) == pytest.approx(field.attrs["molecules"], rel=1e-3)
    ends = [float(field[n][k]) for n in ("x", "y") for k in (0, -1)]
    np.testing.assert_allclose(ends, (15_034.5, 19_017.3, 13_180.4, 17_377.5), atol=field.attrs["pixel"])
    assert 10 < field.attrs["precision"] < 30
    assert bool((field.density_sd > 0).all())
    assert "density" in mf.Observations.from_dataset(field).variables
