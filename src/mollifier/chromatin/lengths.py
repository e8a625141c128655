"""Units of length, converted to nanometres, and plausible pixel sizes."""

from __future__ import annotations

import math

from mollifier.errors import DataError, did_you_mean

# Spellings of units in headers and metadata, lower case, with micro sign and Greek mu alike.
_NAMES = {
    "nm": ("nm", "nanometer", "nanometers", "nanometre", "nanometres", "nano"),
    # The third is a micro sign that was encoded twice.
    "um": (
        "um", "µm", "âµm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"
    ),
    "px": ("px", "pix", "pixel", "pixels"),
    "mm": ("mm", "millimeter", "millimeters"),
    "cm": ("cm", "centimeter", "centimeters"),
    "inch": ("inch", "inches", "in"),
    "m": ("m", "meter", "metre"),
}  # fmt: skip
UNITS = {spelling: unit for unit, spellings in _NAMES.items() for spelling in spellings}
NANOMETRES = {"nm": 1.0, "um": 1e3, "mm": 1e6, "cm": 1e7, "inch": 2.54e7, "m": 1e9}
# Plausible pixel sizes in nm: from resampled maps to the camera pixels of a low-power objective.
PIXELS = (1.0, 5_000.0)


def known_unit(text: str) -> str | None:
    """The unit that a header or a tag names; None without one.

    >>> known_unit("µm"), known_unit("Pixels"), known_unit("photon")
    ('um', 'px', None)
    """
    cleaned = text.strip().lower().replace("\\u00b5", "µ")
    return UNITS.get(cleaned)


def factor(unit: str, pixel_size: float | None = None, where: str = "The positions") -> float:
    """Nanometres in one unit of length; ``px`` needs the size of a pixel in nm.

    Raises
    ------
    DataError
        If the unit is unknown, or is px and there is no plausible pixel size.

    Examples
    --------
    >>> factor("um"), factor("px", pixel_size=130)
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
    """The pixel size in nm, refused outside the range of microscopes.

    Raises
    ------
    DataError
        If it is not a number between 1 and 5,000 nm.

    Examples
    --------
    >>> plausible_pixel(130, "--pixel-size")
    130.0
    """
    low, high = PIXELS
    if not (math.isfinite(size) and low <= size <= high):
        raise DataError(
            f"A pixel size of {size:g} nm was found ({source}); between {low:g} and {high:,.0f} nm was "
            "expected. Set it in nm, as --pixel-size 130 (pixel_size=130)."
        )
    return float(size)
