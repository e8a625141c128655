"""Errors by the spacing of the collocation grid: as large as those of a coarse grid, and said."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.engines.collocated import verdict
from mollifier.engines.collocated.laplace import Laplace
from mollifier.engines.collocated.spacing import convergence_order
from mollifier.problem.collocation import collocate
from mollifier.problem.settings import CollocationSettings

D = 0.02


def heat(seed: int, noise: float = 0.01, periodic: bool = False) -> mf.InverseProblem:
    """Two modes that decay, of which 15 nodes hold the shorter one badly."""
    x, t = np.linspace(0, 1, 41)[: 40 if periodic else 41], np.linspace(0, 1, 33)
    k, q = 2 * np.pi, (6 if periodic else 7) * np.pi
    a, b = np.meshgrid(x, t, indexing="ij")
    u = np.exp(-D * k**2 * b) * np.sin(k * a) + 0.7 * np.exp(-D * q**2 * b) * np.cos(q * a)
    u += noise * np.sqrt(np.mean(u**2)) * np.random.default_rng(seed).standard_normal(u.shape)
    data = mf.Observations.from_dataset(
        xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}), periodic={"x": 1.0} if periodic else None
    )
    return mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown(lower=0.0)})


def solved(problem: mf.InverseProblem, nodes: int | None, **tuning: float) -> mf.Solution:
    few = {"collocation": {"max_nodes": nodes}} if nodes else {}
    return mf.solve(problem, "joint", settings={**few, "tuning": tuning})


@pytest.mark.parametrize(("seed", "periodic"), [(10, False), (11, True)])
def test_error_by_the_spacing_is_that_of_few_nodes(seed, periodic):
    """The same data on more nodes differ by 0.5 to 1 of it; on enough nodes there is next to none."""
    problem = heat(seed, periodic=periodic)
    fine, coarse = solved(problem, None), solved(problem, 250)
    (a, b) = (s.estimates["D"] for s in (fine, coarse))
    assert a.sd is not None
    assert b.sd is not None
    error = np.sqrt(b.sd**2 - a.sd**2)
    assert 0.5 * error < abs(a.value - b.value) < error
    assert abs(b.value - D) < 2 * b.sd
    assert a.sd == pytest.approx(2.4e-5, rel=0.1)  # it follows the residuals of 200 samples that count


def test_nodes_that_would_do_are_named():
    status = solved(heat(10), 350, coarse=1.0).status
    assert status.ok
    assert "the nodes along 'x' are too few: 'D' would move by about" in status.message
    named = int(status.message.split("collocation.nodes x: ")[1].split()[0])
    assert 18 < named < 36


def test_error_of_a_field_at_its_bound_is_linear_in_the_residuals(monkeypatch):
    """The exponential of a large error, averaged as if it were noise, was 1e12 times the noise."""
    x, t = np.linspace(0, 1, 16), np.linspace(0, 1, 12)
    u = np.exp(-D * np.pi**2 * t) * np.cos(np.pi * x)[:, None]
    u += 0.01 * np.random.default_rng(0).standard_normal(u.shape)
    data = mf.Observations.from_dataset(xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}))
    source = mf.FieldUnknown(over=("x",), lower=0.0)
    seen: list[Laplace] = []
    monkeypatch.setattr(verdict, "nodes_too_few", seen.append)
    mf.solve(mf.InverseProblem("u_t = D*u_xx + s", data, {"s": source}, {"D": D}), "joint")
    found = [ratio for *_, ratio, _ in seen[-1].spacing()]
    seen[-1]._spacing = {c: 1e4 * rows for c, rows in seen[-1]._spacing.items()}
    assert [ratio for *_, ratio, _ in seen[-1].spacing()] == pytest.approx([1e4 * r for r in found])


def test_nodes_between_others_are_those_inside():
    place = collocate(heat(0, periodic=True), CollocationSettings(nodes={"x": 40, "t": 21}))
    assert place.between("x").grid.shape == (40, 21)
    assert place.between("t").grid["t"].points == pytest.approx(np.linspace(0, 1, 41)[1::2])
    assert convergence_order(place, 2) == 4
