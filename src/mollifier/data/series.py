"""Series of samples that one sensor takes, one after another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mollifier.equations.names import time_coordinate
from mollifier.mollify.arrays import Array, Index


def series(places: Mapping[str, Array]) -> tuple[str, Index]:
    """The coordinate along which sensors measure, and the number of the sensor of each sample, (n,).

    It is that of time, or the only one; where there is neither, it is empty, and all are of one sensor.

    >>> along, sensor = series({"x": np.array([2.0, 1.0, 2.0]), "t": np.arange(3.0)})
    >>> along, sensor.tolist()
    ('t', [1, 0, 1])
    """
    along = next(iter(places)) if len(places) == 1 else time_coordinate(places)
    other = [x for c, x in places.items() if c != along]
    if not (along and other):
        return along, np.zeros(len(next(iter(places.values()))), dtype=np.intp)
    return along, np.unique(np.stack(other, axis=-1), axis=0, return_inverse=True)[1].ravel()
