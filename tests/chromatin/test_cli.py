"""The command for chromatin: what it writes and says, exit codes, bad files, resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mollifier.chromatin import study as studies
from mollifier.cli.app import app
from mollifier.cli.chromatin_settings import StudyOptions, column_roles, study_settings
from mollifier.errors import ConfigurationError, DataError

tifffile = pytest.importorskip("tifffile", reason="images need tifffile")

SMALL = ["--set", "nucleus.pixel=50", "--set", "nucleus.smoothing=50", "--set", "nucleus.threshold=3"]
SMALL += ["--set", "nucleus.closing=100", "--set", "nucleus.min_area=1e5", "--quick", "--workers", "1"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MOLLIFIER_DEBUG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def no_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates take seconds each, and are tested with the image."""

    def none(*_: Any, **__: Any) -> None:
        raise DataError("none in this test")

    monkeypatch.setattr("mollifier.chromatin.cells.infer_rate", none)


def call(*words: str) -> Any:
    return CliRunner().invoke(app, ["chromatin", *words])


def refused(*words: str) -> str:
    result = call(*words)
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


def write_cell(path: str, seed: int = 0, dense: float = 0.5) -> None:
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * rng.random(40_000)
    r = 900 * np.sqrt(rng.random(40_000))
    x, y = r * np.cos(angle), r * np.sin(angle)
    part = int(dense * 20_000)
    x[:part], y[:part] = 300 + 150 * rng.standard_normal(part), 150 * rng.standard_normal(part)
    order = rng.permutation(x.size)
    pd.DataFrame({"x [nm]": x[order], "y [nm]": y[order]}).to_csv(path, index=False)


def write_image(path: str, change=lambda a: a, **options: Any) -> None:
    place = np.mgrid[:64, :64] - 32
    inside = np.hypot(*place) < 22
    mean = 40 + inside * (400 + 200 * np.sin(place[0] / 3) * np.sin(place[1] / 4))
    image = change(np.random.default_rng(0).poisson(mean).astype(np.uint16))
    tifffile.imwrite(path, image, **options)


@pytest.mark.slow
@pytest.mark.usefixtures("no_rates")
def test_cli_study_from_files_to_pages(here: Path):
    """A study from files to pages."""
    for k in range(4):
        write_cell(f"cell_{k}.csv", k, 0.4 + 0.2 * (k % 2))
    Path("groups.csv").write_text("file,group\n" + "".join(f"cell_{k}.csv,{'ab'[k % 2]}\n" for k in range(4)))
    files = [f"cell_{k}.csv" for k in range(4)]
    words = [
        *files,
        *SMALL,
        "--groups",
        "groups.csv",
        "--set",
        "energy.well=5",
        "--width",
        "60",
        "--domains",
        "map",
    ]
    result = call(*words, "--out", "out", "--json")
    assert result.exit_code == 1, result.output
    answer = json.loads(result.stdout)
    assert [c["field"] for c in answer["cells"]] == ["cell_0", "cell_1", "cell_2", "cell_3"]
    assert [c["group"] for c in answer["cells"]] == ["a", "b", "a", "b"]
    kinds = {c["quantity"]: c for c in answer["comparison"]}
    assert kinds["lamina"]["cells"] == 2
    assert kinds["lamina"]["control"] == "a"
    assert not {"rate", "rate_balance", "phi_h"} & set(kinds)
    for name in ("study.html", "cells.csv", "groups.csv", "comparison.csv", "settings.json"):
        assert (here / "out" / name).is_file(), name
    for k in range(4):
        for name in ("nucleus.html", "result.nc", "domains.csv", "profile.csv"):
            assert (here / "out" / f"cell_{k}" / "1" / name).is_file(), name
    assert not list(here.rglob("*.tmp*"))
    text = (here / "out" / "study.html").read_text()
    assert "Treated against control" in text
    assert "levels of the control cells" in text
    assert "Mean lam, lam from the balance and phi_h are not compared" in text
    again = call(*words, "--out", "out", "--resume", "--json")
    kept = json.loads(again.stdout)["cells"]
    assert [c["seconds"] for c in kept] == [c["seconds"] for c in answer["cells"]]


