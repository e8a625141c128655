"""Settings of the weak engine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat

from mollifier.engines.likelihood import Likelihood
from mollifier.engines.weak.tuning import WeakTuning
from mollifier.problem.settings import Strict


class TestFunctions(Strict):
    """The test functions' kernel."""

    __test__ = False  # no test, for pytest

    radius: Literal["auto"] | PositiveFloat | dict[str, PositiveFloat] = Field(
        default="auto", description="Half-width of the test functions in the units of each axis."
    )


class Noise(Strict):
    """How the data are weighted."""

    likelihood: Likelihood = Field(
        default="normal", description="Of the data; student and huber leave out values far from the fit."
    )
    noise_floor: float = Field(
        default=1e-3, gt=0, description="Smallest relative noise that the fit is weighted with."
    )


class WeakSettings(Strict):
    """Settings of the weak engine."""

    collocation: TestFunctions = Field(TestFunctions(), description="The test functions.")
    training: Noise = Field(Noise(), description="How the data are weighted.")
    tuning: WeakTuning = Field(WeakTuning(), description="Numbers that steer the engine.")
