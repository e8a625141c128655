"""Data that are read in blocks give the answer of the same data in memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.data import lazy
from mollifier.errors import ConfigurationError, DataError

# Many blocks of small data, which are searched on every other node.
SMALL = {
    "tuning": {
        "block_values": 1500,
        "thinned_nodes": 2500,
        "thinned_cells": 4.0,
        "part_values": 2000,
        "smoothed_values": 2000,
    }
}
RADIUS = {"t": 0.5, "x": 1.5}
GIVEN = SMALL | {"collocation": {"radius": RADIUS}}
NUMBERS = {n: mf.ScalarUnknown() for n in ("c", "D", "r")}


def waves(noise=0.02, period=2 * np.pi):
    """Two waves that travel and decay, exactly, in 60 frames of 80 pixels."""
    t, x = np.linspace(0, 2, 60), np.linspace(0, 2 * np.pi, 80, endpoint=False)
    u = 0.0
    for amplitude, k, phase in ((1.0, 1, 0.0), (0.6, 2, 1.0)):
        decay = np.exp(-(0.05 * k * k + 0.3) * t[:, None])
        u = u + amplitude * decay * np.sin(k * (x - t[:, None]) + phase)
    u = u + noise * np.random.default_rng(0).standard_normal(u.shape)
    coordinates = {"t": t, "x": ("x", x, {"periodic": period})}
    return xr.Dataset({"u": (("t", "x"), u, {"standard_error": noise})}, coordinates)


def solved(dataset, equation, unknowns, settings=SMALL, **options):
    problem = mf.InverseProblem(equation, mf.Observations.from_dataset(dataset), unknowns)
    return mf.solve(problem, "weak", settings=settings, **options)


@pytest.mark.parametrize(
    ("equation", "unknowns", "radius", "rounding"),
    [
        pytest.param("u_t + c*u_x = D*u_xx - r*u", NUMBERS, "auto", 1e-9, marks=pytest.mark.slow),
        ("u_t + c*u_x = D*u_xx - r*u + q*u^2", {**NUMBERS, "q": mf.ScalarUnknown()}, RADIUS, 1e-9),
        # A constant field leaves the strength of its prior open.
        ("u_t + c*u_x = D*u_xx - r*u", {**NUMBERS, "r": mf.FieldUnknown(over=("x",))}, RADIUS, 1e-3),
    ],
    ids=["linear", "nonlinear", "field"],
)
def test_blocks_answer_in_memory(equation, unknowns, radius, rounding):
    """Estimates, errors and fields are equal to rounding, whatever the equation."""
    data, settings = waves(), SMALL | {"collocation": {"radius": radius}}
    whole, blocks = (solved(d, equation, unknowns, settings) for d in (data, data.chunk(t=7)))
    assert whole.status.name == blocks.status.name
    for name, estimate in whole.estimates.items():
        assert blocks.estimates[name].value == pytest.approx(estimate.value, rel=rounding, abs=1e-12)
        assert blocks.estimates[name].sd == pytest.approx(estimate.sd, rel=rounding)
    for name in (n for n in whole.dataset if "prior" not in str(n)):
        values = whole.dataset[name]
        np.testing.assert_allclose(blocks.dataset[name].transpose(*values.dims), values, atol=10 * rounding)


def test_blocks_along_a_periodic_axis():
    """The halo of blocks along an axis that wraps comes from its other end."""
    data = waves().transpose("x", "t")
    equation, unknowns = "u_t + c*u_x = D*u_xx - r*u + q*u^2", {**NUMBERS, "q": mf.ScalarUnknown()}
    whole, blocks = (solved(d, equation, unknowns, GIVEN) for d in (data, data.chunk(x=9)))
    for name, estimate in whole.estimates.items():
        assert blocks.estimates[name].value == pytest.approx(estimate.value, rel=1e-9, abs=1e-12)


def test_blocks_are_followed():
    """A progress event for each block of each pass."""
    seen = []
    solved(waves().chunk(t=7), "u_t + c*u_x = D*u_xx - r*u", NUMBERS, GIVEN, progress=seen.append)
    blocks = [(e.step, e.steps) for e in seen if e.stage == "blocks"]
    assert blocks[:2] == [(1, 3), (2, 3)]
    assert {e.engine for e in seen} == {"weak"}


def test_blocks_on_an_executor(monkeypatch):
    """Blocks that end out of order are added in order: the answer is the same to the bit."""
    data, equation = waves().chunk(t=7), "u_t + c*u_x = D*u_xx - r*u"
    alone = solved(data, equation, NUMBERS, GIVEN)
    with ThreadPoolExecutor(2) as threads:
        monkeypatch.setattr("mollifier.engines.weak.passes.cluster", lambda: threads)
        together = solved(data, equation, NUMBERS, GIVEN)
    assert together.estimates == alone.estimates


@pytest.mark.slow
def test_blocks_on_a_dask_client():
    """The blocks go to the workers of the client that the process opened."""
    distributed = pytest.importorskip("distributed")
    data, equation = waves().chunk(t=7), "u_t + c*u_x = D*u_xx - r*u"
    alone = solved(data, equation, NUMBERS, GIVEN)
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None):
        together = solved(data, equation, NUMBERS, GIVEN)
    assert together.estimates == alone.estimates


def test_blocks_other_engines_refuse():
    """Engines that hold the data in memory name the one that does not."""
    observed, unknowns = mf.Observations.from_dataset(waves().chunk(t=7)), {"D": mf.ScalarUnknown()}
    problem = mf.InverseProblem("u_t = D*u_xx", observed, unknowns)
    with pytest.raises(ConfigurationError, match=r"takes no data read in blocks .*, engine 'weak' does"):
        mf.solve(problem, "joint")


def test_blocks_bootstrap_refuses():
    """Repeats need every value: an overview in their place would give the errors of fewer data."""
    observed = mf.Observations.from_dataset(waves().chunk(t=7))
    problem = mf.InverseProblem("u_t + c*u_x = D*u_xx - r*u", observed, NUMBERS)
    solution = mf.solve(problem, "weak", settings=GIVEN)
    with pytest.raises(DataError, match=r"obs.load\(\)"):
        mf.bootstrap(problem, solution, 3)


def test_blocks_missing_values():
    """Gaps are named, in the overview or in the block where they are met."""
    data = waves()
    data["u"][0, 0] = np.nan
    with pytest.raises(DataError, match="'u' has missing values"):
        mf.Observations.from_dataset(data.chunk(t=7))
    observed, data = mf.Observations.from_dataset(waves().chunk(t=7)), waves()
    data["u"][31, 33] = np.nan
    object.__setattr__(observed.whole, "dataset", data.chunk(t=7))  # the overview missed the gap
    problem = mf.InverseProblem("u_t + c*u_x = D*u_xx - r*u", observed, NUMBERS)
    with pytest.raises(DataError, match="'u' has missing values"):
        mf.solve(problem, "weak", settings=GIVEN)


def test_observations_in_blocks():
    """Windows and selections stay in blocks; what needs every value asks for them in memory."""
    observed = mf.Observations.from_dataset(waves().transpose("x", "t").chunk(t=7))
    assert observed.whole.grid().names == ("t", "x")
    assert observed.periodic == {"x": 2 * np.pi}
    half = observed.window(t=(0.0, 1.0))
    assert half.whole.dataset.sizes["t"] == 30
    assert half.load().whole is None
    assert "read in blocks" in str(observed)
    with pytest.raises(DataError, match=r"obs.load\(\)"):
        observed.hold_out(0.1)
    with pytest.raises(DataError, match=r"obs.load\(\)"):
        observed.mask_outliers()


def test_overview_sizes(monkeypatch):
    """The overview has every so many nodes, from end to end, and keeps the period."""
    data = waves().chunk(t=7)
    monkeypatch.setattr(lazy, "_OVERVIEW", 1300)
    few = lazy.overview(data)
    assert dict(few.sizes) == {"t": 30, "x": 40}
    np.testing.assert_array_equal(few["u"], data["u"][::2, ::2])


def test_read_chunks(tmp_path, monkeypatch):
    """Zarr stays in its file with chunks, or where it would fill the memory."""
    pytest.importorskip("zarr")
    path = tmp_path / "movie.zarr"
    waves().chunk(t=10).to_zarr(path, consolidated=False)
    assert mf.read(path).whole is None
    assert mf.read(path, chunks={"t": 20}).whole.dataset["u"].chunks[0] == (20, 20, 20)
    with pytest.raises(DataError, match="chunks names 'q', no dimension"):
        mf.read(path, chunks={"q": 20})
    monkeypatch.setattr("mollifier.data.readers.zarr.exceeds_memory", lambda dataset: True)
    assert mf.read(path).whole.dataset["u"].chunks[0][0] == 10
    waves().to_netcdf(tmp_path / "movie.nc")
    with pytest.raises(DataError, match="files that are read in blocks: zarr"):
        mf.read(tmp_path / "movie.nc", chunks={})
