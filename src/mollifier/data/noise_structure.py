"""What the noise of gridded data is besides white.

Effects of sensors and frames, correlation, dependence on the level, tails, steps.

A difference of high order along one axis removes a smooth field and leaves a combination of the noise. White
noise then has no correlation along any *other* axis, for every order of difference; one gain or offset for
each sensor, or correlation in time, has the same one for every order; and what a difference leaves of a field
has less with every order. Differences along all axes leave independent noise alone: their size is compared
with the local level of the field, and with a normal distribution.

The tests are exact to second order under white noise: the autocorrelation of unit-norm differences is known,
so that a sum over overlapping windows counts as ``windows / sum r^2`` independent ones. Windows that would
not raise that number are left out (`mollifier.data.effects.every`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import comb
from typing import Literal

import numpy as np

from mollifier.data.effects import MEDIAN, Rows, every, overlap
from mollifier.data.noise import central, difference, median, weights_of, windowed
from mollifier.mollify.arrays import Array
from mollifier.mollify.distributions import chi2_tail, normal_tail, ranks

Kind = Literal[
    "sensor_gain",
    "sensor_offset",
    "frame_gain",
    "frame_offset",
    "correlated",
    "relative",
    "tails",
    "steps",
    "fractions",
    "more than given",
    "less than given",
]


_LEVEL = 5e-4  # Level of each test; a solve has about ten, most of them dependent.
# Highest order of difference along one axis, and along all of them together.
_ORDER = 8
_MIXED = 4
# Lowest order along one axis that removes a field, and nodes that an axis has for each order.
_LEAST_ORDER = 5
_NODES_PER_ORDER = 2.5
# What one more order leaves of an effect of the noise; of a field of four nodes a wave it leaves 0.53.
_FLAT = 0.8
# Share of an effect that most windows have; below it is local, as a front is. Of correlations: with .15
# pulses that differences do not remove were called correlated in 5 of 40 runs, with .3 in none, and all
# of 320 runs with a third to all of the variance correlated were found.
_SPREAD = 0.15
_SPREAD_CORRELATED = 0.3
_CLIP = 4.0  # Standard deviations at which differences are cut.
_LEAST = 3e-4  # Share of the rms below which an effect does not matter.
# A structure is grave where it widens the variance of a mean over so many nodes by such a share.
_WINDOW = 10
_GRAVE = 0.44
#: Ratio of the noise that the data show and the noise given, from which one of them is mistaken.
MISTAKEN = 3.0
# An order of difference leaves nothing of the field where it leaves so many times what the highest does.
_LEAVES = 1.15
_EQUAL = 0.6  # Share of equal neighbours, along every axis, from which rounding is no noise.
_SUMMED = 0.2  # Variance of a frame's sum, over that by independent noise, below which values are fractions.
_TAILS = 1.0  # Excess kurtosis, per value, from which tails are noted.
_VALUES = 300_000  # Values of a central block that is tested, at most.
# Differences whose ranks are compared with those of the level, and values among which a step is sought
# first, about.
_RANKED = 20_000
_STEPPED = 2_000
EFFECTS: dict[tuple[bool, str], Kind] = {
    (True, "gain"): "sensor_gain",
    (True, "offset"): "sensor_offset",
    (False, "gain"): "frame_gain",
    (False, "offset"): "frame_offset",
}
"""Whether of a sensor or of a frame, and how its values have it in common -> in the words that declare it."""


@dataclass(frozen=True)
class NoiseFinding:
    """One thing that the noise is besides white."""

    kind: Kind  #: In the words that declare it.
    #: Standard deviation, as a fraction of the field's rms; for gains and `relative` of the local value.
    size: float
    along: str = ""  #: The axis along which it is correlated, "" for none.
    length: float = 0.0  #: Its correlation length, in the unit of the axis; 0 where it has none.
    grave: bool = True  #: Whether intervals that assume white noise are off by more than about 20 %.
    #: Standard deviation of all noise that this finding saw, in the unit of the field; 0 where it saw none.
    sd: float = 0.0

    @property
    def text(self) -> str:
        """What the data show, as a clause.

        >>> NoiseFinding("sensor_gain", 0.02).text
        'each sensor has its own gain (about 2 %)'
        """
        size = f"{100 * self.size:.2g} %"
        return {
            "sensor_gain": f"each sensor has its own gain (about {size})",
            "sensor_offset": f"each sensor has its own offset (about {size} of rms)",
            "frame_gain": f"each frame has its own gain (about {size})",
            "frame_offset": f"each frame has its own offset (about {size} of rms)",
            "correlated": f"the noise ({size} of rms) is correlated along {self.along} over about "
            f"{self.length:.2g}",
            "relative": f"the noise grows with the value (about {size} of it)",
            "tails": "the noise has heavier tails than a normal distribution (excess kurtosis "
            f"{self.size:.2g})",
            "steps": f"the values are rounded to steps of {size} of rms",
            "fractions": f"the values have the same sum at all {self.along}, as fractions have: their noise "
            "is correlated between places, and in time where the same particles are counted again",
            "more than given": f"the noise is {size} of rms, more than three times what was given",
            "less than given": f"the noise is at most {size} of rms, less than a third of what was given",
        }[self.kind]

    def declaration(self, variable: str) -> str:
        """The words of a problem file that declare it; "" where there are none."""
        what = {
            "correlated": f"correlated: {{{self.along}: {self.length:.2g}}}",
            "tails": "distribution: student",
            "steps": "",
            "fractions": "",
        }.get(self.kind, f"{self.kind}: {self.size:.2g}")
        if self.kind.endswith("given"):
            return f"noise: {{{variable}: {self.size:.2g}}}"
        return f"noise: {{{variable}: {{{what}}}}}" if what else ""


def noise_structure(
    values: Array,
    nodes: Sequence[Array],
    names: Sequence[str],
    time: str | None,
    given: Array | None = None,
) -> tuple[NoiseFinding, ...]:
    """What the noise of a field on a grid is besides white.

    ``values`` have the shape (repeats, *grid), NaN = missing; ``given`` are standard errors, which are no
    finding. Nodes along the axis ``time`` are frames, and the other axes place the sensors.

    >>> rng = np.random.default_rng(0)
    >>> x, t = np.linspace(0, 1, 40), np.linspace(0, 1, 30)
    >>> u = np.exp(-t) * (2 + np.sin(6 * x[:, None])) * (1 + 0.02 * rng.standard_normal((40, 1)))
    >>> [f.kind for f in noise_structure(u[None], (x, t), ("x", "t"), "t")]
    ['sensor_gain']
    """
    finite = values[np.isfinite(values)]
    rms = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
    if not rms > 0:
        return ()
    cut = (slice(None), *central(values.shape[1:], _VALUES))
    given = None if given is None else np.broadcast_to(given, values.shape)[cut]
    values, nodes = values[cut], [x[c] for x, c in zip(nodes, cut[1:], strict=True)]
    found: dict[tuple[str, str], NoiseFinding] = {}
    for a, x in enumerate(nodes):
        differences = cache(partial(_differences, values, x, a))
        for b in range(len(nodes)):
            if a != b and (one := _across(differences, nodes, names, time, a, b, rms)):
                key = one.kind, one.along
                if key not in found or found[key].sd < one.sd:
                    found[key] = one
    fractions = _fractions(values, nodes, names.index(time), time, rms) if time and time in names else ()
    return (*found.values(), *_pointwise(values, nodes, given, rms), *fractions, *_steps(values, rms))


def less_than_given(found: float, given: float) -> bool:
    """Whether the noise found is so much less than that given that one is mistaken.

    >>> less_than_given(0.01, 0.02), less_than_given(0.01, 0.04)
    (False, True)
    """
    return MISTAKEN * found < given


def highest_order(n: int) -> int:
    """The highest order of difference along an axis of n nodes; 0 where none leaves enough windows."""
    order = min(_ORDER, int(n / _NODES_PER_ORDER))
    return order if order >= _LEAST_ORDER else 0


def _differences(u: Array, x: Array, a: int, order: int) -> tuple[Array, ...]:
    """Differences along axis ``a`` of (repeats, *grid), cut at a few deviations, their level, and where."""
    weights = weights_of(x, order)
    found, level = (windowed(u, w, a + 1, every(order)) for w in (weights, weights**2))
    there = np.isfinite(found)
    typical = median(np.abs(found[there])) / 0.6745 if there.any() else 0.0
    cut = _CLIP * typical
    return np.clip(np.where(there, found, 0.0), -cut, cut), np.where(there, level, 0.0), there.astype(float)


def _across(
    differences: Callable[[int], tuple[Array, ...]],
    nodes: Sequence[Array],
    names: Sequence[str],
    time: str | None,
    a: int,
    b: int,
    rms: float,
) -> NoiseFinding | None:
    """What is common to the nodes of axis ``b``, seen in ``differences`` of an order along axis ``a``."""
    order = highest_order(nodes[a].size)
    if not order or nodes[b].size < 4:
        return None

    def rows(order: int) -> Rows:
        moved = (np.moveaxis(v, (a + 1, b + 1), (-2, -1)) for v in differences(order))
        return Rows(*(v.reshape(-1, nodes[b].size) for v in moved), overlap=overlap(order, every(order)))

    high = rows(order)
    total = high.variance
    if total < (_LEAST * rms) ** 2:
        return None
    seen = high.seen(_LEVEL)
    spread = _SPREAD_CORRELATED if seen and seen.how == "correlated" else _SPREAD
    if seen is None or seen.local < spread or seen.part < (_LEAST * rms) ** 2:
        return None
    if seen.part < _FLAT * rows(order - 1).part(seen.how):
        return None
    grave = seen.part / total * min(_WINDOW, nodes[b].size) > _GRAVE
    size, sd = float(np.sqrt(seen.part)) / rms, float(np.sqrt(total))
    if seen.how != "correlated" and time is not None and time in (names[a], names[b]):
        whose = EFFECTS[names[b] == time, seen.how]
        return NoiseFinding(whose, seen.size if seen.how == "gain" else size, names[b], 0.0, grave, sd)
    length = high.length * float(np.median(np.diff(nodes[b])))
    return NoiseFinding("correlated", size, names[b], length, grave, sd)


def _mixed(u: Array, nodes: Sequence[Array], order: int, power: int = 1) -> Array:
    """Differences of one order along all axes; with power 2, means by the squares of their weights."""
    for axis, x in enumerate(nodes, start=1):
        u = windowed(u, weights_of(x, order) ** power, axis, every(order))
    return u


def _pointwise(u: Array, nodes: Sequence[Array], given: Array | None, rms: float) -> Iterator[NoiseFinding]:
    """Size, dependence on the level, and tails of independent noise."""
    lowest = int(min(x.size for x in nodes) / _NODES_PER_ORDER)
    order = min(_MIXED, lowest) if len(nodes) > 1 else highest_order(nodes[0].size)
    if order < 2:
        return
    found = {k: _mixed(u, nodes, k) for k in range(1, order + 1)}
    if np.isfinite(found[order]).sum() * every(order) ** len(nodes) < 100:
        return
    sizes = {k: median(e[np.isfinite(e)] ** 2) / MEDIAN for k, e in found.items()}
    white = sizes[order]
    noisy = white > max((_LEAST * rms) ** 2, _FLAT * sizes[order - 1])
    # The lowest order that leaves no more than the highest: it mixes the fewest values.
    order = min(k for k, size in sizes.items() if size <= _LEAVES * white)
    there = np.isfinite(found[order])
    e, level = found[order][there], np.abs(_mixed(u, nodes, order, 2)[there])
    sd = float(np.sqrt(np.mean(e**2)))
    if given is not None:
        squares = _mixed(given**2, nodes, order, 2)[there]
        typical = float(np.sqrt(median(squares)))
        if noisy and np.sqrt(white) > MISTAKEN * typical:
            yield NoiseFinding("more than given", float(np.sqrt(white)) / rms, sd=sd)
        elif less_than_given(sd, typical) and typical > _LEAST * rms:
            yield NoiseFinding("less than given", sd / rms, grave=False)
        if typical > 0:
            e = e / np.maximum(np.sqrt(squares) / typical, 1e-3)
    if noisy:
        yield from _shape(e, level, sd, (order, len(nodes)))


def _shape(e: Array, level: Array, sd: float, of: tuple[int, int]) -> Iterator[NoiseFinding]:
    """Dependence of differences (n,), ``of`` an order along so many axes, on the level, and their tails."""
    order, axes = of
    squares, count = e**2, e.size / overlap(order, every(order)) ** axes
    few = slice(None, None, 1 + e.size // _RANKED)
    correlation = np.corrcoef(ranks(squares[few]), ranks(level[few]))[0, 1]
    if normal_tail(correlation * np.sqrt(count / (few.step or 1))) < _LEVEL:
        _, slope = growth(np.minimum(squares, _CLIP**2 * np.mean(squares)), level**2)
        # Intervals hold all the same: 55 of 56 numbers (docs: data).
        yield NoiseFinding("relative", float(np.sqrt(slope)), grave=False, sd=sd)
        return
    fourth = (sum(comb(order, j) ** 4 for j in range(order + 1)) / comb(2 * order, order) ** 2) ** axes
    excess = float(np.mean(squares**2) / np.mean(squares) ** 2 - 3)
    if normal_tail(excess / np.sqrt(24 / count)) < _LEVEL and excess / fourth > _TAILS:
        yield NoiseFinding("tails", excess / fourth, grave=False, sd=sd)


def growth(squares: Array, level: Array) -> tuple[float, float]:
    """Floor and slope of ``squares = floor + slope * level``, shape (n,), weighted by their own variance.

    >>> level = np.linspace(0, 4, 50)
    >>> [round(c, 6) for c in growth(0.1 + 0.5 * level, level)]
    [0.1, 0.5]
    """
    fitted = np.ones_like(squares)
    floor = slope = 0.0
    for _ in range(5):
        columns = np.stack([np.ones_like(level), level], axis=1) / fitted[:, None]
        (floor, slope), *_ = np.linalg.lstsq(columns, squares / fitted, rcond=None)
        floor, slope = max(floor, 0.0), max(slope, 0.0)
        fitted = np.maximum(floor + slope * level, 1e-3 * np.mean(squares))
    return float(floor), float(slope)


def _fractions(u: Array, nodes: Sequence[Array], axis: int, time: str, rms: float) -> Iterator[NoiseFinding]:
    """Sums over a frame that vary less than those of independent noise would."""
    order, places = highest_order(nodes[axis].size), tuple(a + 1 for a in range(len(nodes)) if a != axis)
    if not order or not places or not np.isfinite(u).all():
        return
    high, low = (difference(u, nodes[axis], k, axis + 1) for k in (order, order - 1))
    total, sums = float(np.mean(high**2)), high.sum(places)
    if total < max((_LEAST * rms) ** 2, _FLAT * float(np.mean(low**2))):
        return  # a field, or no noise
    ratio, count = float(np.mean(sums**2)) / total * sums.size / high.size, sums.size / overlap(order)
    if ratio < _SUMMED and 1 - float(chi2_tail(count * ratio, count)) < _LEVEL:
        yield NoiseFinding("fractions", 0.0, time, grave=False)


def _steps(u: Array, rms: float) -> Iterator[NoiseFinding]:
    """Rounding to steps; it is grave where the field and its noise change by less from node to node."""
    finite = u[np.isfinite(u)]
    different, gaps, step = finite, finite, np.inf
    for some in (finite[:: 1 + finite.size // _STEPPED], finite):  # no step is wider than the least gap
        different = np.unique(some)
        gaps = np.diff(different)
        step = float(gaps[gaps > 1e-9 * rms].min(initial=np.inf))
        if not step > _LEAST * rms:
            return
    if finite.size < 100 or different.size > finite.size // 4 or different.size < 3:
        return
    whole = np.abs(gaps / step - np.round(gaps / step)) < 1e-3 * np.maximum(gaps / step, 1)
    if np.isfinite(step) and whole.mean() > 0.99:
        jumps = (np.diff(u, axis=axis) for axis in range(1, u.ndim))
        equal = min(float(np.mean(np.abs(j[np.isfinite(j)]) < step / 2)) for j in jumps)
        yield NoiseFinding("steps", step / rms, grave=equal > _EQUAL)
