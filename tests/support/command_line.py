"""Commands called as at a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from benchmarks.app import bench
from mollifier.cli.app import app

BENCHES = [c.name or c.callback.__name__ for c in bench.registered_commands if c.callback]
HEAD = 'equation: "u_t = D*u_xx"\ndata: {file: u.csv}\nunknowns: {D: {lower: 0, unit: m^2/s}}\n'


def write_table(change=lambda x, t, u: (x, t, u), name: str = "u.csv", runs: int = 0) -> None:
    grid = np.meshgrid(np.linspace(0, 1, 15), np.linspace(0, 1, 12), indexing="ij")
    x, t = (g.ravel() for g in grid)
    x, t, u = change(x, t, np.exp(-t) * np.sin(3 * x))
    lines = ["x,t,u" + (",dose" if runs else "")]
    for run in range(1, max(runs, 1) + 1):
        lines += [",".join(map(str, row)) + (f",{run}" if runs else "") for row in zip(x, t, u, strict=True)]
    Path(name).write_text("\n".join(lines))


def call(*words: str) -> Any:
    """A command of ``mollifier``, or of ``python -m benchmarks`` where the first word is "bench"."""
    if words[0] == "bench":
        return CliRunner().invoke(bench, list(words[1:]))
    return CliRunner().invoke(app, list(words))


def refused(*words: str, code: int = 2) -> str:
    result = call(*words)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr
    return result.stderr
