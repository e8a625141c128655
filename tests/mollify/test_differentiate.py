"""Derivatives of measured values: arrays, tensors, labelled arrays, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr

import mollifier as mf
from mollifier.errors import DataError, GridError
from mollifier.mollify.differentiate import differentiate

GRID = mf.Grid(mf.Axis("x", 0.0, 1.0, 81), mf.Axis("t", 0.0, 2.0, 41))
X, T = np.meshgrid(GRID["x"].points, GRID["t"].points, indexing="ij")
U = X**2 * T**2


def labelled(**options) -> xr.DataArray:
    return xr.DataArray(
        U,
        dims=("x", "t"),
        coords={"x": ("x", GRID["x"].points, {"units": "m"}), "t": ("t", GRID["t"].points, {"units": "s"})},
        name="temperature",
        attrs={"units": "K", "long_name": "temperature"},
        **options,
    )


def test_differentiate_contract():
    grid = mf.Grid(mf.Axis("x", 0.0, 1.0, 128))
    x = grid["x"].points
    u_xx = mf.differentiate(np.sin(3 * x), grid, "u_xx", kernel=mf.BSpline(7), radius=0.08)
    assert u_xx.shape == (128,)
    # Measured 2.5e-5 inside and 1.1e-3 at the ends, where rows are one-sided.
    assert np.abs(u_xx + 9 * np.sin(3 * x))[12:-12].max() < 1e-4
    assert np.abs(u_xx + 9 * np.sin(3 * x)).max() < 5e-3


def test_differentiate_one_order_or_several():
    """One order gives an array and several a jet."""
    one = differentiate(U, GRID, "u_xxt", radius={"x": 0.2, "t": 0.5})
    np.testing.assert_allclose(one, 4 * T, atol=1e-9)
    jet = differentiate(U, GRID, ["u", "u_xxt", {"t": 1}], radius={"x": 0.2, "t": 0.5})
    assert isinstance(jet, mf.Jet)
    assert list(jet) == ["u", "u_txx", "u_t"]
    np.testing.assert_allclose(jet["u_xxt"], one, atol=1e-10)
    np.testing.assert_allclose(jet["u_t"], 2 * X**2 * T, atol=1e-10)
    np.testing.assert_allclose(differentiate(U, GRID, {"t": 1}, radius=0.4), jet["u_t"], atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_differentiate_batches_and_dtypes(dtype):
    values = np.stack([U, -2 * U])[:, None] * 1000
    got = differentiate(values.astype(dtype), GRID, "u_x", radius=0.3)
    assert got.shape == (2, 1, 81, 41)
    assert got.dtype == (np.float32 if dtype == np.float32 else np.float64)
    # Whole numbers are cut by up to 1 (sd 0.29), float32 rounds to 2e-4: 6 sd times the gain, 15 at a corner.
    np.testing.assert_allclose(got[1, 0], -4000 * X * T**2, atol=26 if dtype == np.int64 else 6e-3)


def test_differentiate_tensor():
    """A tensor gives a tensor with gradients."""
    u = torch.from_numpy(U).requires_grad_()
    u_x = differentiate(u, GRID, "u_x", radius=0.3)
    np.testing.assert_allclose(u_x.detach().numpy(), differentiate(U, GRID, "u_x", radius=0.3), atol=1e-11)
    u_x.sum().backward()
    assert torch.isfinite(u.grad).all()


def test_differentiate_imports_no_torch():
    code = (
        "import sys, numpy as np, mollifier as mf\n"
        "grid = mf.Grid(mf.Axis('x', 0.0, 1.0, 50))\n"
        "mf.differentiate(np.ones(50), grid, ['u', 'u_xx'], radius=0.2)\n"
        "assert not {'torch', 'xarray', 'sympy'} & set(sys.modules), set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# Labelled arrays


def test_differentiate_dataarray_grid_and_labels():
    """A labelled array brings its grid and keeps its labels."""
    array, radius = labelled().transpose("t", "x"), {"x": 0.2, "t": 0.5}
    got = mf.differentiate(array, order="u_xxt", radius=radius)
    assert got.dims == ("t", "x")
    assert got.name == "temperature_txx"
    assert got.attrs == {"units": "K/s/m^2"}
    xr.testing.assert_equal(got.x, array.x)
    np.testing.assert_allclose(got.transpose("x", "t").values, 4 * T, atol=1e-9)
    xr.testing.assert_allclose(got, mf.differentiate(array, GRID, "temperature_xxt", radius=radius))


def test_differentiate_dataarray_other_dimensions():
    """Dimensions without a coordinate or a radius are kept as they are."""
    stack = xr.concat([labelled(), 2 * labelled()], dim="replicate")
    jet = mf.differentiate(stack, order=["u", "u_x"], radius=0.3)
    assert jet["u_x"].shape == (2, 81, 41)
    np.testing.assert_allclose(jet["u_x"][1], 4 * X * T**2, atol=1e-10)
    along_x = mf.differentiate(stack, order="u_x", radius={"x": 0.3})  # not smoothed along t
    noisy = stack + xr.DataArray(np.sin(100 * GRID["t"].points), dims="t")
    np.testing.assert_allclose(mf.differentiate(noisy, order="u_x", radius={"x": 0.3}), along_x, atol=1e-10)


def test_differentiate_dataarray_trim():
    """Trimmed labels go with their values."""
    got = mf.differentiate(labelled(), order="u_x", radius={"x": 0.2}, boundary="trim")
    assert got.x.values.min() == pytest.approx(0.1875)
    np.testing.assert_allclose(got, 2 * got.x * got.t**2, atol=1e-10)


def test_differentiate_dataarray_periodic():
    """An attribute makes a coordinate periodic."""
    x = np.arange(32) / 32
    wave = xr.DataArray(np.sin(2 * np.pi * x), dims="x", coords={"x": ("x", x, {"periodic": 1.0})})
    got = mf.differentiate(wave, order="u_x", radius=0.25)
    error = np.abs(got.values / (2 * np.pi) - np.cos(2 * np.pi * x))
    assert (
        error.max() < 3e-3
    )  # (c r)^4 = 6 times the kernel's fourth moment; the ends are as good as the middle
    assert error[0] == pytest.approx(error[16], rel=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_differentiate_refuses_a_periodic_axis_with_its_first_value_again(noise):
    """Its period would be one step too long, and derivatives at the seam wrong, without a word."""
    x = np.linspace(0, 2 * np.pi, 65)
    waves = np.sin(x) + np.cos(3 * x) + noise * np.random.default_rng(0).normal(size=(20, 65))
    array = xr.DataArray(waves, dims=("n", "x"), coords={"x": ("x", x, {"periodic": True})})
    grid = mf.Grid(mf.Axis.from_points("x", x, periodic=True))
    for given in ((array,), (waves, grid)):
        with pytest.raises(GridError, match=r"along the periodic axis 'x' repeat the first"):
            mf.differentiate(*given, order="u_x", radius=0.5)
    assert mf.differentiate(array.isel(x=slice(-1)), order="u_x", radius=0.5).shape == (20, 64)


def test_differentiate_dataarray_keeps_a_dimension_of_names():
    array = labelled().expand_dims(member=["a", "b"])
    got = mf.differentiate(array, order="temperature_x", radius={"x": 0.2})
    assert np.array_equal(got, array.mollifier.differentiate("temperature_x", radius={"x": 0.2}))
    assert got.dims == array.dims
    assert mf.differentiate(array, order="temperature_x", radius=0.2).dims == array.dims


def test_differentiate_dataarray_units():
    """Units that are composed or missing are dropped."""
    array = labelled()
    array.x.attrs["units"] = "m/s"
    assert mf.differentiate(array, order="u_x", radius=0.3).attrs == {}
    assert mf.differentiate(array, order="u", radius=0.3).attrs == {"units": "K"}


# Accuracy


def test_differentiate_convergence_in_radius():
    """Order 2, accuracy 3: r^4 inside (parity lends one), r^3 at the ends."""
    grid = mf.Grid(mf.Axis("x", 0.0, 1.0, 401))
    wave, radii = np.sin(3 * grid["x"].points + 0.4), np.array([0.1, 0.14, 0.2])
    errors = [np.abs(differentiate(wave, grid, "u_xx", radius=r) + 9 * wave)[[200, 0]] for r in radii]
    inside, end = (np.polyfit(np.log(radii), np.log(e), 1)[0] for e in np.array(errors).T)
    assert inside == pytest.approx(4, abs=0.1)
    assert end == pytest.approx(3, abs=0.3)


# What is refused

BROKEN = U.copy()
BROKEN[3, 4], BROKEN[5, 6] = np.nan, np.inf


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (
            lambda: differentiate(U.T, GRID, "u_x", radius=0.3),
            DataError,
            r"shape \(41, 81\) .* should be \(81, 41\)",
        ),
        (lambda: differentiate(U[0], GRID, "u_x", radius=0.3), DataError, r"shape \(41,\)"),
        (lambda: differentiate(BROKEN, GRID, "u_x", radius=0.3), DataError, r"2 of 3321 values are missing"),
        (
            lambda: differentiate(torch.tensor(BROKEN), GRID, "u_x", radius=0.3),
            DataError,
            r"2 of 3321 values",
        ),
        (
            lambda: differentiate(np.ma.masked_greater(U, 3.9), GRID, "u_x", radius=0.3),
            DataError,
            "values are missing .* InverseProblem",
        ),
        (lambda: differentiate(U * 1j, GRID, "u_x", radius=0.3), DataError, "real and imaginary"),
        (lambda: differentiate(torch.tensor(U * 1j), GRID, "u_x", radius=0.3), DataError, "real numbers"),
        (lambda: differentiate(U.astype(str), GRID, "u_x", radius=0.3), DataError, "turn text into numbers"),
        (lambda: differentiate(U, None, "u_x", radius=0.3), GridError, "give the grid"),
        (lambda: differentiate(U, GRID, "u_y", radius=0.3), GridError, "no derivative along"),
        (lambda: differentiate(U, GRID, "u_temp", radius=0.3), GridError, "no derivative along"),
        (lambda: differentiate(U, GRID, {"y": 1}, radius=0.3), GridError, "not a coordinate"),
        (lambda: differentiate(U, GRID, "u_x", radius=0.0), GridError, "positive length"),
        (
            lambda: differentiate(U, GRID, "u_x", radius={"x": 0.3}),
            GridError,
            r"No radius was given for \['t'\]",
        ),
        (
            lambda: differentiate(U, GRID, "u_xxxx", radius={"x": 0.03, "t": 0.5}),
            GridError,
            "needs .* nodes under the kernel",
        ),
        (lambda: differentiate(U, GRID, "u" + "_" + "x" * 9, radius=0.5), GridError, "take a higher degree"),
        (
            lambda: differentiate(U, GRID, "u_x", radius=0.3, boundary="halo"),
            GridError,
            "have no halo outside their grid",
        ),
        (
            lambda: differentiate(
                U[:1, :1], mf.Grid(mf.Axis("x", 0, 0, 1), mf.Axis("t", 0, 0, 1)), "u_x", radius=1
            ),
            GridError,
            "has one point",
        ),
        (lambda: differentiate(labelled().to_dataset(), order="u_x", radius=0.3), DataError, "name one"),
        (
            lambda: differentiate(labelled().rename(t="time"), GRID, "u_x", radius=1),
            GridError,
            "no dimension 't'",
        ),
        (
            lambda: differentiate(labelled()[::2], GRID, "u_x", radius=1),
            DataError,
            "has 41 values; the grid has 81",
        ),
        (
            lambda: differentiate(labelled().assign_coords(x=GRID["x"].points * 2), GRID, "u_x", radius=1),
            DataError,
            "is not the grid's",
        ),
        (lambda: differentiate(labelled()[::-1], order="u_x", radius=1), GridError, r"sortby\('x'\)"),
        (
            lambda: differentiate(labelled().isel(x=[0, 1, 1, *range(2, 40)]), order="u_x", radius=1),
            GridError,
            "repeats at index 2",
        ),
        (
            lambda: differentiate(labelled().isel(x=[0]), order="temperature_x", radius=1),
            GridError,
            "has one point",
        ),
        (
            lambda: differentiate(xr.DataArray(U), order="u_x", radius=1),
            GridError,
            "have no coordinates",
        ),
        (
            lambda: differentiate(labelled(), order="u_x", radius={"tt": 1.0}),
            GridError,
            "Did you mean 't'",
        ),
        (
            lambda: differentiate(
                labelled().assign_coords(t=np.datetime64("2024-01-01") + np.arange(41)), order="u_x", radius=1
            ),
            GridError,
            "timedelta64",
        ),
    ],
)
def test_differentiate_refusals(make, error, says):
    with pytest.raises(error, match=says):
        make()
