"""From fields to a map of rates: the window, the mirror, known sources, a small nucleus, and bad input."""

import numpy as np
import pytest
import xarray as xr

from mollifier.apps.chromatin import infer
from mollifier.apps.chromatin.infer import infer_rate, mirrored, sensitivity, window
from mollifier.apps.chromatin.microscope import with_noise
from mollifier.apps.chromatin.model import ChromatinModel, FreeEnergy, geometric_rate
from mollifier.apps.chromatin.simulate import coarsened, nucleus, rate_pattern, simulate
from mollifier.errors import ConfigurationError, DataError

MODEL = ChromatinModel()
RADIUS = {"x": 230.0, "y": 230.0, "t": 60.0}


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    mask = nucleus(900.0, 108, seed=1)
    lam = rate_pattern(mask, "gradient", level=0.6, contrast=0.4, seed=1)
    movie = simulate(MODEL, mask, lam, [0.0, 60.0, 120.0], before=600.0, step=5.0, seed=1)
    return coarsened(movie, 3)


@pytest.fixture(scope="module")
def given(truth: xr.Dataset) -> xr.Dataset:
    return with_noise(truth, 0.01, seed=2)


@pytest.fixture(scope="module")
def found(given: xr.Dataset) -> infer.RateMap:
    return infer_rate(given, MODEL, radius=RADIUS, geometry=geometric_rate(100.0, 300.0))


def test_the_map_is_that_of_the_simulation(truth, found):
    d = found.dataset
    lam = truth["lam"].reindex_like(d, method="nearest", tolerance=1.0)
    sure = (d["identifiability"] < 0.3).values
    assert sure.sum() > 0.3 * d["mask"].values.sum()
    error, sd = (d["lam"] - lam).values[sure], d["lam_sd"].values[sure]
    assert np.corrcoef(d["lam"].values[sure], lam.values[sure])[0, 1] > 0.9
    assert np.sqrt(np.mean(error**2) / np.mean(lam.values[sure] ** 2)) < 0.15
    assert np.mean(np.abs(error) < 1.96 * sd) > 0.7


def test_intervals_keep_the_bound_and_end_with_the_nucleus(found):
    d = found.dataset
    inside = d["mask"].values
    assert (d["lam_low"].values[inside] >= 0).all()
    assert (d["lam"].values[inside] >= 0).all()
    assert np.isnan(d["lam"].values[~inside]).all()
    assert ((d["lam_low"] <= d["lam"]) & (d["lam"] <= d["lam_high"])).values[inside].all()
    assert d["identifiability"].values[inside].max() <= 1
    assert found.geometric == pytest.approx(0.125)


def test_what_is_gained_is_lost(truth, given, found):
    """With the true rate the balance closes to the blocks left out at the edge; with the map's, nearly."""
    data = infer._checked(given)
    lam = truth["lam"].reindex_like(data, method="nearest", tolerance=1.0)
    exact = infer._balance(found.dataset.assign(lam=lam.where(data["mask"])), data, MODEL)
    assert abs(exact["defect"]) < 0.1
    assert abs(found.balance["defect"]) < 0.25
    assert found.balance["gain"] - 1 - found.balance["change"] == pytest.approx(found.balance["defect"])


def test_sensitivity_moves_with_the_parameter(given, found):
    table = sensitivity(given, MODEL, found, 0.2, ["acetylation"])
    assert table["pattern"].dims == ("parameter", "sign")
    assert (table["pattern"] > 1e-3).all()
    assert (table["pattern"] < 1).all()
    with pytest.raises(ConfigurationError, match="Did you mean 'interface'"):
        sensitivity(given, MODEL, found, 0.2, ["interfaces"])
    with pytest.raises(ConfigurationError, match="share"):
        sensitivity(given, MODEL, found, 1.5)


def test_the_window_rises_within_and_falls_to_nothing_outside():
    mask = np.pad(np.ones((40, 40), dtype=bool), 12)
    w = window(mask)
    assert w[32, 32] == pytest.approx(1.0)
    assert w[0].max() == 0
    assert w.min() >= 0
    assert (np.diff(w[32, :32]) >= -1e-12).all()


def test_the_mirror_of_a_straight_edge_is_even():
    mask = np.zeros((30, 30), dtype=bool)
    mask[:, 10:] = True
    rows, columns = mirrored(mask)
    assert (columns[15, 10:] == np.arange(10, 30)).all()
    assert (columns[15, 6:10] == [13, 12, 11, 10]).all()
    assert (rows[15] == 15).all()


def test_known_sources_are_those_of_the_nucleoplasm():
    """On q = 0.8 + 0.1 cos(k x): interface^2 k^4 + mixing k^2 times its wave."""
    x = np.linspace(0.0, 4.0, 81)
    k = np.pi
    scaled = ChromatinModel(FreeEnergy(interface=0.2, mixing=0.7), 1.0, 1.0)
    wave = 0.1 * np.cos(k * x)[:, None] * np.ones(60)
    y = 0.05 * np.arange(60)
    q = xr.DataArray(0.8 + wave, {"x": x, "y": y}, ("x", "y"))
    found = infer._source(q, scaled, np.ones(q.shape, dtype=bool)).values
    wanted = (0.04 * k**4 + 0.7 * k**2) * wave
    inner = slice(12, -12)
    np.testing.assert_allclose(found[inner, inner], wanted[inner, inner], atol=0.02)


def test_a_varying_nucleoplasm_and_a_lamina_enter_the_text(given):
    data = infer._checked(given.assign(phi_n=given["phi_n"] + 1e-4 * given["x"]))
    model = ChromatinModel(FreeEnergy(adhesion=0.5))
    observed, text = infer._posed(data, model, model.scaled(), still=False)
    assert {"phi_h", "chromatin", "source", "window"} <= set(observed.variables)
    assert "(chromatin - phi_h)" in text
    assert "source" in text


def test_noise_that_is_not_given_is_estimated(given):
    data = infer._checked(given.drop_vars("phi_d_sd"))
    observed, _ = infer._posed(data, MODEL, MODEL.scaled(), still=False)
    assert observed.noise_sd("phi_h") == pytest.approx(0.005, rel=0.5)


def test_input_that_cannot_serve_is_refused(given):
    with pytest.raises(DataError, match="phi_n"):
        infer_rate(given.drop_vars("phi_n"), MODEL)
    with pytest.raises(DataError, match="pixels wide"):
        infer_rate(given.isel(x=slice(10, 22)), MODEL)
    with pytest.raises(DataError, match="pixels wide"):
        infer_rate(given.assign(mask=given["mask"] & False), MODEL)
    with pytest.raises(ConfigurationError, match="one image only"):
        infer_rate(given.isel(t=0, drop=True), MODEL, over=("x", "y", "t"))
