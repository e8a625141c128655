"""The same question put to several engines: what each finds, at what cost, and whether they agree."""

from mollifier.compare.comparison import Comparison, Row, compare
from mollifier.compare.verdict import Pair

__all__ = ["Comparison", "Pair", "Row", "compare"]
