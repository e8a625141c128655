"""Text tables of localisations: ThunderSTORM, Picasso and DECODE CSV, and those of the vendors' programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mollifier.chromatin.formats.arrays import decode_units
from mollifier.chromatin.formats.picasso import camera_of, picasso_metadata
from mollifier.chromatin.formats.registry import Format, Rows
from mollifier.data.text_tables import TextTable, read_layout


def open_text(file: Path) -> Rows:
    """Any text table, with what the names of its columns and DECODE's comments show of its program."""
    table = read_layout(file)

    def load(index: Mapping[str, int]) -> dict[str, NDArray[Any]]:
        return table.numbers(index, labels=("channel",))

    names = table.names
    plain = [n.lower() for n in names or []]
    known: dict[str, Any] = {"kind": "table" if names else "text without header"}
    if {"x", "lpx"} <= set(plain):
        size, extent = camera_of(picasso_metadata(file))
        known = {"kind": "Picasso CSV", "unit": "px", "units": {"z": "nm"}} | {
            "pixel_size": size, "field_px": extent
        }  # fmt: skip
    elif any(n.startswith("intensity [") for n in plain):
        known = {"kind": "ThunderSTORM CSV"}
    elif meta := _decode(table):
        known = {"kind": "DECODE CSV", **decode_units(meta)}
    return Rows(names, table.width, load, below=table.units, **known)


def _decode(table: TextTable) -> dict[str, Any]:
    """The metadata in DECODE's comments; empty in other files."""
    for line in table.comments:
        try:
            found = json.loads(line.lstrip("# "))
        except ValueError:
            continue
        if isinstance(found, dict) and "xy_unit" in found:
            return found
    return {}


FORMAT = Format(lambda path, beginning: not path.is_dir(), table=open_text)
