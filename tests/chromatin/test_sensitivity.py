"""The error of a map by what it assumes, against maps with a parameter, level or outline changed."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

from mollifier.chromatin import galerkin
from mollifier.chromatin.cells import analyse_nucleus
from mollifier.chromatin.demo import imaged
from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.infer import RateMap, infer_rate
from mollifier.chromatin.model import ChromatinModel, FreeEnergy
from mollifier.chromatin.page import nucleus_page
from mollifier.chromatin.rasters import edge_distance
from mollifier.chromatin.sensitivity import sensitivity
from mollifier.chromatin.settings import Assumptions, Levels, StudySettings
from mollifier.chromatin.simulate import nucleus, rate_pattern, simulate, with_noise
from mollifier.errors import ConfigurationError

MODEL = ChromatinModel()
ALONE = dict.fromkeys([f.name for f in dataclasses.fields(Assumptions)], 0.0)


@pytest.fixture(scope="module")
def movie() -> xr.Dataset:
    mask = nucleus(900.0, 72, rng=1)
    lam = rate_pattern(mask, "gradient", level=0.6, contrast=0.4, rng=1)
    return simulate(MODEL, mask, lam, [0.0, 120.0], before=600.0, step=5.0, rng=1)


@pytest.fixture(scope="module")
def given(movie: xr.Dataset) -> xr.Dataset:
    return with_noise(movie, 0.05, rng=2)


@pytest.fixture(scope="module")
def found(given: xr.Dataset) -> RateMap:
    return infer_rate(given, MODEL)


def change(found: RateMap, other: RateMap) -> np.ndarray:
    """Difference of two maps on the pixels of the second."""
    both = (other.dataset["lam"] - found.dataset["lam"]).values
    return both[np.isfinite(both)]


@pytest.mark.parametrize("name", ["diffusion", "acetylation", "well", "interface"])
def test_sensitivity_is_that_of_a_new_map(given, name, monkeypatch):
    """The linearised change is that of the map that is inferred with another parameter and the same prior."""
    sd, still = 0.1, given.isel(t=0, drop=True)
    found = infer_rate(still, MODEL)
    monkeypatch.setattr(galerkin.PriorSearch, "anew", lambda self: {"lam": found.found.prior})
    table = sensitivity(found, MODEL, Assumptions(**{**ALONE, name: sd}))
    assert table["parameter"].values.tolist() == [name]
    low, high = (infer_rate(still, next(Assumptions(**{**ALONE, name: sd}).models(MODEL))[k]) for k in (2, 3))
    exact = (high.dataset["lam"] - low.dataset["lam"]) / 2
    ours = table["lam_assumed_sd"].values
    inside = np.isfinite(ours)
    size = float(np.sqrt(np.mean(exact.values[inside] ** 2)))
    assert np.sqrt(np.mean(ours[inside] ** 2)) == pytest.approx(size, rel=0.2)
    assert np.corrcoef(ours[inside], np.abs(exact.values[inside]))[0, 1] > 0.95


def test_sensitivity_to_levels(given, found):
    """A level that is given is moved by a share of its height; one by quantile, with its quantile."""
    signal = (given["phi_d"] + 1.1) * 10.0
    exact = Thresholds(background=0.0, euchromatin=2.0, heterochromatin=20.0, two_phases=True)
    only = Assumptions(**{**ALONE, "levels": 0.1, "quantiles": 0.05})
    attrs = {f"threshold_{n}": v for n, v in vars(exact).items()}
    phi = xr.Dataset({"signal": signal}, attrs=attrs)
    table = sensitivity(found, MODEL, only, Levels(exact), phi)
    assert table["parameter"].values.tolist() == ["euchromatin", "heterochromatin"]
    np.testing.assert_allclose(table["sd"], 0.1)
    # More of the signal is euchromatin when the level of heterochromatin is higher.
    level = table["level"].sel(parameter="heterochromatin")
    assert level.sel(sign=1) < 0 < level.sel(sign=-1)
    loose = dataclasses.replace(exact, heterochromatin=None)
    by_quantile = sensitivity(found, MODEL, only, Levels(loose), phi)
    assert by_quantile["sd"].values.tolist() == [0.1, 0.05]


def test_sensitivity_to_outline(given, found):
    """The map of a smaller outline is compared, in units of the outline's error."""
    mask = edge_distance(given["mask"]) > 25.0
    inner = infer_rate(given.assign(mask=mask), MODEL)
    table = sensitivity(found, MODEL, Assumptions(**{**ALONE, "outline": 0.25}), inner=(inner, 2.5))
    error = table["lam_assumed_sd"].values
    here = np.isfinite(inner.dataset["lam"].reindex_like(found.dataset).values)
    ours = np.sqrt(np.mean(error[here] ** 2))
    assert 2.5 * ours == pytest.approx(np.sqrt(np.mean(change(found, inner) ** 2)), rel=1e-6)


def test_sensitivity_of_what_is_not_there(found):
    """A lamina that does not attract has no reach; without standard deviations nothing is varied."""
    names = sensitivity(found, MODEL)["parameter"].values.tolist()
    assert "adhesion" not in names
    assert "reach" not in names
    sticky = ChromatinModel(FreeEnergy(adhesion=1.0))
    assert {"adhesion", "reach"} <= set(sensitivity(found, sticky)["parameter"].values.tolist())
    none = sensitivity(found, MODEL, Assumptions(**ALONE))
    assert none.sizes["parameter"] == 0
    assert none.attrs["rate_sd"] == 0
    with pytest.raises(ConfigurationError, match=r"assume\.well=-1"):
        Assumptions(well=-1)


@pytest.mark.parametrize("frames", [1, 2])
def test_nucleus_page_first_number_includes_assumptions(movie, frames, tmp_path):
    """The first number has the whole error; the status of a still image names the steady state."""
    sample, levels = imaged(movie.isel(t=slice(0, frames)), 1e5, rng=0)
    settings = StudySettings(quick=True, width=40.0, domains="map", thresholds=levels, merge=False)
    result = analyse_nucleus(sample, settings)
    n = result.numbers
    assert n["rate_total_sd"] == pytest.approx(np.hypot(n["rate_sd"], n["rate_assumed_sd"]))
    assert n["rate_assumed_sd"] > 2 * n["rate_sd"]
    assert ("steady state" in result.status) == (frames == 1)
    assert {"outline", "heterochromatin"} <= set(result.sensitivity["parameter"].values.tolist())
    rate = result.rate
    wide, alone = rate["lam_high"] - rate["lam"], 1.96 * rate["lam_sd"]
    assert bool((wide >= alone * 0.999).where(rate["mask"] > 0, True).all())
    if frames == 1:
        text = nucleus_page(result, tmp_path / "page.html").read_text()
        assert f"lam = {n['rate']:.4g} ± {n['rate_total_sd']:.4g}; by noise alone" in text
        assert text.index("by noise alone") < text.index("Numbers")
        assert "one of the equations that" in text
