"""The command line: what it prints and writes, its exit codes, and what it says of bad input."""

from __future__ import annotations

import csv
import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import mollifier.cli.app
import mollifier.cli.demos.registry
import mollifier.engines.solve
import mollifier.reporting.figures
from command_line import BENCHES, HEAD, call, refused, write_table
from mollifier.errors import MollifierError
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution, load_solution
from mollifier.problem.status import Status


def made(status: str = "converged", value: float = 0.25, name: str = "D") -> Solution:
    row = ("observation", [1.0, 2.0])
    fit = xr.Dataset({"u": row, "u_sd": row, "u_fitted": row, "u_held_out": ("observation", [False, True])})
    x = np.linspace(0, 1, 5)
    fields = xr.Dataset(
        {"u": (("x", "t"), np.ones((5, 5))), "residual": (("x", "t"), np.zeros((5, 5)))}, {"x": x, "t": x}
    )
    history = xr.Dataset({"loss": ("step", [2.0, 1.0])})
    estimates = {name: Estimate(name, value, 0.01, "m^2/s")}
    return Solution(Status(status), estimates, fields, fit, history, {"seconds": 1.5, "engine": "network"})  # type: ignore[arg-type]


def one_figure(solution: Solution, folder: Path, truth: Any = None) -> list[Path]:
    return [folder / "fit.png"]


class Solver:
    """Stands for the engine: tells its progress, remembers how it was called, gives what it was told to."""

    def __init__(self, *results: Any) -> None:
        self.results, self.calls = list(results), []

    def __call__(self, problem: Any, engine: str = "auto", **options: Any) -> Solution:
        self.calls.append({"problem": problem, "engine": engine, **options})
        for step in (1, 2):
            event = SimpleNamespace(engine="network", stage="fit", step=step, steps=2, seconds=1.0, left=3.0)
            event.losses, event.estimates = {"data": 1.5}, {"D": 0.2}
            options["progress"](event)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, BaseException):
            raise result
        return result


@pytest.fixture
def solver(here: Path, monkeypatch: pytest.MonkeyPatch) -> Solver:
    fake = Solver(made())
    monkeypatch.setattr(mollifier.engines.solve, "solve", fake)
    monkeypatch.setattr(mollifier.reporting.figures, "save_figures", one_figure)
    return fake


def test_solve_prints_and_saves(solver: Solver):
    result = call(
        "solve", "p.yaml", "--out", "out/a", "--seed", "7", "--engine", "network", "--set", "training.steps=3"
    )
    assert result.exit_code == 0, result.output
    assert "0.250 ± 0.010 m^2/s" in result.stdout
    assert "network, fit: 1/2, 3 s left; data 1.5; D = 0.2" in result.stderr
    assert load_solution("out/a").estimates["D"].value == 0.25
    given = solver.calls[0]
    assert (given["rng"], given["engine"], given["settings"]["training"]["steps"]) == (7, "network", 3)
    assert (given["folder"], given["resume"]) == (Path("out/a"), False)
    assert json.loads(Path("out/a/problem.json").read_text())["seed"] == 7


