"""Pixel size, plane step and time stamps from the metadata of a TIFF file."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mollifier.chromatin.lengths import NANOMETRES, known_unit

_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "msec": 1e-3, "min": 60.0, "h": 3600.0}
_RESOLUTION_UNITS = {2: "inch", 3: "cm"}


@dataclass(frozen=True)
class ImageMetadata:
    """Metadata of an image: lengths in nm, times in s; None where the file states none."""

    pixel: tuple[float, float] | None = None
    source: str = ""
    z_step: float | None = None
    interval: float | None = None
    times: NDArray[np.float64] | None = None


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

    scale = _SECONDS.get(pixels.get("TimeIncrementUnit", "s"), math.nan)
    step = pixels.get("TimeIncrement")
    planes = [e.attrib for e in pixels if e.tag.rpartition("}")[2] == "Plane" and e.get("DeltaT")]
    first: dict[int, float] = {}
    for plane in planes:
        seconds = float(plane["DeltaT"]) * _SECONDS.get(plane.get("DeltaTUnit", "s"), math.nan)
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
