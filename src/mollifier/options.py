"""Options that commands share, and what they say at the end of their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Exit codes: 0 an answer, 1 no answer, 2 bad input or output, 130 interrupted."

Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where results go.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from what the output folder holds of this run.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON to the standard output, and nothing else there.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only (and JSON where asked for).")]
NoColour = Annotated[
    bool, typer.Option("--no-colour", "--no-color", help="No colours; NO_COLOR=1 does the same.")
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error; MOLLIFIER_DEBUG=1 does too.")
]
NoFigures = Annotated[bool, typer.Option("--no-figures", help="Write numbers only.")]
