"""A cycle in residuals, such as weekdays or mains hum: one sharp frequency above its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mollifier.mollify.arrays import Array, Index
from mollifier.mollify.distributions import chi2_tail, chi2_upper

_LEVEL = 5e-4  # Level of the test over all frequencies.
_HARMONIC = 1e-2  # The same of further frequencies, once one was found.
_CYCLES = 4  # Cycles that the record has at least: a slower change is no cycle.
_FINE = 2  # Frequencies for each that a record of even times resolves.
_NEIGHBOURS = 10  # Resolved frequencies on each side, whose median power is the background.
_STEPS = 41  # Frequencies about one that was found, of which the best is taken.
_FEWEST = 40  # Times below which the background is hardly known.
_MOST_TIMES = 2_000  # Times beyond which nothing is tested: frequencies times samples would be many.


@dataclass(frozen=True)
class Cycle:
    """A cycle that was found in residuals, and these without it."""

    period: float  #: In the unit of the times.
    share: float  #: Of the variance.
    left: Array  #: Residuals without it, shape (n,).


def cycle(times: Array, values: Array, sensors: Index) -> Cycle | None:
    """The cycle in values (n,) at times (n,) of some sensors, each with its own phase; None where none is.

    The power of a frequency, summed over the sensors, is compared with the median of its neighbours on either
    side and with the mean of all: white noise has none above by chance, and slow or correlated noise raises
    its neighbours as well (a local form of Fisher's test, Proceedings of the Royal Society A 125:54, 1929).
    Periods are from two median spacings of the times to a quarter of the record.

    >>> t, rng = np.arange(140.0), np.random.default_rng(0)
    >>> noise = rng.standard_normal(140)
    >>> found = cycle(t, noise + 1.5 * np.isin(t % 7, (0, 1)), np.zeros(140, dtype=int))
    >>> round(found.period, 1), cycle(t, noise, np.zeros(140, dtype=int))
    (7.0, None)
    """
    distinct = np.unique(times)
    if not _FEWEST <= distinct.size <= _MOST_TIMES:
        return None
    step = float(np.median(np.diff(distinct)))
    resolved = (distinct[-1] - distinct[0]) / step + 1
    if not resolved <= _MOST_TIMES:
        return None
    frequencies = np.arange(_FINE, int(_FINE * resolved / 2) + 1) / (_FINE * resolved * step)
    power, rows = _power(times, values, sensors, frequencies)
    if not rows or frequencies.size < 2 * _NEIGHBOURS:
        return None
    chances = frequencies.size * chi2_tail(2 * power / _background(power, rows), 2 * rows)
    chances[: _FINE * (_CYCLES - 1)] = np.inf
    if not chances.min() < _LEVEL:
        return None
    peaks = np.r_[True, power[1:] >= power[:-1]] & np.r_[power[:-1] >= power[1:], True]
    sharp = np.flatnonzero(peaks & (chances < _HARMONIC))
    fine = np.linspace(-1, 1, _STEPS) * frequencies[0] / _FINE
    exact = [f + fine[np.argmax(_power(times, values, sensors, f + fine)[0])] for f in frequencies[sharp]]
    left = _without(times, values, sensors, np.array(exact))
    share = 1 - float(np.sum(left**2) / np.sum(values**2))
    return Cycle(float(1 / exact[0]), share, left)


def _power(times: Array, values: Array, sensors: Index, frequencies: Array) -> tuple[Array, int]:
    """Power at each frequency, summed over the sensors, each of mean 1 for white noise; and their number."""
    waves = np.exp(-2j * np.pi * np.outer(times, frequencies))
    power, rows = np.zeros(frequencies.size), 0
    for sensor in np.unique(sensors):
        here = sensors == sensor
        own = values[here] - values[here].mean()
        if here.sum() >= _FEWEST // 2 and own.any():
            power += np.abs(own @ waves[here]) ** 2 / np.sum(own**2)
            rows += 1
    return power, rows


def _background(power: Array, rows: int) -> Array:
    """Power that noise has at each frequency, by its neighbours and by all, as a mean for each row."""
    reach = _FINE * _NEIGHBOURS
    near = [
        max(
            np.median(side)
            for side in (power[max(i - reach, 0) : i - 1], power[i + 2 : i + reach + 1])
            if side.size
        )
        for i in range(power.size)
    ]
    middle = float(chi2_upper(0.5, 2 * rows)) / 2
    return np.maximum(np.array(near) / middle, float(np.mean(power)) / rows)


def _without(times: Array, values: Array, sensors: Index, frequencies: Array) -> Array:
    """Values (n,) without the waves of some frequencies, by least squares for each sensor."""
    angle = 2 * np.pi * np.outer(times, frequencies)
    columns, left = np.concatenate([np.cos(angle), np.sin(angle)], axis=1), values.copy()
    for sensor in np.unique(sensors):
        here = sensors == sensor
        if here.sum() > 2 * columns.shape[1]:
            left[here] -= columns[here] @ np.linalg.lstsq(columns[here], values[here])[0]
    return left
