"""A network, or values at nodes, as one or more fields of the problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from mollifier.engines.collocated.bijection import Bijection
from mollifier.errors import ConfigurationError
from mollifier.mollify.grid import Grid
from mollifier.mollify.orders import Derivative
from mollifier.nn.differentiation.base import Derivatives
from mollifier.nn.differentiation.mollifier import Mollified


class Block(nn.Module):
    """One network and the fields that are its channels, over the same coordinates."""

    def __init__(
        self,
        names: Sequence[str],
        grid: Grid,
        needed: Mapping[str, Sequence[Derivative]],
        network: nn.Module,
        backend: Derivatives,
        bijection: Bijection | None = None,
        curvatures: Sequence[Derivative] = (),
    ) -> None:
        super().__init__()
        #: Fields, one a channel.
        self.names = tuple(names)
        self.grid = grid
        #: Derivatives of each field that the equations name.
        self.needed = {n: tuple(needed[n]) for n in names}
        #: Scaled coordinates (n, d) -> values (n, channels) in units of the scale.
        self.network = network if bijection is None else nn.Sequential(network, bijection)
        #: Keeps a field within its bounds: the last part of its network. None for states without.
        self.bijection = bijection
        self.backend = backend  #: Derivatives on the scaled grid.
        #: Second derivatives in the smoothness prior: none for a state.
        self.curvatures = tuple(curvatures)
        self._half_lengths = {a.name: a.half for a in grid}
        #: Buffers of shape (channels,): a state is ``level + scale * network``.
        self.level: Tensor
        self.scale: Tensor
        self.register_buffer("level", torch.zeros(len(self.names), dtype=torch.float64))
        self.register_buffer("scale", torch.ones(len(self.names), dtype=torch.float64))

    @property
    def mollified(self) -> Mollified:
        """The backend, where it is the mollifier; `ConfigurationError` if it is another."""
        if not isinstance(self.backend, Mollified):
            raise ConfigurationError(
                "Gauss-Newton needs derivatives by the mollifier layer; with derivatives 'nested' or "
                "'taylor' set training.optimiser to 'lbfgs' or 'auto'."
            )
        return self.backend

    @property
    def inner(self) -> nn.Module:
        """The network before its bijection."""
        network = self.network if self.bijection is None else self.network[0]  # pyrefly: ignore[bad-index]
        assert isinstance(network, nn.Module)
        return network

    def nodes(self) -> Tensor:
        """Where the network is evaluated for the mollifier, scaled, (n, d)."""
        return self.mollified.nodes(self.network)

    def factor(self, derivative: Derivative) -> float:
        """The ratio of a derivative along physical coordinates to that along scaled ones."""
        return float(np.prod([self._half_lengths[c] ** -n for c, n in derivative.orders]))

    def physical(self, values: Tensor) -> Tensor:
        """Values (channels, ...) in units of the scale as physical ones, (channels, n)."""
        return values.flatten(1) * self.scale[:, None] + self.level[:, None]

    def over(self, grid: Grid) -> tuple[int, ...]:
        """The shape of the block's values that broadcasts to a grid."""
        return tuple(a.size if a.name in self.grid.names else 1 for a in grid)

    def forward(
        self, grid: Grid | None = None, backend: Derivatives | None = None
    ) -> tuple[dict[str, Tensor], Tensor | None, list[Tensor]]:
        """The block's part of the environment, its observed values and its curvatures.

        The environment holds physical derivatives by name that broadcast to ``grid``, by default that of the
        block's coordinates. ``backend`` has the derivatives on it, by default those on the collocation grid.
        Observed values are physical, (channels, places), or None where nothing is observed; curvatures are
        along scaled coordinates, in units of the scale.
        """
        jet, observed = (backend or self.backend)(self.network)
        env: dict[str, Tensor] = {}
        for channel, name in enumerate(self.names):
            for d in self.needed[name]:
                value = jet[Derivative("u", d.orders).name][channel] * (self.scale[channel] * self.factor(d))
                if not d.total:
                    value = value + self.level[channel]
                env[d.name] = value.reshape(self.over(grid or self.grid))
        if observed is not None:
            observed = self.physical(observed)
        return env, observed, [jet[d.name] for d in self.curvatures]


def sparse_tensor(matrix: sp.csr_array) -> Tensor:
    """A sparse matrix (m, n) as a sparse tensor of torch, in float64."""
    coo = sp.coo_array(matrix)
    place = torch.from_numpy(np.stack(coo.coords).astype(np.int64))
    return torch.sparse_coo_tensor(place, torch.from_numpy(coo.data), matrix.shape, check_invariants=False)


def curvature_orders(grid: Grid) -> tuple[Derivative, ...]:
    """Every second derivative of a field u on a grid."""
    names = [a.name for a in grid if a.size > 2 and not a.discrete]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i:]]
    return tuple(Derivative("u").differentiate(a).differentiate(b) for a, b in pairs)
