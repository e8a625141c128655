"""How much memory the machine has, and what is refused for want of it."""

from __future__ import annotations

import os

from mollifier.errors import DataError

_SHARE = 0.5  # of the machine's memory that the content of a file may take


def physical_memory() -> float:
    """Bytes of memory of this machine; infinite where the system does not tell."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return float("inf")
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def require_memory(size: float, what: object) -> None:
    """Refuse the content of a file that would fill the memory, before it is read.

    >>> require_memory(8e18, "movie.nc")
    Traceback (most recent call last):
    mollifier.errors.DataError: 'movie.nc' holds 7.45e+09 GiB, more than half of this machine's memory. Cut
    out a part, or read it in blocks: Observations.from_dataset(xarray.open_dataset(file, chunks={})).
    """
    if size > _SHARE * physical_memory():
        raise DataError(
            f"'{what}' holds {size / 2**30:.3g} GiB, more than half of this machine's memory. Cut out "
            "a part, or read it in blocks: Observations.from_dataset(xarray.open_dataset(file, chunks={}))."
        )
