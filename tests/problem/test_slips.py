"""Slips in what a problem is given: each is an error that names it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.errors import MollifierError
from mollifier.problem.status import Status


def problem(
    unknowns: Any = None, constants: Any = None, noise: Any = 0.01, size: float = 1.0
) -> mf.InverseProblem:
    x, t = np.random.default_rng(0).random((2, 60))
    data = mf.Observations({"u": size * np.exp(-t) * np.sin(3 * x)}, {"x": x, "t": t}, noise=noise)
    equation = "u_t = c*D*u_xx" if constants else "u_t = D*u_xx"
    return mf.InverseProblem(equation, data, unknowns or {"D": mf.ScalarUnknown()}, constants)


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_problem_values_of_another_unit_are_named(size: float) -> None:
    with pytest.raises(MollifierError, match="'u' has values up to"):
        problem(size=size)


def test_problem_numbers_of_other_libraries_are_taken() -> None:
    assert problem(constants={"c": np.float32(2)}).constants == {"c": 2.0}


@pytest.mark.parametrize("given", [3, [3], {"system": 3}])
@pytest.mark.parametrize("argument", ["experiments", "fields", "geometry", "conditions"])
def test_argument_slips_are_named(argument: str, given: Any) -> None:
    """A number in place of names, of a system or of conditions is an error of ours, not Python's."""
    p = problem()
    with pytest.raises(MollifierError, match=r"was given|not a coordinate|not in the data"):
        mf.InverseProblem("u_t = D*u_xx", p.data, p.unknowns, **{argument: given})


def test_population_of_a_number_is_refused() -> None:
    """What was given is named, as of a name that is not there."""
    empty = xr.Dataset({"u": ("observation", [])}), xr.Dataset({"loss": ("step", [])})
    solution = mf.Solution(Status("converged"), {}, xr.Dataset(), *empty, {})
    with pytest.raises(MollifierError, match="'3' is no unknown with one value"):
        solution.population(3)


@pytest.mark.parametrize("equation", ["i*psi_t = D*psi_xx", "psi_re_t = i*D*psi_re_xx", "psi_re_t = D*psi"])
def test_missing_part_of_a_complex_variable_is_named(equation: str) -> None:
    """The imaginary unit has a meaning where both parts are in the data; the one that is not is named."""
    x, t = np.random.default_rng(0).random((2, 60))
    data = mf.Observations({"psi_re": x * t}, {"x": x, "t": t}, noise=0.01)
    with pytest.raises(MollifierError, match="'psi_im' is missing beside 'psi_re'"):
        mf.InverseProblem(equation, data, {"D": mf.ScalarUnknown()})
