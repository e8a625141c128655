"""Engines: ways from an inverse problem to a solution."""

from typing import TYPE_CHECKING, Any

from mollifier.engines.base import ENGINES, solve

if TYPE_CHECKING:
    from mollifier.engines.runner import Progress

__all__ = ["ENGINES", "Progress", "solve"]


def __getattr__(name: str) -> Any:
    """`Progress` comes with torch, which is loaded only when it is asked for."""
    if name == "Progress":
        from mollifier.engines.runner import Progress

        return Progress
    raise AttributeError(f"module 'mollifier.engines' has no attribute '{name}'")
