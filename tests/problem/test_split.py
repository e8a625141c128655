"""A problem with an edge of unknown place, with states of its own on either side."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.equations.moving import moving_edge
from mollifier.errors import ConfigurationError
from mollifier.problem.split import Split, search_range

X, T = np.random.default_rng(0).random((2, 40))
UNKNOWNS = {n: mf.ScalarUnknown() for n in ("a", "k", "m")}


def posed(equation="u_t = dx(where(x < a, k, m)*u_x)", unknowns=UNKNOWNS, data=None, **more):
    data = data or mf.Observations({"u": np.sin(X) + T}, {"x": X, "t": T}, noise=0.01)
    return mf.InverseProblem(equation, data, unknowns, **more)


def test_split_at_a_place():
    """Equations scaled by the lengths of the sides, and the samples of either side from the edge."""
    conditions = [mf.Condition("u = 0", at={"x": 0.0}), mf.Condition("u = x", at={"t": 0.0})]
    problem = posed(conditions=[*conditions, mf.Condition("u = 1", at={"x": 1.0})])
    sides = Split(problem, moving_edge(problem.system), 0.25).posed()
    assert [e.text for e in sides.system.equations] == [
        "-16.0*k*u_below_a_xx + u_below_a_t = 0",
        "-1.7777778*m*u_above_a_xx + u_above_a_t = 0",
    ]
    assert [str(c).split(" at ")[1] for c in sides.system.conditions] == [
        "x = 1", "t = 0", "t = 0", "x = 1", "x = 0", "x = 0"
    ]  # fmt: skip
    assert sides.system.conditions[1].text == "u_below_a + 0.25*x - 0.25 = 0"
    below = sides.data.samples("u_below_a")
    assert np.allclose(np.sort(0.25 * (1 - below.points[:, 0])), np.sort(X[X < 0.25]))
    assert len(below.values) + len(sides.data.samples("u_above_a").values) == 40


def test_answer_put_together():
    """Fields of the sides are one over the coordinate, derivatives in its unit."""
    problem = posed("u_t = where(x < a, k, m)*u_x")
    split = Split(problem, moving_edge(problem.system), 0.25)
    x = np.linspace(0, 1, 5)
    low, high = problem.bounds["x"]
    part = {"u_below_a": ("x", 0.25 + (low - 0.25) * x), "u_below_a_x": ("x", np.full(5, low - 0.25))}
    part |= {"u_above_a": ("x", 0.25 + (high - 0.25) * x), "u_above_a_x": ("x", np.full(5, high - 0.25))}
    whole = split.whole(xr.Dataset(part, {"x": x}))
    assert np.allclose(whole.u, whole.x)
    assert np.allclose(whole.u_x, 1.0)
    assert whole.sizes["x"] == 9
    assert bool((whole.x.diff("x") > 0).all())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unknowns": {**UNKNOWNS, "a": mf.ScalarUnknown(lower=1.5)}}, "data on both sides of the edge"),
        ({"domain": mf.Domain("x < 0.9")}, "not sought beside a domain"),
        (
            {
                "equation": "u_t = where(x < a, k, m)*u_x + q",
                "unknowns": {**UNKNOWNS, "q": mf.FieldUnknown("x")},
            },
            "not sought beside unknown fields over x",
        ),
    ],
)
def test_edge_that_is_not_sought(changes, words):
    """Each refusal names the edge and what to give."""
    problem = posed(**changes)
    with pytest.raises(ConfigurationError, match=words):
        search_range(problem, moving_edge(problem.system))


def test_range_of_the_place():
    """Bounds, within the data and four places from their ends."""
    problem = posed(unknowns={**UNKNOWNS, "a": mf.ScalarUnknown(upper=0.5)})
    assert search_range(problem, moving_edge(problem.system)) == (np.sort(X)[3], 0.5)
