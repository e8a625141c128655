"""Tables of localisations: arrays, as of DECODE, SMAP and MINFLUX; Picasso; SMLM; and any text."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mollifier.chromatin.formats.registry import Format, LocalizationTable
from mollifier.data.readers.hdf5 import load_arrays
from mollifier.data.text_tables import TextTable, read_layout
from mollifier.errors import DataError
from mollifier.io.hdf5_file import is_hdf5, open_hdf5

# Of NumPy's files, archives, MATLAB's, lists of records in JSON, and HDF5.
_BEGINNINGS = (b"\x93NUMPY", b"PK\x03\x04", b"MATLAB", b"[{", b"[\n", b"[ ", b"\x89HDF\r\n\x1a\n")
# Arrays of vectors, and the names of their components. DECODE's ``xyz_cr`` holds variances, not errors.
_VECTORS = {"xyz": "{}", "loc": "{}", "array": "{}", "xyz_sig": "precision_{}"}


def open_arrays(file: Path) -> LocalizationTable:
    """Columns of numbers in a file of arrays; of MINFLUX, the valid localisations of the last iteration.

    Raises `DataError` if it holds no columns, or some of different lengths.
    """
    found = dict(_arrays(_content(file)))
    known: dict[str, Any] = {"kind": "arrays"}
    if is_hdf5(file):
        # DECODE states its units in the attributes of ``meta``.
        with open_hdf5(file) as (opened, _):
            known |= {"kind": "DECODE", **decode_units(opened["meta"].attrs)} if "meta" in opened else {}
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
    rows = LocalizationTable.of(columns, **known)

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
        return {name: _records([row[name] for row in rows]) for name in rows[0]}
    if is_hdf5(file) or beginning == b"MATLAB 7":
        return load_arrays(file).values
    if beginning.startswith(b"MATLAB"):
        from scipy.io import loadmat

        return loadmat(str(file), simplify_cells=True)
    loaded = np.load(file, allow_pickle=False)
    return {"array": loaded} if isinstance(loaded, np.ndarray) else {n: loaded[n] for n in loaded.files}


def _records(values: list[Any]) -> Any:
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


ARRAYS = Format(lambda path, beginning: beginning.startswith(_BEGINNINGS), table=open_arrays)


def open_picasso(file: Path) -> LocalizationTable:
    """The table ``locs``, as Picasso or PyTables writes it; positions are in pixels, z in nm.

    Raises `DataError` if the file is damaged, or holds no such table.
    """
    with open_hdf5(file) as (_, arrays):
        node = arrays.get("locs", arrays.get("locs/table"))
        if node is None or not node.dtype.names:
            raise DataError(f"'{file}' holds {list(arrays)[:8]}; Picasso's table 'locs' was expected.")
        names = list(node.dtype.names)
        text: Any = arrays["metadata"][()] if "metadata" in arrays else None

    def load(index: Mapping[str, int]) -> dict[str, Any]:
        chosen = sorted({names[i] for i in index.values()})
        with open_hdf5(file) as (_, arrays):
            table = arrays["locs" if "locs" in arrays else "locs/table"].fields(chosen)[()]
        return {role: table[names[i]] for role, i in index.items()}

    embedded: Any = []
    with suppress(ValueError, TypeError):
        embedded = json.loads(text)
    size, extent = camera_of(picasso_metadata(file, embedded if isinstance(embedded, list) else [embedded]))
    return LocalizationTable(
        names, len(names), load, "Picasso HDF5", units={"z": "nm"}, unit="px", pixel_size=size,
        field_px=extent,
    )  # fmt: skip


def _is_picasso(path: Path, beginning: bytes) -> bool:
    if path.is_dir() or not is_hdf5(path):
        return False
    with open_hdf5(path) as (_, arrays):
        return any(name.split("/")[0] == "locs" for name in arrays)


class _Loader(yaml.SafeLoader):
    """YAML with the objects of other programs as the plain values that they are written with."""


def _plain(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]


_Loader.add_multi_constructor("", _plain)


def picasso_metadata(file: Path, embedded: Sequence[Any] = ()) -> list[Any]:
    """The documents of the YAML file of the same name, or else those that the file holds.

    Raises `DataError` if that file is no YAML, or the positions are an average of molecules.
    """
    beside = file.with_suffix(".yaml")
    found = list(embedded)
    if beside.is_file():
        try:
            found = [d for d in yaml.load_all(beside.read_text(encoding="utf-8"), _Loader) if d] or found
        except (yaml.YAMLError, ValueError, TypeError, LookupError, RecursionError) as error:
            raise DataError(f"'{beside}' is no YAML: {str(error).splitlines()[0]}.") from error
    for document in found:
        if isinstance(document, dict) and "Average" in str(document.get("Generated by", "")):
            raise DataError(
                f"'{file}' holds averaged molecules, as its metadata say; localisations of a field of view "
                "were expected. Give the file from before averaging."
            )
    return found


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


PICASSO = Format(_is_picasso, table=open_picasso)


_MANIFEST = "manifest.json"


def open_smlm(file: Path) -> LocalizationTable:
    """The binary tables of an SMLM archive one below another; a column ``channel`` holds the channel of each.

    ``manifest.json`` describes them: github.com/imodpasteur/smlm-file-format, version 0.2.

    Raises `DataError` if it holds no binary tables of one layout.
    """
    with zipfile.ZipFile(file) as archive:
        manifest = json.loads(archive.read(_MANIFEST))
        infos = [i for i in manifest["files"] if i["type"] == "table"]
        forms = [manifest["formats"][i["format"]] for i in infos]
        if not infos or any(f["mode"] != "binary" or f["headers"] != forms[0]["headers"] for f in forms):
            raise DataError(
                f"'{file}' holds {len(infos)} tables; binary ones of the same columns were expected. Unpack "
                "it, or export it as CSV."
            )
        parts = [_columns(archive, i, f) for i, f in zip(infos, forms, strict=True)]
    stated = dict(zip(forms[0]["headers"], forms[0].get("units", ()), strict=False))
    columns = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    return LocalizationTable.of(columns, "SMLM", below=[str(stated.get(n, "")) for n in columns])


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


def _is_smlm(path: Path, beginning: bytes) -> bool:
    if not beginning.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return _MANIFEST in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


SMLM = Format(_is_smlm, table=open_smlm)


def open_text(file: Path) -> LocalizationTable:
    """Any text table, with what the names of its columns and DECODE's comments show of its program.

    ThunderSTORM, Picasso and DECODE CSV are among them, and the tables of the vendors' programs.
    """
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
    elif meta := _decode_comment(table):
        known = {"kind": "DECODE CSV", **decode_units(meta)}
    return LocalizationTable(names, table.width, load, below=table.units, **known)


def _decode_comment(table: TextTable) -> dict[str, Any]:
    """The metadata in DECODE's comments; empty in other files."""
    for line in table.comments:
        try:
            found = json.loads(line.lstrip("# "))
        except ValueError:
            continue
        if isinstance(found, dict) and "xy_unit" in found:
            return found
    return {}


TEXT = Format(lambda path, beginning: not path.is_dir(), table=open_text)
