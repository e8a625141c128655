"""Levels from the free energy."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from mollifier.chromatin import energy_levels as el
from mollifier.chromatin.cells import analyse_nucleus
from mollifier.chromatin.demo import imaged
from mollifier.chromatin.density import PoissonMoments
from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.settings import Assumptions, StudySettings
from mollifier.chromatin.simulate import nucleus, rate_pattern, simulate
from mollifier.errors import ConfigurationError, DataError

WATER = Thresholds(euchromatin_water=0.1, heterochromatin_water=0.1)
SETTINGS = StudySettings(levels="energy", thresholds=WATER)


def laplacian(field: NDArray[np.float64], pixel: float) -> NDArray[np.float64]:
    """Of a periodic field, exact for its waves."""
    k = 2 * np.pi * np.fft.fftfreq(len(field), pixel)
    return np.fft.ifft2(-(k[:, None] ** 2 + k**2) * np.fft.fft2(field)).real


def test_energy_levels_of_exact_fields():
    """A field that obeys the equation exactly gives its a and b, and the levels follow the model."""
    model, pixel, n, lam = ChromatinModel(), 10.0, 600, 0.6
    e, x = model.energy, 2 * np.pi * np.arange(n) / n
    phi_h = 0.4 + 0.2 * np.cos(13 * x[:, None]) * np.cos(11 * x) + 0.1 * np.cos(9 * x[:, None] + 12 * x)
    phi_e = 0.9 - phi_h
    potential = model.bulk_potential(phi_h, phi_e) - e.interface**2 * laplacian(2 * phi_h, pixel)
    change = model.diffusion * laplacian(potential, pixel)
    change += 2 * model.acetylation * (lam * phi_e - phi_h)
    a, b = -0.25, 0.65
    s = (np.stack([phi_h - change / 4, phi_h + change / 4], -1) - a) / b
    scale = el.TEST_WIDTH * e.interface
    keep, tiles = el._places(np.ones((n, n), dtype=bool), pixel, scale, 1000.0)
    exact = PoissonMoments(np.inf, 1.0, 0.0, 0.0, 0.0)
    half = el._half(s, np.array([0.0, 1.0]), keep, pixel, scale, exact)
    found = el._fitted(el._Data((half, half), tiles), SETTINGS, 1.0, (0.0, 0.0))
    levels = found.thresholds
    assert found._values.tolist() == pytest.approx([a, b], rel=3e-3)
    assert levels.euchromatin == pytest.approx(-a / b, rel=3e-3)
    assert levels.heterochromatin == pytest.approx((0.9 - a) / b, rel=3e-3)
    assert levels.two_phases
    names = [v[0] for v in found.variations(Assumptions(), xr.Dataset())]
    assert names == ["levels", "contrast", "water"]
    # A still image whose pattern grows.
    mean = np.bincount(tiles.number, half.mean) / np.bincount(tiles.number)
    slower = half.change - 0.4 * model.acetylation * (half.mean - mean[tiles.number])
    still = half._replace(change=slower)
    growing = el._fitted(el._Data((still, still), tiles), SETTINGS, 1.0, (0.4, 0.2))
    assert growing._values.tolist() == pytest.approx(found._values.tolist(), rel=1e-6)
    _, sd, low, high, _ = next(v for v in growing.variations(Assumptions(), xr.Dataset()) if v[0] == "growth")
    assert low is not None
    middle = float(low.euchromatin or 0) / 2 + float(high.euchromatin or 0) / 2
    assert sd == 0.2
    assert middle == pytest.approx(levels.euchromatin, rel=1e-2)
    # Dilution of euchromatin narrows the gap between the phases, and so moves both levels apart.
    diluted = found.at(replace(model, energy=replace(e, mixing=1.1)))
    gap = [float(v.heterochromatin or 0) - float(v.euchromatin or 0) for v in (levels, diluted)]
    assert gap[1] > gap[0]


def test_energy_levels_refused():
    """Images, different nucleoplasm, one phase and small nuclei are refused with the reason."""
    place = 10.0 * np.arange(150)
    mask = xr.DataArray(np.ones((150, 150), dtype=bool), {"x": place, "y": place}, ("x", "y"))
    sample = NucleusData("a", "1", "", mask, image=mask.astype(float))
    with pytest.raises(ConfigurationError, match="tables of localisations"):
        el.energy_levels(sample, SETTINGS, 20.0)
    movie = simulate(ChromatinModel(), nucleus(1000.0, 40), 0.6, [0.0], before=50.0)
    sample = imaged(movie, 1e4, 0)[0]
    with pytest.raises(ConfigurationError, match="one value was expected"):
        el.energy_levels(sample, replace(SETTINGS, thresholds=Thresholds(euchromatin_water=0.1)), 20.0)
    with pytest.raises(DataError, match="room for 1 tiles"):
        el.energy_levels(sample, SETTINGS, 20.0)
    even = replace(SETTINGS, model=ChromatinModel(replace(ChromatinModel().energy, well=1.0, mixing=1.0)))
    with pytest.raises(DataError, match="one phase"):
        el._fitted(el._Data((None, None), None), even, 1.0, (0.0, 0.0))


@pytest.mark.slow
def test_energy_levels_rate_of_large_nucleus():
    """A pair of frames of 5 um without levels: the rate comes out, within three standard errors."""
    model = ChromatinModel()
    mask = nucleus(5000.0, 288, rng=3)
    rate = rate_pattern(mask, "gradient", 0.6, 0.3, 3)
    movie = simulate(model, mask, rate, [0.0, 300.0], before=800.0, step=10.0, rng=3)
    sample, levels = imaged(movie, 1e6, 3)
    known = Assumptions(**dict.fromkeys(("well", "mixing", "packed", "interface", "diffusion"), 0.0))
    settings = replace(SETTINGS, domains="map", assume=replace(known, acetylation=0.0, water=0.0))
    result = analyse_nucleus(sample, settings)
    assert result.rate is not None, result.error
    found = result.fields.attrs["threshold_heterochromatin"] if result.fields is not None else 0.0
    assert found == pytest.approx(levels.heterochromatin, rel=0.05)
    lam, exact = result.rate["lam"], rate.interp(x=result.rate["x"], y=result.rate["y"])
    error = float(((lam - exact) ** 2).sum() / (exact.where(lam.notnull()) ** 2).sum()) ** 0.5
    assert error < 0.1
    weight = result.rate["phi_e"].isel(t=0)
    mean = float((exact * weight).sum() / weight.where(exact.notnull()).sum())
    assert abs(result.numbers["rate"] - mean) < 3 * result.numbers["rate_total_sd"]
