"""The SMLM format: an archive of binary tables that ``manifest.json`` describes, one for each channel.

Specification: github.com/imodpasteur/smlm-file-format, version 0.2.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mollifier.chromatin.formats.registry import Format, Rows
from mollifier.errors import DataError

_MANIFEST = "manifest.json"


def open_smlm(file: Path) -> Rows:
    """The tables of an archive one below another; a column ``channel`` holds the channel of each.

    Raises `DataError` if the archive is damaged, or holds no binary tables of one layout.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = json.loads(archive.read(_MANIFEST))
            infos = [i for i in manifest["files"] if i["type"] == "table"]
            forms = [manifest["formats"][i["format"]] for i in infos]
            if not infos or any(f["mode"] != "binary" or f["headers"] != forms[0]["headers"] for f in forms):
                raise DataError(
                    f"'{file}' holds {len(infos)} tables; binary ones of the same columns were expected. "
                    "Unpack it, or export it as CSV."
                )
            parts = [_columns(archive, i, f) for i, f in zip(infos, forms, strict=True)]
            stated = dict(zip(forms[0]["headers"], forms[0].get("units", ()), strict=False))
    except DataError:
        raise
    except Exception as error:
        # A manifest may be wrong in as many ways as JSON.
        raise DataError(f"'{file}' is no readable SMLM archive ({error!r}); export it as CSV.") from error
    columns = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    return Rows.of(columns, "SMLM", below=[str(stated.get(n, "")) for n in columns])


def _columns(
    archive: zipfile.ZipFile, info: Mapping[str, Any], form: Mapping[str, Any]
) -> dict[str, NDArray[Any]]:
    """The columns of one table, offsets added."""
    kinds = [np.dtype(str(d)).newbyteorder("<") for d in form["dtype"]]
    shapes = [() if s in (1, [1]) else tuple(np.atleast_1d(s).tolist()) for s in form["shape"]]
    layout = np.dtype(list(zip(form["headers"], kinds, shapes, strict=True)))
    rows, held = int(info["rows"]), archive.getinfo(info["name"]).file_size
    if held != rows * layout.itemsize:
        raise ValueError(f"{held} bytes for {rows} rows of {layout.itemsize}")
    table = np.frombuffer(archive.read(info["name"]), layout)
    plain = [n for n, s in zip(form["headers"], shapes, strict=True) if not s]
    columns = {n: table[n].astype(np.float64) + info.get("offset", {}).get(n, 0.0) for n in plain}
    return columns | {"channel": np.full(rows, str(info.get("channel", "")))}


def _recognises(path: Path, beginning: bytes) -> bool:
    if not beginning.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return _MANIFEST in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


FORMAT = Format(_recognises, table=open_smlm)
