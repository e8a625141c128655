"""Unknown fields behind derivatives of noisy data: instruments, priors, and what is said of the answer."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
import xarray as xr

from benchmarks.cases.registry import case
from mollifier.data.observations import Observations
from mollifier.engines.linalg.blocks import BlockInverse
from mollifier.engines.linalg.dense import JITTER
from mollifier.engines.priors.field_prior import FieldPrior
from mollifier.engines.solve import solve
from mollifier.engines.splines.basis import AxisSplines, Basis
from mollifier.engines.weak.data import GridData
from mollifier.engines.weak.form import weak_form
from mollifier.engines.weak.instruments import projected_fields
from mollifier.engines.weak.integrands import Integrands
from mollifier.engines.weak.posterior import Posterior
from mollifier.engines.weak.smoothing import interpolation_variance
from mollifier.engines.weak.sums import WeakSums
from mollifier.engines.weak.testspace import space
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.mollify.grid import Axis, Grid
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown


def plate(noise, seed=0, nodes=33):
    """A conductivity k(x, y) behind second derivatives of one noisy picture, and its truth."""
    x, y = sympy.symbols("x y")
    k = 1 + sympy.exp(-((x - 0.35) ** 2 + (y - 0.6) ** 2) / 0.06) / 2
    u = sympy.sin(sympy.pi * x) * sympy.sin(sympy.pi * y) + x * y / 3 + x / 2
    s = -((k * u.diff(x)).diff(x) + (k * u.diff(y)).diff(y))
    p = np.linspace(0, 1, nodes)
    u, s, k = (sympy.lambdify((x, y), e)(p[:, None], p) for e in (u, s, k))
    sd = noise * np.sqrt(np.mean(u**2))
    u = u + sd * np.random.default_rng(seed).standard_normal(u.shape)
    known = {"u": (("x", "y"), u, {"standard_error": sd}), "s": (("x", "y"), s)}
    data = Observations.from_dataset(xr.Dataset(known, {"x": p, "y": p}), noise={"s": 0.0})
    return InverseProblem("0 = div(k*grad(u)) + s", data, {"k": FieldUnknown(over=("x", "y"))}), k


def errors(solution, k):
    """Relative error, and the share of places whose 95 % intervals hold the truth."""
    found, sd = (solution.dataset[n].transpose("x", "y").values for n in ("k", "k_sd"))
    return np.linalg.norm(found - k) / np.linalg.norm(k), float(np.mean(np.abs(found - k) < 1.96 * sd))


def test_field_whose_term_alone_has_noise():
    """With a field of zero, from which the fit begins, the residuals have no noise."""
    problem, k = plate(0.002, nodes=12)
    assert errors(solve(problem, "weak"), k)[0] < 0.1


def test_field_of_exact_data():
    """Smoothing moves exact data by more than rounding, which is no misfit."""
    x = np.linspace(0, 1, 60)
    data = xr.Dataset({"u": ("x", np.exp(-x) + x, {"standard_error": 0.0})}, {"x": x})
    solution = solve(InverseProblem("u_x = k", data, {"k": FieldUnknown()}), "weak")
    assert solution.status.ok, solution.status
    assert np.abs(solution.dataset["k"] - (1 - np.exp(-x))).max() < 0.02
    assert 0 < solution.misfit["u"]["fitted"] < 1


@pytest.mark.slow
def test_plane_without_noise():
    problem, k = plate(0.0)
    solution = solve(problem, "weak")
    assert solution.status.name == "converged", solution.status
    assert errors(solution, k)[0] < 0.005


@pytest.mark.slow
def test_plane_intervals():
    """Over two draws the error is small, and intervals of 95 % contain the truth."""
    found = []
    for seed in range(2):
        problem, k = plate(0.02, seed)
        solution = solve(problem, "weak")
        assert solution.status.name == "converged", solution.status
        found.append(errors(solution, k))
    error, held = np.mean(found, axis=0)
    assert error < 0.1
    assert 0.85 <= held <= 0.995


@pytest.mark.slow
def test_plane_undetermined_by_noise():
    problem, _ = plate(2.0)
    status = solve(problem, "weak").status
    assert status.name == "undetermined"
    assert "to its prior" in status.message


def test_projected_fields_near_equation_and_data():
    """Where the coefficient is right; where it is wrong they move no further than the noise explains."""
    names = Names(("x", "t"), {"u": ("x", "t")}, {"k": ("x",)})
    x, t = Axis("x", 0.0, 2.0, 41), Axis("t", 0.0, 1.0, 10)
    grid, sd = Grid(x, t), 0.2
    basis = Basis("k", {"x": AxisSplines(x, 6, 3)}, grid)
    integrands = Integrands(weak_form(parse("u_xx + k*u = 0", names)))
    tests = space(grid, {"x": 0.5, "t": 0.0}, {"x": 2, "t": 0}, 0.0)
    clean = np.sin(3 * x.points)[:, None] * (1 + t.points)
    u = clean + sd * np.random.default_rng(0).standard_normal(clean.shape)
    sums = WeakSums(integrands, GridData(grid, {"u": u}, {"u": np.array(sd**2)}), [basis])
    for k, meets in ((9.0, True), (40.0, False)):
        k = np.full(6, k)
        rows = sums.rows(tests, k)
        weighted = BlockInverse.of(sums.covariance(tests, k), JITTER) @ rows.residuals
        projected = projected_fields(sums, tests, k, rows.residuals, weighted)
        left = WeakSums(integrands, GridData(grid, projected, sums.data.variances), [basis]).rows(tests, k)
        assert (np.abs(left.residuals).max() < 0.3 * np.abs(rows.residuals).max()) == meets
        assert np.sqrt(np.mean((projected["u"] - u) ** 2)) < sd


def line(size=12, degree=3):
    axis = Axis("x", 0.0, 1.0, 40)
    return Basis("k", {"x": AxisSplines(axis, size, degree)}, Grid(axis))


def test_mixture_wider_than_maximum():
    """Averaging over priors gives wider errors than the prior of maximum evidence."""
    basis = line()
    rows = basis.at(basis.grid)[::4]
    values = np.sin(6 * basis.grid["x"].points[::4]) + 0.3 * np.random.default_rng(1).standard_normal(10)
    information, right = rows.T @ rows / 0.3**2, rows.T @ values / 0.3**2
    scale = np.ones(basis.size)
    found = {}
    for averaged in (False, True):
        posterior = Posterior(
            {"k": FieldPrior(basis.lattice, "auto")}, (), {"k": slice(0, basis.size)}, averaged=averaged
        )
        found[averaged] = posterior.solve(information, right, scale)[1]
    assert basis.mean_variance(found[True]) > basis.mean_variance(found[False])


def test_interpolation_variance_order_and_noise():
    """The error is of sixth order in the spacing, and noise contributes little."""

    def of(count, noise=0.0):
        grid = Grid(Axis("x", 0.0, 3.0, count), Axis("y", 0.0, 1.0, 4))
        u = np.sin(4 * grid["x"].points)[:, None] * np.ones(4)
        u = u + noise * np.random.default_rng(0).standard_normal(u.shape)
        return np.sqrt(interpolation_variance(u, grid, ["x", "y"]))

    assert 2**5 < of(81) / of(161) < 2**8  # at the ends it falls faster
    assert of(81, noise=0.1) < 0.005
    assert of(9) == 0.0


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_field_faster_than_state(noise):
    """Fifteen waves of a force, of which integration leaves little in the state."""
    made = case("langevin", forcing="fast")
    solution = solve(made.problem(noise), "weak")
    truth = made.truth["lam"]
    found, sd = (solution.dataset[n].interp(t=truth["t"]) for n in ("lam", "lam_sd"))
    assert solution.status.ok
    assert made.errors(solution)["lam"] < 0.1
    assert float((((found - truth) / sd) ** 2).mean()) < 1.5**2
