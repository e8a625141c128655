"""Nested reverse-mode autodiff: derivatives of the network itself, one backward pass inside another."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mollifier.mollify.layer import Jet
from mollifier.nn.differentiation.base import Derivatives, MultiIndex, by_channel


class Nested(Derivatives):
    """Exact derivatives of the network by ``torch.autograd.grad``, applied once for each order.

    A mixed derivative is formed coordinate by coordinate in the grid's order. Derivatives with a common
    prefix share it, and one backward pass gives all next derivatives of a prefix. Time and memory grow
    exponentially with the order.

    >>> from mollifier.mollify.grid import Axis, Grid
    >>> from mollifier.nn.mlp import MLP
    >>> field = Nested(Grid(Axis("x", -1.0, 1.0, 9), Axis("y", -1.0, 1.0, 7)), ["u", "u_xxy"])
    >>> jet, values = field(MLP(2, 3, width=8, depth=2))
    >>> jet["u_xxy"].shape, values is None
    (torch.Size([3, 9, 7]), True)
    """

    def _prepare(self) -> None:
        super()._prepare()
        self._passes = backward_passes(self._indices.values())

    def forward(self, network: nn.Module) -> tuple[Jet, Tensor | None]:
        """Jet (channels, *grid.shape) and observed values, see `Derivatives.forward`."""
        with torch.enable_grad():
            x = self._at("nodes", network).detach().clone().requires_grad_(True)
            output = network(x)
            by_channel(output, self.grid.shape)  # raises for a wrong shape
            fields = [self._channel(u, x) for u in output.unbind(-1)]
            jet = {
                order: by_channel(torch.stack([f[index] for f in fields], -1), self.grid.shape)
                for order, index in self._indices.items()
            }
        if not torch.is_grad_enabled():
            jet = {order: u.detach() for order, u in jet.items()}
        return Jet(jet, self.grid.names), self.evaluate(network)

    def _channel(self, u: Tensor, x: Tensor) -> dict[MultiIndex, Tensor]:
        """Every derivative of one channel (n,), by multi-index."""
        formed: dict[MultiIndex, Tensor] = {(0,) * x.shape[1]: u}
        for index, following in self._passes:
            gradient = _gradient(formed[index], x)
            formed.update({n: gradient[:, axis] for axis, n in following.items()})
        return formed


def backward_passes(indices: Iterable[MultiIndex]) -> list[tuple[MultiIndex, dict[int, MultiIndex]]]:
    """What to differentiate, in order, and the multi-index that each axis of the gradient gives.

    >>> backward_passes([(2, 0), (1, 1)])
    [((0, 0), {0: (1, 0)}), ((1, 0), {0: (2, 0), 1: (1, 1)})]
    """
    steps: dict[MultiIndex, dict[int, MultiIndex]] = {}
    for index in indices:
        at = (0,) * len(index)
        for axis, count in enumerate(index):
            for _ in range(count):
                onward = (*at[:axis], at[axis] + 1, *at[axis + 1 :])
                steps.setdefault(at, {})[axis] = onward
                at = onward
    return sorted(steps.items(), key=lambda step: sum(step[0]))


def _gradient(u: Tensor, x: Tensor) -> Tensor:
    """Gradient (n, d) of a field (n,), each entry of which depends on one point; zero if constant."""
    if not u.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(u.sum(), x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient
