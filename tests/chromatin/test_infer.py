"""From fields to a map of rates: waves of a nucleus, maps still and moving, balance, and bad input."""

import numpy as np
import pytest
import xarray as xr

from mollifier.chromatin import galerkin, infer
from mollifier.chromatin.infer import infer_rate
from mollifier.chromatin.model import ChromatinModel, FreeEnergy
from mollifier.chromatin.modes import FieldSeries, modes, time_rows
from mollifier.chromatin.simulate import nucleus, rate_pattern, simulate, with_noise
from mollifier.errors import ConfigurationError, DataError

MODEL = ChromatinModel()


def simulated(model: ChromatinModel = MODEL, **options) -> xr.Dataset:
    """A small nucleus in three frames."""
    mask = nucleus(900.0, 72, rng=1)
    lam = rate_pattern(mask, "gradient", level=0.6, contrast=0.4, rng=1)
    return simulate(model, mask, lam, [0.0, 60.0, 120.0], before=600.0, step=5.0, rng=1, **options)


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return simulated()


@pytest.fixture(scope="module")
def given(truth: xr.Dataset) -> xr.Dataset:
    return with_noise(truth, 0.05, rng=2)


@pytest.fixture(scope="module")
def found(given: xr.Dataset) -> infer.RateMap:
    return infer_rate(given, MODEL)


def errors(found: infer.RateMap, truth: xr.Dataset) -> tuple[float, float, float]:
    """Correlation, relative L2 error, and share of the pixels whose 95 % interval holds the truth."""
    d = found.dataset
    lam = truth["lam"].reindex_like(d, method="nearest", tolerance=1.0).transpose(*d["lam"].dims)
    here = np.isfinite(d["lam"].values)
    a, b, sd = d["lam"].values[here], lam.values[here], d["lam_sd"].values[here]
    error = np.linalg.norm(a - b) / np.linalg.norm(b)
    return float(np.corrcoef(a, b)[0, 1]), float(error), float(np.mean(np.abs(a - b) < 1.96 * sd))


def test_modes_of_disc_are_bessel():
    """The first zeros of J1', J2' and J0' are 1.8412, 3.0542 and 3.8317; the first two come in pairs."""
    place = np.arange(-42, 42) + 0.5
    waves = modes(np.hypot(place[:, None], place) < 40.0, 1.0, 30.0)
    expected = np.array([0, 1.8412, 1.8412, 3.0542, 3.0542, 3.8317])
    np.testing.assert_allclose(40 * np.sqrt(waves.values[:6]), expected, rtol=0.01, atol=1e-9)
    assert waves.shortest == pytest.approx(30.0, rel=0.1)


def test_rate_map_recovers_simulation(truth, found):
    """The map is that of the simulation."""
    correlation, error, covered = errors(found, truth)
    assert correlation > 0.97
    assert error < 0.1
    assert covered > 0.85
    assert found.status.name == "converged"


def test_rate_map_of_steady_image(truth, given):
    still = infer_rate(given.isel(t=0, drop=True), MODEL)
    correlation, error, covered = errors(still, truth)
    assert correlation > 0.9
    assert error < 0.2
    assert covered > 0.85
    assert "steady state" in still.status.message
    assert set(still.dataset["lam"].dims) == {"x", "y"}


def test_rate_map_without_euchromatin_is_misfit(given):
    """A level of heterochromatin that is too low leaves no euchromatin in a large part of the nucleus."""
    most = 1 - given["phi_n"]
    dense = given["phi_d"] > given["phi_d"].where(given["mask"] > 0).quantile(0.6)
    still = given.assign(phi_d=given["phi_d"].where(~dense, most)).isel(t=0, drop=True)
    status = infer_rate(still, MODEL).status
    assert status.name == "misfit"
    assert "no euchromatin in 4" in status.message


def test_rate_map_intervals_bounded_and_masked(found):
    """Intervals keep the bound and end with the nucleus."""
    d = found.dataset
    inside = d["mask"].values
    assert (d["lam_low"].values[inside] >= 0).all()
    assert np.isnan(d["lam"].values[~inside]).all()
    assert ((d["lam_low"] <= d["lam"]) & (d["lam"] <= d["lam_high"])).values[inside].all()
    assert d["identifiability"].values[inside].max() <= 1


def test_rate_map_balance_closes(truth, given, found):
    """The first wave is constant: the balance is a row of the equations, and closes with the true rate."""
    data = infer._checked(given)
    lam = truth["lam"].reindex_like(data, method="nearest", tolerance=1.0)
    exact = infer._balance(found.dataset.assign(lam=lam.where(data["mask"])), data, MODEL)
    assert abs(exact["defect"]) < 0.02
    assert abs(found.balance["defect"]) < 0.02
    assert found.balance["gain"] - 1 - found.balance["change"] == pytest.approx(found.balance["defect"])


def test_rate_map_mean_and_error(found):
    """The mean has the error of its weights."""
    d = found.dataset
    one = d["mask"].astype(float)
    mean, sd = found.mean(one)
    assert mean == pytest.approx(float(d["lam"].mean()), rel=1e-6)
    assert 0 < sd < float(d["lam_sd"].mean())
    alone = one.where((one["x"] == one["x"][30]) & (one["y"] == one["y"][30]), 0.0)
    assert found.mean(alone)[1] == pytest.approx(float(d["lam_sd"][30, 30]), rel=1e-6)


