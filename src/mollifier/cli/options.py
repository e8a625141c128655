"""Options that commands share, what they make of them, and what they say at the end of their help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import OptionInfo

from mollifier.cli.terminal import Terminal, reported


def option(text: str, metavar: str | None = None, *, flags: str = "", **more: Any) -> Any:
    """An option, with what its help says; ``more`` is as of `typer.Option`.

    Its flags, as ``"--out -o"``, are by default the one that `with_terminal` makes of the parameter's name.
    """
    return typer.Option(*flags.split(), metavar=metavar, help=text, **more)


def exit_codes(zero: str = "an answer", one: str = "no answer") -> str:
    """The sentence on exit codes at the end of a command's help; an empty ``one`` leaves that code out.

    >>> exit_codes("it is written", "")
    'Exit codes: 0 it is written, 2 bad input or output, 3 a fault of the program, 130 interrupted.'
    """
    codes = [f"0 {zero}", *([f"1 {one}"] if one else []), "2 bad input or output", "3 a fault of the program"]
    return f"Exit codes: {', '.join(codes)}, 130 interrupted."


EPILOG = exit_codes()

Out = Annotated[Path, option("Folder for the results.", "FOLDER", flags="--out -o")]
Resume = Annotated[bool, option("Continue this run from what its output folder holds.", flags="--resume")]
Json = Annotated[bool, option("Print JSON to the standard output, and nothing else there.", flags="--json")]
Quiet = Annotated[bool, option("Print errors only (and JSON with --json).", flags="--quiet -q")]
NoColour = Annotated[bool, option("No colours; NO_COLOR=1 does the same.", flags="--no-colour --no-color")]
Debug = Annotated[
    bool, option("Show the traceback of an error; MOLLIFIER_DEBUG=1 does too.", flags="--debug")
]
MaskOutliers = Annotated[
    bool, option("Leave out fill values, dead sensors and isolated values.", flags="--mask-outliers")
]
Jobs = Annotated[int, option("Number of processes.", min=1, flags="--jobs -j")]
Address = Annotated[
    str | None,
    option(
        "A cluster instead of local processes: dask://HOST:PORT, or slurm:KEY=VALUE,... with the "
        "parameters of submitit.",
        "ADDRESS",
        flags="--executor",
    ),
]
NoFigures = Annotated[bool, option("Write no figures.", flags="--no-figures")]
Figures = Annotated[
    bool | None, option("Write figures; with --each not by default.", flags="--figures/--no-figures")
]


def listed(text: str | None) -> list[str] | None:
    """Comma-separated names; None where no option was given.

    >>> listed(" weak, joint,"), listed(None)
    (['weak', 'joint'], None)
    """
    return None if text is None else [n.strip() for n in text.split(",") if n.strip()]


def with_terminal(command: Callable[..., int]) -> Callable[..., None]:
    """A command of the command line from a function of a terminal and of options that gives an exit code.

    A parameter whose type is a dataclass becomes one option for each of its fields. The function's options
    are followed by those of the terminal, ``--json``, ``--quiet`` and ``--no-colour``, and ``--debug``.
    Errors are reported as by `mollifier.cli.terminal.reported`. Paragraphs of the docstring become lines
    that the help wraps to the width of the terminal.

    >>> @with_terminal
    ... def check(terminal: Terminal, file: str = "problem.yaml") -> int:
    ...     return 0
    >>> list(inspect.signature(check).parameters)
    ['file', 'as_json', 'quiet', 'no_colour', 'debug']
    """

    def run(
        *,
        as_json: Json = False,
        quiet: Quiet = False,
        no_colour: NoColour = False,
        debug: Debug = False,
        **own: Any,
    ) -> None:
        terminal = Terminal.of(as_json, quiet, no_colour)
        groups = {name: kind(**{f.name: own.pop(f.name) for f in fields(kind)}) for name, kind in grouped}
        with reported(terminal, debug):
            code = command(terminal, **groups, **own)
            full = [e for e in terminal.lost if not isinstance(e, BrokenPipeError)]
            if full:
                raise full[0]
            raise typer.Exit(code)

    (_, *first), (*last, _) = (
        inspect.signature(f, eval_str=True).parameters.values() for f in (command, run)
    )
    grouped: list[tuple[str, Any]] = [(p.name, p.annotation) for p in first if is_dataclass(p.annotation)]
    every: list[inspect.Parameter] = []
    for p in (*first, *last):
        whole = is_dataclass(p.annotation)
        every += inspect.signature(p.annotation, eval_str=True).parameters.values() if whole else [p]
    for p in every:
        for info in getattr(p.annotation, "__metadata__", ()):
            if isinstance(info, OptionInfo) and info.default is ...:  # typer keeps the first flag there
                info.default = f"--{p.name.replace('_', '-')}"
    wrapped: Any = wraps(command)(run)
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    wrapped.__doc__ = "\n\n".join(" ".join(p.split()) for p in paragraphs)
    wrapped.__signature__ = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in every])
    return wrapped


def command(
    app: typer.Typer,
    program: str,
    example: str,
    zero: str = "an answer",
    one: str = "no answer",
    name: str | None = None,
) -> Callable[[Callable[..., int]], Callable[..., None]]:
    """A decorator that adds a function, as `with_terminal` makes it, to an app; by its own name by default.

    The help ends with ``example``, words after those of the program, and with the exit codes.
    """

    def add(function: Callable[..., int]) -> Callable[..., None]:
        epilog = f"Example: {program} {example}. {exit_codes(zero, one)}"
        return app.command(name, epilog=epilog)(with_terminal(function))

    return add
