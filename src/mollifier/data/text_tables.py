"""Text tables (CSV, TSV, columns by spaces): the dialect is found, every row is checked, pandas parses them.

One reader for data files, localisation tables, polygons and tables of groups. A row with a cell too many or
too few is refused with its line, since its values would move to other columns.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mollifier.errors import DataError

# Tried in this order; None is any run of spaces.
_SEPARATORS = ("\t", ";", ",", None)
_BYTES, _ROWS, _LONGEST, _MOST_COLUMNS = 65_536, 20, 1_000_000, 10_000
_GZIP, _UTF16 = b"\x1f\x8b", (b"\xff\xfe", b"\xfe\xff")
_MISSING = {"", "na", "n/a", "nan", "null", "none", "-"}


@dataclass(frozen=True)
class TextTable:
    """The layout of a text table whose rows all have one cell for each column.

    Attributes
    ----------
    names
        Column names as written; None where the file has no header.
    units
        One for each column, from a row of units below the header; "" where there is none.
    width
        Number of columns.
    separator, decimal, encoding
        Between cells (None for spaces), in numbers, and of the bytes.
    lines
        Line of the file that holds each row, counted from 1, shape (rows,).
    """

    file: Path
    names: list[str] | None
    units: list[str]
    width: int
    separator: str | None
    decimal: str
    encoding: str
    lines: NDArray[np.int64]

    def frame(self, columns: Sequence[int] | None = None, dtype: Any = None) -> pd.DataFrame:
        """The cells of some columns (all by default), named by position; the index is the line in the file.

        Raises
        ------
        ValueError
            If a cell does not have the type that was given.
        """
        top = int(self.lines[0])
        between = np.setdiff1d(np.arange(top, self.lines[-1] + 1), self.lines) - top
        with _opened(self.file, self.encoding) as stream:
            for _ in range(top - 1):
                stream.readline()
            table = pd.read_csv(
                stream, sep=self.separator or r"\s+", decimal=self.decimal, header=None, index_col=False,
                names=list(range(self.width)), usecols=sorted(set(columns or range(self.width))), dtype=dtype,
                skiprows=between.tolist(), nrows=len(self.lines), skipinitialspace=True,
            )  # fmt: skip
        table.index = pd.Index(self.lines, name="line")
        return table

    def numbers(self, columns: Mapping[str, int]) -> dict[str, NDArray[np.float64]]:
        """Columns of numbers by a name for each, shape (rows,); empty cells are NaN.

        Raises
        ------
        DataError
            If a cell holds text; with its line.
        """
        try:
            table = self.frame(list(columns.values()), np.float64)
        except ValueError as error:
            cells = self.frame(list(columns.values()), str)
            for name, i in columns.items():
                found = first_text(cells[i].str.replace(self.decimal, "."))
                if found is not None:
                    raise DataError(
                        f"'{self.file}' holds text in column {i + 1} ({name}), first in line {found}: "
                        f"{cells[i][found]!r}; numbers were expected. Leave the cell empty where a value is "
                        "missing."
                    ) from error
            raise DataError(f"'{self.file}' cannot be read as a table ({error}).") from error
        return {name: np.ascontiguousarray(table[i].to_numpy()) for name, i in columns.items()}


def read_layout(file: Path) -> TextTable:
    """Find the layout of a text table, plain or gzipped, and check that every row has a cell for each column.

    Comment lines (``#``, ``%``), blank lines and a footer below a blank line are left out. The last comment
    is the header where the rows begin without one. Decimal commas are recognised unless cells are separated
    by commas.

    Raises
    ------
    DataError
        If the file is empty, no text, cut short, too wide, or a row has a cell too many or too few.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rod.csv"
    >>> _ = path.write_text("# instrument 7" + chr(10) + "t;u" + chr(10) + "s;K" + chr(10) + "0;1,5")
    >>> found = read_layout(path)
    >>> found.names, found.units, found.decimal, found.lines.tolist()
    (['t', 'u'], ['s', 'K'], ',', [4])
    >>> found.numbers({"u": 1})
    {'u': array([1.5])}
    """
    try:
        encoding = _encoding(file)
        with _opened(file, encoding) as stream:
            head = _head(file, stream)
        top = next((i for i, line in enumerate(head) if _is_row(line)), None)
        if top is None:
            raise DataError(f"'{file}' has no rows; a header and one row a sample were expected.")
        rows = [line for line in head[top:] if _is_row(line)]
        separator = _separator(rows)
        cells = [split_cells(line, separator) for line in rows]
        decimal = _decimal(cells, separator)
        names, units, below = None, [], 1
        if not _numeric(cells[0], decimal):
            names = cells[0]
            if len(cells) > 2 and _are_units(cells[1], cells[2], decimal):
                units, below = cells[1], 2
        else:
            below = 0
            comments = [line.strip().lstrip("#% ") for line in head[:top] if line.strip()]
            last = split_cells(comments[-1], separator) if comments else []
            names = last if len(last) == len(cells[0]) and not _numeric(last, decimal) else None
        while names and not names[-1]:
            names = names[:-1]
        width = len(names or cells[0])
        if width > _MOST_COLUMNS:
            raise DataError(f"'{file}' has {width:,} columns; at most {_MOST_COLUMNS:,} are read. {_WIDE}")
        with _opened(file, encoding) as stream:
            lines = _row_lines(file, stream, separator, width)[below:]
    except (UnicodeError, csv.Error) as error:
        raise DataError(f"'{file}' cannot be read as a text table ({error}); export it as CSV.") from error
    except (OSError, EOFError) as error:
        raise DataError(f"'{file}' cannot be unpacked ({error}); it may be cut short.") from error
    if not lines:
        raise DataError(f"'{file}' has a header but no rows; one row a sample was expected.")
    units = [u.strip("[]() ") for u in units]
    return TextTable(
        file, names, units or [""] * width, width, separator, decimal, encoding, np.array(lines, np.int64)
    )


_WIDE = "A table with one column a quantity and one row a sample was expected; save arrays as .npz or .nc."


def split_header(name: str) -> tuple[str, str]:
    """A header as the plain name and the text of its unit, "" where it states none.

    >>> split_header("x [nm]"), split_header("T (K)"), split_header("u")
    (('x', 'nm'), ('T', 'K'), ('u', ''))
    """
    found = re.fullmatch(r"(.+?)\s*\[([^\]]*)\]|(.+?)\s*\(([^)]*)\)", name.strip())
    if found is None:
        return name.strip(), ""
    return found.group(1) or found.group(3), (found.group(2) or found.group(4) or "").strip()


def first_text(column: Any) -> Any:
    """Index label of the first cell of a column that is neither a number nor missing; None without one."""
    numbers: Any = pd.to_numeric(column, errors="coerce")
    text = numbers.isna() & column.notna()
    return text.idxmax() if text.any() else None


def split_cells(line: str, separator: str | None) -> list[str]:
    """The cells of a line, without quotes and surrounding spaces."""
    text = line.strip() if separator is None else line.strip("\r\n ")
    if separator is None and '"' not in text:
        return text.split()
    if separator is None:
        text, separator = re.sub(r"\s+", " ", text), " "
    cells = next(csv.reader([text], delimiter=separator, skipinitialspace=True), [])
    return [c.strip().strip("'").strip() for c in cells]


def _encoding(file: Path) -> str:
    """From the byte order mark, or UTF-8 where the beginning of the file is valid, or else Latin-1."""
    with _bytes(file) as stream:
        raw = stream.read(_BYTES)
    if not raw:
        raise DataError(f"'{file}' is empty; a header and one row a sample were expected.")
    if raw.startswith(_UTF16):
        return "utf-16"
    if b"\0" in raw:
        raise DataError(f"'{file}' is no text; a CSV or another text table was expected. Export it as CSV.")
    try:
        raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A character cut by the end of the block is no sign of another encoding.
        return "utf-8-sig" if error.start > len(raw) - 4 else "latin-1"
    return "utf-8-sig"


def _bytes(file: Path) -> Any:
    with file.open("rb") as stream:
        packed = stream.read(2) == _GZIP
    return gzip.open(file, "rb") if packed else file.open("rb")


def _opened(file: Path, encoding: str) -> TextIO:
    errors = "strict" if encoding == "utf-16" else "replace"
    return cast(TextIO, io.TextIOWrapper(_bytes(file), encoding=encoding, errors=errors))


def _head(file: Path, stream: TextIO) -> list[str]:
    """Lines up to the twentieth that may be a row."""
    head: list[str] = []
    rows = 0
    while rows < _ROWS and (line := stream.readline(_LONGEST)):
        if len(line) == _LONGEST:
            raise DataError(f"'{file}' has a line of {_LONGEST:,} characters or more. {_WIDE}")
        head.append(line)
        rows += _is_row(line)
    return head


def _is_row(line: str) -> bool:
    text = line.lstrip()
    return bool(text) and text[0] not in "#%"


def _separator(rows: Sequence[str]) -> str | None:
    """The first separator that splits all of the rows alike, or else the header and some row."""
    widths = {s: [len(split_cells(line, s)) for line in rows] for s in _SEPARATORS}
    alike = (s for s, found in widths.items() if found[0] > 1 and len(set(found)) == 1)
    some = (s for s, found in widths.items() if found[0] > 1 and max(found[1:], default=0) > 1)
    return next(alike, next(some, ","))


def _decimal(cells: Sequence[Sequence[str]], separator: str | None) -> str:
    numbers = [c for row in cells for c in row if re.fullmatch(r"[+-]?\d*[.,]\d*([eE][+-]?\d+)?", c)]
    return "," if separator != "," and any("," in c for c in numbers) else "."


def _is_number(cell: str, decimal: str) -> bool:
    try:
        float(cell.replace(decimal, "."))
    except ValueError:
        return False
    return True


def _numeric(cells: Iterable[str], decimal: str) -> bool:
    return all(_is_number(c, decimal) for c in cells if c)


def _are_units(row: Sequence[str], below: Sequence[str], decimal: str) -> bool:
    """Whether a row holds text in every column in which the next one holds a number."""
    if len(row) != len(below):
        return False
    texts = [a for a, b in zip(row, below, strict=True) if _is_number(b, decimal)]
    return any(t.lower() not in _MISSING for t in texts) and not any(_is_number(t, decimal) for t in texts)


def _row_lines(file: Path, stream: TextIO, separator: str | None, width: int) -> list[int]:
    """Line numbers of the header and the rows."""
    lines: list[int] = []
    footer, blank = None, False
    for number, line in enumerate(stream, 1):
        if not _is_row(line):
            blank = blank or not line.strip()
            continue
        if separator is None or '"' in line:
            count = len(split_cells(line, separator))
        else:
            count = line.count(separator) + 1
        fits = count == width or (count > width and not any(split_cells(line, separator)[width:]))
        if footer is None and not fits and blank and lines:
            footer = number, count
        elif footer is not None and fits:
            raise _uneven(file, *footer, width)
        elif footer is None and not fits:
            raise _uneven(file, number, count, width)
        if footer is None:
            lines.append(number)
        blank = False
    return lines


def _uneven(file: Path, line: int, count: int, width: int) -> DataError:
    return DataError(
        f"'{file}' has {count} cells in line {line} and {width} columns; one cell a column was expected. "
        "Leave a missing value empty between its separators and quote a text that holds the separator; with "
        "decimal commas separate cells by semicolons."
    )
