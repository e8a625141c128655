"""Tables of groups and replicates, and the quantities that are compared between groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mollifier.chromatin.comparison import effects, holm, replicate_means, welch_means
from mollifier.data.text_tables import read_layout
from mollifier.errors import ConfigurationError, DataError, did_you_mean
from mollifier.io.files import require_file

# Quantities that are compared between groups.
QUANTITIES = {
    "rate": "mean lam over identified pixels",
    "rate_balance": "integral of phi_h over that of phi_e",
    "rate_geometric": "lam from radius and spacing of domains",
    "phi_h": "mean volume fraction of heterochromatin",
    "radius": "average radius of domains, nm",
    "spacing": "average spacing of domains, nm",
    "lamina": "share of the area of heterochromatin at the lamina",
    "lamina_thickness": "thickness of the rim at the lamina, nm",
    "domains": "number of domains",
    "area": "area of the nucleus, um^2",
}
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

    >>> cells = pd.DataFrame({"group": ["a", "a", "b"], "rate": [1.0, 3.0, 5.0]})
    >>> group_table(cells).values.tolist()[0]
    ['a', 'rate', 2, 2.0, 1.4142135623730951]
    """
    known = cells[["group", *(q for q in QUANTITIES if q in cells)]].replace([np.inf, -np.inf], np.nan)
    found = known.groupby("group", sort=False).agg(["count", "mean", "std"]).stack(0, future_stack=True)
    return found.set_axis(["cells", "mean", "sd"], axis=1).rename_axis(["group", "quantity"]).reset_index()


def compare_groups(cells: pd.DataFrame, control: str | None = None) -> pd.DataFrame:
    """Every group against the control, quantity by quantity.

    Parameters
    ----------
    cells
        One row for each cell, with ``group`` and any of ``QUANTITIES``; NaN are left out. ``replicate`` or
        ``field`` make cells of one replicate or field more alike: see `unit_of`.
    control
        See `control_of`.

    Returns
    -------
    DataFrame
        As `mollifier.chromatin.comparison.effects`, with ``group``, ``control``, ``quantity``, ``unit``, and
        ``p_holm``, which is ``p`` adjusted for the number of rows. Intervals hold for one comparison each;
        among many, some miss by chance.

    Raises
    ------
    ConfigurationError
        If there is no such control.
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
