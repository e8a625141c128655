"""Whether a state swings between the sensors more than their measurements show.

Two waves that agree at all sensors of an axis differ between them: of the waves with k and with n - k periods
over n sensors, the shorter one decays ((n - k)/k)^2 times as fast, so that a diffusivity which is as much too
small explains the same measurements. A state between sensors that is far from the smooth curve through them
is a sign of such an answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from mollifier.engines.registry import ENGINES
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


@dataclass(frozen=True)
class AliasTuning:
    """Numbers that steer the test."""

    #: Share of a state's standard deviation by which it may differ between sensors from their cubic spline.
    largest: float = 0.15
    #: Sensors along an axis below which the spline shows too little: right answers on 5 differ by 0.2.
    fewest: int = 8


DEFAULT = AliasTuning()


def resolved_between_sensors(problem: InverseProblem, solution: Solution) -> Status | None:
    """`undetermined` where a state departs between sensors from the curve through its values at them."""
    engine = str(solution.provenance.get("engine"))
    if engine not in ENGINES or not ENGINES[engine].solves_states or not problem.data.gridded:
        return None
    for f in problem.fields:
        for c in problem.data.coordinates_of(f):
            part = between(solution.dataset[f], c, problem.data.dataset[c].values)
            if part > DEFAULT.largest:
                return Status(
                    "undetermined",
                    f"between the places of measurement along {c} the state {f} departs by "
                    f"{100 * part:.0f} % of its standard deviation from the smooth curve through them, which "
                    f"no measurement shows: a smoother state may explain them with other unknowns. Measure "
                    f"at closer values of {c}, or give the unknowns initial values or bounds",
                )
    return None


def between(state: xr.DataArray, coordinate: str, sensors: NDArray[np.float64]) -> float:
    """Rms distance of a state from the cubic spline through its values at sensors, over its deviation.

    Zero where the sensors are few, or as close as the nodes of the state.

    Examples
    --------
    >>> x = np.linspace(0, 1, 111)
    >>> waves = [xr.DataArray(np.cos(2 * np.pi * k * x), {"x": x}, ("x",)) for k in (3, 9)]
    >>> [round(between(w, "x", np.linspace(0, 1, 13)), 1) for w in waves]
    [0.0, 1.4]
    """
    x = state[coordinate].values
    places = np.unique(sensors[(sensors >= x[0]) & (sensors <= x[-1])])
    if len(places) < DEFAULT.fewest or len(places) >= len(x):
        return 0.0
    values = state.transpose(coordinate, ...).values
    inside = (x >= places[0]) & (x <= places[-1])
    smooth = CubicSpline(places, CubicSpline(x, values)(places)) if np.isfinite(values).all() else None
    spread = float(values.std())
    if smooth is None or not spread:
        return 0.0
    return float(np.sqrt(np.mean((values[inside] - smooth(x[inside])) ** 2))) / spread
