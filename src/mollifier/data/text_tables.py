"""Text tables (CSV, TSV, columns by spaces): the dialect is found, every row is checked, pandas parses them.

One reader for data files, localisation tables, polygons and tables of groups. A row with a cell too many or
too few is refused with its line, since its values would move to other columns.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mollifier.data.notation import MISSING, PLAIN, Notation, is_text, notation_of, qualified, translated
from mollifier.data.preambles import header_below_text
from mollifier.errors import DataError

_SEPARATORS = ("\t", ";", ",", "|", None)  # Tried in this order; None is any run of spaces.
_STATED = re.compile(r'"?sep=(.)"?')  # A first line that names the separator, as spreadsheets read it.
# Size of the beginning that is looked at, and of its part in which no text holds NUL; longest line.
_BYTES, _BINARY, _LONGEST, _MOST_COLUMNS = 65_536, 512, 1_000_000, 10_000
_ROWS, _HEAD = 20, 200  # Rows from which the notation is found, and those among which the header is.
_MOST_BYTES = 2_000_000_000
# Characters read at a time.
_BLOCK = 1 << 20
_EMPTY = ' ,;|"\t\r\n'
# As pandas compares them, with capitals.
_MISSING = [form(word) for word in MISSING for form in (str, str.upper, str.capitalize)]
_GZIP, _UTF16 = b"\x1f\x8b", (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class TextTable:
    """The layout of a text table whose rows all have one cell for each column.

    ``names`` are as written, None without a header; ``units`` from a row of units below it, else ""; the
    separator is None for spaces, and the notation that of the first rows. ``lines`` are those of the file
    that hold a row, counted from 1; ``comments`` are above the header and begin with ``#`` or ``%``.
    """

    file: Path
    names: list[str] | None
    units: list[str]
    width: int
    separator: str | None
    notation: Notation
    encoding: str
    lines: NDArray[np.int64]
    comments: Sequence[str] = ()

    def frame(self, columns: Sequence[int] | None = None, dtype: Any = None) -> pd.DataFrame:
        """The cells of some columns (all by default), named by position; the index is the line in the file.

        Numbers may be written in any notation; with ``dtype=str`` all cells stay text.
        """
        top = int(self.lines[0])
        skipped = np.ones(int(self.lines[-1]) + 1 - top, dtype=bool)
        skipped[self.lines - top] = False
        with _opened(self.file, self.encoding) as stream:
            for _ in range(top - 1):
                stream.readline()
            table = pd.read_csv(
                stream, sep=self.separator or r"\s+", decimal=self.notation.decimal, header=None,
                names=list(range(self.width)), usecols=sorted(set(columns or range(self.width))), dtype=dtype,
                skiprows=np.flatnonzero(skipped).tolist(), nrows=len(self.lines), skipinitialspace=True,
                index_col=False, low_memory=False, na_values=_MISSING,
            )  # fmt: skip
        table.index = pd.Index(self.lines, name="line")
        texts = [] if dtype is str else [table[c] for c in table if table[c].dtype.kind == "O"]
        if any(qualified(c) for column in texts for c in map(str, column.dropna().unique())):
            return translated(self.frame(columns, str), self.notation, str(self.file))
        return table

    def numbers(self, columns: Mapping[str, int], labels: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
        """Columns of numbers (rows,) by a name for each; empty cells are NaN. ``labels`` may be text."""
        table = self.frame(list(columns.values()))
        for name, i in columns.items():
            found = None if name in labels else first_text(table[i])
            if found is not None:
                raise DataError(
                    f"'{self.file}' holds text in column {i + 1} ({name}), first in line {found}: "
                    f"{table[i][found]!r}; numbers were expected. Leave a cell empty where it is missing."
                )
        return {n: table[i].to_numpy(None if n in labels else np.float64) for n, i in columns.items()}


def read_layout(file: Path) -> TextTable:
    """Find the layout of a text table, plain or gzipped, and check that every row has a cell for each column.

    Comment lines (``#``, ``%``), text above the header, blank rows and a footer below a blank line or NUL are
    left out. The last comment is the header where the rows begin without one. A first line ``sep=;``
    names the separator.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rod.csv"
    >>> _ = path.write_text("# instrument 7" + chr(10) + "t;u" + chr(10) + "s;K" + chr(10) + "0;1,5")
    >>> found = read_layout(path)
    >>> found.names, found.units, found.notation.decimal, found.lines.tolist()
    (['t', 'u'], ['s', 'K'], ',', [4])
    >>> found.numbers({"u": 1})
    {'u': array([1.5])}
    """
    try:
        encoding = _encoding(file)
        with _opened(file, encoding) as stream:
            head = _head(file, stream)
        places = [i for i, line in enumerate(head) if _is_row(line)]
        if not places:
            raise DataError(f"'{file}' has no rows; a header and one row a sample were expected.")
        stated = [found[1] for line in head if (found := _STATED.fullmatch(line.strip("\r\n ")))]
        separator, above = _beginning([head[i] for i in places], stated)
        top = places[above]
        if above:
            text = f"'{file}': {above} lines of text above the header, line {top + 1}, are left out."
            warnings.warn(text, stacklevel=2)
        cells = [split_cells(head[i], separator) for i in places[above:][:_ROWS]]
        notation = notation_of(c for row in cells for c in row) or PLAIN
        comments = [line for line in head[:top] if line.lstrip()[:1] in ("#", "%")]
        names, units, below = _header(cells, comments, separator, notation)
        width = len(names or cells[0])
        if width > _MOST_COLUMNS:
            raise DataError(f"'{file}' has {width:,} columns; at most {_MOST_COLUMNS:,} are read. {_WIDE}")
        twice = [n for i, n in enumerate(names or []) if n and n in (names or [])[:i]]
        if twice:
            raise DataError(f"'{file}' names the column '{twice[0]}' twice; rename or remove one of them.")
        with _opened(file, encoding) as stream:
            lines = _row_lines(file, stream, separator, width, top)[below:]
    except (UnicodeError, csv.Error) as error:
        raise DataError(f"'{file}' cannot be read as a text table ({error}); export it as CSV.") from error
    except (OSError, EOFError) as error:
        raise DataError(f"'{file}' cannot be unpacked ({error}); it may be cut short.") from error
    if not lines:
        raise DataError(f"'{file}' has a header but no rows; one row a sample was expected.")
    units = [u.strip("[]() ") for u in units]
    return TextTable(
        file, names, units or [""] * width, width, separator, notation, encoding, np.array(lines, np.int64),
        comments,
    )  # fmt: skip


_WIDE = "A table with one column a quantity and one row a sample was expected; save arrays as .npz or .nc."


def split_header(name: str) -> tuple[str, str]:
    """A header as the plain name and the text of its unit, "" where it states none.

    >>> split_header("x [nm]"), split_header("T (K)"), split_header("t / s"), split_header("u")
    (('x', 'nm'), ('T', 'K'), ('t', 's'), ('u', ''))
    """
    found = re.fullmatch(r"(.+?)(?:\s*\[([^\]]*)\]|\s*\(([^)]*)\)|\s+/\s+(\S+))", name.strip())
    if found is None:
        return name.strip(), ""
    return found[1], (found[2] or found[3] or found[4] or "").strip()


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
    """From the byte order mark, the NULs of UTF-16, or UTF-8 where it is valid; else Windows' Latin-1."""
    with _bytes(file) as stream:
        raw = stream.read(_BYTES)
    if not raw:
        raise DataError(f"'{file}' is empty; a header and one row a sample were expected.")
    if raw.startswith(_UTF16):
        return "utf-16"
    for encoding, high, low in (
        ("utf-16-le", raw[1:_BINARY:2], raw[:_BINARY:2]),
        ("utf-16-be", raw[:_BINARY:2], raw[1:_BINARY:2]),
    ):
        if high.count(0) > 0.9 * len(high) and 0 not in low:
            return encoding
    if 0 in raw[:_BINARY]:
        raise DataError(f"'{file}' is no text; a CSV or another text table was expected. Export it as CSV.")
    try:
        raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A character cut by the end of the block is no sign of another encoding.
        return "utf-8-sig" if error.start > len(raw) - 4 else "cp1252"
    return "utf-8-sig"


def _bytes(file: Path) -> Any:
    size = file.stat().st_size
    with file.open("rb") as stream:
        packed = stream.read(2) == _GZIP
        if packed and size > 4:  # the last bytes hold the size of the text, at most 1032 times the file's
            stream.seek(-4, 2)
            size = min(int.from_bytes(stream.read(4), "little"), 1032 * size)
    if size > _MOST_BYTES:
        raise DataError(f"'{file}' has {size:,} bytes of text; at most {_MOST_BYTES:,} are read. {_WIDE}")
    return gzip.open(file, "rb") if packed else file.open("rb")


def _opened(file: Path, encoding: str) -> TextIO:
    errors = "strict" if encoding.startswith("utf-16") else "replace"
    return cast(TextIO, io.TextIOWrapper(_bytes(file), encoding=encoding, errors=errors))


def _head(file: Path, stream: TextIO) -> list[str]:
    """Lines up to the last of the first rows."""
    head: list[str] = []
    rows = 0
    while rows < _HEAD and (line := stream.readline(_LONGEST)):
        if len(line) == _LONGEST:
            raise DataError(f"'{file}' has a line of {_LONGEST:,} characters or more. {_WIDE}")
        head.append(line)
        rows += _is_row(line)
    return head


def _is_row(line: str) -> bool:
    """Whether a line is no comment, holds more than separators, and does not state the separator."""
    text = line.strip(_EMPTY)
    return (
        bool(text)
        and text[0] not in "#%\0"
        and not ("sep=" in line[:5] and _STATED.fullmatch(line.strip("\r\n ")))
    )


def _header(
    cells: Sequence[Sequence[str]], above: Sequence[str], separator: str | None, notation: Notation
) -> tuple[list[str] | None, list[str], int]:
    """Names and units of the columns, from the first rows or the comments above; number of rows they take."""
    names, units, below = list(cells[0]), [], 1
    if _numeric(names, notation):
        comments = [_comment_cells(line, separator) for line in above]
        last = comments[-1] if comments else []
        if len(last) != len(cells[0]) or _numeric(last, notation):
            return None, [], 0
        names, below = last, 0
    elif len(cells) > 2 and _are_units(cells[1], cells[2], notation):
        units, below = list(cells[1]), 2
    while names and not names[-1]:
        names.pop()
    return names, units, below


def _comment_cells(line: str, separator: str | None) -> list[str]:
    """The cells of a comment; of fields in XML, as rapidSTORM writes them, each name with its unit."""
    fields = re.findall(r'<field identifier="([^"]+)"[^>]*? unit="([^"]*)"', line)
    if fields:
        return [f"{name} [{unit}]" for name, unit in fields]
    return split_cells(line.strip().lstrip("#% "), separator)


def _beginning(rows: Sequence[str], stated: Sequence[str]) -> tuple[str | None, int]:
    """The separator, and the number of rows that are lines of text above the header.

    Without one that is stated, it is the first that splits all of the rows alike, or else those below such
    lines, or else the header and some row.
    """
    cells = {s: [split_cells(line, s) for line in rows] for s in stated[:1] or _SEPARATORS}
    widths = {s: [len(row) for row in found[:_ROWS]] for s, found in cells.items()}
    alike = [s for s, found in widths.items() if found[0] > 1 and len(set(found)) == 1]
    for s in alike[:1] or cells:
        if above := header_below_text(cells[s]):
            return s, above
    some = (s for s, found in widths.items() if found[0] > 1 and max(found[1:], default=0) > 1)
    return next(iter([*alike, *stated]), next(some, ",")), 0


def _numeric(cells: Iterable[str], notation: Notation) -> bool:
    return all(notation.is_number(c) for c in cells if c)


def _are_units(row: Sequence[str], below: Sequence[str], notation: Notation) -> bool:
    """Whether a row holds text in every column in which the next one holds a number."""
    if len(row) != len(below):
        return False
    texts = [a for a, b in zip(row, below, strict=True) if notation.is_number(b)]
    named = any(t.lower() not in MISSING for t in texts)
    return named and not any(notation.is_number(t) or qualified(t) for t in texts)


def _row_lines(file: Path, stream: TextIO, separator: str | None, width: int, above: int) -> list[int]:
    """Line numbers of the header and the rows, below so many lines."""
    lines: list[int] = []
    footer: tuple[int, int] | None = None
    blank = False
    for _ in range(above):
        stream.readline()
    for numbers, line in _runs(stream, separator, width, above + 1):
        number = numbers.start
        if line is None:
            if footer is not None:
                raise _uneven(file, *footer, width)
            lines.extend(numbers)
            blank = False
            continue
        if not _is_row(line):
            start = line.strip(_EMPTY)[:1]
            blank = blank or not start
            footer = footer or ((number, 1) if start == "\0" else None)
            continue
        if separator is None or '"' in line:
            count = len(split_cells(line, separator))
        else:
            count = line.count(separator) + 1
        fits = count == width or (count > width and not any(split_cells(line, separator)[width:]))
        # A footer may have as many cells as the rows, but no numbers and no gaps.
        words = blank and len(lines) > 2 and all(map(is_text, split_cells(line, separator)))
        fits = fits and not words
        if footer is None and fits:
            lines.append(number)
        elif footer is None and blank and lines:
            footer = number, count
        elif footer is None or fits:
            raise _uneven(file, *(footer or (number, count)), width)
        blank = False
    return lines


def _runs(
    stream: TextIO, separator: str | None, width: int, number: int
) -> Iterator[tuple[range, str | None]]:
    """Numbers of the lines from ``number`` on: of a run of plain rows, or of one other line with its text.

    A plain row begins with a digit and has all its cells and no quotes. Most rows of most files are, and are
    counted many at a time.
    """
    while block := stream.readlines(_BLOCK):
        plain = np.zeros(len(block), dtype=bool)
        text = "".join(block)
        if separator and len(separator) == 1 and text.isascii() and '"' not in text:
            cells = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
            starts = np.cumsum([0, *map(len, block[:-1])])
            counts = np.add.reduceat(cells == ord(separator), starts, dtype=np.int64)
            plain = (counts == width - 1) & (cells[starts] >= ord("0")) & (cells[starts] <= ord("9"))
        begun = 0
        for k in [*np.flatnonzero(~plain).tolist(), len(block)]:
            if k > begun:
                yield range(number + begun, number + k), None
            if k < len(block):
                yield range(number + k, number + k + 1), block[k]
            begun = k + 1
        number += len(block)


def _uneven(file: Path, line: int, count: int, width: int) -> DataError:
    return DataError(
        f"'{file}' has {count} cells in line {line} and {width} columns; one cell a column was expected. "
        "Leave a missing value empty between its separators and quote a text that holds the separator; with "
        "decimal commas separate cells by semicolons. Begin lines that are no part of the table with #."
    )
