"""How far errors that the data cannot show would move the answer: an offset, and a drift, of all values."""

from __future__ import annotations

from collections.abc import Iterable

from mollifier.data.noise_model import NoiseEffect
from mollifier.equations.names import time_coordinate

_SIZE = 0.01  #: Of the offset, and of the drift from the first time to the last, over the field's rms.

_LINE = 12**-0.5  # The standard deviation of a line from -1/2 to 1/2.


def unseen(field: str, rms: float, coordinates: Iterable[str]) -> dict[str, NoiseEffect]:
    """The errors that are asked about, by the names under which ``provenance["sensitivity"]`` has them.

    An answer moves by its derivative by the data along each, to first order. Of a number the move has its
    sign, of a field it is the root mean square. Unknowns that the data do not determine are left out. ``rms``
    is that of the measured field. Its errors have no drift where none of its coordinates is time.

    >>> list(unseen("u", 2.0, ["x", "t"])), unseen("u", 2.0, ["x"])["offset of u"].sd
    (['offset of u', 'drift of u'], 0.02)
    """
    found = {f"offset of {field}": NoiseEffect("offset", _SIZE * rms)}
    if time_coordinate(coordinates):
        found[f"drift of {field}"] = NoiseEffect("drift", _SIZE * rms * _LINE)
    return found


def rounded(size: float) -> float:
    """A move to the digits that are reported."""
    return float(f"{size:.3g}")
