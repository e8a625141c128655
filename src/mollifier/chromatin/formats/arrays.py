"""Localisations in files of arrays: DECODE, SMAP and MINFLUX, and arrays x and y in others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mollifier.chromatin.formats.registry import Format, Rows
from mollifier.data.readers.hdf5 import load_arrays
from mollifier.errors import DataError
from mollifier.io.hdf5_file import is_hdf5, open_hdf5

# Of NumPy's files, archives, MATLAB's, lists of records in JSON, and HDF5.
_BEGINNINGS = (b"\x93NUMPY", b"PK\x03\x04", b"MATLAB", b"[{", b"[\n", b"[ ", b"\x89HDF\r\n\x1a\n")
# Arrays of vectors, and the names of their components. DECODE's ``xyz_cr`` holds variances, not errors.
_VECTORS = {"xyz": "{}", "loc": "{}", "array": "{}", "xyz_sig": "precision_{}"}


def open_arrays(file: Path) -> Rows:
    """Columns of numbers in a file of arrays; of MINFLUX, the valid localisations of the last iteration.

    Raises `DataError` if it cannot be read, holds no columns, or some of different lengths.
    """
    try:
        found = dict(_arrays(_content(file)))
        known: dict[str, Any] = {"kind": "arrays"} | (_decode_meta(file) if is_hdf5(file) else {})
    except DataError:
        raise
    except Exception as error:
        # The readers of these formats fail in as many ways on a damaged file.
        raise DataError(f"'{file}' cannot be read as arrays ({error}); export it as CSV.") from error
    if "vld" in found and "loc" in found:
        found = _last_iteration(found)
        known = {"kind": "MINFLUX", "units": dict.fromkeys("xyz", "m")}
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
    rows = Rows.of(columns, **known)

    def load(index: Mapping[str, int]) -> dict[str, NDArray[Any]]:
        found = rows.load(index)
        for role, values in found.items():
            if role != "channel" and values.dtype.kind == "U":
                raise DataError(f"'{file}' holds text as {role}; numbers were expected.")
            if values.size != found["x"].size:
                raise DataError(f"'{file}' holds {role} and x of different lengths; one was expected.")
        return found

    return replace(rows, load=load)


def _content(file: Path) -> Any:
    """Arrays and mappings of them, by name."""
    with file.open("rb") as stream:
        beginning = stream.read(8)
    if beginning.startswith(b"["):
        rows = json.loads(file.read_text(encoding="utf-8"))
        return {name: _column([row[name] for row in rows]) for name in rows[0]}
    if is_hdf5(file) or beginning == b"MATLAB 7":
        return load_arrays(file).values
    if beginning.startswith(b"MATLAB"):
        from scipy.io import loadmat

        return loadmat(str(file), simplify_cells=True)
    loaded = np.load(file, allow_pickle=False)
    return {"array": loaded} if isinstance(loaded, np.ndarray) else {n: loaded[n] for n in loaded.files}


def _column(values: list[Any]) -> Any:
    """An array; of lists of records, as of the iterations of MINFLUX, an array for each of their names."""
    records = isinstance(values[0], list) and values[0] and isinstance(values[0][0], Mapping)
    if not records:
        return np.array(values)
    return {name: np.array([[one[name] for one in row] for row in values]) for name in values[0][0]}


def _arrays(content: Any, name: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    """Arrays of numbers or text by their last name, those in structures among them."""
    if isinstance(content, Mapping):
        for key, part in content.items():
            yield from _arrays(part, str(key))
    elif (array := np.asarray(content)).dtype.names:
        for key in array.dtype.names or ():
            yield from _arrays(array[key], key)
    elif array.dtype.kind in "fiubUS":
        yield name, array.astype(str) if array.dtype.kind == "S" else array


def _last_iteration(found: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Positions of MINFLUX, shape (n, 3), and traces; iterations are an axis, or rows numbered by ``itr``."""
    position, kept = found["loc"], found["vld"].astype(bool).ravel()
    if position.ndim == 3:
        position = position[:, -1]
    elif "itr" in found:
        kept = kept & (found["itr"] == found["itr"].max())
    return {"loc": position[kept]} | {n: found[n].ravel()[kept] for n in ("tid",) if n in found}


def _decode_meta(file: Path) -> dict[str, Any]:
    """What DECODE states in the attributes of ``meta``; empty in other files."""
    with open_hdf5(file) as (opened, _):
        return {"kind": "DECODE", **decode_units(opened["meta"].attrs)} if "meta" in opened else {}


def decode_units(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Units and pixel size in DECODE's metadata: lengths along x and y in ``xy_unit``, those along z in nm.

    >>> decode_units({"xy_unit": "px", "px_size": [100.0, 100.0]})["pixel_size"]
    100.0
    """
    size, unit = meta.get("px_size"), meta.get("xy_unit")
    sides = np.ravel([] if size is None else size).tolist()
    if unit == "px" and len(set(sides)) > 1:
        raise DataError(f"DECODE states pixels of {sides} nm; square ones were expected. Export in nm.")
    roles = ("x", "y", "precision_x", "precision_y") if unit is not None else ()
    return {
        "units": dict.fromkeys(roles, str(unit)) | {"z": "nm"},
        "pixel_size": float(sides[0]) if sides else None,
    }


FORMAT = Format(lambda path, beginning: beginning.startswith(_BEGINNINGS), table=open_arrays)
