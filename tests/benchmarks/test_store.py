"""The cache of simulations: once, rebuilt where damaged, done without where it cannot be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from benchmarks.cases import store


def line(nodes, runs):
    runs.append(nodes)
    return xr.Dataset({"u": ("x", np.arange(nodes) / 7)}, {"x": ("x", np.arange(nodes), {"periodic": 2.0})})


def test_a_simulation_is_done_once(monkeypatch, tmp_path):
    monkeypatch.setenv("MOLLIFIER_CACHE", str(tmp_path))
    runs = []
    first, again = (store.simulated("line", lambda nodes: line(nodes, runs), nodes=5) for _ in range(2))
    assert runs == [5]
    xr.testing.assert_identical(first, again)
    store.simulated("line", lambda nodes: line(nodes, runs), nodes=6)
    store.simulated("line", lambda nodes: line(nodes, runs), version=2, nodes=5)
    assert runs == [5, 6, 5]


@pytest.mark.parametrize("damage", ["truncated", "changed", "no checksum", "no file", "of another"])
def test_a_damaged_cache_is_rebuilt(monkeypatch, tmp_path, damage):
    monkeypatch.setenv("MOLLIFIER_CACHE", str(tmp_path))
    runs = []

    def wanted(nodes=500):
        return store.simulated("line", lambda nodes: line(nodes, runs), nodes=nodes)

    first = wanted()
    (path,) = tmp_path.glob("*.nc")
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[:100])
    elif damage == "changed":
        path.write_bytes(content[:-50] + bytes(50))
    elif damage == "no checksum":
        path.with_suffix(".sha256").unlink()
    elif damage == "no file":
        path.unlink()
    else:
        wanted(nodes=400)
        (other,) = set(tmp_path.glob("*.nc")) - {path}
        path.write_bytes(other.read_bytes())
        digest = other.with_suffix(".sha256").read_text()
        path.with_suffix(".sha256").write_text(digest.replace(other.name, path.name))
    before = len(runs)
    xr.testing.assert_identical(wanted(), first)
    assert len(runs) == before + 1
    wanted()
    assert len(runs) == before + 1


def test_a_cache_that_cannot_be_written_to_costs_time_only(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MOLLIFIER_CACHE", str(tmp_path / "file" / "folder"))
    runs = []
    for _ in range(2):
        store.simulated("line", lambda nodes: line(nodes, runs), nodes=5)
    assert runs == [5, 5]


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("MOLLIFIER_CACHE", "~/own")
    assert store.cache_folder() == Path("~/own").expanduser()
    monkeypatch.delenv("MOLLIFIER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/xdg")
    assert store.cache_folder() == Path("/var/xdg/mollifier")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store.cache_folder() == Path("~/.cache/mollifier").expanduser()
