"""Readers: round trips through every format, real files, and the messages for bad files."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from mollifier.data.observations import Observations
from mollifier.data.read import read
from mollifier.data.readers.registry import READERS, Reader
from mollifier.errors import DataError
from written_data import T, U, X, check, labelled

SHARED = Path(__file__).parents[3] / "shared" / "data"


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the reference file {name} is not beside the repository")
    return path


@pytest.mark.parametrize("suffix", [".nc", ".h5", ".zarr", "3.nc"])
def test_labelled_files(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".zarr":
        pytest.importorskip("zarr")
        labelled().to_zarr(path, zarr_format=2, consolidated=False)
    elif suffix == "3.nc":
        labelled().to_netcdf(path, engine="scipy")
    else:
        pytest.importorskip("h5py", reason="HDF5 files need h5py")
        labelled().to_netcdf(path, engine="h5netcdf")
    obs = read(path, noise=0.01)
    check(obs)
    assert obs.units == {"u": "K", "x": "m", "t": "h"}
    assert obs.periodic == {"x": 2.0}
    assert obs.digest() == Observations.from_dataset(labelled()).digest()


def test_dated_netcdf(tmp_path):
    when = np.datetime64("2020-01-01", "ns") + np.arange(9) * np.timedelta64(30, "m")
    labelled().assign_coords(t=when).to_netcdf(tmp_path / "a.nc", engine="scipy")
    obs = read(tmp_path / "a.nc")
    assert obs.units["t"] == "s"
    assert obs.bounds["t"] == (0.0, 8 * 1800.0)


def test_tables_of_pandas():
    """Columns, or levels of the index; headers with units, dates and time spans, as in files."""
    frame = labelled().to_dataframe().reset_index().rename(columns={"x": "x [m]", "t": "t (h)"})
    for table in (frame, frame.set_index(["x [m]", "t (h)"]), frame.convert_dtypes(), frame.astype(object)):
        obs = read(table, "u", noise=0.01)
        check(obs)
        assert obs.units == {"x": "m", "t": "h"}
    spans = frame.assign(t=pd.to_timedelta(frame.pop("t (h)"), unit="h"))
    assert read(spans, "u").units["t"] == "s"
    dated = pd.DataFrame({"u": range(4)}, pd.date_range("2024-01-01", periods=4, freq="h"))
    assert read(dated).bounds["time"] == (0.0, 3 * 3600.0)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt"])
def test_tables(tmp_path, suffix):
    frame = labelled().to_dataframe().reset_index().rename(columns={"x": "x [m]", "t": "t (h)"})
    path = tmp_path / f"a{suffix}"
    frame.sample(frac=1.0, random_state=0).to_csv(path, sep="," if suffix == ".csv" else "\t", index=False)
    obs = read(path, noise={"u": 0.1})
    check(obs)
    assert obs.units == {"x": "m", "t": "h"}
    assert not read(path, gridded=False).gridded


def test_table_with_gaps_labels_and_replicates(tmp_path):
    frame = labelled().to_dataframe().reset_index()
    both = pd.concat([frame.assign(replicate=r, well=w, u=frame.u + r) for r in (1, 2) for w in "ab"])
    both["err"] = 0.1
    path = tmp_path / "a.csv"
    both.drop(index=3).to_csv(path, index=False)
    obs = read(path, "u", select={"well": "b"}, noise="err")
    assert obs.replicates == ("replicate",)
    assert obs.dataset["u"].shape == (12, 9, 2)
    assert obs.samples("u").values.size == 2 * (12 * 9 - 1)
    assert obs.noise_sd("u") == pytest.approx(0.1)
    assert "selected: well = b" in str(obs)
    everything = read(path, values={"c": "u"})
    assert (everything.gridded, everything.variables) == (False, ("c",))
    assert everything.select(well="a", replicate=2).samples("c").values.size == 12 * 9 - 1
    with pytest.raises(DataError, match=r"repeat the coordinates"):
        read(path, "u", gridded=True)
    with pytest.raises(DataError, match=r"'well' has no value 'c'. There are: a, b"):
        read(path, select={"well": "c"})


def test_scattered_table_and_dates(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"time": pd.date_range("2024-05-01", periods=50, freq="h"), "x": rng.random(50)})
    frame["u"] = frame.x
    frame.to_csv(tmp_path / "a.csv", index=False)
    obs = read(tmp_path / "a.csv")
    assert (obs.gridded, obs.coordinates) == (False, ("x", "time"))
    assert obs.bounds["time"] == (0.0, 49 * 3600.0)


def test_npz(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, t=T, u=U, title=np.array("run 1"))
    check(read(tmp_path / "a.npz"))
    np.savez(tmp_path / "b.npz", x=X, t=T, temperature=U.T)
    check(read(tmp_path / "b.npz", rename={"temperature": "u"}, coordinates=["x", "t"]))
    np.savez(tmp_path / "c.npz", x=np.random.default_rng(0).random(40), t=np.arange(40), u=np.arange(40))
    assert not read(tmp_path / "c.npz").gridded


def test_npz_vectors_saved_as_columns(tmp_path):
    np.savez(tmp_path / "a.npz", x=X[:, None], t=T[:, None], u=U)
    check(read(tmp_path / "a.npz"))
    check(read(tmp_path / "a.npz", dims={"u": ("x", "t")}))


def test_square_arrays_need_an_order(tmp_path):
    u = X[:, None] * X[None, :] ** 2
    np.savez(tmp_path / "a.npz", x=X, t=X, u=u)
    with pytest.raises(DataError, match=r"fits 2 orders .* give the order, as dims="):
        read(tmp_path / "a.npz")
    a = read(tmp_path / "a.npz", coordinates=["x", "t"])
    b = read(tmp_path / "a.npz", dims={"u": ("t", "x")})
    np.testing.assert_array_equal(a.dataset["u"].values, u)
    np.testing.assert_array_equal(b.dataset["u"].transpose("x", "t").values, u.T)


def test_replicate_dimension_of_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, t=T, u=np.stack([U] * 3))
    with pytest.raises(DataError, match="does not fit the coordinates"):
        read(tmp_path / "a.npz")
    obs = read(tmp_path / "a.npz", replicates="run")
    assert (obs.coordinates, obs.replicates) == (("x", "t"), ("run",))


def test_mat(tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"x": X[:, None], "t": T[None, :], "usol": U, "note": "text", "s": {"a": 1}})
    check(read(tmp_path / "a.mat", rename={"usol": "u"}))
    with pytest.raises(DataError, match="cell, struct or object"):
        read(tmp_path / "a.mat", values="s")


def test_hdf5_and_mat_73(tmp_path):
    h5py = pytest.importorskip("h5py", reason="HDF5 files need h5py")
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["run/u"] = U
        f["run/u"].attrs["units"] = "K"
        f["axes/x"], f["axes/t"] = X, T
    obs = read(tmp_path / "a.h5")
    check(obs)
    assert obs.units == {"u": "K"}
    with h5py.File(tmp_path / "b.h5", "w") as f:
        f["t"], f["x"], f["u"] = X, X, np.outer(X, X**2)
        for i, name in enumerate(("x", "t")):
            f[name].make_scale(name)
            f["u"].dims[i].attach_scale(f[name])
    np.testing.assert_array_equal(read(tmp_path / "b.h5").dataset["u"].transpose("x", "t"), np.outer(X, X**2))
    with h5py.File(tmp_path / "c.mat", "w", userblock_size=512) as f:
        f["u"], f["x"], f["t"] = U.T, X[None, :], T[:, None]
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    with (tmp_path / "c.mat").open("r+b") as f:
        f.write(head)
    check(read(tmp_path / "c.mat"))


def test_options_mask_window_sample_select(tmp_path):
    dataset = labelled().assign(good=("x", (X < 0.6).astype(float))).expand_dims(z=[7.0])
    dataset.to_netcdf(tmp_path / "a.nc", engine="scipy")
    obs = read(tmp_path / "a.nc", "u", select={"z": 7}, mask="good", window={"t": (1, None)}, noise=0.01)
    assert obs.coordinates == ("x", "t")
    assert obs.bounds["x"][1] < 0.6
    assert obs.bounds["t"][0] >= 1
    part = read(tmp_path / "a.nc", "u", select={"z": 7}, sample=20, rng=4)
    assert part.samples("u").values.size == 20


def test_burgers_shock():
    path = shared("burgers_shock.mat")
    obs = read(path, rename={"usol": "u"})
    assert obs.grid().shape == (256, 100)
    assert obs.coordinates == ("x", "t")
    assert obs.noise["u"] < 1e-3
    assert obs.add_noise(0.01, rng=1).noise["u"] == pytest.approx(0.01, rel=0.15)
    assert read(path, {"u": "usol"}, sample=2000).samples("u").points.shape == (2000, 2)


def test_scratch_assay():
    path = shared("scratch_assay.csv")
    obs = read(
        path, "u", coordinates=["x", "t"], select={"initial_cells": 12000}, units={"x": "um", "t": "h"}
    )
    assert obs.grid().shape == (38, 5)
    assert obs.replicates == ("replicate",)
    assert obs.samples("u").values.size == 570
    assert 0.02 < obs.noise["u"] < 0.5
    with pytest.raises(DataError, match=r"has no value 13000\. There are: 10000, 12000"):
        read(path, "u", select={"initial_cells": 13000})


def test_localisations():
    obs = read(shared("clathrin_localizations.csv"), values=["intensity"], coordinates=["x", "y", "z"])
    assert not obs.gridded
    assert obs.units == {"intensity": "photon", "x": "nm", "y": "nm", "z": "nm"}
    assert obs.samples("intensity").values.size == 23517


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", "", {}, "is empty; a header"),
        ("a.csv", "x,t,u\n", {}, "no rows"),
        ("a.csv", "1,2,3\n4,5,6\n", {}, "begins with numbers"),
        ("a.csv", "x,u\n1,2\n2,oops\n", {"values": "u"}, "'u' holds text, first in line 3: 'oops'"),
        ("a.csv", "x,u\n1,2\n2,3\n", {"values": "w"}, "no column 'w'"),
        ("a.csv", "x,temp\n1,2\n2,3\n", {"values": "tmp"}, "Did you mean 'temp'"),
        ("a.csv", "a,b\n1,2\n2,3\n", {}, "named like a coordinate"),
        ("a.csv", "x,t\n1,2\n2,3\n", {}, "leave no variable"),
        ("a.csv", "x,u\n1,\n2,\n", {}, "are missing"),
        ("a.csv", "x,u\n1,2\n,3\n2,5\n", {}, "not finite"),
        ("a.csv", "x,u\n1,inf\n2,3\n", {}, "infinite"),
        ("a.csv", b"\xff\xfe\x00\x81garbage", {}, "cannot be read as a text table"),
        ("a.csv", "x,u\n1,2\n2,3\n", {"rename": {"v": "u"}}, "no 'v' to rename"),
        ("a.csv", "x,u\n1,2\n2,3\n", {"noise": "err"}, "say whose error"),
        ("a.csv", "x,u\n1,2\n2,3\n", {"mask": "m"}, "no column 'm'"),
        ("a.csv", "x,u\n1,2\n2,3\n", {"format": "xlsx"}, "format='xlsx' is not known"),
        ("a.nc", "not a netcdf file", {}, "cannot be read as .nc"),
        ("a.npz", "not a zip", {}, "cannot be read as .npz"),
        ("a.mat", "not a mat" * 40, {}, "cannot be read as .mat"),
        ("a.xyz", "1", {}, "suffix '.xyz'; one of"),
        ("a.pkl", pickle.dumps([1]), {}, "is a pickle, which can run code"),
    ],
)
def test_bad_files(tmp_path, name, content, options, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content), **options)


def test_missing_file_and_folder(tmp_path):
    write(tmp_path / "rods.csv", "x,u\n1,2\n")
    with pytest.raises(DataError, match=r"no file .*rod\.csv'\. Did you mean 'rods\.csv'"):
        read(tmp_path / "rod.csv")
    with pytest.raises(DataError, match="Nor is there a folder"):
        read(tmp_path / "nowhere" / "rod.csv")
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"x": X, "u": np.array([{}] * 12, dtype=object)}, {}, "pickled objects, which are never loaded"),
        ({"x": X, "t": T[:-1], "u": U}, {}, "does not fit the coordinates"),
        ({"x": X, "t": T, "u": U}, {"values": "w"}, "no array 'w'"),
        ({"x": X, "t": T, "u": U}, {"dims": {"u": ("t", "x")}}, r"shape \(12, 9\) but the dimensions"),
        ({"x": X, "t": T}, {}, "left as a variable"),
        ({"x": np.roll(X, 1), "t": T, "u": U}, {}, "'x' decreases"),
    ],
)
def test_bad_archives(tmp_path, arrays, options, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.npz", **options)


def test_truncated_file(tmp_path):
    labelled().to_netcdf(tmp_path / "a.nc", engine="scipy")
    whole = (tmp_path / "a.nc").read_bytes()
    with pytest.raises(DataError, match="may be damaged"):
        read(write(tmp_path / "b.nc", whole[: len(whole) // 3]))


def test_missing_packages(tmp_path, monkeypatch):
    monkeypatch.setattr("mollifier.io.files.find_spec", lambda name: None)
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(DataError, match=r"pip install 'mollifier\[zarr\]'"):
        read(tmp_path / "a.zarr")


def test_trusted_profile_of_a_file(tmp_path):
    path = tmp_path / "a.nc"
    labelled().to_netcdf(path, engine="scipy")
    obs = read(path, noise=0.01, trusted={"t": 0})
    np.testing.assert_allclose(np.sum(obs.samples("u").sd < 0.5 * obs.noise_sd("u")), X.size)
    few = read(path, rename={"t": "s"}, trusted={"s": 0, "x": [0, 1]}, sample=100)
    assert few.noise_source("u") == "estimated"
    assert few.noise_sd("u") == pytest.approx(read(path).noise_sd("u"))
    with pytest.raises(DataError, match=r"no coordinate 'tt' to trust\. Did you mean 't'"):
        read(path, trusted={"tt": 0})
    with pytest.raises(DataError, match="'t' has no value 0"):
        read(path, trusted={"t": 0}, window={"t": (1, None)})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_pipe_or_device_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "u.csv")
    with pytest.raises(DataError, match="is a pipe or a device"):
        read(tmp_path / "u.csv")


@pytest.mark.parametrize("unit", ["m\0s", "\udcb0C"])
def test_text_that_no_file_can_hold(unit):
    """It is refused when the data are read, not when the finished run is saved."""
    dataset = xr.Dataset({"u": ("x", np.arange(5.0), {"units": unit})}, {"x": np.arange(5.0)})
    with pytest.raises(DataError, match=r"Attribute units of 'u' is .*; text without NUL"):
        Observations.from_dataset(dataset)


def test_reader_registered_by_a_plugin(tmp_path, monkeypatch):
    """One entry gives the suffix, the format's name, and a place in messages."""
    monkeypatch.setattr(READERS, "_entries", dict(READERS._entries))

    def load(path):
        values = np.array(path.read_text().split(), float)
        return xr.Dataset({"u": ("x", values)}, {"x": np.arange(values.size)})

    READERS.register("words", Reader((".words",), load))
    path = tmp_path / "a.words"
    path.write_text("1 2 4")
    assert read(path).dataset["u"].values.tolist() == [1, 2, 4]
    assert read(path, format="words").gridded
    (tmp_path / "a.xyz").write_text("")
    with pytest.raises(DataError, match=r"\.words was expected"):
        read(tmp_path / "a.xyz")


