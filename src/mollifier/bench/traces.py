"""What a run left in its folder: the numbers in it, and the files that cannot be read."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch

from mollifier.files import TEMPORARY, verify_checksum
from mollifier.solution import load_solution

_TABLES = ("compare.csv", "accuracy.csv", "estimates.csv")
_MEASURED = ("seconds", "memory_mib")  # differ from run to run


def numbers(folder: Path) -> dict[str, str]:
    """Place -> the number, text or digest found there: all that a repeated run must give again, to the bit.

    Solutions (estimates, status, fields, fit, history) and tables of results; times and memory are left out.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("solution.nc")):
        solution, place = load_solution(path), path.parent.relative_to(folder)
        found[f"{place}/status"] = str(solution.status)
        for name, e in solution.estimates.items():
            found[f"{place}/{name}"] = f"{float(e.value).hex()} {None if e.sd is None else float(e.sd).hex()}"
        for part in ("dataset", "fit", "history"):
            for name, variable in getattr(solution, part).variables.items():
                if name not in _MEASURED:
                    found[f"{place}/{part}/{name}"] = _digest(variable.values)
    for path in sorted(p for p in folder.rglob("*.csv") if p.name in _TABLES):
        with path.open(encoding="utf-8", newline="") as file:
            for i, row in enumerate(csv.DictReader(file)):
                kept = {n: v for n, v in row.items() if n not in _MEASURED}
                found[f"{path.relative_to(folder)}/{i}"] = json.dumps(kept)
    return found


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
    verify_checksum(path)
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


_READERS: dict[str, Callable[[Path], object]] = {
    ".nc": _netcdf,
    ".pt": lambda path: torch.load(path, weights_only=True),
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".jsonl": _lines,
    ".csv": _csv,
    ".png": _png,
    ".svg": ElementTree.parse,
    ".md": lambda path: path.read_text(encoding="utf-8"),
    ".html": lambda path: path.read_text(encoding="utf-8"),
}
