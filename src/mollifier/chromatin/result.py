"""The result of one nucleus, its files, and finished results, from which an interrupted study resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from mollifier.chromatin.domains import COLUMNS
from mollifier.chromatin.nucleus_data import NucleusData, field_name, folder_name
from mollifier.chromatin.settings import StudySettings
from mollifier.io.files import jsonable, read_groups, write_groups, write_text
from mollifier.mollify.arrays import Array

RESULT = "result.nc"
_TABLES = ("domains", "profile", "features")


@dataclass(frozen=True, eq=False)
class NucleusResult:
    """The result of one nucleus."""

    #: As in `NucleusData`.
    field: str
    name: str
    group: str = ""
    #: Row of the table of cells: see `mollifier.chromatin.cells.analyse_nucleus`.
    numbers: dict[str, float] = dataclasses.field(default_factory=dict)
    #: Signal and volume fractions with standard errors and domain numbers, over x and y (and t), with the
    #: choices made in the attributes.
    fields: xr.Dataset | None = None
    #: As `RateMap.dataset`, with ``lam_assumed_sd``, the standard error by what is assumed, which the 95 %
    #: intervals include; None without a map of rates.
    rate: xr.Dataset | None = None
    #: One row for each domain; see `mollifier.chromatin.domains.COLUMNS`.
    domains: pd.DataFrame = dataclasses.field(default_factory=lambda: pd.DataFrame(columns=list(COLUMNS)))
    #: Rate against distance from the nuclear edge (and time).
    profile: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    #: One row of morphological features with the names of O-SNAP; see `mollifier.chromatin.structure`.
    features: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    #: As `mollifier.chromatin.sensitivity.sensitivity`, without maps; None without a map of rates.
    sensitivity: xr.Dataset | None = None
    notes: tuple[str, ...] = ()  #: Limits of the result, for its reader.
    error: str = ""  #: Why there is no map of rates, or no result at all; empty after success.

    @property
    def status(self) -> str:
        """Of the map of rates, with its message; empty without one."""
        return "" if self.rate is None else str(self.rate.attrs["status"])

    @property
    def row(self) -> dict[str, Any]:
        """The row of the nucleus in the table of cells."""
        return {
            "field": self.field, "nucleus": self.name, "group": self.group, **self.numbers, "status":
            self.status, "error": self.error
        }  # fmt: skip

    def save(self, folder: Path, fingerprint: str = "") -> None:
        """Write ``result.nc`` and the tables as CSV; each atomically, the first last.

        Raises `OutputError` if the folder cannot be written to.
        """
        groups = {"fields": self.fields, "rate": self.rate, "sensitivity": self.sensitivity}
        tables = {name: getattr(self, name) for name in _TABLES}
        for name, table in tables.items():
            write_text(folder / f"{name}.csv", table.to_csv(index=False))
        present = {name: part for name, part in groups.items() if part is not None}
        kept = {n: part.drop_attrs(deep=False).assign_attrs(part.attrs) for n, part in present.items()}
        for name, table in tables.items():
            kept[name] = xr.Dataset({c: ("row", _plain(table[c])) for c in table})
        attrs = {
            "field": self.field, "name": self.name, "group": self.group, "numbers": self.numbers,
            "notes": list(self.notes), "error": self.error, "fingerprint": fingerprint,
        }  # fmt: skip
        write_groups(folder / RESULT, attrs, kept)

    @classmethod
    def load(cls, folder: Path) -> tuple[NucleusResult, str]:
        """Read what `save` wrote, and its fingerprint; `OSError` if the file is missing or damaged."""
        attrs, groups = read_groups(folder / RESULT)
        parts: dict[str, Any] = {name: groups.get(name) for name in ("fields", "rate", "sensitivity")}
        for name in _TABLES:
            parts[name] = pd.DataFrame({str(c): v.values for c, v in groups.get(name, {}).items()})
        result = cls(
            field=attrs["field"], name=attrs["name"], group=_text(attrs["group"]),
            numbers={k: math.nan if v is None else v for k, v in attrs["numbers"].items()},
            notes=tuple(attrs["notes"]), error=_text(attrs["error"]), **parts,
        )  # fmt: skip
        return result, _text(attrs["fingerprint"])


def _plain(column: Any) -> Array:
    return column.to_numpy(dtype=float if column.dtype.kind in "biuf" else str)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def nucleus_folder(folder: Path, item: NucleusData | NucleusResult) -> Path:
    """The folder of the files of one nucleus."""
    return folder / folder_name(item.field) / folder_name(item.name)


def fingerprint(
    paths: Sequence[Path], settings: StudySettings, levels: tuple[float, float] | None = None
) -> dict[str, str]:
    """Field of view -> hash of all that its results depend on: the bytes of its files and the settings."""
    apart = dict.fromkeys(("groups", "control", "replicates"))
    plain = dataclasses.asdict(settings) | apart | {"levels_found": levels}
    beside = [Path(p) for p in (*settings.labels, settings.polygon or "") if p]
    shared = json.dumps(jsonable(plain), sort_keys=True) + "".join(_digest(p) for p in beside)
    if settings.time_lapse:
        return {field_name(paths[0]): _hash(shared + "".join(map(_digest, paths)))}
    return {field_name(p): _hash(shared + _digest(p)) for p in paths}


def _digest(path: Path) -> str:
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file())
        return _hash("".join(f"{p.relative_to(path)}{_digest(p)}" for p in inside))
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def kept_result(folder: Path, stamp: str) -> NucleusResult | None:
    """A finished result of the same data and settings; None if it is missing or damaged."""
    try:
        result, own = NucleusResult.load(folder)
    except Exception:
        # HDF5 raises many exceptions on a damaged file; the result is computed again.
        return None
    return result if own == stamp else None
