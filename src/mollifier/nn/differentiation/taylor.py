"""Taylor-mode autodiff: all derivatives of a network in one forward pass of truncated series.

Univariate series along a few directions with a shared value, mixed derivatives by polarisation, and the
highest order collapsed where there are fewer combinations than directions (arXiv:2505.13644). PyTorch has no
such mode: nested ``torch.func.jvp`` costs 2^order evaluations, and does not collapse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid
from mollifier.mollify.layer import Jet, Weights
from mollifier.nn.differentiation.base import Derivatives, MultiIndex, by_channel
from mollifier.nn.differentiation.directions import Plan, plan
from mollifier.nn.differentiation.rules import through
from mollifier.nn.differentiation.series import Carrier


class Taylor(Derivatives):
    """Exact derivatives of the network by Taylor series carried through its layers.

    A module is called with series in place of points (`mollifier.nn.differentiation.rules`): any module made
    of functions with rules will do; another function is an error that names it.

    >>> from mollifier.mollify.grid import Axis, Grid
    >>> from mollifier.nn.mlp import MLP
    >>> field = Taylor(Grid(Axis("x", -1.0, 1.0, 9), Axis("y", -1.0, 1.0, 7)), ["u", "u_xxyy"])
    >>> jet, values = field(MLP(2, 3, width=8, depth=2))
    >>> jet["u_xxyy"].shape, values is None
    (torch.Size([3, 9, 7]), True)
    """

    def _prepare(self) -> None:
        super()._prepare()
        self._by_order = [
            [d for d in self.orders if d.total == k] for k in range(max(d.total for d in self.orders) + 1)
        ]
        self._sums = DerivativeSums(
            self.grid, [[{self._indices[d]: 1.0} for d in same] for same in self._by_order]
        )

    @property
    def directions(self) -> Array:
        """Directions along which series are carried, shape (D, d), in units of the axes' lengths."""
        plan = self._sums.plan
        return np.zeros((0, len(self.grid.axes))) if plan is None else plan.directions

    def forward(self, network: nn.Module) -> tuple[Jet, Tensor | None]:
        """Jet (channels, *grid.shape) and observed values, see `Derivatives.forward`."""
        results = self._sums(network, self._at("nodes", network))
        found = {
            order: by_channel(result, self.grid.shape)
            for same, group in zip(self._by_order, results, strict=True)
            for order, result in zip(same, group, strict=True)
        }
        return Jet({d: found[d] for d in self.orders}, self.grid.names), self.evaluate(network)


class DerivativeSums(nn.Module):
    """Evaluates sums of derivatives of a network at points, by order, along the directions of a `Plan`."""

    def __init__(
        self,
        grid: Grid,
        sums: Sequence[Sequence[Mapping[MultiIndex, float]]],
        candidates: Array | None = None,
    ) -> None:
        super().__init__()
        # Series run in units of the axes' lengths, so that mixed directions are well scaled.
        lengths = np.array([a.length or 1.0 for a in grid])
        scaled = [
            [{i: f / float(np.prod(lengths ** np.array(i))) for i, f in terms.items()} for terms in same]
            for same in sums
        ]
        self.values = len(sums[0])
        self.plan: Plan | None = None
        arrays = {}
        if len(sums) > 1:
            self.plan = plan(scaled, None if candidates is None else candidates / lengths)
            arrays = {f"order{k}": w for k, w in enumerate(self.plan.weights)}
            arrays["directions"] = self.plan.directions * lengths
            self.collapsed = self.plan.weights[-1].shape[0] < self.plan.counts[-1]
        self._weights = Weights(arrays)

    def forward(self, network: nn.Module, points: Tensor) -> list[list[Tensor]]:
        """By order, each sum as (n, channels) in float64."""
        if self.plan is None:
            return [[network(points)] * self.values]
        w = self._weights.tensors()
        top = len(self.plan.counts) - 1
        carrier = Carrier(self.plan.counts, w[f"order{top}"] if self.collapsed else None)
        series = through(carrier, network, carrier.start(points, w["directions"].to(points)))
        assert series[0] is not None
        value = series[0][0]
        results = [[value] * self.values]
        for k in range(1, top + 1):
            coefficient, weights = series[k], w[f"order{k}"]
            if coefficient is None or not len(weights):
                results.append([value.new_zeros(value.shape)] * len(weights))
                continue
            coefficient = coefficient.double()
            if not (k == top and self.collapsed):
                coefficient = torch.tensordot(weights, coefficient, 1)
            results.append(list(coefficient.expand(-1, *value.shape)))
        return results
