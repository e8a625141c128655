"""Time-lapse images of one nucleus made ready: at rest, and without the fading of the dye."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from mollifier.chromatin.bleaching import Bleaching, fitted, flicker
from mollifier.chromatin.camera import camera_from_image
from mollifier.chromatin.lever_rule import Thresholds, mixed
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.registration import at_rest
from mollifier.chromatin.resolution import FWHM
from mollifier.chromatin.settings import StudySettings
from mollifier.errors import ConfigurationError


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
    camera, level = camera_from_image(image), settings.thresholds.background
    if level is None:
        level = float(np.nanquantile(image.values, settings.thresholds.background_quantile))
    mask = sample.mask
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
