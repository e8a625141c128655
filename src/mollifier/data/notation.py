"""How numbers are written in text: the mark before decimals, and the one between groups of three digits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from mollifier.errors import DataError

_SPACES = " '’\u00a0\u202f"
# Digits with some mark among them, which a notation may explain.
_MARKED = re.compile(rf"[+-]?\d*[.,{_SPACES}][\d.,{_SPACES}]*(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Notation:
    """How numbers are written: the mark before decimals, and that between thousands, "" for none."""

    decimal: str = "."
    group: str = ""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Of a number."""
        d, g = re.escape(self.decimal), re.escape(self.group)
        whole = rf"(?:[1-9]\d{{0,2}}(?:{g}\d{{3}})+|\d+)" if g else r"\d+"
        return re.compile(rf"[+-]?(?:{whole}(?:{d}\d*)?|{d}\d+)(?:[eE][+-]?\d+|[dD][+-]\d+)?")

    def plain(self, cell: str) -> str:
        """The number as Python writes it, a `D` of Fortran before the exponent too."""
        plain = (cell.replace(self.group, "") if self.group else cell).replace(self.decimal, ".")
        return plain.replace("D", "e").replace("d", "e")

    def is_number(self, cell: str) -> bool:
        """Whether a cell is a number, NaN and infinities among them."""
        try:
            float(self.plain(cell) if self.pattern.fullmatch(cell) else cell)
        except ValueError:
            return False
        return True


PLAIN = Notation()
_OTHERS = (
    Notation(","), Notation(".", ","), Notation(",", "."), *(Notation(d, g) for g in _SPACES for d in ".,")
)  # fmt: skip
_RELATIONS = "<>≤≥~±\u2212"  # Before a number, as in "<0.1" below detection.
#: Cells, in small letters, that hold nothing.
MISSING = frozenset(
    ["", "na", "n/a", "nan", "null", "none", "missing", "-", "--", "---", ".", "?", "#div/0!", "#value!"]
)


def notation_of(cells: Iterable[str]) -> Notation | None:
    """The notation of the cells that are numbers; None where several fit and give different numbers.

    Cells without a mark, or that no notation explains, are left out. A dot alone is before decimals. Where no
    notation fits all cells it is the plain one, which leaves the others text.

    >>> notation_of(["1,5", "12"]), notation_of(["1,234.5", "1,200"]), notation_of(["1,234"])
    (Notation(decimal=',', group=''), Notation(decimal='.', group=','), None)
    """
    marked = {c for c in cells if _MARKED.fullmatch(c)}
    if all(PLAIN.pattern.fullmatch(c) for c in marked):  # before the others are compiled
        return PLAIN
    fits = {n: {c for c in marked if n.pattern.fullmatch(c)} for n in (PLAIN, *_OTHERS)}
    explained = set().union(*fits.values())
    if fits[PLAIN] == explained:
        return PLAIN
    found = [n for n in _OTHERS if fits[n] == explained]
    if any(found[0].plain(c) != n.plain(c) for n in found[1:] for c in explained):
        return None
    return found[0] if found else PLAIN


def qualified(cell: str) -> bool:
    """Whether a cell is a number in some notation, perhaps with a relation or a percent sign.

    >>> [qualified(c) for c in ("<0.1", "5 %", "1,234.5", "A7", "12.05.2020")]
    [True, True, True, False, False]
    """
    return _written(cell.lstrip(_RELATIONS).lstrip().removesuffix("%").rstrip())


def is_text(cell: str) -> bool:
    """Whether a cell holds something that is no number in any notation.

    >>> [is_text(c) for c in ("A7", "<0.1", "NaN", "")]
    [True, False, False, False]
    """
    return not qualified(cell) and cell.lower() not in MISSING


def _written(cell: str) -> bool:
    """Whether a cell is a number in some notation."""
    return any(n.pattern.fullmatch(cell) for n in (PLAIN, *_OTHERS))


def translated(table: pd.DataFrame, first: Notation, name: str) -> pd.DataFrame:
    """A table of text with the columns of numbers as numbers, however these are written.

    ``first`` is the notation of the first rows, which is taken where it explains all cells; ``name`` the
    file's.
    """
    cells = {c: str(c) for column in table for c in table[column].dropna().unique()}
    others = [c for c in cells if not first.pattern.fullmatch(c)]
    certain = first != PLAIN and not any(map(_written, others))
    found = first if certain else notation_of(cells)
    if found is None:
        either = next(c for c in cells if Notation(",").pattern.fullmatch(c) and "," in c)
        raise DataError(
            f"'{name}' holds {either!r}, which may be {either.replace(',', '.')} or "
            f"{either.replace(',', '')}; "
            "numbers with a decimal point and nothing between thousands were expected. Export it so."
        )
    result = {}
    for column in table:
        text: Any = table[column]
        fits = text.str.fullmatch(found.pattern).fillna(False).astype(bool)
        text = text.where(~fits, text[fits].map(found.plain).reindex(text.index))
        numbers: Any = pd.to_numeric(text, errors="coerce")
        result[column] = numbers if (numbers.notna() | text.isna()).all() else text
    return pd.DataFrame(result)
