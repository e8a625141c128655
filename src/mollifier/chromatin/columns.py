"""Columns of localisation tables, found by name in text (also gzipped) and HDF5 files."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from mollifier.chromatin.lengths import known_unit
from mollifier.errors import DataError, did_you_mean

Array = NDArray[np.float64]

# What programs call a column, without its unit; the first that is there is taken.
NAMES = {
    "x": ("xwc", "xc", "x", "position_x", "x_position", "pos_x", "x_coord", "localization_x"),
    "y": ("ywc", "yc", "y", "position_y", "y_position", "pos_y", "y_coord", "localization_y"),
    "frame": ("frame", "frames", "first_frame", "frame_number", "image_number", "t_frame", "framenumber"),
    "precision": (
        "uncertainty_xy", "uncertainty", "precision", "precisions", "locprec", "localization_precision",
        "lateral_localization_accuracy",
    ),
    "precision_x": ("lpx", "uncertainty_x", "precision_x", "x_precision", "crlb_x"),
    "precision_y": ("lpy", "uncertainty_y", "precision_y", "y_precision", "crlb_y"),
    "photons": ("photons", "intensity", "number_photons", "n_photons", "nphotons", "phot", "photon_count"),
}  # fmt: skip
LENGTHS = ("x", "y", "precision", "precision_x", "precision_y")
_HEAD = 65_536
_GZIP, _HDF5 = b"\x1f\x8b", b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Columns:
    """Columns by role, as they stand in the file.

    Attributes
    ----------
    values
        Role -> numbers, shape (n,).
    names, units
        Role -> name in the file, and the unit its header states.
    pixel_size, field_px
        From Picasso's metadata: nm, and (width, height) in pixels.
    kind
        What wrote the file, as far as it shows.
    """

    values: dict[str, Array]
    names: dict[str, str]
    units: dict[str, str]
    kind: str
    pixel_size: float | None = None
    field_px: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Head:
    """How a text file is laid out."""

    names: list[str] | None
    width: int
    skip: int
    separator: str
    decimal: str
    encoding: str
    gzipped: bool = field(default=False)


def read_columns(file: Path, wanted: Mapping[str, str] | Sequence[str] | None) -> Columns:
    """The columns that play a role.

    Parameters
    ----------
    wanted
        Role -> name in the file, for what is not found by itself; or, for a text file without a header, the
        roles of its columns in order ("" for one to leave out).

    Raises
    ------
    DataError
        If the file is missing, empty or no table, lacks x or y, or holds text where numbers were wanted.
    """
    require_file(file)
    with file.open("rb") as stream:
        magic = stream.read(8)
    if not magic:
        raise DataError(f"'{file}' is empty; a table with columns x and y was wanted.")
    if magic == _HDF5:
        return _from_hdf5(file, wanted)
    return _from_text(file, wanted, magic.startswith(_GZIP))


def split_unit(name: str) -> tuple[str, str | None]:
    """A header as a plain lower-case name and its unit.

    >>> split_unit("X [nm]"), split_unit("uncertainty_xy [nm]"), split_unit("y_um"), split_unit("lpx")
    (('x', 'nm'), ('uncertainty_xy', 'nm'), ('y', 'um'), ('lpx', None))
    """
    text = name.strip().strip("\"'").strip()
    found = re.fullmatch(r"(.*?)\s*[\[(]([^\])]*)[\])]", text)
    unit = known_unit(found.group(2)) if found else None
    plain = re.sub(r"\W+", "_", found.group(1) if found else text).strip("_").lower()
    known = {n for names in NAMES.values() for n in names}
    if plain not in known and (ending := re.fullmatch(r"(.+?)_?(nm|nano|um|px|pix)", plain)):
        base, spelled = ending.groups()
        if base in known:
            return base, known_unit(spelled)
    return plain, unit


def require_file(file: Path) -> None:
    """Refuse a path that is no file.

    Raises
    ------
    DataError
        If it is missing or a folder; with the nearest name there is.
    """
    if file.is_dir():
        raise DataError(f"'{file}' is a folder; a file was wanted. Name the files in it, as '{file}'/*.csv.")
    if not file.is_file():
        there = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(f"There is no file '{file}'.{did_you_mean(file.name, there) if there else ''}")


def identify(
    names: Sequence[str], wanted: Mapping[str, str] | None, file: Path
) -> tuple[dict[str, int], dict[str, str]]:
    """Index and stated unit of the column that plays each role.

    Raises
    ------
    DataError
        If x or y is missing, or a name that was asked for.
    """
    plain = [split_unit(n) for n in names]
    index: dict[str, int] = {}
    for role, aliases in NAMES.items():
        position = {p: i for i, (p, _) in reversed(list(enumerate(plain)))}
        index |= next(({role: position[a]} for a in aliases if a in position), {})
    stripped = [n.strip().strip("\"'") for n in names]
    for role, name in (wanted or {}).items():
        _check_role(role)
        match = [i for i, n in enumerate(stripped) if name in (n, plain[i][0])]
        if not match:
            raise DataError(f"'{file}' has no column '{name}' for {role}.{did_you_mean(name, stripped)}")
        index[role] = match[0]
    for role in ("x", "y"):
        if role not in index:
            raise DataError(
                f"'{file}' has no column for {role} among {stripped[:12]}; name it, as "
                f"--columns {role}=NAME (columns={{'{role}': 'NAME'}})."
            )
    return index, {role: unit for role, i in index.items() if (unit := plain[i][1])}


def _check_role(role: str) -> None:
    if role not in NAMES:
        raise DataError(f"'{role}' is no role of a column.{did_you_mean(role, NAMES)}")


def _from_text(file: Path, wanted: Mapping[str, str] | Sequence[str] | None, gzipped: bool) -> Columns:
    head = _look(file, gzipped)
    if head.names is None:
        roles = _roles_without_header(file, head, wanted)
        index, units, names = {r: i for i, r in enumerate(roles) if r}, {}, {r: r for r in roles if r}
    else:
        index, units = identify(head.names, _as_mapping(wanted, file), file)
        names = {r: head.names[i].strip().strip("\"'") for r, i in index.items()}
    values = _parse(file, head, index)
    picasso = "precision_x" in index and names["precision_x"] == "lpx" and "x" not in units
    kind = "text without header" if head.names is None else "Picasso CSV" if picasso else "table"
    if names.get("photons", "").startswith("intensity") and "x" in units:
        kind = "ThunderSTORM CSV"
    size, extent = _picasso_info(_yaml_beside(file)) if picasso else (None, None)
    return Columns(values, names, units, kind, size, extent)


def _as_mapping(wanted: Mapping[str, str] | Sequence[str] | None, file: Path) -> Mapping[str, str] | None:
    if wanted is None or isinstance(wanted, Mapping):
        return wanted
    raise DataError(
        f"'{file}' has a header, and columns={list(wanted)} lists roles in order; name the columns that are "
        "not found by themselves, as columns={'x': 'NAME'}."
    )


def _roles_without_header(file: Path, head: _Head, wanted: Any) -> list[str]:
    if isinstance(wanted, Mapping):
        raise DataError(
            f"'{file}' has no header to look up {dict(wanted)} in; list the roles of its {head.width} "
            "columns in order, as columns=['frame', 'x', 'y']."
        )
    roles = list(wanted) if wanted is not None else ["x", "y"]
    for role in filter(None, roles):
        _check_role(role)
    if len(roles) != head.width or not {"x", "y"} <= set(roles):
        raise DataError(
            f"'{file}' has {head.width} columns without names, and {roles} was given for them; say what "
            "every one is, as --columns frame,x,y (columns=['frame', 'x', 'y'], '' for one to leave out)."
        )
    return roles


def _opened(file: Path, gzipped: bool) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file, "rb") if gzipped else file.open("rb"))


def _look(file: Path, gzipped: bool) -> _Head:
    """Separator, decimal sign, header and number of columns, from the first lines."""
    try:
        with _opened(file, gzipped) as stream:
            raw = stream.read(_HEAD)
    except (OSError, EOFError) as error:
        raise DataError(f"'{file}' cannot be unpacked ({error}); it may be cut short.") from error
    encoding = "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        # A character cut by the end of the block is no sign of another encoding.
        encoding = encoding if error.start > len(raw) - 4 else "latin-1"
        text = raw.decode(encoding, errors="replace")
    if "\0" in text:
        raise DataError(f"'{file}' is no text; a CSV, a text table or a Picasso HDF5 file was wanted.")
    lines = text.splitlines()
    skip = next((i for i, s in enumerate(lines) if s.strip() and s.lstrip()[0] not in "#%"), None)
    if skip is None:
        raise DataError(f"'{file}' has no rows; one localisation a row was wanted.")
    first = lines[skip]
    separator = next((s for s in ("\t", ";", ",") if s in first), r"\s+")
    cells = _cells(first, separator)
    following = lines[skip + 1] if len(lines) > skip + 1 else ""
    comma = separator == ";" and "," in (first if _numeric(cells, ",") else following)
    decimal = "," if comma else "."
    if not _numeric(cells, decimal):
        return _Head(cells, len(cells), skip + 1, separator, decimal, encoding, gzipped)
    comments = [c.lstrip("#% ") for c in lines[:skip] if c.strip()]
    named = _cells(comments[-1], separator) if comments else []
    fits = len(named) == len(cells) and not _numeric(named, decimal)
    return _Head(named if fits else None, len(cells), skip, separator, decimal, encoding, gzipped)


def _cells(line: str, separator: str) -> list[str]:
    return line.split() if separator == r"\s+" else [c.strip() for c in line.strip().split(separator)]


def _numeric(cells: Iterable[str], decimal: str) -> bool:
    try:
        [float(c.replace(decimal, ".")) for c in cells if c]
    except ValueError:
        return False
    return True


def _parse(file: Path, head: _Head, index: Mapping[str, int]) -> dict[str, Array]:
    """The columns as float64, by pandas' C parser."""
    options: dict[str, Any] = {
        "sep": head.separator, "decimal": head.decimal, "encoding": head.encoding, "header": None,
        "skiprows": head.skip, "usecols": sorted(set(index.values())), "engine": "c",
        "compression": "gzip" if head.gzipped else None,
    }  # fmt: skip
    try:
        table = pd.read_csv(file, dtype=np.float64, **options)
    except pd.errors.EmptyDataError as error:
        raise DataError(f"'{file}' has a header but no rows; one localisation a row was wanted.") from error
    except (ValueError, OSError, EOFError) as error:
        raise _bad_cell(file, options, index, head) or DataError(
            f"'{file}' cannot be read as a table ({str(error).splitlines()[0]}); it may be cut short."
        ) from error
    return {role: np.ascontiguousarray(table[i].to_numpy()) for role, i in index.items()}


