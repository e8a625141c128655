"""Treated against control cells: means of groups, effect sizes with intervals, many comparisons at once.

Groups of five or six cells are too small for a bootstrap, whose intervals would be too narrow. Where cells
are independent, intervals are Welch's t, which assumes roughly normal cell means and unequal variances.

Otherwise a replicate counts once: the mean of a group is that of the means of its dishes (a group in a
replicate), and its variance follows from their scatter alone, however many cells each has (Bell and
McCaffrey, Survey Methodology 28:169, 2002; the residuals are divided by the root of one minus their
leverage). Of balanced studies that is Student's t of the mixed model with cells within dishes within
replicates. Restricted likelihood, as statsmodels' MixedLM maximises, weights dishes by variances that few
replicates hardly show: with dishes of 1, 1 and 12 cells its intervals missed the truth in 13 % of studies,
and MixedLM fails where the variance between replicates is near zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mollifier.data.text_tables import read_layout
from mollifier.errors import ConfigurationError, DataError, check_known
from mollifier.io.files import require_file
from mollifier.mollify.arrays import Array
from mollifier.mollify.distributions import student_tail, student_upper

_EQUAL = 1e-12  # Relative deviation from the mean that is rounding.


@dataclass(frozen=True)
class GroupMeans:
    """Means of a treated and a control group."""

    mean: tuple[float, float]  #: Treated and control.
    covariance: Array  #: Of the means, shape (2, 2).
    #: Degrees of freedom of their difference; 0 where there are too few replicates for an interval.
    freedom: float
    sd: float  #: Standard deviation of a cell of a group.
    #: Numbers of cells and of replicates (or cells, where these are the unit) in both groups.
    cells: tuple[int, int]
    units: tuple[int, int]

    def error(self, *weights: float) -> float:
        """Standard error of a weighted sum of the means; of their difference by default."""
        w = np.array(weights or (1.0, -1.0))
        return math.sqrt(max(float(w @ self.covariance @ w), 0.0))


@dataclass(frozen=True, eq=False)
class Dishes:
    """Cells of several groups by dish, a group in a replicate."""

    #: Of the cells of each dish, shape (replicates, groups), zero where there is none.
    means: Array
    counts: Array
    cell: float  #: Variance between cells of one dish; 0 if no dish has two.

    @classmethod
    def of(cls, values: ArrayLike, groups: Sequence[object], replicates: Sequence[str]) -> Dishes:
        """The dishes of cells with these values, groups (in sorted order) and replicates."""
        y = np.asarray(values, dtype=float)
        (names, row), (known, column) = (
            np.unique(np.asarray(v), return_inverse=True) for v in (replicates, groups)
        )
        counts, means = np.zeros((2, len(names), len(known)))
        np.add.at(counts, (row, column), 1.0)
        np.add.at(means, (row, column), y)
        means /= np.maximum(counts, 1.0)
        spare = len(y) - np.count_nonzero(counts)
        return cls(means, counts, float(np.sum((y - means[row, column]) ** 2)) / max(spare, 1))

    @property
    def present(self) -> Array:
        """1 for each dish, shape (replicates, groups)."""
        return np.minimum(self.counts, 1.0)

    @property
    def inverse(self) -> Array:
        """One over the number of cells of each dish, shape (replicates, groups)."""
        return self.present / np.maximum(self.counts, 1.0)

    @property
    def level(self) -> Array:
        """Mean of the dishes of each group, shape (groups,)."""
        return self.means.sum(0) / self.present.sum(0)

    @property
    def scatter(self) -> Array:
        """Deviation of each dish from its group, shape (replicates, groups)."""
        found = (self.means - self.level) * self.present
        return np.where(np.abs(found) > _EQUAL * np.abs(self.level), found, 0.0)

    @property
    def components(self) -> tuple[float, float, float]:
        """Variances between cells of one dish, between dishes of one replicate, and between replicates.

        By the moments of the means of dishes; 0 where none is left.

        >>> np.round(Dishes.of([1.0, 1.2, 3.0, 3.2], ["a"] * 4, list("wwxx")).components, 3).tolist()
        [0.02, 1.99, 0.0]
        """
        spare = float((self.present.sum(0) - 1).sum())
        squares, several = self.scatter**2, self.present.sum(1)
        within = self.cell * float(self.inverse.sum() / self.present.sum())
        between = max(float(squares.sum()) / spare - within, 0.0) if spare else 0.0
        count, both = float((several**2 - several).sum()), int((several > 1).sum())
        # Products of the dishes of one replicate, in both orders.
        products = float(np.sum(self.scatter.sum(1) ** 2 - squares.sum(1)))
        shared = products / count * both / (both - 1) if both > 1 else 0.0
        shared = min(max(shared, 0.0), between)
        return self.cell, between - shared, shared


def replicate_means(values: ArrayLike, treated: ArrayLike, replicates: Sequence[str]) -> GroupMeans:
    """Means of the treated and the control cells, with cells within replicates.

    Each cell has a value, whether it is treated (both are among them), and a replicate, shape (cells,) each;
    a replicate of the same name in both groups is one experiment with two dishes. The degrees of freedom are
    those of the variance of the difference (Satterthwaite) if dishes vary as `Dishes.components` say.

    >>> found = replicate_means([1.0, 1.2, 1.1, 1.5, 1.6, 1.3], [0, 0, 0, 1, 1, 1], list("aabccd"))
    >>> found.mean[0], round(found.freedom, 1), found.units
    (1.425, 2.0, (2, 2))
    """
    dishes = Dishes.of(values, np.where(np.asarray(treated, dtype=bool), 0, 1).tolist(), replicates)
    cell, dish, replicate = dishes.components
    present, count = dishes.present, dishes.present.sum(0)
    (a, b), (n, m), (u, v) = (x.tolist() for x in (dishes.level, dishes.counts.sum(0), count))
    covariance, freedom = np.zeros((2, 2)), 0.0
    if count.min() > 1 and dishes.scatter.any():
        scaled = dishes.scatter / np.sqrt(count * (count - 1))
        covariance = scaled.T @ scaled
        # A common part of the dishes of a replicate is left out: with both groups in each it cancels.
        variance = present * (dish + replicate) + cell * dishes.inverse
        form = np.zeros((len(present), len(present)))
        for d, s, k in zip(present.T, variance.T, count, strict=True):
            centred = np.diag(d) - np.outer(d, d) / k
            form += centred * s @ centred / (k * (k - 1))
        freedom = float(np.trace(form) ** 2 / np.sum(form**2))
    sd = math.sqrt(cell + dish + replicate)
    return GroupMeans((a, b), covariance, freedom, sd, (int(n), int(m)), (int(u), int(v)))


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

    The means are from `welch_means` or `replicate_means`. Keys are ``cells``,
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
    error = found.error()
    if found.freedom <= 0 or error == 0:
        return known
    reach = float(student_upper(0.025, found.freedom))
    known |= _ends("difference", a - b, reach * error)
    known["p"] = 2 * float(student_tail(abs(a - b) / error, found.freedom))
    if a > 0 and b > 0:
        spread = reach * found.error(1 / a, -1 / b)
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


# Quantities that are compared between groups.
QUANTITIES = (
    "rate", "rate_balance", "rate_geometric", "phi_h", "radius", "spacing", "lamina", "lamina_thickness",
    "domains", "area",
)  # fmt: skip
# Of these, what levels that follow the signal of each nucleus (`StudySettings.comparable`) make alike in all.
AMOUNTS = ("rate", "rate_balance", "phi_h")
NOT_COMPARED = (
    "Mean lam, lam from the balance and phi_h are not compared: the levels follow the signal of each "
    "nucleus, so that these are alike in all nuclei whatever was done to them. To compare them give "
    "calibrated levels (--set levels.euchromatin=..., --set levels.heterochromatin=...), --levels energy, "
    "or a second mark (--euchromatin-channel)."
)
_CONTROL = "control"


@dataclass(frozen=True)
class GroupTable:
    """File name -> group, and file name -> replicate (empty where the table has no such column)."""

    groups: dict[str, str]
    replicates: dict[str, str]


def read_groups(path: str | Path) -> GroupTable:
    """A table with columns ``file`` and ``group``, and ``replicate`` if the study has several.

    A replicate of the same name in two groups is one experiment with both. Raises `DataError` if the table
    cannot be read, lacks a column or a value, or names a file twice.
    """
    file = Path(path)
    require_file(file)
    found = read_layout(file)
    heads = [n.lower() for n in found.names or []]
    if not {"file", "group"} <= set(heads):
        raise DataError(
            f"'{file}' has the columns {heads or 'of no header'}; 'file' and 'group' were expected, one row "
            "a file, as cell_1.csv,control."
        )
    table = found.frame(dtype=str).set_axis(heads, axis=1)
    names = table["file"].str.strip().map(lambda n: Path(n).name if isinstance(n, str) else n)
    columns = {c: table[c].str.strip() for c in ("group", "replicate") if c in table}
    for column, values in {"file": names, **columns}.items():
        if values.isna().any() or not len(table):
            raise DataError(f"'{file}' has rows without a {column}; one was expected in every row.")
    twice = names[names.duplicated()]
    if len(twice):
        raise DataError(f"'{file}' names '{twice.iloc[0]}' twice; one row a file was expected.")
    found_in = {c: dict(zip(names, values, strict=True)) for c, values in columns.items()}
    return GroupTable(found_in["group"], found_in.get("replicate", {}))


def control_of(groups: Sequence[str], chosen: str | None = None) -> str:
    """The group that others are compared with: the chosen one, else "control", else the first.

    >>> control_of(["TSA", "Control"]), control_of(["wt", "ko"])
    ('Control', 'wt')
    """
    known = list(dict.fromkeys(g for g in groups if g))
    if chosen is not None:
        check_known(chosen, known, ConfigurationError, "There is no group '{}' (--control).")
        return chosen
    if not known:
        raise ConfigurationError(
            "There are no groups to compare; a table was expected (--groups groups.csv)."
        )
    return next((g for g in known if g.lower() == _CONTROL), known[0])


def group_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Number, mean and standard deviation of the cells of each group, for every quantity.

    >>> cells = pd.DataFrame({"group": ["a", "a", "b"], "rate": [1.0, 3.0, 5.0]})
    >>> group_table(cells).values.tolist()[0]
    ['a', 'rate', 2, 2.0, 1.4142135623730951]
    """
    known = cells[["group", *(q for q in QUANTITIES if q in cells)]].replace([np.inf, -np.inf], np.nan)
    found = known.groupby("group", sort=False).agg(["count", "mean", "std"]).stack(0, future_stack=True)
    return found.set_axis(["cells", "mean", "sd"], axis=1).rename_axis(["group", "quantity"]).reset_index()