def test_cli_image_with_labels_and_bad_file(here: Path):
    """A bad file beside an image keeps its row."""
    meta = {"resolution": (5e4, 5e4), "resolutionunit": "CENTIMETER"}
    write_image("cell.tif", **meta)
    write_image("labels.tif", lambda a: (np.hypot(*(np.mgrid[:64, :64] - 32)) < 22).astype(np.uint8))
    write_image("bad.tif", lambda a: np.minimum(a, 400), **meta)
    result = call(
        "cell.tif", "bad.tif", "--labels", "labels.tif", "--quick", "--workers", "1", "--out", "out"
    )
    assert result.exit_code in (0, 1), (result.output, result.exc_info)
    assert "saturated" in result.stdout
    assert "cell 1" in result.stdout
    cells = pd.read_csv("out/cells.csv")
    assert cells["resolution"][0] == pytest.approx(400.0)
    assert cells["area"][0] == pytest.approx(np.pi * 4.4**2, rel=0.02)
    assert "saturated" in cells["error"][1]
    page = Path("out/cell/1/nucleus.html").read_text()
    assert "Domains of 100 nm are below this image" in page
    assert result.exit_code == int(pd.isna(cells.get("rate", pd.Series([np.nan]))[0]))


def _mixed(path: str) -> None:
    table = pd.read_csv("cell.csv")
    table.insert(0, "frame", np.arange(len(table)))
    table.columns = ["x [nm]", "frame", "y [nm]"]
    table.to_csv(path, index=False)


def bad_files() -> None:
    write_cell("cell.csv")
    table = pd.read_csv("cell.csv")
    (table / 1e6).to_csv("units.csv", index=False)
    table.set_axis(["x", "y"], axis=1).to_csv("bare.csv", index=False)
    _mixed("swapped.csv")
    Path("other.csv").write_text("file,group\nabsent.csv,a\n")
    table.assign(frame=3).to_csv("one_frame.csv", index=False)
    table.assign(**{"intensity [photon]": -1.0}).to_csv("negative.csv", index=False)
    Path("far.csv").write_text("x [nm],y [nm]\n90000,90000\n91000,90000\n91000,91000\n")
    meta: dict[str, Any] = {"resolution": (5e4, 5e4), "resolutionunit": "CENTIMETER"}
    write_image("plain.tif")
    write_image("cell.tif", **meta)
    write_image("dark.tif", lambda a: a.astype(np.int16) - 100, **meta)
    write_image("bright.tif", lambda a: np.minimum(a, 400), **meta)
    write_image(
        "film.tif", lambda a: np.stack([a] * 3), metadata={"axes": "TYX"}, photometric="minisblack", **meta
    )
    write_image("labels.tif", lambda a: np.zeros(a.shape, np.uint8))


BAD = [
    ("units.csv", "Give the unit (--unit nm, um or px"),
    ("swapped.csv", "columns may be swapped"),
    ("one_frame.csv", "are in one frame"),
    ("negative.csv", "photon count is negative"),
    ("cell.csv --mask far.csv", "no localisation lies in its box"),
    ("bare.csv --unit parsec", "Unit 'parsec' is not known"),
    ("cell.csv --columns x=Position", "no column 'Position' for x"),
    ("cell.tif --labels labels.tif", "the mask is empty"),
    ("plain.tif", "set it in nm, as --pixel-size 100"),
    ("dark.tif", "hold negative counts"),
    ("bright.tif", "is saturated"),
    ("film.tif", "Time stamps are missing"),
    ("cell.tif --frame-interval 5", "has one frame"),
    ("cell.csv cell.tif --time-lapse", "Time stamps are missing"),
    ("cell.csv cell.tif --time-lapse --frame-interval 5", "one kind was expected"),
    ("cel.csv", "Did you mean 'cell.csv'"),
    ("cell.csv --groups cell.csv", "'file' and 'group' were expected"),
    ("cell.csv --groups other.csv", "--groups names files that were not given: absent.csv."),
    ("cell.csv --pixel-size -5", "pixel_size=-5.0 was given; a number above 0"),
    ("cell.csv --axes qq", "--axes qq (axes) was given"),
    ("cell.csv --columns frame,x", "as --columns x=NAME"),
    ("cell.csv --time-lapse", "1 file(s) and no time between them"),
    ("cell.csv --set energy.wel=3", "Did you mean 'energy.well'"),
    ("cell.csv --set energy.well=deep", "a number was expected"),
    ("cell.csv --set energy.well=-1", "well=-1.0 was given"),
    ("cell.csv --assume diffussion=1", "--assume diffussion=1 was given; there is no 'diffussion'. Did you"),
    ("cell.csv --assume diffusion", "--assume diffusion was given; KEY=VALUE was expected"),
    ("cell.csv --set domain.least=2.7", "a whole number was expected"),
    ("cell.csv --set domain.eps=nan", "domain.eps=nan was given; a number above 0 was expected"),
    ("cell.csv --set domain.lamina_share=nan", "domain.lamina_share=nan was given; a number of 0 or more"),
    ("cell.csv --margin nan", "margin=nan was given"),
    ("cell.csv --treatment nan", "treatment=nan was given"),
    ("cell.csv --set nucleus.pixel=0", "nucleus.pixel=0.0 was given; a number above 0"),
    ("cell.csv --preview --domains kant2024", "leave one of them out"),
    ("cell.csv cell.csv", "more than one file is called 'cell'"),
]


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        bad_files()
    return folder


