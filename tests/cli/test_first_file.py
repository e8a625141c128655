"""`mollifier init`: a problem file that check accepts, from a data file alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from mollifier.cli.app import app
from mollifier.engines.settings import load_problem


def write_table(folder: Path) -> Path:
    """A table of an instrument: semicolons, decimal commas, units in the header."""
    rows = ["x [mm];t [s];temperature [K]"]
    for x in np.linspace(0, 3, 12):
        for t in np.linspace(0, 1, 10):
            u = np.exp(-0.1 * t) * np.sin(x)
            rows.append(f"{x:.4f};{t:.4f};{u:.6f}".replace(".", ","))
    path = folder / "logger.csv"
    path.write_text("\n".join(rows))
    return path


def test_init_writes_a_problem_that_can_be_stated(tmp_path: Path):
    """Variables, coordinates and units are the file's, and the example equation names them."""
    table = write_table(tmp_path)
    result = CliRunner().invoke(app, ["init", str(table)])
    assert result.exit_code == 0, result.output
    problem = load_problem(tmp_path / "logger.yaml").problem()
    assert problem.data.coordinates == ("x", "t")
    assert problem.data.dataset["temperature"].attrs["units"] == "K"
    assert "temperature_t" in str(problem.system)


def test_init_replaces_no_file(tmp_path: Path):
    """A file that exists is named."""
    table = write_table(tmp_path)
    (tmp_path / "logger.yaml").write_text("mine")
    result = CliRunner().invoke(app, ["init", str(table)])
    assert result.exit_code == 2
    assert "exists" in result.output
    assert (tmp_path / "logger.yaml").read_text() == "mine"
