"""The datasets of a solution, from a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy.ndimage import binary_dilation
from torch import Tensor

from mollifier.data.observations import Observations
from mollifier.engines.collocated.law_block import LawBlock
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.fit_table import FitPart, fit_table
from mollifier.engines.identifiability.structure import gauge_text
from mollifier.engines.visits import mode_variable, unit_attrs, value_axes, value_variables
from mollifier.errors import EquationError
from mollifier.mollify.arrays import Array
from mollifier.problem.domain import masked
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import value_axis


def read_fields(objective: Objective, spreads: Mapping[str, Array], laws: Mapping[str, Array]) -> xr.Dataset:
    """States and unknown fields with their derivatives, standard errors, residuals and ratios.

    Derivatives are those that the equations name. Everything is on the collocation grid, and NaN outside the
    measured region, but for the nodes next to it.

    ``spreads`` are standard errors of unknown fields and hidden states on their grids, ``laws`` covariances
    of the errors of laws of one state, where known.
    """
    model, problem = objective.model, objective.model.problem
    with torch.no_grad(), np.errstate(all="ignore"):
        env, _, _ = model()
        residuals = [r.cpu().numpy() for r in objective.residuals(env)]
        ratios = ratio_read_out(problem, env, model.collocation.grid.shape, objective.tuning.least_factor)
    grid, units = model.collocation.grid, problem.data.units
    variables: dict[str, Any] = {}
    seen = model.states_inside(env)
    visits, coordinates = value_variables(value_axes(problem, seen), seen)
    variables |= visits
    for block in model.blocks:
        own = block()[0] if isinstance(block, LawBlock) else env
        dims = tuple(value_axis(c) if c in problem.all_states else c for c in block.grid.names)
        for name in block.names:
            unit = units.get(name, "") or getattr(problem.unknowns.get(name), "unit", "")
            value = own[name].detach().cpu().numpy().reshape(block.grid.shape)
            attrs = unit_attrs(unit)
            if name in model.gauges:
                value, attrs["comment"] = model.gauge_fixed(name, value), gauge_text(problem, name)
            variables[name] = (dims, value, attrs)
            for d in block.needed[name]:
                value = own[d.name].detach().cpu().numpy().reshape(block.grid.shape)
                variables.setdefault(d.name, (dims, value, {"role": "derivative"}))
    equations = len(problem.system.equations)
    for i, r in enumerate(residuals[:equations]):
        label = "residual" if equations == 1 else f"residual_{i}"
        note = {"long_name": "residual relative to the rms of the equation's terms"}
        variables[label] = (grid.names, np.array(r), note)
    for i, (condition, r) in enumerate(zip(problem.system.conditions, residuals[equations:], strict=True)):
        unit = "its standard error" if condition.noise else "the rms of its terms over the domain"
        kept = [a.name for a in grid if a.name not in condition.at]
        note = {"role": "condition", "equation": str(condition), "noise": condition.noise}
        note["long_name"] = f"residual of '{condition}' over {unit}"
        variables[f"condition_{i}"] = (kept, np.reshape(r, [grid[c].size for c in kept]), note)
    for name, value in ratios.items():
        if problem.unknown_fields[name].over == grid.names:
            note = {"long_name": f"{name} read out as a ratio, masked where its factor is small"}
            variables[f"{name}_ratio"] = (grid.names, value, note)
    for name, sd in spreads.items():
        over = variables[name][0]
        variables[f"{name}_sd"] = (over, sd, {"long_name": f"standard error of {name} (Laplace)"})
    for name, covariance in laws.items():
        variables |= mode_variable(name, variables[name][0], covariance)
    coordinates |= {a.name: (a.name, a.points, unit_attrs(a.unit)) for a in grid}
    found = xr.Dataset(variables, coordinates)
    if model.collocation.inside is None:
        return found
    near = binary_dilation(model.collocation.inside, np.ones([3] * len(grid.names)))
    return masked(found, xr.DataArray(near, dims=grid.names))


def read_unknown_fields(objective: Objective) -> xr.Dataset:
    """The unknown fields at the present parameters, each on its grid."""
    fields = {}
    for name, block in objective.model.unknown_blocks.items():
        with torch.no_grad():
            env, _, _ = block()
        values = env[name].cpu().numpy().reshape(block.grid.shape)
        fields[name] = xr.DataArray(values, {a.name: a.points for a in block.grid}, block.grid.names)
    return xr.Dataset(fields)


def read_fit(objective: Objective, held: Observations | None) -> xr.Dataset:
    """One row per sample, fitted or held out; all fields' rows one after another.

    What is fitted includes the noise that samples share by declared effects.
    """
    model = objective.model
    problem = model.problem
    with torch.no_grad():
        _, observed, _ = model()
    parts = [(t, t.samples, False) for t in objective.targets]
    if held is not None:
        parts += [(t, held.samples(t.name).floored(t.floor), True) for t in objective.targets]
    parts.sort(key=lambda part: problem.fields.index(part[0].name))
    found = []
    for target, s, held_out in parts:
        state = observed[target.block][target.channel]
        with torch.no_grad():
            values = objective.measured(target, state)
        here = model.places[target.block].index(s.points)
        shared = (values - state).cpu().numpy()[here] if target.name in model.noise else None
        found.append(FitPart(target.name, s, values.cpu().numpy()[here], held_out, shared))
    return fit_table(problem, found)


def read_history(history: Mapping[str, list[Any]]) -> xr.Dataset:
    """One row per step; empty where none was taken."""
    return xr.Dataset({n: ("step", np.asarray(v)) for n, v in (history or {"loss": []}).items()})


def ratio_read_out(
    problem: InverseProblem, env: Mapping[str, Tensor], shape: tuple[int, ...], least: float
) -> dict[str, Array]:
    """Unknown fields that enter an equation linearly and undifferentiated: minus the rest over their factor.

    The ratio of arXiv:2505.11682, point by point: a picture. NaN where the factor is below ``least`` times
    its rms: there the ratio is noise, whatever the fit.
    """
    result = {}
    for name in problem.unknown_fields:
        for e in problem.system.equations:
            derivatives = [d.name for d in problem.system.derivatives.get(name, ()) if d.total]
            if name not in e.symbols or any(d in e.symbols for d in derivatives):
                continue
            try:
                rest, factors = e.collect([name])
            except EquationError:
                continue
            top, bottom = (
                np.broadcast_to(v.detach().cpu().numpy(), shape) for v in (rest(env), factors[name](env))
            )
            masked = np.abs(bottom) < least * np.sqrt(np.mean(np.square(bottom)))
            result[name] = np.where(masked, np.nan, -top / np.where(masked, 1.0, bottom))
    return result
