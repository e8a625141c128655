"""Numbers that are refused outside of their range, and lengths in nanometres."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mollifier.data.lengths import NANOMETRES, UNITS, known_unit
from mollifier.errors import ConfigurationError, DataError, did_you_mean


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


# Plausible pixel sizes in nm: from resampled maps to the camera pixels of a low-power objective.
PIXELS = (1.0, 5_000.0)


def nanometres(unit: str, pixel_size: float | None = None, where: str = "The positions") -> float:
    """Nanometres in one unit of length; ``px`` needs the size of a pixel in nm.

    Raises `DataError` if the unit is unknown, or is px and there is no plausible pixel size.

    >>> nanometres("um"), nanometres("px", pixel_size=130)
    (1000.0, 130.0)
    """
    name = known_unit(unit)
    if name is None:
        raise DataError(f"Unit '{unit}' is not known; nm, um or px was expected.{did_you_mean(unit, UNITS)}")
    if name != "px":
        return NANOMETRES[name]
    if pixel_size is None:
        raise DataError(
            f"{where} are in pixels and the size of a pixel is not given; set it in nm, as "
            "--pixel-size 130 (pixel_size=130)."
        )
    return plausible_pixel(pixel_size, "--pixel-size")


def plausible_pixel(size: float, source: str) -> float:
    """The pixel size in nm; `DataError` if it is not a number between 1 and 5,000 nm."""
    low, high = PIXELS
    if not (math.isfinite(size) and low <= size <= high):
        raise DataError(
            f"A pixel size of {size:g} nm was found ({source}); between {low:g} and {high:,.0f} nm was "
            "expected. Set it in nm, as --pixel-size 130 (pixel_size=130)."
        )
    return float(size)
