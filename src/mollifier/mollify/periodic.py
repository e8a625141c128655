"""Whether a periodic axis of a grid repeats its first slice at its end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mollifier.mollify.arrays import Array
from mollifier.mollify.distributions import fisher_upper

_CHANCE = 1e-4  # Probability by which chance alone may favour a repeat.
# Order of the differences across the seam, and the share of the data's size that rounding may leave of them.
_ORDER, _ROUNDING = 3, 1e-12
# Factor by which the differences have to decrease without the last slice, beside a step of noise alone.
_CLEARER = 1.5


def repeats_first(values: NDArray[np.generic]) -> bool:
    """Whether the last slice of values (n, ...) shows what the first one does, to within its noise.

    If the axis wraps one step past its last node, the step over the seam is about a third of the change from
    the last node but one to the second. Over a repeated slice it is noise alone, and the field goes on more
    smoothly without that slice (variance ratio tests).

    >>> u = np.sin(np.linspace(0, 2 * np.pi, 33))
    >>> repeats_first(u), repeats_first(u[:-1])
    (True, False)
    """
    if values.dtype.kind not in "fiu" or len(values) <= 2 * _ORDER:
        return False
    lines = values.reshape(len(values), -1).astype(float)
    near = np.concatenate([lines[-_ORDER - 1 :], lines[:_ORDER]])
    good = np.isfinite(near).all(axis=0)
    if not good.any():
        return False
    near = near[:, good]
    rounding = (_ROUNDING * float(np.abs(near).max())) ** 2
    limit = float(fisher_upper(_CHANCE, good.sum(), good.sum()))
    first, last = near[_ORDER + 1], near[_ORDER]
    noise = max(float(np.mean((first - last) ** 2)) / 2, rounding)
    if not float(np.nanmean(np.diff(lines, axis=0) ** 2)) / 2 > limit * noise:
        return False
    step = (near[_ORDER + 2] - near[_ORDER - 1]) / 3
    odd = float(np.mean((first - last - step) ** 2)) / (20 / 9)
    whole, without = _roughness(near[1:]), max(_roughness(np.delete(near, _ORDER, axis=0)), rounding)
    alike = noise <= limit * without and whole > limit * without
    return alike or (odd > limit * noise and whole > _CLEARER * without)


def _roughness(lines: Array) -> float:
    """Mean square of the differences along the first axis, of unit norm."""
    norm = np.linalg.norm(np.diff(np.eye(_ORDER + 1), _ORDER, axis=0))
    return float(np.mean((np.diff(lines, _ORDER, axis=0) / norm) ** 2))
