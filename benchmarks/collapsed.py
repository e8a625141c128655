"""A differential operator by Taylor mode at its best, which the mollifier layer is compared with."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid
from mollifier.mollify.orders import Derivative
from mollifier.nn.differentiation.base import MultiIndex, by_channel
from mollifier.nn.differentiation.taylor import DerivativeSums, Taylor


class TaylorOperator(nn.Module):
    """A linear differential operator of one order, fully collapsed: cheaper than its single derivatives.

    Parameters
    ----------
    grid
        The collocation grid.
    terms
        Factor of each derivative, all of one order, as in ``{"u_xx": 1.0, "u_yy": 1.0}``.
    directions
        Directions to choose from, shape (m, d), in the units of the coordinates; integer ones where not
        given.

    Examples
    --------
    >>> from mollifier.mollify.grid import Axis
    >>> from mollifier.nn.mlp import MLP
    >>> grid = Grid(Axis("x", -1.0, 1.0, 9), Axis("y", -1.0, 1.0, 7))
    >>> laplacian = TaylorOperator(grid, {"u_xx": 1.0, "u_yy": 1.0})
    >>> laplacian(MLP(2, 1, width=8, depth=2)).shape
    torch.Size([1, 9, 7])
    """

    def __init__(self, grid: Grid, terms: Mapping[str, float], directions: Array | None = None) -> None:
        super().__init__()
        self._points = Taylor(grid, list(terms))
        orders = [Derivative.parse(name, grid.names) for name in terms]
        total = max(d.total for d in orders)
        factors = {d.index(grid.names): f for d, f in zip(orders, terms.values(), strict=True)}
        sums: list[list[dict[MultiIndex, float]]] = [[] for _ in range(total)]
        self._sums = DerivativeSums(grid, [*sums, [factors]], directions)

    def forward(self, network: nn.Module) -> Tensor:
        """The operator on a network's field: (channels, *grid.shape), float64."""
        points = self._points
        return by_channel(self._sums(network, points._at("nodes", network))[-1][0], points.grid.shape)
