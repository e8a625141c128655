"""Text tables with one row a sample."""

from __future__ import annotations

from mollifier.data.readers.registry import Reader
from mollifier.data.tables import read_table

READER = Reader((".csv", ".tsv", ".txt"), read_table)
