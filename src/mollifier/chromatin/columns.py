"""Columns of localisation tables, found by name, and the rows of one channel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mollifier.chromatin.formats.registry import LocalizationTable, open_table
from mollifier.chromatin.ranges import known_unit
from mollifier.data.text_tables import split_header
from mollifier.errors import DataError, check_known
from mollifier.mollify.arrays import Array

Roles = Mapping[str, str] | Sequence[str]

# Names that programs give to a column, without its unit and underscores; the first one present is used.
NAMES = {
    "x": ("xwc", "xc", "x", "positionx", "xposition", "posx", "xcoord", "localizationx", "position00"),
    "y": ("ywc", "yc", "y", "positiony", "yposition", "posy", "ycoord", "localizationy", "position10"),
    "z": ("zwc", "zc", "z", "positionz", "zposition", "posz", "zcoord", "localizationz", "position20"),
    "frame": (
        "frame", "frames", "firstframe", "framenumber", "imagenumber", "tframe", "frameix", "imagenumber00",
    ),
    "precision": (
        "uncertaintyxy", "uncertainty", "precision", "precisions", "locprec", "localizationprecision",
        "laterallocalizationaccuracy",
    ),
    "precision_x": ("lpx", "uncertaintyx", "precisionx", "xprecision", "crlbx", "xsig"),
    "precision_y": ("lpy", "uncertaintyy", "precisiony", "yprecision", "crlby", "ysig"),
    "photons": ("photons", "intensity", "numberphotons", "nphotons", "phot", "photoncount"),
    "trace": ("tid", "traceid", "trace"),
    "channel": ("channel", "channelname", "channels", "channelindex", "probe"),
}  # fmt: skip
_KNOWN = {name for names in NAMES.values() for name in names}
LENGTHS = ("x", "y", "z", "precision", "precision_x", "precision_y")


@dataclass(frozen=True)
class Columns:
    """Columns by role, in the units of the file."""

    values: dict[str, Array]  #: Role -> numbers, shape (n,).
    #: Role -> name in the file, and the unit that the file states.
    names: dict[str, str]
    units: dict[str, str]
    rows: LocalizationTable  #: The table that they are from.


def read_columns(file: Path, roles: Roles | None, channel: int | str | None = None) -> Columns:
    """The columns that have a role, of the rows with a value in the column of channels, if it has several.

    ``roles`` is role -> name in the file, for columns that are not found automatically; or, for a text file
    without a header, the roles of its columns in order ("" for one to leave out). Raises `DataError` if the
    file is missing, empty or no table, lacks x or y, holds text where numbers are expected, or holds several
    channels and none was chosen.
    """
    rows = open_table(file)
    if rows.names is None:
        listed = _roles_without_header(file, rows.width, roles)
        index, units = {r: i for i, r in enumerate(listed) if r}, {}
        names = {r: r for r in index}
    else:
        if roles is not None and not isinstance(roles, Mapping):
            order = ",".join(map(str, roles))
            raise DataError(
                f"'{file}' has a header, and its columns were given in order, as {order}; "
                "name those that are not found automatically, as --columns x=NAME (columns={'x': 'NAME'})."
            )
        index, units = identify(rows.names, roles, file)
        below = {r: rows.below[i] for r, i in index.items() if rows.below and rows.below[i]}
        units = {**rows.units, **{r: known_unit(u) or u for r, u in below.items()}, **units}
        names = {r: rows.names[i] for r, i in index.items()}
    values = rows.load(index)
    channels = values.pop("channel", None)
    numbers = {role: np.asarray(a, dtype=np.float64) for role, a in values.items()}
    units = {role: unit for role, unit in units.items() if role in names}
    return _one_channel(file, Columns(numbers, names, units, rows), channels, channel)


def split_unit(name: str) -> tuple[str, str | None]:
    """A header as a plain lower-case name and its unit, as written where it is not known.

    >>> split_unit("X [nm]"), split_unit("uncertainty_xy [nm]"), split_unit("y_um"), split_unit("lpx")
    (('x', 'nm'), ('uncertainty_xy', 'nm'), ('y', 'um'), ('lpx', None))
    """
    text, stated = split_header(name)
    plain = re.sub(r"\W+", "_", text).strip("_").lower()
    ending = re.fullmatch(r"(.+?)_?(nm|nano|um|px|pix)", plain)
    if ending and _bare(plain) not in _KNOWN and _bare(ending[1]) in _KNOWN:
        return ending[1], known_unit(ending[2])
    return plain, known_unit(stated) or stated or None


def _bare(plain: str) -> str:
    return plain.replace("_", "")


def identify(
    names: Sequence[str], chosen: Mapping[str, str] | None, file: Path
) -> tuple[dict[str, int], dict[str, str]]:
    """Index and stated unit of the column that has each role; x and y must be there, and chosen names.

    Of two columns of one name, as of ``X (px)`` and ``X (nm)``, the one in a unit of length is taken.
    """
    plain = [split_unit(n) for n in names]
    index: dict[str, int] = {}
    order = sorted(range(len(plain)), key=lambda i: plain[i][1] == "px")
    position = {_bare(plain[i][0]): i for i in reversed(order)}
    for role, aliases in NAMES.items():
        index |= next(({role: position[a]} for a in aliases if a in position), {})
    check_known(chosen or (), NAMES, DataError, "'{}' is no role of a column.")
    for role, name in (chosen or {}).items():
        match = [i for i, n in enumerate(names) if name in (n, plain[i][0])]
        if not match:
            check_known(name, names, DataError, f"'{file}' has no column '{{}}' for {role}.")
        index[role] = match[0]
    for role in ("x", "y"):
        if role not in index:
            raise DataError(
                f"'{file}' has no column for {role} among {list(names)[:12]}; name it, as --columns "
                f"{role}=NAME (columns={{'{role}': 'NAME'}})."
            )
    return index, {role: unit for role, i in index.items() if (unit := plain[i][1])}


def _one_channel(file: Path, found: Columns, channels: Any, chosen: int | str | None) -> Columns:
    """The rows of the chosen channel."""
    if channels is None:
        if chosen is not None:
            raise DataError(
                f"'{file}' has no column of channels, and channel {chosen} was chosen; name the column, as "
                "--columns channel=NAME, or leave out --channel."
            )
        return found
    whole = np.asarray(channels)
    whole = whole.astype(int) if whole.dtype.kind == "f" and (whole == np.floor(whole)).all() else whole
    labels = whole.astype(str)
    there = sorted(set(labels.tolist()))
    if chosen is None and len(there) == 1:
        return found
    if chosen is None:
        raise DataError(
            f"'{file}' holds {len(there)} channels ({', '.join(there[:8])}); choose one, as --channel "
            f"{there[0]} (channel='{there[0]}')."
        )
    if str(chosen) not in there:
        raise DataError(f"'{file}' has no channel {chosen}; there are {', '.join(there[:8])} (--channel).")
    keep = labels == str(chosen)
    return replace(found, values={role: a[keep] for role, a in found.values.items()})


def _roles_without_header(file: Path, width: int, roles: Roles | None) -> list[str]:
    if isinstance(roles, Mapping):
        raise DataError(
            f"'{file}' has no header in which to look up {', '.join(map(str, roles.values()))}; list the "
            f"roles of its {width} columns in order, as --columns frame,x,y (columns=['frame', 'x', 'y'])."
        )
    listed = list(roles) if roles is not None else ["x", "y"]
    check_known(filter(None, listed), NAMES, DataError, "'{}' is no role of a column.")
    if len(listed) != width or not {"x", "y"} <= set(listed):
        raise DataError(
            f"'{file}' has {width} columns without names, and {','.join(map(str, listed))} was given for "
            "them; give the role of each, as --columns frame,x,y (columns=['frame', 'x', 'y'], '' "
            "for one to leave out)."
        )
    return listed
