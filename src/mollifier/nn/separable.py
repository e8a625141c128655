"""The separable network: a sum of products of functions of one coordinate each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from mollifier.nn.layers import Network
from mollifier.nn.mlp import MLP
from mollifier.nn.periodic import periodic_flags, with_periodic_inputs


class Separable(Network):
    """``u(x) = sum_j prod_i f_ij(x_i)``: one perceptron for each coordinate (Cho et al., arXiv:2306.15969).

    On a tensor grid of n nodes along each of d coordinates the perceptrons are evaluated at n d points, not
    n^d (`on_grid`). Fields that are not a short sum of products, such as fronts oblique to the axes, need a
    high rank. Products of the small values of new perceptrons are near zero at first.

    Parameters
    ----------
    rank
        Number of products in the sum of each channel.
    **others
        Of the perceptrons, as of `Network`.

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
        super().__init__(inputs, outputs, rank=rank)
        self.rank = rank

        def part(columns: int) -> MLP:
            return MLP(columns, rank * outputs, width, depth, activation, factorised=factorised)

        flags = periodic_flags(inputs, periodic)
        self.parts = nn.ModuleList(with_periodic_inputs(1, [wraps], part) for wraps in flags)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, outputs)."""
        factors = [part(x[..., i : i + 1]) for i, part in enumerate(self.parts)]
        return self.summed(reduce(torch.mul, factors))

    def summed(self, products: Tensor) -> Tensor:
        """Sums (..., outputs) of products (..., outputs * rank)."""
        return products.unflatten(-1, (self.outputs, self.rank)).sum(-1)

    def on_grid(self, axes: Sequence[Tensor]) -> Tensor:
        """Values (outputs, n_1, ..., n_d) on a tensor grid, as of ``forward`` at every node.

        The nodes along each coordinate are (n_i,), and there are ``n_1 + ... + n_d`` evaluations.
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
