"""Settings of the joint engine."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mollifier.engines.collocated.settings import CollocatedSettings
from mollifier.engines.joint.tuning import JointTuning
from mollifier.problem.settings import Strict


class FieldSplines(Strict):
    """Settings of the unknown fields' splines."""

    cells: Annotated[int, Field(ge=2)] | dict[str, Annotated[int, Field(ge=2)]] | None = Field(
        default=None,
        description="Cells of the spline that represents an unknown field, along all or some coordinates; "
        "128, 16 or 8 for fields over one, two or three if absent.",
    )


class JointSettings(CollocatedSettings):
    """Settings of the joint engine."""

    joint: FieldSplines = Field(FieldSplines(), description="Splines of the unknown fields.")
    tuning: JointTuning = Field(JointTuning(), description="Numbers that steer the engine.")
