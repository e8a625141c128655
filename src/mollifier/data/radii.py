"""The radius of a derivative from the noise of the data: the least sum of bias and noise, as far as seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from mollifier.errors import GridError
from mollifier.mollify.differentiate import differentiate
from mollifier.mollify.orders import Derivative

# Numbers that steer the choice; `docs/howto/interop.md` says how well it does.

# Smallest radius, in typical spacings, and the factor from one to the next.
_SMALLEST = 2.0
_FACTOR = 1.2
# A difference is bias beyond this share above the mean of noise alone and so many of its deviations.
_SHARE = 0.1
_DEVIATIONS = 3.0
# Values that are looked at, about, and fewest and most fields of noise.
_VALUES = 200_000
_DRAWS = (4, 16)


def best_radius(array: xr.DataArray, order: Derivative, sd: float, **options: Any) -> dict[str, float]:
    """The radius along each axis of a derivative, the same in typical spacings; ``sd`` is that of the noise.

    Derivatives with larger radii are compared with all those with smaller ones. Their mean square difference
    is that of their noise, which white noise of the same size shows, plus bias. The radius with the least sum
    of the largest bias and of its own noise is taken (Goldenshluger and Lepski, Ann. Statist. 39:1608, 2011).

    >>> x = np.linspace(0, 1, 200)
    >>> u = np.sin(6 * x) + 0.02 * np.random.default_rng(0).standard_normal(200)
    >>> radius = best_radius(xr.DataArray(u, {"x": x}, "x"), Derivative("u", (("x", 1),)), 0.02)
    >>> 0.1 < radius["x"] < 0.4
    True
    """
    axes = axes_of(array, order)
    others = [d for d in array.dims if d not in axes]
    step = max(1, round((array.size / _VALUES) ** (1 / max(len(others), 1))))
    array = array.isel({d: slice(None, None, step) for d in others})
    draws = int(np.clip(_VALUES // array.size, *_DRAWS))
    white = array.expand_dims({"draw": draws}).copy()
    white.values = sd * np.random.default_rng(0).standard_normal(white.shape)
    spacing = {c: float(np.median(np.diff(array[c].values))) for c in axes}
    least, cells = min(array.sizes[c] for c in axes), _SMALLEST
    tried, found, noise = [], [], []
    refused: GridError | None = None
    while cells < max(least / 2, 2 * _SMALLEST):
        radius = {c: cells * h for c, h in spacing.items()}
        try:
            pair = [
                differentiate(a, order=dict(order.orders), radius=radius, **options) for a in (array, white)
            ]
            tried, found, noise = [*tried, radius], [*found, pair[0].values], [*noise, pair[1].values]
        except GridError as error:
            refused = error
        cells *= _FACTOR
    if not tried:
        raise refused or GridError(f"{least} nodes are too few for a derivative {order}.")
    risks = []
    for j, (own, drawn) in enumerate(zip(found, noise, strict=True)):
        bias = [0.0]
        for other, also in zip(found[:j], noise[:j], strict=True):
            alone = np.mean((drawn - also).reshape(draws, -1) ** 2, axis=1)
            limit = (1 + _SHARE) * alone.mean() + _DEVIATIONS * alone.std()
            bias.append(float(np.mean((own - other) ** 2) - limit))
        risks.append(max(bias) + float(np.mean(drawn**2)))
    return tried[int(np.argmin(risks))]


def axes_of(array: xr.DataArray, order: Derivative) -> list[str]:
    """Axes along which a derivative is smoothed: its own, or without any all that have coordinates."""
    return [c for c, _ in order.orders] or [str(d) for d in array.dims if d in array.coords]
