"""Localisations to a density with error bars, by a kernel or by Voronoi cells; the resolution it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, gaussian_filter
from scipy.spatial import KDTree

from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.repeats import estimate_precision, merge_repeats
from mollifier.chromatin.voronoi import SPREAD, voronoi_density
from mollifier.errors import DataError
from mollifier.mollify.grid import Axis
from mollifier.mollify.kernels import BSpline
from mollifier.mollify.stencils import rows

Array = NDArray[np.float64]

# Full width at half maximum of a Gaussian, in standard deviations.
FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
_KERNEL = BSpline(3)
_PIXELS_PER_WIDTH = 4.0
_MOST_PIXELS = 4_000_000
_SAMPLED = 100_000
_PARTS = 4  # of a pixel's side, by which its share inside the mask is found
# Added to the count behind each value before its standard error is taken: the posterior of a Poisson mean
# under a flat prior has variance n + 1, so that a value from no molecule at all is not a certain one.
_UNSEEN = 1.0


@dataclass(frozen=True)
class Resolution:
    """What limits the detail of a map of localisations, in nm.

    Localisation error blurs by 2.355 standard deviations. Detail finer than two mean spacings is not
    sampled (Nyquist's criterion for labels: Shroff et al., Nat. Methods 5:417, 2008); with the spacing
    rho^(-1/2) and, for a Poisson process, the mean distance to the nearest neighbour 1/2 rho^(-1/2) (Clark
    and Evans, Ecology 35:445, 1954), that is four such distances. Independent blurs add in squares, and the
    map's kernel counts where it is the coarser: sqrt(localization^2 + max(nyquist, kernel)^2).

    Attributes
    ----------
    precision
        Standard error of a position; NaN where nothing tells it, and then left out.
    neighbour
        Mean distance to the nearest neighbour.
    kernel
        Full width at half maximum of the kernel; 0 for Voronoi cells.

    Examples
    --------
    >>> round(Resolution(precision=10.0, neighbour=8.0, kernel=0.0).total, 2)
    39.73
    """

    precision: float
    neighbour: float
    kernel: float

    @property
    def nyquist(self) -> float:
        """Finest detail that the molecules sample."""
        return 4.0 * self.neighbour

    @property
    def blur(self) -> float:
        """Full width at half maximum of the localisation error; 0 where it is not known."""
        return FWHM * self.precision if math.isfinite(self.precision) else 0.0

    @property
    def total(self) -> float:
        """Detail finer than this is not resolved."""
        return math.hypot(self.blur, max(self.nyquist, self.kernel))


def density(
    locs: Localizations,
    *,
    mask: xr.DataArray | None = None,
    pixel: float | None = None,
    width: float | None = None,
    method: Literal["kernel", "voronoi"] = "kernel",
    merge: bool = True,
    precision: float | None = None,
    windows: int = 1,
    frame_interval: float | None = None,
) -> xr.Dataset:
    """The density of molecules per nm^2 with its Poisson error bars.

    Kernel: counts in pixels, smoothed by a cubic B-spline and divided by the part of the kernel that lies
    inside, so that an even density stays even up to the edge. Its variance is the same sum with the squared
    kernel; errors are correlated over the kernel's width, and the area over which they average out as
    independent counts would is the attribute ``noise_area``.

    Parameters
    ----------
    mask
        Where to look, over x and y in nm on any grid; the whole field where absent. NaN outside.
    pixel
        Side of a pixel in nm; a quarter of the width where absent.
    width
        Full width at half maximum of the kernel in nm; where absent the coarser of the molecules' Nyquist
        limit (about nine molecules then count in each value) and the blur of localisation.
    method
        "kernel", or "voronoi": one over the area of the cell, averaged over the pixel.
    merge
        Whether repeats of one molecule in consecutive frames are made one first; where frames are known.
    precision
        Localisation precision in nm, where the file has none; estimated where absent.
    windows
        Stretches of frames to show apart, along t, which ``frame_interval`` (s) puts in time.

    Returns
    -------
    xarray.Dataset
        ``density`` and ``density_sd`` over (x, y) or (x, y, t), and what was chosen in the attributes.
        `mf.Observations.from_dataset` takes it as it is.

    Raises
    ------
    DataError
        If nothing lies inside the mask, the pixel is too coarse for the kernel, there would be too many
        pixels, or windows are asked for and time stamps are missing.

    Examples
    --------
    >>> locs = Localizations(*np.random.default_rng(0).uniform(0, 4000, (2, 20_000)))
    >>> field = density(locs, width=200)
    >>> round(float(field.density.mean()) * 4000**2 / 20_000, 2), field.sizes["x"]
    (1.0, 80)
    """
    if method not in ("kernel", "voronoi"):
        raise DataError(f"method='{method}' was given; 'kernel' or 'voronoi' was expected.")
    if merge and locs.frame is not None:
        locs = merge_repeats(locs, precision=precision)
    repeats = locs.provenance.get("repeats", "left in" if not merge else "not removed: frames are not known")
    locs = locs if mask is None else _inside(locs, mask)
    parts = _windows(locs, windows, frame_interval)
    limit = Resolution(_typical_precision(locs, precision), mean_neighbour_distance(locs), 0.0)
    # Distances grow with the square root of a window's share of the molecules.
    limit = Resolution(limit.precision, limit.neighbour * math.sqrt(windows), 0.0)
    pixel, width = _sizes(locs, limit, pixel, width, method)
    limit = Resolution(limit.precision, limit.neighbour, width if method == "kernel" else 0.0)
    x, y = _centres(locs, pixel)
    inside = np.ones((x.size, y.size), dtype=bool) if mask is None else on_grid(mask, x, y)
    if not inside.any():
        raise DataError("The mask is empty on the map's pixels; take a smaller pixel (--pixel).")
    first = (float(x[0]), float(y[0]))
    if method == "kernel":
        seen = inside.astype(float) if mask is None else _seen(mask, x, y, limit.blur / FWHM)
        fields = [_kernel(part, inside, seen, first, pixel, width) for _, part in parts]
    else:
        fields = [_voronoi(part, inside, first, pixel) for _, part in parts]
    attrs = _attrs(locs, limit, pixel, width, method, inside) | {"repeats": repeats}
    return _dataset(fields, x, y, [t for t, _ in parts] if windows > 1 else None, attrs)


def mean_neighbour_distance(locs: Localizations, seed: int = 0) -> float:
    """Mean distance to the nearest other molecule in nm, from at most 100,000 of them.

    Raises
    ------
    DataError
        If there are fewer than two molecules.
    """
    if len(locs) < 2:
        raise DataError(f"{len(locs)} molecule lies inside; a density needs at least two. Is the mask right?")
    points = np.stack([locs.x, locs.y], axis=1)
    asked = points
    if len(locs) > _SAMPLED:
        asked = points[np.random.default_rng(seed).choice(len(locs), _SAMPLED, replace=False)]
    return float(KDTree(points, balanced_tree=False, compact_nodes=False).query(asked, k=2)[0][:, 1].mean())


def on_grid(mask: xr.DataArray, x: Array, y: Array) -> NDArray[np.bool_]:
    """A mask at other places: the value of the nearest of its pixels, False more than half a pixel out."""
    picked = mask.transpose("x", "y")
    index, there = [], []
    for name, wanted in (("x", x), ("y", y)):
        nodes = picked[name].values
        if nodes.size < 2:
            raise DataError(f"The mask has {nodes.size} pixel along {name}; at least two were expected.")
        step = float(nodes[1] - nodes[0])
        place = np.rint((wanted - nodes[0]) / step).astype(np.int64)
        there.append((place >= 0) & (place < nodes.size))
        index.append(np.clip(place, 0, nodes.size - 1))
    return picked.values.astype(bool)[np.ix_(*index)] & there[0][:, None] & there[1][None, :]


def _inside(locs: Localizations, mask: xr.DataArray) -> Localizations:
    """The localisations inside the mask, with its bounding box as the field."""
    picked = mask.transpose("x", "y").astype(bool)
    if not picked.values.any():
        raise DataError("The mask is empty: no pixel is inside.")
    bounds: list[float] = []
    place = []
    for name, along, values in (("x", "y", locs.x), ("y", "x", locs.y)):
        nodes = picked[name].values
        step = float(nodes[1] - nodes[0])
        used = nodes[picked.any(along).values]
        bounds += [float(used[0]) - step / 2, float(used[-1]) + step / 2]
        place.append(np.rint((values - nodes[0]) / step).astype(np.int64))
    known = np.all([(p >= 0) & (p < n) for p, n in zip(place, picked.shape, strict=True)], axis=0)
    keep = known.copy()
    keep[known] = picked.values[place[0][known], place[1][known]]
    if not keep.any():
        raise DataError(
            f"None of {len(locs):,} localisations lies inside the mask, which spans x {bounds[0]:,.0f} to "
            f"{bounds[1]:,.0f} and y {bounds[2]:,.0f} to {bounds[3]:,.0f} nm; they span "
            f"{', '.join(f'{b:,.0f}' for b in locs.bounds)}. Are both in one unit and from one origin?"
        )
    chosen = locs.select(keep)
    return Localizations(
        chosen.x, chosen.y, chosen.frame, chosen.precision, chosen.photons,
        (bounds[0], bounds[1], bounds[2], bounds[3]), chosen.provenance,
    )  # fmt: skip


def _windows(
    locs: Localizations, windows: int, interval: float | None
) -> list[tuple[float, Localizations | None]]:
    """The middle of each stretch of frames in s, and the molecules first seen in it."""
    if windows == 1:
        return [(0.0, locs)]
    if locs.frame is None or interval is None:
        lacking = "frames are not known" if locs.frame is None else "the time between frames is not given"
        raise DataError(
            f"{windows} windows in time were asked for and time stamps are missing: {lacking}. Set "
            "--columns frame=NAME and --frame-interval SECONDS."
        )
    first, last = int(locs.frame.min()), int(locs.frame.max()) + 1
    if not 1 < windows <= last - first:
        raise DataError(
            f"{windows} windows were asked for of {last - first} frames; 1 to that were expected."
        )
    edges = np.linspace(first, last, windows + 1)
    which = np.clip(np.searchsorted(edges, locs.frame, "right") - 1, 0, windows - 1)
    middle = interval * (edges[1:] + edges[:-1]) / 2
    parts = [locs.select(which == k) if (which == k).any() else None for k in range(windows)]
    return [(float(t), part) for t, part in zip(middle, parts, strict=True)]


def _typical_precision(locs: Localizations, given: float | None) -> float:
    if given is not None:
        return given
    if locs.precision is not None:
        return float(np.nanmedian(locs.precision))
    estimate = estimate_precision(locs) if locs.frame is not None else None
    return math.nan if estimate is None else estimate


def _sizes(
    locs: Localizations, limit: Resolution, pixel: float | None, width: float | None, method: str
) -> tuple[float, float]:
    """Pixel and kernel width in nm."""
    x0, x1, y0, y1 = locs.bounds
    area = (x1 - x0) * (y1 - y0)
    for name, value in (("pixel", pixel), ("width", width)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise DataError(f"{name}={value} was given; a positive number of nm was expected.")
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
    if method == "kernel" and width < 2 * pixel:
        raise DataError(
            f"A kernel {width:.3g} nm wide cannot stand on pixels of {pixel:.3g} nm; take a pixel of "
            f"{width / _PIXELS_PER_WIDTH:.3g} nm (--pixel), or a wider kernel (--width)."
        )
    return pixel, width


def _centres(locs: Localizations, pixel: float) -> tuple[Array, Array]:
    """Centres of the pixels that cover the field."""
    x0, x1, y0, y1 = locs.bounds
    sizes = [max(math.ceil((b - a) / pixel - 1e-9), 2) for a, b in ((x0, x1), (y0, y1))]
    x, y = (
        start + pixel * (np.arange(n, dtype=np.float64) + 0.5)
        for start, n in zip((x0, y0), sizes, strict=True)
    )
    return x, y


def stencil(width: float, pixel: float) -> Array:
    """Weights of the cubic B-spline of this full width at half maximum, exact to first moments; sum one.

    The spline's variance is radius^2/(3 (p + 1)) for degree p.
    """
    radius = width / FWHM * math.sqrt(3 * (_KERNEL.degree + 1))
    reach = math.ceil(radius / pixel)
    axis = Axis("x", -reach * pixel, reach * pixel, 2 * reach + 1)
    return rows(axis, np.zeros(1), _KERNEL, radius, 0, 2).dense()[0]


def _seen(mask: xr.DataArray, x: Array, y: Array, precision: float) -> Array:
    """Share of the molecules of an even density that are found in each pixel and inside the mask.

    Pixels at the edge lie partly outside, and errors of localisation take molecules out of the mask.
    """
    pixel = float(x[1] - x[0])
    part = pixel * ((np.arange(_PARTS) + 0.5) / _PARTS - 0.5)
    fine = on_grid(mask, *((c[:, None] + part).ravel() for c in (x, y))).astype(float)
    blurred = gaussian_filter(fine, precision * _PARTS / pixel, mode="constant")
    return (fine * blurred).reshape(x.size, _PARTS, y.size, _PARTS).mean((1, 3))


def _kernel(
    part: Localizations | None,
    inside: NDArray[np.bool_],
    seen: Array,
    first: tuple[float, float],
    pixel: float,
    width: float,
) -> tuple[Array, Array]:
    w = stencil(width, pixel)
    counts = np.zeros(inside.shape) if part is None else _counted(part, inside, first, pixel)
    seen = np.where(inside, seen, 0.0)
    covered = np.where(inside, _smoothed(seen, w), 1.0) * pixel**2
    value = _smoothed(counts, w) / covered
    squares = _smoothed(counts, w**2) / covered**2
    # The variance that one molecule per area of the kernel would have.
    single = _smoothed(seen, w**2) / covered**2 * pixel**2
    sd = np.sqrt(np.maximum(squares, 0.0) + _UNSEEN * single**2)
    return np.where(inside, value, np.nan), np.where(inside, sd, np.nan)


def _counted(
    part: Localizations, inside: NDArray[np.bool_], first: tuple[float, float], pixel: float
) -> Array:
    """Molecules in each pixel inside."""
    nx, ny = inside.shape
    i = np.clip(np.rint((part.x - first[0]) / pixel).astype(np.int64), 0, nx - 1)
    j = np.clip(np.rint((part.y - first[1]) / pixel).astype(np.int64), 0, ny - 1)
    counts = np.bincount(i * ny + j, minlength=nx * ny).reshape(nx, ny)
    return np.where(inside, counts, 0.0)


def _smoothed(values: Array, weights: Array) -> Array:
    once = convolve1d(values, weights, axis=0, mode="constant")
    return convolve1d(once, weights, axis=1, mode="constant")


def _voronoi(
    part: Localizations | None,
    inside: NDArray[np.bool_],
    first: tuple[float, float],
    pixel: float,
) -> tuple[Array, Array]:
    if part is None:
        raise DataError("A window in time holds no molecule, and so no Voronoi cell; take fewer windows.")
    x0, x1, y0, y1 = part.bounds
    bounds = (x0, max(x1, x0 + pixel * inside.shape[0]), y0, max(y1, y0 + pixel * inside.shape[1]))
    value = voronoi_density(part.x, part.y, bounds, pixel, inside.shape)
    sd = value / np.sqrt(SPREAD + value * pixel**2)
    return np.where(inside, value, np.nan), np.where(inside, sd, np.nan)


def _attrs(
    locs: Localizations, limit: Resolution, pixel: float, width: float, method: str, inside: NDArray[np.bool_]
) -> dict[str, str | float | int]:
    own = pixel**2 / float(np.sum(stencil(width, pixel) ** 2)) ** 2
    found: dict[str, str | float | int] = {
        "method": method, "molecules": len(locs), "pixel": pixel, "area": float(inside.sum()) * pixel**2,
        "resolution": limit.total, "resolution_nyquist": limit.nyquist,
        "neighbour_distance": limit.neighbour, "length_unit": "nm",
    }  # fmt: skip
    if method == "kernel":
        found |= {"kernel": f"{_KERNEL}", "kernel_width": width, "noise_area": own}
    told = {k: v for k, v in locs.provenance.items() if k != "repeats"}
    if math.isfinite(limit.precision):
        found |= {"precision": limit.precision}
    return found | {f"source_{k}" if k != "source" else k: v for k, v in told.items()}


def _dataset(
    fields: Sequence[tuple[Array, Array]], x: Array, y: Array, times: list[float] | None, attrs: dict
) -> xr.Dataset:
    dims = ("x", "y") if times is None else ("x", "y", "t")
    value, sd = (fields[0][k] if times is None else np.stack([f[k] for f in fields], axis=-1) for k in (0, 1))
    coords = {"x": ("x", x, {"units": "nm"}), "y": ("y", y, {"units": "nm"})}
    coords |= {} if times is None else {"t": ("t", np.array(times), {"units": "s"})}
    return xr.Dataset(
        {
            "density": (dims, value, {"units": "1/nm^2", "standard_error": "density_sd"}),
            "density_sd": (dims, sd, {"units": "1/nm^2"}),
        },
        coords,
        attrs,
    )
