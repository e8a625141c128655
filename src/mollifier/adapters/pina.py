"""PINA: conditions whose equations take their derivatives from the layer."""

# An extra, not installed for development.
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pina import Condition, LabelTensor
from pina.equation import Equation
from torch import Tensor

from mollifier.adapters.residual import ResidualLayer
from mollifier.errors import ConfigurationError


def conditions(
    residual: ResidualLayer, data: Mapping[str, Any] | None = None, points: Any = None
) -> dict[str, Any]:
    """The ``conditions`` of a PINA problem: "equation" for the residuals and "data" for the measurements.

    The unknowns are those of PINA's ``InverseProblem``. Both conditions hold all nodes of the layer: train
    with the whole batch, which is PINA's default.

    Parameters
    ----------
    residual
        Equations on their layer.
    data
        Field -> measurements on the layer's grid, NaN where there are none; with ``points``, of shape (n,).
    points
        Places of scattered measurements, (n, d), in the order of the grid's axes.

    Returns
    -------
    dict
        Name -> ``pina.Condition``.

    Raises
    ------
    ConfigurationError
        If there are measurements of a field that the equations do not hold, or, in training, a part of the
        nodes.
    """
    fields, names = residual.fields, list(residual.grid.names)
    if strange := {*(data or {})} - {*fields}:
        raise ConfigurationError(f"{', '.join(sorted(strange))}: data are of {fields}.")
    shape = residual.grid.shape if points is None else (-1,)
    measured = {f: torch.as_tensor(v).reshape(shape) for f, v in (data or {}).items()}
    sampler = None if points is None else residual.sampler(points)

    def equation(x: Any, y: Any, params: Any) -> Any:
        _, found = residual.to(y.device)(_on_nodes(residual, x, y), params)
        return LabelTensor(found.flatten(1).T, [f"equation{i}" for i in range(len(found))])

    def misfit(x: Any, y: Any, params: Any) -> Any:
        g = _on_nodes(residual, x, y)
        if sampler is None:
            found = residual.to(y.device)(g, params)[0]
        else:
            found = sampler.to(y.device)(residual.channels(g))[fields[0]]
        apart = [(found[fields.index(f)] - v.to(found)).flatten() for f, v in measured.items()]
        known = torch.cat([d[torch.isfinite(d)] for d in apart])
        return LabelTensor(known[:, None], ["misfit"])

    nodes = LabelTensor(residual.coords().clone(), names)
    made = {"equation": Condition(input=nodes, equation=Equation(equation))}
    if measured:
        made["data"] = Condition(input=nodes, equation=Equation(misfit))
    return made


def _on_nodes(residual: ResidualLayer, x: Any, y: Any) -> Tensor:
    """The network's columns in the order of the layer's nodes; PINA's trainer shuffles points."""
    place, nodes = torch.zeros(len(x), dtype=torch.long, device=y.device), residual.layer.nodes
    for axis in nodes:
        between = torch.as_tensor((axis.points[1:] + axis.points[:-1]) / 2, device=y.device)
        column = x.extract([axis.name]).as_subclass(Tensor).detach().double()[:, 0]
        place = place * axis.size + torch.bucketize(column, between)
    ordered, order = place.sort()
    if not torch.equal(ordered, torch.arange(nodes.size, device=y.device)):
        raise ConfigurationError(
            f"A batch of {len(x)} points was given; the layer needs each of its {nodes.size} nodes once: "
            "train with batch_size=None and train_size=1.0."
        )
    return y.extract(list(residual.fields)).as_subclass(Tensor)[order]
