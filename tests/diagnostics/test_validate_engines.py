"""Answers of the joint and network engines from scattered points: right ones hold, wrong ones are caught."""

import numpy as np
import pytest

import mollifier as mf
from engine_problems import heat_values, small
from validated_solutions import decaying, drifting, narrow

SETTINGS = {"joint": {}, "network": small(network={"width": 16}, collocation={"max_nodes": 600})}


def scattered(function, noise, seed, n=500, periodic=False):
    rng = np.random.default_rng(seed)
    x, t = rng.random((2, n))
    u = function(x, t) + noise * rng.standard_normal(n)
    wraps = {"x": 1.0} if periodic else None
    return mf.Observations({"u": u}, {"x": x, "t": t}, noise={"u": np.full(n, noise)}, periodic=wraps)


# Field, noise, whether x is said to wrap, equation, its unknowns, engine and what is changed in its settings.
RIGHT = {
    "decay, joint": (decaying, 0.02, False, "u_t = D*u_xx - r*u", "D r", "joint", {}),
    "drift, network": (drifting, 0.05, True, "u_t = -c*u_x + D*u_xx", "c D", "network", {}),
}
WRONG = {
    "no decay, joint": (decaying, 0.02, False, "u_t = D*u_xx", "D", "joint", {}),
    "no diffusion, network": (drifting, 0.02, True, "u_t = -c*u_x", "c", "network", {}),
    "does not wrap, joint": (heat_values, 0.02, True, "u_t = D*u_xx", "D", "joint", {}),
    "does not wrap, network": (heat_values, 0.02, True, "u_t = D*u_xx", "D", "network", {}),
    "far too wide, network": (narrow, 0.02, False, "u_t = D*u_xx", "D", "network", {"x": 1.0, "t": 0.3}),
}


def validated(case, seed=7):
    function, noise, wraps, equation, names, engine, radius = case
    unknowns = {n: mf.ScalarUnknown() for n in names.split()}
    problem = mf.InverseProblem(equation, scattered(function, noise, seed, periodic=wraps), unknowns)
    settings = dict(SETTINGS[engine])
    if radius:
        settings["collocation"] = {**settings.get("collocation", {}), "radius": radius}
    return mf.validate(mf.solve(problem, engine, rng=seed, settings=settings))


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_hold(name):
    found = validated(RIGHT[name])
    assert found.status == "holds", found


QUICK = ("no decay, joint", "far too wide, network")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in WRONG]
)
def test_wrong_ones_are_caught(name):
    found = validated(WRONG[name])
    assert found.status != "holds", found
    # Not by the engine's own word alone.
    assert any(r["verdict"] != "holds" for r in found.table if r["test"] != "engine's status"), found
