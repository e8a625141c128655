"""Volume fractions: they add up to one, follow the lever rule, and have error bars that cover."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from chromatin_plane import DISC, FIELD, SIDE
from mollifier.chromatin.density import density
from mollifier.chromatin.fractions import Camera, Thresholds, camera_from_image, fractions
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.mask import nucleus_from_polygon
from mollifier.chromatin.resolution import FWHM
from mollifier.errors import ConfigurationError, DataError


def ramp(n: int = 120, seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    """Expected counts that rise along x, with a bright disc, and a Poisson draw of them."""
    x = 100.0 * np.arange(n)
    mean = 200 + 400 * np.linspace(0, 1, n)[:, None] + 500 * (np.hypot(x[:, None] - 6e3, x - 6e3) < 2e3)
    coords = {"x": ("x", x, {"units": "nm"}), "y": ("y", x, {"units": "nm"})}
    clean = xr.DataArray(mean, coords, ("x", "y"))
    return clean, clean.copy(data=np.random.default_rng(seed).poisson(mean).astype(float))


LEVELS = Thresholds(background=150, euchromatin=400, heterochromatin=900, floor=0.0)


def test_fractions_sum_and_bounds():
    """Fractions add up and stay within bounds."""
    _, image = ramp()
    water = Thresholds(euchromatin_water=0.3, heterochromatin_water=0.1)
    for thresholds in (LEVELS, Thresholds(), water):
        phi = fractions(image, thresholds=thresholds)
        np.testing.assert_allclose(phi.phi_n + phi.phi_e + phi.phi_h, 1, atol=1e-12)
        np.testing.assert_allclose(phi.phi_d, phi.phi_h - phi.phi_e, atol=1e-12)
        for name in ("phi_n", "phi_e", "phi_h"):
            assert 0 <= float(phi[name].min()) <= float(phi[name].max()) <= 1
    assert float(phi.phi_h.max()) == pytest.approx(0.9)


def test_fractions_lever_rule():
    """Fractions follow the lever rule."""
    clean, _ = ramp()
    phi = fractions(clean, thresholds=LEVELS, camera=Camera(gain=1.0))
    low = clean < 400
    np.testing.assert_allclose(phi.phi_e.where(low), ((clean - 150) / 250).where(low), atol=1e-12)
    high = (clean > 400) & (clean < 900)
    np.testing.assert_allclose(phi.phi_h.where(high), ((clean - 400) / 500).where(high), atol=1e-12)
    assert float(phi.phi_n.where(clean > 400).max()) == 0


def test_fractions_errors_coverage():
    """Away from the kinks, where the rule is a line, the intervals hold the truth in 95 % of the pixels."""
    clean, _ = ramp()
    truth = fractions(clean, thresholds=LEVELS, camera=Camera(gain=1.0))
    straight = (clean > 480) & (clean < 800)
    covered = []
    for seed in range(6):
        phi = fractions(ramp(seed=seed)[1], thresholds=LEVELS, camera=Camera(gain=1.0))
        hit = abs(phi.phi_d - truth.phi_d) < 1.96 * phi.phi_d_sd
        covered.append(float(hit.where(straight).mean()))
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_fractions_errors_at_kink():
    """Errors at a kink are those of many draws."""
    x = 100.0 * np.arange(40)
    flat = xr.DataArray(np.full((40, 40), 400.0), {"x": x, "y": x}, ("x", "y"))
    phi = fractions(flat, thresholds=LEVELS, camera=Camera(gain=1.0))
    draws = 400 + 20 * np.random.default_rng(0).standard_normal(100_000)
    expected = np.interp(draws, [150, 400, 900], [0, 1, 0]).std()
    np.testing.assert_allclose(phi.phi_e_sd, expected, rtol=0.05)


def test_thresholds_reused():
    """The levels of one result apply to another cell."""
    _, image = ramp()
    first = fractions(image)
    again = fractions(ramp(seed=1)[1], thresholds=Thresholds.of(first))
    named = [n for n in first.attrs if n.startswith("threshold_")]
    assert len(named) == len(Thresholds.__dataclass_fields__)
    assert {n: first.attrs[n] for n in named} == {n: again.attrs[n] for n in named}


def test_camera_from_image():
    """The camera shows in the image."""
    rng = np.random.default_rng(2)
    x = 100.0 * np.arange(300)
    light = 50 + 400 * np.hypot(x[:, None], x) / 3e4
    counts = 3.0 * rng.poisson(light) + 3.0 * 4.0 * rng.standard_normal(light.shape)
    camera = camera_from_image(xr.DataArray(counts, {"x": x, "y": x}, ("x", "y")))
    assert camera.gain == pytest.approx(3.0, rel=0.1)
    expected = Camera(3.0, read_noise=4.0).sd(3 * light)
    np.testing.assert_allclose(camera.sd(3 * light), expected, rtol=0.05)


def test_fractions_resolution_with_blur():
    _, image = ramp()
    plain, blurred = fractions(image), fractions(image, psf_sd=130.0)
    assert plain.attrs["resolution"] == 200
    assert "psf_sd" in plain.attrs["note"]
    assert blurred.attrs["resolution"] == pytest.approx(130 * FWHM)
    assert blurred.attrs["note"] == "Domains finer than 306 nm are not resolved."


def test_fractions_of_a_density_in_a_mask():
    rng = np.random.default_rng(8)
    x, y = rng.uniform(0, SIDE, (2, 60_000))
    dense = np.hypot(x - 3e3, y - 3e3) < 1e3
    keep = dense | (rng.random(x.size) < 0.3)
    mask = nucleus_from_polygon(DISC, pixel=40).mask
    field = density(Localizations(x[keep], y[keep], field=FIELD), mask=mask, width=200)
    phi = fractions(field, mask, thresholds=Thresholds(euchromatin=0.3 / 600, heterochromatin=1 / 600))
    away = np.hypot(phi.x - 3_000, phi.y - 3_000)
    assert float(phi.phi_h.where(away < 800).mean()) > 0.85
    assert float(phi.phi_h.where((away > 1_200) & (away < 2_400)).mean()) < 0.15
    obs = mf.Observations.from_dataset(phi)
    assert set(obs.variables) == {"phi_n", "phi_e", "phi_h", "phi_d"}
    assert obs.noise_source("phi_d") == "given"
    assert obs.units["x"] == "nm"
    assert phi.attrs["resolution"] == field.attrs["resolution"]


def test_fractions_moving_mask():
    """Fractions where the mask moves."""
    _, image = ramp()
    movie = xr.concat([image, image], dim="t").assign_coords(t=[0.0, 60.0])
    mask = (movie.x > 2_000 + 1_000 * movie.t / 60) & (movie.x < 9_000) & (movie.y > 2_000)
    phi = fractions(movie, mask)
    assert phi.phi_d.dims == ("x", "y", "t")
    seen = [float(phi.x.where(phi.phi_d.isel(t=k).notnull().any("y")).min()) for k in (0, 1)]
    assert seen == [2_100, 3_100]
    with pytest.raises(DataError, match="mask has 2 frames"):
        fractions(image, mask)


def test_fractions_bad_options():
    """Bad choices of fractions."""
    _, image = ramp()
    with pytest.raises(DataError, match="levels are background 150, euchromatin 100"):
        fractions(image, thresholds=Thresholds(background=150, euchromatin=100))
    with pytest.raises(ConfigurationError, match="euchromatin_quantile=3"):
        Thresholds(euchromatin_quantile=3)
    with pytest.raises(ConfigurationError, match=r"camera\.gain=0"):
        Camera(gain=0)
    with pytest.raises(DataError, match="choose one of"):
        fractions(image.expand_dims(z=2))
    with pytest.raises(DataError, match="result of density"):
        fractions(xr.Dataset({"u": image}))
    with pytest.raises(DataError, match="mask is empty"):
        fractions(image, image < 0)
    with pytest.raises(DataError, match="has no noise"):
        camera_from_image(xr.ones_like(image))
