"""Where the table in an instrument's file begins: below lines of text that say what was measured how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from mollifier.data.notation import MISSING, is_text, qualified


def header_below_text(rows: Sequence[Sequence[str]]) -> int:
    """Index of the row that is the header, where only lines of text are above it; else 0.

    ``rows`` are the cells of each row. Of the runs of rows with equally many cells one alone may be a table.

    >>> rows = [["Reader 7"], ["Gain", "100"], ["t", "u"], ["0", "0.1"], ["1", "0.2"], ["2", "<0.2"]]
    >>> header_below_text(rows), header_below_text(rows[2:])
    (2, 0)
    """
    found = [begin + h for begin, run in _runs(rows) if (h := _header_of(run)) is not None]
    if len(found) != 1 or not all(any(map(is_text, row)) for row in rows[: found[0]]):
        return 0
    return found[0]


def _runs(rows: Sequence[Sequence[str]]) -> Iterator[tuple[int, Sequence[Sequence[str]]]]:
    """Runs of rows with equally many cells, each with the index of its first row."""
    begin = 0
    for _, run in groupby(rows, len):
        table = list(run)
        yield begin, table
        begin += len(table)


def _header_of(table: Sequence[Sequence[str]]) -> int | None:
    """The row without a number in any column of numbers, above the first that holds them; None without one.

    A row of units may be between them. A column of numbers is one in which most rows hold a number.
    """
    if len(table[0]) < 2:
        return None
    number = np.array([[qualified(c) for c in row] for row in table])
    missing = np.array([[c.lower() in MISSING for c in row] for row in table])
    columns = number.mean(axis=0) > 0.5
    number, missing = number[:, columns], missing[:, columns]
    text = np.asarray(~number.any(axis=1) & ~missing.all(axis=1))
    data = np.asarray((number | missing).all(axis=1) & number.any(axis=1))
    first = int(np.argmax(data)) if data.any() else 0
    if not first or not text[first - 1]:
        return None
    units = first > 1 and text[first - 2] and not _is_header(table[first - 1], table[first - 2])
    return first - 2 if units else first - 1


def _is_header(row: Sequence[str], above: Sequence[str]) -> bool:
    """Whether the row below one of text is the header: it states units, or the one above is no header."""
    states = any(c.endswith(("]", ")")) and c[0] not in "[(" for c in row)
    return states or any(c.endswith(":") for c in above) or not all(above)
