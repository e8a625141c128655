"""Damaged values of measured data: fill values, limits, dead sensors and frames, copied rows, spikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.data import errorbars
from mollifier.data.building import POINT
from mollifier.data.isolated import Places, isolated
from mollifier.data.limits import limits
from mollifier.data.noise import copies
from mollifier.mollify.arrays import Array, Mask

# What counts as a fill value and as dead.

_FILL_GAP = 3.0  # Distance of a fill value from all others, in the range of these.
_RUN = 8  # Equal values in a row of a dead sensor or frame.
_CHANGING = 0.5  # Share of steps at which the sensors beside a dead one change.
# Deviation of a dead sensor from the mean of those beside it, in the typical one of others.
_DEAD = 5.0
_MOST_LINES = 5_000  # Lines with runs of equal values; more are no dead sensors, but a background.


@dataclass(frozen=True)
class Damage:
    """Damaged values of one kind."""

    variable: str
    kind: str  #: "fill value", "limit", "dead", "copy" or "isolated".
    mask: Mask  #: Where they are, in the shape of the variable.
    squares: float  #: Of their deviations from their neighbours, or from all others, added up.
    text: str  #: How many they are, and where.


def find_damage(dataset: xr.Dataset, variable: str, coordinates: Sequence[str]) -> list[Damage]:
    """Damaged values of a variable of `Observations.dataset`, kind by kind; trusted values are none.

    ``coordinates`` are those of the variable, in the order of the data; its other dimensions are repeats.

    >>> x, t = np.linspace(0, 1, 30), np.linspace(0, 1, 20)
    >>> u = np.sin(3 * x[:, None] + t) + 0.01 * np.random.default_rng(0).standard_normal((30, 20))
    >>> u[12, 7] = 4.0
    >>> dataset = xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t})
    >>> [(d.kind, d.text) for d in find_damage(dataset, "u", ("x", "t"))]  # doctest: +NORMALIZE_WHITESPACE
    [('isolated', '1 value of u (0.17 %) is far from all neighbours, at x = 0.414, t = 0.368')]
    """
    array = dataset[variable]
    free = np.isfinite(array.values) & ~errorbars.trusted(dataset, variable)
    with np.errstate(all="ignore"):
        found = _kinds(dataset, array, coordinates)
    return [
        Damage(variable, kind, mask & free, squares, _said(dataset, variable, coordinates, mask & free, text))
        for kind, mask, squares, text in found
        if (mask & free).any()
    ]


def _kinds(
    dataset: xr.Dataset, array: xr.DataArray, coordinates: Sequence[str]
) -> list[tuple[str, Mask, float, str]]:
    """Kind, places, squares of the deviations and text; each kind without the values found before."""
    values = np.array(array.values, dtype=float)
    filled, level = _fill(values)
    filling = float(np.square(values[filled] - np.nanmedian(values[~filled])).sum()) if filled.any() else 0.0
    values[filled] = np.nan
    found = [("fill value", filled, filling, f"{{}} {level:g}, far outside the range of all others")]

    def noise(rest: Array) -> float:
        replaced = dataset.assign({array.name: (array.dims, rest)})
        return errorbars.estimate(replaced, str(array.name), coordinates, (), ())

    for mask, end, text in list(limits(values, noise)):
        values[mask] = np.nan
        found.append(("limit", mask, 0.0, f"{{}} {end:g}, {text}"))
    if POINT not in dataset.dims:
        dead, squares = _dead(values, [array.dims.index(c) for c in coordinates])
        values[dead] = np.nan
        found.append(("dead", dead, squares, "{} constant while the values beside them change"))
    if POINT in dataset.dims:
        copied = _copies(dataset, values)
        values[copied] = np.nan
        found.append(("copy", copied, 0.0, "{} at a place a second time, in rows that repeat others exactly"))
    places = _places(dataset, array, coordinates)
    away, squares = isolated(values, places)
    if away.any() and np.nanmin(values) > 0:  # noise in proportion to the level is no damage either
        away &= isolated(np.log(values), places)[0]
    found.append(("isolated", away, squares, "{} far from all neighbours"))
    return found


def _copies(dataset: xr.Dataset, values: Array) -> Mask:
    """Samples that repeat another in value, place and labels."""
    there, copied = np.isfinite(values), np.zeros(values.shape, dtype=bool)
    along = [c for c in dataset.coords.values() if c.dims == (POINT,)]
    rows = np.stack([np.unique(c.values, return_inverse=True)[1].ravel() for c in along], axis=-1)
    copied[there] = copies(values[there], rows[there].astype(float))
    return copied


def _places(dataset: xr.Dataset, array: xr.DataArray, coordinates: Sequence[str]) -> Places:
    nodes = [np.asarray(dataset[c].values, dtype=float) for c in coordinates]
    if POINT in array.dims:
        return Places(tuple(x / (np.ptp(x) or 1.0) for x in nodes))
    axes = tuple(array.dims.index(c) for c in coordinates)
    return Places(tuple(x / np.median(np.diff(x)) for x in nodes), axes)


def _said(dataset: xr.Dataset, variable: str, coordinates: Sequence[str], mask: Mask, text: str) -> str:
    """The count, the kind, and the place: whole slices by their coordinate, else the first value."""
    array, count = dataset[variable], int(mask.sum())
    noun = f"{count:,} value{'' if count == 1 else 's'} of {variable} ({100 * count / mask.size:.2g} %)"
    head = text.format(f"{noun} {'is' if count == 1 else 'are'}")
    for c in coordinates if POINT not in dataset.dims else ():
        rest = tuple(i for i, d in enumerate(array.dims) if d != c)
        whole = mask.all(rest)
        if rest and whole.any() and whole.sum() * mask.size == count * whole.size:
            shown = ", ".join(f"{x:.3g}" for x in dataset[c].values[whole][:5])
            return f"{head}, all at {c} = {shown}" + (", ..." if whole.sum() > 5 else "")
    first = np.argwhere(mask)[0]
    places = (
        dataset[c].values[first[array.dims.index(POINT if POINT in array.dims else c)]] for c in coordinates
    )
    where = ", ".join(f"{c} = {x:.3g}" for c, x in zip(coordinates, places, strict=True))
    return f"{head}, {'the first ' if count > 1 else ''}at {where}"


def _fill(values: Array) -> tuple[Mask, float]:
    """Values that are repeated exactly, far outside the range of the others; and the last such value."""
    mask, level = np.zeros(values.shape, dtype=bool), np.nan
    rest = values[np.isfinite(values)]
    while rest.size:
        for end in (rest.max(), rest.min()):
            same = np.count_nonzero(rest == end)
            if not (end and 2 <= same < rest.size / 2):
                continue
            others = rest[rest != end]
            if np.abs(others - end).min() > _FILL_GAP * np.ptp(others) > 0:
                mask, level, rest = mask | (values == end), float(end), others
                break
        else:
            return mask, level
    return mask, level


def _dead(values: Array, axes: Sequence[int]) -> tuple[Mask, float]:
    """Runs of equal values between neighbours that change and differ from them, and repeated frames."""
    mask, squares = np.zeros(values.shape, dtype=bool), 0.0
    for along in axes:
        lines = np.moveaxis(values, along, -1)
        run = _run_lengths(lines) >= min(_RUN, max(lines.shape[-1], 5))
        if 0 < np.count_nonzero(run.any(-1)) <= _MOST_LINES:
            run = np.moveaxis(run, -1, along)
            for across in (a for a in axes if a != along):
                hit, size = _differs(values, run, along, across)
                mask, squares = mask | hit, squares + size
        mask |= _repeated(values, along)
    return mask, squares


def _run_lengths(lines: Array) -> NDArray[np.integer]:
    """How many equal values in a row each value is one of, along the last axis; 0 for missing ones."""
    starts = np.ones(lines.shape, dtype=bool)
    starts[..., 1:] = lines[..., 1:] != lines[..., :-1]
    if starts.all():
        return np.isfinite(lines).astype(np.int32)
    label = np.cumsum(starts.ravel()) - 1
    return np.where(np.isfinite(lines), np.bincount(label)[label].reshape(lines.shape), 0)


def _differs(values: Array, run: Mask, along: int, across: int) -> tuple[Mask, float]:
    """Runs that differ from the mean of the nearest lines on both sides, which change; their squares."""
    order = [along, across]
    lines, runs = np.moveaxis(values, order, [-1, -2]), np.moveaxis(run, order, [-1, -2])
    mask, count = np.zeros(lines.shape, dtype=bool), lines.shape[-2]
    middle = (lines[..., 2:, :] + lines[..., :-2, :]) / 2 - lines[..., 1:-1, :]
    plain = ~(runs[..., 2:, :] | runs[..., :-2, :] | runs[..., 1:-1, :]) & np.isfinite(middle)
    typical = float(np.sqrt(np.median(middle[plain] ** 2))) / 0.6745 if plain.any() else np.inf
    total = 0.0
    for place in np.argwhere(runs.any(-1)):
        *front, i = place.tolist()
        part = runs[(*front, i)]
        sides: list[Any] = []
        for step in (-1, 1):
            j = i + step
            while 0 <= j < count and (runs[(*front, j)] & part).mean() > part.mean() / 2:
                j += step
            sides.append(lines[(*front, j)] if 0 <= j < count else None)
        if sides[0] is None or sides[1] is None:  # an edge may be held at a value
            continue
        changes = [np.mean(np.diff(s[part]) != 0) for s in sides]
        squares = np.square((lines[(*front, i)] - (sides[0] + sides[1]) / 2)[part])
        size = float(np.mean(squares[np.isfinite(squares)])) if np.isfinite(squares).any() else 0.0
        if min(changes) > _CHANGING and size > (_DEAD * typical) ** 2:
            mask[(*front, i)] = part
            total += size * int(part.sum())
    return np.moveaxis(mask, [-1, -2], order), total


def _repeated(values: Array, along: int) -> Mask:
    """Slices that repeat the one before exactly, where slices as a rule do not."""
    mask, lines = np.zeros(values.shape, dtype=bool), np.moveaxis(values, along, 0)
    if len(lines) < _RUN or lines[0].size < _RUN:
        return mask
    equal = (lines[1:] == lines[:-1]).reshape(len(lines) - 1, -1)
    frozen = equal.mean(1) + np.isnan(lines[1:]).reshape(len(equal), -1).mean(1) >= 1
    frozen &= equal.sum(1) >= _RUN
    frozen[1:-1] &= (lines[3:] != lines[:-3]).reshape(len(equal) - 2, -1).any(1)  # nor is it a symmetry
    if 0 < frozen.sum() < len(frozen) / 3 and np.median(equal.mean(1)) < 0.05:
        np.moveaxis(mask, along, 0)[1:][frozen] = True
    return mask
