"""Picasso's HDF5 tables of localisations, and the metadata beside or inside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from mollifier.data.readers.hdf5_file import open_hdf5
from mollifier.errors import DataError


def read_picasso(
    file: Path, choose: Callable[[Sequence[str]], Iterable[str]]
) -> tuple[dict[str, Any], list[Any]]:
    """Columns of the table ``locs``, as Picasso or PyTables writes it, and the metadata inside the file.

    Parameters
    ----------
    choose
        From the names of all columns, those to read.

    Raises
    ------
    DataError
        If the file is no HDF5 file, damaged, or holds no such table.
    """
    try:
        with open_hdf5(file) as (_, arrays):
            node = arrays.get("locs", arrays.get("locs/table"))
            if node is None or not node.dtype.names:
                raise DataError(f"'{file}' holds {list(arrays)[:8]}; Picasso's table 'locs' was expected.")
            chosen = list(dict.fromkeys(choose(node.dtype.names)))
            table = node.fields(chosen)[()]
            text: Any = arrays["metadata"][()] if "metadata" in arrays else None
    except OSError as error:
        raise DataError(f"'{file}' cannot be read as HDF5 ({error}); it may be cut short.") from error
    return {name: table[name] for name in chosen}, [] if text is None else _json(text)


def yaml_beside(file: Path) -> list[Any]:
    """Picasso's metadata: the documents of the YAML file of the same name.

    Raises
    ------
    DataError
        If that file is no YAML.
    """
    beside = file.with_suffix(".yaml")
    if not beside.is_file():
        return []
    try:
        return [d for d in yaml.safe_load_all(beside.read_text(encoding="utf-8")) if d]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"'{beside}' is no YAML: {str(error).splitlines()[0]}.") from error


def camera_of(documents: Iterable[Any]) -> tuple[float | None, tuple[float, float] | None]:
    """Pixel size in nm and (width, height) of the field in pixels; later documents overrule earlier ones."""
    info: dict[str, Any] = {}
    for document in documents:
        info |= document if isinstance(document, dict) else {}

    def number(key: str) -> float | None:
        value = info.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    width, height = number("Width"), number("Height")
    return number("Pixelsize"), None if width is None or height is None else (width, height)


def _json(text: Any) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, TypeError):
        return []
    return found if isinstance(found, list) else [found]
