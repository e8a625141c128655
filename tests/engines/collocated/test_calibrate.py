"""The first guess of the unknowns."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import mollifier as mf
from mollifier.data.observations import Observations
from mollifier.engines.collocated.linear_guess import Averages
from mollifier.engines.joint.engine import stages_of
from mollifier.engines.joint.settings import JointSettings
from mollifier.mollify.grid import Axis, Grid
from mollifier.problem.conditions import Condition
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown


@pytest.mark.parametrize("capacity", [2.0, 100.0])
@pytest.mark.parametrize("bounds", [{}, {"lower": 0.0}, {"lower": 0.1, "upper": 1e4}])
def test_an_unknown_of_any_size_that_the_equation_is_not_linear_in(capacity, bounds):
    """From K = 1, below most values, growth turns to decay and K runs to its bound."""
    t = np.linspace(0, 10, 80)
    u = capacity / (1 + 19 * np.exp(-0.8 * t))
    noise = 0.02 * np.sqrt(np.mean(u**2)) * np.random.default_rng(1).standard_normal(80)
    data = Observations(values={"u": u + noise}, points={"t": t})
    unknowns = {"r": ScalarUnknown(), "K": ScalarUnknown(**bounds)}
    found = mf.solve(InverseProblem("u_t = r*u*(1 - u/K)", data, unknowns), "joint", rng=0)
    assert found.status.name == "converged"
    for name, truth in (("r", 0.8), ("K", capacity)):
        estimate = found.estimates[name]
        assert abs(estimate.value - truth) < 3 * estimate.sd < 0.1 * truth


def gradient(seed):
    """A substance that enters at an edge, spreads and decays; noise of 8 % of each value and of 0.05."""
    cells, length, truth = 150, 500.0, {"D": 300.0, "k": 0.03, "j": 50.0}
    h, x = length / cells, (np.arange(cells) + 0.5) * length / cells
    t = np.linspace(10, 120, 12)

    def rate(_, c):
        flux = np.concatenate([[truth["j"]], -truth["D"] * np.diff(c) / h, [0.0]])
        return -np.diff(flux) / h - truth["k"] * c

    c = solve_ivp(rate, (0, 120), 0 * x, "LSODA", t, rtol=1e-7, lband=1, uband=1).y[2::4]
    rng = np.random.default_rng(seed)
    c = c * (1 + 0.08 * rng.normal(size=c.shape)) + 0.05 * rng.normal(size=c.shape)
    places = {"x": np.repeat(x[2::4], 12), "t": np.tile(t, len(c))}
    data = Observations(values={"C": c.ravel()}, points=places)
    unknowns = {n: ScalarUnknown(lower=0.0) for n in truth}
    source = Condition("-D*C_x = j", {"x": 0.0})
    return InverseProblem("C_t = D*C_xx - k*C", data, unknowns, conditions=[source]), truth


@pytest.mark.parametrize("seed", range(3))
def test_averages_show_what_noise_hides_in_derivatives_and_a_flux_follows(seed):
    """At nodes D is negative; a condition without a known term would draw all its unknowns to zero."""
    problem, truth = gradient(seed)
    objective, (smoothing, *_), _ = stages_of(problem, JointSettings())
    smoothing.step()
    smoothing.close()
    levels = objective.model.levels()
    assert {n: pytest.approx(truth[n], rel=0.6) for n in truth} == levels


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_diffusivity_beside_a_source_that_is_a_bump(seed):
    """From averages over windows, steps led to D = 0; and the prior of the state drew D down."""
    rng, nodes = np.random.default_rng(seed), 101
    x, h = np.linspace(0, 1, nodes, retstep=True)
    z = (x - rng.uniform(0.35, 0.65)) / rng.uniform(0.08, 0.15)
    source = 3 * (1 - z**2).clip(0) ** 3

    def rate(_, u):
        around = np.concatenate([[u[1]], u, [u[-2]]])
        return 0.01 * np.diff(around, 2) / h**2 + source

    t = np.linspace(0, 1, 41)
    u = solve_ivp(rate, (0, 1), 0.5 + 0.3 * np.cos(np.pi * x), "LSODA", t, rtol=1e-7, lband=1, uband=1).y
    i, k = rng.integers(nodes, size=500), rng.integers(41, size=500)
    values = u[i, k] + 0.02 * np.sqrt(np.mean(u**2)) * rng.standard_normal(500)
    data = Observations(values={"u": values}, points={"x": x[i], "t": t[k]})
    unknowns = {"D": ScalarUnknown(lower=0.0), "s": FieldUnknown(over=("x",))}
    found = mf.solve(InverseProblem("u_t = D*u_xx + s", data, unknowns), "joint", rng=0)
    assert found.status.name == "converged"
    assert abs(found.estimates["D"].value - 0.01) < 2 * found.estimates["D"].sd < 0.002


@pytest.mark.slow
def test_a_flux_of_unknown_size_at_an_edge():
    problem, truth = gradient(3)
    found = mf.solve(problem, "joint", rng=0)
    assert found.status.name == "converged"
    for name, value in truth.items():
        estimate = found.estimates[name]
        assert abs(estimate.value - value) < 4 * estimate.sd < 0.2 * value


def test_averages_move_derivatives_onto_windows():
    """A smooth field's derivative has its own averages; those of a rough one, which nodes show, are small."""
    axis = Axis("x", 0.0, 1.0, 201)
    x, whole = axis.points, np.ones(201, dtype=bool)
    for averages in (Averages(3, 2), Averages(15, 2), Averages(500, 2)):
        assert averages.of(Grid(axis), 2 + 3 * x, whole) == pytest.approx(
            2 + 3 * averages.of(Grid(axis), x, whole)
        )
    rough = np.sin(40 * np.pi * x)
    assert np.abs(Averages(3, 2).of(Grid(axis), -((40 * np.pi) ** 2) * rough, whole)).max() < 1e-3 * 40**2
    gap = x > 0.3
    assert len(Averages(3, 2).of(Grid(axis), x, gap)) == 1
