"""Conditions as boundary terms of test functions. The rods are solved on 400 finite volumes."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline
from scipy.sparse import diags

from mollifier.data.observations import Observations
from mollifier.engines.choose import unable
from mollifier.engines.solve import solve
from mollifier.engines.weak.axes import axis_tests
from mollifier.engines.weak.boundary import End, Trace
from mollifier.engines.weak.form import form_of
from mollifier.errors import ConfigurationError
from mollifier.mollify.grid import Axis
from mollifier.problem.conditions import Condition
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown

K, H, AIR = 0.05, 0.08, 0.2


def rod(seed, conditions, unknowns, nodes=(33, 61), noise=0.01, equation="u_t = k*u_xx", **constants):
    """A rod that is insulated at x = 0 and cools through x = 1, on a grid."""
    n = 400
    x, t, h = (np.arange(n) + 0.5) / n, np.linspace(0, 4, nodes[1]), 1 / n

    def rate(_, u):
        out = H * ((2 * K * u[-1] / h + H * AIR) / (2 * K / h + H) - AIR)
        return -np.diff(np.concatenate([[0.0], -K * np.diff(u) / h, [out]])) / h

    band = diags([1.0, 1.0, 1.0], [-1, 0, 1], shape=(n, n))
    start = 1 + 0.5 * np.cos(np.pi * x)
    found = solve_ivp(rate, (0, 4), start, "BDF", t, rtol=1e-7, atol=1e-9, jac_sparsity=band).y
    at = np.linspace(0, 1, nodes[0])
    u = CubicSpline(x, found)(at)
    u = u + noise * np.sqrt(np.mean(u**2)) * np.random.default_rng(seed).normal(size=u.shape)
    data = Observations.from_dataset(xr.Dataset({"u": (("x", "t"), u)}, {"x": at, "t": t}), noise=noise)
    return InverseProblem(equation, data, unknowns, constants, conditions=conditions)


INSULATED = Condition("u_x = 0", {"x": 0.0})
COOLED = Condition("-k*u_x = h*(u - 0.2)", {"x": "end"})


@pytest.mark.parametrize("beyond", [0.0, 0.5])
def test_sums_over_an_end_by_parts_of_sixth_order(beyond):
    """Integrals and traces of test functions that reach over an end, half a cell beyond the nodes too."""
    errors = []
    for n in (21, 41):
        h = 1 / (n - 1 + 2 * beyond)
        axis = Axis("x", beyond * h, 1 - beyond * h, n)
        tests = axis_tests(axis, 0.3, 2, ends=(End(0.0, ()), End(1.0, (1,))))
        f, f_x, f_xx = (
            d(3 * axis.points) * 3**k for k, d in enumerate((np.sin, np.cos, lambda s: -np.sin(s)))
        )
        w = tests.weights
        jumps = [w[Trace(1, e)] @ f - w[Trace(0, e)] @ f_x for e in (0, 1)]
        errors.append(np.abs(w[2] @ f - w[0] @ f_xx - jumps[1] + jumps[0]).max())
        assert np.abs(w[Trace(1, 1)]).max() < 1e-9 * np.abs(w[Trace(1, 0)]).max()
    assert errors[0] < 1e-4
    assert errors[1] < errors[0] / 2**4.5


@pytest.mark.parametrize("density", [0.0, 3.0])
@pytest.mark.parametrize("ends", [(None, None), (End(0.0, (0, 1)), None)])
def test_ends_where_all_derivatives_vanish_leave_no_boundary_term(density, ends):
    """Two integrations by parts of a polynomial that the quadrature takes exactly."""
    axis = Axis("x", 0.0, 1.0, 41)
    w = axis_tests(axis, 0.3, 2, density, ends=ends).weights
    assert np.abs(w[2] @ axis.points**4 - 12 * w[0] @ axis.points**2).max() < 1e-9


def test_form_replaces_what_conditions_give():
    """The flux by h (u - 0.2) at one end, by nothing at the other; u itself is not asked for there."""
    form = form_of(rod(0, [INSULATED, COOLED], {"k": ScalarUnknown(), "h": ScalarUnknown()}))
    channels = {c.orders: str(c.integrand) for c in form.channels}
    measured = {(0, Trace(0, 0)): "-u", (0, Trace(0, 1)): "u"}
    assert channels == {(0, 1): "-u", (2, 0): "-k*u", (Trace(0, 1), 0): "h*u - 0.2*h"} | measured
    assert form.ends == ((End(0.0, (1,)), End(1.0, (1,))), (End(0.0, ()), End(4.0, ())))


@pytest.mark.parametrize(
    ("condition", "ends"),
    [
        (Condition("u = 1", {"x": 0.0}), End(0.0, (0,))),
        (Condition("u = 1; u_x = 0", {"x": 0.0}), End(0.0, ())),
        (Condition("u_t = 0", {"x": 0.0}), None),
        (Condition("u_xx = 0", {"x": 0.0}), None),
        (Condition("u_x = 0", {"x": 0.5}), None),
        (Condition("u_x = 0", {"x": -0.2}), None),
        (Condition("u_x = 0", {"x": 0.0, "t": 0.0}), None),
        (Condition("u_x = 0", {"x": 0.0}, noise=0.1), None),
        (Condition("u_x^2 = 1", {"x": 0.0}), None),
        (Condition("u_x = 0; 2*u_x = 0", {"x": 0.0}), None),
    ],
)
def test_conditions_that_give_boundary_terms_are_taken(condition, ends):
    """A value, a flux or both; others are refused, and the engines that take them are named."""
    problem = rod(0, [condition], {"k": ScalarUnknown()})
    if ends:
        assert form_of(problem).ends == ((ends, None), (End(0.0, ()), End(4.0, ())))
        assert unable(problem, "weak") is None
        return
    with pytest.raises(ConfigurationError, match="no boundary term"):
        form_of(problem)
    with pytest.raises(ConfigurationError, match="'joint' or 'network'"):
        solve(problem, engine="weak")


def test_conditions_narrow_the_interval_and_give_their_own_unknown():
    """A transfer coefficient that the equation does not hold."""
    unknowns = {"k": ScalarUnknown()}
    alone = solve(rod(3, [], unknowns), engine="weak").estimates["k"]
    found = solve(rod(3, [INSULATED, COOLED], unknowns | {"h": ScalarUnknown()}), engine="weak").estimates
    assert found["k"].sd < alone.sd / 2
    assert abs(found["k"].value - K) < 3 * found["k"].sd
    assert abs(found["h"].value - H) < 3 * found["h"].sd < 0.1 * H


def test_flux_over_time():
    """The flux through an edge as a field of the condition alone."""
    flux = Condition("-k*u_x = q", {"x": "end"})
    solution = solve(rod(4, [INSULATED, flux], {"q": FieldUnknown(over="t")}, k=K), engine="weak")
    edge = solve(rod(4, [], {"k": ScalarUnknown()}, noise=1e-6), engine="weak").dataset["u"].values[-1]
    truth, q = H * (edge - AIR), solution.dataset
    assert np.sqrt(np.mean((q["q"].values - truth) ** 2) / np.mean(truth**2)) < 0.1
    assert np.mean(np.abs(q["q"].values - truth) < 2 * q["q_sd"].values) > 0.85


@pytest.mark.parametrize(
    ("cooled", "equation", "named"),
    [
        ("-k*u_x = 0.07*(u - 0.2)", "u_t = k*u_xx", True),
        ("u_x = -0.3", "u_t = k*u_xx", True),
        ("-k*u_x = 0.08*(u - 0.2)", "u_t = k*u_xx + 0.05*u", False),
    ],
)
def test_misfit_names_the_condition_that_a_constant_would_mend(cooled, equation, named):
    """A wrong transfer coefficient or flux; not where the equation has a wrong term."""
    conditions = [INSULATED, Condition(cooled, {"x": 1.0})]
    status = solve(rod(5, conditions, {"k": ScalarUnknown()}, equation=equation), engine="weak").status
    assert status.name == "misfit"
    assert (f"the condition '{cooled} at x = 1' contradicts" in status.message) is named


def test_stiffness_of_a_beam_with_all_its_ends_stated():
    """EI(x) of a vibrating cantilever from two modes: 30 times closer than what a few rounds would leave."""
    x, t = np.linspace(0, 1, 48), np.linspace(0, 6, 81)
    u = np.zeros((48, 81))
    for b, size in ((1.8751040687, 1.0), (4.6940911330, 0.2)):
        s = (np.cosh(b) + np.cos(b)) / (np.sinh(b) + np.sin(b))
        mode = np.cosh(b * x) - np.cos(b * x) - s * (np.sinh(b * x) - np.sin(b * x))
        u += size * mode[:, None] * np.cos(0.1 * b**2 * t + b)
    u += 0.01 * np.sqrt(np.mean(u**2)) * np.random.default_rng(0).normal(size=u.shape)
    data = Observations.from_dataset(xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}), noise=0.01)
    ends = [Condition("u = 0; u_x = 0", {"x": 0.0}), Condition("EI*u_xx = 0; dx(EI*u_xx) = 0", {"x": 1.0})]
    unknowns = {"EI": FieldUnknown(over="x", lower=0.0)}
    problem = InverseProblem("u_tt + dxx(EI*u_xx) = 0", data, unknowns, conditions=ends)
    assert form_of(problem).ends[0] == (End(0.0, (0, 1)), End(1.0, (2, 3)))
    found = solve(problem, engine="weak").dataset
    errors = found["EI"].values / 0.01 - 1
    assert np.sqrt(np.mean(errors**2)) < 0.02
    assert np.abs(errors / (found["EI_sd"].values / 0.01)).max() < 3
