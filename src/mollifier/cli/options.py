"""Options that commands share, what they make of them, and what they say at the end of their help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from mollifier.cli.terminal import Terminal, reported


def exit_codes(zero: str = "an answer", one: str = "no answer") -> str:
    """The sentence on exit codes at the end of a command's help; an empty ``one`` leaves that code out.

    >>> exit_codes("it is written", "")
    'Exit codes: 0 it is written, 2 bad input or output, 3 a fault of the program, 130 interrupted.'
    """
    codes = [f"0 {zero}", *([f"1 {one}"] if one else []), "2 bad input or output", "3 a fault of the program"]
    return f"Exit codes: {', '.join(codes)}, 130 interrupted."


EPILOG = exit_codes()

Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the results.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue this run from what its output folder holds.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON to the standard output, and nothing else there.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only (and JSON with --json).")]
NoColour = Annotated[
    bool, typer.Option("--no-colour", "--no-color", help="No colours; NO_COLOR=1 does the same.")
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error; MOLLIFIER_DEBUG=1 does too.")
]
MaskOutliers = Annotated[
    bool, typer.Option("--mask-outliers", help="Leave out fill values, dead sensors and isolated values.")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Number of processes.")]
Address = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="ADDRESS",
        help="A cluster instead of local processes: dask://HOST:PORT, or slurm:KEY=VALUE,... with the "
        "parameters of submitit.",
    ),
]
NoFigures = Annotated[bool, typer.Option("--no-figures", help="Write no figures.")]
Figures = Annotated[
    bool | None,
    typer.Option("--figures/--no-figures", help="Write figures; with --each not by default."),
]


def option(flag: str, text: str, metavar: str | None = None) -> Any:
    """An option, with what its help says."""
    return typer.Option(flag, metavar=metavar, help=text)


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
    wrapped: Any = wraps(command)(run)
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    wrapped.__doc__ = "\n\n".join(" ".join(p.split()) for p in paragraphs)
    wrapped.__signature__ = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in every])
    return wrapped
