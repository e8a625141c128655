"""Bounds of hidden states: a bijection keeps them, but where a condition puts the state at one."""

from __future__ import annotations

import numpy as np
import xarray as xr

from mollifier.problem.inverse_problem import InverseProblem

# Standard errors, and share of a state's largest distance from a bound, by which it may pass the bound: a
# judgement, of which no false alarms were counted.
_PASSED_SDS, _PASSED_SHARE = 4.0, 0.02


def imposed(problem: InverseProblem, name: str) -> bool:
    """Whether a bijection keeps a hidden state within its bounds.

    None does that reaches them: at a bound, where a condition puts the state, its raw values would grow
    without end.

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
    bounds = [b for b in (state.lower, state.upper) if b is not None]
    return state.bounded and not any(float(c.evaluate({name: b})) == 0 for c in own for b in bounds)


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
                    f"{name} passes its bound {bound:g}, at which a condition puts it: "
                    "the equation or the bound is wrong"
                )
    return ""
