"""Masks of nuclei: from labels, from the data, and from polygons; labels linked from frame to frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array

from mollifier.chromatin.columns import read_columns
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.ranges import named, nanometres, require
from mollifier.chromatin.rasters import counts, on_grid, pixels, signed_depth
from mollifier.data import outlines
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Index, Mask

MIN_AREA = 5e6  # Smallest area of a nucleus in nm^2.
# Localisations to a value of the smoothing in which the edge of a nucleus is found, and iterations of that.
_ENOUGH, _ROUNDS = 50.0, 3
_FINEST = 8.0  # Finest smoothing there in nm: localisations are no more precise.

_OVERLAP = 0.1  # Smallest overlap of two labels of one nucleus, as intersection over union.


@dataclass(frozen=True, eq=False)
class Nucleus:
    """One nucleus."""

    name: str  #: Label of the nucleus.
    mask: xr.DataArray  #: Over (x, y) in nm, and t if it moves: the bounding box and a pixel around it.
    #: Index of the plane of a stack in which the nucleus is largest; the mask is of this plane.
    plane: int | None = None

    @property
    def area(self) -> float:
        """Area in nm^2, averaged over time."""
        x, y = (float(self.mask[n][1] - self.mask[n][0]) for n in ("x", "y"))
        return float(self.mask.sum()) * x * y / self.mask.sizes.get("t", 1)


@dataclass(frozen=True)
class Nuclei:
    """The whole nuclei, and the reasons why others were left out."""

    whole: tuple[Nucleus, ...]  #: Nuclei that lie wholly in the field.
    left_out: Mapping[str, str]  #: Name -> reason.

    def __iter__(self) -> Iterator[Nucleus]:
        return iter(self.whole)

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, name: str | int) -> Nucleus:
        """The nucleus of this label."""
        return next(n for n in self.whole if n.name == str(name))

    def __str__(self) -> str:
        out = "; ".join(f"{name} {reason}" for name, reason in self.left_out.items())
        return f"{len(self.whole)} whole nuclei" + (f"; left out: {out}" if out else "")


def nuclei_from_labels(labels: xr.DataArray, *, min_area: float = MIN_AREA) -> Nuclei:
    """Every whole nucleus of a label image; those that touch the edge of the field are left out.

    Parameters
    ----------
    labels
        Integers over y and x, and z or t; 0 is outside.
    min_area
        Smallest area in nm^2, in the plane where a nucleus is largest.

    Raises
    ------
    DataError
        If nothing is labelled, or no nucleus is whole.

    Examples
    --------
    >>> grid = {"y": 200.0 * np.arange(40), "x": 200.0 * np.arange(40)}
    >>> labels = xr.DataArray(np.zeros((40, 40), int), grid, ("y", "x"))
    >>> labels[10:30, 12:30], labels[:8, 20:] = 1, 2
    >>> nuclei = nuclei_from_labels(labels)
    >>> str(nuclei), nuclei[1].area / 1e6
    ('1 whole nuclei; left out: 2 touches the edge', 14.4)
    """
    dims = [d for d in ("x", "y", "t", "z") if d in labels.dims]
    picked = labels.transpose(*dims)
    array = picked.values.astype(np.int64)
    if not array.any():
        raise DataError("The mask is empty: nothing is labelled.")
    whole, left_out = [], {}
    for number, box in enumerate(ndimage.find_objects(array), start=1):
        if box is None:
            continue
        name = str(number)
        found = _nucleus(name, picked, box, array[box] == number)
        if any(s.start == 0 or s.stop == n for s, n in zip(box[:2], array.shape[:2], strict=True)):
            left_out[name] = "touches the edge"
        elif found.area < min_area:
            left_out[name] = f"is small ({found.area / 1e6:.2g} um^2)"
        elif "t" in found.mask.dims and not found.mask.any(("x", "y")).all():
            seen = int(found.mask.any(("x", "y")).sum())
            left_out[name] = f"is present in {seen} of {found.mask.sizes['t']} frames"
        else:
            whole.append(found)
    nuclei = Nuclei(tuple(whole), left_out)
    if not whole:
        raise DataError(
            f"No nucleus is whole in this field ({nuclei}); take a larger field, or a "
            "smaller min_area (nm^2), as --set nucleus.min_area=1e6."
        )
    return nuclei


def _nucleus(name: str, labels: xr.DataArray, box: tuple[slice, ...], inside: Mask) -> Nucleus:
    """A nucleus in the plane where it is largest, with a pixel around it inside the field."""
    grown = [slice(max(s.start - 1, 0), s.stop + 1) for s in box[:2]]
    plane = None
    if "z" in labels.dims:
        # z is the last dimension.
        plane = box[-1].start + int(np.argmax(inside.sum(axis=tuple(range(inside.ndim - 1)))))
        labels = labels.isel(z=plane)
    mask = labels.isel(x=grown[0], y=grown[1]) == int(name)
    return Nucleus(name, mask.drop_vars("z", errors="ignore").rename("inside"), plane)


@dataclass(frozen=True)
class NucleusDetection:
    """Parameters of the detection of nuclei in the data.

    Raises `ConfigurationError` if pixel or smoothing is not above 0, or another number is negative or not
    finite.
    """

    pixel: float = 100.0  #: Pixel size in nm of the map of localisations.
    smoothing: float = 300.0  #: Standard deviation in nm of the Gaussian before the threshold.
    #: Smoothed counts per pixel inside a nucleus exceed this; by default Otsu's threshold.
    threshold: float | None = None
    closing: float = 600.0  #: Gaps up to this width in nm are closed, and threads up to this width are cut.
    min_area: float = MIN_AREA  #: Smallest area in nm^2.

    def __post_init__(self) -> None:
        require(named("nucleus.", self, "pixel", "smoothing"), above=True)
        require(named("nucleus.", self, "threshold", "closing", "min_area"))


def nuclei_from_data(data: Localizations | xr.DataArray, how: NucleusDetection | None = None) -> Nuclei:
    """Nuclei where localisations are dense or an image is bright: smoothed, thresholded, closed, filled.

    Nuclei of localisations end where their density, on a finer smoothing, falls to half of that just inside.

    Parameters
    ----------
    data
        Localisations, or an image over x and y.
    how
        Parameters; their defaults suit nuclei of several um.

    Raises
    ------
    DataError
        If no whole nucleus is above the threshold.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.uniform(-9e3, 9e3, (2, 40_000))
    >>> dense = (np.hypot(x, y) < 4e3) | (rng.random(x.size) < 0.05)
    >>> nuclei = nuclei_from_data(Localizations(x[dense], y[dense]))
    >>> len(nuclei), abs(nuclei["1"].area / (np.pi * 4e3**2) - 1) < 0.05
    (1, True)
    """
    how = how or NucleusDetection()
    values = _binned(data, how) if isinstance(data, Localizations) else data.transpose("x", "y")
    step = float(values.x[1] - values.x[0])
    smooth = ndimage.gaussian_filter(values.values.astype(np.float64), how.smoothing / step)
    level = otsu(smooth) if how.threshold is None else how.threshold
    above = smooth > level
    reach = max(round(how.closing / 2 / step), 1)
    disc = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= reach
    wide = np.pad(above, reach)
    wide = ndimage.binary_fill_holes(ndimage.binary_closing(wide, disc))
    kept = ndimage.binary_opening(wide, disc)[reach:-reach, reach:-reach]
    found: Any = ndimage.label(kept)
    if not found[1]:
        raise DataError(
            f"The mask is empty: nothing {how.closing:g} nm wide is above the threshold {level:.4g} (the "
            f"smoothed data reach {smooth.max():.4g}); lower it, or give labels or a polygon."
        )
    labels = xr.DataArray(found[0], values.coords, values.dims)
    nuclei = nuclei_from_labels(labels, min_area=how.min_area)
    if not isinstance(data, Localizations):
        return nuclei
    return replace(nuclei, whole=tuple(replace(n, mask=_outlined(data, n, how)) for n in nuclei))


def _outlined(locs: Localizations, coarse: Nucleus, how: NucleusDetection) -> xr.DataArray:
    """The mask with its edge where the density falls to half of that just inside.

    The edge is sought within the width of the wide smoothing, whose threshold lies outside a dense rim, on a
    finer one; the outline of the threshold is kept where the mean shift is larger than that width.
    """
    reach = how.smoothing + how.pixel
    x, y = (coarse.mask[c].values for c in ("x", "y"))
    near = locs.window((x[0] - reach, x[-1] + reach), (y[0] - reach, y[-1] + reach))
    smoothing = math.sqrt(_ENOUGH * coarse.area / (4 * math.pi * len(near)))
    smoothing = min(max(smoothing, _FINEST), how.smoothing)
    values = _binned(near, replace(how, pixel=smoothing))
    fine = ndimage.gaussian_filter(values.values, 1.0)
    inside = on_grid(coarse.mask, values["x"].values, values["y"].values)
    depth = signed_depth(inside)
    core, band = depth * smoothing > reach, np.abs(depth) * smoothing <= reach
    for _ in range(_ROUNDS):
        parts = fine * inside, inside.astype(float)
        level, share = (ndimage.gaussian_filter(v, max(how.smoothing / 2 / smoothing, 2.0)) for v in parts)
        inside = core | (band & (fine > level / np.maximum(share, 1e-3) / 2))
        inside = ndimage.binary_opening(ndimage.binary_fill_holes(inside), iterations=2)
    labels: Any = ndimage.label(inside)
    largest = np.argmax(np.bincount(labels[0].ravel())[1:]) + 1
    found = Nucleus(coarse.name, values.copy(data=labels[0] == largest).rename("inside"))
    moved = (math.sqrt(coarse.area) - math.sqrt(found.area)) / math.sqrt(math.pi)
    return found.mask if abs(moved) < how.smoothing else coarse.mask


def _binned(locs: Localizations, how: NucleusDetection) -> xr.DataArray:
    """Counts on coarse pixels, with a margin if the field of view is unknown."""
    room = 0.0 if locs.field is not None else 2 * (how.closing + how.smoothing)
    x0, x1, y0, y1 = locs.bounds
    edges = [np.arange(a - room, b + room + how.pixel, how.pixel) for a, b in ((x0, x1), (y0, y1))]
    x, y = (e[:-1] + how.pixel / 2 for e in edges)
    return xr.DataArray(counts((x, y), locs.x, locs.y), pixels(x, y), ("x", "y"))


def otsu(values: ArrayLike, bins: int = 256) -> float:
    """The threshold that maximises the variance between two classes (Otsu, IEEE Trans. SMC 9:62, 1979).

    >>> 1 < otsu([0.0, 0.1, 0.2, 5.0, 5.1, 5.2]) < 5
    True
    """
    number, edges = np.histogram(np.asarray(values), bins)
    middle = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(number)[:-1]
    above = number.sum() - below
    sums = np.cumsum(number * middle)
    gap = sums[:-1] / np.maximum(below, 1) - (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * gap**2
    # Empty bins between the classes give equal variances: take their middle.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(edges[1:-1][best].mean())


_POLYGON_PIXELS = 512  # Pixels along the longer side of a polygon.


def read_polygon(path: str | Path, *, unit: str = "nm", pixel_size: float | None = None) -> list[Array]:
    """Rings of a polygon in nm, each (n, 2), from GeoJSON or from a table with columns x and y.

    GeoJSON holds a Polygon or MultiPolygon, bare or in a Feature or FeatureCollection; a table, text or CSV,
    one vertex a row. The unit of the positions is "nm", "um", or "px" with the size of a pixel in nm. Raises
    `DataError` if there is no polygon in the file, or a ring has fewer than three vertices.
    """
    file = Path(path)
    scale = nanometres(unit, pixel_size, f"The vertices in '{file}'")
    if file.suffix.lower() in outlines.GEOJSON and file.is_file():
        return [scale * r for r in outlines.geojson_rings(file)]
    table = read_columns(file, None)
    scale = nanometres(table.units.get("x", unit), pixel_size, f"The vertices in '{file}'")
    rings = [np.stack([table.values["x"], table.values["y"]], axis=1)]
    return [scale * r for r in outlines.checked_rings(rings, f"'{file}'")]


def nucleus_from_polygon(
    rings: ArrayLike | Sequence[Array], *, pixel: float | None = None, name: str = "1"
) -> Nucleus:
    """The inside of a polygon; a ring inside another is a hole (even-odd rule).

    Parameters
    ----------
    rings
        Vertices in nm, shape (n, 2), or a list of rings from `read_polygon`.
    pixel
        Side of the pixels of the mask in nm; by default a 512th of the outline.

    Raises
    ------
    DataError
        If the polygon has no inside on these pixels.

    Examples
    --------
    >>> square = [[0.0, 0.0], [8000.0, 0.0], [8000.0, 8000.0], [0.0, 8000.0]]
    >>> nucleus_from_polygon(square, pixel=100).area / 1e6
    64.0
    """
    given: Any = rings
    parts = [given] if np.ndim(given[0]) == 1 else given
    loops = [np.asarray(r, dtype=np.float64) for r in parts]
    corners = np.concatenate(loops)
    low, high = corners.min(axis=0), corners.max(axis=0)
    side = float((high - low).max()) / _POLYGON_PIXELS if pixel is None else pixel
    if not side > 0:
        raise DataError("The polygon has no inside: all its vertices coincide.")
    x, y = (
        a - side / 2 + side * np.arange(math.ceil((b - a) / side - 1e-9) + 2)
        for a, b in zip(low, high, strict=True)
    )
    places = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    found = outlines.inside(loops, places)
    if not found.any():
        raise DataError("The mask is empty: the polygon holds no pixel. Are its vertices in the right unit?")
    mask = found.reshape(x.size, y.size)
    return Nucleus(name, xr.DataArray(mask, pixels(x, y), ("x", "y"), "inside"))


def tracked(labels: xr.DataArray) -> xr.DataArray:
    """Labels of one number for each nucleus, from labels that were numbered frame by frame.

    A label continues the nucleus of the frame before that it overlaps, so that the sum of all intersections
    over unions is largest (linear assignment). Others begin a new nucleus; a nucleus that is missing in a
    frame ends. Nuclei must move by less than their width between frames. Labels are integers over x, y and t;
    0 is outside.
    """
    picked = labels.transpose("x", "y", "t")
    array = picked.values.astype(np.int64)
    found = np.zeros_like(array)
    found[..., 0], count = array[..., 0], int(array[..., 0].max(initial=0))
    for k in range(1, array.shape[-1]):
        now = array[..., k]
        table = np.zeros(int(now.max(initial=0)) + 1, dtype=np.int64)
        for old, new in _pairs(found[..., k - 1], now):
            table[new] = old
        for new in np.unique(now[now > 0]):
            if not table[new]:
                table[new] = count = count + 1
        found[..., k] = table[now]
    return picked.copy(data=found)


def _pairs(before: Index, now: Index) -> list[tuple[int, int]]:
    """Labels of two frames that belong together."""
    both = (before > 0) & (now > 0)
    size = int(before.max(initial=0)) + 1, int(now.max(initial=0)) + 1
    shared = coo_array((np.ones(int(both.sum())), (before[both], now[both])), shape=size).toarray()
    areas = [np.bincount(a.ravel(), minlength=n) for a, n in zip((before, now), size, strict=True)]
    union = areas[0][:, None] + areas[1] - shared
    share = shared / np.maximum(union, 1)
    rows, columns = linear_sum_assignment(share, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if share[i, j] > _OVERLAP]
