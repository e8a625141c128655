"""Density of localisations on a kernel, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.ndimage import convolve1d, gaussian_filter

from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.ranges import require
from mollifier.chromatin.rasters import counts, holds, on_grid, pixel_spacing, pixels
from mollifier.chromatin.resolution import (
    FWHM,
    Resolution,
    mean_neighbour_distance,
    merge_known,
    typical_precision,
)
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Mask
from mollifier.mollify.grid import Axis
from mollifier.mollify.kernels import BSpline
from mollifier.mollify.stencils import rows

_KERNEL = BSpline(3)
_PIXELS_PER_WIDTH = 4.0
_MOST_PIXELS = 4_000_000
_PARTS = 4  # subpixels to a side, for the share of a pixel inside the mask
# Added to the count before its standard error is computed: under a flat prior the posterior of a Poisson mean
# has variance n + 1, so that an empty place has a standard error above zero.
_UNSEEN = 1.0


def density(
    locs: Localizations | Sequence[Localizations],
    *,
    mask: xr.DataArray | None = None,
    pixel: float | None = None,
    width: float | None = None,
    merge: bool = True,
    times: Sequence[float] | None = None,
) -> xr.Dataset:
    """The density of molecules per nm^2 with its Poisson error bars.

    Counts in pixels are smoothed by a cubic B-spline and divided by the part of the kernel that lies inside,
    so that an even density stays even up to the edge. The variance is the same sum with the squared
    kernel. Errors are correlated over the width of the kernel; over an area A they average out like
    A / ``noise_area`` independent errors (an attribute, nm^2).

    Parameters
    ----------
    locs
        One table, or one for each of ``times``, in s, on pixels and with the width that suit the first;
        `Localizations.windows` divides one.
    mask
        The nucleus, over x and y in nm on any grid; by default the whole field. NaN outside.
    pixel
        Side of a pixel in nm; by default a quarter of the width.
    width
        Full width at half maximum of the kernel in nm; by default the larger of the Nyquist limit of the
        molecules (about nine molecules to each value) and the blur of localisation.
    merge
        Merge repeated localisations of one molecule in consecutive frames first, if frames are known.

    Returns
    -------
    xarray.Dataset
        ``density`` and ``density_sd`` over (x, y) or (x, y, t), and the choices made in the attributes.
        `mf.Observations.from_dataset` takes it as it is.

    Raises
    ------
    ConfigurationError
        If the pixel or the width is not above 0.
    DataError
        If nothing lies inside the mask, the pixel is too coarse for the kernel, there would be too many
        pixels, or there are several tables and time stamps are missing.

    Examples
    --------
    >>> locs = Localizations(*np.random.default_rng(0).uniform(0, 4000, (2, 20_000)))
    >>> field = density(locs, width=200)
    >>> round(float(field.density.mean()) * 4000**2 / 20_000, 2), field.sizes["x"]
    (1.0, 80)
    """
    tables = [locs] if isinstance(locs, Localizations) else list(locs)
    when = [0.0] if times is None else list(times)
    if len(when) != len(tables):
        raise DataError(f"{len(tables)} tables were given with {times=}; a time for each table was expected.")
    if merge:
        tables = [merge_known(table) for table in tables]
    kept = "left in" if not merge else "not removed: frames are not known"
    repeats = tables[0].provenance.get("repeats", kept)
    tables = [table if mask is None else _inside(table, mask) for table in tables]
    locs = tables[0]
    limit = Resolution(typical_precision(locs), mean_neighbour_distance(locs), 0.0)
    pixel, width = _sizes(locs, limit, pixel, width)
    limit = replace(limit, kernel=width)
    x, y = _centres(locs, pixel)
    inside = np.ones((x.size, y.size), dtype=bool) if mask is None else on_grid(mask, x, y)
    if not inside.any():
        raise DataError("The mask is empty on the map's pixels; take a smaller pixel (--pixel).")
    seen = inside.astype(float) if mask is None else _seen(mask, x, y, limit.blur / FWHM)
    fields = [_kernel(part, (x, y), inside, seen, width) for part in tables]
    molecules = sum(map(len, tables))
    attrs = _attrs(locs, limit, pixel, inside) | {"molecules": molecules, "repeats": repeats}
    value, sd = (np.stack([np.where(inside, f[k], np.nan) for f in fields], axis=-1) for k in (0, 1))
    coords = {**pixels(x, y), "t": ("t", np.array(when), {"units": "s"})}
    units = {"units": "1/nm^2"}
    content = {"density": (tuple("xyt"), value, units | {"standard_error": "density_sd"})}
    found = xr.Dataset(content | {"density_sd": (tuple("xyt"), sd, units)}, coords, attrs)
    return found if len(when) > 1 else found.isel(t=0, drop=True)


def _inside(locs: Localizations, mask: xr.DataArray) -> Localizations:
    """The localisations inside the mask, with its bounding box as the field."""
    picked = mask.transpose("x", "y").astype(bool)
    if not picked.values.any():
        raise DataError("The mask is empty: no pixel is inside.")
    bounds: list[float] = []
    for name, along in (("x", "y"), ("y", "x")):
        nodes = picked[name].values
        step = float(nodes[1] - nodes[0])
        used = nodes[picked.any(along).values]
        bounds += [float(used[0]) - step / 2, float(used[-1]) + step / 2]
    keep = holds(picked, locs.x, locs.y)
    if not keep.any():
        raise DataError(
            f"None of {len(locs):,} localisations lies inside the mask, which spans x {bounds[0]:,.0f} to "
            f"{bounds[1]:,.0f} and y {bounds[2]:,.0f} to {bounds[3]:,.0f} nm; they span "
            f"{', '.join(f'{b:,.0f}' for b in locs.bounds)}. Are both in one unit and from one origin?"
        )
    return replace(locs.select(keep), field=(bounds[0], bounds[1], bounds[2], bounds[3]), z=None, trace=None)


def _sizes(
    locs: Localizations, limit: Resolution, pixel: float | None, width: float | None
) -> tuple[float, float]:
    """Pixel and kernel width in nm."""
    require({"pixel": pixel, "width": width}, above=True)
    x0, x1, y0, y1 = locs.bounds
    area = (x1 - x0) * (y1 - y0)
    if width is None:
        coarsest = _PIXELS_PER_WIDTH * (pixel or math.sqrt(area / _MOST_PIXELS))
        width = max(limit.nyquist, limit.blur, coarsest)
    if pixel is None:
        pixel = width / _PIXELS_PER_WIDTH
    if area / pixel**2 > 4 * _MOST_PIXELS:
        raise DataError(
            f"Pixels of {pixel:.3g} nm would be {area / pixel**2:,.0f} over the field; at most "
            f"{4 * _MOST_PIXELS:,} were expected. Take a larger --pixel or --width, or a window of the field."
        )
    if width < 2 * pixel:
        raise DataError(
            f"A kernel {width:.3g} nm wide is too narrow for pixels of {pixel:.3g} nm; take a pixel of "
            f"{width / _PIXELS_PER_WIDTH:.3g} nm (--pixel), or a wider kernel (--width)."
        )
    return pixel, width


def _centres(locs: Localizations, pixel: float) -> tuple[Array, Array]:
    """Centres of the pixels that cover the field."""
    x0, x1, y0, y1 = locs.bounds
    sizes = [max(math.ceil((b - a) / pixel - 1e-9), 2) for a, b in ((x0, x1), (y0, y1))]
    at = [np.arange(n, dtype=np.float64) + 0.5 for n in sizes]
    return x0 + pixel * at[0], y0 + pixel * at[1]


def stencil(width: float, pixel: float) -> Array:
    """Weights of the cubic B-spline of this full width at half maximum, exact to first moments; sum one.

    The spline's variance is radius^2/(3 (p + 1)) for degree p.
    """
    radius = width / FWHM * math.sqrt(3 * (_KERNEL.degree + 1))
    reach = math.ceil(radius / pixel)
    axis = Axis("x", -reach * pixel, reach * pixel, 2 * reach + 1)
    return rows(axis, np.zeros(1), _KERNEL, radius, 0, 2).dense()[0]


def _seen(mask: xr.DataArray, x: Array, y: Array, precision: float) -> Array:
    """Share of the molecules of an even density that are localised in each pixel and inside the mask.

    Pixels at the edge lie partly outside, and localisation errors move molecules out of the mask.
    """
    pixel = float(x[1] - x[0])
    # Pixels much finer than those of the mask need no parts.
    parts = min(max(math.ceil(_PARTS * pixel / pixel_spacing(mask.transpose("x", "y"))), 1), _PARTS)
    part = pixel * ((np.arange(parts) + 0.5) / parts - 0.5)
    fine = on_grid(mask, *((c[:, None] + part).ravel() for c in (x, y))).astype(np.float32)
    blurred = gaussian_filter(fine, precision * parts / pixel, mode="constant")
    return (fine * blurred).reshape(x.size, parts, y.size, parts).mean((1, 3)).astype(np.float64)


def _kernel(
    part: Localizations,
    nodes: tuple[Array, Array],
    inside: Mask,
    seen: Array,
    width: float,
) -> tuple[Array, Array]:
    pixel = float(nodes[0][1] - nodes[0][0])
    w, seen = stencil(width, pixel), np.where(inside, seen, 0.0)
    # Molecules on the edge of the field count in the outermost pixels.
    x, y = (np.clip(v, n[0], n[-1]) for v, n in zip((part.x, part.y), nodes, strict=True))
    molecules = np.where(inside, counts(nodes, x, y), 0.0)
    covered = np.where(inside, _smoothed(seen, w), 1.0) * pixel**2
    squares = _smoothed(molecules, w**2) / covered**2
    # The variance of one molecule per area of the kernel.
    single = _smoothed(seen, w**2) / covered**2 * pixel**2
    sd = np.sqrt(np.maximum(squares, 0.0) + _UNSEEN * single**2)
    return _smoothed(molecules, w) / covered, sd


def _smoothed(values: Array, weights: Array) -> Array:
    once = convolve1d(values, weights, axis=0, mode="constant")
    return convolve1d(once, weights, axis=1, mode="constant")


def _attrs(
    locs: Localizations, limit: Resolution, pixel: float, inside: Mask
) -> dict[str, str | float | int]:
    found: dict[str, str | float | int] = {
        "pixel": pixel, "area": float(inside.sum()) * pixel**2,
        "resolution": limit.total, "resolution_nyquist": limit.nyquist,
        "neighbour_distance": limit.neighbour, "length_unit": "nm",
        "kernel": f"{_KERNEL}", "kernel_width": limit.kernel,
        "noise_area": pixel**2 / float(np.sum(stencil(limit.kernel, pixel) ** 2)) ** 2,
    }  # fmt: skip
    if math.isfinite(limit.precision):
        found |= {"precision": limit.precision}
    source = {k: v for k, v in locs.provenance.items() if k != "repeats"}
    return found | {f"source_{k}" if k != "source" else k: v for k, v in source.items()}


class PoissonMoments(NamedTuple):
    """Moments of a smoothed Poisson field s and of its central differences, for means that vary slowly.

    With s = G*p the density p blurred by G of variance sigma^2 along each axis, powers of p have the means

        G*(p^2) = s^2 + sigma^2 |grad s|^2 + ...,   G*(p^3) = s^3 + 3 sigma^2 s |grad s|^2 + ...

    and products of Poisson errors are subtracted from each.
    """

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
