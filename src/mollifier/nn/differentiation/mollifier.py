"""The mollifier backend: one evaluation of the network, every derivative on the kernel (arXiv:2505.11682)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from mollifier.errors import GridError
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import Kernel
from mollifier.mollify.layer import Jet, MollifierLayer, Resampler, Sampler
from mollifier.mollify.matrices import kron, product_matrix, taps_matrix
from mollifier.mollify.operators import TensorOperator
from mollifier.mollify.orders import Derivative
from mollifier.mollify.radius import Boundary
from mollifier.nn.differentiation.base import Derivatives, Observed, by_channel
from mollifier.nn.separable import Separable


class Mollified(Derivatives):
    """The field is the network's values mollified; no derivative is taken through the network.

    The network is evaluated once, at the layer's nodes, in its dtype; kernel sums run in float64. Observed
    values are those of the same mollified field.

    Parameters
    ----------
    grid, orders, observed, onto
        As in `Derivatives`; the kernel's nodes are those of the grid.
    kernel, radius, accuracy
        As in `MollifierLayer`.
    boundary
        "halo" evaluates the network up to one radius past the grid, "one-sided" on the grid only.
    free
        For values that are not a network's: how many more there are along each axis than nodes of the grid.
        With as many as the equation's order along the axis, the equation on the grid leaves open what its
        boundary conditions would fix, and nothing else. None for all of the kernel's nodes.

    Examples
    --------
    >>> import torch
    >>> from mollifier.mollify.grid import Axis
    >>> from mollifier.nn.mlp import MLP
    >>> grid = Grid(Axis("x", -1.0, 1.0, 33), Axis("t", 0.0, 1.0, 17))
    >>> field = Mollified(grid, ["u", "u_t", "u_xx"], [[0.1, 0.5]], radius={"x": 0.3, "t": 0.3})
    >>> jet, values = field(MLP(2, 2, width=8, depth=2))
    >>> jet["u_xx"].shape, values.shape, values.dtype
    (torch.Size([2, 33, 17]), torch.Size([2, 1]), torch.float64)
    """

    def __init__(
        self,
        grid: Grid,
        orders: Sequence[Derivative | str | Mapping[str, int]],
        observed: Observed | None = None,
        kernel: Kernel | None = None,
        radius: float | Mapping[str, float] = 0.1,
        boundary: Boundary = "halo",
        accuracy: int | None = 2,
        free: Mapping[str, int] | None = None,
        onto: Mapping[str, Array] | None = None,
    ) -> None:
        super().__init__(grid, orders, observed, onto)
        if boundary == "trim":
            raise GridError(
                "boundary='trim' returns less than the collocation grid; take 'halo', or 'one-sided' for a "
                "network that must not be evaluated past the domain."
            )
        names = [d.name for d in self.orders]
        inner = grid if free is None else Grid(*(_free_axis(a, free[a.name]) for a in grid))
        self.layer = MollifierLayer(inner, names, kernel, radius, boundary=boundary, accuracy=accuracy)
        #: Where values are taken: the layer's nodes, or those that are free.
        self.lattice = self.layer.nodes if free is None else inner
        self._jet: MollifierLayer | Resampler = self.layer
        self._extension: list[sp.csr_array] = []
        if free is not None or onto is not None:
            self._jet = self.layer.resampler({a.name: a.points for a in self.grid}, names)
        if free is not None:
            self._extension = [extension(a, b) for a, b in zip(inner, self.layer.nodes, strict=True)]
        self._hold("nodes", self.lattice.coords())
        self.observer: Resampler | Sampler | None = None
        if isinstance(self.observed, Mapping):
            self.observer = self.layer.resampler(self.observed, ["u"])
        elif self.observed is not None:
            self.observer = self.layer.sampler(self.observed, ["u"])

    @property
    def operator(self) -> TensorOperator:
        """Rows along each axis, from the layer's nodes to the jet."""
        return self._jet.operator

    def nodes(self, network: nn.Module) -> Tensor:
        """Where the network is evaluated, (n, d), in its dtype and on its device."""
        return self._at("nodes", network)

    def axes(self, network: nn.Module) -> list[Tensor]:
        """Nodes along each coordinate, each of shape (n_i,), as `nodes` has them."""
        shape = self.lattice.shape
        lattice = self.nodes(network).reshape(*shape, len(shape))
        return [lattice.movedim(i, 0).reshape(n, -1, len(shape))[:, 0, i] for i, n in enumerate(shape)]

    def matrix(self, order: Derivative) -> sp.csr_array:
        """A derivative on the grid from values on the lattice, shape (grid.size, lattice.size), both flat.

        ``order`` is one of ``orders``.
        """
        axes = zip(self.operator.axes, self.grid, strict=True)
        return self._from_lattice(product_matrix([op.rows[order.along(a.name)] for op, a in axes]))

    def observation_matrix(self) -> sp.csr_array:
        """The observed values from values on the lattice, shape (places, lattice.size).

        Raises `GridError` if nothing is observed.
        """
        if self.observer is None:
            raise GridError("The backend has no observed places; give 'observed' for an observation matrix.")
        if isinstance(self.observer, Resampler):
            return self._from_lattice(product_matrix([op.rows[0] for op in self.observer.operator.axes]))
        weights, index = self.observer.entries(Derivative("u"))
        return self._from_lattice(taps_matrix(weights, index, math.prod(self.observer.nodes)))

    def forward(self, network: nn.Module) -> tuple[Jet, Tensor | None]:
        """Jet (channels, *grid.shape) and observed values, see `Derivatives.forward`."""
        g = self._emitted(network)
        return self._jet(g), None if self.observer is None else self.observer(g)["u"]

    def _from_lattice(self, matrix: sp.csr_array) -> sp.csr_array:
        """A matrix on the layer's nodes as one on the lattice."""
        if not self._extension:
            return matrix
        return sp.csr_array(matrix @ kron(self._extension))

    def _emitted(self, network: nn.Module) -> Tensor:
        """The network at the layer's nodes, (channels, *nodes.shape), float64: axis by axis if separable."""
        if isinstance(network, Separable):
            g = network.on_grid(self.axes(network)).double()
        else:
            g = by_channel(network(self.nodes(network)), self.lattice.shape)
        for i, part in enumerate(self._extension, start=1):
            g = torch.movedim(torch.from_numpy(part.toarray()).to(g) @ g.movedim(i, -2), -2, i)
        return g


