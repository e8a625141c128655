"""Images: TIFF and OME-TIFF; OME-Zarr; those of Nikon (ND2), Zeiss (CZI) and Leica (LIF), by bioio."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mollifier.chromatin.formats.registry import Format
from mollifier.data.lengths import NANOMETRES, SECONDS, known_unit
from mollifier.data.readers.tiff import Image, ImageMetadata, open_tiff
from mollifier.errors import DataError
from mollifier.io.files import require_package

_PLUGINS = {".nd2": "bioio_nd2", ".czi": "bioio_czi", ".lif": "bioio_lif"}  # Suffix -> plugin of bioio.


def open_vendor_image(file: Path) -> Image:
    """The one image in a file, without the dimensions along which it has one step.

    Raises `DataError` if bioio or its plugin is missing, or the file holds several positions.
    """
    plugin = _PLUGINS[file.suffix.lower()]
    if find_spec("bioio") is None or find_spec(plugin) is None:
        raise DataError(
            f"'{file}' needs bioio and {plugin.replace('_', '-')}: pip install 'mollifier[bioio]'. Or save "
            "it as OME-TIFF."
        )
    opened = import_module("bioio").BioImage(file, reader=import_module(plugin).Reader)
    scenes = list(opened.scenes)
    if len(scenes) > 1:
        raise DataError(
            f"'{file}' holds {len(scenes)} positions ({', '.join(map(str, scenes[:6]))}); save each to one "
            "file, as OME-TIFF."
        )
    whole = np.asarray(opened.get_image_data("TCZYX"))
    step, size = opened.time_interval, opened.physical_pixel_sizes
    keep = [i for i, n in enumerate(whole.shape) if n > 1 or i > 2]
    seconds = step.total_seconds() if hasattr(step, "total_seconds") else step
    metadata = ImageMetadata(
        (1e3 * size.X, 1e3 * size.Y) if size.X and size.Y else None,
        f"{file.suffix.lower()[1:].upper()} metadata",
        1e3 * size.Z if size.Z else None,
        float(seconds) if seconds else None,
    )
    return Image(whole.reshape([whole.shape[i] for i in keep]), "".join("TCZYX"[i] for i in keep), metadata)


VENDORS = Format(
    lambda path, beginning: path.suffix.lower() in _PLUGINS and not path.is_dir(), image=open_vendor_image
)


def open_ome_zarr(path: Path) -> Image:
    """The image in a folder, with the scales of its axes.

    Raises `DataError` if zarr is missing, or the store holds several images.
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
    scales = found["multiscales"][0]
    finest = scales["datasets"][0]
    array = np.asarray(zarr.open_group(str(path), mode="r")[finest["path"]])
    axes = [a if isinstance(a, Mapping) else {"name": a} for a in scales["axes"]]
    size = _scale(finest, array.ndim) * _scale(scales, array.ndim)
    return Image(array, "".join(str(a["name"]).upper()[:1] for a in axes), _metadata(axes, size))


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


def _is_store(path: Path, beginning: bytes) -> bool:
    known = {"multiscales", "plate", "well", "bioformats2raw.layout"}
    return path.is_dir() and bool(known & set(_attributes(path)))


OME_ZARR = Format(_is_store, image=open_ome_zarr)


def _is_tiff(path: Path, beginning: bytes) -> bool:
    named = path.suffix.lower() in (".tif", ".tiff") and not path.is_dir()
    return named or beginning.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"))


TIFF = Format(_is_tiff, image=open_tiff)
