"""Fields whose likelihood is far from quadratic have no standard errors that can be trusted."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.engines.joint import engine, skewed
from mollifier.engines.joint.skewed import unless_skewed


def decay(equation, noise):
    """A state that decays at a rate over x, u = exp(-r(x) t), or is its integral along t."""
    x, t = np.linspace(0, 1, 12), np.linspace(0, 1, 15)
    rate = 1 + 0.5 * np.sin(3 * x)[:, None]
    u = np.exp(-rate * t) if equation.endswith("u") else -rate * t
    u = u + noise * np.random.default_rng(0).normal(size=u.shape)
    data = mf.Observations.from_dataset(
        xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}), noise={"u": noise}
    )
    return mf.InverseProblem(equation, data, {"r": mf.FieldUnknown(over=("x",))})


@pytest.fixture
def solved(monkeypatch):
    """A problem -> its answer before the test, and the last stage."""

    def found(problem):
        seen = []
        monkeypatch.setattr(engine, "unless_skewed", lambda *pair: seen.append(pair) or pair[0])
        mf.solve(problem, "joint", rng=0)
        return seen[0]

    return found


def test_rises_of_a_linear_question_are_those_of_a_quadratic(solved):
    found, joint = solved(decay("u_t = -r", 0.05))
    before = joint.parameters()
    assert skewed.far_rises(joint, "r") == pytest.approx([16.0, 16.0], rel=0.02)
    assert (joint.parameters() == before).all()
    assert unless_skewed(found, joint) is found


@pytest.mark.parametrize(
    ("rises", "good"), [([16, 16], True), ([7, 39], True), ([6, 20], False), ([10, 88], False)]
)
def test_a_field_is_undetermined_where_its_likelihood_is_far_from_quadratic(solved, monkeypatch, rises, good):
    found, joint = solved(decay("u_t = -r*u", 0.05))
    monkeypatch.setattr(skewed, "far_rises", lambda *_: rises)
    joint.tuning = skewed.replace(joint.tuning, wide=0.0)
    judged = unless_skewed(found, joint)
    assert judged.status.ok == good
    assert good or (judged.status.name == "undetermined" and "of r is not normal" in judged.status.message)
    joint.tuning = skewed.replace(joint.tuning, wide=10.0)
    assert unless_skewed(found, joint) is found


@pytest.mark.slow
def test_a_permeability_in_a_product_that_heads_leave_open_is_skewed(solved):
    """Heads fall along x through a medium that is uncertain: a small k costs more than a large one."""
    x = np.linspace(0, 1, 30)
    k = 1 + 0.8 * np.sin(5 * x)
    u = -np.concatenate([[0.0], np.cumsum(2 / (k[1:] + k[:-1]))]) * (x[1] - x[0])
    u = u + 0.02 * np.random.default_rng(0).normal(size=30)
    data = mf.Observations(values={"u": u}, points={"x": x}, noise={"u": 0.02})
    flux = [mf.Condition("k*u_x = -1", at={"x": 0.0})]
    unknowns = {"k": mf.FieldUnknown(over=("x",))}
    _, joint = solved(mf.InverseProblem("dx(k*u_x) = 0", data, unknowns, conditions=flux))
    rises = skewed.far_rises(joint, "k")
    assert max(rises) > 1.5 * min(rises)
