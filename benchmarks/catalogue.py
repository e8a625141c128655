"""The benchmark cases in a table: what each asks, and of how many data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.accuracy import noise_of
from benchmarks.cases.base import Case
from benchmarks.cases.registry import CASES, case
from benchmarks.table import Follow, Table, checked, percent


@dataclass(frozen=True)
class Row:
    """One case.

    Attributes
    ----------
    case, title, equation
        As in `benchmarks.cases.base.Case`.
    unknowns
        A field with its coordinates.
    size
        Nodes along each coordinate, or scattered points.
    noise
        Standard noise, sigma / rms(u).
    source
        Where it comes from.
    """

    case: str
    title: str
    equation: str
    unknowns: tuple[str, ...]
    size: str
    noise: float
    source: str


def catalogue(cases: Sequence[str] = (), progress: Follow | None = None) -> Table:
    """A row for each case; all by default.

    Examples
    --------
    >>> row = catalogue(["langevin"]).rows[0]
    >>> row.equation, row.unknowns, row.size
    ('u_t = s*u + lam', ('lam(t)',), '501')
    """
    names = checked("case", cases, CASES)
    rows = []
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names), f"making {name}")
        rows.append(_row(case(name)))
    return Table("cases", tuple(rows), COLUMNS)


def _row(made: Case) -> Row:
    over = {n: u.over or () for n, u in made.unknowns.items()}
    unknowns = tuple(f"{n}({', '.join(o)})" if o else n for n, o in over.items())
    sizes = made.clean.sizes
    size = f"{sizes['point']:,} points" if "point" in sizes else " x ".join(map(str, sizes.values()))
    return Row(made.name, made.title, made.equation, unknowns, size, noise_of(made, None), made.source)


# Head of a column of the table -> its cell.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "case": lambda r: r.case,
    "equation": lambda r: r.equation,
    "unknowns": lambda r: ", ".join(r.unknowns),
    "size": lambda r: r.size,
    "noise": lambda r: percent(r.noise),
}
