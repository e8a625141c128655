"""Coefficients that are not finite where the equation is imposed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import mollifier as mf
from mollifier.errors import EquationError
from mollifier.problem.collocation import collocate
from mollifier.problem.finite import check_finite
from mollifier.problem.settings import CollocationSettings

EQUATION = "u_t = 1/r*dr(r*k*u_r)"


def conductivity(r):
    return 0.05 * (1 + 0.6 * np.sin(3 * r))


@cache
def cylinder() -> mf.Observations:
    """Heat in a cylinder with the axis r = 0 in the data, by finite volumes on 200 cells; 1 % noise."""
    edges = np.linspace(0, 1, 201)
    r, h = (edges[1:] + edges[:-1]) / 2, edges[1]

    def rate(t, u):
        flux = edges[1:] * conductivity(edges[1:]) * np.diff(np.append(u, np.sin(3 * t) - u[-1])) / h
        return np.diff(np.concatenate([[0], flux])) / (r * h)

    t = np.linspace(0, 3, 61)
    u = solve_ivp(rate, (0, 3), np.exp(-((r / 0.4) ** 2)), t_eval=t, method="BDF", rtol=1e-7, atol=1e-9).y
    seen = np.linspace(0, 1, 41)
    whole = np.vstack([u[:1], u, 0.5 * np.sin(3 * t)])
    u = np.stack([np.interp(seen, np.r_[0, r, 1], line) for line in whole.T], axis=1)
    u = u + 0.01 * np.sqrt(np.mean(u**2)) * np.random.default_rng(0).normal(size=u.shape)
    return mf.Observations.from_dataset(xr.Dataset({"u": (("r", "t"), u)}, {"r": seen, "t": t}))


def cylinder_problem(equation: str) -> mf.InverseProblem:
    return mf.InverseProblem(equation, cylinder(), {"k": mf.FieldUnknown(over=("r",), lower=0.0)})


def plain(equation: str, **more) -> mf.InverseProblem:
    r, t = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 1, 4)))
    obs = mf.Observations(
        {"u": 1 + r * t, **{n: f(r) for n, f in more.items()}}, {"r": r, "t": t}, noise=0.01
    )
    return mf.InverseProblem(equation, obs, {"k": mf.ScalarUnknown()}, fields=["u"])


@pytest.mark.parametrize("engine", ["weak", "joint", "network"])
def test_division_by_zero_radius(engine):
    """The term and the place are named before any engine runs, and `check` says the same."""
    problem = cylinder_problem(EQUATION)
    said = r"the term -k\*u_r/r is not finite at r = 0 .* Multiply the equation by r: 'r\*\(u_t\) = r\*\(1/r"
    with pytest.raises(EquationError, match=said):
        mf.solve(problem, engine)
    found = mf.check(problem)
    assert found.verdict == "cannot be answered"
    assert any("not finite at r = 0" in f.text for f in found.errors)


@pytest.mark.slow
def test_equation_multiplied_as_advised():
    """The advice works: k(r) within 0.01 of the truth, and most of the interval's places hold it."""
    found = mf.solve(cylinder_problem("r*(u_t) = r*(1/r*dr(r*k*u_r))"), "joint").dataset
    error = found.k.values - conductivity(found.r.values)
    assert np.abs(error).max() < 0.01
    assert np.mean(np.abs(error) < 1.96 * found.k_sd.values) > 0.9


def test_known_coefficient_that_vanishes():
    with pytest.raises(EquationError, match=r"a = 0 \(4 of 20 places\), where 1/a is inf. Multiply"):
        check_finite(plain("u_t = k*u_rr/a", a=lambda r: r - 0.25))
    with pytest.raises(EquationError, match=r"where log\(r\) is -inf. Cut the data"):
        check_finite(plain("u_t = k*u_rr + log(r)*u"))
    with pytest.raises(EquationError, match=r"where 1/r is inf. Cut the data"):
        check_finite(plain("u_t = k*u_rr + exp(-u/r)"))


def test_coefficients_that_are_finite():
    """Missing values of a known variable and factors of fields or unknowns are no fault of the equation."""
    check_finite(plain("u_t = k*u_rr/b", b=lambda r: np.where(r > 0.6, np.nan, 1.0)))
    check_finite(plain("u_t = k*u_rr/u + 1/(k + r)"))
    check_finite(plain("u_t = k*u_rr/(r + 1)"))


def test_node_between_the_samples():
    """A node of the grid may be where no sample is."""
    problem = plain("u_t = k*u_rr/(r - 0.125)")
    check_finite(problem)
    place = collocate(problem, CollocationSettings(nodes={"r": 9, "t": 5}))
    with pytest.raises(EquationError, match=r"at r = 0.125 \(1 of 9 places\)"):
        check_finite(problem, place)
