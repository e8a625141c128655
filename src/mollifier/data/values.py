"""What values, names and attributes may be: finite numbers of sane size, and text that a file can hold.

Complex variables are two real ones: their real and imaginary parts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mollifier.equations.names import parts_of
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array

# Imaginary parts are rounding alone below this power of the precision, relative to the largest value.
_ROUNDING = 0.75


def is_complex(values: ArrayLike) -> bool:
    """Whether values have imaginary parts above rounding.

    >>> is_complex([1 + 1j, 2.0]), is_complex([1 + 1e-16j, 2.0]), is_complex([1.0])
    (True, False, False)
    """
    raw = np.ma.getdata(values) if np.ma.isMaskedArray(values) else np.asarray(values)
    if raw.dtype.kind != "c":
        return False
    size, off = (float(np.nanmax(np.abs(part), initial=0.0)) for part in (raw, np.imag(raw)))
    return bool(off > np.finfo(raw.dtype).eps ** _ROUNDING * size)


def in_parts(raw: xr.Dataset) -> tuple[xr.Dataset, dict[str, tuple[str, str]]]:
    """The dataset with complex variables as their parts, and the names of these by variable.

    >>> data, parts = in_parts(xr.Dataset({"psi": ("x", [1 + 2j, 3j])}))
    >>> parts, data["psi_im"].values
    ({'psi': ('psi_re', 'psi_im')}, array([2., 3.]))
    """
    parts = {str(n): parts_of(str(n)) for n, v in raw.data_vars.items() if is_complex(v.values)}
    for name, own in parts.items():
        for part, values in zip(own, (raw[name].real, raw[name].imag), strict=True):
            if part in raw.variables:
                raise DataError(
                    f"'{name}' is complex, and its part '{part}' is in the data already: rename one."
                )
            raw = raw.assign({part: values.assign_attrs(raw[name].attrs)})
    return raw.drop_vars(list(parts)), parts


def names_in_parts(given: Any, parts: Mapping[str, tuple[str, str]]) -> Any:
    """Names, or a mapping from names, with those of complex variables replaced by those of both parts.

    >>> names_in_parts(["psi", "V"], {"psi": ("psi_re", "psi_im")})
    ['psi_re', 'psi_im', 'V']
    >>> names_in_parts({"psi": 0.01}, {"psi": ("psi_re", "psi_im")})
    {'psi_re': 0.01, 'psi_im': 0.01}
    """
    if isinstance(given, Mapping):
        return {part: v for n, v in given.items() for part in parts.get(n, (n,))}
    if isinstance(given, Iterable) and not isinstance(given, str):
        return [part for n in given for part in parts.get(n, (n,))]
    return given


EXTENTS = 1e-60, 1e60  # Extents beyond these would overflow when derivatives divide by powers of a length.


def is_number(value: Any) -> bool:
    """Whether a value is a real number whose powers do not overflow."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    size: float = abs(int(value)) if isinstance(value, int) else abs(float(value))  # 10^400 is no float
    return size < EXTENTS[1]


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
        raise DataError(
            f"'{name}' holds {kind} (dtype {raw.dtype}); real numbers were expected. Turn them into numbers, "
            "as with astype(float)."
        )
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


def storable(text: str) -> bool:
    """Whether a file can hold a text.

    >>> storable("µm"), storable("m\\0")
    (True, False)
    """
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def check_text(name: str, attrs: Mapping[str, Any]) -> None:
    """Refuse names and attributes that no file can hold, while the answer is not yet computed."""
    for what, text in (("The name", name), *((f"Attribute {k}", v) for k, v in attrs.items())):
        if isinstance(text, str) and not storable(text):
            raise DataError(
                f"{what} of '{ascii(name)[1:-1]}' is {text!a}; text without NUL and without halves of "
                "surrogate pairs was expected. Give it anew, as units={...}, or rename."
            )
