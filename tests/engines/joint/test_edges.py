"""Fields with edges: seen by the evidence, fitted again with an edge prior, and held by their intervals."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

import mollifier as mf
from benchmarks.cases import darcy
from mollifier.engines.priors.field_prior import EDGES, EdgePrior, field_prior
from mollifier.mollify.grid import Axis, Grid


def levels(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two of them, with edges at 0.8 and 1.9."""
    return np.where((x > 0.8) & (x < 1.9), 0.7, -0.5)


def growth(seed: int, edge: bool) -> mf.InverseProblem:
    """u_t = k(x)*u, 1 % noise, with a k of two levels or a smooth one."""
    x, t = np.linspace(0, 3, 60), np.linspace(0, 1, 20)
    k = levels(x) if edge else 0.6 * np.sin(2 * x)
    u = (1 + 0.3 * np.sin(2 * x))[:, None] * np.exp(k[:, None] * t)
    u = u + 0.01 * np.sqrt(np.mean(u**2)) * np.random.default_rng(seed).normal(size=u.shape)
    data = mf.Observations.from_dataset(xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}))
    return mf.InverseProblem("u_t = k*u", data, {"k": mf.FieldUnknown(over=("x",))})


FEW = {"collocation": {"nodes": {"x": 61, "t": 13}}}


