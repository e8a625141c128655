"""Laws of the state before and after solving: check, forward solution, report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.diagnostics.validation.forward import forward
from mollifier.diagnostics.validation.forward_problem import system_of
from tests.support.laws import diffusivity, movie, observed

LAW = mf.FieldUnknown()


@pytest.mark.parametrize(
    ("equation", "names", "verdict", "expected"),
    [
        ("u_t = dx(D(u)*u_x) + f(u)", "Df", "good", "f(u) is determined"),
        ("u_t = dx(D(u)*u_x) + f(u) + g(u)", "Dfg", "cannot be answered", "f cannot be distinguished"),
    ],
)
def test_check_of_laws_and_of_their_twin(equation, names, verdict, expected):
    """Two laws whose terms differ can be found, two whose sum alone matters cannot."""
    found = mf.check(mf.InverseProblem(equation, observed(*movie()), dict.fromkeys(names, LAW)))
    assert found.verdict == verdict
    assert expected in str(found)


def test_check_of_a_state_in_a_narrow_range():
    """A state that hardly changes holds little of a diffusivity."""
    state = movie(duration=1.0, level=0.9, heights=(0.02, -0.02))
    found = mf.check(mf.InverseProblem("u_t = dx(D(u)*u_x) + f(u)", observed(*state), {"D": LAW, "f": LAW}))
    assert found.verdict != "good"


def test_equation_with_a_law_is_read_back_in_curvilinear_coordinates():
    """What a solution keeps beside its fields, as the modes of a law's error, is no coordinate."""
    r, t = np.linspace(0, 1, 25), np.linspace(0, 1, 30)
    u = 2 + np.exp(-0.9 * t) * np.sinc(3 * r[:, None] / np.pi) + t
    u += 0.01 * np.random.default_rng(0).normal(size=u.shape)
    data = xr.Dataset({"u": (("r", "t"), u)}, {"r": r, "t": t})
    problem = mf.InverseProblem(
        "u_t = div(D(u)*grad(u)) + s", data, {"D": LAW, "s": mf.ScalarUnknown()}, geometry="spherical"
    )
    solution = mf.solve(problem, "weak")
    assert "D_mode" in solution.dataset.dims
    assert system_of(solution, None).names.coordinates == ("r", "t")


@pytest.mark.slow
def test_law_is_solved_forward_and_reported(tmp_path):
    """The equation with the law found predicts the data; without the problem it is read from the solution."""
    problem = mf.InverseProblem("u_t = dx(D(u)*u_x)", observed(*movie(reacts=False, nodes=201)), {"D": LAW})
    solution = mf.solve(problem)
    law = solution.dataset["D"]
    truth = solution.dataset.assign(D=law.copy(data=diffusivity(law.u_value.values)))
    made = replace(solution, dataset=truth)
    found = forward(made, system_of(made, None))
    assert np.sqrt(np.mean(found.errors["u"] ** 2)) == pytest.approx(1.0, abs=0.05)
    assert "u_value" in mf.report(solution, tmp_path / "page.html").read_text()
