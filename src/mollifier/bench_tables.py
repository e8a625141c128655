"""What the benchmark commands share: their options, their folder, and how a table is printed and kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mollifier.console import INTERRUPTED, NO_ANSWER, Terminal
from mollifier.errors import ConfigurationError

if TYPE_CHECKING:
    from mollifier.bench.table import Table

Cases = Annotated[
    list[str] | None, typer.Argument(metavar="[CASE]...", help="Which; 'bench engines --list' lists them.")
]
Noise = Annotated[
    str | None,
    typer.Option(
        "--noise", metavar="LEVELS", help="sigma / rms(u), parted by commas; each case's own by default."
    ),
]
Folder = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the tables go.")]
FOLDER = Path("out") / "bench"


def delivered(terminal: Terminal, table: Table, folder: Path, answered: bool, figures: bool = False) -> int:
    """Print, then save: a full disk loses the files, not the numbers. Returns the exit code."""
    from mollifier.bench.table import described

    for line in filter(None, [described(table.about), table.caption]):
        terminal.say(line, "dim")
    terminal.table(table.columns, table.cells())
    for note in table.notes():
        terminal.say(note, "yellow")
    if table.summary:
        terminal.say(table.summary, "bold")
    drawn: list[Path] = []
    try:
        table.save(folder)
        if figures:
            from mollifier.report import save_benchmark

            drawn = save_benchmark(table, folder)
    finally:
        terminal.give({**table.to_dict(), "folder": folder, "figures": drawn})
    terminal.say(f"Files     {folder}{os.sep}{table.name}.*")
    if table.interrupted:
        terminal.say("Interrupted: what was measured until then is kept.", "yellow")
        return INTERRUPTED
    return 0 if answered else NO_ANSWER


@contextmanager
def own(folder: Path, name: str) -> Iterator[Path]:
    """The folder, made if need be, with no other run of this benchmark in it."""
    from mollifier.files import ensure_folder
    from mollifier.lock import locked

    with locked(ensure_folder(folder), name):
        yield folder


def words(text: str | None) -> list[str]:
    return [w.strip() for w in (text or "").split(",") if w.strip()]


def numbers(option: str, text: str | None) -> list[float]:
    """Numbers parted by commas; none where the option was not given.

    >>> numbers("noise", "0.01, 0.1")
    [0.01, 0.1]
    >>> numbers("noise", "1 %")
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: --noise '1 %' was given; numbers parted by commas were wanted.
    """
    try:
        found = [float(w) for w in words(text)]
    except ValueError:
        found = []
    if text is not None and not found:
        raise ConfigurationError(f"--{option} '{text}' was given; numbers parted by commas were wanted.")
    return found
