"""What a benchmark gives: rows, how they read, where they were measured, and the files they are kept in."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mollifier._version import __version__
from mollifier.errors import ConfigurationError, did_you_mean
from mollifier.io.files import jsonable, write_json, write_rows, write_text

# Steps done, steps in all, and what is done next.
Follow = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Table:
    """Rows of one benchmark.

    Attributes
    ----------
    name
        Of the benchmark, and of its files.
    rows
        Dataclasses of one kind.
    columns
        Head of a column -> what a row shows in it.
    caption
        What the columns mean and how they were measured.
    about
        Where: machine, threads, load, versions.
    summary
        What all rows together say, in a line; empty where nothing.
    interrupted
        Whether it was stopped before all was measured.
    note
        What is to be said of a row below the table, in lines; empty where nothing.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Row:
    ...     size: int
    ...     seconds: float
    >>> columns = {"size": lambda r: str(r.size), "seconds": lambda r: number(r.seconds)}
    >>> table = Table("scale", (Row(64, 0.125), Row(128, math.nan)), columns, "Median seconds.")
    >>> print(table.to_markdown())
    Median seconds.
    <BLANKLINE>
    | size | seconds |
    |---|---|
    | 64 | 0.125 |
    | 128 | - |
    """

    name: str
    rows: tuple[Any, ...]
    columns: Mapping[str, Callable[[Any], str]]
    caption: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    interrupted: bool = False
    note: Callable[[Any], str] = lambda row: ""

    def notes(self) -> list[str]:
        """What is to be said of single rows, each once."""
        return list(dict.fromkeys(line for row in self.rows for line in self.note(row).splitlines()))

    def cells(self) -> list[list[str]]:
        """The rows for reading, one list of cells a row."""
        return [[show(row) for show in self.columns.values()] for row in self.rows]

    def records(self) -> list[dict[str, Any]]:
        """The rows for a spreadsheet, on one level."""
        return [flattened(asdict(row)) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Everything in types that JSON knows."""
        kept = {n: getattr(self, n) for n in ("name", "caption", "about", "summary", "interrupted")}
        return jsonable({**kept, "rows": [asdict(row) for row in self.rows]})

    def to_markdown(self) -> str:
        """Where, caption, table, notes and summary."""
        escaped = [[c.replace("|", "\\|") for c in line] for line in self.cells()]
        lines = [list(self.columns), *escaped]
        text = [f"| {' | '.join(line)} |" for line in lines]
        text.insert(1, "|---" * len(self.columns) + "|")
        stopped = "Interrupted: not all was measured." if self.interrupted else ""
        notes = "\n".join(f"- {n}" for n in self.notes())
        parts = [described(self.about), self.caption, "\n".join(text), notes, self.summary, stopped]
        return "\n\n".join(p for p in parts if p)

    def save(self, folder: Path) -> list[Path]:
        """Write NAME.csv, NAME.json and NAME.md.

        Raises
        ------
        OutputError
            If they cannot be written.
        """
        rows = self.records()
        # What stems from one field of the rows is kept together, whichever row has it first.
        order = [f.name for row in self.rows[:1] for f in fields(row)]
        parts = [(n, k) for n in order for row in self.rows for k in flattened({n: asdict(row)[n]})]
        columns = list(dict.fromkeys(k for _, k in parts))
        return [
            write_rows(folder / f"{self.name}.csv", rows, columns),
            write_json(folder / f"{self.name}.json", self.to_dict()),
            write_text(folder / f"{self.name}.md", self.to_markdown() + "\n"),
        ]


def number(value: float | None, form: str = ".3g") -> str:
    """A number in a cell; a dash for what is missing, NaN or infinite.

    >>> number(0.0123), number(None), number(math.inf)
    ('0.0123', '-', '-')
    """
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def percent(value: float) -> str:
    """A share as text.

    >>> percent(0.1), percent(0.005)
    ('10 %', '0.5 %')
    """
    return f"{100 * value:.3g} %"


def flattened(record: Mapping[Any, Any], above: str = "") -> dict[str, Any]:
    """A nested record on one level.

    >>> flattened({"case": "kdv", "coverage": {"a": {50: 0.4, 95: 0.9}}})
    {'case': 'kdv', 'coverage_a_50': 0.4, 'coverage_a_95': 0.9}
    """
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{above}{name}_")
        elif isinstance(value, list | tuple):
            flat |= flattened(dict(enumerate(value)), f"{above}{name}_")
        else:
            flat[f"{above}{name}"] = value
    return flat


def environment(**more: Any) -> dict[str, Any]:
    """What times depend on; ``more`` overrules.

    ``threads`` is what OMP_NUM_THREADS says, else the number of processors.
    """
    found = {
        "device": f"CPU ({platform.machine()})",
        "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "mollifier": __version__,
    }
    return found | more


def described(about: Mapping[str, Any]) -> str:
    """One line on where a table was measured.

    >>> described({"device": "CPU (x86_64)", "threads": 1, "load": 0.4, "torch": "2.8"})
    'CPU (x86_64), 1 thread, load 0.4, torch 2.8'
    """
    parts = []
    for name, value in about.items():
        if name == "device":
            parts.append(str(value))
        elif name == "threads":
            parts.append(f"{value} thread{'' if value == 1 else 's'}")
        elif value is not None:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def checked(kind: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    """The names once each, in the order given; all that are known where none is given.

    Raises
    ------
    ConfigurationError
        If one is not known.

    Examples
    --------
    >>> checked("case", ["kdv", "burgers", "kdv"], ["burgers", "heat", "kdv"])
    ['kdv', 'burgers']
    >>> checked("case", ["burger"], ["burgers"])
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: There is no case 'burger'. Did you mean 'burgers'? Known: burgers.
    """
    every = list(known)
    chosen = list(dict.fromkeys(names)) or every
    for name in chosen:
        if name not in every:
            hint = did_you_mean(name, every)
            listed = "" if hint.startswith(" Known") else f" Known: {', '.join(sorted(every))}."
            raise ConfigurationError(f"There is no {kind} '{name}'.{hint}{listed}")
    return chosen
