"""Bounds of hidden states: a bijection keeps them, but where a condition gives the state's values."""

from __future__ import annotations

import numpy as np
import xarray as xr

from mollifier.problem.inverse_problem import InverseProblem

# Standard errors, and share of a state's largest distance from a bound, by which it may pass the bound: a
# judgement, of which no false alarms were counted.
_PASSED_SDS, _PASSED_SHARE = 4.0, 0.02


def imposed(problem: InverseProblem, name: str) -> bool:
    """Whether a bijection keeps a hidden state within its bounds.

    None does where a condition gives the state's values. At a bound raw values would grow without end, and
    near one they change within less than a cell, as those of a compartment that fills; the condition holds
    the state's sign without them.

    >>> import mollifier as mf
    >>> t = np.linspace(0, 1, 9)
    >>> obs = mf.Observations(values={"c": np.exp(-t)}, points={"t": t})
    >>> equations = ["c_t = -k*c", "b_t = k*c"]
    >>> states, unknowns = {"b": mf.StateUnknown(lower=0.0)}, {"k": mf.ScalarUnknown()}
    >>> empty = mf.Condition("b = 0", at={"t": "start"})
    >>> imposed(mf.InverseProblem(equations, obs, unknowns, states=states), "b")
    True
    >>> imposed(mf.InverseProblem(equations, obs, unknowns, states=states, conditions=[empty]), "b")
    False
    """
    state = problem.states[name]
    own = [c for c in problem.system.conditions if c.symbols == (name,)]
    return state.bounded and not own


def passed(problem: InverseProblem, found: xr.Dataset) -> str:
    """Which state passes bounds that are not imposed by more than its error; empty where none does.

    ``found`` has the states, and their standard errors where there are some.
    """
    for name in problem.hidden:
        state = problem.states[name]
        if not state.bounded or imposed(problem, name):
            continue
        values, sd = found[name].values, found[f"{name}_sd"].values if f"{name}_sd" in found else 0.0
        for bound, side in ((state.lower, 1.0), (state.upper, -1.0)):
            if bound is None:
                continue
            room = side * (values - bound)
            if np.any(room < -_PASSED_SDS * sd - _PASSED_SHARE * np.nanmax(np.abs(room))):
                return (
                    f"{name} passes its bound {bound:g}, though a condition gives its values: "
                    "the equation, the condition or the bound is wrong"
                )
    return ""
