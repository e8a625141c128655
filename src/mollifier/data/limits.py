"""Values at the limits of an instrument: where it saturates, and where it detects nothing.

Such values are repeated exactly, where noise scatters those of a field that is constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Mask

# What counts as a limit; chosen on seeds 0 to 2 of `tests/data/test_damage.py`, tested on others.

_COUNT = 8  # Values at a limit, at least.
_PILED = 3.0  # Values at it, in those within the noise of it.
_STEPS = 1.5  # Noise that scatters values over the levels of the instrument, in the steps between these.
_NOISE = 1e-3  # The same, in the range of the values: simulated plateaus have none.
_GAP = 0.3  # Distance of a limit of detection from the next value, in the limit.
_FINE = 3.0  # The same, in the typical step between the ten values above.


def limits(values: Array, noise: Callable[[Array], float]) -> Iterator[tuple[Mask, float, str]]:
    """Values at a limit, where they are, the limit, and what it is; zero is none, as counts have it.

    ``noise`` estimates the noise of values of the same shape, of which those at the limit are missing.

    >>> u = np.sin(np.linspace(0, 3, 60)) + 0.01 * np.random.default_rng(0).normal(size=60)
    >>> from mollifier.data.noise import estimate_noise
    >>> [(int(mask.sum()), end, text) for mask, end, text in limits(np.minimum(u, 0.9), estimate_noise)]
    [(17, 0.9, 'the largest value: the instrument saturates')]
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    for end, top in ((finite.max(), finite.max() > 0), (finite.min(), finite.min() < 0)):
        mask = values == end
        if end == 0 or np.count_nonzero(mask) < _COUNT:
            continue
        levels = np.unique(finite[finite != end])
        if len(levels) < 2 * _COUNT or not (top or _detection(levels, end)):
            continue
        try:
            sd = noise(np.where(mask, np.nan, values))
        except DataError:
            continue
        scattered = sd > max(_STEPS * _step(levels), _NOISE * np.ptp(levels))
        near = np.count_nonzero((finite != end) & (np.abs(finite - end) < sd))
        if scattered and (not top or mask.sum() > _PILED * near):
            which = "largest" if end > levels[-1] else "least"
            yield (
                mask,
                float(end),
                f"the {which} value: " + ("the instrument saturates" if top else "a limit of detection"),
            )


def _step(levels: Array) -> float:
    """The least step between values, but for rounding."""
    steps = np.diff(levels)
    return float(steps[steps > 1e-9 * np.ptp(levels)].min())


def _detection(levels: Array, end: float) -> bool:
    """Whether a gap separates the least value, above zero, from others that lie close together."""
    gap = levels[0] - end
    return bool(end > 0 and gap > max(_GAP * end, _FINE * np.median(np.diff(levels[:11]))))
