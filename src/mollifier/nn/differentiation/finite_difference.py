"""Finite differences of the network's values on the grid: the baseline without kernel or autodiff."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from mollifier.errors import GridError
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.layer import Jet, Weights
from mollifier.nn.differentiation.base import Derivatives, by_channel


class FiniteDifference(Derivatives):
    """Central differences on the fewest nodes, of second order on even axes.

    The network is evaluated once, in its dtype, on the grid and, along axes that are not periodic, at as many
    nodes past its ends as the widest difference needs. Differences are formed in float64; rounding of a
    float32 network adds an error of about ``1e-7 / spacing**order``.

    Raises
    ------
    GridError
        If an axis has a single node, or a periodic one has fewer than the difference needs.

    Examples
    --------
    >>> field = FiniteDifference(Grid(Axis("x", 0.0, 1.0, 11)), ["u", "u_xx"])
    >>> square = nn.Linear(1, 1)
    >>> jet, _ = field(square)
    >>> jet["u_xx"].shape
    torch.Size([1, 11])
    """

    def _prepare(self) -> None:
        nodes, matrices = [], {}
        for d, axis in enumerate(self.grid):
            needed = sorted({index[d] for index in self._indices.values()})
            halo = _continued(axis, (max(needed) + 1) // 2)
            nodes.append(halo)
            matrices.update({f"axis{d}_order{k}": _differences(axis, halo, k) for k in needed})
        self.nodes = Grid(*nodes)
        self._weights = Weights(matrices)
        self._hold("nodes", self.nodes.coords())

    def forward(self, network: nn.Module) -> tuple[Jet, Tensor | None]:
        """Jet (channels, *grid.shape) and observed values, see `Derivatives.forward`."""
        g = by_channel(network(self._at("nodes", network)), self.nodes.shape)
        matrices = self._weights.tensors()
        jet = {}
        for order, index in self._indices.items():
            result = g
            for d, k in enumerate(index):
                result = (result.movedim(d + 1, -1) @ matrices[f"axis{d}_order{k}"].T).movedim(-1, d + 1)
            jet[order] = result
        return Jet(jet, self.grid.names), self.evaluate(network)


def _continued(axis: Axis, count: int) -> Axis:
    """The axis with ``count`` more nodes on both sides; a periodic one as it is."""
    if axis.size == 1 and count:
        raise GridError(
            f"Axis '{axis.name}' has one node: no derivative along it can be formed. Give it at least two."
        )
    if axis.periodic:
        if axis.size < 2 * count + 1:
            raise GridError(f"Periodic axis '{axis.name}' has {axis.size} nodes; {2 * count + 1} are needed.")
        return axis
    if not count:
        return axis
    x = axis.points
    steps = np.arange(1, count + 1)
    before, after = x[0] - (x[1] - x[0]) * steps[::-1], x[-1] + (x[-1] - x[-2]) * steps
    return Axis.from_points(axis.name, np.concatenate([before, x, after]), unit=axis.unit)


def _differences(axis: Axis, halo: Axis, order: int) -> NDArray[np.float64]:
    """Matrix (axis.size, halo.size) of the order-th derivative at the nodes, exact on polynomials."""
    reach = (order + 1) // 2
    first = (halo.size - axis.size) // 2
    matrix = np.zeros((axis.size, halo.size))
    for i in range(axis.size):
        index = first + i + np.arange(-reach, reach + 1)
        wraps, index = np.divmod(index, halo.size)
        offsets = halo.points[index] + wraps * halo.length - axis.points[i]
        scale = np.abs(offsets).max() or 1.0
        moments = np.zeros(len(offsets))
        moments[order] = math.factorial(order) / scale**order
        powers = np.vander(offsets / scale, increasing=True).T
        matrix[i, index] = np.linalg.solve(powers, moments)
    return matrix
