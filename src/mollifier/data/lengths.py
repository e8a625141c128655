"""Units of length and time, as headers and metadata of microscopes spell them."""

from __future__ import annotations

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
SECONDS = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "min": 60.0,
    "minute": 60.0, "h": 3600.0, "hour": 3600.0,
}  # fmt: skip


def known_unit(text: str) -> str | None:
    """The unit that a header or a tag names; None without one.

    >>> known_unit("µm"), known_unit("Pixels"), known_unit("photon")
    ('um', 'px', None)
    """
    cleaned = text.strip().lower().replace("\\u00b5", "µ")
    return UNITS.get(cleaned)
