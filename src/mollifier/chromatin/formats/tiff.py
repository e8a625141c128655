"""TIFF and OME-TIFF images."""

from __future__ import annotations

from pathlib import Path

from mollifier.chromatin.formats.registry import Format
from mollifier.data.readers.tiff import open_tiff


def _recognises(path: Path, beginning: bytes) -> bool:
    named = path.suffix.lower() in (".tif", ".tiff") and not path.is_dir()
    return named or beginning.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"))


FORMAT = Format(_recognises, image=open_tiff)
