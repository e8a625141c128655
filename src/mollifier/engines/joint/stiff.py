"""The limit of an exact equation, for what hidden states need it for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mollifier.engines.collocated.levenberg_marquardt import LevenbergMarquardt
from mollifier.engines.joint.tuning import JointTuning


@contextmanager
def stiff(stage: LevenbergMarquardt, tuning: JointTuning) -> Iterator[None]:
    """With hidden states, which the equation alone determines, a greater weight of it, its forces the same.

    The weight of a stage, times ``tuning.hidden_weight``, and the multipliers of its linearisation are
    restored.
    """
    lin, weight = stage.linearisation, stage.weight
    shifts, factor = lin.shifts, tuning.hidden_weight if stage.model.problem.hidden else 1.0
    stage.weight, lin.shifts = weight * factor, None if shifts is None else [s / factor for s in shifts]
    try:
        yield
    finally:
        stage.weight, lin.shifts = weight, shifts
