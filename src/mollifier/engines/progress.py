"""The state of a run as it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import xarray as xr


@dataclass(frozen=True)
class Progress:
    """The state of a run, as given to a progress callback.

    Attributes
    ----------
    engine, stage
        Names.
    step, steps
        Steps taken and planned in this stage.
    seconds, left
        Elapsed, and expected until the end of the stage at the mean pace.
    losses
        "loss" and its parts "data", "residual", "prior".
    estimates
        Current values of the scalar unknowns; empty in the warm-up, which does not use them.
    fields
        Returns the unknown fields on their grids, when called within the callback.
    """

    engine: str
    stage: str
    step: int
    steps: int
    seconds: float
    left: float | None
    losses: Mapping[str, float]
    estimates: Mapping[str, float]
    fields: Callable[[], xr.Dataset]