def test_json_alone_on_the_standard_output(solver: Solver):
    result = call("solve", "p.yaml", "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    answer = json.loads(result.stdout)
    assert answer["estimates"]["D"]["interval_95"] == pytest.approx([0.2304, 0.2696], abs=1e-4)
    assert answer["figures"] == ["out/fit.png"]
    assert answer["status"]["name"] == "converged"


def test_quiet_and_without_figures(solver: Solver):
    result = call("solve", "p.yaml", "--quiet", "--no-figures")
    assert (result.exit_code, result.output) == (0, "")
    assert Path("out/solution.nc").exists()


@pytest.mark.parametrize(
    ("status", "code"),
    [("converged", 0), ("step limit", 0), ("stalled", 0), ("non-finite loss", 1), ("interrupted", 130)],
)
def test_exit_codes_of_a_run(solver: Solver, status: str, code: int):
    solver.results = [made(status)]
    result = call("solve", "p.yaml")
    assert result.exit_code == code
    assert Path("out/solution.nc").exists()
    assert ("Not converged" in result.stdout) == (status != "converged")
    solver.results = [KeyboardInterrupt()]
    assert "Interrupted" in refused("solve", "p.yaml", "-q", code=130)


@pytest.mark.parametrize(
    ("status", "code", "head"), [("undetermined", 1, "No answer"), ("misfit", 0, "Take care")]
)
def test_what_the_data_do_not_settle_is_said_once(solver: Solver, status: Any, code: int, head: str):
    solver.results = [replace(made(), status=Status(status, "the message"))]
    result = call("solve", "p.yaml")
    assert result.exit_code == code
    assert f"{head}: {status}: the message" in result.stdout
    assert result.stdout.count("the message") == 1
    assert Path("out/solution.nc").exists()


def test_the_engine_that_auto_took_is_named(solver: Solver):
    assert "chosen by 'auto'" not in call("solve", "p.yaml").stdout
    reason = {"engine": "weak", "chosen_because": "the data fill a grid"}
    solver.results = [replace(made(), provenance=reason)]
    result = call("solve", "p.yaml")
    assert "Engine    weak, chosen by 'auto': the data fill a grid\n" in result.stdout
    assert json.loads(call("solve", "p.yaml", "--json").stdout)["provenance"]["engine"] == "weak"
    write_table(runs=2)
    Path("p.yaml").write_text(HEAD.replace("file: u.csv", "file: u.csv, values: u"))
    each = call("solve", "p.yaml", "--each", "dose").stdout
    assert "dose=2: weak, chosen by 'auto': the data fill a grid\n" in each


def test_debug_shows_the_traceback(solver: Solver, monkeypatch: pytest.MonkeyPatch):
    assert "Traceback" in call("solve", "none.yaml", "--debug").stderr
    monkeypatch.setenv("MOLLIFIER_DEBUG", "1")
    assert "Traceback" in call("check", "none.yaml").stderr


def test_each_value_of_a_column(solver: Solver):
    write_table(runs=3)
    Path("p.yaml").write_text(HEAD.replace("file: u.csv", "file: u.csv, values: u, coordinates: [x, t]"))
    solver.results = [made(value=0.1), MollifierError("no luck"), made(value=0.3)]
    result = call("solve", "p.yaml", "--each", "dose")
    assert result.exit_code == 1
    assert "dose=2: no luck" in result.stderr
    assert "dose=1: network, fit" in result.stderr
    rows = list(csv.DictReader(Path("out/estimates.csv").read_text().splitlines()))
    assert [" ".join((r["dose"], r["D"], r["status"], r["message"])).strip() for r in rows] == [
        "1 0.1 converged",
        "2  failed no luck",
        "3 0.3 converged",
    ]
    assert load_solution("out/dose=3").estimates["D"].value == 0.3
    assert not list(Path("out").rglob("*.png"))
    assert solver.calls[1]["problem"].data.dataset.attrs["selected"] == "dose = 2"
    assert "0.300 ± 0.010 m^2/s" in result.stdout


def test_each_value_has_a_folder_inside_the_output(solver: Solver):
    """Values that differ in signs only have different folders, and none leaves the output folder."""
    write_table(runs=4)
    names = {"1": "a/b", "2": "a_b", "3": "a b", "4": "../../x"}
    head, *rows = Path("u.csv").read_text().split("\n")
    rows = [r.rpartition(",") for r in rows]
    Path("u.csv").write_text("\n".join([head, *(f"{a},{names[v]}" for a, _, v in rows)]))
    before = {*Path().glob("*"), *Path("..").glob("*")}
    result = call("solve", "p.yaml", "--each", "dose", "--out", "deep/out")
    assert result.exit_code == 0, result.output
    folders = {p.name for p in Path("deep/out").iterdir() if p.is_dir()}
    assert folders == {"dose=a%2Fb", "dose=a_b", "dose=a%20b", "dose=..%2F..%2Fx"}
    assert {*Path().glob("*"), *Path("..").glob("*")} - before == {Path("deep")}


@pytest.mark.parametrize(
    ("results", "code", "rows"),
    [
        ([made()], 0, 3),
        ([MollifierError("no")], 2, 3),
        ([made("interrupted")], 130, 1),
        ([OSError(28, "full")], 2, 3),
    ],
)
def test_exit_codes_of_each(solver: Solver, results: list[Any], code: int, rows: int):
    write_table(runs=3)
    Path("p.yaml").write_text(HEAD.replace("file: u.csv", "file: u.csv, values: u"))
    solver.results = results
    result = call("solve", "p.yaml", "--each", "dose", "--json")
    assert result.exit_code == code
    assert len(json.loads(result.stdout)["rows"]) == rows
    assert "neither a column nor a dimension" in refused("solve", "p.yaml", "--each", "doses")


def test_check_says_whether_the_data_can_answer(here: Path):
    result = call("check", "p.yaml")
    assert result.exit_code == 0
    assert "Ready" in result.stdout
    answer = json.loads(call("check", "p.yaml", "--json", "--set", "collocation.nodes.x=41").stdout)
    assert answer["numbers"]["collocation"]["nodes"]["x"] == 41
    write_table(lambda x, t, u: (x, t, 0 * u + 1))
    result = call("check", "p.yaml")
    assert result.exit_code == 1
    assert "These data cannot answer" in result.stdout


def test_demos(solver: Solver, monkeypatch: pytest.MonkeyPatch):
    def heat(folder: Path, rng: int, progress: Any, quick: bool) -> Any:
        """Conductivity of a plate."""
        return made(), None, {"D": 0.0125}

    monkeypatch.setattr(mollifier.cli.demos.registry, "DEMOS", {"heat": heat})
    assert "Conductivity of a plate." in call("demo").stdout
    result = call("demo", "heat", "--quick")
    assert result.exit_code == 0
    assert "Truth     D: relative error 1.2 %" in result.stdout
    assert Path("out/heat/solution.nc").exists()
    assert json.loads(call("demo", "heat", "--json").stdout)["scores"] == {"D": 0.0125}
    assert "Did you mean 'heat'?" in refused("demo", "heta")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, t, u: (x, t, u * np.nan), "'u'"),
        (lambda x, t, u: (0 * x, t, u), "x"),
        (lambda x, t, u: (x, 0 * t, u), "t"),
        (lambda x, t, u: (x, t, ["text"] * len(u)), "holds text, first in line 2: 'text'"),
        (lambda x, t, u: (x, t, u + 1j), "'u'"),
        (lambda x, t, u: (x, ["noon"] * len(t), u), "'t'"),
        (lambda x, t, u: (x[:0], t[:0], u[:0]), "no rows"),
        (lambda x, t, u: (x[:1], t[:1], u[:1]), "one"),
    ],
)
def test_data_that_cannot_serve(here: Path, change: Any, message: str):
    write_table(change)
    Path("p.yaml").write_text(HEAD.replace("u.csv", "u.csv, values: u"))
    assert message in refused("solve", "p.yaml", "-q")


