"""Noise of a camera: counts from photoelectrons, and its gain estimated from one image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import convolve, uniform_filter
from scipy.optimize import nnls

from mollifier.chromatin.ranges import require
from mollifier.errors import DataError

Array = NDArray[np.float64]
# Bins of brightness, and fewest pixels.
_BINS, _ENOUGH = 24, 400


@dataclass(frozen=True)
class Camera:
    """A camera: counts = offset + gain * electrons, with shot noise and read noise.

    Attributes
    ----------
    gain
        Counts per photoelectron.
    offset
        Counts without light.
    read_noise
        Standard deviation of the read noise, in electrons.
    """

    gain: float
    offset: float = 0.0
    read_noise: float = 0.0

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
