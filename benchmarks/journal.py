"""Trials of a benchmark, each on the disk as it is done, so that an interrupted run can continue."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mollifier._version import __version__
from mollifier.io.files import reported, write_text

Record = TypeVar("Record")


class Journal:
    """A file of lines, one JSON record a trial: what it is known by, and what came of it.

    A record is on the disk before the next trial begins. What a kill or a full disk left of the last line is
    dropped, and that trial is run again.

    Parameters
    ----------
    path
        The file; None keeps nothing.
    resume
        Take up what it holds; else it begins empty.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Trial:
    ...     error: float
    >>> def measure():
    ...     print("measuring")
    ...     return Trial(0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "trials.jsonl"
    ...     first = Journal(path).once({"seed": 0}, Trial, measure)
    ...     Journal(path, resume=True).once({"seed": 0}, Trial, measure) == first
    measuring
    True
    """

    def __init__(self, path: Path | None = None, resume: bool = False) -> None:
        self.path = path
        self._known: dict[str, dict[str, Any]] = {}
        if path is None or not path.exists():
            return
        lines = _whole_lines(path) if resume else []
        self._known = {_key(line["known_by"]): line["found"] for line in lines}
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))

    def once(
        self,
        known_by: Mapping[str, Any],
        kind: Callable[..., Record],
        measure: Callable[[], Record],
        keep: Callable[[Record], bool] = lambda record: True,
    ) -> Record:
        """What the file holds of a trial; else what measuring gives, which it then holds.

        Parameters
        ----------
        known_by
            All that the outcome depends on, in JSON's types; the version of this package is added.
        kind
            Dataclass of the record.
        measure
            Runs the trial.
        keep
            Whether a record is worth keeping; one that is not is measured again.

        Raises
        ------
        OutputError
            If the disk is full, or the file cannot be written to.
        """
        known_by = {**known_by, "mollifier": __version__}
        found = self._known.get(_key(known_by))
        if found is not None:
            return kind(**found)
        record = measure()
        if self.path is not None and keep(record):
            self._append({"known_by": known_by, "found": asdict(record)})  # pyrefly: ignore[bad-argument-type]
        return record

    def _append(self, line: dict[str, Any]) -> None:
        assert self.path is not None
        with reported(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=_plain) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _plain(value: Any) -> Any:
    """Arrays and NumPy's numbers in JSON's types."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not kept in a journal")


def _key(known_by: Mapping[str, Any]) -> str:
    return json.dumps(known_by, sort_keys=True)


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file that can be read; none where there is no file."""
    if not path.is_file():
        return []
    found = []
    with reported(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and set(record) == {"known_by", "found"}:
            found.append(record)
    return found