def test_descending_axis_and_mask_over_dates(tmp_path):
    """Latitudes from north to south are turned round, with the mask; packed numbers are decoded."""
    when = np.datetime64("2020-01-01", "ns") + np.arange(5) * np.timedelta64(6, "h")
    u = np.random.default_rng(0).random((5, 4))
    data = xr.Dataset(
        {
            "u": (("time", "lat"), u, {"standard_name": "sea_surface_temperature"}),
            "seen": (("time", "lat"), u > 0.3),
        },
        {"time": when, "lat": ("lat", [50.0, 48, 46, 44], {"standard_name": "latitude"})},
    )
    packed = {"dtype": "i2", "scale_factor": 1e-3, "add_offset": 0.5, "_FillValue": -999}
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf", encoding={"u": packed})
    obs = read(tmp_path / "a.nc", mask="seen")
    assert obs.dataset["lat"].values.tolist() == [44, 46, 48, 50]
    assert "lat turned round, so that it increases" in obs.summary()
    found = obs.dataset["u"].transpose("time", "lat").values
    np.testing.assert_allclose(found, np.where(u > 0.3, u, np.nan)[:, ::-1], atol=6e-4)
    assert [obs.dataset[n].attrs["standard_name"] for n in ("u", "lat")] == [
        "sea_surface_temperature",
        "latitude",
    ]


