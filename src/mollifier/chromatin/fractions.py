"""Volume fractions of nucleoplasm, euchromatin and heterochromatin from a density or an image."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.chromatin.camera import Camera, camera_from_image
from mollifier.chromatin.lever_rule import Thresholds, mixture
from mollifier.chromatin.rasters import on_grid
from mollifier.chromatin.resolution import FWHM
from mollifier.errors import DataError


def fractions(
    signal: xr.Dataset | xr.DataArray,
    mask: xr.DataArray | None = None,
    *,
    thresholds: Thresholds | None = None,
    camera: Camera | None = None,
    psf_sd: float | None = None,
) -> xr.Dataset:
    """Volume fractions phi_n + phi_e + phi_h = 1, and phi_d = phi_h - phi_e, with standard errors.

    Parameters
    ----------
    signal
        A result of `density`, or an image of counts over x and y (and t): the whole plane, from which the
        background and the noise of the camera are estimated too.
    mask
        The nucleus, over x and y (and t), on any grid; the result is cropped to it; by default the whole
        plane.
    thresholds
        Levels and quantiles; `Thresholds` by default.
    camera
        Camera of an image, for the noise of each pixel; by default estimated from the image.
    psf_sd
        Standard deviation of the point-spread function in nm. The blur is not removed: it sets the resolution
        in the result.

    Returns
    -------
    xarray.Dataset
        ``phi_n``, ``phi_e``, ``phi_h``, ``phi_d`` and their ``_sd`` over (x, y) or (x, y, t), NaN outside;
        every level as ``threshold_...``, the resolution in nm and a note on it in the attributes.
        `mf.Observations.from_dataset` takes it as it is.

    Raises
    ------
    DataError
        If the levels do not increase (background < euchromatin < heterochromatin), or the mask is empty.

    Examples
    --------
    >>> x = 100.0 * np.arange(32)
    >>> counts = np.random.default_rng(0).poisson(100 + 3 * np.arange(32) * np.ones((32, 1))).astype(float)
    >>> image = xr.DataArray(counts, {"x": x, "y": x}, ("x", "y"))
    >>> phi = fractions(image, thresholds=Thresholds(background=90), camera=Camera(gain=1.0))
    >>> bool(np.allclose(phi.phi_n + phi.phi_e + phi.phi_h, 1)), phi.attrs["resolution"]
    (True, 200.0)
    """
    chosen = thresholds or Thresholds()
    value, sd, attrs = measured(signal, camera, psf_sd)
    if mask is not None:
        inside = within(mask, value)
        if not inside.any():
            raise DataError("The mask is empty on the signal's pixels. Are both in nm and from one origin?")
        box = {n: inside.any([d for d in inside.dims if d != n]).values for n in ("x", "y")}
        value, sd = (a.where(inside).isel(box) for a in (value, sd))
    chosen = _levels(chosen, value.values, background(signal, chosen))
    # NetCDF attributes have no booleans.
    each = asdict(chosen).items()
    attrs |= {f"threshold_{n}": int(v) if isinstance(v, bool) else v for n, v in each}
    data = {}
    for name, (mean, error) in mixture(value.values, sd.values, chosen).items():
        data[name] = (value.dims, mean, {"units": "1", "standard_error": f"{name}_sd"})
        data[f"{name}_sd"] = (value.dims, error, {"units": "1"})
    coords = {n: value[n].variable for n in value.dims}
    return xr.Dataset(data, coords, attrs)


def measured(
    signal: xr.Dataset | xr.DataArray, camera: Camera | None, psf_sd: float | None
) -> tuple[xr.DataArray, xr.DataArray, dict[str, str | float | int]]:
    """Signal and its standard error over (x, y[, t]), and attributes of the result."""
    if isinstance(signal, xr.Dataset):
        if not {"density", "density_sd"} <= set(signal.data_vars):
            raise DataError(
                f"A dataset with {sorted(map(str, signal))} was given; a result of density was expected."
            )
        resolution = float(signal.attrs.get("resolution", math.nan))
        attrs = {k: v for k, v in signal.attrs.items() if k != "resolution"}
        value, sd = signal["density"], signal["density_sd"]
    else:
        dims = [d for d in ("x", "y", "t") if d in signal.dims]
        extra = [str(d) for d in signal.dims if d not in dims]
        if extra:
            raise DataError(
                f"An image over {signal.dims} was given; choose one of {extra}, as image.isel({extra[0]}=30)."
            )
        value = signal.transpose(*dims).astype(np.float64)
        seen = camera or camera_from_image(value)
        sd = value.copy(data=seen.sd(value.values))
        pixel = max(float(value[n][1] - value[n][0]) for n in ("x", "y"))
        resolution = max(2 * pixel, FWHM * (psf_sd or 0.0))
        source = {k: v for k, v in signal.attrs.items() if k != "units"}
        attrs = {**source, "camera_gain": seen.gain, "camera_offset": seen.offset}
        attrs |= {"camera_read_noise": seen.read_noise, "camera_from": "given" if camera else "the image"}
        attrs |= {"blur_sd": psf_sd} if psf_sd is not None else {}
    note = f"Domains finer than {resolution:.3g} nm are not resolved."
    if not isinstance(signal, xr.Dataset) and psf_sd is None:
        note += " The blur (psf_sd) was not given: this is two pixels, and the true one may be coarser."
    return value, sd, attrs | {"resolution": resolution, "length_unit": "nm", "note": note}


def field_of(signal: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """The density of a result of `density`, or the image itself."""
    return signal["density"] if isinstance(signal, xr.Dataset) else signal


def background(signal: xr.Dataset | xr.DataArray, chosen: Thresholds) -> float:
    """Level without chromatin: as given; of a density 0, or as it states; of an image a quantile."""
    if chosen.background is not None:
        return float(chosen.background)
    if isinstance(signal, xr.Dataset):
        return float(signal.attrs.get("background", 0.0))
    return float(np.nanquantile(signal.values, chosen.background_quantile))


def within(mask: xr.DataArray, value: xr.DataArray) -> xr.DataArray:
    """The mask on the pixels of the signal; frame by frame where it moves."""
    x, y = value["x"].values, value["y"].values
    coords = {"x": value["x"], "y": value["y"]}
    if "t" not in mask.dims:
        return xr.DataArray(on_grid(mask, x, y), coords, ("x", "y"))
    if "t" not in value.dims or mask.sizes["t"] != value.sizes["t"]:
        raise DataError(f"The mask has {mask.sizes['t']} frames and the signal {value.sizes.get('t', 1)}.")
    frames = [on_grid(mask.isel(t=k), x, y) for k in range(mask.sizes["t"])]
    return xr.DataArray(np.stack(frames, axis=-1), {**coords, "t": value["t"]}, ("x", "y", "t"))


def _levels(chosen: Thresholds, inside: NDArray[np.float64], ground: float) -> Thresholds:
    """The thresholds with every level as a number."""
    finite = inside[np.isfinite(inside)]
    if finite.size == 0:
        raise DataError("The signal has no value inside the mask.")
    levels: dict[str, Any] = {"background": ground}
    for name in ("euchromatin", "heterochromatin"):
        given, share = getattr(chosen, name), getattr(chosen, f"{name}_quantile")
        levels[name] = float(np.quantile(finite, share)) if given is None else float(given)
    e, h = levels["euchromatin"], levels["heterochromatin"]
    if not ground < e < h:
        raise DataError(
            f"The levels are background {ground:.4g}, euchromatin {e:.4g} and heterochromatin {h:.4g}; "
            "increasing levels were expected. Give them, as Thresholds(background=..., euchromatin=..., "
            "heterochromatin=...), or other quantiles."
        )
    return replace(chosen, **levels)
