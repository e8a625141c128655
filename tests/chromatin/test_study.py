"""One nucleus and many: tables, files, resuming, and what fails."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from chromatin_cells import cell, round_mask
from mollifier.chromatin import study as studies
from mollifier.chromatin.cells import analyse_nucleus, rate_profile
from mollifier.chromatin.figures import nucleus_figures
from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.mask import NucleusDetection
from mollifier.chromatin.nucleus_data import NucleusData, Unread, field_name, read_nuclei
from mollifier.chromatin.page import nucleus_page, study_page
from mollifier.chromatin.resolution import DARK
from mollifier.chromatin.result import NucleusResult
from mollifier.chromatin.settings import StudySettings
from mollifier.chromatin.signals import relative_levels, signal
from mollifier.chromatin.simulate import nucleus
from mollifier.errors import ConfigurationError, DataError
from mollifier.reporting.style import look, save_all

SHARED = Path(__file__).parents[3] / "shared" / "data"
SMALL = NucleusDetection(pixel=50, smoothing=50, threshold=3.0, closing=100, min_area=1e5)


QUICK = StudySettings(detection=SMALL, quick=True, width=45.0, domains="map")
# No nucleus is so wide: all but the rates.
FAST = dataclasses.replace(QUICK, margin=1e5)


# ---- one nucleus


@pytest.fixture(scope="module")
def result() -> NucleusResult:
    return analyse_nucleus(NucleusData("cell", "1", "", round_mask(), (0.0,), (cell(),)), QUICK)


def test_analyse_nucleus_parts(result):
    """A nucleus has fields rate domains and numbers."""
    assert not result.error
    n = result.numbers
    assert n["area"] == pytest.approx(math.pi * 0.95**2, rel=0.05)
    assert n["domains"] == 5
    assert n["radius"] == pytest.approx(150.0, rel=0.15)
    assert n["resolution"] >= 2 * n["pixel"]
    assert 0 <= n["identified"] <= 1
    assert n["rate_balance"] == pytest.approx(
        float(result.fields["phi_h"].sum() / result.fields["phi_e"].sum())
    )
    assert any("still image" in note for note in result.notes)
    sums = result.fields[["phi_n", "phi_e", "phi_h"]].to_array().sum("variable", skipna=False)
    np.testing.assert_allclose(sums.values[np.isfinite(sums.values)], 1.0)
    assert result.profile["pixels"].sum() == int(result.rate["mask"].sum())


def test_signal_noise_of_blocks():
    """Single pixels, and sums over disjoint squares of many pixels."""
    side, single, summed = 10, [], []
    for seed in range(2):
        x, y = np.random.default_rng(seed).uniform(-1000, 1000, (2, 40_000))
        sample = NucleusData("even", "1", "", round_mask(), (0.0,), (Localizations(x, y),))
        found = signal(sample, dataclasses.replace(QUICK, width=None))
        z = ((found["density"] - 0.01) / found["density_sd"]).values
        single.append(z[np.isfinite(z)])
        shared = max(found.attrs.get("noise_area", 0.0) / found.attrs["pixel"] ** 2, 1.0)
        whole = [side * (n // side) for n in z.shape]
        squares = z[: whole[0], : whole[1]].reshape(whole[0] // side, side, whole[1] // side, side)
        sums = squares.sum((1, 3)) / side / np.sqrt(shared)
        summed.append(sums[np.isfinite(sums)])
    assert np.std(np.concatenate(single)) == pytest.approx(1.0, abs=0.1)
    assert np.std(np.concatenate(summed)) == pytest.approx(1.0, abs=0.2)


def test_rate_profile_rings():
    """Rings of the profile are those of the edge."""
    mask = nucleus(1000.0, 100, uneven=0.0)
    depth = 500 - np.hypot(mask["x"], mask["y"])
    lam = (1 + depth / 500).where(mask)
    rate = xr.Dataset({"lam": lam, "lam_sd": 0 * lam, "identifiability": 0 * lam, "mask": mask})
    table = rate_profile(rate, rings=5)
    np.testing.assert_allclose(table["rate"], 1 + table["distance"] / 500, atol=0.03)
    unknown = rate_profile(rate.assign(identifiability=0 * lam + 1), rings=5)
    assert unknown["rate"].isna().all()


def test_relative_levels_independent_of_labels():
    """Levels do not depend on how many labels there are."""
    few, many = (
        relative_levels(NucleusData("c", "1", "", round_mask(), (0.0,), (cell(count=n),)), QUICK)
        for n in (40_000, 120_000)
    )
    np.testing.assert_allclose(few, many, rtol=0.08)
    one = analyse_nucleus(NucleusData("c", "1", "", round_mask(), (0.0,), (cell(),)), FAST, many)
    assert one.fields is not None
    mean = float(one.fields["signal"].mean())
    assert one.fields.attrs["threshold_heterochromatin"] == pytest.approx(many[1] * mean, rel=0.03)


def test_nucleus_result_round_trip(result, tmp_path):
    """What is written is read back."""
    result.save(tmp_path, "stamp")
    again, stamp = NucleusResult.load(tmp_path)
    assert stamp == "stamp"
    pd.testing.assert_series_equal(pd.Series(again.row), pd.Series(result.row))
    assert again.notes == result.notes
    for part in ("fields", "rate"):
        a, b = getattr(again, part), getattr(result, part)
        assert set(a) == set(b)
        for name in b:
            np.testing.assert_array_equal(a[name].values, b[name].values)
    pd.testing.assert_frame_equal(again.domains, result.domains, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "profile.csv"), result.profile, check_dtype=False)


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_figures_as_files(result, tmp_path, kind):
    """Every figure of a nucleus, the same bytes every time; maps have a scale bar."""
    every = nucleus_figures(result)
    assert list(every) == ["fields", "levels", "rate", "profile"]
    chosen = {f"levels.{kind}": every["levels"]}
    first, again = (save_all(chosen, tmp_path / name) for name in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    with look():
        texts = [t.get_text() for ax in every["fields"]().axes for t in ax.texts]
    assert texts == ["200 nm"] * 4


def test_page_content(result, tmp_path):
    text = nucleus_page(result, tmp_path / "nucleus.html").read_text()
    for said in (
        "still image",
        "Integral balance",
        "Domains",
        "Assumed",
        "heterochromatin",
    ):
        assert said in text, said
    assert "http-equiv" in text
    assert "<script src" not in text
    assert text.count("<svg") >= 4
    empty = NucleusResult("a<b", "1", error="Nothing & no one.")
    other = nucleus_page(empty, tmp_path / "empty.html").read_text()
    assert "a&lt;b" in other
    assert "Nothing &amp; no one." in other


# ---- many


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("cells")
    paths = []
    for k in range(2):
        paths.append(cell(seed=k, count=12_000).save(folder / f"cell_{k}.csv"))
    bad = folder / "bad.csv"
    bad.write_text("x [nm],y [nm]\n1,2\n3,oops\n")
    return [paths[0], bad, paths[1]]


def test_study_bad_file_and_resume(files, tmp_path, monkeypatch):
    """One bad file stops no other and what is finished is kept."""
    settings = dataclasses.replace(FAST, groups={f.name: g for f, g in zip(files, "aab", strict=True)})
    reported = []
    study = studies.analyse(
        files,
        settings,
        out=tmp_path,
        workers=1,
        progress=lambda done, total, what: reported.append((done, total)),
    )
    cells = study.cells
    assert cells["field"].tolist() == ["cell_0", "bad", "cell_1"]
    assert "oops" in cells["error"][1]
    assert cells["error"][[0, 2]].str.startswith("No map of rates: The nucleus is 0 pixels wide").all()
    assert reported[-1] == (3, 3)
    kept = pd.read_csv(tmp_path / "cells.csv")
    assert kept["rate_balance"].tolist()[0] == pytest.approx(cells["rate_balance"][0])
    page = study_page(study, tmp_path / "study.html", {("cell_0", "1"): "cell_0/1/nucleus.html"}).read_text()
    assert 'href="cell_0/1/nucleus.html"' in page
    assert "oops" in page
    assert ("3 failed" in page, "maps of rates</span>" in page) == (True, False)

    computed = []
    monkeypatch.setattr(
        studies, "analyse_nucleus", lambda s, **rest: computed.append(s.field) or analyse_nucleus(s, **rest)
    )
    studies.analyse(files, settings, out=tmp_path, workers=1, resume=True)
    assert computed == []
    corrected = dataclasses.replace(settings, groups={f.name: "b" for f in files})
    for _ in range(2):
        again = studies.analyse(files, corrected, out=tmp_path, workers=1, resume=True)
        assert (computed, again.cells["group"].tolist()) == ([], ["b"] * 3)
    assert NucleusResult.load(tmp_path / "cell_0" / "1")[0].group == "b"
    (tmp_path / "cell_1" / "1" / "result.nc").write_bytes(b"cut short")
    studies.analyse(files, settings, out=tmp_path, workers=1, resume=True)
    assert computed == ["cell_1"]
    other = dataclasses.replace(settings, width=36.0)
    studies.analyse(files[:1], other, out=tmp_path, workers=1, resume=True)
    assert computed == ["cell_1", "cell_0"]


def test_study_levels_given_are_those_of_all_cells(files):
    """Levels that were given are not made relative to the mean of the control, and amounts are compared."""
    chosen = [files[0], files[2]]
    groups = {f.name: g for f, g in zip(chosen, "ab", strict=True)}
    levels = Thresholds(euchromatin=2e-3, heterochromatin=4e-2)
    settings = dataclasses.replace(FAST, groups=groups, levels="control", thresholds=levels)
    study = studies.analyse(chosen, settings, workers=1)
    assert [r.fields.attrs["threshold_heterochromatin"] for r in study.results] == [4e-2, 4e-2]
    assert "phi_h" in study.comparison["quantity"].tolist()
    relative = dataclasses.replace(study, settings=dataclasses.replace(settings, thresholds=Thresholds()))
    assert "phi_h" not in relative.comparison["quantity"].tolist()
    assert len(relative.comparison) == len(study.comparison) - 2


@pytest.mark.parametrize("water", [0.0, 0.1])
def test_nucleus_above_the_level_of_heterochromatin_is_noted(water):
    """Also where heterochromatin holds nucleoplasm, so that phi_h does not reach one."""
    levels = Thresholds(euchromatin=1e-3, heterochromatin=2e-3, heterochromatin_water=water)
    sample = NucleusData("cell", "1", "", round_mask(), (0.0,), (cell(),))
    found = analyse_nucleus(sample, dataclasses.replace(FAST, thresholds=levels))
    assert any("at or above the level of heterochromatin" in note for note in found.notes)


@pytest.mark.parametrize("dark", [0, 1])
def test_nucleus_with_repeats_after_dark_frames_is_noted(dark):
    """Repeats in consecutive frames are merged, and need no note."""
    locs, rng = cell(count=6_000), np.random.default_rng(1)
    x, y = np.tile([locs.x, locs.y], 2) + 5 * rng.standard_normal((2, 2 * len(locs)))
    first = 10 * rng.permutation(len(locs))
    frame = np.append(first, first + 1 + dark)
    seen = Localizations(x, y, frame, np.full(x.size, 5.0))
    found = analyse_nucleus(NucleusData("cell", "1", "", round_mask(), (0.0,), (seen,)), FAST)
    assert any(DARK in note for note in found.notes) == bool(dark)


def test_study_failed_nucleus_keeps_row(files, monkeypatch):
    """A nucleus that fails keeps its row."""

    def broken(sample, settings, levels):
        if sample.field == "cell_0":
            raise ZeroDivisionError("in the middle")
        return signal(sample, settings)

    monkeypatch.setattr("mollifier.chromatin.cells.signal", lambda s, _: broken(s, FAST, None))
    study = studies.analyse([files[0], files[2]], FAST, workers=1)
    assert study.cells["error"][0] == "ZeroDivisionError: in the middle"
    assert math.isnan(study.cells["domains"][0])
    assert study.cells["domains"][1] == 5


@pytest.mark.slow
def test_study_processes_agree_with_one(files):
    """Processes give what one process gives."""
    side_by_side = studies.analyse([files[0], files[2]], FAST, workers=2)
    alone = studies.analyse([files[0]], FAST, workers=1)
    assert [r.field for r in side_by_side.results] == ["cell_0", "cell_1"]
    a, b = side_by_side.results[0].numbers, alone.results[0].numbers
    assert {k: v for k, v in a.items() if k != "seconds"} == pytest.approx(
        {k: v for k, v in b.items() if k != "seconds"}, rel=1e-6, nan_ok=True
    )


def test_study_time_lapse_is_one_field(files):
    """Frames of a time lapse are one field."""
    settings = dataclasses.replace(QUICK, time_lapse=True, frame_interval=30.0)
    (found,) = list(read_nuclei([files[0], files[2]], settings))
    assert isinstance(found, NucleusData)
    assert found.times == (0.0, 30.0)
    assert dict(signal(found, settings).sizes)["t"] == 2
    with pytest.raises(ConfigurationError, match="Time stamps are missing"):
        list(read_nuclei(files, dataclasses.replace(QUICK, time_lapse=True)))


def test_study_contradicting_settings(files):
    """Settings that contradict one another are refused."""
    with pytest.raises(ConfigurationError, match="label images"):
        list(read_nuclei(files, dataclasses.replace(QUICK, labels=("a", "b"))))
    with pytest.raises(ConfigurationError, match="one of --labels and --mask"):
        list(read_nuclei(files, dataclasses.replace(QUICK, labels=("a",), polygon="b")))
    with pytest.raises(ConfigurationError, match=r"lacks bad\.csv"):
        list(read_nuclei(files, dataclasses.replace(QUICK, groups={"cell_0.csv": "a", "cell_1.csv": "a"})))
    with pytest.raises(ConfigurationError, match="more than one file"):
        list(read_nuclei([files[0], files[0]], QUICK))
    with pytest.raises(DataError, match="oops"):
        studies.analyse([files[1]], QUICK, workers=1)
    assert field_name(Path("a.b.tif")) == "a.b"


# ---- measured data


def test_study_nuclei_in_best_planes():
    """The measured nuclei are found in their best planes."""
    pytest.importorskip("tifffile", reason="images need tifffile")
    if not (SHARED / "nuclei.tif").is_file():
        pytest.skip("../shared/data/nuclei.tif is not there")
    s = StudySettings(
        pixel_size=260, z_step=290, axes="zyx", labels=(str(SHARED / "nuclei_label.tif"),), quick=True
    )
    found = [n for n in read_nuclei([SHARED / "nuclei.tif"], s) if isinstance(n, NucleusData)]
    assert len(found) == 11
    result = analyse_nucleus(next(n for n in found if n.name == "11"), s)
    assert result.numbers["area"] == pytest.approx(123.0, rel=0.01)
    assert result.numbers["resolution"] == 520.0
    assert any("Domains of 100 nm are below this image's resolution" in t for t in result.notes)
    assert any("steady state" in t for t in result.notes)
    assert abs(result.numbers["defect"]) < 0.05
    narrow = dataclasses.replace(s, margin=2500.0)
    small = analyse_nucleus(next(n for n in found if n.name == "4"), narrow)
    assert small.rate is None
    assert "pixels wide" in small.error
    assert small.numbers["domains"] > 0


def test_study_real_localisations():
    """Measured localisations run."""
    file = SHARED / "clathrin_localizations.csv"
    if not file.is_file():
        pytest.skip("../shared/data/clathrin_localizations.csv is not there")
    found = list(read_nuclei([file], StudySettings()))
    assert not [f for f in found if isinstance(f, Unread)]
    result = analyse_nucleus(found[0], StudySettings(margin=1e5))
    assert result.numbers["molecules"] == 15_631  # inside, of 23,482 rows in the box, repeats merged
    assert result.numbers["area"] == pytest.approx(9.2, rel=0.01)
    assert result.numbers["domains"] > 0
