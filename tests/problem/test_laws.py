"""Laws of the state in a problem: what they vary over, their range, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mollifier import FieldUnknown, InverseProblem, Observations
from mollifier.engines.settings import load_problem
from mollifier.errors import ConfigurationError

X, T = np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 9), indexing="ij")
POINTS = {"x": X.ravel(), "t": T.ravel()}
DATA = Observations({"u": np.sin(3 * X * T).ravel()}, POINTS, noise=0.01)


@pytest.mark.parametrize(
    ("equation", "unknown", "over"),
    [
        ("u_t = dx(D(u)*u_x)", FieldUnknown(), ("u",)),
        ("u_t = dx(D*u_x)", FieldUnknown(over="u"), ("u",)),
        ("u_t = dx(D(x, u)*u_x)", FieldUnknown(), ("u", "x")),
        ("u_t = dx(D*u_x)", FieldUnknown(), ("x", "t")),
    ],
)
def test_law_varies_over_what_the_equation_writes(equation, unknown, over):
    """``over`` decides, else the arguments in the equation, else the coordinates of the data."""
    problem = InverseProblem(equation, DATA, {"D": unknown})
    assert problem.unknowns["D"].over == over
    assert problem.laws == ({"D": ("u",)} if "u" in over else {})


def test_law_range_is_that_of_data_and_measurements():
    """A law covers the measured values of its state, and the states at which it was measured itself."""
    known = Observations({"D": [1.0]}, {"u": [-0.02]}, noise=0.0)
    problem = InverseProblem("u_t = dx(D(u)*u_x)", DATA, {"D": FieldUnknown(measurements=known)})
    assert problem.extent("u") == (-0.02, float(DATA.samples("u").values.max()))
    assert problem.extent("x") == (0.0, 1.0)


def test_law_takes_no_name_of_a_solution():
    """The dimension that laws of u lie over is no name of a problem."""
    named = Observations({"u": np.sin(X).ravel(), "u_value": X.ravel()}, POINTS, noise=0.01)
    with pytest.raises(ConfigurationError, match="'u_value' is reserved for the values of 'u'"):
        InverseProblem("u_t = D(u)*u_value", named, {"D": FieldUnknown()}, fields=["u"])


def test_law_in_a_problem_file(tmp_path):
    """``over: u`` in a problem file is a law."""
    lines = ["x,t,u", *(f"{x},{t},{np.sin(3 * x * t)}" for x, t in zip(X.ravel(), T.ravel(), strict=True))]
    (tmp_path / "u.csv").write_text("\n".join(lines))
    text = "equation: u_t = dx(D(u)*u_x)\ndata: {file: u.csv, noise: 0.01}\n"
    path = tmp_path / "law.yaml"
    path.write_text(f"{text}unknowns: {{D: {{over: u, lower: 0, monotone: increasing}}}}\n")
    problem = load_problem(path).problem()
    assert problem.unknowns["D"] == FieldUnknown(over=("u",), lower=0, monotone="increasing")
