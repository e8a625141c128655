"""Tables with one row for each sample: a grid if the rows fill one, scattered points otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mollifier.data import selection
from mollifier.data.building import COORDINATE_NAMES, POINT, REPLICATE, Roles, indexed, time_last
from mollifier.data.experiments import numbered
from mollifier.data.notation import qualified
from mollifier.data.readers.registry import Reader
from mollifier.data.text_tables import first_text, read_layout, split_header
from mollifier.data.times import holds_moments, moments
from mollifier.errors import DataError, check_known, did_you_mean
from mollifier.mollify.arrays import Index

_FULL = 0.5  # Rows that fill at least this part of the product of their coordinates are a grid with gaps.
# A column of which more than this part is numbers, or this part different ones, is no label: other cells are
# damaged.
_NUMBERS, _DIFFER = 0.75, 0.25
_UNEVEN = 20.0  # One coordinate alone always fills its own product; gaps this uneven are scattered samples.
# Positions closer than this part of the extent are one node, printed twice with different rounding.
_SAME = 1e-9


_MOMENTS = (
    "Dates are written as 2025-12-31 14:30, times as h:mm:ss; names of experiments have several rows each."
)


def read_table(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table and the units of its columns: ``x [nm]`` is column ``x`` in ``nm``; the index is the line."""
    found = read_layout(path)
    if found.names is None:
        first = found.frame().iloc[0].tolist()[:4]
        raise DataError(
            f"'{path}' begins with numbers {first}; a first line with the column names was expected."
        )
    table, units = _labelled(found.frame(), found.names, found.units)
    if "" in table:
        table = _without_row_numbers(table, list(table).index(""), path)
    return table, units


