"""Density or image to volume fractions of nucleoplasm, euchromatin and heterochromatin, with error bars."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import convolve, uniform_filter
from scipy.optimize import nnls
from scipy.special import ndtr

from mollifier.chromatin.density import FWHM, on_grid
from mollifier.errors import ConfigurationError, DataError

Array = NDArray[np.float64]

FRACTIONS = ("phi_n", "phi_e", "phi_h", "phi_d")
_BINS = 24
_ENOUGH = 400


@dataclass(frozen=True)
class Thresholds:
    """How a signal is read as a mixture of three phases; all of it is assumed, and shown in the result.

    A signal between two levels is a mixture of the two phases that have these levels, in the proportion of
    the lever rule; above the last it is heterochromatin. One signal cannot tell three fractions apart
    without such a rule.

    Attributes
    ----------
    background
        Level of nucleoplasm alone, in the units of the signal. 0 for a density where absent; for an image
        the quantile ``background_quantile`` of the whole plane.
    euchromatin, heterochromatin
        Levels of these phases; where absent the quantiles of the signal inside the nucleus, over all
        frames together.
    background_quantile, euchromatin_quantile, heterochromatin_quantile
        Used where the level itself is not given.
    euchromatin_water, heterochromatin_water
        Volume fraction of nucleoplasm within these phases. 0 counts fractions relative to each phase at
        its own packing.
    floor
        Least standard error of a fraction, for what the levels themselves leave open.
    two_phases
        Take the signal for a mixture of euchromatin and heterochromatin alone, each with its own water. The
        line between their levels goes on beyond them, so that noise is not cut off and leaves no bias.

    Raises
    ------
    ConfigurationError
        If a quantile or a volume fraction does not lie between 0 and 1.

    Examples
    --------
    >>> Thresholds(heterochromatin_quantile=0.8).heterochromatin_quantile
    0.8
    """

    background: float | None = None
    euchromatin: float | None = None
    heterochromatin: float | None = None
    background_quantile: float = 0.05
    euchromatin_quantile: float = 0.3
    heterochromatin_quantile: float = 0.9
    euchromatin_water: float = 0.0
    heterochromatin_water: float = 0.0
    floor: float = 0.01
    two_phases: bool = False

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            bounded = name.endswith(("quantile", "water")) or name == "floor"
            if bounded and not 0 <= value <= 1:
                raise ConfigurationError(f"{name} was given as {value}; a number from 0 to 1 was expected.")

    @classmethod
    def of(cls, result: xr.Dataset) -> Self:
        """The levels that a result of `fractions` was made with, to read another cell by the same ones."""
        return cls(**{n: result.attrs[f"threshold_{n}"] for n in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Camera:
    """What a camera adds to the light: counts = offset + gain * electrons, and noise on reading.

    Attributes
    ----------
    gain
        Counts for one photoelectron.
    offset
        Counts in the dark.
    read_noise
        Standard deviation on reading, in electrons.
    """

    gain: float
    offset: float = 0.0
    read_noise: float = 0.0

    def __post_init__(self) -> None:
        if not (self.gain > 0 and self.read_noise >= 0 and math.isfinite(self.offset)):
            raise ConfigurationError(
                f"{self} was given; gain above 0 and read_noise of 0 or more were expected."
            )

    def sd(self, counts: Array) -> Array:
        """Standard deviation of counts, from shot noise and reading; same shape.

        Examples
        --------
        >>> Camera(gain=2.0, offset=100.0, read_noise=1.5).sd(np.array([100.0, 900.0]))
        array([ 3.        , 40.11234224])
        """
        electrons = np.maximum(counts - self.offset, 0.0) / self.gain
        return self.gain * np.sqrt(electrons + self.read_noise**2)


def camera_from_image(image: xr.DataArray) -> Camera:
    """Gain and read noise from one image, by the photon transfer line var = gain * (counts - offset).

    The variance is that of a Laplacian difference (Immerkaer, Comput. Vis. Image Underst. 64:300, 1996) in
    bins of brightness, by the median absolute deviation. Texture as fine as the pixels counts as noise, so
    this is an upper bound on an image that is not oversampled.

    Raises
    ------
    DataError
        If there are fewer than 400 pixels, or no noise shows.
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
            f"{rough.size} pixels are too few to see the camera's noise in; give Camera(gain=...)."
        )
    bins = np.array_split(np.argsort(level), _BINS)
    mean = np.array([level[b].mean() for b in bins])
    variance = np.array([(1.4826 * np.median(np.abs(rough[b]))) ** 2 for b in bins])
    if not (variance > 0).any():
        raise DataError("No noise shows in the image: is it smoothed or rendered? Give Camera(gain=...).")
    # Relative errors of the variances are alike: rows are weighed by the variances themselves.
    weight = 1 / np.maximum(variance, 1e-3 * variance.max())
    (slope, base), _ = nnls(np.stack([mean, np.ones_like(mean)], axis=1) * weight[:, None], variance * weight)
    if slope == 0:
        # All of it is alike at every brightness: reading noise of a camera whose gain does not matter.
        return Camera(1.0, float(mean.max()), math.sqrt(base))
    return Camera(float(slope), 0.0, math.sqrt(base) / float(slope))


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
        A result of `density`, or an image of counts over x and y (and t): the whole plane, because the
        background and the camera's noise are read off it too.
    mask
        The nucleus, over x and y (and t), on any grid; the result is cropped to it. All where absent.
    thresholds
        Levels and quantiles; `Thresholds` by default.
    camera
        Of an image, for the noise of each pixel; estimated from the image where absent.
    psf_sd
        Standard deviation of the microscope's blur in nm. Blur is not undone: it sets the resolution that
        the result states.

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
    value, sd, attrs = _signal(signal, camera, psf_sd)
    whole = value.values
    if mask is not None:
        inside = _where(mask, value)
        if not inside.any():
            raise DataError("The mask is empty on the signal's pixels. Are both in nm and from one origin?")
        box = {n: inside.any([d for d in inside.dims if d != n]).values for n in ("x", "y")}
        value, sd = (a.where(inside).isel(box) for a in (value, sd))
    chosen = _levels(chosen, value.values, whole, isinstance(signal, xr.Dataset))
    columns = [f"threshold_{n}" for n in asdict(chosen)]
    # Files know no truth values.
    shown = [int(v) if isinstance(v, bool) else v for v in asdict(chosen).values()]
    attrs |= dict(zip(columns, shown, strict=True))
    data = {}
    for name, (mean, error) in _mixture(value.values, sd.values, chosen).items():
        data[name] = (value.dims, mean, {"units": "1", "standard_error": f"{name}_sd"})
        data[f"{name}_sd"] = (value.dims, error, {"units": "1"})
    coords = {n: value[n].variable for n in value.dims}
    return xr.Dataset(data, coords, attrs)


