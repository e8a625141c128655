"""Strengths of the states' smoothness priors by the marginal likelihood."""

from __future__ import annotations

import numpy as np

import mollifier as mf
from mollifier.engines.joint.engine import stages_of
from mollifier.engines.joint.roughness import RoughnessUpdates
from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.joint.stages import Joint


def decay(rate: float = 0.3) -> Joint:
    """The stage of a wave that decays, 2 % noise, with settled states at the strengths of the first steps."""
    rng = np.random.default_rng(0)
    x, t = 2 * rng.random((2, 300))
    u = np.exp(-rate * 9 * t) * np.sin(3 * x) + 0.02 * rng.standard_normal(300)
    data = mf.Observations(values={"u": u}, points={"x": x, "t": t}, noise={"u": 0.02})
    problem = mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown()})
    settings = JointSettings.model_validate({"collocation": {"nodes": {"x": 10, "t": 10}}})
    *first, joint = stages_of(problem, settings)[1]
    assert isinstance(joint, Joint)
    for stage in first:
        stage.step()
        stage.close()
    joint.weight = 1.0
    for _ in range(4):
        joint.set_parameters(joint.parameters() + joint.bordered().solve(0.0))
    return joint


def log_evidence(joint: Joint) -> float:
    """Of the linearised problem at the present strengths, up to a constant."""
    system = joint.bordered()
    least = joint.losses()["loss"] - system.decrease(*system.undamped())
    spread = system.eliminated.log_determinant - system.before_data.log_determinant
    return -(least * joint.objective.count + spread) / 2


def test_strengths_of_greatest_evidence_in_a_few_updates():
    """Updates end within twelve, and the evidence is hardly greater at other strengths."""
    joint, updates = decay(), RoughnessUpdates()
    strengths, tuning = joint.objective.roughness, joint.tuning
    for _ in range(12):
        updates.propose(joint.bordered(), tuning)
        if not updates.apply(strengths, tuning):
            break
        joint.set_parameters(joint.parameters() + joint.bordered().solve(0.0))
    assert updates.count < 12
    best = log_evidence(joint)
    free = [place for place in np.ndindex(*strengths.shape) if place not in updates.faded]
    assert free
    for place in free:
        for factor in (0.3, 3.0):
            strengths[place] *= factor
            assert log_evidence(joint) < best + 0.1, (place, factor)
            strengths[place] /= factor
