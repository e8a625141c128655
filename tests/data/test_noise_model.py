"""Noise as it is declared: words, sizes, shapes, and what survives selection and saving."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.data.noise_model import NoiseEffect, smoothed
from mollifier.errors import DataError

X, T = np.linspace(0, 1, 12), np.linspace(0, 2, 9)
U = np.exp(-T) * (2 + np.sin(6 * X[:, None]))
RMS = float(np.sqrt(np.mean(U**2)))


def observed(noise):
    data = xr.Dataset({"u": (("x", "t"), U)}, {"x": X, "t": T})
    return mf.Observations.from_dataset(data, noise={"u": noise})


def test_declared_sizes():
    """Gains are relative to the value, offsets fractions of rms; the independent part is as given."""
    obs = observed({"fraction": 0.01, "sensor_gain": 0.02, "frame_offset": 0.03})
    assert obs.noise_sd("u") == pytest.approx(0.01 * RMS)
    gain, offset = obs.noise_effects("u")
    assert (gain.kind, gain.sd, gain.gain) == ("sensor_gain", 0.02, True)
    assert (offset.kind, offset.gain) == ("frame_offset", False)
    assert offset.sd == pytest.approx(0.03 * RMS)


def test_declared_relative():
    obs = observed({"relative": 0.02, "sd": 0.01})
    expected = np.hypot(0.01, 0.02 * smoothed(U))
    np.testing.assert_allclose(obs.samples("u").sd, expected.ravel())
    assert observed({"distribution": "log-normal", "fraction": 0.02}).noise_sd("u") < 0.03 * U.max()


def test_level_of_relative_noise_follows_waves_of_few_nodes():
    """Standard errors of noise that grows with the value are within 30 % of the true ones on average."""
    x, t = np.linspace(0, 1, 12), np.linspace(0, 1, 30)
    u = np.exp(-t) * np.cos(11 * x[:, None] + 3 * t)
    true = np.sqrt(np.mean(u**2)) * 0.05
    ratio = np.maximum(np.abs(smoothed(u)), true) / np.maximum(np.abs(u), true)
    assert np.exp(np.mean(np.abs(np.log(ratio)))) < 1.3


def test_declared_survives_selection_and_ends_with_new_noise():
    obs = observed({"fraction": 0.01, "sensor_gain": 0.02})
    assert obs.window(t=(0, 1)).noise_effects("u") == obs.noise_effects("u")
    again = mf.Observations.from_dataset(obs.dataset)
    assert again.noise_effects("u") == obs.noise_effects("u")
    assert again.noise_sd("u") == obs.noise_sd("u")
    assert mf.Observations.from_dataset(obs.dataset, noise=0.05).noise_effects("u") == ()


def test_effect_shapes():
    """Each effect is a product over the axes, of unit variance at every value."""
    nodes = {"x": X, "t": T}
    shapes = {
        "sensor_gain": (12, 1),
        "frame_offset": (1, 9),
        "offset": (1, 1),
        "drift": (1, 1),
    }
    for kind, shape in shapes.items():
        factors = NoiseEffect(kind, 1.0).factors(nodes)
        assert tuple(f.shape[1] for f in factors) == shape
        assert np.mean(np.outer(*((f**2).sum(1) for f in factors))) == pytest.approx(1.0)
    _, along = NoiseEffect("correlated", 1.0, "t", 0.5).factors(nodes)
    np.testing.assert_allclose(along @ along.T, np.exp(-np.abs(T[:, None] - T) / 0.5), atol=0.02)


@pytest.mark.parametrize("kind", ["sensor_gain", "frame_offset", "offset", "drift", "correlated"])
def test_effect_at_places_is_that_on_the_grid(kind):
    """Shapes at the places of a grid, in any order, give the covariance of the products over its axes."""
    effect = NoiseEffect(kind, 0.5, *(("t", 0.3) if kind == "correlated" else ()))
    along = effect.factors({"x": X, "t": T})
    covariance = 0.25 * np.kron(*(f @ f.T for f in along))
    order = np.random.default_rng(0).permutation(X.size * T.size)
    x, t = (v.ravel()[order] for v in np.meshgrid(X, T, indexing="ij"))
    found = effect.at({"x": x, "t": t})
    np.testing.assert_allclose((found @ found.T).toarray(), covariance[np.ix_(order, order)], atol=1e-12)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"sensor_gian": 0.02}, "Did you mean 'sensor_gain'"),
        ({"sensor_gain": "much"}, "sensor_gain was given as 'much'"),
        ({"fraction": -1}, "fraction was given as -1"),
        ({"distribution": "cauchy"}, "no distribution 'cauchy'"),
        ({"correlated": 0.1}, "one axis and a length"),
    ],
)
def test_declared_refused(noise, message):
    with pytest.raises(DataError, match=message):
        observed(noise)


def test_declared_needs_its_axis():
    with pytest.raises(DataError, match="an axis of time"):
        NoiseEffect("sensor_gain", 0.1).factors({"x": X, "y": T})


def test_declared_in_problem_file(tmp_path):
    mf_file = tmp_path / "p.yaml"
    data = xr.Dataset({"u": (("x", "t"), U)}, {"x": X, "t": T})
    data.to_netcdf(tmp_path / "u.nc")
    mf_file.write_text(
        "equation: u_t = D*u_xx\nunknowns: {D: {}}\n"
        "data: {file: u.nc, noise: {u: {fraction: 0.01, sensor_gain: 0.02, correlated: {t: 0.3}}}}\n"
    )
    from mollifier.problem.problem_file import load

    kinds = [e.kind for e in load(mf_file).problem().data.noise_effects("u")]
    assert kinds == ["sensor_gain", "correlated"]