@pytest.mark.parametrize(("words", "said"), BAD, ids=[w for w, _ in BAD])
def test_cli_bad_files_and_options(bad: Path, tmp_path: Path, monkeypatch, words: str, said: str):
    monkeypatch.chdir(bad)
    text = refused(*words.split(), "--workers", "1", "--out", str(tmp_path / "out"))
    assert said in text
    assert "Traceback" not in text


def test_cli_columns_names_or_roles():
    """Columns are names or roles in order."""
    assert column_roles("x=Pos X, y=Pos Y") == {"x": "Pos X", "y": "Pos Y"}
    assert column_roles("frame,x,,y") == ("frame", "x", "", "y")
    assert column_roles(None) is None
    with pytest.raises(ConfigurationError, match="frame,x,y was expected"):
        column_roles("x=Pos,y")


def test_cli_set_single_values():
    """Single choices reach their place."""
    values = ["model.diffusion=40", "energy.adhesion=0.5", "domain.least=50", "levels.floor=0.02"]
    found = study_settings(StudyOptions(overrides=values, assume=["diffusion=0.1"]))
    assert found.assume.diffusion == 0.1
    assert found.model.diffusion == 40
    assert found.model.energy.adhesion == 0.5
    assert found.rule.least == 50
    assert isinstance(found.rule.least, int)
    assert found.thresholds.floor == 0.02


@pytest.mark.usefixtures("no_rates")
def test_cli_ctrl_c_keeps_finished_nuclei(here: Path, monkeypatch: pytest.MonkeyPatch):
    """Ctrl c keeps what was finished."""
    write_cell("a.csv", 0)
    write_cell("b.csv", 1)
    known = studies.analyse_nucleus

    def stopped(sample: Any, settings: Any, levels: Any) -> Any:
        if sample.field == "b":
            raise KeyboardInterrupt
        return known(sample, settings, levels)

    monkeypatch.setattr(studies, "analyse_nucleus", stopped)
    words = ["a.csv", "b.csv", *SMALL, "--width", "60", "--domains", "map", "--out", "out"]
    done = call(*words)
    assert done.exit_code == 130, (done.output, done.exc_info)
    assert Path("out/a/1/result.nc").is_file()
    assert not Path("out/b").exists()
    seen = []
    monkeypatch.setattr(
        studies, "analyse_nucleus", lambda s, **rest: seen.append(s.field) or known(s, **rest)
    )
    assert call(*words, "--resume").exit_code in (0, 1)
    assert seen == ["b"]


@pytest.mark.usefixtures("no_rates")
def test_file_named_by_dots_stays_in_the_output_folder(here: Path):
    write_cell("...csv")
    result = call("...csv", *SMALL, "--width", "60", "--domains", "map", "--out", "out/study")
    assert result.exit_code == 1, result.output
    assert (here / "out/study/_/1/result.nc").is_file()
    assert [p.name for p in (here / "out").iterdir()] == ["study"]


def test_files_whose_folders_would_be_one_are_refused(here: Path):
    write_cell("a b.csv")
    write_cell("a_b.csv")
    assert "more than one file is called 'a_b'" in refused("a b.csv", "a_b.csv", "--out", "out")
