"""Two more questions without an answer beside their twins: from a flow channel and a materials test."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks.cases.ill_posed import Question, answerable, unanswerable
from mollifier.problem.unknowns import ScalarUnknown

Array = NDArray[np.float64]


def lab_questions() -> list[tuple[Question, Question]]:
    """Pairs of an unanswerable question and its answerable twin.

    Examples
    --------
    >>> for bad, good in lab_questions():
    ...     print(bad.case.name, "|", bad.case.equation, "|", good.case.equation)
    slow_camera | u_t + c*u_x = D*u_xx | u_t + c*u_x = D*u_xx
    creep | s = E*u + eta*u_t | s = E*u + eta*u_t
    """
    return [slow_camera(), creep()]


def slow_camera() -> tuple[Question, Question]:
    """Dye in a channel that moves more than half a wave between frames; twin: twenty times as many frames."""
    unknowns = {"c": ScalarUnknown(), "D": ScalarUnknown(lower=0.0)}
    truth = {"c": 2.0, "D": 0.01}
    x = 2 * np.pi * np.arange(64) / 64

    def film(frames: int) -> xr.Dataset:
        t = np.linspace(0, 20, frames)
        u = sum(
            a * np.exp(-0.01 * k**2 * t) * np.sin(k * (x[:, None] - 2.0 * t) + k)
            for k, a in ((1, 0.4), (2, 1.0), (3, 0.7))
        )
        return xr.Dataset({"u": (("x", "t"), u)}, {"x": ("x", x, {"periodic": 2 * np.pi}), "t": t})

    equation = "u_t + c*u_x = D*u_xx"
    why = "Frames are 1 apart and waves of length pi move by 2: as well by 2 - pi, the other way."
    return (
        unanswerable("slow_camera", equation, unknowns, film(21), truth, why),
        answerable("slow_camera", equation, unknowns, film(401), truth),
    )


def creep() -> tuple[Question, Question]:
    """Kelvin-Voigt solid, stress s known: strain that grows exponentially; twin: strain that also swings."""
    unknowns = {"E": ScalarUnknown(lower=0.0), "eta": ScalarUnknown(lower=0.0)}
    truth = {"E": 3.0, "eta": 0.8}
    t = np.linspace(0, 4, 401)

    def test(strain: Array, rate: Array) -> xr.Dataset:
        return xr.Dataset({"u": ("t", strain), "s": ("t", 3.0 * strain + 0.8 * rate)}, {"t": t})

    ramp = test(np.exp(0.5 * t), 0.5 * np.exp(0.5 * t))
    swing = test(0.5 * t + np.sin(3 * t), 0.5 + 3 * np.cos(3 * t))
    why = "u_t = u/2 at all times: only E + eta/2 enters."
    equation = "s = E*u + eta*u_t"
    return (
        unanswerable("creep", equation, unknowns, ramp, truth, why),
        answerable("creep", equation, unknowns, swing, truth),
    )
