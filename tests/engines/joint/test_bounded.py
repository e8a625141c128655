"""Fields that are at a bound over much of the domain."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.interpolate import RectBivariateSpline

import mollifier as mf
from mollifier.engines.joint import engine
from mollifier.engines.joint.bounded import share_at_bound


def bump(x):
    """A source that is zero beyond .14 about the middle."""
    z = (x - 0.5) / 0.14
    return np.where(np.abs(z) < 1, 3 * (1 - z**2).clip(0) ** 3, 0.0)


def heated(seed=2, **bounds):
    """500 scattered samples of heat from that source, 2 % noise, by lines on a grid of 201 nodes."""
    rng = np.random.default_rng(seed)
    x, t = np.linspace(0, 1, 201), np.linspace(0, 1, 40)
    second = (np.diag(np.ones(200), 1) + np.diag(np.ones(200), -1) - 2 * np.eye(201)) * 200**2
    second[0, 1] = second[-1, -2] = 2 * 200**2
    start = 0.5 + 0.3 * np.cos(np.pi * x)
    u = solve_ivp(
        lambda _, u: 0.01 * second @ u + bump(x),
        (0, 1),
        start,
        "BDF",
        t,
        rtol=1e-8,
        atol=1e-10,
        jac=lambda *_: 0.01 * second,
    ).y
    places = rng.random((2, 500))
    seen = RectBivariateSpline(x, t, u).ev(*places)
    seen = seen + 0.02 * np.sqrt(np.mean(seen**2)) * rng.standard_normal(500)
    data = mf.Observations({"u": seen}, {"x": places[0], "t": places[1]})
    unknowns = {"D": mf.ScalarUnknown(lower=0.0), "s": mf.FieldUnknown(over=("x",), **bounds)}
    return mf.InverseProblem("u_t = D*u_xx + s", data, unknowns)


def test_a_source_at_its_bound_over_much_of_the_domain_is_determined(monkeypatch):
    """Its standard error there was that of its prior, and the answer `undetermined`."""
    seen, judge = [], engine.wide_field
    monkeypatch.setattr(engine, "wide_field", lambda *pair: seen.append(pair) or judge(*pair))
    why = "raw values at a bound have no limit"
    monkeypatch.setattr(engine, "along_direction", lambda *_: pytest.fail(why))
    found = mf.solve(heated(lower=0.0), "joint", rng=0)
    assert found.status.ok, found.status
    s, sd, truth = found.dataset.s.values, found.dataset.s_sd.values, bump(found.dataset.x.values)
    away = truth[1:-1] == 0
    assert sd[1:-1][away].max() < 0.1 * s.max()
    assert np.mean(np.abs(s - truth) < 1.96 * sd) > 0.85
    assert abs(found.estimates["D"].value - 0.01) < 3 * found.estimates["D"].sd
    joint = seen[0][1]
    assert share_at_bound(joint.bordered(), "s") > 0.5
    assert not share_at_bound(engine_of(heated()).bordered(), "s")


def engine_of(problem):
    """The last stage of the joint engine before its first step."""
    return engine.stages_of(problem, engine.JointSettings())[1][-1]
