"""Localisations in files of arrays: DECODE, SMAP and MINFLUX, and arrays x and y in others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mollifier.data.readers.hdf5 import load_arrays
from mollifier.data.readers.hdf5_file import is_hdf5, open_hdf5
from mollifier.errors import DataError

# How the other files of arrays begin: NumPy's, archives, MATLAB's, and lists of records in JSON.
_BEGINNINGS = (b"\x93NUMPY", b"PK\x03\x04", b"MATLAB", b"[{", b"[\n", b"[ ")
# Arrays of vectors, and the names of their components.
_VECTORS = {"xyz": "{}", "loc": "{}", "array": "{}", "xyz_sig": "precision_{}", "xyz_cr": "crlb_{}"}


@dataclass(frozen=True)
class ArrayColumns:
    """Columns by name; the unit of their lengths and the pixel size in nm, where the file states them."""

    columns: dict[str, NDArray[Any]]
    unit: str | None = None
    pixel_size: float | None = None


def holds_arrays(file: Path) -> bool:
    """Whether a file holds arrays rather than text, by its first bytes."""
    with file.open("rb") as stream:
        return stream.read(8).startswith(_BEGINNINGS) or is_hdf5(file)


def read_array_columns(file: Path) -> ArrayColumns:
    """Columns of numbers in a file of arrays; of MINFLUX, the valid localisations of the last iteration.

    Raises
    ------
    DataError
        If it cannot be read or holds no columns.
    """
    try:
        found = dict(_arrays(_content(file)))
        unit, size = _decode_unit(file) if is_hdf5(file) else (None, None)
    except DataError:
        raise
    except Exception as error:
        # The readers of these formats fail in as many ways on a damaged file.
        raise DataError(f"'{file}' cannot be read as arrays ({error}); export it as CSV.") from error
    if "vld" in found and "loc" in found:
        found, unit = {"loc": _last_iteration(found)}, "m"
    columns: dict[str, NDArray[Any]] = {}
    for name, array in found.items():
        if name in _VECTORS and array.ndim == 2 and array.shape[1] in (2, 3):
            columns |= {_VECTORS[name].format(a): c for a, c in zip("xyz", array.T, strict=False)}
        elif array.size == max(array.shape, default=0):
            columns[name] = array.ravel()
    if not columns:
        raise DataError(
            f"'{file}' holds no columns x and y of numbers, which were expected. Export it as CSV."
        )
    return ArrayColumns(columns, unit, size)


def _content(file: Path) -> Any:
    """Arrays and mappings of them, by name."""
    with file.open("rb") as stream:
        beginning = stream.read(8)
    if beginning.startswith(b"["):
        rows = json.loads(file.read_text(encoding="utf-8"))
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}
    if is_hdf5(file) or beginning == b"MATLAB 7":
        return load_arrays(file).values
    if beginning.startswith(b"MATLAB"):
        from scipy.io import loadmat

        return loadmat(str(file), simplify_cells=True)
    loaded = np.load(file, allow_pickle=False)
    return {"array": loaded} if isinstance(loaded, np.ndarray) else {n: loaded[n] for n in loaded.files}


def _arrays(content: Any, name: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    """Arrays of numbers by their last name, those in structures among them."""
    if isinstance(content, Mapping):
        for key, part in content.items():
            yield from _arrays(part, str(key))
    elif (array := np.asarray(content)).dtype.names:
        for key in array.dtype.names:
            yield from _arrays(array[key], key)
    elif array.dtype.kind in "fiub":
        yield name, array


def _last_iteration(found: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Positions of MINFLUX, shape (n, 3); iterations are an axis, or rows numbered by ``itr``."""
    position, valid = found["loc"], found["vld"].astype(bool).ravel()
    if position.ndim == 3:
        return position[valid, -1]
    number = found.get("itr", np.zeros(len(valid)))
    return position[valid & (number == number.max())]


def _decode_unit(file: Path) -> tuple[str | None, float | None]:
    """Unit and pixel size that DECODE states in the attributes of ``meta``."""
    with open_hdf5(file) as (opened, _):
        meta = dict(opened["meta"].attrs) if "meta" in opened else {}
    size = np.ravel(meta.get("px_size", []))
    return str(meta["xy_unit"]) if "xy_unit" in meta else None, float(size[0]) if size.size else None
