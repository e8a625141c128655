"""`mollifier init`: a problem file that check accepts, from a data file alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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


def test_init_numbers_experiments_by_a_column_of_names(tmp_path: Path):
    """Measurements of several subjects are not pooled, and a comment says what the column does."""
    rows = [f"{who},{t},{np.exp(-t):.4f}" for who in ("Ada", "Bea", "Cyd") for t in np.linspace(0, 1, 9)]
    (tmp_path / "data.csv").write_text("\n".join(["who,t,u", *rows]))
    result = CliRunner().invoke(app, ["init", str(tmp_path / "data.csv")])
    assert result.exit_code == 0, result.output
    assert "# who numbers experiments" in (tmp_path / "data.yaml").read_text()
    problem = load_problem(tmp_path / "data.yaml").problem()
    assert problem.coordinates == ("who", "t")
    assert problem.experiments == ("who",)
    assert str(problem.system.equations[0].text) == "u_t = -D*u"


def test_init_of_complex_parts_writes_one_complex_equation(tmp_path: Path):
    """Columns psi_re and psi_im are the field psi of an equation with i."""
    wave = [(x, t, np.exp(1j * (x - t))) for x in np.linspace(0, 3, 9) for t in np.linspace(0, 1, 9)]
    rows = [f"{x},{t},{psi.real:.5f},{psi.imag:.5f}" for x, t, psi in wave]
    (tmp_path / "wave.csv").write_text("\n".join(["x,t,psi_re,psi_im", *rows]))
    result = CliRunner().invoke(app, ["init", str(tmp_path / "wave.csv")])
    assert result.exit_code == 0, result.output
    assert "equation: i*psi_t = D*lap(psi)" in (tmp_path / "wave.yaml").read_text()
    assert load_problem(tmp_path / "wave.yaml").problem().fields == ("psi_re", "psi_im")


def init(path: Path) -> tuple[str, str]:
    """What the command prints of a file, and the problem file that it writes."""
    result = CliRunner().invoke(app, ["init", str(path)])
    assert result.exit_code == 0, result.output
    return result.output, path.with_suffix(".yaml").read_text()


def test_init_renames_what_no_equation_can_hold(tmp_path: Path):
    """A header with spaces becomes a name, and the equation with it can be stated."""
    rows = [f"{t},{np.exp(-t):.4f},{t}" for t in np.linspace(0, 1, 20)]
    (tmp_path / "data.csv").write_text("\n".join(["t / h,OD 600 nm,2nd dye (µM)", *rows]))
    _, text = init(tmp_path / "data.csv")
    assert "rename: {OD 600 nm: OD_600_nm, 2nd dye: _2nd_dye}" in text
    problem = load_problem(tmp_path / "data.yaml").problem()
    assert problem.data.units == {"t": "h", "_2nd_dye": "µM"}
    assert str(problem.system.equations[0].text) == "OD_600_nm_t = -D*OD_600_nm"


@pytest.mark.parametrize(("names", "over"), [(["A1", "A2", "H12"], "well"), (["0", "0.5", "2"], "x")])
def test_init_reads_a_wide_table(tmp_path: Path, names: list[str], over: str):
    """Columns of wells are experiments, and columns under positions are one field."""
    rows = [",".join(f"{v:.4f}" for v in (t, *np.exp(-t * np.arange(1, 4)))) for t in np.linspace(0, 1, 20)]
    (tmp_path / "plate.csv").write_text("\n".join([",".join(["time [h]", *names]), *rows]))
    _, text = init(tmp_path / "plate.csv")
    assert f"wide: {{u: {over}}}" in text
    assert ("# well numbers experiments" in text) == (over == "well")
    problem = load_problem(tmp_path / "plate.yaml").problem()
    assert problem.data.coordinates == (over, "time")
    assert problem.data.grid().shape == (3, 20)


def test_init_names_fill_values(tmp_path: Path):
    """-999 is seen before the first check."""
    rows = [f"{t},{-999 if i in (3, 9) else np.exp(-t)}" for i, t in enumerate(np.linspace(0, 1, 30))]
    (tmp_path / "data.csv").write_text("\n".join(["t,u", *rows]))
    output, text = init(tmp_path / "data.csv")
    assert "! 2 values of u (6.7 %) are -999" in output
    assert "mask_outliers: true" in text


@pytest.mark.parametrize("folder", [".", "..", "/"])
def test_init_refuses_a_folder(folder: str):
    """A folder has no name from which that of the problem file could be made."""
    result = CliRunner().invoke(app, ["init", folder])
    assert result.exit_code == 2
    assert "is a folder; one file was expected" in result.output


def test_init_takes_coordinates_of_any_name(tmp_path: Path):
    """A header in another language: the coordinates are named in the command."""
    rows = [f"{t};{x};{np.exp(-t) * np.sin(x):.4f}".replace(".", ",") for t in (0, 0.5, 1) for x in range(5)]
    (tmp_path / "messung.csv").write_text("\n".join(["Zeit [s];Ort [mm];Temperatur [K]", *rows]))
    words = ["init", str(tmp_path / "messung.csv")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "mollifier init --coordinates Zeit,..." in result.output
    result = CliRunner().invoke(app, [*words, "--coordinates", "Ort, Zeit"])
    assert result.exit_code == 0, result.output
    assert load_problem(tmp_path / "messung.yaml").problem().coordinates == ("Ort", "Zeit")
