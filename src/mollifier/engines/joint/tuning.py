"""Numbers that steer the joint engine."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ConfigDict


@dataclass(frozen=True)
class JointTuning:
    """Numbers that steer the joint engine; the defaults suit most problems."""

    __pydantic_config__ = ConfigDict(extra="forbid")