def test_repeated_and_unsorted_rows_of_a_table_serve(solver: Solver):
    order = np.random.default_rng(0).permutation(180)
    write_table(lambda x, t, u: (x[order], t[order], u[order]))
    assert call("solve", "p.yaml", "-q").exit_code == 0
    assert solver.calls[-1]["problem"].data.gridded
    write_table(lambda x, t, u: (np.tile(x, 2), np.tile(t, 2), np.tile(u, 2)))
    assert call("solve", "p.yaml", "-q").exit_code == 0


@pytest.mark.parametrize(("nodes", "message"), [([0, 2, 1, 3], "decrease"), ([0, 1, 1, 2], "repeat")])
def test_unsorted_and_repeated_coordinates_of_a_grid(here: Path, nodes: list[int], message: str):
    u = np.random.default_rng(0).random((4, 6))
    np.savez("u.npz", x=np.array(nodes, float), t=np.arange(6.0), u=u)
    Path("p.yaml").write_text(HEAD.replace("u.csv", "u.npz"))
    assert message in refused("solve", "p.yaml", "-q")


def test_an_order_higher_than_the_grid_can_carry(here: Path):
    write_table(lambda x, t, u: tuple(np.asarray(a)[np.isin(x, np.unique(x)[:3])] for a in (x, t, u)))
    Path("p.yaml").write_text(HEAD.replace("u_xx", "u_xxxx"))
    result = call("check", "p.yaml")
    assert result.exit_code == 1
    assert "A derivative of higher order than the grid can carry: order 4 along x" in result.stdout


