"""What values, names and attributes may be: finite numbers of sane size, and text that a file can hold."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mollifier.data.complex_values import is_complex
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array

# Extents beyond these would overflow when derivatives divide by powers of a length.
EXTENTS = 1e-60, 1e60


def real_array(name: str, values: ArrayLike) -> Array:
    """A float64 copy; masked entries are NaN, and imaginary parts of rounding are left with a warning."""
    masked = np.ma.isMaskedArray(values)
    raw = np.ma.getdata(values) if masked else np.asarray(values)
    if raw.dtype.kind == "c":
        if is_complex(values):
            raise DataError(f"'{name}' holds complex numbers; real values were expected.")
        size, off = (float(np.nanmax(np.abs(part), initial=0.0)) for part in (raw, np.imag(raw)))
        warnings.warn(
            f"'{name}' holds complex numbers with imaginary parts of rounding alone, up to {off:.2g} "
            f"at a size of {size:.2g}; the real parts are used.",
            stacklevel=2,
        )
        raw = np.real(raw)
    if raw.dtype.kind not in "fiub":
        kind = ({**dict.fromkeys("UST", "text"), "M": "dates", "m": "time spans"}).get(
            raw.dtype.kind, "objects"
        )
        raise DataError(f"'{name}' holds {kind} (dtype {raw.dtype}); real numbers were expected.")
    result = np.array(raw, dtype=np.float64)
    if masked:
        result[np.ma.getmaskarray(values)] = np.nan
    return result


def measured_array(name: str, values: ArrayLike) -> Array:
    """Values of a variable: real, nowhere infinite, somewhere finite."""
    result = real_array(name, values)
    infinite = int(np.isinf(result).sum())
    if infinite:
        raise DataError(f"'{name}' has {infinite} infinite values; mark what is missing as NaN.")
    size = float(np.nanmax(np.abs(result), initial=0.0))
    if size and not EXTENTS[0] < size < EXTENTS[1]:
        raise DataError(
            f"'{name}' has values up to {size:g}; {EXTENTS[0]:g} to {EXTENTS[1]:g} was expected: change its "
            "unit, and mark what is missing as NaN."
        )
    if result.size == 0:
        raise DataError(f"'{name}' is empty (shape {result.shape}); at least one value was expected.")
    if np.isnan(result).all():
        raise DataError(
            f"All {result.size} values of '{name}' are missing (NaN); check the selection, the fill value "
            "and the mask. A state that was not measured is left out of the data and named in states."
        )
    return result


def holdable(text: str) -> bool:
    """Whether a file can hold a text.

    >>> holdable("µm"), holdable("m\\0")
    (True, False)
    """
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def check_text(name: str, attrs: Mapping[str, Any]) -> None:
    """Refuse names and attributes that no file can hold, while the answer is not yet computed."""
    for what, text in (("The name", name), *((f"Attribute {k}", v) for k, v in attrs.items())):
        if isinstance(text, str) and not holdable(text):
            raise DataError(
                f"{what} of '{ascii(name)[1:-1]}' is {text!a}; text without NUL and without halves of "
                "surrogate pairs was expected. Give it anew, as units={...}, or rename."
            )