def test_galerkin_covariance_of_rows(truth):
    """Over draws, rows scatter by the covariance: the cube's noise and that of the rate's factor included."""
    sd, chosen = 0.08, [0, 1, 7, 20]
    series, axes = infer._series(infer._checked(with_noise(truth, sd)), None)
    mask = infer._checked(with_noise(truth, sd))["mask"].values
    waves = modes(mask, axes[0].spacing, 300.0)
    time = time_rows(series.times, 4)
    exact = truth["phi_d"].transpose("x", "y", "t").values[truth["mask"].values]
    rate = np.broadcast_to(truth["lam"].values[truth["mask"].values][:, None], exact.shape)
    rows = []
    for seed in range(200):
        v = exact + sd * np.random.default_rng(seed).standard_normal(exact.shape)
        one = FieldSeries(v, series.variance, series.chromatin, series.times, series.depth)
        gained = 2 * MODEL.acetylation * waves.project(rate * one.phi_e) @ time.hold.T
        rows.append((galerkin._rest(one, waves, MODEL, time) - gained)[chosen].ravel())
    expected = galerkin._covariance(series, waves, MODEL, time, rate)
    index = (np.array(chosen)[:, None] * len(time.change) + np.arange(len(time.change))).ravel()
    np.testing.assert_allclose(np.std(rows, 0) / np.sqrt(np.diag(expected))[index], 1.0, atol=0.25)


def test_rate_map_rising_in_time():
    """A treatment half way: the rate goes from 0.6 to 0.6 times 1.6, sooner on one side than on the other."""
    mask = nucleus(1000.0, 72, rng=3)
    base = rate_pattern(mask, "gradient", level=0.6, contrast=0.3, rng=3)
    times = xr.Variable("t", np.linspace(0.0, 480.0, 9))
    when = 240.0 + 0.1 * mask["x"]
    rise = 1 + 0.6 / (1 + np.exp(-(xr.DataArray(times, {"t": times}) - when) / 60.0))
    lam = (base * rise).transpose("x", "y", "t")
    movie = simulate(MODEL, mask, lam, times.values, before=600.0, step=5.0, rng=3)
    found = infer_rate(with_noise(movie, 0.05, rng=4), MODEL, over=("x", "y", "t"))
    correlation, error, covered = errors(found, movie.assign(lam=lam.where(mask)))
    assert found.status.name == "converged"
    assert correlation > 0.85
    assert error < 0.15
    assert covered > 0.85
    level = found.dataset["lam"].mean(("x", "y"))
    assert float(level[-1] / level[0]) == pytest.approx(1.6, abs=0.25)


def test_rate_map_high_at_edge():
    """A rate that rises towards the edge on lengths that the test functions hardly resolve."""
    mask = nucleus(1000.0, 50, rng=2)
    lam = rate_pattern(mask, "peripheral", 0.6, 0.4, 2)
    movie = simulate(MODEL, mask, lam, [0.0, 200.0], before=600.0, rng=2)
    correlation, error, _ = errors(infer_rate(with_noise(movie, 0.05, rng=3), MODEL), movie)
    assert correlation > 0.99
    assert error < 0.07


def test_rate_map_with_lamina_and_nucleoplasm():
    """Where the model knows of the lamina the rate is right; where it does not, it is not."""
    sticky = ChromatinModel(FreeEnergy(adhesion=1.0))
    mask = nucleus(900.0, 72, rng=1)
    phi_n = mask.copy(data=0.1 + 0.05 * np.sin(mask["x"].values / 150.0)[:, None] * np.ones(mask.shape))
    truth = simulated(model=sticky, nucleoplasm=phi_n)
    given = with_noise(truth, 0.02, rng=2)
    known, unknown = (errors(infer_rate(given, m), truth)[1] for m in (sticky, MODEL))
    assert known < 0.1
    assert unknown > 1.5 * known


def test_rate_map_noise_estimated(given):
    """Noise that is not given is estimated."""
    data = infer._checked(given.drop_vars("phi_d_sd"))
    assert float(data["phi_d_sd"].mean()) == pytest.approx(0.05, rel=0.3)


def test_infer_rate_bad_input(given):
    """Input that cannot serve is refused."""
    with pytest.raises(DataError, match="phi_n"):
        infer_rate(given.drop_vars("phi_n"), MODEL)
    with pytest.raises(DataError, match="pixels wide"):
        infer_rate(given.isel(x=slice(20, 32)), MODEL)
    with pytest.raises(DataError, match="pixels wide"):
        infer_rate(given.assign(mask=given["mask"] & False), MODEL)
    with pytest.raises(DataError, match="square ones were expected"):
        infer_rate(given.assign_coords(x=2 * given["x"]), MODEL)
    with pytest.raises(ConfigurationError, match="for one image"):
        infer_rate(given.isel(t=0, drop=True), MODEL, over=("x", "y", "t"))
