"""Fields may carry any name, those of SymPy's constants and functions among them."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import mollifier as mf


@pytest.mark.parametrize(("other", "name"), [("S", "I"), pytest.param("Q", "E", marks=pytest.mark.slow)])
def test_validate_field_with_a_name_of_sympy(other, name):
    """An epidemic whose infected are called as SymPy calls its imaginary unit, and other such names."""
    t = np.arange(60.0)
    infection, recovery = 0.5, 0.2

    def rates(_, y):
        return [-infection * y[0] * y[1], infection * y[0] * y[1] - recovery * y[1]]

    truth = solve_ivp(rates, (0, 59), [0.99, 0.01], t_eval=t, rtol=1e-9).y
    y = truth + 0.005 * np.random.default_rng(0).normal(size=truth.shape)
    equations = [f"{other}_t = -b*{other}*{name}", f"{name}_t = b*{other}*{name} - g*{name}"]
    unknowns = {"b": mf.ScalarUnknown(), "g": mf.ScalarUnknown()}
    problem = mf.InverseProblem(
        equations, data=mf.Observations({other: y[0], name: y[1]}, {"t": t}), unknowns=unknowns
    )
    solution = mf.solve(problem)
    assert abs(solution.estimates["b"].value - infection) < 4 * solution.estimates["b"].sd
    assert mf.validate(solution).status == "holds"