def _bad_cell(file: Path, options: dict[str, Any], index: Mapping[str, int], head: _Head) -> DataError | None:
    """The first cell that holds text, as an error; None where the trouble is another."""
    try:
        table = pd.read_csv(file, dtype=str, **options)
    except (ValueError, OSError, EOFError):
        return None
    for role, i in index.items():
        column: Any = table[i]
        numbers: Any = pd.to_numeric(column.str.replace(head.decimal, "."), errors="coerce")
        bad = numbers.isna() & column.notna()
        if bad.any():
            row = int(np.argmax(bad.to_numpy()))
            return DataError(
                f"'{file}' holds text in column {i + 1} ({role}), first in line {row + head.skip + 1}: "
                f"{column.iloc[row]!r}; numbers were wanted."
            )
    return None


def _from_hdf5(file: Path, wanted: Mapping[str, str] | Sequence[str] | None) -> Columns:
    """The table ``locs`` of a Picasso file, as Picasso or PyTables writes it."""
    import h5py

    try:
        with h5py.File(file, "r") as opened:
            node: Any = opened.get("locs")
            node = node.get("table") if isinstance(node, h5py.Group) else node
            if not isinstance(node, h5py.Dataset) or not node.dtype.names:
                raise DataError(f"'{file}' holds {list(opened)[:8]}; Picasso's table 'locs' was wanted.")
            names = list(node.dtype.names)
            index, units = identify(names, _as_mapping(wanted, file), file)
            chosen = {role: names[i] for role, i in index.items()}
            table = node.fields(list(dict.fromkeys(chosen.values())))[()]
            embedded = opened.get("metadata")
            text: Any = embedded[()] if isinstance(embedded, h5py.Dataset) else None
    except OSError as error:
        raise DataError(f"'{file}' cannot be read as HDF5 ({error}); it may be cut short.") from error
    values = {role: table[name].astype(np.float64) for role, name in chosen.items()}
    info = _yaml_beside(file) or (_json(text) if text is not None else [])
    size, extent = _picasso_info(info)
    return Columns(values, chosen, units, "Picasso HDF5", size, extent)


def _yaml_beside(file: Path) -> list[Any]:
    """Picasso's metadata: the documents of the YAML file of the same name."""
    beside = file.with_suffix(".yaml")
    if not beside.is_file():
        return []
    try:
        return [d for d in yaml.safe_load_all(beside.read_text(encoding="utf-8")) if d]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"'{beside}' is no YAML: {str(error).splitlines()[0]}.") from error


def _json(text: Any) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, TypeError):
        return []
    return found if isinstance(found, list) else [found]


def _picasso_info(documents: Iterable[Any]) -> tuple[float | None, tuple[float, float] | None]:
    """Pixel size in nm and field in pixels; later steps of an analysis overrule earlier ones."""
    info: dict[str, Any] = {}
    for document in documents:
        info |= document if isinstance(document, dict) else {}

    def number(key: str) -> float | None:
        value = info.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    width, height = number("Width"), number("Height")
    return number("Pixelsize"), None if width is None or height is None else (width, height)