def _free_axis(axis: Axis, free: int) -> Axis:
    """An even axis with ``free`` more nodes, half of them past either end; midway between its own if odd.

    At the axis's own nodes, values that alternate in sign would have no derivative of odd order.
    """
    if axis.size < 2 or not free:
        return axis
    shift, past = (axis.spacing / 2 if free % 2 else 0.0), (free // 2) * axis.spacing
    if axis.periodic:
        return Axis(axis.name, axis.lower + shift, axis.upper + shift, axis.size, True, axis.unit)
    return Axis(
        axis.name, axis.lower - shift - past, axis.upper + shift + past, axis.size + free, unit=axis.unit
    )


def extension(axis: Axis, nodes: Axis) -> sp.csr_array:
    """Values at nodes that continue an axis past its ends, from those on it: (nodes.size, axis.size).

    Beyond either end they lie on a polynomial, so that a spline whose support is as wide has no knot within
    its end cells (the "not-a-knot" condition). The nodes are those within the support.
    """
    more = (nodes.size - axis.size) // 2
    count = min(2 * (more + 1), axis.size)
    matrix = sp.lil_array((nodes.size, axis.size))
    matrix[np.arange(more, more + axis.size), np.arange(axis.size)] = 1.0
    places = np.arange(count)
    for k in range(1, more + 1):
        weights = [np.prod((-k - np.delete(places, i)) / (i - np.delete(places, i))) for i in places]
        matrix[[more - k], places] = weights
        matrix[[more + axis.size - 1 + k], axis.size - 1 - places] = weights
    return sp.csr_array(matrix)
