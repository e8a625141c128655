"""What the weak engine refuses, what it says is undetermined or a misfit, and what its solutions hold."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from mollifier.data.observations import Observations
from mollifier.engines.solve import solve
from mollifier.errors import ConfigurationError, DataError, EquationError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import load_solution
from mollifier.problem.unknowns import ScalarUnknown
from weak_problems import SURE, D, T, X, heat, observed, weak

# -- refusals and verdicts


@pytest.mark.parametrize(
    ("equation", "data", "unknowns", "error", "message"),
    [
        ("u_t = D*u_x^2", observed({"u": heat}, {"x": X, "t": T}), D, EquationError, "u_x"),
        (
            "u_t = D*u_xx",
            observed({"u": heat}, {"x": np.linspace(0, 1, 3), "t": np.linspace(0, 1, 3)}),
            D,
            ConfigurationError,
            "too small",
        ),
        (
            "u_t = D*u_xx",
            Observations({"u": heat(X, X / 2)}, {"x": X, "t": X / 2}, noise=0.1),
            D,
            DataError,
            "scattered",
        ),
        (
            "u_t = D*u_xx",
            observed({"u": heat}, {"x": X, "t": T}, holes=0.6),
            D,
            ConfigurationError,
            "wide gaps",
        ),
        (
            "u_t = -a*sqrt(u)",
            observed({"u": lambda x, t: np.exp(-t) * np.sin(3 * x)}, {"x": X, "t": T}),
            {"a": ScalarUnknown()},
            DataError,
            "not a finite number",
        ),
    ],
)
def test_refusals(equation, data, unknowns, error, message):
    with pytest.raises(error, match=message):
        weak(equation, data, unknowns)


def test_refusal_fields_on_different_axes():
    dataset = xr.Dataset(
        {"u": (("x", "t"), heat(*np.meshgrid(X, T, indexing="ij"))), "w": ("t", T**2)}, {"x": X, "t": T}
    )
    problem = InverseProblem(
        "u_t = D*u_xx + w_t", Observations.from_dataset(dataset, noise=0.1), D, fields=["u", "w"]
    )
    with pytest.raises(DataError, match="does not depend on x"):
        solve(problem, "weak")


def mode(x, t):
    return np.exp(-0.9 * t) * np.sin(3 * x)


AB = {"a": ScalarUnknown(), "b": ScalarUnknown()}


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize(
    ("equation", "function", "unknowns"),
    [
        ("u_t = D*u_xx", lambda x, t: 1 + 0 * x, D),
        ("u_t = a*u_xx + b*u_xx", heat, AB),
        ("u_t = a*b*u_xx", heat, AB),
        ("u_t = a*u_xx + b*z*u", heat, AB),
        ("u_t = a*u_xx + b*u", mode, AB),
    ],
    ids=["a constant", "proportional terms", "a product", "times zero", "one mode"],
)
def test_undetermined_numbers(equation, function, unknowns, noise):
    fields = {"u": function} | ({"z": lambda x, t: 0 * x} if "z" in equation else {})
    solution = weak(equation, observed(fields, {"x": X, "t": T}, noise, known=("z",)), unknowns)
    assert solution.status.name == "undetermined"
    assert not np.isfinite([e.sd for e in solution.estimates.values()]).all()


def test_misfit_wrong_equation():
    data = observed({"u": heat}, {"x": X, "t": T}, 0.01)
    assert weak("u_t = c*u_x", data, {"c": ScalarUnknown()}).status.name == "misfit"


@pytest.mark.parametrize("count", [3, 5])
def test_coarse_axis_reported(count):
    """Over twelve draws the mean error is none, or something is said in most of them."""
    axes, z, said = {"x": X, "t": np.linspace(0, 1, count)}, [], 0
    for seed in range(12):
        solution = weak("u_t = D*u_xx", observed({"u": heat}, axes, 0.02, seed), D)
        said += bool(solution.status.message)
        z.append((solution.estimates["D"].value - 0.1) / solution.estimates["D"].sd)
    assert said > 6 or abs(np.mean(z)) < SURE / np.sqrt(12)


# -- what comes of it


@pytest.fixture(scope="module")
def solution():
    return weak("u_t = D*u_xx", observed({"u": heat}, {"x": X, "t": T}), D)


def test_solution_saved_and_loaded(solution, tmp_path):
    again = load_solution(solution.save(tmp_path / "run"))
    assert again.estimates == solution.estimates
    xr.testing.assert_identical(again.dataset, solution.dataset)
    assert again.status == solution.status
    assert 0.8 < again.misfit["u"]["fitted"] < 1.1


def test_solution_reproducible(solution):
    again = weak("u_t = D*u_xx", observed({"u": heat}, {"x": X, "t": T}), D)
    assert again.estimates == solution.estimates
    xr.testing.assert_identical(again.dataset, solution.dataset)
    assert {**again.provenance, "seconds": 0, "date": ""} == {**solution.provenance, "seconds": 0, "date": ""}
