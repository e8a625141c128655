"""What is kept of each nucleus of a study, so that an interrupted one goes on from there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from mollifier.chromatin.result import NucleusResult
from mollifier.chromatin.samples import Sample, StudySettings, field_name, folder_name
from mollifier.io.files import jsonable


def nucleus_folder(folder: Path, item: Sample | NucleusResult) -> Path:
    """Where the files of one nucleus go."""
    return folder / folder_name(item.field) / folder_name(item.name)


def fingerprint(
    paths: Sequence[Path], settings: StudySettings, levels: tuple[float, float] | None = None
) -> dict[str, str]:
    """Of every field of view, what a result depends on: the bytes of its files and the settings."""
    plain = dataclasses.asdict(settings) | {"groups": None, "control": None, "levels_found": levels}
    beside = [Path(p) for p in (*settings.labels, settings.polygon or "") if p]
    shared = json.dumps(jsonable(plain), sort_keys=True) + "".join(_digest(p) for p in beside)
    if settings.time_lapse:
        return {field_name(paths[0]): _hash(shared + "".join(map(_digest, paths)))}
    return {field_name(p): _hash(shared + _digest(p)) for p in paths}


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def kept_result(folder: Path, stamp: str) -> NucleusResult | None:
    """A finished result of the same data and settings; None where there is none, or it is damaged."""
    try:
        result, own = NucleusResult.load(folder)
    except Exception:
        # HDF5 fails in many ways on a damaged file; it is computed again.
        return None
    return result if own == stamp else None
