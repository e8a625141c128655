"""A solution says what was found, and comes back from a file as it was."""

import errno
import json
import math
import os

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from mollifier.errors import CheckpointError, MollifierError
from mollifier.io.files import OutputError
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution, load_solution
from mollifier.problem.status import Status


def make_solution(steps=12, **changes):
    rng = np.random.default_rng(1)
    x, t = np.linspace(0, 1, 7), np.linspace(0, 2, 5)
    field = {"units": "mol/L"}
    dataset = xr.Dataset(
        {
            "u": (("x", "t"), rng.random((7, 5)), field),
            "k": ("x", rng.random(7), {"units": "m2/s"}),
            "k_sd": ("x", rng.random(7)),
            "k_ratio": ("x", np.where(np.arange(7) > 3, np.nan, 1.0)),
            "residual": (("x", "t"), 0.1 * rng.standard_normal((7, 5))),
        },
        {"x": ("x", x, {"units": "m"}), "t": ("t", t, {"units": "hours"})},
    )
    n = 30
    u = rng.random(n)
    u[3] = np.nan
    fit = xr.Dataset(
        {
            "u": ("observation", u, field),
            "u_sd": ("observation", np.full(n, 0.1)),
            "u_fitted": ("observation", u + 0.1 * np.where(np.arange(n) % 5, 1.0, -2.0)),
            "u_held_out": ("observation", np.arange(n) % 5 == 0),
        },
        {"x": ("observation", rng.random(n)), "t": ("observation", 2 * rng.random(n))},
    )
    history = xr.Dataset(
        {
            "seconds": ("step", np.linspace(0, 1, steps)),
            "loss": ("step", np.geomspace(1, 1e-3, steps)),
            "r": ("step", np.linspace(0, 0.05, steps)),
            "stage": ("step", np.array((["adam"] * 6 + ["lbfgs"] * 6)[:steps], dtype="U5")),
        }
    )
    parts = {
        "status": Status("converged", "gradient below 1e-8"),
        "estimates": {"r": Estimate("r", 0.1 + 0.2, 0.0012, "1/h"), "s": Estimate("s", -math.inf)},
        "dataset": dataset,
        "fit": fit,
        "history": history,
        "provenance": {
            "seed": 0,
            "seconds": 1.25,
            "engine": "weak",
            "unknowns": ["k", "r", "s"],
            "n": (1, 2),
        },
    }
    return Solution(**{**parts, **changes})


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate("r", 0.04812, 0.00123, "1/h"), "r = 0.0481 ± 0.0012 1/h"),
        (Estimate("r", 0.04812), "r = 0.04812"),
        (Estimate("r", 0.0, 0.0996), "r = 0.000 ± 0.100"),
        (Estimate("D", 3.2e-12, 4e-13, "m2/s"), "D = (3.20 ± 0.40)e-12 m2/s"),
        (Estimate("N", 1234567.0, 12345.0), "N = 1235000 ± 12000"),
        (Estimate("r", 1.0, 1e-20), "r = 1 ± 1e-20"),
        (Estimate("r", 2.5, 0.0), "r = 2.5 ± 0"),
        (Estimate("r", math.nan, math.inf), "r = nan ± inf"),
    ],
)
def test_an_estimate_is_printed_to_the_digits_it_has(estimate, text):
    assert str(estimate) == text


def test_an_interval_holds_its_share_of_a_normal_distribution():
    low, high = Estimate("r", 2.0, 0.5).interval(0.95)
    assert (low, high) == pytest.approx((2 - 0.979982, 2 + 0.979982), abs=1e-6)
    with pytest.raises(MollifierError, match=r"'r' has no standard error.*gave none"):
        Estimate("r", 2.0).interval()
    for level in (0.0, 1.0, 95.0, math.nan):
        with pytest.raises(MollifierError, match="between 0 and 1"):
            Estimate("r", 2.0, 0.5).interval(level)


def test_a_status_is_one_of_the_known():
    assert Status("converged").ok
    assert not Status("time limit").ok
    with pytest.raises(MollifierError, match="Did you mean 'converged'"):
        Status("convergd")  # type: ignore[arg-type]


def test_the_parts_are_named():
    s = make_solution()
    assert s.states == ("u",)
    assert s.unknown_fields == ("k",)
    assert s.residuals == ("residual",)
    assert s.observed == ("u",)
    hidden = make_solution(dataset=s.dataset.assign(v=s.dataset["u"], residual_1=s.dataset["residual"]))
    assert hidden.states == ("u", "v")
    assert hidden.residuals == ("residual", "residual_1")


def test_misfit_separates_held_out_points_and_skips_missing_values():
    s = make_solution()
    assert s.misfit["u"] == pytest.approx({"fitted": 1.0, "held_out": 2.0})
    everything = s.fit.assign(u_held_out=("observation", np.zeros(30, bool)))
    assert make_solution(fit=everything).misfit["u"]["held_out"] is None
    with pytest.raises(MollifierError, match="'w' is not observed"):
        s.scaled_errors("w")


