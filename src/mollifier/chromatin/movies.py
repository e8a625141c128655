"""Time-lapse images of one nucleus made ready: at rest, and without the fading of the dye."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.chromatin.camera import camera_from_image
from mollifier.chromatin.fractions import background
from mollifier.chromatin.lever_rule import Thresholds, mixed
from mollifier.chromatin.motion import at_rest
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.resolution import FWHM
from mollifier.chromatin.settings import StudySettings
from mollifier.errors import ConfigurationError, DataError

Array = NDArray[np.float64]

# Fewest frames of the fit.
_LEAST = 4


@dataclass(frozen=True)
class Bleaching:
    """An exponential decay of the signal."""

    #: Decay rate and its standard error, 1/s.
    rate: float
    sd: float
    start: float  #: Time of the first frame, s, whose signal is kept.

    def factor(self, times: Array, errors: float = 0.0) -> Array:
        """By which the signal at these times is multiplied, with the rate some standard errors off."""
        return np.exp((self.rate + errors * self.sd) * (times - self.start))


def flicker(level: Array) -> float:
    """Relative standard deviation of a mean signal from frame to frame, from its second differences.

    >>> t, rng = np.arange(2000.0), np.random.default_rng(0)
    >>> round(flicker(np.exp(-t / 500) * (1 + 0.01 * rng.standard_normal(2000))), 3)
    0.01
    """
    second = np.diff(np.log(level), 2)
    return float(np.sqrt(np.mean(second**2) / 6)) if second.size else 0.0


def fitted(signal: xr.DataArray, mask: xr.DataArray, until: float | None = None) -> Bleaching:
    """The decay of the mean signal of a nucleus.

    ``signal`` is above the background, over x, y and t, of a nucleus at rest with a mask over x and y. The
    logarithm of the mean is fitted by a line. Its standard error follows from the scatter about the line, in
    which neighbouring frames count as one where they are alike: what the chromatin itself does to the total
    signal scatters slowly. Only frames up to the time ``until`` of a treatment, s, are fitted, because it
    changes the total signal too; without one the total of the marks is assumed constant.

    Raises `DataError` if there are fewer than four frames, or no signal.
    """
    level = signal.where(mask > 0).mean(("x", "y"))
    times = level["t"].values.astype(float)
    kept = np.ones(len(times), dtype=bool) if until is None else times <= until
    if kept.sum() < _LEAST:
        before = "" if until is None else " before the treatment"
        raise DataError(
            f"There are {kept.sum()} frames{before}; the fading of a dye is fitted to {_LEAST} or more."
        )
    values = level.values[kept]
    if not (values > 0).all():
        raise DataError("The signal of the nucleus is not above the background in every frame.")
    t = times[kept] - times[kept].mean()
    logs = np.log(values)
    slope = float(t @ logs / (t @ t))
    left = logs - logs.mean() - slope * t
    free = max(len(t) - 2, 1)
    # Correlation of neighbours widens the error as that of a first-order autoregression does.
    alike = float(np.clip(left[1:] @ left[:-1] / max(left @ left, 1e-30), 0.0, 0.9))
    sd = float(np.sqrt(left @ left / free / (t @ t) * (1 + alike) / (1 - alike)))
    return Bleaching(-slope, sd, float(times[0]))


@dataclass(frozen=True, eq=False)
class Settled:
    """A nucleus that is ready for its fractions."""

    #: With a mask without time. Its image is a dataset of the signal with its standard error, like a density,
    #: whose attribute ``background`` is the level without a nucleus.
    sample: NucleusData
    bleaching: Bleaching | None = None  #: Of the dye; None if it was not fitted.
    flicker: float = 0.0  #: Relative standard deviation of the brightness from frame to frame.

    def errors(self, phi: xr.Dataset, position: float) -> xr.Dataset:
        """Changes of the fractions ``phi`` by errors that all pixels of a frame have in common.

        ``phi_d_drift`` and ``phi_n_drift`` are those of a fading one standard error faster, and
        ``phi_d_shaken`` and ``phi_n_shaken`` those of a frame that is one standard deviation brighter, or
        moved along x or y by ``position`` pixels.
        """
        if "t" not in phi["signal"].dims:
            return xr.Dataset()
        levels, signal = Thresholds.of(phi), phi["signal"].transpose("x", "y", "t")
        ground, times = float(levels.background or 0.0), signal["t"].values
        light = signal.values - ground
        changes = {"shaken": [self.flicker * light, *(position * g for g in np.gradient(light, axis=(0, 1)))]}
        if self.bleaching is not None:
            faster, fitted_rate = (self.bleaching.factor(times, e) for e in (1.0, 0.0))
            changes["drift"] = [light * (faster / fitted_rate - 1)]
        parts = {}
        for kind, moves in changes.items():
            moved = [mixed(signal.values + np.nan_to_num(m), levels) for m in moves]
            for name in ("phi_d", "phi_n"):
                values = np.stack([m[name] - phi[name].transpose("x", "y", "t").values for m in moved], -1)
                parts[f"{name}_{kind}"] = (("x", "y", "t", kind), values)
        return xr.Dataset(parts, {c: signal[c] for c in ("x", "y", "t")})


def settled(sample: NucleusData, settings: StudySettings) -> Settled:
    """The nucleus at rest (``follow``) and without fading (``bleaching``), as far as the settings say.

    Raises `ConfigurationError` without a time-lapse image, `DataError` if registration or the fit fails.
    """
    if not (settings.follow or settings.bleaching):
        return Settled(sample)
    image: Any = sample.image
    if image is None or "t" not in image.dims:
        kind = "localisations" if image is None else "one image"
        raise ConfigurationError(
            f"A moving nucleus (--follow) or a fading dye (--bleaching) was stated for {kind}; a time-lapse "
            "of images was expected."
        )
    camera, level, mask = camera_from_image(image), background(image, settings.thresholds), sample.mask
    if settings.follow:
        moving = mask if "t" in mask.dims else mask.expand_dims(t=image["t"]).transpose("x", "y", "t")
        image, mask = at_rest(image, moving)
    sd, fading = image.copy(data=camera.sd(image.values)), None
    if settings.bleaching:
        fading = fitted(image - level, mask, settings.treatment)
        # The error is known to no better than the total signal keeps its size without fading.
        change = settings.assume.total * settings.model.acetylation
        fading = replace(fading, sd=math.hypot(fading.sd, change))
        factor = image["t"].copy(data=fading.factor(image["t"].values))
        image, sd = level + (image - level) * factor, sd * factor
    pixel = float(image["x"][1] - image["x"][0])
    attrs = {"resolution": max(2 * pixel, FWHM * (settings.psf_sd or 0.0)), "background": level}
    attrs |= {"camera_gain": camera.gain, "camera_read_noise": camera.read_noise}
    attrs |= {} if fading is None else {"bleaching": fading.rate, "bleaching_sd": fading.sd}
    signal = xr.Dataset({"density": image, "density_sd": sd}, attrs=attrs)
    bright = (image - level).where(mask > 0).mean(("x", "y")).values
    sample = replace(sample, mask=mask, image=signal.transpose("x", "y", "t"))
    return Settled(sample, fading, flicker(bright))
