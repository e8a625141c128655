"""Fields with edges: seen in a fit with smooth priors, and fitted again from there with an edge prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy.interpolate import RegularGridInterpolator

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.stages import Stage
from mollifier.engines.joint.spline import coefficients_of, raw_values
from mollifier.engines.joint.stages import Joint
from mollifier.engines.priors.few_levels import few_levels
from mollifier.mollify.arrays import Array, Mask
from mollifier.mollify.orders import Derivative
from mollifier.problem.solution import Solution


def edged_fields(joint: Joint) -> list[str]:
    """Unknown fields with a Matern prior, where the evidence is for one that varies widely over them."""
    problem, priors = joint.model.problem, joint.linearisation.priors
    if joint.raised < joint.tuning.priors.edged:
        return []
    fields = {n: priors[n] for n in problem.may_have_edges("auto") if n in joint.free}
    return [n for n, p in fields.items() if not p.edged and not any(a.discrete for a in p.lattice)]


def log_evidence(joint: Joint) -> float:
    """Of a fit and its priors, up to a constant that fits on the same nodes share.

    States and unknowns are integrated over, by the prior that the states have given the equation.
    """
    system, losses = joint.bordered(), joint.losses()
    states = losses["data"] + losses["residual"]
    return (
        system.linear.log_evidence(system.choices)
        - states * joint.objective.count / 2
        + (system.before_data.log_determinant - system.eliminated.factor.log_determinant) / 2
    )


def read_levels(found: Solution, joint: Joint, fields: Sequence[str]) -> Solution:
    """A solution whose fields with edges are read as one of few levels, where they have these.

    Between two levels a spline is a ramp. By Bayes' theorem the ramp and its errors, of which the place of
    the edge is one, give the probability of each level there (`few_levels`): the field is read as its mean,
    and the standard error is that of the choice of a level, in place of that of the edge's place.
    """
    for name in fields:
        if f"{name}_sd" not in found.dataset or name in joint.model.gauges:
            continue
        block, value, sd = joint.model.unknown_blocks[name], found.dataset[name], found.dataset[f"{name}_sd"]
        assert block.bijection is not None
        at_nodes = block.mollified.matrix(Derivative("u"))
        raw = at_nodes @ raw_values(block)[:, 0].numpy()
        place = at_nodes @ joint.linearisation.place_sd(name)
        with np.errstate(all="ignore"):
            whole = sd.values.ravel() / block.bijection.slopes(raw)
        inside = np.isfinite(whole) & (whole > 0)
        levels = few_levels(raw[inside], whole[inside], joint.tuning.priors) if inside.any() else None
        if levels is None:
            continue
        values, slopes = block.bijection.values(levels.levels), block.bijection.slopes(levels.levels)
        mean, choice = levels.read(values)
        other = levels.read(slopes)[0] * np.sqrt(np.maximum(whole**2 - place**2, 0.0)[inside])
        listed = " or ".join(f"{v:.3g}" for v in values)
        found = replace(
            found,
            dataset=found.dataset.assign(
                {
                    name: _placed(value, inside, mean),
                    str(sd.name): _placed(sd, inside, np.hypot(choice, other)),
                }
            ),
            status=found.status.noting(f"{name} is read as {listed}"),
            provenance={
                **found.provenance,
                "levels": {**found.provenance.get("levels", {}), name: values.tolist()},
            },
        )
    return found


def _placed(field: xr.DataArray, inside: Mask, values: Array) -> xr.DataArray:
    """A field with other values (n,) at the places inside."""
    whole = field.values.copy()
    whole.ravel()[inside] = values
    return field.copy(data=whole)


class Continued(Stage):
    """Starts unknowns and hidden states from an earlier fit, whatever its cells and nodes, at full weight.

    ``before`` is the last stage of the earlier fit, at its end, and ``joint`` the stage that follows.
    """

    name = "start"

    def __init__(self, joint: Joint, before: Joint) -> None:
        self.joint, self.before = joint, before

    def step(self) -> dict[str, float]:
        """Take unknowns and hidden states, and let all states follow."""
        joint, model, before = self.joint, self.joint.model, self.before.model
        for name, scalar in model.scalars.items():
            scalar.load_state_dict(before.scalars[name].state_dict())
        for name, block in model.unknown_blocks.items():
            _take(block, before.unknown_blocks[name], 0)
            joint.objective.set_field_scale(name, self.before.objective.field_scale(name))
        for state in joint.objective.states[len(joint.objective.targets) :]:
            _take(model.blocks[state.block], before.blocks[state.block], state.channel)
        joint.objective.roughness.copy_(self.before.objective.roughness)
        joint.objective.measure()
        joint.weight = 1.0
        for _ in range(joint.tuning.level_steps):
            joint.follow()
        return joint.losses()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The unknowns are those of the model that was saved."""
        self.joint.weight = 1.0


def _take(block: Block, before: Block, channel: int) -> None:
    """Set an unknown field or a hidden state to that of another block over the same domain."""
    if block.bijection is not None and before.bijection is not None:
        block.bijection.load_state_dict(before.bijection.state_dict())
    nodes, module = before.mollified.lattice, coefficients_of(block)
    axes = [a.points for a in nodes]
    raw = RegularGridInterpolator(axes, raw_values(before)[:, channel].numpy().reshape(nodes.shape))
    ends = np.array([[x[0], x[-1]] for x in axes])
    with torch.no_grad():
        block.level[channel], block.scale[channel] = before.level[channel], before.scale[channel]
        module.coefficients[:, channel] = torch.from_numpy(raw(np.clip(module.lattice.coords(), *ends.T)))
