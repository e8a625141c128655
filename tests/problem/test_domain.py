"""Domains of any shape: what lies inside, which data are kept, where the equation is imposed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.errors import MollifierError
from mollifier.problem.collocation import collocate
from mollifier.problem.settings import CollocationSettings

L_SHAPE = [[-1, -1], [1, -1], [1, 0], [0, 0], [0, 1], [-1, 1]]
RNG = np.random.default_rng(0)
X, Y = RNG.uniform(-1, 1, (2, 600))
SCATTERED = mf.Observations({"u": np.sin(2 * X) * np.cosh(2 * Y)}, {"x": X, "y": Y}, noise=0.01)
AXIS = np.linspace(-1, 1, 41)
GRIDDED = mf.Observations.from_dataset(
    xr.Dataset({"u": (("y", "x"), np.cosh(2 * AXIS)[:, None] * np.sin(2 * AXIS))}, {"x": AXIS, "y": AXIS}),
    noise=0.01,
)


def problem(data: mf.Observations = SCATTERED, **domain) -> mf.InverseProblem:
    return mf.InverseProblem(
        "lap(u) = k*u", data, {"k": mf.ScalarUnknown()}, {"a": 1.0}, domain=mf.Domain(**domain)
    )


def ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.hypot(x, y) > 0.3) & (np.hypot(x, y) < 1)


def corner(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x <= 0) | (y <= 0)


@pytest.mark.parametrize(
    ("given", "truth"),
    [
        ({"inside": "0.3^2 < x^2 + y^2 < a"}, ring),
        ({"inside": ["x^2 + y^2 - a < 0", "sqrt(x^2 + y^2) >= 0.3"]}, ring),
        ({"polygon": L_SHAPE}, corner),
        ({"polygon": [[[-1, -1], [1, -1], [1, 1], [-1, 1]], [[0, 0], [2, 0], [2, 2], [0, 2]]]}, None),
        ({"mask": xr.DataArray(ring(AXIS[:, None], AXIS), {"x": AXIS, "y": AXIS}, ("x", "y"))}, ring),
    ],
)
def test_domain_from_inequalities_polygons_and_masks(given, truth):
    """Data outside are left out, the equation is imposed inside, and a problem made from it is the same."""
    posed = problem(**given)
    kept = posed.data.samples("u").points
    found = collocate(posed, CollocationSettings(nodes={"x": 41, "y": 41}))
    nodes = found.grid.coords().T
    if truth is not None:
        near = 0.06 if "mask" in given else 1e-12
        assert abs(len(kept) - truth(X, Y).sum()) < 0.06 * len(X) if "mask" in given else 1
        inside, radius = found.inside.ravel(), np.hypot(*nodes)
        clear = (np.abs(radius - 0.3) > near) & (np.abs(radius - 1) > near) & (np.abs(nodes).min(0) > near)
        assert (inside == truth(*nodes))[clear].all()
    again = posed.of(posed.data, posed.unknowns)
    assert again.described == posed.described
    assert len(again.data.samples("u").points) == len(kept)
    assert "outside the domain" in posed.data.summary()


def test_domain_cuts_the_box():
    """The box is that of the data inside, and a domain that holds the whole box leaves no node out."""
    posed = problem(inside="max(abs(x), abs(y)) < 0.5")
    assert all(-0.5 <= low < -0.45 and 0.45 < high <= 0.5 for low, high in posed.bounds.values())
    assert collocate(posed).inside is None


def test_domain_from_files(tmp_path):
    """A GeoJSON with a hole, a table of vertices, a labelled file and an image say the same."""
    outer, hole = [[-1, -1], [1, -1], [1, 1], [-1, 1]], [[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 0.5]]
    geojson = tmp_path / "outline.geojson"
    geojson.write_text(json.dumps({"type": "Polygon", "coordinates": [outer, hole]}))
    table = tmp_path / "outline.csv"
    table.write_text("y [m],x [m]\n" + "\n".join(f"{y},{x}" for x, y in L_SHAPE))
    inner = (AXIS[:, None] > 0) | (AXIS < -0.5)
    xr.Dataset({"cell": (("x", "y"), 3 * inner.astype(int))}, {"x": AXIS, "y": AXIS}).to_netcdf(
        tmp_path / "cells.nc", engine="h5netcdf"
    )
    found = problem(polygon=geojson).interior
    assert found.contains({"x": np.array([0.2, -0.2]), "y": np.array([0.2, 0.2])}).tolist() == [False, True]
    found = problem(polygon=table).interior
    assert found.contains({"x": np.array([0.2, -0.2]), "y": np.array([0.1, 0.3])}).tolist() == [False, True]
    found = problem(mask=tmp_path / "cells.nc", label=3).interior
    assert found.contains({"x": np.array([0.2, -0.2]), "y": np.array([0.0, 0.0])}).tolist() == [True, False]
    tifffile = pytest.importorskip("tifffile", reason="an image needs tifffile")
    tifffile.imwrite(tmp_path / "cells.tif", np.tile(AXIS > 0.5, (41, 1)).astype(np.uint8))
    found = problem(GRIDDED, mask=tmp_path / "cells.tif").interior  # an image has y before x
    assert found.contains({"x": np.array([0.8, 0.2]), "y": np.array([0.2, 0.8])}).tolist() == [True, False]


def test_domain_that_moves():
    """A domain may depend on time."""
    x, t = RNG.uniform(0, 1, (2, 500))
    data = mf.Observations({"u": np.exp(-t) * np.sin(3 * x)}, {"x": x, "t": t}, noise=0.01)
    unknowns = {"D": mf.ScalarUnknown()}
    posed = mf.InverseProblem("u_t = D*u_xx", data, unknowns, domain=mf.Domain("x < 0.4 + t"))
    found = collocate(posed)
    at_start, at_end = found.inside[:, 0], found.inside[:, -1]
    assert 0.3 < at_start.mean() < 0.5
    assert at_end.all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "without a shape"),
        ({"label": 2, "inside": "x < 1"}, "without a mask"),
        ({"inside": "x^2 + z < 1"}, "'z' is not a name"),
        ({"inside": "x = 1"}, "an inequality between expressions"),
        ({"inside": "x <"}, "an inequality between expressions"),
        ({"inside": "x > 7"}, "No data lie inside"),
        ({"polygon": [1, 2]}, "pairs of numbers were expected"),
        ({"polygon": [[0, 0], [1, 1]]}, "fewer than three"),
        ({"polygon": "gone.geojson"}, "is no file"),
        ({"polygon": L_SHAPE, "over": ("x", "z")}, "not a coordinate"),
        ({"mask": "wet"}, "no variable of the data and no file"),
        ({"mask": np.ones((3, 3))}, "a labelled array"),
        ({"mask": xr.DataArray(np.zeros(41), {"x": AXIS}, ("x",))}, "nowhere"),
        ({"mask": xr.DataArray(np.ones(41), {"z": AXIS}, ("z",))}, "varies over z"),
        ({"mask": xr.DataArray(np.full(41, "a"), {"x": AXIS}, ("x",))}, "of type <U1"),
        ({"mask": xr.DataArray(np.ones(41), {"x": AXIS}, ("x",)), "label": "1"}, "label='1'"),
        ({"mask": xr.DataArray(np.ones(5), dims="x")}, "5 nodes along 'x' without places"),
        ({"inside": []}, "without a shape"),
        ({"polygon": L_SHAPE, "over": ("x", "x")}, "its two coordinates"),
    ],
)
def test_domain_that_cannot_be_taken(given, message):
    with pytest.raises(MollifierError, match=message):
        problem(**given)


def test_domain_of_a_problem_file(tmp_path):
    """Files are relative to the problem file, a mask may be a variable of the data, keys are checked."""
    rows = "\n".join(f"{x},{y},{u},{int(x > 0)}" for (x, y), u in zip(
        SCATTERED.samples("u").points, SCATTERED.samples("u").values, strict=True))  # fmt: skip
    (tmp_path / "u.csv").write_text("x,y,u,wet\n" + rows)
    (tmp_path / "outline.csv").write_text("\n".join(f"{x} {y}" for x, y in L_SHAPE))
    path = tmp_path / "p.yaml"
    path.write_text(
        "equation: lap(u) = k*u\ndata: {file: u.csv, values: [u, wet], coordinates: [x, y], noise: 0.01}\n"
        "unknowns: {k: scalar}\nfields: [u]\ndomain: {polygon: outline.csv, mask: wet, inside: y < 0.9}\n"
    )
    points = mf.load_problem(path).problem().data.samples("u").points
    assert len(points) > 100
    assert points[:, 0].min() > 0 > points[:, 1].max() - 1e-9
    with pytest.raises(MollifierError, match="Did you mean 'inside'"):
        mf.load_problem(path, ["domain.insid=x < 1"])


def test_weak_sums_stay_inside():
    """On a grid, no test function reaches out of the domain, where the data say something else."""
    x, y = np.linspace(0, 3, 80), np.linspace(0, 3, 90)
    clean = np.sin(1.5 * x)[:, None] * np.cosh(0.5 * y)
    u = np.where((x[:, None] > 1.8) & (y > 1.8), 7.0 + np.sin(9 * y), clean)
    u += 0.001 * RNG.normal(size=u.shape)
    data = mf.Observations.from_dataset(xr.Dataset({"u": (("x", "y"), u)}, {"x": x, "y": y}))
    posed = mf.InverseProblem(
        "lap(u) = k*u", data, {"k": mf.ScalarUnknown()}, domain=mf.Domain("min(x, y) < 1.75")
    )
    solution = mf.solve(posed, "weak")
    k = solution.estimates["k"]
    assert abs(k.value + 2.0) < max(4 * k.sd, 0.02)
    assert np.isnan(solution.dataset.u.sel(x=2.5, y=2.5, method="nearest"))
    inner = solution.dataset.u.sel(x=1.0, y=2.5, method="nearest")
    assert abs(float(inner) - clean[np.abs(x - 1.0).argmin(), np.abs(y - 2.5).argmin()]) < 0.02


RING = Path(__file__).parents[2] / "examples" / "ring.yaml"


@pytest.mark.slow
def test_conductivity_of_the_ring():
    """k within 0.1 of the truth, most of it inside the intervals, NaN in the hole."""
    file = mf.load_problem(RING)
    solution = mf.solve(file.problem(), "joint", rng=file.seed)
    found = solution.dataset
    x, y = np.meshgrid(found.x, found.y, indexing="ij")
    warm = np.exp(-((x - 0.5) ** 2 + (y - 0.3) ** 2) / 0.08)
    cold = np.exp(-((x + 0.5) ** 2 + (y + 0.2) ** 2) / 0.08)
    truth, r = 1 + 0.5 * warm - 0.35 * cold, np.hypot(x, y)
    here = (r > 0.32) & (r < 0.99)
    error = found.k.values - truth
    assert solution.status.name == "converged"
    assert np.linalg.norm(error[here]) < 0.1 * np.linalg.norm(truth[here])
    assert np.mean(np.abs(error) < 1.96 * found.k_sd.values, where=here) > 0.85
    assert np.isnan(found.k.values[r < 0.2]).all()