def _signal(
    signal: xr.Dataset | xr.DataArray, camera: Camera | None, psf_sd: float | None
) -> tuple[xr.DataArray, xr.DataArray, dict[str, str | float | int]]:
    """Signal and its standard error over (x, y[, t]), and what is to be said of them."""
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
        told = {k: v for k, v in signal.attrs.items() if k != "units"}
        attrs = {**told, "camera_gain": seen.gain, "camera_offset": seen.offset}
        attrs |= {"camera_read_noise": seen.read_noise, "camera_from": "given" if camera else "the image"}
        attrs |= {"blur_sd": psf_sd} if psf_sd is not None else {}
    note = f"Domains finer than {resolution:.3g} nm are not resolved."
    if not isinstance(signal, xr.Dataset) and psf_sd is None:
        note += " The microscope's blur was not given (psf_sd), so this is two pixels, and may be coarser."
    return value, sd, attrs | {"resolution": resolution, "length_unit": "nm", "note": note}


def _where(mask: xr.DataArray, value: xr.DataArray) -> xr.DataArray:
    """The mask on the pixels of the signal; frame by frame where it moves."""
    x, y = value["x"].values, value["y"].values
    coords = {"x": value["x"], "y": value["y"]}
    if "t" not in mask.dims:
        return xr.DataArray(on_grid(mask, x, y), coords, ("x", "y"))
    if "t" not in value.dims or mask.sizes["t"] != value.sizes["t"]:
        raise DataError(f"The mask has {mask.sizes['t']} frames and the signal {value.sizes.get('t', 1)}.")
    frames = [on_grid(mask.isel(t=k), x, y) for k in range(mask.sizes["t"])]
    return xr.DataArray(np.stack(frames, axis=-1), {**coords, "t": value["t"]}, ("x", "y", "t"))


