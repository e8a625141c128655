"""Treated cells against control cells: effect sizes with intervals, and many comparisons at once.

Groups of five or six cells are too small for a bootstrap, whose intervals would be too narrow. Where every
cell stands alone, intervals are Welch's t, which assumes roughly normal cell means and unequal variances.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mollifier.chromatin.replicates import GroupMeans
from mollifier.mollify.distributions import student_tail, student_upper

Array = NDArray[np.float64]


def welch_means(treated: Array, control: Array) -> GroupMeans:
    """Means of two groups of independent cells, with the degrees of freedom of Satterthwaite."""
    n, m = treated.size, control.size
    parts = [(float(v.mean()) if v.size else math.nan) for v in (treated, control)]
    covariance, freedom, sd = np.zeros((2, 2)), 0.0, 0.0
    if n > 1 and m > 1:
        va, vb = float(treated.var(ddof=1)) / n, float(control.var(ddof=1)) / m
        covariance = np.diag([va, vb])
        sd = math.sqrt(((n - 1) * n * va + (m - 1) * m * vb) / (n + m - 2))
        if va + vb > 0:
            freedom = (va + vb) ** 2 / (va**2 / (n - 1) + vb**2 / (m - 1))
    return GroupMeans((parts[0], parts[1]), covariance, freedom, sd, (n, m), (n, m))


def effects(found: GroupMeans) -> dict[str, float]:
    """Difference, ratio and Hedges' g of the means, each with its 95 % interval.

    The interval of the difference is Student's (of cells, Welch's: Biometrika 34:28, 1947), that of the
    ratio is of its logarithm by the delta method, with the same t. g is the difference over the standard
    deviation of a cell, corrected for small samples by 1 - 3/(4 nu - 1), with the interval of its
    large-sample variance (Hedges and Olkin, Statistical Methods for Meta-Analysis, 1985).

    The means are from `welch_means` or `mollifier.chromatin.replicates.replicate_means`. Keys are ``cells``,
    ``cells_control``, ``units``, ``units_control``, ``mean``, ``mean_control``; ``difference``, ``ratio`` and
    ``g`` with ``_low`` and ``_high``; ``p`` of no difference. NaN where there are too few cells or
    replicates.

    >>> cells = np.array([1.3, 1.4, 1.2, 1.35]), np.array([1.0, 1.1, 0.9, 1.0])
    >>> found = effects(welch_means(*cells))
    >>> round(found["ratio"], 2), found["difference_low"] > 0
    (1.31, True)
    """
    (a, b), (n, m) = found.mean, found.cells
    names = [f"{q}{end}" for q in ("difference", "ratio", "g") for end in ("", "_low", "_high")]
    known: dict[str, float] = {
        "cells": n, "cells_control": m, "units": found.units[0], "units_control": found.units[1], "mean": a,
        "mean_control": b, **dict.fromkeys([*names, "p"], math.nan),
    }  # fmt: skip
    if n < 2 or m < 2:
        return known
    known["difference"] = a - b
    error = found.difference_error
    if found.freedom <= 0 or error == 0:
        return known
    reach = float(student_upper(0.025, found.freedom))
    known |= _ends("difference", a - b, reach * error)
    known["p"] = 2 * float(student_tail(abs(a - b) / error, found.freedom))
    if a > 0 and b > 0:
        spread = reach * found.contrast_error(1 / a, -1 / b)
        known |= {"ratio": a / b, "ratio_low": a / b * math.exp(-spread)}
        known["ratio_high"] = a / b * math.exp(spread)
    g = (1 - 3 / (4 * (n + m - 2) - 1)) * (a - b) / found.sd
    sd = math.sqrt((error / found.sd) ** 2 + g**2 / (2 * (n + m)))
    return known | _ends("g", g, reach * sd)


def _ends(name: str, value: float, half: float) -> dict[str, float]:
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def holm(p: Array) -> Array:
    """Probabilities of no difference, adjusted for their number (Holm, Scand. J. Statist. 6:65, 1979).

    A rule that calls those below 0.05 calls one without a difference in at most one study of twenty, however
    the quantities depend on one another. NaN stay NaN, and are not counted.

    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]
    raised = p[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return adjusted
