"""Studies of the benchmark of coverage: their truths, and what is drawn anew with each seed."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from benchmarks.calibration import standardised
from benchmarks.cases import shapes
from benchmarks.cases.studies import STUDIES
from mollifier.diagnostics.scores import score
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


def test_finite_volumes_in_an_l_and_in_a_ring():
    """Harmonic functions are found on a grid with a corner left out, and on a periodic one."""
    x = np.linspace(-1, 1, 41)
    m = (x[1:] + x[:-1]) / 2
    faces = np.meshgrid(x, m, indexing="ij"), np.meshgrid(m, x, indexing="ij")
    inside = (m[:, None] < 0) | (m < 0)
    u = shapes.finite_volumes(
        inside, [np.ones_like(a) for a, _ in faces], [a * b for a, b in faces], (False,) * 2
    )
    assert u[inside] == pytest.approx(np.outer(m, m)[inside], abs=1e-3)
    assert np.isnan(u[~inside]).all()
    r, n = np.linspace(0.3, 1, 41), 16
    step = 2 * np.pi / n
    middle = (r[1:] + r[:-1]) / 2
    linked = np.outer(r * step / (r[1] - r[0]), np.ones(n)), np.outer(0.0175 / step / middle, np.ones(n + 1))
    known = np.outer(np.log(r), np.ones(n)), np.zeros((40, n + 1))
    u = shapes.finite_volumes(np.ones((40, n), dtype=bool), linked, known, (False, True))
    assert u == pytest.approx(np.outer(np.log(middle), np.ones(n)), abs=1e-3)


def test_shape_draws_places_anew(monkeypatch):
    """Places and noise differ between seeds, and what is near the corner is a part of the truth."""
    monkeypatch.setattr(shapes, "simulated", lambda _, simulate, shape: simulate(shape, 200))
    whole, near = STUDIES["l-shape"](), STUDIES["l-corner"]()
    one, two = (whole.problem(seed=s).data.samples("u").points for s in (0, 1))
    assert len(one) == len(two) == 700
    assert not np.isin(one, two).all()
    known = near.truth["k"].notnull()
    assert 40 < known.sum() < 100 < 1000 < whole.truth["k"].notnull().sum()
    assert (near.truth["k"] == whole.truth["k"]).where(known, True).all()


def test_truth_that_is_nan_is_not_judged():
    """Of a domain with a shape neither error nor score count what lies outside."""
    x = np.linspace(0, 1, 11)
    exact = xr.DataArray(np.where(x > 0.45, np.nan, 1.0), {"x": x}, ("x",))
    fields = xr.Dataset({"k": ("x", np.where(x > 0.55, np.nan, 1.1)), "k_sd": ("x", 0.1 + 0 * x)}, {"x": x})
    parts = xr.Dataset({"u": ("observation", [])}), xr.Dataset({"loss": ("step", [])}), {}
    found = Solution(Status("converged"), {}, fields, *parts)
    assert standardised(found, {"k": exact})["k"] == pytest.approx(np.full(5, -1.0))
    assert score(fields, xr.Dataset({"k": exact}))["k"].relative_l2 == pytest.approx(0.1)
