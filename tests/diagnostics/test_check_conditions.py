"""What `check` says of conditions: what they determine, repeat and contradict."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import cumulative_trapezoid

from mollifier.data.observations import Observations
from mollifier.diagnostics.check.check import check
from mollifier.diagnostics.check.conditions import of_conditions
from mollifier.problem.conditions import Condition
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown

K = 0.05


def rod(*conditions, flat=False):
    """A rod that cools through x = 1 with h = 0.0779, insulated at x = 0; or warmed as the air is."""
    x, t = np.random.default_rng(0).random((2, 300))
    air = t if flat else np.full(300, 0.5)
    u = air + (0.0 if flat else np.exp(-K * t) * np.cos(x))  # -k u_x = h (u - ua) with h = k tan(1)
    values = {
        "u": u + 0.01 * np.random.default_rng(1).normal(size=300),
        "ua": air,
        "s": np.full(300, 1.0 * flat),
    }
    data = Observations(values, {"x": x, "t": t}, {"u": 0.01, "ua": 0.0, "s": 0.0})
    unknowns = {"h": ScalarUnknown(lower=0.0)}
    return InverseProblem("u_t = k*u_xx + s", data, unknowns, {"k": K}, conditions=conditions)


def beam(*conditions):
    """A cantilever under its weight with a damaged place: 30 deflections with 0.2 % noise."""
    x, at = np.linspace(0, 1, 5001), np.linspace(0, 1, 30)
    bent = 0.5 * (1 - x) ** 2 / (1 - 0.4 * np.exp(-(((x - 0.35) / 0.1) ** 2)))
    w = cumulative_trapezoid(cumulative_trapezoid(bent, x, initial=0), x, initial=0)
    seen = np.interp(at, x, w) + 0.002 * np.sqrt(np.mean(w**2)) * np.random.default_rng(0).normal(size=30)
    data = Observations({"w": seen, "q": np.ones(30)}, {"x": at}, noise={"w": 0.002})
    unknowns = {"EI": FieldUnknown(over="x", lower=0.0)}
    return InverseProblem("dxx(EI*w_xx) = q", data, unknowns, conditions=conditions)


def test_conditions_at_its_ends_make_a_stiffness_answerable():
    """Without them moment and shear at the ends are open, and noise hides the fourth derivative."""
    ends = (
        Condition("w = 0; w_x = 0", {"x": "start"}),
        Condition("EI*w_xx = 0; dx(EI*w_xx) = 0", {"x": "end"}),
    )
    assert check(beam(*ends)).ok
    assert not check(beam()).ok


def test_number_of_a_condition_is_known_where_its_term_is_there():
    """A transfer coefficient is open where the wall has the temperature of the air."""
    robin = Condition("-k*u_x = h*(u - ua)", {"x": "end"}), Condition("u_x = 0", {"x": "start"})
    found = check(rod(*robin))
    assert found.ok
    assert found.numbers["information"]["numbers"]["h"]["sd"] < 0.01
    assert found.numbers["cost"]["weak"]["against"].startswith("engine 'weak' takes no conditions")
    assert check(rod(*robin, flat=True)).verdict != "good"


@pytest.mark.parametrize(
    ("pair", "level", "text"),
    [
        (("u = 1", "2*u = 2"), "warning", "'2*u = 2 at x = 0' follows from"),
        (("u = 1", "u = 2"), "error", "'u = 2 at x = 0' cannot hold"),
        (("u = 1", "u = ua"), "error", "1 - ua = 0"),
        (("u = 1", "u_t = k*u_xx + s"), "warning", "follows from the equations"),
        (("u = x", "u_x = h"), None, ""),
    ],
)
def test_conditions_that_repeat_or_contradict(pair, level, text):
    """At one place; of states and unknowns any other pair is independent."""
    findings = list(
        of_conditions(rod(*(Condition(e, {"x": 0.0}) for e in pair), Condition("u_x = h", {"x": 1.0})))
    )
    assert [f.level for f in findings] == ([level] if level else [])
    assert all(text in f.text for f in findings)
