"""The terminal: results to the standard output, messages to the standard error stream, and exit codes."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mollifier.errors import MollifierError

NO_ANSWER, BAD_INPUT, INTERRUPTED = 1, 2, 130
_UNBOUNDED = 10_000


@dataclass(frozen=True)
class Terminal:
    """Where results and messages go."""

    out: Console
    err: Console
    quiet: bool
    json: bool

    @classmethod
    def of(cls, json: bool = False, quiet: bool = False, no_colour: bool = False) -> Terminal:
        """From the options of a command."""
        colour: dict[str, Any] = {"no_color": True} if no_colour else {}
        out, err = (Console(stderr=s, highlight=False, markup=False, **colour) for s in (False, True))
        if not out.is_terminal:
            out.width = _UNBOUNDED  # a table in a file is as wide as it needs to be
        return cls(out, err, quiet, json)

    @property
    def silent(self) -> bool:
        """Whether no progress is shown."""
        return self.quiet or self.json

    def say(self, what: Any, style: str = "") -> None:
        """A result for a person."""
        if not self.silent:
            self.out.print(
                Text(what, style) if isinstance(what, str) else what, soft_wrap=isinstance(what, str)
            )

    def table(self, heads: Iterable[str], lines: Iterable[Iterable[str]]) -> None:
        """A table for a person."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for head in heads:
            table.add_column(head, overflow="fold")
        for line in lines:
            table.add_row(*map(Text, line))
        self.say(table)

    def give(self, value: Any) -> None:
        """A result for a program."""
        from mollifier.io.files import jsonable

        if self.json:
            print(json.dumps(jsonable(value), indent=2, ensure_ascii=False))


@contextmanager
def reported(terminal: Terminal, debug: bool = False) -> Iterator[None]:
    """One red message for what went wrong, and the exit code."""
    try:
        yield
    except KeyboardInterrupt:
        complain(terminal, "Interrupted.")
        raise typer.Exit(INTERRUPTED) from None
    except (MollifierError, OSError, MemoryError) as error:
        if debug or os.environ.get("MOLLIFIER_DEBUG", "") not in ("", "0"):
            terminal.err.print(Text(traceback.format_exc()), soft_wrap=True)
        complain(terminal, message(error))
        raise typer.Exit(BAD_INPUT) from None


def complain(terminal: Terminal, text: str) -> None:
    """An error message."""
    terminal.err.print(Text.assemble(("Error: ", "bold red"), (text, "red")), soft_wrap=True)


def message(error: BaseException) -> str:
    """What went wrong, for a person."""
    if isinstance(error, MemoryError):
        return (
            "There is not enough memory. Take fewer collocation nodes (collocation.max_nodes) or fewer data."
        )
    if isinstance(error, OSError):
        name = f" '{error.filename}'" if error.filename else ""
        return f"{error.strerror or error}:{name or ' a file'} could not be read or written."
    return str(error)
