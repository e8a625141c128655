"""The state of a run as it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import xarray as xr


@dataclass(frozen=True)
class Progress:
    """The state of a run, as given to a progress callback."""

    #: Names.
    engine: str
    stage: str
    #: Steps taken and planned in this stage.
    step: int
    steps: int
    #: Elapsed, and expected until the end of the stage at the mean pace.
    seconds: float
    left: float | None
    losses: Mapping[str, float]  #: "loss" and its parts "data", "residual", "prior".
    #: Current values of the scalar unknowns; empty in the warm-up, which does not use them.
    estimates: Mapping[str, float]
    #: Returns the unknown fields on their grids, when called within the callback.
    fields: Callable[[], xr.Dataset]
