"""How a map of rates depends on what it assumes: each quantity is moved by its standard deviation.

The change of the map is that of the equation's rows, mapped by the derivative of the estimate (to first order
in the map; the rows are computed anew). Another outline changes the test functions, and needs another map.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import xarray as xr

from mollifier.chromatin.fractions import Thresholds, mixed
from mollifier.chromatin.galerkin import residual
from mollifier.chromatin.infer import RateMap
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.modes import FieldSeries
from mollifier.chromatin.settings import Assumptions, Levels
from mollifier.mollify.arrays import Array, Mask, filled


class _Changed(NamedTuple):
    """A changed map and euchromatin, both (pixels, frames), and the change of the numbers of a step."""

    lam: Array
    phi_e: Array
    step: Array


def sensitivity(
    found: RateMap,
    model: ChromatinModel,
    assumed: Assumptions | None = None,
    levels: Levels | None = None,
    phi: xr.Dataset | None = None,
    inner: tuple[RateMap, float] | None = None,
) -> xr.Dataset:
    """The change of a map when an assumed quantity is one standard deviation lower or higher.

    ``found`` is a result of `mollifier.chromatin.infer.infer_rate` with the model. Levels are varied if they
    are given with the fractions ``phi`` and their ``signal``, and the outline if ``inner`` is: the map of a
    smaller one, and by how many standard deviations it is smaller.

    The result is over ``parameter`` and ``sign`` (-1, 1): ``level``, the change of the mean of lam (weighted
    by phi_e, over the identified pixels) relative to it, and ``pattern``, the rms change of lam, relative to
    it too; ``step``, the change of size, delay and log(spread) of a step after a treatment (0 without one);
    ``sd`` (parameter), the standard deviations; ``lam_assumed_sd`` (x, y and t), the standard error of lam by
    all of them. The attributes ``rate_sd`` and ``step_sd`` are those of the mean and of the step.
    """
    assumed = assumed or Assumptions()
    inside = found.dataset["mask"].values.astype(bool)
    sure = found.weight.transpose("x", "y", ...).values[inside].reshape(inside.sum(), -1) > 0
    base, weight = found.found.rate, found.series.phi_e
    middle = _mean(base, weight, sure)
    shown = sure.any(1) | ~sure.any()
    names, sizes, rows, variance = [], [], [], np.zeros(base.shape)
    for name, sd, ends, apart in _variations(found, model, assumed, levels, phi, inner):
        for end in ends:
            moved = _mean(end.lam, end.phi_e, sure) - middle
            spread = float(np.sqrt(np.mean((end.lam - base)[shown] ** 2)))
            # Ends that are not two standard deviations apart are scaled to that.
            rows.append(np.array([moved / abs(middle), spread / abs(middle), *end.step]) * 2 / apart)
        variance += ((ends[1].lam - ends[0].lam) / apart) ** 2
        names.append(name)
        sizes.append(sd)
    table = np.reshape(rows, (-1, 2, 5))
    whole = np.full((*inside.shape, base.shape[1]), np.nan)
    whole[inside] = np.sqrt(variance)
    lam = found.dataset["lam"]
    error = lam.copy(data=whole if "t" in lam.dims else whole[..., 0])
    dims = ("parameter", "sign")
    parts = {
        "level": (dims, table[..., 0]),
        "pattern": (dims, table[..., 1]),
        "step": ((*dims, "number"), table[..., 2:]),
        "sd": ("parameter", sizes),
    }
    coords = {"parameter": names, "sign": [-1, 1], "number": ["size", "delay", "log_spread"]}
    errors = np.linalg.norm((table[:, 1] - table[:, 0]) / 2, axis=0)
    attrs = {"rate_sd": float(errors[0]) * abs(middle), "step_sd": errors[2:]}
    return xr.Dataset(parts, coords, attrs).assign(lam_assumed_sd=error)


def _mean(lam: Array, phi_e: Array, sure: Mask) -> float:
    weight = phi_e * sure
    total = float(weight.sum())
    return float(np.sum(weight * lam)) / total if total else math.nan


def _variations(
    found: RateMap,
    model: ChromatinModel,
    assumed: Assumptions,
    levels: Levels | None,
    phi: xr.Dataset | None,
    inner: tuple[RateMap, float] | None,
) -> Iterator[tuple[str, float, tuple[_Changed, _Changed], float]]:
    """Name, standard deviation, the two ends, and how many standard deviations they are apart."""
    base, phi_e, gone = found.found.rate, found.series.phi_e, found.step
    before = residual(found.series, found.modes, model, found.found)
    none = np.zeros(3)

    def end(series: FieldSeries, other: ChromatinModel) -> _Changed:
        after = residual(series, found.modes, other, found.found)
        step = none if gone is None else gone.gain @ (after - before)
        moved = found.found.coefficients + found.found.gain @ (after - before)
        return _Changed(replace(found.found, coefficients=moved).rate, series.phi_e, step)

    def mirrored(far: _Changed) -> _Changed:
        return _Changed(2 * base - far.lam, 2 * phi_e - far.phi_e, -far.step)

    for name, sd, *models in assumed.models(model):
        others = [None if levels is None else levels.at(m) for m in models]
        low, high = (end(_with_levels(found, phi, t), m) for t, m in zip(others, models, strict=True))
        yield name, sd, (low, high), 2.0
    known = levels is not None and phi is not None
    for name, sd, low, high, apart in levels.variations(assumed, phi) if known else ():
        far = end(_with_levels(found, phi, high), model)
        near = mirrored(far) if low is None else end(_with_levels(found, phi, low), model)
        yield name, sd, (near, far), apart
    if inner is not None:
        other = inner[0].step
        step = none if gone is None or other is None else other.middle - gone.middle
        smaller = _Changed(_filled(inner[0], found), phi_e, step)
        yield "outline", assumed.outline, (smaller, mirrored(smaller)), 2 * inner[1]


def _with_levels(found: RateMap, phi: xr.Dataset | None, other: Thresholds | None) -> FieldSeries:
    """The fields that other levels give; the errors of the signal keep their size."""
    if phi is None or other is None:
        return found.series
    mask = found.dataset["mask"]
    signal = phi["signal"].sel(x=mask["x"], y=mask["y"]).transpose("x", "y", ...).values
    signal = signal[mask.values.astype(bool)].reshape(int(mask.sum()), -1)
    at = mixed(signal, other)
    return replace(found.series, phi_d=at["phi_d"], chromatin=1 - at["phi_n"])


def _filled(inner: RateMap, found: RateMap) -> Array:
    """The map of a smaller outline on the pixels of another: beyond it, its value at the nearest pixel."""
    mask = found.dataset["mask"]
    lam = inner.dataset["lam"].reindex(x=mask["x"], y=mask["y"]).transpose("x", "y", ...).values
    frames = [filled(v)[mask.values.astype(bool)] for v in np.moveaxis(lam.reshape(*mask.shape, -1), -1, 0)]
    return np.broadcast_to(np.stack(frames, -1), found.found.rate.shape)