def compare_groups(cells: pd.DataFrame, control: str | None = None) -> pd.DataFrame:
    """Every group against the control (see `control_of`), quantity by quantity.

    ``cells`` has one row for each cell, with ``group`` and any of ``QUANTITIES``; NaN are left out.
    ``replicate`` or ``field`` make cells of one replicate or field more alike: see `unit_of`.

    The columns are those of `effects`, with ``group``, ``control``, ``quantity``, ``unit``, and ``p_holm``,
    which is ``p`` adjusted for the number of rows. Intervals hold for one comparison each; among many, some
    miss by chance. Raises `ConfigurationError` if there is no such control.
    """
    present = [str(g) for g in cells["group"] if g]
    base, unit = control_of(present, control), unit_of(cells)
    rows = []
    for group in dict.fromkeys(present):
        if group == base:
            continue
        both: Any = cells[cells["group"].isin([group, base])]
        for name in (q for q in QUANTITIES if q in cells):
            known = both[np.isfinite(both[name].to_numpy(dtype=float))]
            values, treated = known[name].to_numpy(dtype=float), (known["group"] == group).to_numpy()
            if unit == "cell" or treated.all() or not treated.any():
                found = welch_means(values[treated], values[~treated])
            else:
                found = replicate_means(values, treated, [str(u) for u in known[unit]])
            kept = {"group": group, "control": base, "quantity": name, "unit": unit}
            rows.append(kept | effects(found))
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"].to_numpy(dtype=float))) if len(table) else table


def unit_of(cells: pd.DataFrame) -> str:
    """What is independent in a table of cells: "replicate", "field" or "cell".

    Replicates if they are named. Fields of view, whose cells share a stain and a focus, if one holds several
    cells and every group has two or more of them. Cells otherwise; cells of one dish or one image per group
    then do not show the variation between dishes or images.

    >>> unit_of(pd.DataFrame({"group": list("aabb"), "field": list("wxyz"), "rate": 1.0}))
    'cell'
    """
    if "replicate" in cells and bool((cells["replicate"] != "").all()):
        return "replicate"
    if "field" not in cells:
        return "cell"
    fields = cells.groupby("group")["field"].nunique()
    return "field" if bool((fields > 1).all()) and cells["field"].duplicated().any() else "cell"