def test_parts_that_do_not_fit_together_are_refused():
    s = make_solution()
    with pytest.raises(MollifierError, match="'observation' was expected"):
        make_solution(fit=s.fit.rename(observation="row"))
    with pytest.raises(MollifierError, match="are names of both scalar estimates and fields"):
        make_solution(estimates={"k": Estimate("k", 1.0)})


def test_the_summary_names_everything_a_person_asks_for():
    text = str(make_solution())
    for part in (
        "converged",
        "r = 0.3000 ± 0.0012 1/h",
        "k(x): ",
        "m2/s",
        "1 sd, 2 held out",
        "1.25 s",
        "'weak'",
    ):
        assert part in text


def test_to_dataset_joins_fields_estimates_and_provenance():
    d = make_solution().to_dataset()
    assert (float(d["r"]), float(d["r_sd"]), d["r"].attrs["units"]) == (0.1 + 0.2, 0.0012, "1/h")
    assert "s_sd" not in d
    assert json.loads(d.attrs["provenance"])["seed"] == 0
    assert {"u", "k", "residual"} <= set(d.data_vars)


@pytest.mark.parametrize("steps", [0, 1, 12])
def test_a_saved_solution_comes_back_bit_for_bit(tmp_path, steps):
    s = make_solution(steps)
    folder = s.save(tmp_path / "run")
    for back in (load_solution(folder), load_solution(folder / "solution.nc")):
        for part in ("dataset", "fit", "history"):
            a, b = getattr(s, part), getattr(back, part)
            assert a.identical(b)
            for name, v in a.variables.items():
                if v.dtype.kind == "U":  # the width of text is not kept
                    continue
                assert v.dtype == b[name].dtype
                assert v.values.tobytes() == b[name].values.tobytes()
        assert (back.status, back.estimates, back.provenance) == (s.status, s.estimates, s.provenance)


def test_the_files_for_people_can_be_read_without_this_package(tmp_path):
    s = make_solution()
    s.save(tmp_path)
    content = json.loads((tmp_path / "estimates.json").read_text(encoding="utf-8"))
    assert content["estimates"]["r"]["interval_95"] == list(s.estimates["r"].interval())
    assert content["estimates"]["s"] == {"value": None, "sd": None, "interval_95": None, "unit": ""}
    assert content["status"]["name"] == "converged"
    table = pd.read_csv(tmp_path / "history.csv", index_col="step")
    assert table["loss"].to_numpy() == pytest.approx(s.history["loss"].values)
    assert list(table["stage"]) == list(s.history["stage"].values)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "estimates.json",
        "history.csv",
        "solution.nc",
        "solution.sha256",
    ]


def test_a_missing_file_says_what_to_give(tmp_path):
    with pytest.raises(CheckpointError, match=r"no saved solution.*Give the folder"):
        load_solution(tmp_path)


@pytest.mark.parametrize("checksum", [True, False])
def test_a_truncated_file_is_refused(tmp_path, checksum):
    path = make_solution().save(tmp_path) / "solution.nc"
    whole = path.read_bytes()
    if not checksum:
        path.with_suffix(".sha256").unlink()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="truncated or corrupt"):
            load_solution(tmp_path)


def test_a_single_wrong_bit_is_refused(tmp_path):
    path = make_solution().save(tmp_path) / "solution.nc"
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(whole), 50):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="checksum"):
            load_solution(tmp_path)


def test_a_file_of_something_else_is_refused(tmp_path):
    xr.Dataset({"u": ("x", [1.0])}).to_netcdf(tmp_path / "solution.nc", engine="h5netcdf")
    with pytest.raises(CheckpointError, match="its format is None"):
        load_solution(tmp_path)


def test_a_full_disk_keeps_the_earlier_solution(tmp_path, monkeypatch):
    make_solution().save(tmp_path)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="Free some space"):
            make_solution(estimates={}).save(tmp_path)
    assert set(load_solution(tmp_path).estimates) == {"r", "s"}
    assert not [p for p in tmp_path.iterdir() if ".tmp" in p.name]


def test_saving_where_a_file_stands_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        make_solution().save(tmp_path / "file" / "run")


def test_summary_leaves_out_errors_that_move_nothing():
    """An offset under an equation of gradients alone moves an unknown by rounding: no line says so."""
    estimates = {n: Estimate(n, 2.0, 0.1) for n in ("D", "r")}
    moved = {"D": {"offset of u": 3e-15}, "r": {"offset of u": 0.02, "drift of u": -1e-14}}
    text = make_solution(estimates=estimates, provenance={"sensitivity": moved}).summary()
    assert [line for line in text.splitlines() if line.startswith("Shift")] == [
        "Shift     r: 0.02 by an offset of u of 1 % of rms"
    ]
