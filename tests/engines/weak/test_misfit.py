"""Wrong equations are a misfit, right ones are not; errors by the grid's spacing are in the interval."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from mollifier.engines.solve import solve
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown
from weak_problems import SURE

FULL = "u_t = D*u_xx - c*u_x + r*u"
TRUE = {"D": 0.01, "c": 0.6, "r": -0.5}


def moving(shift=0.6, rate=-0.5, diffusion=0.01, noise=0.01, seed=0, shape=(64, 50)):
    """Three modes on a periodic axis, which a velocity (or a path of shifts) carries along."""
    rng = np.random.default_rng(seed)
    x, t = np.arange(shape[0]) / shape[0], np.linspace(0, 1, shape[1])
    path = shift(t) if callable(shift) else shift * t
    u = sum(
        a * np.exp((rate - diffusion * w**2) * t) * np.cos(w * (x[:, None] - path) + w)
        for a, w in ((1.0, 2 * np.pi), (0.7, 4 * np.pi), (0.5, 6 * np.pi))
    )
    u = u + noise * np.sqrt(np.mean(u**2)) * rng.standard_normal(u.shape)
    return xr.Dataset({"u": (("x", "t"), u)}, {"x": ("x", x, {"periodic": 1.0}), "t": t})


def oscillating(waves):
    """The path of a velocity with so many waves, and the velocity."""
    w = 2 * np.pi * waves
    return lambda t: 0.5 * t + 0.4 * (1 - np.cos(w * t)) / w, lambda t: 0.5 + 0.4 * np.sin(w * t)


def answer(equation, data, names, constants=None, **fields):
    unknowns = {n: ScalarUnknown() for n in names} | {n: FieldUnknown(over=c) for n, c in fields.items()}
    return solve(InverseProblem(equation, data, unknowns, constants=constants or {}), "weak")


def deviations(solution, true):
    return [(e.value - true[n]) / e.sd for n, e in solution.estimates.items()]


@pytest.mark.parametrize(
    ("equation", "names", "constants"),
    [
        ("u_t = D*u_xx + r*u", "Dr", {}),
        ("u_t = D*u_xx - c*u_x", "Dc", {}),
        (FULL, "cr", {"D": 0.0105}),
        pytest.param(FULL, "Dr", {"c": 0.63}, marks=pytest.mark.slow),
        pytest.param(FULL, "Dc", {"r": -0.6}, marks=pytest.mark.slow),
    ],
)
def test_misfit_missing_term_and_wrong_constant(equation, names, constants):
    assert answer(equation, moving(), names, constants).status.name == "misfit"


@pytest.mark.slow
def test_misfit_velocity_that_varies():
    """A number in place of a field over t, and a field over the wrong coordinate."""
    data = moving(oscillating(1)[0], 0.0, 0.005)
    assert answer("u_t = D*u_xx - c*u_x", data, "Dc").status.name == "misfit"
    status = answer("u_t = D*u_xx - c*u_x", data, "D", c="x").status
    assert status.name == "misfit"
    assert "edges" not in status.message  # what the noise does not explain is no evidence for them


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_field_radius_leaves_residuals(seed):
    """Radii with as many residuals as coefficients have no misfit to show, and a velocity 21 sd off."""
    path, velocity = oscillating(6)
    solution = answer("u_t = D*u_xx - c*u_x", moving(path, 0.0, 0.005, seed=seed), "D", c="t")
    c = solution.dataset["c"]
    z = (c.values - velocity(c["t"].values)) / solution.dataset["c_sd"].values
    assert solution.status.ok
    assert np.mean(np.abs(z) < 1.96) > 0.9
    assert np.sqrt(np.mean(z**2)) < 1.5


@pytest.mark.parametrize("noise", [0.001, pytest.param(0.01, marks=pytest.mark.slow), 0.05])
@pytest.mark.parametrize("shape", [(20, 20), (12, 40), (40, 6)])
def test_coarse_grids_intervals(shape, noise):
    """Errors of quadrature are in the standard errors, and overlapping test functions cancel no noise."""
    z = [deviations(answer(FULL, moving(noise=noise, seed=s, shape=shape), "Dcr"), TRUE) for s in range(4)]
    assert np.abs(z).max() < SURE
    assert np.sqrt(np.mean(np.square(z))) < 2.0  # of four draws, whose three numbers are correlated


def test_right_equation_converges():
    for seed, noise in enumerate([0.001, 0.01, 0.05, 0.2]):
        solution = answer(FULL, moving(noise=noise, seed=seed), "Dcr")
        assert solution.status.ok
        assert np.abs(deviations(solution, TRUE)).max() < SURE
