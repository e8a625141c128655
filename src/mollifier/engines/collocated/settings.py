"""Settings that the joint and the network engine share."""

from __future__ import annotations

from pydantic import Field

from mollifier.engines.collocated.tuning import CollocatedTuning
from mollifier.engines.likelihood import Likelihood
from mollifier.problem.settings import CollocationSettings, Strict


class CollocatedTraining(Strict):
    """Weights of the fit, and when it stops."""

    steps: int | None = Field(
        default=None,
        ge=0,
        description="Levenberg-Marquardt (100 joint, 150 network) or 2,000 L-BFGS steps if absent.",
    )
    equation_weight: float = Field(
        default=1.0, gt=0, description="Of the equation's relative residual in units of the relative noise."
    )
    likelihood: Likelihood = Field(
        default="normal", description="Of the data; student and huber are robust to outliers."
    )
    noise_floor: float = Field(
        default=1e-3, gt=0, description="Smallest relative noise that the fit is weighted with."
    )
    tolerance: float = Field(
        default=1e-3, gt=0, description="Relative decrease of the loss per step below which it stops."
    )
    time_limit: float | None = Field(default=None, gt=0, description="Seconds.")
    checkpoint_every: float = Field(default=30.0, gt=0, description="Seconds between checkpoints.")
    checkpoint_steps: int | None = Field(
        default=None, ge=1, description="Steps between checkpoints, beside the seconds; none if absent."
    )


class CollocatedSettings(Strict):
    """Settings of an engine that imposes the equation on a collocation grid."""

    collocation: CollocationSettings = Field(
        CollocationSettings(), description="Where the equation is imposed."
    )
    training: CollocatedTraining = Field(CollocatedTraining(), description="The fit, and when it stops.")
    held_out: float = Field(
        default=0.1, ge=0, lt=1, description="Fraction of the observations kept out of the fit."
    )
    tuning: CollocatedTuning = Field(CollocatedTuning(), description="Numbers that steer the engine.")