def of_frame(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """A table of pandas as `read_table` has it; named levels of its index, and dates, are columns.

    >>> rows = pd.DataFrame({"x [mm]": [0, 1], "u": [2.0, 3.0]}, index=pd.Index([5, 5], name="t"))
    >>> table, units = of_frame(rows)
    >>> list(table), units
    (['t', 'x', 'u'], {'x': 'mm'})
    """
    if not len(frame):
        raise DataError(f"The table with columns {[str(c) for c in frame]} has no rows.")
    if isinstance(frame.index, pd.DatetimeIndex | pd.TimedeltaIndex) and frame.index.name is None:
        frame = frame.rename_axis("time")
    levels = [level for level in frame.index.names if level is not None]
    table = frame.reset_index(levels).reset_index(drop=True)
    headers = [str(c) for c in table.columns]
    twice = sorted({n for n in headers if headers.count(n) > 1})
    if twice:
        raise DataError(f"The table has several columns '{twice[0]}'; each name was expected once.")
    return _labelled(table, headers, [])


def _labelled(
    table: pd.DataFrame, headers: Sequence[str], below: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """A table whose headers are names, and their units, from the headers or a row below them."""
    plain = [split_header(n)[0] for n in headers]
    # With its unit where a quantity is there in several: u [K], u [C].
    names = [p if plain.count(p) == 1 else n for n, p in zip(headers, plain, strict=True)]
    every = zip_longest(names, headers, below[: len(names)], fillvalue="")
    units = {n: unit for n, header, row in every if (unit := split_header(header)[1] or row)}
    return table.set_axis(names, axis=1), units


READER = Reader((".csv", ".tsv", ".txt"), read_table)


def _without_row_numbers(table: pd.DataFrame, column: int, path: Path) -> pd.DataFrame:
    """A table without the one column that has no name, which may only count the rows."""
    count = table.iloc[:, column]
    if count.dtype.kind != "i" or not (np.diff(count) == 1).all():
        raise DataError(f"'{path}' has no name for column {column + 1}; a name for each was expected.")
    return table.drop(columns="")


def select_rows(table: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """Rows in which each named column equals its value or one of several; a single value drops the column."""
    for name, value in where.items():
        check_known(name, map(str, table.columns), DataError, "There is no column '{}' to select by.")
        hit, single = selection.matches(name, _labels(table[name]), value)
        table = pd.DataFrame(table.loc[hit])
        if single:
            table = table.drop(columns=name)
    return table


def _labels(column: Any) -> NDArray[Any]:
    values = column.to_numpy()
    return values if values.dtype.kind in "fiubM" else column.astype(str).to_numpy().astype(str)


def columns_of_names(table: pd.DataFrame) -> list[str]:
    """Columns without empty cells in which several names repeat.

    >>> rows = {"who": ["Ada", "Ada", "Bea"], "note": ["a", "b", "c"], "lab": ["x", "x", "x"], "t": [0, 1, 0]}
    >>> columns_of_names(pd.DataFrame(rows))
    ['who']
    """
    full = [str(c) for c in table.columns if c != REPLICATE and bool(np.all(table[c].notna()))]
    names = {c: found[1] for c in full if (found := numbered(table[c]))}
    return [c for c, found in names.items() if len(found) > 1]


def _numbers(table: pd.DataFrame, name: str, dates: bool = False) -> NDArray[Any]:
    """A column as float64, or dates where they are allowed; text is refused with its line."""
    column: Any = table[name]
    if column.dtype.kind in "fiu":
        return column.to_numpy(dtype=float)
    if column.dtype.kind == "c":
        raise DataError(f"Column '{name}' holds complex numbers; real values were expected.")
    if dates and column.dtype.kind == "m":
        return column.to_numpy()
    if dates and holds_moments(column):
        return moments(name, column)
    _refuse_text(name, column, _MOMENTS if dates else "")
    numbers: Any = pd.to_numeric(column)
    return numbers.to_numpy(dtype=float)


def _refuse_damaged(name: str, column: Any) -> None:
    """Refuse a column that nobody named and that is numbers but for some cells: it is no label.

    The numbers among labels are few or repeat; those of a measurement are many, or differ.
    """
    if column.dtype.kind in "fiubcM":
        return
    numbers: Any = pd.to_numeric(column, errors="coerce")
    there = numbers.dropna()
    measured = len(there) > max(_NUMBERS * len(column), 1) or there.nunique() > max(_DIFFER * len(column), 1)
    if measured or any(qualified(str(c)) for c in column[numbers.isna()].dropna().unique()):
        _refuse_text(name, column, "If it is a label, name the others, as values=['u'].")


def _refuse_text(name: str, column: Any, remedy: str = "") -> None:
    at = first_text(column)
    if at is not None:
        place = f"line {at}" if column.index.name == "line" else f"row {column.index.get_loc(at) + 1}"
        raise DataError(
            f"Column '{name}' holds text, first in {place}: {str(column[at])!r}; numbers were expected. "
            "Leave the cell empty where a value is missing or below detection, and write all decimals in one "
            f"way. {remedy}".rstrip()
        )


def tabulate(
    table: pd.DataFrame, roles: Roles, gridded: bool | None = None
) -> tuple[xr.Dataset, tuple[str, ...], tuple[str, ...]]:
    """The rows as a dataset, its coordinates and its replicate dimensions.

    Columns named x, y, z, lon, lat, t or time are the coordinates and the other columns of numbers the
    variables, unless they are named. ``gridded`` overrules the choice between a grid and scattered points.
    """
    variables, coordinates, errors = roles.variables, roles.coordinates, roles.errors
    replicates = roles.replicates
    columns = [str(c) for c in table.columns]
    axes = tuple(coordinates or ())
    for name in (*axes, *(variables or ()), *(replicates or ()), *errors):
        if name not in columns:
            hint = f" If each column is of one {name}, say wide={{'u': '{name}'}}." if name in axes else ""
            raise DataError(
                f"The table has no column '{name}'.{did_you_mean(name, columns)} Columns: {columns}.{hint}"
            )
    taken = {*(variables or ()), *(replicates or ()), *errors}
    axes = axes or axes_of([c for c in columns if c not in taken])
    if not axes:
        raise DataError(
            f"No column of {columns} is named like a coordinate; name them, as coordinates=['{columns[0]}'] "
            f"(mollifier init --coordinates {columns[0]},...)."
        )
    repeats = tuple(replicates) if replicates is not None else tuple(c for c in columns if c == REPLICATE)
    repeats = tuple(r for r in repeats if r not in (*axes, *(variables or ())))
    other = [c for c in columns if c not in (*axes, *repeats, *errors)]
    chosen = tuple(variables or (c for c in other if table[c].dtype.kind in "fiu"))
    if not variables:
        for name in other:
            _refuse_damaged(name, table[name])
    if not chosen:
        for name in other:
            _refuse_text(name, table[name])
        raise DataError(
            f"The columns {columns} leave no variable beside the coordinates {axes}; name both, as "
            "coordinates=['t'], values=['x']."
        )
    both = [c for c in axes if c in (*chosen, *errors)]
    if both:
        raise DataError(f"'{both[0]}' was named both a coordinate and a variable; it can be one of them.")
    named = {c: numbered(table[c]) for c in axes}
    position = {c: _numbers(table, c, dates=True) if e is None else e[0] for c, e in named.items()}
    attrs = {c: {"experiments": ", ".join(e[1])} for c, e in named.items() if e is not None}
    data = {c: _numbers(table, c) for c in dict.fromkeys((*chosen, *errors))}
    labels = {c: _labels(table[c]) for c in (*repeats, *(c for c in other if c not in chosen))}
    plan = (
        None if gridded is False else _grid_plan(position, {r: labels[r] for r in repeats}, gridded is True)
    )
    if plan is None:
        coords = {c: (POINT, x, attrs.get(c, {})) for c, x in position.items()} | {
            c: (POINT, x, {"role": "label"}) for c, x in labels.items()
        }
        return xr.Dataset({v: (POINT, x) for v, x in data.items()}, coords), axes, ()
    nodes, index = plan
    shape = tuple(n.size for n in nodes.values())
    filled: dict[str, Any] = {}
    for v, x in data.items():
        whole = np.full(shape, np.nan)
        whole[tuple(index)] = x
        filled[v] = (tuple(nodes), whole)
    coords = {n: (n, indexed(x), attrs.get(n, {})) for n, x in nodes.items()}
    return xr.Dataset(filled, coords), axes, repeats


def axes_of(columns: Sequence[str]) -> tuple[str, ...]:
    """The columns named like a coordinate, time last; of t and T the capital is a variable, as a temperature.

    >>> axes_of(["t", "T", "X", "u"])
    ('X', 't')
    """
    small = {c: c.lower() for c in columns}
    return time_last(c for c, s in small.items() if s in COORDINATE_NAMES and (c == s or s not in columns))


def _grid_plan(
    position: Mapping[str, NDArray[Any]], repeats: Mapping[str, NDArray[Any]], forced: bool
) -> tuple[dict[str, NDArray[Any]], list[Index]] | None:
    """Nodes of each axis and the index of each row along it; None where the rows are scattered."""
    nodes: dict[str, NDArray[Any]] = {}
    index: list[Index] = []
    for name, x in {**position, **repeats}.items():
        values, where = np.unique(x, return_inverse=True)
        if name in position and values.dtype.kind == "f":
            if not np.isfinite(values).all():
                if forced:
                    raise DataError(
                        f"Coordinate '{name}' has points that are not finite numbers; drop those rows."
                    )
                return None
            first = np.concatenate([[True], np.diff(values) > _SAME * np.ptp(values)])
            values, where = values[first], (np.cumsum(first) - 1)[where.ravel()]
        nodes[name] = values
        index.append(where.ravel())
    size = float(np.prod([float(n.size) for n in nodes.values()]))
    rows = len(index[0])
    if rows >= _FULL * size or (forced and size < 1e9):
        flat = np.ravel_multi_index(index, tuple(n.size for n in nodes.values()))
        repeated = rows - np.unique(flat).size
        even = len(position) > 1 or forced or _evenness(next(iter(nodes.values()))) <= _UNEVEN
        if not repeated and even:
            return nodes, index
        if forced and repeated:
            raise DataError(
                f"{repeated} rows repeat the coordinates {tuple(position)} of another; name the column that "
                "distinguishes them in replicates or select, or read scattered points (gridded=False)."
            )
    if forced:
        raise DataError(
            f"{rows} rows fill too little of a grid of {size:.3g} nodes; read them as scattered points."
        )
    return None


def _evenness(nodes: NDArray[Any]) -> float:
    steps = np.diff(nodes).astype(float)
    return float(steps.max() / steps.min()) if steps.size else 1.0
