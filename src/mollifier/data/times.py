"""Columns of dates and of clock times in text tables."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from mollifier.errors import DataError

_CLOCK = re.compile(r"\d+:[0-5]?\d(:[0-5]?\d([.,]\d+)?)?")
_DATE = re.compile(
    rf"(\d{{1,2}})([./])(\d{{1,2}})\2(\d{{4}}|\d{{2}})(,?\s+{_CLOCK.pattern}\s*([AaPp][Mm])?)?"
)


def holds_moments(column: Any) -> bool:
    """Whether all cells of a column of text are dates, or all are times.

    >>> [holds_moments(pd.Series([c, c])) for c in ("2026-03-01", "1.3.2026 8:00", "0:30:00", "Ada")]
    [True, True, True, False]
    """
    text = column.drop_duplicates().astype(str).str.strip()
    forms = (text.map(_CLOCK.fullmatch), text.map(_DATE.fullmatch), _standard(text))
    return any(bool(form.notna().all()) for form in forms)


def moments(name: str, column: Any) -> NDArray[Any]:
    """The dates (datetime64) or times since the start (timedelta64) of a column that holds them.

    Dates are those of ISO 8601, or ``31.12.2025 14:30``, ``12/31/2025 2:30 PM``: with points the day comes
    first, with slashes what a number above 12 shows. Times are ``h:mm:ss``; there may be more than 24 hours.

    Raises `DataError` if day and month, or hours and minutes, cannot be distinguished.

    >>> moments("t", pd.Series(["0:30:00", "25:00:00"])).astype("m8[m]").astype(int).tolist()
    [30, 1500]
    >>> moments("t", pd.Series(["31.12.2025 14:30", "01.01.2026 2:00"])).astype("M8[m]").astype(str).tolist()
    ['2025-12-31T14:30', '2026-01-01T02:00']
    """
    text = column.astype(str).str.strip()
    dates = _standard(text)
    if dates.notna().all():
        return dates.dt.tz_localize(None).to_numpy().astype("datetime64[ns]")
    if text.map(_CLOCK.fullmatch).isna().any():
        return _local_dates(name, text)
    short = text[text.str.count(":") == 1]
    if len(short):
        raise DataError(
            f"Column '{name}' holds {short.iloc[0]!r}, hours and minutes or minutes and seconds; write times "
            "as h:mm:ss or as numbers, and labels with a letter."
        )
    return pd.to_timedelta(text.str.replace(",", ".")).to_numpy()


def in_utc(values: NDArray[Any]) -> NDArray[Any]:
    """Dates with time zones, which are objects, as datetime64 in UTC; other values as they are.

    >>> in_utc(pd.date_range("2026-03-01 08:00", periods=1, tz="Europe/Berlin").to_numpy()).astype("M8[h]")
    array(['2026-03-01T07'], dtype='datetime64[h]')
    """
    if values.dtype.kind != "O" or not values.size or getattr(values.flat[0], "tzinfo", None) is None:
        return values
    return pd.to_datetime(values, utc=True).tz_localize(None).to_numpy()


def _standard(text: Any) -> Any:
    return pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)


def _local_dates(name: str, text: Any) -> NDArray[Any]:
    """Dates of which the day or the month may come first."""
    parts: Any = text.str.extract(_DATE)
    first, second = parts[0].astype(int), parts[2].astype(int)
    day_first = bool((parts[1] == ".").all() or (first > 12).any())
    if not day_first and not (second > 12).any():
        raise DataError(
            f"Column '{name}' holds {text.iloc[0]!r}, of which day and month cannot be distinguished; write "
            "dates as 2025-12-31 14:30."
        )
    dates: Any = pd.to_datetime(text, format="mixed", dayfirst=day_first, errors="coerce")
    wrong = text[dates.isna() | ((second if day_first else first) > 12)]
    if len(wrong):
        raise DataError(f"Column '{name}' holds {wrong.iloc[0]!r}, which is no date as the others are.")
    return dates.to_numpy().astype("datetime64[ns]")