def test_days_of_a_model_calendar(tmp_path):
    """A calendar without leap days needs cftime, and becomes seconds as any."""
    days = {"units": "days since 2020-02-27", "calendar": "noleap"}
    data = xr.Dataset({"u": ("t", np.arange(5.0))}, {"t": ("t", np.arange(5.0), days)})
    data.to_netcdf(tmp_path / "a.nc", engine="scipy")
    try:
        import cftime  # noqa: F401
    except ImportError:
        with pytest.raises(DataError, match="installing cftime"):
            read(tmp_path / "a.nc")
    else:
        obs = read(tmp_path / "a.nc")
        assert (obs.bounds["t"], obs.units["t"]) == ((0.0, 4 * 86400.0), "s")


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("psi", ("psi_re", "psi_im")),
        ("psi_re", ("psi_re",)),
        ({"u": "psi_im"}, ("u",)),
        ({"v": "psi"}, ("v_re", "v_im")),
    ],
)
@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_complex_arrays_and_their_parts(tmp_path, asked, names, shape):
    """Columns and fields of complex numbers, whole or one part of them."""
    psi = np.exp(1j * np.arange(6.0)).reshape(shape)
    axes = {"x": np.arange(6.0)} if len(shape) == 1 else {"x": np.arange(2.0), "y": np.arange(3.0)}
    np.savez(tmp_path / "a.npz", psi=psi, **axes)
    obs = read(tmp_path / "a.npz", asked, noise=dict.fromkeys(asked, 0.1) if isinstance(asked, dict) else 0.1)
    assert obs.variables == names
    parts = {"re": psi.real, "im": psi.imag, "u": psi.imag}
    for name in names:
        np.testing.assert_array_equal(obs.dataset[name].values, parts[name.split("_")[-1]])
