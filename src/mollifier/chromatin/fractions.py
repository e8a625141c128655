"""Volume fractions of nucleoplasm, euchromatin and heterochromatin from a density or an image.

A signal between the levels of pure phases is a mixture of them (the lever rule); its noise is that of the
density, or of the camera.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import xarray as xr
from scipy.ndimage import convolve, uniform_filter
from scipy.optimize import nnls

from mollifier.chromatin.ranges import named, require
from mollifier.chromatin.rasters import on_grid
from mollifier.chromatin.resolution import FWHM
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array

_BINS, _ENOUGH = 24, 400  # Bins of brightness, and fewest pixels.


@dataclass(frozen=True)
class Camera:
    """A camera: counts = offset + gain * electrons, with shot noise and read noise."""

    gain: float  #: Counts per photoelectron.
    offset: float = 0.0  #: Counts without light.
    read_noise: float = 0.0  #: Standard deviation of the read noise, in electrons.

    def __post_init__(self) -> None:
        require({"camera.gain": self.gain}, above=True)
        require({"camera.read_noise": self.read_noise})
        require({"camera.offset": self.offset}, low=-math.inf)

    def sd(self, counts: Array) -> Array:
        """Standard deviation of counts from shot noise and read noise, shape as ``counts``.

        >>> Camera(gain=2.0, offset=100.0, read_noise=1.5).sd(np.array([100.0, 900.0]))
        array([ 3.        , 40.11234224])
        """
        electrons = np.maximum(counts - self.offset, 0.0) / self.gain
        return self.gain * np.sqrt(electrons + self.read_noise**2)


def camera_from_image(image: xr.DataArray) -> Camera:
    """Gain and read noise from one image, by the photon transfer line var = gain * (counts - offset).

    The variance is that of a Laplacian difference (Immerkaer, Comput. Vis. Image Underst. 64:300, 1996) in
    bins of brightness, by the median absolute deviation. Texture as fine as the pixels counts as noise, so
    this is an upper bound on an image that is not oversampled. Raises `DataError` if there are fewer than 400
    pixels, or no noise shows.
    """
    mask = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0]) / 6.0
    other = [d for d in image.dims if d not in ("x", "y")]
    planes = image.transpose(*other, "x", "y").values.reshape(-1, image.sizes["x"], image.sizes["y"])
    rough = np.concatenate([convolve(p, mask)[1:-1, 1:-1].ravel() for p in planes])
    level = np.concatenate([uniform_filter(p, 3)[1:-1, 1:-1].ravel() for p in planes])
    good = np.isfinite(rough) & np.isfinite(level)
    rough, level = rough[good], level[good]
    if rough.size < _ENOUGH:
        raise DataError(
            f"{rough.size} pixels are too few to estimate the noise of the camera; give Camera(gain=...)."
        )
    bins = np.array_split(np.argsort(level), _BINS)
    mean = np.array([level[b].mean() for b in bins])
    variance = np.array([(1.4826 * np.median(np.abs(rough[b]))) ** 2 for b in bins])
    if not (variance > 0).any():
        raise DataError("The image has no noise: was it smoothed or rendered? Give Camera(gain=...).")
    # Variances have equal relative errors: weights are their inverses.
    weight = 1 / np.maximum(variance, 1e-3 * variance.max())
    (slope, base), _ = nnls(np.stack([mean, np.ones_like(mean)], axis=1) * weight[:, None], variance * weight)
    if slope == 0:
        # The noise does not depend on brightness: read noise alone.
        return Camera(1.0, float(mean.max()), math.sqrt(base))
    return Camera(float(slope), 0.0, math.sqrt(base) / float(slope))


# Background of a signal that has none.
NO_BACKGROUND = -math.inf
FRACTIONS = ("phi_n", "phi_e", "phi_h", "phi_d")
# Nodes, in standard deviations, and weights of means over a normal error.
_ERRORS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(16)


@dataclass(frozen=True)
class Thresholds:
    """Levels of the three phases in the signal; they are assumptions, and part of the result.

    A signal between two levels is a mixture of the two phases with these levels, in the proportion of the
    lever rule; above the last it is heterochromatin. One signal does not determine three fractions without
    such a rule. Raises `ConfigurationError` if a quantile or a volume fraction does not lie between 0 and 1.

    >>> Thresholds(heterochromatin_quantile=0.8).heterochromatin_quantile
    0.8
    """

    #: Level of nucleoplasm alone, in the units of the signal; by default 0 for a density and the quantile
    #: ``background_quantile`` of the whole plane for an image.
    background: float | None = None
    #: Levels of these phases; by default quantiles of the signal inside the nucleus, over all frames.
    euchromatin: float | None = None
    heterochromatin: float | None = None
    #: Quantiles for levels that are not given.
    background_quantile: float = 0.05
    euchromatin_quantile: float = 0.3
    heterochromatin_quantile: float = 0.9
    #: Volume fraction of nucleoplasm within these phases; with 0, fractions are relative to the packing of
    #: each phase.
    euchromatin_water: float = 0.0
    heterochromatin_water: float = 0.0
    floor: float = 0.01  #: Smallest standard error of a fraction, for errors of the levels.
    #: Treat the signal as a mixture of euchromatin and heterochromatin alone, each with its nucleoplasm. The
    #: line between their levels is extrapolated, so that noise is not clipped and causes no bias.
    two_phases: bool = False

    def __post_init__(self) -> None:
        shares = [n for n in asdict(self) if n.endswith(("quantile", "water")) or n == "floor"]
        require(named("levels.", self, *shares), high=1.0)

    @property
    def given(self) -> bool:
        """Whether the levels of both phases are numbers, none of them a quantile of a nucleus."""
        return self.euchromatin is not None and self.heterochromatin is not None

    @classmethod
    def of(cls, result: xr.Dataset) -> Self:
        """The levels behind a result of `fractions`, to apply them to another cell."""
        return cls(**{n: result.attrs[f"threshold_{n}"] for n in cls.__dataclass_fields__})


def mixture(value: Array, sd: Array, levels: Thresholds) -> dict[str, tuple[Array, Array]]:
    """Fractions at each value of the signal, and their standard deviations for normal errors of the signal.

    Arrays of any one shape; a pair (fraction, standard deviation) for each name in ``FRACTIONS``. The
    standard deviations are by Gauss-Hermite quadrature: exact along a line, and to 2 % at a level.
    """
    at = mixed(value, levels)
    first, second = ({n: np.zeros_like(value) for n in FRACTIONS} for _ in range(2))
    for error, weight in zip(_ERRORS, _WEIGHTS / _WEIGHTS.sum(), strict=True):
        for name, moved in mixed(value + error * sd, levels).items():
            change = moved - at[name]
            first[name] += weight * change
            second[name] += weight * change**2
    return {n: (at[n], np.sqrt(second[n] - first[n] ** 2 + levels.floor**2)) for n in FRACTIONS}


def mixed(value: Array, levels: Thresholds) -> dict[str, Array]:
    """Fractions at each value of the signal, for each name in ``FRACTIONS``."""
    knots = np.array([levels.background, levels.euchromatin, levels.heterochromatin], dtype=np.float64)
    e, h = 1 - levels.euchromatin_water, 1 - levels.heterochromatin_water
    heights = ([1, 1 - e, 1 - h], [0, e, 0], [0, 0, h], [0, -e, h])
    rule = dict(zip(FRACTIONS, np.array(heights, dtype=np.float64), strict=True))
    if levels.two_phases:
        share = (value - knots[1]) / (knots[2] - knots[1])
        return {n: at[1] + (at[2] - at[1]) * share for n, at in rule.items()}
    return {n: np.interp(value, knots, at) for n, at in rule.items()}


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


def _levels(chosen: Thresholds, inside: Array, ground: float) -> Thresholds:
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
