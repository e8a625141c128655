"""Treated against control, with the cell as the unit of analysis.

Groups of five or six cells are too small for a bootstrap, whose intervals would be too narrow. Intervals are
Welch's t, which assumes roughly normal cell means and unequal variances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mollifier.data.text_tables import read_layout
from mollifier.errors import ConfigurationError, DataError, did_you_mean
from mollifier.io.files import require_file
from mollifier.mollify.distributions import student_tail, student_upper

Array = NDArray[np.float64]

# Quantities that are compared between groups.
QUANTITIES = {
    "rate": "mean lam over identified pixels",
    "rate_balance": "integral of phi_h over that of phi_e",
    "rate_geometric": "lam from radius and spacing of domains",
    "phi_h": "mean volume fraction of heterochromatin",
    "radius": "median radius of domains, nm",
    "spacing": "median spacing of domains, nm",
    "lamina": "share of domains at the lamina",
    "domains": "number of domains",
    "area": "area of the nucleus, um^2",
}
_CONTROL = "control"


def read_groups(path: str | Path) -> dict[str, str]:
    """File name -> group, from a table with columns ``file`` and ``group``.

    Raises
    ------
    DataError
        If the table cannot be read, lacks a column or a value, or names a file twice.
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
    groups = table["group"].str.strip()
    if names.isna().any() or groups.isna().any() or not len(table):
        raise DataError(f"'{file}' has rows without a file or a group; both were expected in every row.")
    twice = names[names.duplicated()]
    if len(twice):
        raise DataError(f"'{file}' names '{twice.iloc[0]}' twice; one row a file was expected.")
    return dict(zip(names, groups, strict=True))


def control_of(groups: Sequence[str], chosen: str | None = None) -> str:
    """The group that others are compared with: the chosen one, else "control", else the first.

    >>> control_of(["TSA", "Control"]), control_of(["wt", "ko"])
    ('Control', 'wt')
    """
    known = list(dict.fromkeys(g for g in groups if g))
    if chosen is not None:
        if chosen not in known:
            raise ConfigurationError(
                f"There is no group '{chosen}' (--control).{did_you_mean(chosen, known)}"
            )
        return chosen
    if not known:
        raise ConfigurationError(
            "There are no groups to compare; a table was expected (--groups groups.csv)."
        )
    return next((g for g in known if g.lower() == _CONTROL), known[0])


def group_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Number, mean and standard deviation of the cells of each group, for every quantity.

    Examples
    --------
    >>> cells = pd.DataFrame({"group": ["a", "a", "b"], "rate": [1.0, 3.0, 5.0]})
    >>> group_table(cells).values.tolist()[0]
    ['a', 'rate', 2, 2.0, 1.4142135623730951]
    """
    rows = []
    for group, part in cells.groupby("group", sort=False):
        for name in QUANTITIES:
            if name in part:
                values = _finite(part[name])
                sd = float(values.std(ddof=1)) if values.size > 1 else math.nan
                mean = float(values.mean()) if values.size else math.nan
                rows.append((group, name, values.size, mean, sd))
    return pd.DataFrame(rows, columns=["group", "quantity", "cells", "mean", "sd"])


def compare_groups(cells: pd.DataFrame, control: str | None = None, level: float = 0.95) -> pd.DataFrame:
    """Every group against the control, quantity by quantity.

    Parameters
    ----------
    cells
        One row for each cell, with ``group`` and any of ``QUANTITIES``; NaN are left out.
    control
        See `control_of`.
    level
        Confidence level of the intervals.

    Returns
    -------
    DataFrame
        As `compare_cells`, with ``group``, ``control`` and ``quantity``. Intervals hold for
        one comparison each; among many, some miss by chance.

    Raises
    ------
    ConfigurationError
        If there is no such control.
    """
    present = [str(g) for g in cells["group"] if g]
    base = control_of(present, control)
    rows = []
    for group in dict.fromkeys(present):
        if group == base:
            continue
        for name in (q for q in QUANTITIES if q in cells):
            treated, held = (cells.loc[cells["group"] == g, name] for g in (group, base))
            found = compare_cells(_finite(treated), _finite(held), level)
            rows.append({"group": group, "control": base, "quantity": name, **found})
    return pd.DataFrame(rows)


def compare_cells(treated: Array, control: Array, level: float = 0.95) -> dict[str, float]:
    """Difference, ratio and Hedges' g of cell means, each with its interval.

    The difference is Welch's, with the degrees of freedom of Satterthwaite (Welch, Biometrika 34:28, 1947).
    The interval of the ratio is that of its logarithm by the delta method, with the same t. g is the
    difference over the pooled standard deviation, corrected for small samples by 1 - 3/(4 nu - 1), with the
    normal interval of its large-sample variance (Hedges and Olkin, Statistical Methods for Meta-Analysis,
    1985).

    Parameters
    ----------
    treated, control
        One value for each cell, shape (cells,).
    level
        Confidence level of the intervals.

    Returns
    -------
    dict
        ``cells``, ``cells_control``, ``mean``, ``mean_control``; ``difference``, ``ratio`` and ``g`` with
        ``_low`` and ``_high``; ``p`` of no difference. NaN with fewer than two cells in a group.

    Examples
    --------
    >>> found = compare_cells(np.array([1.3, 1.4, 1.2, 1.35]), np.array([1.0, 1.1, 0.9, 1.0]))
    >>> round(found["ratio"], 2), found["difference_low"] > 0
    (1.31, True)
    """
    n, m = treated.size, control.size
    names = [f"{q}{end}" for q in ("difference", "ratio", "g") for end in ("", "_low", "_high")]
    found: dict[str, float] = {
        "cells": n, "cells_control": m,
        "mean": float(treated.mean()) if n else math.nan, "mean_control": float(control.mean()) if m else
        math.nan, **dict.fromkeys([*names, "p"], math.nan),
    }  # fmt: skip
    if n < 2 or m < 2:
        return found
    a, b = found["mean"], found["mean_control"]
    va, vb = float(treated.var(ddof=1)) / n, float(control.var(ddof=1)) / m
    found["difference"] = a - b
    if va + vb == 0:
        return found
    # By hand, because the test of SciPy warns for nearly equal cells.
    freedom = (va + vb) ** 2 / (va**2 / (n - 1) + vb**2 / (m - 1))
    reach = float(student_upper(0.5 - level / 2, freedom))
    half = reach * math.sqrt(va + vb)
    found |= {"difference_low": a - b - half, "difference_high": a - b + half}
    found["p"] = 2 * float(student_tail(abs(a - b) / math.sqrt(va + vb), freedom))
    if a > 0 and b > 0:
        spread = reach * math.sqrt(va / a**2 + vb / b**2)
        ends = {"ratio_low": a / b * math.exp(-spread), "ratio_high": a / b * math.exp(spread)}
        found |= {"ratio": a / b, **ends}
    nu = n + m - 2
    pooled = math.sqrt(((n - 1) * n * va + (m - 1) * m * vb) / nu)
    g = (1 - 3 / (4 * nu - 1)) * (a - b) / pooled
    sd = math.sqrt((n + m) / (n * m) + g**2 / (2 * (n + m)))
    normal = float(student_upper(0.5 - level / 2, 1e9))
    return found | {"g": g, "g_low": g - normal * sd, "g_high": g + normal * sd}


def _finite(values: Any) -> Array:
    array = np.asarray(values, dtype=float)
    return array[np.isfinite(array)]
