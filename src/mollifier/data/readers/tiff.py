"""TIFF and OME-TIFF images, with their pixel size, plane step and time stamps."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.data.lengths import NANOMETRES, SECONDS, known_unit
from mollifier.data.readers.registry import Reader
from mollifier.errors import DataError
from mollifier.io.files import require_package
from mollifier.mollify.arrays import Array

_RESOLUTION_UNITS = {2: "inch", 3: "cm"}
_DIMS = {"X": "x", "Y": "y", "Z": "z", "T": "t", "C": "channel", "S": "channel"}


@dataclass(frozen=True)
class ImageMetadata:
    """Metadata of an image: lengths in nm, times in s; None where the file states none."""

    pixel: tuple[float, float] | None = None
    source: str = ""
    z_step: float | None = None
    interval: float | None = None
    times: Array | None = None


@dataclass(frozen=True)
class Image:
    """An image as its file holds it, with a letter for each axis.

    These are T, Z, C, Y, X; S for the colours of a picture; another if unknown.
    """

    array: NDArray[Any]
    axes: str
    metadata: ImageMetadata


def open_tiff(file: Path) -> Image:
    """The first series of a TIFF or OME-TIFF file."""
    require_package(file, "tifffile", "tiff")
    import tifffile

    try:
        with tifffile.TiffFile(file) as tiff:
            series = _first(file, tiff)
            lost = sum(page is None for page in series.pages) if tiff.is_ome else 0
            if lost:
                raise DataError(
                    f"'{file}' lacks {lost} of its {len(series.pages)} planes, which other files of its OME "
                    "set hold; all files of the set were expected in one folder."
                )
            return Image(np.asarray(series.asarray()), str(series.axes), metadata_of(tiff))
    except DataError:
        raise
    except Exception as error:
        # Decoders of many compressions fail in as many ways on a file that is cut short.
        raise DataError(f"'{file}' is no TIFF, or damaged or cut short ({error}).") from error


def _first(file: Path, tiff: Any) -> Any:
    if not len(tiff.pages) or not tiff.series:
        raise DataError(f"'{file}' holds no image; it may be cut short.")
    alike = sum(series.shape == tiff.series[0].shape for series in tiff.series)
    if alike > 1:
        raise DataError(
            f"'{file}' holds {alike} images of one size and no stack; save each position to one, "
            "and the frames or planes of one as a single array."
        )
    return tiff.series[0]


def metadata_of(tiff: Any) -> ImageMetadata:
    """Metadata of an open TIFF file: from OME, else ImageJ, else the resolution tags."""
    if tiff.is_ome and tiff.ome_metadata:
        return _ome(tiff.ome_metadata)
    page = tiff.pages[0]
    info: Mapping[str, Any] = (tiff.imagej_metadata or {}) if tiff.is_imagej else {}
    per_unit = []
    for name in ("XResolution", "YResolution"):
        tag = page.tags.get(name)
        value = None if tag is None else tag.value
        per_unit.append(value[0] / value[1] if isinstance(value, tuple) and value[0] and value[1] else None)
    unit_tag = page.tags.get("ResolutionUnit")
    unit = known_unit(str(info.get("unit", ""))) if info else None
    if not info and unit_tag is not None:
        unit = _RESOLUTION_UNITS.get(int(unit_tag.value))
    pixel = None
    if unit in NANOMETRES and per_unit[0] and per_unit[1]:
        pixel = NANOMETRES[unit] / per_unit[0], NANOMETRES[unit] / per_unit[1]
    spacing, interval = info.get("spacing"), info.get("finterval")
    return ImageMetadata(
        pixel,
        "ImageJ metadata" if info else "resolution tags",
        float(spacing) * NANOMETRES[unit] if spacing and unit in NANOMETRES else None,
        float(interval) if interval else None,
    )


def _ome(text: str) -> ImageMetadata:
    """Physical sizes and times of the first image of an OME-XML description."""
    try:
        root = ET.fromstring(text)
    except ET.ParseError:
        return ImageMetadata(source="OME metadata")
    pixels = next((e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None:
        return ImageMetadata(source="OME metadata")

    def length(axis: str) -> float | None:
        size = pixels.get(f"PhysicalSize{axis}")
        unit = known_unit(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        return float(size) * NANOMETRES[unit] if size and unit in NANOMETRES else None

    scale = SECONDS.get(pixels.get("TimeIncrementUnit", "s"), math.nan)
    step = pixels.get("TimeIncrement")
    planes = [e.attrib for e in pixels if e.tag.rpartition("}")[2] == "Plane" and e.get("DeltaT")]
    first: dict[int, float] = {}
    for plane in planes:
        seconds = float(plane["DeltaT"]) * SECONDS.get(plane.get("DeltaTUnit", "s"), math.nan)
        first.setdefault(int(plane.get("TheT", 0)), seconds)
    times = np.array([first[t] for t in sorted(first)]) if len(first) > 1 else None
    x, y = length("X"), length("Y")
    return ImageMetadata(
        None if x is None or y is None else (x, y),
        "OME metadata",
        length("Z"),
        float(step) * scale if step else None,
        times,
    )


def load_tiff(path: Path) -> xr.Dataset:
    """The image as a field u over what its dimensions are: x, y, z in um, t in s, channels by number.

    Pages that are not named are frames. Dimensions without a size or an interval in the file have no
    coordinate values, and dimensions of one step are left out.
    """
    image = open_tiff(path)
    found = image.metadata
    dims = [_DIMS.get(letter, "t") for letter in image.axes]
    if len({*dims}) < len(dims):
        raise DataError(
            f"'{path}' has the dimensions {image.axes}; T, Z, C, Y and X once each were expected."
        )
    field = xr.DataArray(image.array, dims=dims).squeeze()
    pixel = found.pixel or (None, None)
    steps = dict(zip("xyz", (*pixel, found.z_step), strict=True))
    count = {str(d): np.arange(n) for d, n in field.sizes.items()}
    coords: dict[str, tuple[str, Any]] = {"channel": ("", count.get("channel"))}
    coords |= {c: ("um", 1e-3 * s * count[c]) for c, s in steps.items() if s and c in count}
    if found.times is not None and found.times.size == field.sizes.get("t"):
        coords["t"] = "s", found.times - found.times[0]
    elif found.interval and "t" in count:
        coords["t"] = "s", found.interval * count["t"]
    there = {c: (c, x, {"units": u} if u else {}) for c, (u, x) in coords.items() if c in field.dims}
    return field.assign_coords(there).to_dataset(name="u")


READER = Reader((".tif", ".tiff"), load_tiff)
