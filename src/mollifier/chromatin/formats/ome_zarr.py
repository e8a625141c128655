"""OME-Zarr images (OME-NGFF 0.4 and 0.5): the finest level of the first pyramid of a store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mollifier.chromatin.formats.registry import Format
from mollifier.data.lengths import NANOMETRES, SECONDS, known_unit
from mollifier.data.readers.tiff import Image, ImageMetadata
from mollifier.errors import DataError
from mollifier.io.files import require_package


def open_ome_zarr(path: Path) -> Image:
    """The image in a folder, with the scales of its axes.

    Raises `DataError` if zarr is missing, the store is damaged, or holds several images.
    """
    require_package(path, "zarr", "zarr")
    import zarr

    found = _attributes(path)
    if "multiscales" not in found:
        parts = sorted(p.name for p in path.iterdir() if p.is_dir() and _attributes(p))
        raise DataError(
            f"'{path}' holds several images or wells ({', '.join(parts[:6])}); name one, as '{path}/"
            f"{parts[0] if parts else 0}'."
        )
    try:
        scales = found["multiscales"][0]
        finest = scales["datasets"][0]
        array = np.asarray(zarr.open_group(str(path), mode="r")[finest["path"]])
        axes = [a if isinstance(a, Mapping) else {"name": a} for a in scales["axes"]]
        size = _scale(finest, array.ndim) * _scale(scales, array.ndim)
        return Image(array, "".join(str(a["name"]).upper()[:1] for a in axes), _metadata(axes, size))
    except Exception as error:
        # Stores fail in as many ways as they have codecs.
        raise DataError(f"'{path}' is no readable OME-Zarr image ({error}).") from error


def _attributes(path: Path) -> dict[str, Any]:
    """OME's attributes of a group: version 0.5 keeps them in ``zarr.json``, 0.4 in ``.zattrs``."""
    for name in ("zarr.json", ".zattrs"):
        try:
            found = json.loads((path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        own = found.get("attributes", {}).get("ome", {}) if name == "zarr.json" else found
        return own if isinstance(own, dict) else {}
    return {}


def _scale(node: Mapping[str, Any], ndim: int) -> Any:
    steps = [t["scale"] for t in node.get("coordinateTransformations", ()) if t["type"] == "scale"]
    return np.prod(np.array([np.ones(ndim), *steps], dtype=float), axis=0)


def _metadata(axes: Sequence[Mapping[str, Any]], size: Any) -> ImageMetadata:
    """Steps along the axes that state a unit."""
    steps: dict[str, float] = {}
    for axis, step in zip(axes, size.tolist(), strict=True):
        name, unit = str(axis["name"]).lower(), str(axis.get("unit", ""))
        scale = SECONDS.get(unit) if name == "t" else NANOMETRES.get(known_unit(unit) or "")
        if scale is not None:
            steps[name] = step * scale
    pixel = (steps["x"], steps["y"]) if {"x", "y"} <= set(steps) else None
    return ImageMetadata(pixel, "OME-Zarr metadata", steps.get("z"), steps.get("t"))


def _recognises(path: Path, beginning: bytes) -> bool:
    known = {"multiscales", "plate", "well", "bioformats2raw.layout"}
    return path.is_dir() and bool(known & set(_attributes(path)))


FORMAT = Format(_recognises, image=open_ome_zarr)
