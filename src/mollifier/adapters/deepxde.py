"""DeepXDE: a problem whose residual takes its derivatives from the layer, `dde.Variable`s as unknowns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from mollifier.adapters.residual import ResidualLayer
from mollifier.errors import ConfigurationError

os.environ.setdefault("DDE_BACKEND", "pytorch")
deepxde: Any = import_module("deepxde")  # after the choice of its backend


class MollifiedPDE(deepxde.data.PDE):
    """What ``dde.Model`` trains on: residuals by the layer, and the misfit of its field to measurements.

    The losses are those of the equations, in their order, then of each field that has measurements, then of
    the ``bcs``. The points are the layer's nodes; the network emits a column for each field.

    Parameters
    ----------
    residual
        Equations on their layer.
    unknowns
        ``dde.Variable`` of each unknown; ``model.compile(external_trainable_variables=...)`` takes them too.
    data
        Field -> measurements on the layer's grid, NaN where there are none; with ``points``, of shape (n,).
    points
        Places of scattered measurements, (n, d).
    bcs
        DeepXDE's own conditions. They see the network, not the layer's field.

    Raises
    ------
    ConfigurationError
        If DeepXDE runs on another backend than PyTorch, or the names are not those of the equations.
    """

    def __init__(
        self,
        residual: ResidualLayer,
        unknowns: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        points: Any = None,
        bcs: Any = (),
    ) -> None:
        if deepxde.backend.backend_name != "pytorch":
            raise ConfigurationError(
                f"DeepXDE runs on {deepxde.backend.backend_name}; the layer needs PyTorch: set "
                "DDE_BACKEND=pytorch before deepxde is imported."
            )
        self.unknowns = dict(unknowns or {})
        strange = {*(data or {})} - {*residual.fields} | {*self.unknowns} ^ {*residual.unknowns}
        if strange:
            raise ConfigurationError(
                f"{', '.join(sorted(strange))}: data are of {residual.fields}, and each unknown of "
                f"{residual.unknowns} needs a dde.Variable."
            )
        real = deepxde.config.real(torch)
        shape = residual.grid.shape
        self.measured = {
            f: torch.as_tensor(v, dtype=real).reshape(shape if points is None else -1)
            for f, v in (data or {}).items()
        }
        self.residual = residual
        self.sampler = None if points is None else residual.sampler(points)
        nodes = residual.layer.nodes
        box = deepxde.geometry.Hypercube([a.points[0] for a in nodes], [a.points[-1] for a in nodes])
        super().__init__(box, self._residuals, list(bcs), anchors=nodes.coords())

    def _residuals(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """Residuals and misfits as DeepXDE expects them: rows for the points of the conditions first."""
        count = self.residual.layer.nodes.size
        g = y[-count:]
        fields, residuals = self.residual.to(g.device)(g, self.unknowns)
        found = [r.reshape(-1, 1) for r in residuals]
        if self.sampler is not None and self.measured:
            fields = self.sampler.to(g.device)(self.residual.channels(g))[self.residual.fields[0]]
        for name, values in self.measured.items():
            misfit = fields[self.residual.fields.index(name)] - values.to(g.device)
            found.append(misfit[torch.isfinite(misfit)][:, None])
        before = y.new_zeros(len(y) - count, 1)
        return [torch.cat([before, r]) for r in found]
