"""Numbers that are refused outside of their range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mollifier.errors import ConfigurationError


def require(
    numbers: Mapping[str, Any], low: float = 0.0, high: float = math.inf, above: bool = False
) -> None:
    """Refuse a number that is not finite, below ``low`` (or, with ``above``, at it) or over ``high``.

    None is left out. Raises `ConfigurationError` with the number's name.

    >>> require({"pixel": 100.0, "width": None}, above=True)
    """
    for name, value in numbers.items():
        if value is None:
            continue
        if not (math.isfinite(value) and low <= value <= high and (value > low or not above)):
            ends = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of {low:g} or more"
            beyond = f"above {low:g}" + (f", up to {high:g}," if math.isfinite(high) else "")
            said = f"a number {beyond if above else ends}"
            raise ConfigurationError(f"{name}={value} was given; {said} was expected.")


def named(prefix: str, owner: object, *names: str) -> dict[str, Any]:
    """Some attributes of an object by their name in the settings, as ``domain.eps``."""
    return {prefix + name: getattr(owner, name) for name in names}
