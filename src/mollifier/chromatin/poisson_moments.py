"""Powers of a density of localisations without the bias of noise and blur.

With s = G*p the blurred density, the powers of p have the means

    G*(p^2) = s^2 + sigma^2 |grad s|^2 + ...,   G*(p^3) = s^3 + 3 sigma^2 s |grad s|^2 + ...

for a blur G of variance sigma^2 along each axis. Products of Poisson errors are subtracted from each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mollifier.chromatin.density import stencil

Array = NDArray[np.float64]


class PoissonMoments(NamedTuple):
    """Moments of a smoothed Poisson field s and of its central differences, for means that vary slowly."""

    #: Variance ``s/area``, and third moment ``skew s/area^2``.
    area: float
    skew: float
    #: Of both differences together: variance ``slope s/area``, and third moment with s ``mixed s/area^2``.
    slope: float
    mixed: float
    blur: float  #: Variance of kernel, pixels and errors of the positions, nm^2.

    @classmethod
    def of(cls, width: float, pixel: float, mean: float, errors: float) -> PoissonMoments:
        """For the kernel of a density of this full width at half maximum, in units of its mean (1/nm^2).

        ``errors`` is the variance of the positions (nm^2).
        """
        w = stencil(width, pixel)
        place = pixel * (np.arange(len(w)) - len(w) // 2)
        difference = np.convolve(w, [1.0, 0.0, -1.0]) / (2 * pixel)
        square, cube = float(np.sum(w**2)), float(np.sum(w**3))
        both = float(np.sum(np.pad(w, 1) * difference**2))
        return cls(
            mean * (pixel / square) ** 2,
            cube**2 / square**4,
            2 * float(np.sum(difference**2)) / square,
            2 * both * cube / square**4,
            float(np.sum(w * place**2)) + pixel**2 / 12 + errors,
        )

    def powers(self, s: Array, pixel: float) -> tuple[Array, Array]:
        """Square and cube of what s (x, y, frames) is the blurred, noisy image of, blurred themselves.

        Without bias for a blur much narrower than the structures.

        >>> rng, mean = np.random.default_rng(0), 0.005 * np.ones((400, 400))
        >>> moments, w = PoissonMoments.of(20.0, 10.0, 1.0, 0.0), stencil(20.0, 10.0)
        >>> counts = rng.poisson(100 * mean) / 100
        >>> s = np.apply_along_axis(np.convolve, 0, counts, w, "same")
        >>> s = np.apply_along_axis(np.convolve, 1, s, w, "same")[5:-5, 5:-5, None]
        >>> square, cube = moments.powers(s, 10.0)
        >>> each = [s.mean() / 5e-3, (s**2).mean() / 25e-6, square.mean() / 25e-6, cube.mean() / 125e-9]
        >>> np.round(each, 1).tolist()
        [1.0, 1.2, 1.0, 1.0]
        """
        area = self.area
        square = s**2 - s / area
        cube = s**3 - 3 * s**2 / area + (3 - self.skew) * s / area**2
        steep = sum(g**2 for g in np.gradient(s, pixel, axis=(0, 1)))
        once = steep - self.slope * s / area
        twice = s * steep - self.slope * square / area - once / area - self.mixed * s / area**2
        return square + self.blur * once, cube + 3 * self.blur * twice
