"""Complex variables as two real ones: their real and imaginary parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mollifier.equations.names import parts_of
from mollifier.errors import DataError

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