def test_a_folder_that_cannot_be_written(solver: Solver):
    Path("file").write_text("in the way")
    assert "Cannot write 'file/out'" in refused("solve", "p.yaml", "--out", "file/out")
    assert "Cannot write 'file'" in refused("demo", "heat", "--out", "file")
    for name in BENCHES:
        assert "Cannot write 'file'" in refused("bench", name, "--out", "file")
    assert not solver.calls


@pytest.mark.skipif(
    os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may write anywhere"
)
def test_a_folder_without_permission(solver: Solver):
    Path("shut").mkdir(mode=0o500)
    assert "Permission denied" in refused("solve", "p.yaml", "--out", "shut/out")


def test_a_full_disk_loses_the_files_not_the_numbers(solver: Solver, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def save(self: Solution, folder: Any) -> Path:
        from mollifier.io.files import write_atomically

        return write_atomically(Path(folder) / "solution.nc", full)

    monkeypatch.setattr(Solution, "save", save)
    result = call("solve", "p.yaml")
    assert result.exit_code == 2
    assert "0.250 ± 0.010" in result.stdout
    assert "No space left on device" in result.stderr
    assert "Free some space" in result.stderr
    assert json.loads(call("solve", "p.yaml", "--json").stdout)["estimates"]["D"]["value"] == 0.25
    monkeypatch.setattr(Solution, "save", full)
    assert "No space left on device" in call("solve", "p.yaml").stderr


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", b"PK\x03\x04" + bytes(100)])
def test_a_checkpoint_that_is_absent_or_corrupt(here: Path, content: bytes | None):
    Path("out").mkdir()
    if content is not None:
        Path("out/checkpoint.pt").write_bytes(content)
    message = refused("solve", "p.yaml", "--resume", "-q")
    assert "checkpoint" in message


def test_fault_of_the_program_has_an_exit_code_of_its_own(solver: Solver):
    solver.results = [RuntimeError("boom")]
    assert "fault of the program (RuntimeError: boom)" in refused("solve", "p.yaml", "-q", code=3)
    assert "Traceback" in call("solve", "p.yaml", "-q", "--debug").stderr


@pytest.mark.parametrize(("error", "code"), [(RuntimeError("boom"), 3), (MollifierError("boom"), 2)])
def test_errors_are_json_too(solver: Solver, error: Exception, code: int):
    solver.results = [error]
    result = call("solve", "p.yaml", "--json")
    assert result.exit_code == code
    said = json.loads(result.stdout)["error"]
    assert said["exit_code"] == code
    assert "boom" in said["message"]


def test_control_characters_of_data_do_not_reach_the_terminal(here: Path):
    text = Path("u.csv").read_text().replace("x,t,u", "x,t,u [\x1b]0;title\x07\x1b[31mK\u202e]", 1)
    Path("u.csv").write_text(text)
    for words in (["check", "p.yaml"], ["solve", "\x1b]0;name.yaml"]):
        result = call(*words)
        assert not set(result.output) & set("\x07\x1b\u202e")
    assert "\\x1b]0;name.yaml" in result.output


def test_values_of_each_have_folders_of_their_own_within_the_output(solver: Solver):
    write_table(runs=5)
    values = ["a/b", "a_b", "A_b", "../../x", 300 * "y"]
    rows = Path("u.csv").read_text().splitlines()
    for k, value in enumerate(values, 1):
        rows = [f"{r[: -len(str(k))]}{value}" if r.endswith(f",{k}") else r for r in rows]
    Path("u.csv").write_text("\n".join(rows))
    Path("p.yaml").write_text(HEAD.replace("file: u.csv", "file: u.csv, values: u"))
    before = set(Path("..").iterdir())
    assert call("solve", "p.yaml", "--each", "dose", "--no-figures").exit_code == 0
    assert len(list(Path("out").rglob("solution.nc"))) == 5
    assert len([p for p in Path("out").iterdir() if p.is_dir()]) == 5
    assert set(Path("..").iterdir()) == before


def test_shell_completion(monkeypatch: pytest.MonkeyPatch):
    """The scripts that --install-completion writes ask the program itself."""
    monkeypatch.setenv("_MOLLIFIER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "mollifier ch")
    monkeypatch.setenv("COMP_CWORD", "1")
    result = CliRunner().invoke(mollifier.cli.app.app, prog_name="mollifier")
    assert {"check", "chromatin"} <= set(result.stdout.split())
