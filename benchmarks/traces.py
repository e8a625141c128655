"""What a run left in its folder: the numbers in it, and the files that cannot be read."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch

from mollifier.io.files import TEMPORARY, read_groups
from mollifier.problem.solution import Solution, load_solution

_TABLES = (
    *("compare.csv", "accuracy.csv", "estimates.csv"),
    *("cells.csv", "groups.csv", "comparison.csv", "domains.csv", "profile.csv"),
)
_NUCLEUS = "result.nc"
_MEASURED = ("seconds", "memory_mib")  # differ from run to run


def numbers(folder: Path) -> dict[str, str]:
    """Place -> the number, text or digest found there: all that a repeated run must give again, to the bit.

    Solutions (estimates, status, fields, fit, history), nuclei, tables of results, and which pages there are;
    times and memory are left out.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("solution.nc")):
        found |= _prefixed(path.parent.relative_to(folder), _solution(load_solution(path)))
    for path in sorted(folder.rglob(_NUCLEUS)):
        found |= _prefixed(path.parent.relative_to(folder), _nucleus(path))
    for path in sorted(p for p in folder.rglob("*.csv") if p.name in _TABLES):
        found |= _prefixed(path.relative_to(folder), _rows(path))
    return found | {str(path.relative_to(folder)): "page" for path in folder.rglob("*.html")}


def _prefixed(place: Path, found: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {f"{place}/{name}": value for name, value in found}


def _solution(solution: Solution) -> Iterator[tuple[str, str]]:
    yield "status", str(solution.status)
    for name, e in solution.estimates.items():
        yield name, f"{float(e.value).hex()} {None if e.sd is None else float(e.sd).hex()}"
    for part in ("dataset", "fit", "history"):
        for name, variable in getattr(solution, part).variables.items():
            if name not in _MEASURED:
                yield f"{part}/{name}", _digest(variable.values)


def _nucleus(path: Path) -> Iterator[tuple[str, str]]:
    """All groups of a nucleus's file, and its attributes."""
    attrs, groups = read_groups(path)
    kept = {n: v for n, v in attrs.pop("numbers").items() if n not in _MEASURED}
    yield "attributes", json.dumps([attrs, kept], sort_keys=True, default=str)
    for group, part in sorted(groups.items()):
        yield f"{group}/attributes", json.dumps(part.attrs, sort_keys=True, default=str)
        for name, variable in part.variables.items():
            yield f"{group}/{name}", _digest(variable.values)


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        for i, row in enumerate(csv.DictReader(file)):
            if row.get("quantity") not in _MEASURED:
                yield str(i), json.dumps({n: v for n, v in row.items() if n not in _MEASURED})


def _digest(values: Any) -> str:
    array = np.asarray(values)
    content = repr(array.tolist()).encode() if array.dtype.kind in "OUT" else array.tobytes()
    return f"{array.dtype}{array.shape} {hashlib.sha256(content).hexdigest()}"


def unreadable(folder: Path) -> Iterator[str]:
    """Files of a run, killed or not, that cannot be read, and why; what it was writing has no name yet."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        read = _READERS.get(path.suffix)
        if read is None or TEMPORARY.fullmatch(path.name) or path.name.endswith(".lock"):
            continue
        # The readers of five libraries fail in as many ways.
        try:
            read(path)
        except Exception as error:
            yield f"{path.relative_to(folder)}: {type(error).__name__}: {error}"


def _netcdf(path: Path) -> None:
    if path.name == _NUCLEUS:
        list(_nucleus(path))
    else:
        load_solution(path)


def _csv(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        lengths = {len(row) for row in csv.reader(file)}
    if len(lengths) > 1:
        raise ValueError(f"rows of {sorted(lengths)} cells")


def _lines(path: Path) -> None:
    *whole, _ = path.read_text(encoding="utf-8").split("\n")
    for line in whole:  # the last one may be cut short, and is dropped
        json.loads(line)


def _png(path: Path) -> None:
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG") or b"IEND" not in content[-12:]:
        raise ValueError("no whole picture")


def _page(path: Path) -> None:
    if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise ValueError("no whole page")


_READERS: dict[str, Callable[[Path], object]] = {
    ".nc": _netcdf,
    ".pt": lambda path: torch.load(path, weights_only=True),
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".jsonl": _lines,
    ".csv": _csv,
    ".png": _png,
    ".svg": ElementTree.parse,
    ".md": lambda path: path.read_text(encoding="utf-8"),
    ".html": _page,
}
