"""Conditions at places: what they make answerable, and the twins that stay open.

The beam is bent by double quadrature of its bending moment; the rods are solved on 200 finite volumes.
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import cumulative_trapezoid, solve_ivp
from scipy.interpolate import RegularGridInterpolator
from scipy.sparse import diags
from scipy.special import erfc

from mollifier.data.observations import Observations
from mollifier.diagnostics.check.check import check
from mollifier.engines.solve import solve
from mollifier.errors import ConfigurationError
from mollifier.problem.conditions import Condition
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown

CLAMPED = [Condition("w = 0; w_x = 0", {"x": "start"})]
FREE = [Condition("EI*w_xx = 0; dx(EI*w_xx) = 0", {"x": "end"})]
K, H = 0.05, 0.08


def stiffness(x):
    return 1.0 - 0.4 * np.exp(-(((x - 0.35) / 0.1) ** 2))


def beam(seed, conditions):
    """A cantilever under its weight: 30 deflections with 0.2 % noise."""
    x = np.linspace(0, 1, 20001)
    bent = 0.5 * (1 - x) ** 2 / stiffness(x)
    w = cumulative_trapezoid(cumulative_trapezoid(bent, x, initial=0), x, initial=0)
    at = np.linspace(0, 1, 30)
    seen = np.interp(at, x, w)
    seen += 0.002 * np.sqrt(np.mean(w**2)) * np.random.default_rng(seed).normal(size=30)
    data = Observations({"w": seen, "q": np.ones(30)}, {"x": at}, noise={"w": 0.002})
    unknown = FieldUnknown(over=("x",), lower=0.0)
    return InverseProblem("dxx(EI*w_xx) = q", data, {"EI": unknown}, conditions=conditions)


def rod(times, start, left, right):
    """Temperature (cells, times) of a rod with the fluxes ``left(t)`` in and ``right(t, last)`` out."""
    n = 200
    h = 1 / n
    x = (np.arange(n) + 0.5) * h

    def rate(t, u):
        flux = np.concatenate([[left(t)], -K * np.diff(u) / h, [right(t, u[-1], h)]])
        return -np.diff(flux) / h

    sparsity = diags([1.0, 1.0, 1.0], [-1, 0, 1], shape=(n, n))
    found = solve_ivp(
        rate, (0, times[-1]), start(x), "BDF", times, rtol=1e-7, atol=1e-9, jac_sparsity=sparsity
    )
    return x, found.y


def cooled(seed, out_of="u - ua", ambient=0.2):
    """A rod that cools through its end: 300 temperatures with 1 % noise."""
    rng, times = np.random.default_rng(seed), np.linspace(0, 4, 81)

    def out(t, last, h):
        edge = (2 * K * last / h + H * ambient) / (2 * K / h + H)
        return H * (edge - ambient)

    x, y = rod(times, lambda x: 1 + 0.5 * np.cos(np.pi * x), lambda t: 0.0, out)
    at = np.column_stack([rng.uniform(0.01, 0.99, 300), rng.uniform(0, 4, 300)])
    u = RegularGridInterpolator((x, times), y, bounds_error=False, fill_value=None)(at)
    sd = 0.01 * np.sqrt(np.mean(u**2))
    data = Observations({"u": u + sd * rng.normal(size=300)}, {"x": at[:, 0], "t": at[:, 1]}, noise=0.01)
    conditions = [Condition(f"-k*u_x = h*({out_of})", {"x": 1.0}), Condition("u_x = 0", {"x": 0.0})]
    unknowns = {"h": ScalarUnknown(lower=0.0)}
    return InverseProblem("u_t = k*u_xx", data, unknowns, {"k": K, "ua": ambient}, conditions=conditions)


def covered(solution, name, truth):
    """Relative L2 error of a field, and the share of it within 95 % intervals."""
    values, sd = solution.dataset[name].values, solution.dataset[f"{name}_sd"].values
    error = np.abs(values - truth)
    return np.linalg.norm(error) / np.linalg.norm(truth), float(np.mean(error < 1.96 * sd))


@pytest.mark.parametrize("seed", [7, pytest.param(4, marks=pytest.mark.slow)])
def test_stiffness_of_a_cantilever_with_its_free_end_stated(seed):
    """Moment and shear are zero at the free end, which fixes both constants of integration.

    Of seeds 1 to 10 all are held, and nine good: residuals of seed 1 may hide a correlation of the noise,
    and 26 % of EI are left to its prior, of which 25 % are allowed.
    """
    found = solve(beam(seed, CLAMPED + FREE), "joint")
    error, share = covered(found, "EI", stiffness(found.dataset.x.values))
    assert found.status.ok
    assert error < 0.15
    assert share > 0.9
    assert max(float(np.abs(found.dataset[c]).max()) for c in found.conditions) < 1e-5


def test_stiffness_of_a_beam_whose_ends_are_not_stated():
    """Any load at the ends bends the beam as well."""
    assert not solve(beam(0, []), "joint").status.ok


def test_heat_flux_at_an_edge_from_thermocouples_inside():
    """An unknown over time that no equation holds, at a place outside of the data."""
    times, places = np.linspace(0, 3, 61), np.array([0.1, 0.25, 0.4])

    def flux(t):
        return 0.3 * np.sin(np.pi * t) ** 2 * np.exp(-0.3 * t) + 0.1 * t

    x, y = rod(times, np.zeros_like, flux, lambda t, last, h: 0.0)
    u = np.array([np.interp(places, x, column) for column in y.T])
    u += 0.01 * np.sqrt(np.mean(u**2)) * np.random.default_rng(0).normal(size=u.shape)
    t, p = np.meshgrid(times, places, indexing="ij")
    data = Observations({"u": u.ravel()}, {"x": p.ravel(), "t": t.ravel()}, noise=0.01)
    conditions = [
        Condition("-k*u_x = q", {"x": 0.0}),
        Condition("u_x = 0", {"x": 1.0}),
        Condition("u = 0", {"t": "start"}),
    ]
    problem = InverseProblem(
        "u_t = k*u_xx", data, {"q": FieldUnknown(over="t")}, {"k": K}, conditions=conditions
    )
    found = solve(problem)
    error, share = covered(found, "q", flux(found.dataset.t.values))
    assert found.provenance["engine"] == "joint"
    assert found.status.ok
    assert error < 0.1
    assert share > 0.9


def test_transfer_coefficient_of_a_cooled_end():
    """A Robin condition with an unknown number, and its twin in which the end has the air's temperature."""
    found = solve(cooled(2), "joint")
    h = found.estimates["h"]
    assert found.status.ok
    assert abs(h.value - H) < 3 * h.sd < 0.1 * H


