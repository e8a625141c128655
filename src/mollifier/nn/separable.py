"""The separable network: a sum of products of functions of one coordinate each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from mollifier.errors import ConfigurationError
from mollifier.nn.layers import check_sizes
from mollifier.nn.mlp import MLP
from mollifier.nn.periodic import PeriodicInputs


class Separable(nn.Module):
    """``u(x) = sum_j prod_i f_ij(x_i)``: one perceptron for each coordinate (Cho et al., arXiv:2306.15969).

    On a tensor grid of n nodes along each of d coordinates the perceptrons are evaluated at n d points, not
    n^d (`on_grid`). Fields that are no short sum of products, such as fronts aslant of the axes, want a high
    rank.

    Parameters
    ----------
    inputs, outputs
        Coordinates in, scaled to about [-1, 1], and channels out; each channel has sums of its own.
    width, depth
        Units in each hidden layer of each perceptron, and the number of these layers.
    rank
        Number of products in the sum.
    activation, factorised
        As in `MLP`.
    periodic
        Which coordinates repeat after 2, from -1 to 1; none by default.

    Raises
    ------
    ConfigurationError
        If a size is below 1, the activation is not known, or ``periodic`` does not count the coordinates.

    Notes
    -----
    Perceptrons are initialised as `MLP` is. Products of their small values begin near zero.

    Examples
    --------
    >>> net = Separable(2, 3)
    >>> x, y = torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 4)
    >>> net(torch.cartesian_prod(x, y)).shape, net.on_grid([x, y]).shape
    (torch.Size([20, 3]), torch.Size([3, 5, 4]))
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 16,
        depth: int = 2,
        rank: int = 16,
        activation: str = "tanh",
        factorised: bool = False,
        periodic: Sequence[bool] | None = None,
    ) -> None:
        super().__init__()
        check_sizes("A separable network", inputs=inputs, outputs=outputs, rank=rank)
        periodic = (False,) * inputs if periodic is None else tuple(periodic)
        if len(periodic) != inputs:
            raise ConfigurationError(f"{inputs} coordinates and periodic={list(periodic)} were given.")
        self.rank, self.outputs = rank, outputs
        parts = []
        for wraps in periodic:
            before = PeriodicInputs([wraps])
            net = MLP(before.outputs, rank * outputs, width, depth, activation, factorised=factorised)
            parts.append(nn.Sequential(before, net) if wraps else net)
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, outputs)."""
        factors = [part(x[..., i : i + 1]) for i, part in enumerate(self.parts)]
        return self.summed(reduce(torch.mul, factors))

    def summed(self, products: Tensor) -> Tensor:
        """Sums (..., outputs) of products (..., outputs * rank)."""
        return products.unflatten(-1, (self.outputs, self.rank)).sum(-1)

    def on_grid(self, axes: Sequence[Tensor]) -> Tensor:
        """Values on a tensor grid.

        Parameters
        ----------
        axes
            Nodes along each coordinate, each of shape (n_i,).

        Returns
        -------
        Tensor
            Shape (outputs, n_1, ..., n_d): what ``forward`` gives at every node, at the price of
            ``n_1 + ... + n_d`` evaluations.
        """
        factors = [
            part(nodes[:, None]).unflatten(-1, (self.outputs, self.rank)).permute(1, 2, 0)
            for part, nodes in zip(self.parts, axes, strict=True)
        ]
        *others, last = factors
        if not others:
            return last.sum(1)
        # (outputs, rank, n_1 ... n_(d-1)), then the rank is summed with the last axis in one product.
        product = reduce(lambda a, b: a[..., None] * b.unflatten(-1, (*[1] * (a.ndim - 2), -1)), others)
        flat = product.flatten(2).transpose(1, 2) @ last
        return flat.unflatten(1, product.shape[2:])
