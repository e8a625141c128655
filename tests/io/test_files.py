"""Files are written whole or not at all, and refusals say what to do."""

import errno
import json
import os
import pickle
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mollifier.errors import MollifierError
from mollifier.io.files import (
    OutputError,
    ensure_folder,
    jsonable,
    read_groups,
    verify_checksum,
    write_atomically,
    write_groups,
    write_json,
    write_text,
)


def _fail_with(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


def test_write_text_utf8(tmp_path):
    """Text is utf8 with plain line ends."""
    path = write_text(tmp_path / "new" / "a.txt", "µm\n")
    assert path.read_bytes() == b"\xc2\xb5m\n"


def test_write_text_umask(tmp_path):
    """A file made obeys the umask like any other."""
    plain = tmp_path / "plain.txt"
    plain.write_text("")
    assert write_text(tmp_path / "a.txt", "").stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "Free some space"), (errno.EACCES, "permissions")]
)
def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch, call, number, hint):
    """A failed write keeps the old file and leaves nothing."""
    path = write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, call, _fail_with(number))
    with pytest.raises(OutputError, match=hint) as caught:
        write_text(path, "new")
    assert caught.value.path == path
    assert str(path) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_failed_writer_leaves_nothing(tmp_path):
    """An interrupt or an error of the writer leaves nothing and passes through."""
    for error in (KeyboardInterrupt, RuntimeError):

        def writer(path: Path, error: type[BaseException] = error):
            path.write_text("half")
            raise error

        with pytest.raises(error):
            write_atomically(tmp_path / "a.txt", writer)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_a_file(tmp_path):
    """A file where a folder should be is refused."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="A part of the path is a file"):
        ensure_folder(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="name a folder instead"):
        ensure_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="name a folder instead"):
        write_text(tmp_path / "file" / "a.txt", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="name a file instead"):
        write_text(tmp_path / "folder", "")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_read_only(tmp_path):
    """A read only folder is refused."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permissions"):
            ensure_folder(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_folder_on_a_full_disk(tmp_path, monkeypatch):
    """A full disk is found before the run."""
    monkeypatch.setattr(Path, "write_bytes", _fail_with(errno.ENOSPC))
    with pytest.raises(OutputError, match="No space left"):
        ensure_folder(tmp_path / "out")


def test_output_error_pickle():
    error = pickle.loads(pickle.dumps(OutputError("full", "/out/a")))
    assert isinstance(error, MollifierError)
    assert (str(error), error.path) == ("full", Path("/out/a"))


def test_write_json(tmp_path):
    """Json is strict sorted and takes anything."""
    value = {
        "b": np.float32(0.5),
        "a": [np.nan, np.inf, (1, True)],
        "c": {"x": np.arange(2), "s": {3, 1}, 7: date(2024, 5, 1)},
        "d": np.array(["µ"]),
        "e": object,
    }
    text = write_json(tmp_path / "a.json", value).read_text(encoding="utf-8")
    read = json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    assert list(read) == sorted(read)
    assert read["a"] == [None, None, [1, True]]
    assert read["c"] == {"x": [0, 1], "s": [1, 3], "7": "2024-05-01"}
    assert (read["b"], read["d"], read["e"]) == (0.5, ["µ"], "<class 'object'>")
    assert jsonable(read) == read


def test_groups_round_trip(tmp_path):
    """Groups come back bit for bit whatever their attributes and encodings."""
    rng = np.random.default_rng(0)
    dataset = xr.Dataset(
        {
            "u": (
                ("x", "t"),
                rng.random((4, 3)),
                {"units": "hours", "flag": True, "empty": "", "none": None},
            ),
            "n": ("x", np.arange(4, dtype=np.int32), {"list": [1, 2], "tricky": "json:", "e": 0.1}),
            "held": ("x", np.array([True, False, True, False])),
            "stage": ("x", np.array(["adam", "µ", "", "lbfgs"])),
            "one": ((), 2.5),
            "empty": ("nothing", np.zeros(0)),
        },
        {"x": [0.0, 1.0, 2.0, np.nan], "t": ("t", np.arange(3.0), {"units": "days since 2000-01-01"})},
        {"title": ""},
    )
    dataset["u"].encoding = {"dtype": "int16", "scale_factor": 0.1}
    path = write_groups(tmp_path / "a.nc", {"long": "µ" * 100_000}, {"one": dataset, "two": dataset[["one"]]})
    attrs, groups = read_groups(path)
    back = groups["one"]
    assert back.identical(dataset)
    for name, v in dataset.variables.items():
        assert back[name].dtype == v.dtype
        assert back[name].values.tobytes() == v.values.tobytes()
    assert groups["two"].identical(dataset[["one"]].drop_vars([]))
    assert attrs["long"] == "µ" * 100_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nc", "a.sha256"]


def test_checksum_of_a_changed_file(tmp_path):
    """A changed file does not match its checksum."""
    path = write_groups(tmp_path / "a.nc", {}, {})
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(OSError, match="differs from the checksum"):
        verify_checksum(path)
    path.with_suffix(".sha256").unlink()
    verify_checksum(path)


def test_groups_keep_the_order_of_variables(tmp_path: Path):
    """Columns of a table come back as they were."""
    table = xr.Dataset(
        {name: ("row", [1.0, 2.0]) for name in ("z", "b", "a")}, attrs={f"n{i}": i for i in range(20)}
    )
    again = read_groups(write_groups(tmp_path / "a.nc", {}, {"table": table}))[1]["table"]
    assert list(again.data_vars) == ["z", "b", "a"]
    assert again.identical(table)
