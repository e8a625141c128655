"""Finished results of a study, from which an interrupted study resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from mollifier.chromatin.nucleus_data import NucleusData, field_name, folder_name
from mollifier.chromatin.result import NucleusResult
from mollifier.chromatin.settings import StudySettings
from mollifier.io.files import jsonable


def nucleus_folder(folder: Path, item: NucleusData | NucleusResult) -> Path:
    """The folder of the files of one nucleus."""
    return folder / folder_name(item.field) / folder_name(item.name)


def fingerprint(
    paths: Sequence[Path], settings: StudySettings, levels: tuple[float, float] | None = None
) -> dict[str, str]:
    """Field of view -> hash of all that its results depend on: the bytes of its files and the settings."""
    apart = dict.fromkeys(("groups", "control", "replicates"))
    plain = dataclasses.asdict(settings) | apart | {"levels_found": levels}
    beside = [Path(p) for p in (*settings.labels, settings.polygon or "") if p]
    shared = json.dumps(jsonable(plain), sort_keys=True) + "".join(_digest(p) for p in beside)
    if settings.time_lapse:
        return {field_name(paths[0]): _hash(shared + "".join(map(_digest, paths)))}
    return {field_name(p): _hash(shared + _digest(p)) for p in paths}


def _digest(path: Path) -> str:
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file())
        return _hash("".join(f"{p.relative_to(path)}{_digest(p)}" for p in inside))
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def kept_result(folder: Path, stamp: str) -> NucleusResult | None:
    """A finished result of the same data and settings; None if it is missing or damaged."""
    try:
        result, own = NucleusResult.load(folder)
    except Exception:
        # HDF5 raises many exceptions on a damaged file; the result is computed again.
        return None
    return result if own == stamp else None
