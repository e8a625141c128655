"""The terminal: results to the standard output, messages to the standard error stream, and exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from mollifier.errors import MollifierError

NO_ANSWER, BAD_INPUT, FAULT, INTERRUPTED = 1, 2, 3, 130
_UNBOUNDED = 10_000


# Characters that a terminal obeys or that turn the order of others, in data.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class _Output(Console):
    """A console that does not end the process at a closed pipe, as rich's does, and obeys no data.

    Control characters in text are written as escapes; colours are not text.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """As rich's, without control characters in text."""
        for part in super().render(renderable, options):
            text = part.text if part.control else _CONTROL.sub(lambda m: ascii(m[0])[1:-1], part.text)
            yield part._replace(text=text)

    def on_broken_pipe(self) -> None:
        """Raise the error that is being handled; progress on the standard error stream just stops."""
        if not self.stderr:
            raise
        _discard(self, sys.stderr)


def _discard(console: Console, stream: TextIO) -> None:
    """Let all that is still written to a stream, buffers included, go nowhere."""
    console.quiet = True
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@dataclass(frozen=True)
class Terminal:
    """Where results and messages go.

    A run outlives its standard output: where that is a pipe that was closed (``| head -1``) or a full disk,
    nothing more is printed, the run goes to its end and saves its files, and `lost` holds the error.
    Characters that the output's encoding lacks are written as escapes.
    """

    out: Console
    err: Console
    quiet: bool
    json: bool
    lost: list[OSError] = field(default_factory=list)
    given: list[bool] = field(default_factory=list)

    @classmethod
    def of(cls, json: bool = False, quiet: bool = False, no_colour: bool = False) -> Terminal:
        """From the options of a command."""
        colour: dict[str, Any] = {"no_color": True} if no_colour else {}
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        out, err = (_Output(stderr=s, highlight=False, markup=False, **colour) for s in (False, True))
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
            with self._kept():
                self.out.print(
                    Text(what, style) if isinstance(what, str) else what, soft_wrap=isinstance(what, str)
                )

    def note(self, text: str) -> None:
        """A message on how a command goes."""
        if not self.silent:
            self.err.print(Text(text), soft_wrap=True)

    def table(self, heads: Iterable[str], lines: Iterable[Iterable[str]]) -> None:
        """A table for a person."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for head in heads:
            table.add_column(head, overflow="fold")
        for line in lines:
            table.add_row(*map(Text, line))
        self.say(table)

    def give(self, value: Any) -> None:
        """A result for a program, once a command; what follows, such as an error after it, is not given."""
        from mollifier.io.files import jsonable

        if self.json and not self.given:
            self.given.append(True)
            ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
            with self._kept():
                print(json.dumps(jsonable(value), indent=2, ensure_ascii=ascii_only), flush=True)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Errors of writing within are kept in `lost`; what follows is not printed."""
        try:
            yield
        except OSError as error:
            self.lost.append(error)
            _discard(self.out, sys.stdout)


@contextmanager
def reported(terminal: Terminal, debug: bool = False) -> Iterator[None]:
    """One red message for what went wrong, in JSON too where that is chosen, and the exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        code, said = INTERRUPTED, "Interrupted."
    except Exception as error:
        if debug or os.environ.get("MOLLIFIER_DEBUG", "") not in ("", "0"):
            terminal.err.print(Text(traceback.format_exc()), soft_wrap=True)
        code, said = (
            (BAD_INPUT if isinstance(error, _EXPECTED) or _out_of_memory(error) else FAULT),
            message(error),
        )
    else:
        return
    complain(terminal, said)
    terminal.give({"error": {"message": said, "exit_code": code}})
    raise typer.Exit(code) from None


_EXPECTED = (MollifierError, OSError)


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory was short: torch raises a RuntimeError then."""
    return isinstance(error, MemoryError) or bool(re.search("allocate memory|out of memory", str(error)))


def complain(terminal: Terminal, text: str) -> None:
    """An error message."""
    terminal.err.print(Text.assemble(("Error: ", "bold red"), (text, "red")), soft_wrap=True)


def message(error: BaseException) -> str:
    """What went wrong, for a person."""
    if _out_of_memory(error):
        return (
            "There is not enough memory. Take fewer collocation nodes (collocation.max_nodes) or fewer data."
        )
    if isinstance(error, OSError):
        name = f" '{error.filename}'" if error.filename else ""
        return f"{error.strerror or error}:{name or ' a file'} could not be read or written."
    if not isinstance(error, MollifierError):
        return (
            f"This is a fault of the program ({type(error).__name__}: {error}), and what was given may be "
            "right. --debug shows where it is; please report it."
        )
    return str(error)
