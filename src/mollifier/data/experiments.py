"""Columns and coordinates of names, which number experiments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mollifier.data.times import holds_moments
from mollifier.equations.names import TIME_NAMES
from mollifier.errors import DataError


def numbered(column: Any, axis: bool = False) -> tuple[NDArray[Any], list[str]] | None:
    """A column of names as numbers from 0 on, and the names in order; None if a cell is a number or date.

    Nor are they names of experiments where the column is called time, or where each row has another, unless
    the column is an ``axis``, which has each once.

    >>> numbered(pd.Series(["Bea", "Ada", "Bea"], name="who"))
    (array([1., 0., 1.]), ['Ada', 'Bea'])
    """
    if column.dtype.kind in "fiubcM" or str(column.name).lower() in TIME_NAMES:
        return None
    text = column.astype(str)
    numbers: Any = pd.to_numeric(text, errors="coerce")
    dates: Any = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
    if numbers.notna().any() or dates.notna().any() or holds_moments(column):
        return None
    names, codes = np.unique(text.to_numpy().astype(str), return_inverse=True)
    if not axis and len(names) == len(text) > 1:
        return None
    return codes.astype(float), names.tolist()


def is_text(values: NDArray[Any]) -> bool:
    """Whether all values are text: NumPy's, or pandas' and Python's as objects.

    >>> is_text(np.array(["a", "b"])), is_text(np.array(["a", None], object)), is_text(np.ones(2))
    (True, False, False)
    """
    kind = values.dtype.kind
    return kind in "UST" or (kind == "O" and values.size > 0 and all(isinstance(v, str) for v in values.flat))


def names_along(name: str, values: NDArray[Any], axis: bool) -> tuple[NDArray[Any], str]:
    """The numbers (n,) of experiments along a coordinate of text, and the list of their names.

    Raises `DataError` if these are no names of experiments.
    """
    found = numbered(pd.Series(values.astype(object), name=name), axis)
    if found is None:
        raise DataError(
            f"Coordinate '{name}' holds text, as {str(values.flat[0])!r}; numbers, dates, or names of "
            "experiments with several samples each were expected. Turn numbers and dates that are text into "
            "such, as with astype(float) or pandas.to_datetime."
        )
    return found[0], ", ".join(found[1])
