"""Where laws of the state are read out: over the values that states take, with how often they take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Axis
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import value_axis

_VALUES = 101  # Values at which a law is read out.
_SMALLEST_MODE = 1e-6  # Variance of a mode of a law's error that is kept, over that of the largest.


def unit_attrs(unit: str) -> dict[str, str]:
    """The attributes of a variable in a unit; none without one."""
    return {"units": unit} if unit else {}


def value_axes(problem: InverseProblem, states: Mapping[str, Array]) -> list[Axis]:
    """For each field that laws vary over, an axis over the values that its estimate takes.

    Estimated fields are on a grid, NaN where there are none.
    """
    varied = {c for over in problem.laws.values() for c in over}
    ends = {
        f: (float(np.nanmin(states[f])), float(np.nanmax(states[f])))
        for f in problem.all_states
        if f in varied
    }
    return [Axis(f, *pair, _VALUES, unit=problem.data.units.get(f, "")) for f, pair in ends.items()]


def value_variables(axes: list[Axis], states: Mapping[str, Array]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Variables and coordinates of a dataset: how many nodes of the states are nearest to each value."""
    variables, coordinates = {}, {}
    for axis in axes:
        edges = axis.lower + axis.spacing * (np.arange(axis.size + 1) - 0.5)
        seen = states[axis.name][np.isfinite(states[axis.name])]
        note = {"long_name": f"nodes at which {axis.name} has about this value"}
        variables[f"{axis.name}_visits"] = (value_axis(axis.name), np.histogram(seen, edges)[0], note)
        attrs = {"long_name": f"value of {axis.name}"} | unit_attrs(axis.unit)
        coordinates[value_axis(axis.name)] = (value_axis(axis.name), axis.points, attrs)
    return variables, coordinates


def mode_variable(name: str, dims: tuple[str, ...], covariance: Array) -> dict[str, Any]:
    """A variable of a dataset: independent parts of a law's error with a covariance (values, values)."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    kept = values > _SMALLEST_MODE * values[-1]
    modes = np.asarray((vectors[:, kept] * np.sqrt(values[kept])).T[::-1], dtype=np.float64)
    note = {"long_name": f"independent parts of the error of {name}, whose squares add up to its variance"}
    return {f"{name}_modes": ((f"{name}_mode", *dims), modes, note)}