def test_condition_that_contradicts_the_data_is_named():
    """The end is not at the temperature that the condition states, within its standard error."""
    problem = cooled(0)
    wrong = Condition("u = 1.5*ua", {"x": 1.0}, noise=0.01)
    found = solve(
        InverseProblem(
            problem.equation, problem.data, problem.unknowns, problem.constants,
            conditions=[*problem.conditions, wrong],
        ),
        "joint",
    )  # fmt: skip
    assert found.status.name == "misfit"
    assert "u = 1.5*ua at x = 1" in found.status.message


def test_weak_engine_refuses_conditions_beside_scattered_data():
    """Without a grid there are no edges that its test functions could reach over."""
    with pytest.raises(ConfigurationError, match="engine 'joint' or 'network' does"):
        solve(cooled(0), "weak")


def test_conditions_number_between_two_bounds_of_growing_noise() -> None:
    """Bounds that hold do not refuse: an exponent of ageing from five profiles with noise in proportion."""
    rng, t, x = np.random.default_rng(3), np.array([0.5, 1, 2, 5, 10]), np.linspace(0.3, 6, 12)
    c = 0.6 * erfc(x[:, None] / 2 / np.sqrt(t**0.6 / 0.6))
    c = c * (1 + 0.04 * rng.normal(size=c.shape)) + 0.003 * rng.normal(size=c.shape)
    data = Observations.from_dataset(xr.Dataset({"c": (("x", "t"), c)}, {"x": x, "t": t}))
    problem = InverseProblem(
        "c_t = D*t^(-m)*c_xx",
        data,
        {"D": ScalarUnknown(lower=0), "m": ScalarUnknown(lower=0, upper=0.95)},
        conditions=[Condition("c = 0.6", at={"x": 0.0})],
    )
    assert check(problem).ok
    solution = solve(problem)
    assert solution.status.name == "converged", solution.status.message
    m = solution.estimates["m"]
    assert abs(m.value - 0.4) < 3 * m.sd < 0.3
