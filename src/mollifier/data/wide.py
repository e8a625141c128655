"""Wide tables: one column for each well, sensor or depth, to one row for each sample."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mollifier.errors import DataError

_WELL = re.compile(r"[A-P]\d{1,2}")  # Wells of a plate, as A1 to P24.


def stacked(
    table: pd.DataFrame, units: Mapping[str, str], wide: Mapping[str, str], kept: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """A table with its columns of numbers, but for those kept, below one another, and the units.

    Table and units are as `mollifier.data.tables.read_table` gives them. ``wide`` has, by the name of what
    the columns hold, the name of what distinguishes them, whose values are the headers, as numbers if all
    are. Columns ``kept`` are not stacked.

    >>> plate = pd.DataFrame({"t": [0, 1], "A1": [0.1, 0.2], "A2": [0.3, 0.4]})
    >>> rows, units = stacked(plate, {"t": "h"}, {"u": "well"}, ["t"])
    >>> rows["well"].tolist(), rows["u"].tolist()
    (['A1', 'A1', 'A2', 'A2'], [0.1, 0.2, 0.3, 0.4])
    """
    if len(wide) != 1:
        raise DataError(f"wide={dict(wide)} was given; one name was expected, as wide={{'u': 'well'}}.")
    ((value, over),) = wide.items()
    taken = [n for n in (value, over) if n in table]
    if taken:
        raise DataError(f"wide={dict(wide)} needs new names; the table has a column '{taken[0]}'.")
    columns = [c for c in table if c not in kept and table[c].dtype.kind in "fiu"]
    if len(columns) < 2:
        raise DataError(f"wide={dict(wide)} needs two columns of numbers or more beside {list(kept)}.")
    others = [c for c in table if c not in columns]
    rows = pd.melt(table, others, columns, over, value)
    numbers: Any = pd.to_numeric(rows[over], errors="coerce")
    positions = bool(numbers.notna().all())
    if positions:
        rows[over] = numbers
    stated = {units.get(str(c), "") for c in columns}
    named = {over if positions else value: stated.pop()} if len(stated) == 1 else {}
    kept_units = {n: unit for n, unit in units.items() if n in others}
    return rows, kept_units | {n: unit for n, unit in named.items() if unit}


def distinguished_by(names: Sequence[str]) -> str | None:
    """What distinguishes columns that hold the same: ``well``, or ``x`` of numbers; None of other names.

    >>> [distinguished_by(names) for names in (["A1", "A2", "H12"], ["0.5", "1", "2"], ["u", "v", "w"])]
    ['well', 'x', None]
    """
    if len(names) < 3:
        return None
    if all(map(_WELL.fullmatch, names)):
        return "well"
    return "x" if bool(pd.to_numeric(pd.Series(names), errors="coerce").notna().all()) else None
