"""Unknown fields of which only derivatives enter: free up to a constant or a function of some coordinates."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.engines.identifiability.structure import gauges
from mollifier.engines.splines.basis import AxisSplines, Basis
from mollifier.mollify.grid import Axis, Grid

NU = 0.1


@cache
def flow(seed: int) -> mf.Observations:
    """``u_t = nu*u_xx - p_x`` with p = nu*cos(2x), exactly, and noise of 0.01."""
    x, t = np.linspace(0, 2 * np.pi, 40, endpoint=False), np.linspace(0, 2, 41)
    a, b = np.meshgrid(x, t, indexing="ij")
    u = np.exp(-NU * b) * np.sin(a) + 0.5 * np.exp(-4 * NU * b) * np.cos(2 * a) + 0.5 * np.sin(2 * a)
    u = u + 0.01 * np.random.default_rng(seed).normal(size=u.shape)
    data = xr.Dataset({"u": (("x", "t"), u)}, {"x": ("x", x, {"periodic": 2 * np.pi}), "t": t})
    return mf.Observations.from_dataset(data)


def question(*over: str, **more) -> mf.InverseProblem:
    unknowns = {"p": mf.FieldUnknown(over=over, **more), "nu": mf.ScalarUnknown()}
    return mf.InverseProblem("u_t = nu*u_xx - p_x", flow(0), unknowns)


def test_what_is_open():
    assert gauges(question("x")) == {"p": ()}
    assert gauges(question("x", "t")) == {"p": ("t",)}
    known = mf.Observations({"p": [0.1]}, {"x": [0.0]}, noise={"p": 0.1})
    assert gauges(question("x", measurements=known)) == {}
    bare = mf.InverseProblem("u_t = 0.1*u_xx - p_x + p*u", flow(0), {"p": mf.FieldUnknown(over=("x",))})
    assert gauges(bare) == {}


@pytest.mark.parametrize("engine", ["weak", "joint"])
def test_pressure_of_mean_zero(engine):
    """Not undetermined: the standard error is that of the field less its mean, and covers its error."""
    solution = mf.solve(question("x"), engine)
    p, sd = solution.dataset.p, solution.dataset.p_sd
    assert solution.status.name == "converged"
    assert abs(float(p.mean())) < 0.01 * float(p.std())
    assert "free up to a constant: its mean over x is zero" in p.attrs["comment"]
    error = p.values - NU * np.cos(2 * p.x.values)
    assert np.sqrt(np.mean(error**2)) < 0.15 * NU
    assert np.sqrt(np.mean((error / sd.values) ** 2)) < 3
    assert sd.max() < 0.3 * NU


def test_check_states_what_is_open():
    found = mf.check(question("x", "t"))
    said = " ".join(f.text for f in found.findings)
    assert "free up to a function of t: its mean over x at each t is zero" in said
    assert not any("say little or nothing about p" in f.text for f in found.errors)


def test_coefficients_without_their_mean():
    """The field has a mean of zero over the axes that are not kept, at every place of the others."""
    x, y = Axis("x", 0.0, 1.0, 50), Axis("y", 0.0, 2.0, 30, periodic=True)
    basis = Basis("p", {"x": AxisSplines(x, 7, 3), "y": AxisSplines(y, 6, 3)}, Grid(x, y))
    coefficients = np.random.default_rng(0).normal(size=basis.size)
    fine, weights = np.polynomial.legendre.leggauss(200)
    places = Grid(Axis.from_points("x", (fine + 1) / 2), Axis("y", 0.0, 2.0, 40, periodic=True))
    for kept, axes in (((), (0, 1)), (("y",), (0,))):
        values = (basis.at(places) @ (basis.without_mean(kept) @ coefficients)).reshape(places.shape)
        means = np.average(values, axis=0, weights=weights)
        assert np.abs(means if axes == (0,) else means.mean()).max() < 1e-4
