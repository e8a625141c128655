"""How many rows of a matrix are formed at a time: blocks take the same memory at any width."""

from __future__ import annotations

#: Numbers, of eight bytes each, that a temporary block of rows holds: 32 MiB.
BLOCK = 4_000_000


def rows_at_once(columns: float, step: int = 1) -> int:
    """Rows of so many columns that a block holds: a multiple of ``step``, and at least that.

    >>> rows_at_once(2000), rows_at_once(2000, 300), rows_at_once(1e9, 14)
    (2000, 1800, 14)
    """
    return max(int(BLOCK / max(columns, 1)) // step, 1) * step
