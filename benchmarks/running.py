"""What the benchmark commands share: options, how one is run, and how its tables are printed and kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mollifier.cli.progress import Steps
from mollifier.cli.terminal import INTERRUPTED, NO_ANSWER, Terminal
from mollifier.errors import ConfigurationError

if TYPE_CHECKING:
    from benchmarks.journal import Journal
    from benchmarks.table import Table

Cases = Annotated[
    list[str] | None, typer.Argument(metavar="[CASE]...", help="Which; 'engines --list' lists them.")
]
Noise = Annotated[
    str | None,
    typer.Option(
        "--noise", metavar="LEVELS", help="sigma / rms(u), comma-separated; each case's own by default."
    ),
]
Engines = Annotated[
    str | None,
    typer.Option(
        "--engines",
        "-e",
        metavar="NAMES",
        help="weak, joint, network or auto, comma-separated; by default those that suit each case.",
    ),
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Draws of the noise.")]
Folder = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the tables go.")]
FOLDER = Path("out") / "bench"


@dataclass(frozen=True)
class Run:
    """A benchmark as it runs, alone of its name in its folder.

    Attributes
    ----------
    terminal
        Where its tables are printed.
    folder
        Where they are kept.
    resume
        Whether it continues from the journals in the folder.
    progress
        What it calls before every trial.
    """

    terminal: Terminal
    folder: Path
    resume: bool
    progress: Steps

    def journal(self, name: str) -> Journal:
        """Where every trial is kept as it is done: NAME.trials.jsonl, of the table of that name."""
        from benchmarks.journal import Journal

        return Journal(self.folder / f"{name}.trials.jsonl", self.resume)

    def deliver(self, table: Table, answered: bool, figures: bool = False) -> int:
        """Print, then save: a full disk loses the files, not the numbers. Returns the exit code."""
        self.progress.close()
        _print(self.terminal, table)
        drawn: list[Path] = []
        try:
            table.save(self.folder)
            if figures:
                from benchmarks.pages import save_benchmark

                drawn = save_benchmark(table, self.folder)
        finally:
            self.terminal.give({**table.to_dict(), "folder": self.folder, "figures": drawn})
        self.terminal.say(f"Files     {self.folder}{os.sep}{table.name}.*")
        if table.interrupted:
            self.terminal.say("Interrupted: what was measured until then is kept.", "yellow")
            return INTERRUPTED
        return 0 if answered else NO_ANSWER


@contextmanager
def running(terminal: Terminal, name: str, folder: Path, resume: bool = False) -> Iterator[Run]:
    """A run of the benchmark of that name in a folder, which is made if need be."""
    from mollifier.io.lock import locked

    with locked(folder, name) as place, Steps(terminal.err, terminal.silent) as progress:
        yield Run(terminal, place, resume, progress)


def _print(terminal: Terminal, table: Table) -> None:
    from benchmarks.table import described

    for line in filter(None, [described(table.about), table.caption]):
        terminal.say(line, "dim")
    terminal.table(table.columns, table.cells())
    for note in table.notes():
        terminal.say(note, "yellow")
    if table.summary:
        terminal.say(table.summary, "bold")


def words(text: str | None) -> list[str]:
    return [w.strip() for w in (text or "").split(",") if w.strip()]


def numbers(option: str, text: str | None) -> list[float]:
    """Comma-separated numbers; none where the option was not given.

    >>> numbers("noise", "0.01, 0.1")
    [0.01, 0.1]
    >>> numbers("noise", "1 %")
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: --noise '1 %' was given; comma-separated numbers were expected.
    """
    try:
        found = [float(w) for w in words(text)]
    except ValueError:
        found = []
    if text is not None and not found:
        raise ConfigurationError(f"--{option} '{text}' was given; comma-separated numbers were expected.")
    return found
