"""Numbers that steer the joint engine."""

from __future__ import annotations

from dataclasses import dataclass

from mollifier.engines.collocated.tuning import CollocatedTuning


@dataclass(frozen=True)
class JointTuning(CollocatedTuning):
    """Numbers that steer the joint engine; the defaults suit most problems."""
