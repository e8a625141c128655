"""Large nuclei: test functions and the map of rates on blocks of pixels."""

import numpy as np
import pytest
import xarray as xr

from mollifier.chromatin.modes import modes
from mollifier.chromatin.signals import for_rate


def test_modes_on_blocks_of_large_disc():
    """The first zeros of J1', J2' and J0', as for a small disc, and orthonormal functions."""
    place = np.arange(-102, 102) + 0.5
    waves = modes(np.hypot(place[:, None], place) < 100.0, 1.0, 40.0)
    expected = np.array([0, 1.8412, 1.8412, 3.0542, 3.0542, 3.8317])
    np.testing.assert_allclose(100 * np.sqrt(waves.values[:6]), expected, rtol=0.01, atol=1e-9)
    np.testing.assert_allclose(waves.project(waves.functions), np.eye(len(waves.values)), atol=1e-9)
    assert np.ptp(waves.functions[:, 0]) < 1e-9
    # They are those of the pixels: nearly all of each lies in the span of the exact ones.
    exact = modes(np.hypot(place[::2, None] + 0.5, place[::2] + 0.5) < 100.0, 2.0, 40.0)
    assert len(exact.values) == len(waves.values)
    np.testing.assert_allclose(exact.values[1:30], waves.values[1:30], rtol=0.02)


def test_rate_fields_on_blocks(monkeypatch):
    """Integrals of the fractions stay, and errors average out over areas larger than that of the noise."""
    rng = np.random.default_rng(0)
    x = 10.0 * np.arange(40)
    names = ("phi_d", "phi_h")
    fields = xr.Dataset({n: (("x", "y"), rng.random((40, 40))) for n in names}, {"x": x, "y": x})
    fields = fields.assign(phi_d_sd=xr.full_like(fields["phi_d"], 0.1)).assign_attrs(
        noise_area=400.0, pixel=10.0
    )
    assert for_rate(fields) is fields
    monkeypatch.setattr("mollifier.chromatin.signals._MOST_PIXELS", 100)
    found = for_rate(fields)
    assert found.sizes == {"x": 10, "y": 10}
    assert float(found["x"][0]) == 15.0
    for name in names:
        assert float(found[name].mean()) == pytest.approx(float(fields[name].mean()))
    assert float(found["phi_d_sd"][0, 0]) == pytest.approx(0.1 * np.sqrt(400.0 / 40.0**2))
    assert found.attrs["noise_area"] == 1600.0
