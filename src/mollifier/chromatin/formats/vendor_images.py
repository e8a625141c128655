"""Images of Nikon (ND2), Zeiss (CZI) and Leica (LIF), by bioio and its plugins."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mollifier.chromatin.formats.registry import Format
from mollifier.data.readers.tiff import Image, ImageMetadata
from mollifier.errors import DataError

# Suffix -> plugin of bioio.
_PLUGINS = {".nd2": "bioio_nd2", ".czi": "bioio_czi", ".lif": "bioio_lif"}


def open_vendor_image(file: Path) -> Image:
    """The one image in a file, without the dimensions along which it has one step.

    Raises `DataError` if bioio or its plugin is missing, the file cannot be read, or holds several positions.
    """
    plugin = _PLUGINS[file.suffix.lower()]
    if find_spec("bioio") is None or find_spec(plugin) is None:
        raise DataError(
            f"'{file}' needs bioio and {plugin.replace('_', '-')}: pip install 'mollifier[bioio]'. Or save "
            "it as OME-TIFF."
        )
    try:
        opened = import_module("bioio").BioImage(file, reader=import_module(plugin).Reader)
        scenes = list(opened.scenes)
        if len(scenes) > 1:
            raise DataError(
                f"'{file}' holds {len(scenes)} positions ({', '.join(map(str, scenes[:6]))}); save each to "
                "one file, as OME-TIFF."
            )
        whole = np.asarray(opened.get_image_data("TCZYX"))
        step, size = opened.time_interval, opened.physical_pixel_sizes
    except DataError:
        raise
    except Exception as error:
        # The readers of these formats fail in as many ways on a damaged file.
        raise DataError(f"'{file}' cannot be read by {plugin} ({error}).") from error
    keep = [i for i, n in enumerate(whole.shape) if n > 1 or i > 2]
    seconds = step.total_seconds() if hasattr(step, "total_seconds") else step
    metadata = ImageMetadata(
        (1e3 * size.X, 1e3 * size.Y) if size.X and size.Y else None,
        f"{file.suffix.lower()[1:].upper()} metadata",
        1e3 * size.Z if size.Z else None,
        float(seconds) if seconds else None,
    )
    return Image(whole.reshape([whole.shape[i] for i in keep]), "".join("TCZYX"[i] for i in keep), metadata)


FORMAT = Format(
    lambda path, beginning: path.suffix.lower() in _PLUGINS and not path.is_dir(), image=open_vendor_image
)
