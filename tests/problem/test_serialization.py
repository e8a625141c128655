"""Files of a solution for other programs."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from mollifier.cli.app import app
from mollifier.errors import ConfigurationError, DataError
from mollifier.problem.estimate import Estimate
from mollifier.problem.serialization import described
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

RNG = np.random.default_rng(0)


def solution(dims=("x", "y", "t")):
    """u over all dimensions, k over those in space, and a number."""
    sizes = dict(zip(("x", "y", "z", "w", "t"), (5, 4, 3, 2, 6), strict=True))
    measured = xr.Dataset(coords={"t": ("t", np.arange(6.0), {"origin": "2020-01-01T12:00:00.000000000"})})
    coords = {d: (d, np.cumsum(1.0 + np.arange(sizes[d])), {"units": "s" if d == "t" else "m"}) for d in dims}
    space = [d for d in dims if d != "t"]
    fields = {
        "u": (dims, RNG.random([sizes[d] for d in dims]), {"units": "K"}),
        "k": (space, RNG.random([sizes[d] for d in space]), {"units": "m^2/s"}),
        "k_sd": (space[::-1], RNG.random([sizes[d] for d in space[::-1]])),
    }
    dataset = described(xr.Dataset(fields, coords), measured)
    fit, history = xr.Dataset({"u": ("observation", [1.0])}), xr.Dataset({"loss": ("step", [1.0])})
    return Solution(
        Status("converged"), {"r": Estimate("r", 2.0, 0.1, "1/s")}, dataset, fit, history, {"seed": 0}
    )


def arrays(path):
    """The arrays of a VTK file, x fastest, by name."""
    raw = path.read_bytes()
    head, data = raw[: raw.index(b"<AppendedData")], raw[re.search(rb"<AppendedData[^>]*>\s*_", raw).end() :]
    root = ET.fromstring(head + b"</VTKFile>")
    found = {}
    for e in root.iter("DataArray"):
        at = int(e.get("offset"))
        size = int(np.frombuffer(data, "<u8", 1, at)[0])
        found[e.get("Name")] = np.frombuffer(data[at + 8 : at + 8 + size], {"Float64": "<f8"}[e.get("type")])
    return root.find("RectilinearGrid").get("WholeExtent"), found


def test_export_netcdf_is_read_by_xarray(tmp_path):
    """One group after the CF conventions, with dates, numbers and their errors."""
    made = solution()
    with xr.open_dataset(made.export(tmp_path / "a.nc")) as found:
        assert found.attrs["Conventions"].startswith("CF-1")
        assert found.t.values[0] == np.datetime64("2020-01-01T12:00:01")
        assert [found[c].attrs["axis"] for c in ("x", "y", "t")] == ["X", "Y", "T"]
        assert found.k.attrs["ancillary_variables"] == "k_sd"
        assert (float(found.r), found.r.attrs["units"], float(found.r_sd)) == (2.0, "1/s", 0.1)
        np.testing.assert_array_equal(found.u.values, made.dataset.u.values)


@pytest.mark.parametrize("dims", [("x", "y", "t"), ("t", "y", "x"), ("x", "t"), ("x", "y"), ("x", "y", "z")])
def test_export_paraview_is_a_grid_for_each_time(dims, tmp_path):
    """Nodes, and the values at them with x fastest, whatever the order of the dimensions."""
    pytest.importorskip("pyevtk", reason="files for ParaView need pyevtk")
    made = solution(dims)
    listed = ET.fromstring(made.export(tmp_path / "a.pvd").read_text())
    files = [tmp_path / e.get("file") for e in listed.iter("DataSet")]
    times = made.dataset.t.values if "t" in dims else [0.0]
    assert [float(e.get("timestep")) for e in listed.iter("DataSet")] == list(times)
    space = sorted({*dims} - {"t"})
    extent, found = arrays(files[-1])
    sizes = [made.dataset.sizes[d] for d in space] + [1] * (3 - len(space))
    assert extent.split() == [str(n) for size in sizes for n in (0, size - 1)]
    np.testing.assert_array_equal(found["x_coordinates"], made.dataset.x)
    last = made.dataset.isel(t=-1) if "t" in dims else made.dataset
    for name in ("u", "k", "k_sd"):
        np.testing.assert_array_equal(found[name], last[name].transpose(*space[::-1]).values.ravel())


def test_export_paraview_has_three_coordinates_at_most(tmp_path):
    pytest.importorskip("pyevtk", reason="files for ParaView need pyevtk")
    with pytest.raises(ConfigurationError, match="one to three coordinates"):
        solution(("x", "y", "z", "w")).export(tmp_path / "a.pvd")


def test_export_refuses_what_it_cannot_write(tmp_path, monkeypatch):
    """Another suffix, a missing package."""
    with pytest.raises(ConfigurationError, match=r"\.nc or \.pvd was expected"):
        solution().export(tmp_path / "a.vtk")
    monkeypatch.setattr("mollifier.io.files.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'mollifier\[paraview\]'"):
        solution().export(tmp_path / "a.pvd")


def test_export_command(tmp_path):
    """From the folder of a run."""
    solution().save(tmp_path / "run")
    result = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "--to", str(tmp_path / "a.nc")])
    assert result.exit_code == 0, result.output
    assert "wrote" in result.stdout
    result = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "--to", str(tmp_path / "a.vtu")])
    assert result.exit_code == 2


def test_saved_solution_names_its_conventions(tmp_path):
    """Its fields are a group that xarray opens."""
    made = solution()
    made.save(tmp_path)
    with xr.open_dataset(tmp_path / "solution.nc") as root:
        assert root.attrs["Conventions"].startswith("CF-1")
    with xr.open_dataset(tmp_path / "solution.nc", group="fields") as fields:
        np.testing.assert_array_equal(fields.u.values, made.dataset.u.values)
