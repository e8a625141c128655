"""The weak engine: no network, no derivative of the data, and noise allowed for."""

from mollifier.engines.weak.engine import solve_weak

__all__ = ["solve_weak"]
