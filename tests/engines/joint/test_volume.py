"""Numbers beside unknown fields, with the fields integrated over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mollifier as mf
from mollifier.engines.joint import stages
from mollifier.engines.joint.engine import stages_of
from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.joint.volume import integrate_fields, volume_slopes
from mollifier.engines.linalg.banded import NotPositiveError
from tests.support.engine_problems import settled_stage


def problem(equation="u_t = D*u_xx + s"):
    """Waves that a source feeds and a diffusivity of 0.05 damps, 300 samples with noise of 0.05."""
    rng = np.random.default_rng(0)
    x, t = rng.random((2, 300))
    u = 0.5 + sum(
        (a * np.exp(-0.05 * k**2 * t) + b * (1 - np.exp(-0.05 * k**2 * t))) * np.cos(k * x)
        for k, a, b in ((np.pi, 0.3, 0.8), (2 * np.pi, 0.5, -0.6), (3 * np.pi, 0.2, 0.4))
    )
    u = u + 0.05 * rng.standard_normal(300)
    data = mf.Observations({"u": u}, {"x": x, "t": t}, noise={"u": 0.05})
    unknowns = {"D": mf.ScalarUnknown(), "s": mf.FieldUnknown(over=("x",))}
    unknowns = {n: v for n, v in unknowns.items() if n in equation}
    return mf.InverseProblem(equation, data, unknowns)


@pytest.fixture
def settings():
    return JointSettings.model_validate(
        {"collocation": {"nodes": {"x": 14, "t": 12}}, "joint": {"cells": {"x": 8}}}
    )


@pytest.fixture
def joint(settings):
    return settled_stage(problem(), settings)


def dense(joint):
    """Precision of states, fields and numbers together, by the rows themselves, and the number of states."""
    system = joint.bordered()
    rows, count, states = system.normal.stacked().toarray(), joint.objective.count, joint.layout.core_size
    precision = count * rows.T @ rows
    for name, prior in system.priors.items():
        here = slice(states + prior.columns.start, states + prior.columns.stop)
        choice = system.choices[name]
        precision[here, here] += choice.strength * prior.form(choice.shape).square
    return precision, states


def test_volume_slopes_are_those_of_dense_matrices(joint):
    joint.linearisation.objective.tuning = joint.tuning = replace(joint.tuning, steady=0.0)
    slope = volume_slopes(joint)["D"]
    precision, states = dense(joint)
    number = states + joint.layout.unknowns["D"].start
    rest = np.arange(len(precision)) != number
    along = np.ones(len(precision))
    along[rest] = -np.linalg.solve(precision[np.ix_(rest, rest)], precision[rest, number])
    step, start, logs = 0.02 / np.sqrt(precision[number] @ along), joint.parameters(), []
    for side in (1, -1):
        joint.set_parameters(start + side * step * joint.layout.flat(along[:states], along[states:]))
        moved = dense(joint)[0]
        whole, alone = (np.linalg.slogdet(m)[1] for m in (moved[np.ix_(rest, rest)], moved[:states, :states]))
        logs.append((alone - whole) / 2)
    assert slope == pytest.approx((logs[0] - logs[1]) / (2 * step), rel=0.02)
    joint.set_parameters(start)


def test_volume_is_in_loss_and_gradient_once(joint):
    """The parameters are left as they are; a second call finds that all is done."""
    start, before = joint.parameters(), joint.losses()
    assert integrate_fields(joint)
    assert (joint.parameters() == start).all()
    assert not integrate_fields(joint)
    losses = []
    for step in (1e-4, -1e-4):
        moved = start.clone()
        moved[-1] += step  # D is the last parameter
        joint.set_parameters(moved)
        losses.append(joint.losses()["loss"])
    joint.set_parameters(start)
    slope = 2 * float(joint.bordered().gradient[-1])
    assert (losses[0] - losses[1]) / 2e-4 == pytest.approx(slope, rel=1e-4)
    assert joint.losses() == before
    kept = joint.state_dict()
    slopes, joint.linearisation.volume_slopes = joint.linearisation.volume_slopes, {}
    joint.load_state_dict(kept)
    assert joint.linearisation.volume_slopes == slopes != {}


def test_number_moves_by_slope_and_variance(settings, monkeypatch):
    """From the most probable number and field together, by what the volume of the field adds."""
    seen = []

    def integrate(joint):
        seen.append((float(joint.model.values()["D"]), volume_slopes(joint)["D"]))
        variance = np.linalg.inv(joint.bordered().with_priors()[0])[-1, -1] / joint.objective.count
        seen.append(variance * joint.model.scalars["D"].slope())
        return integrate_fields(joint)

    monkeypatch.setattr(stages, "integrate_fields", integrate)
    found = mf.solve(problem(), "joint", settings=settings, rng=0).estimates["D"]
    (mode, slope), variance = seen[:2]
    assert slope * variance > 0.1 * found.sd
    assert found.value - mode == pytest.approx(slope * variance, abs=0.1 * found.sd)
    assert abs(found.value - 0.05) < 2 * found.sd


def test_no_volume_without_fields_or_where_evidence_is_compared(settings):
    for given, most_pull in (("u_t = D*u_xx", 0.3), ("u_t = D*u_xx + s", np.inf)):
        held = settings.model_copy(update={"tuning": replace(settings.tuning, most_pull=most_pull)})
        *first, joint = stages_of(problem(given), held)[1]
        for stage in (*first, joint):
            while True:
                stage.step()
                if stage is not joint or joint.finished:
                    break
            stage.close()
        assert not joint.linearisation.volume_slopes


def test_fit_stays_as_it_was_where_a_step_leaves_the_states_without_precision(joint, monkeypatch):
    start, system = joint.parameters(), joint.bordered()

    def bordered():
        if not bool((joint.parameters() == start).all()):
            raise NotPositiveError("no factor")
        return system

    monkeypatch.setattr(joint, "bordered", bordered)
    assert volume_slopes(joint) == {}
    assert bool((joint.parameters() == start).all())
