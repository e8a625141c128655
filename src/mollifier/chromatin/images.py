"""Stacks, time-lapses and label images of counts, with their pixel size and time stamps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.chromatin.formats.registry import open_image
from mollifier.chromatin.ranges import plausible_pixel
from mollifier.chromatin.rasters import pixels
from mollifier.data.readers.tiff import ImageMetadata
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array

# Largest share of pixels at the highest value of an image that is not saturated.
SATURATED = 1e-3
_AXES = {"T": "t", "Z": "z", "C": "c", "Y": "y", "X": "x"}
AXES_EXPECTED = "different letters of t, z, c, y and x, with y and x among them,"


def read_image(
    path: str | Path,
    *,
    pixel_size: float | None = None,
    z_step: float | None = None,
    frame_interval: float | None = None,
    axes: str | None = None,
    channel: int | str | None = None,
    saturated: float = SATURATED,
) -> xr.DataArray:
    """Read an image, stack or time-lapse of counts: TIFF, OME-TIFF, OME-Zarr; ND2, CZI and LIF by bioio.

    Parameters
    ----------
    pixel_size, z_step
        In nm; by default from the metadata.
    frame_interval
        Seconds from frame to frame; by default from the metadata.
    axes
        Letters of t, z, c, y, x in the order of the file's dimensions, as "zyx", for a file that does not
        name them.
    channel
        Number of the channel, from 0; needed for several channels.
    saturated
        Largest share of the pixels that may have the highest value.

    Returns
    -------
    xarray.DataArray
        Counts over (t, z, y, x), of which t and z may be absent; pixel centres in nm, times in s.

    Raises
    ------
    DataError
        If the file cannot be read, a pixel size or time stamps are missing or not plausible, an axis is
        unknown, planes are missing, the image is saturated, empty or holds negative counts, or a time-lapse
        has one frame.

    Examples
    --------
    >>> import tempfile, tifffile
    >>> path = Path(tempfile.mkdtemp()) / "cell.tif"
    >>> counts = np.random.default_rng(0).poisson(50, (5, 32, 32)).astype(np.uint16)
    >>> meta = {"axes": "TYX", "unit": "um", "finterval": 2.0}
    >>> tifffile.imwrite(path, counts, imagej=True, resolution=(10, 10), metadata=meta)
    >>> image = read_image(path)
    >>> image.dims, float(image.x[1] - image.x[0]), image.t.values.tolist()
    (('t', 'y', 'x'), 100.0, [0.0, 2.0, 4.0, 6.0, 8.0])
    """
    file = Path(path)
    array, letters, found = _load(file)
    dims = _named(file, array.shape, letters, axes, z_step, frame_interval)
    array, dims = _one_channel(file, array, dims, channel)
    _refuse_counts(file, array, saturated)
    sizes = dict(zip(dims, array.shape, strict=True))
    coords = _coordinates(file, sizes, found, pixel_size, z_step, frame_interval)
    source = "--pixel-size" if pixel_size is not None else found.source
    attrs = {"units": "counts", "source": file.name, "pixel_size_from": source}
    return xr.DataArray(array.astype(np.float64), coords, dims, "counts", attrs)


def read_labels(
    path: str | Path, *, like: xr.DataArray | None = None, pixel_size: float | None = None
) -> xr.DataArray:
    """Read a label image: 0 outside, one positive integer for each object.

    The labelled image ``like``, of the same shape, gives the axes and the pixel size; without an image,
    ``pixel_size`` is that of the labels, as for `read_image`. Raises `DataError` if labels are no integers,
    nothing is labelled, or the shape is not that of ``like``.
    """
    file = Path(path)
    array, letters, found = _load(file)
    axes = "".join(map(str, like.dims)) if like is not None and array.ndim == like.ndim else None
    dims = _named(file, array.shape, letters, axes, None, None)
    if array.dtype.kind == "f" and np.array_equal(array, np.floor(array)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub" or array.min() < 0:
        raise DataError(
            f"'{file}' holds {array.dtype} from {array.min()} to {array.max()}; labels are whole numbers "
            "from 0 on. Is it the image instead?"
        )
    if not array.any():
        raise DataError(f"Nothing is labelled in '{file}': the mask is empty.")
    if like is not None and array.shape != like.shape:
        raise DataError(f"Labels of shape {array.shape} were given for an image of shape {like.shape}.")
    sizes = dict(zip(dims, array.shape, strict=True))
    coords: Any = _coordinates(file, sizes, found, pixel_size, None, None) if like is None else like.coords
    return xr.DataArray(array.astype(np.int64), coords, dims, "label", {"source": file.name})


def _load(file: Path) -> tuple[NDArray[Any], str, ImageMetadata]:
    """The pixels, a letter for each dimension, and the metadata."""
    found = open_image(file)
    if found.array.dtype.kind not in "iufb" or not found.array.size:
        raise DataError(
            f"'{file}' holds {found.array.size} pixels of {found.array.dtype}; real numbers were expected."
        )
    return found.array, found.axes, found.metadata


def are_axes(letters: str) -> bool:
    """Whether letters name the dimensions of an image.

    >>> are_axes("tyx"), are_axes("qq"), are_axes("yyx")
    (True, False, False)
    """
    each = set(letters.lower())
    return len(each) == len(letters) and {"x", "y"} <= each <= set(_AXES.values())


def _named(
    file: Path, shape: tuple[int, ...], letters: str, axes: str | None, z_step: Any, interval: Any
) -> tuple[str, ...]:
    if axes is not None:
        if len(axes) != len(shape) or not are_axes(axes):
            raise DataError(
                f"--axes {axes} was given for '{file}' of shape {shape}; {len(shape)} {AXES_EXPECTED} were "
                "expected."
            )
        return tuple(axes.lower())
    if "S" in letters:
        raise DataError(
            f"'{file}' is a colour picture (shape {shape}); counts of one channel were expected. Export the "
            "channel itself, not a rendering of it."
        )
    dims = tuple(_AXES.get(letter, "") for letter in letters)
    if dims.count("") == 1 and (z_step is None) != (interval is None):
        dims = tuple(d or ("z" if interval is None else "t") for d in dims)
    if "" in dims or not {"x", "y"} <= set(dims):
        raise DataError(
            f"'{file}' of shape {shape} does not name its dimensions; name them in order, as --axes "
            "zyx for planes, tyx for frames, tcyx for frames with channels."
        )
    return dims


def _one_channel(
    file: Path, array: NDArray[Any], dims: tuple[str, ...], channel: int | str | None
) -> tuple[NDArray[Any], tuple[str, ...]]:
    if "c" in dims:
        at, count = dims.index("c"), array.shape[dims.index("c")]
        if channel is None and count > 1:
            raise DataError(f"'{file}' has {count} channels; say which, from 0, as --channel 0.")
        number = str(channel or 0)
        if not (number.isdecimal() and int(number) < count):
            raise DataError(f"--channel {channel} was given; '{file}' has {count}, counted from 0.")
        array, dims = np.take(array, int(number), axis=at), tuple(d for d in dims if d != "c")
    order = [d for d in ("t", "z", "y", "x") if d in dims]
    array = np.transpose(array, [dims.index(d) for d in order])
    # A single plane is a flat image; a single frame is kept, and refused if there is a frame interval.
    if "z" in order and array.shape[order.index("z")] == 1:
        array, order = np.take(array, 0, axis=order.index("z")), [d for d in order if d != "z"]
    return array, tuple(order)


def _refuse_counts(file: Path, array: NDArray[Any], saturated: float) -> None:
    """Refuse values that cannot be counts of light."""
    finite = np.isfinite(array) if array.dtype.kind == "f" else None
    if finite is not None and not finite.all():
        raise DataError(
            f"{int((~finite).sum()):,} pixels of '{file}' are no finite numbers; fill or crop them."
        )
    low, high = array.min(), array.max()
    if low < 0:
        raise DataError(
            f"{int((array < 0).sum()):,} pixels of '{file}' hold negative counts (to {low:g}); counts from 0 "
            "on were expected. Use the raw image: the background is subtracted later."
        )
    if low == high:
        raise DataError(f"All pixels of '{file}' hold {low:g}: the image is empty.")
    part = float(np.mean(array == high))
    if part > saturated and array.size * part > 1:
        raise DataError(
            f"The image '{file}' is saturated: {part:.2%} of its pixels have the highest value, "
            f"{high:g}. Expose for less, or crop what is too bright; if that value is no ceiling, raise "
            f"--saturated above {part:.2g}."
        )


def _coordinates(
    file: Path,
    sizes: dict[str, int],
    found: ImageMetadata,
    pixel_size: float | None,
    z_step: float | None,
    interval: float | None,
) -> dict[str, Any]:
    """Pixel centres in nm and times in s."""
    if pixel_size is not None:
        pixel = (plausible_pixel(pixel_size, "--pixel-size"),) * 2
    elif found.pixel is not None:
        pixel = tuple(plausible_pixel(p, f"{found.source} of '{file}'") for p in found.pixel)
    else:
        raise DataError(
            f"'{file}' does not state its pixel size ({found.source or 'no metadata'}); set it in "
            "nm, as --pixel-size 100 (pixel_size=100)."
        )
    place = [p * (np.arange(sizes[n], dtype=np.float64) + 0.5) for n, p in zip("xy", pixel, strict=True)]
    coords: dict[str, Any] = dict(pixels(place[0], place[1]))
    if "z" in sizes:
        # Without a step, planes are numbered: nothing is computed along z.
        step = z_step if z_step is not None else found.z_step
        planes = np.arange(sizes["z"]) * (1.0 if step is None else step)
        coords["z"] = ("z", planes, {"units": "plane" if step is None else "nm"})
    if interval is not None and sizes.get("t", 1) < 2:
        raise DataError(
            f"'{file}' has one frame, and a frame interval was given; a time-lapse needs at least two. If "
            "its frames lie along another dimension, name it, as --axes tyx."
        )
    if "t" in sizes:
        coords["t"] = ("t", _times(file, sizes["t"], found, interval), {"units": "s"})
    return coords


def _times(file: Path, frames: int, found: ImageMetadata, interval: float | None) -> Array:
    step = interval if interval is not None else found.interval
    if interval is None and found.times is not None and found.times.size == frames:
        times = np.asarray(found.times - found.times[0], dtype=np.float64)
        if not (np.diff(times) > 0).all():
            raise DataError(
                f"The time stamps of '{file}' do not increase; set --frame-interval SECONDS instead."
            )
        return times
    if step is None and frames > 1:
        raise DataError(
            f"Time stamps are missing: '{file}' has {frames} frames without times. Set "
            "--frame-interval SECONDS (frame_interval=...), or --axes zyx if they are planes."
        )
    if step is not None and not (math.isfinite(step) and step > 0):
        raise DataError(f"A frame interval of {step:g} s was given; a positive number was expected.")
    return np.arange(frames, dtype=np.float64) * (step or 0.0)