def _levels(chosen: Thresholds, inside: Array, whole: Array, is_density: bool) -> Thresholds:
    """Every level as a number."""
    finite = inside[np.isfinite(inside)]
    if finite.size == 0:
        raise DataError("The signal has no value inside the mask.")
    ground = 0.0 if is_density else float(np.nanquantile(whole, chosen.background_quantile))
    found = replace(
        chosen,
        background=ground if chosen.background is None else float(chosen.background),
        **{
            name: float(np.quantile(finite, getattr(chosen, f"{name}_quantile")))
            for name in ("euchromatin", "heterochromatin")
            if getattr(chosen, name) is None
        },
    )
    levels = [found.background, found.euchromatin, found.heterochromatin]
    if not (np.diff(np.array(levels, dtype=np.float64)) > 0).all():
        said = [f"{level:.4g}" for level in levels]
        raise DataError(
            f"The levels are background {said[0]}, euchromatin {said[1]} and "
            f"heterochromatin {said[2]}; they should increase. Give them, as "
            "Thresholds(background=..., euchromatin=..., heterochromatin=...), or other quantiles."
        )
    return found


def _mixture(value: Array, sd: Array, levels: Thresholds) -> dict[str, tuple[Array, Array]]:
    """Fractions at the signal, and their standard deviations where it has a normal error."""
    knots = np.array([levels.background, levels.euchromatin, levels.heterochromatin], dtype=np.float64)
    e, h = 1 - levels.euchromatin_water, 1 - levels.heterochromatin_water
    rule = {"phi_n": [1, 1 - e, 1 - h], "phi_e": [0, e, 0], "phi_h": [0, 0, h], "phi_d": [0, -e, h]}
    if levels.two_phases:
        share, error = (value - knots[1]) / (knots[2] - knots[1]), sd / (knots[2] - knots[1])
        ends = {n: rule[n][1:] for n in FRACTIONS}
        return {
            n: (a + (b - a) * share, np.hypot((b - a) * error, levels.floor)) for n, (a, b) in ends.items()
        }
    moments = _moments(value, np.maximum(sd, np.finfo(float).tiny), knots)
    result = {}
    for name in FRACTIONS:
        at = np.interp(value, knots, rule[name])
        variance = _variance(value, sd, knots, np.array(rule[name], dtype=np.float64), moments)
        result[name] = at, np.sqrt(variance + levels.floor**2)
    return result


def _moments(value: Array, sd: Array, knots: Array) -> list[tuple[Array, Array, Array]]:
    """Of a standard normal error z, the parts of 1, z and z^2 with the signal on each piece of the rule."""
    # Beyond 30 standard deviations nothing is left, and z^2 stays finite.
    ends = [np.full_like(value, -30.0), *(np.clip((k - value) / sd, -30, 30) for k in knots)]
    ends.append(np.full_like(value, 30.0))
    below = [ndtr(z) for z in ends]
    bell = [np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) for z in ends]
    parts = []
    for k in range(len(ends) - 1):
        mass = below[k + 1] - below[k]
        square = mass + ends[k] * bell[k] - ends[k + 1] * bell[k + 1]
        parts.append((mass, bell[k] - bell[k + 1], square))
    return parts


def _variance(
    value: Array, sd: Array, knots: Array, heights: Array, moments: list[tuple[Array, Array, Array]]
) -> Array:
    """Variance of the piecewise linear rule under a normal error: exact, kinks and all."""
    slopes = np.concatenate([[0.0], np.diff(heights) / np.diff(knots), [0.0]])
    starts = np.concatenate([heights[:1], heights])
    places = np.concatenate([knots[:1], knots])
    at = np.interp(value, knots, heights)
    first, second = np.zeros_like(value), np.zeros_like(value)
    for (mass, z, zz), slope, start, place in zip(moments, slopes, starts, places, strict=True):
        # Measured from the value itself, which keeps the digits of a small variance.
        level, rise = start + slope * (value - place) - at, slope * sd
        first += level * mass + rise * z
        second += level**2 * mass + 2 * level * rise * z + rise**2 * zz
    return np.maximum(second - first**2, 0.0)
