"""Pixels of a nucleus: look-up of points, distance from the edge, and the Laplacian without flux."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import xarray as xr
from scipy.ndimage import distance_transform_edt, gaussian_filter

from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Index, Mask


def laplacian(inside: Mask, spacing: float) -> sp.csr_array:
    """Five-point Laplacian on the cells of a mask with no flux across its edge, shape (cells, cells).

    Symmetric, with rows and columns that add up to zero.
    """
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(inside.sum())
    rows, columns = [], []
    for a, b in ((number[:-1], number[1:]), (number[:, :-1], number[:, 1:])):
        both = (a >= 0) & (b >= 0)
        rows += [a[both], b[both]]
        columns += [b[both], a[both]]
    i, j = np.concatenate(rows), np.concatenate(columns)
    size = int(inside.sum())
    links = sp.coo_array((np.ones(len(i)), (i, j)), shape=(size, size)).tocsr()
    return sp.csr_array((links - sp.diags_array(np.asarray(links.sum(1)).ravel())) / spacing**2)


def signed_depth(inside: Mask) -> Array:
    """Distance in pixels of every pixel inside from the nearest one outside; negative for those outside."""
    within, beyond = (np.asarray(distance_transform_edt(m)) for m in (inside, ~inside))
    return within - beyond


def edge_distance(mask: xr.DataArray) -> xr.DataArray:
    """Distance of every pixel from the edge of the mask, in its units; negative outside.

    A Gaussian of 1.5 pixels smooths the steps of the raster.
    """
    spacing = pixel_spacing(mask)
    signed = signed_depth(np.pad(mask.values.astype(bool), 1))
    smooth = gaussian_filter((signed - 0.5 * np.sign(signed)) * spacing, 1.5)[1:-1, 1:-1]
    return mask.copy(data=smooth).rename("distance")


def pixel_spacing(mask: xr.DataArray) -> float:
    """Side of the pixels of a mask (x, y); `DataError` if they are not square, or the dims are others."""
    steps = np.concatenate([np.diff(mask[c].values) for c in ("x", "y")])
    if mask.dims != ("x", "y") or not len(steps) or np.ptp(steps) > 1e-6 * abs(steps.mean()):
        raise DataError("The mask's pixels are not square; dims (x, y) with one even spacing were expected.")
    return float(steps.mean())


def area(mask: xr.DataArray) -> float:
    """Area of a mask (x, y), in its units squared."""
    return float(mask.sum()) * pixel_spacing(mask) ** 2


def in_plane(field: xr.DataArray) -> xr.DataArray:
    """A field over (x, y): its mean over other dims."""
    return field.mean([d for d in field.dims if d not in ("x", "y")]).transpose("x", "y")


def last_of(field: xr.DataArray) -> xr.DataArray:
    """The last frame of a field."""
    return field.isel(t=-1, drop=True) if "t" in field.dims else field


def at_one_time(mask: xr.DataArray) -> xr.DataArray:
    """A mask (x, y): of one that moves, the pixels inside at any time."""
    return mask.any("t") if "t" in mask.dims else mask


def pixels(x: Array, y: Array) -> dict[str, xr.Variable]:
    """Coordinates of pixels with these centres in nm."""
    return {name: xr.Variable(name, place, {"units": "nm"}) for name, place in (("x", x), ("y", y))}


def nearest(nodes: Array, values: Array) -> tuple[Index, Mask]:
    """Index of the nearest of evenly spaced nodes, and whether a value lies within half a step of one."""
    place = np.rint((values - nodes[0]) / (nodes[1] - nodes[0])).astype(np.int64)
    return np.clip(place, 0, nodes.size - 1), (place >= 0) & (place < nodes.size)


def at_points(field: xr.DataArray, x: Array, y: Array, outside: float = np.nan) -> Array:
    """Values of a map (x, y) in the pixels that hold points, shape (n,); ``outside`` beyond the map."""
    (i, along_x), (j, along_y) = nearest(field["x"].values, x), nearest(field["y"].values, y)
    return np.where(along_x & along_y, field.transpose("x", "y").values[i, j], outside)


def holds(mask: xr.DataArray, x: Array, y: Array) -> Mask:
    """Whether points lie in the pixels of a mask, shape (n,)."""
    return at_points(mask.astype(bool), x, y, False).astype(bool)


def counts(nodes: tuple[Array, Array], x: Array, y: Array) -> Index:
    """Number of points in each pixel, shape (nx, ny); points beyond the pixels are left out."""
    (i, along_x), (j, along_y) = nearest(nodes[0], x), nearest(nodes[1], y)
    flat = (i * nodes[1].size + j)[along_x & along_y]
    return np.bincount(flat, minlength=nodes[0].size * nodes[1].size).reshape(nodes[0].size, -1)


def on_grid(mask: xr.DataArray, x: Array, y: Array) -> Mask:
    """A mask on other pixels, shape (nx, ny): the value of the nearest pixel, False beyond the mask.

    Raises `DataError` if the mask has a single pixel along an axis.
    """
    for name in ("x", "y"):
        if mask.sizes[name] < 2:
            raise DataError(f"The mask has {mask.sizes[name]} pixel along {name}; two or more were expected.")
    (i, along_x), (j, along_y) = nearest(mask["x"].values, x), nearest(mask["y"].values, y)
    values = mask.transpose("x", "y").values.astype(bool)[np.ix_(i, j)]
    return values & along_x[:, None] & along_y[None, :]
