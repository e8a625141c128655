"""The same question put to several engines: what each finds, at what cost, and whether they agree."""

from mollifier.compare.comparison import Comparison, compare
from mollifier.compare.rows import Row
from mollifier.compare.verdict import Pair

__all__ = ["Comparison", "Pair", "Row", "compare"]
