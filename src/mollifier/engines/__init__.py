"""Engines: ways from an inverse problem to a solution."""

from mollifier.engines.base import ENGINES, solve
from mollifier.engines.runner import Progress

__all__ = ["ENGINES", "Progress", "solve"]