def beside(kind: str, seed: int) -> mf.InverseProblem:
    """u_t = k(x)*u + w with w not measured, or u_t = k(x)*u beside a law v_t = f(v) + u, 1 % noise."""
    x, t = np.linspace(0, 3, 60), np.linspace(0, 1, 20)
    k, rng = levels(x), np.random.default_rng(seed)

    def slopes(_: float, y: NDArray[np.float64]) -> NDArray[np.float64]:
        u, v = y.reshape(2, -1)
        return np.concatenate([k * u + v, -2 * v] if kind == "hidden" else [k * u, v - v**2 + u])

    start = np.concatenate([1 + 0.3 * np.sin(2 * x), 1 + 0.5 * np.cos(2 * x)])
    fields = solve_ivp(slopes, (0, 1), start, t_eval=t, rtol=1e-8).y.reshape(2, len(x), len(t))
    fields = fields + 0.01 * np.sqrt(np.mean(fields**2, axis=(1, 2), keepdims=True)) * rng.normal(
        size=fields.shape
    )
    data = xr.Dataset({n: (("x", "t"), f) for n, f in zip("uv", fields, strict=True)}, {"x": x, "t": t})
    unknowns = {"k": mf.FieldUnknown(over=("x",))}
    if kind == "hidden":
        states, data = {"w": mf.StateUnknown()}, data[["u"]]
        return mf.InverseProblem(["u_t = k*u + w", "w_t = -2*w"], data, unknowns, states=states)
    return mf.InverseProblem(
        ["u_t = k*u", "v_t = f + u"], data, unknowns | {"f": mf.FieldUnknown(over=("v",))}
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hidden", "law"])
def test_edges_beside_hidden_state_and_law(kind):
    """The second fit starts hidden states and laws from the first."""
    found = mf.solve(beside(kind, 10), "joint", settings=FEW)
    assert found.status.ok, found.status
    assert found.provenance["priors"] == {"k": EDGES}
    np.testing.assert_allclose(found.provenance["levels"]["k"], [-0.5, 0.7], atol=0.03)
    x = found.dataset["x"].values
    aside = np.abs(x[:, None] - [0.8, 1.9]).min(axis=1) > 0.04
    error = (found.dataset["k"].values - levels(x))[aside]
    assert np.mean(np.abs(error) < 1.96 * found.dataset["k_sd"].values[aside]) > 0.95


def test_field_with_edges_is_seen_and_read(tmp_path):
    """The evidence is for a prior for edges, and intervals hold the levels that k is read as; resumed too."""
    problem = growth(10, edge=True)
    found = mf.solve(problem, "joint", settings=FEW, folder=tmp_path)
    resumed = mf.solve(problem, "joint", settings=FEW, folder=tmp_path, resume=True)
    np.testing.assert_allclose(resumed.dataset["k"], found.dataset["k"], rtol=1e-9)
    assert found.provenance["priors"] == {"k": EDGES}
    np.testing.assert_allclose(found.provenance["levels"]["k"], [-0.5, 0.7], atol=0.02)
    assert "k is read as -0.5" in found.status.message
    x = found.dataset["x"].values
    aside = np.abs(x[:, None] - [0.8, 1.9]).min(axis=1) > 1e-9  # an edge itself has neither level
    error = (found.dataset["k"].values - levels(x))[aside]
    assert np.sqrt(np.mean(error**2)) < 0.02
    assert np.mean(np.abs(error) < 1.96 * found.dataset["k_sd"].values[aside]) > 0.95


def test_smooth_field_has_no_edges():
    assert "priors" not in mf.solve(growth(10, edge=False), "joint").provenance


def test_check_foretells_the_fit_with_edges():
    """Where the prior may have edges; the curvature, h2, has none."""
    problem = growth(10, edge=True)
    found = mf.check(problem)
    assert found.numbers["cost"]["joint"]["edges"] > 1
    assert any("if a field has edges" in f.text for f in found.findings)
    smooth = mf.InverseProblem("u_t = k*u", problem.data, {"k": mf.FieldUnknown(over=("x",), prior="h2")})
    assert mf.check(smooth).numbers["cost"]["joint"]["edges"] == 0


@pytest.mark.slow
def test_two_valued_permeability_is_held_by_its_intervals():
    """Finite volumes on 256 x 256 cells are the truth; smooth priors were .27 off and held two thirds."""
    case = darcy.build(10, two_valued=True)
    u = case.clean["u"]
    noise = 0.01 * float(np.sqrt(np.mean(u**2))) * np.random.default_rng(110).normal(size=u.shape)
    problem = mf.InverseProblem(
        case.equation, mf.Observations.from_dataset(case.clean + noise), case.unknowns
    )
    found = mf.solve(problem, "joint")
    truth = case.truth["k"]
    assert isinstance(truth, xr.DataArray)
    error = found.dataset["k"] - truth.interp(x=found.dataset["x"], y=found.dataset["y"], method="nearest")
    assert found.provenance["priors"] == {"k": EDGES}
    assert float((abs(error) < 1.96 * found.dataset["k_sd"]).mean()) > 0.85
    assert float(np.sqrt((error**2).sum() / ((found.dataset["k"] - error) ** 2).sum())) < 0.19
    np.testing.assert_allclose(found.provenance["levels"]["k"], [3, 12], rtol=0.03)


def test_edge_prior_open_gradients_are_not_flat():
    """Where the posterior leaves a difference open, its weight is that of its expected square."""
    lattice = Grid(Axis("x", -1.0, 1.0, 41))
    step = np.where(np.arange(41) < 20, 0.0, 1.0)
    known, open_ = EdgePrior(lattice, power=2.0), EdgePrior(lattice, power=2.0)
    open_.expect(np.diag(np.where(np.arange(41) > 30, 0.1, 1e-6)))
    for prior in (known, open_):
        assert prior.about(step)
    flat = step - np.where(np.arange(41) > 35, 0.1, 0.0)
    cost = [
        np.sum(p.form(p.shape).rows(flat) ** 2) / np.sum(p.form(p.shape).rows(step) ** 2)
        for p in (known, open_)
    ]
    assert cost[1] < 0.5 * cost[0]


def test_edge_prior_power_bends_edges_less():
    lattice = Grid(Axis("x", -1.0, 1.0, 41))
    step = np.where(np.arange(41) < 20, 0.0, 1.0)
    costs = []
    for kind in ("h1", "tv", EDGES):
        prior = field_prior(lattice, kind)
        prior.about(step)
        ramp = np.linspace(0, 1, 41)
        rows = [np.sum(prior.form(prior.shape).rows(x) ** 2) for x in (step, ramp)]
        costs.append(rows[0] / rows[1])
    assert costs[0] > costs[1] > costs[2]
