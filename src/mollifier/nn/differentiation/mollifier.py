"""The mollifier backend: one evaluation of the network, every derivative on the kernel (arXiv:2505.11682)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import scipy.sparse as sp
from torch import Tensor, nn

from mollifier.errors import GridError
from mollifier.mollify.grid import Grid
from mollifier.mollify.kernels import Kernel
from mollifier.mollify.layer import Jet, MollifierLayer, Resampler, Sampler
from mollifier.mollify.orders import Derivative
from mollifier.mollify.radius import Boundary
from mollifier.nn.differentiation.base import Derivatives, Observed, by_channel
from mollifier.nn.differentiation.matrices import observation_matrix, product_matrix
from mollifier.nn.separable import Separable


class Mollified(Derivatives):
    """The field is the network's values mollified; no derivative is taken through the network.

    The network is evaluated once, at the layer's nodes, in its dtype; kernel sums run in float64. Observed
    values are those of the same mollified field.

    Parameters
    ----------
    grid, orders, observed
        As in `Derivatives`.
    kernel, radius, accuracy
        As in `MollifierLayer`.
    boundary
        "halo" evaluates the network up to one radius past the grid, "one-sided" on the grid only.

    Attributes
    ----------
    layer
        The `MollifierLayer`.

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
    ) -> None:
        super().__init__(grid, orders, observed)
        if boundary == "trim":
            raise GridError(
                "boundary='trim' returns less than the collocation grid; take 'halo', or 'one-sided' for a "
                "network that must not be evaluated past the domain."
            )
        self.layer = MollifierLayer(
            grid, [d.name for d in self.orders], kernel, radius, boundary=boundary, accuracy=accuracy
        )
        self._hold("nodes", self.layer.nodes.coords())
        self.observer: Resampler | Sampler | None = None
        if isinstance(self.observed, Mapping):
            self.observer = self.layer.resampler(self.observed, ["u"])
        elif self.observed is not None:
            self.observer = self.layer.sampler(self.observed, ["u"])

    def nodes(self, network: nn.Module) -> Tensor:
        """Where the network is evaluated, (n, d), in its dtype and on its device."""
        return self._at("nodes", network)

    def axes(self, network: nn.Module) -> list[Tensor]:
        """Nodes along each coordinate, each of shape (n_i,), as `nodes` has them."""
        shape = self.layer.nodes.shape
        lattice = self.nodes(network).reshape(*shape, len(shape))
        return [lattice.movedim(i, 0).reshape(n, -1, len(shape))[:, 0, i] for i, n in enumerate(shape)]

    def matrix(self, order: Derivative) -> sp.csr_array:
        """A derivative on the grid from values at the nodes, shape (grid.size, nodes), both flat.

        ``order`` is one of ``orders``.
        """
        return product_matrix(
            [op.rows[order.along(a.name)] for op, a in zip(self.layer.operator.axes, self.grid, strict=True)]
        )

    def observation_matrix(self) -> sp.csr_array:
        """The observed values from values at the nodes, shape (places, nodes).

        Raises
        ------
        GridError
            If nothing is observed.
        """
        if self.observer is None:
            raise GridError("The backend has no observed places; give 'observed' for an observation matrix.")
        return observation_matrix(self.observer)

    def forward(self, network: nn.Module) -> tuple[Jet, Tensor | None]:
        """Jet (channels, *grid.shape) and observed values, see `Derivatives.forward`."""
        g = self._emitted(network)
        return self.layer(g), None if self.observer is None else self.observer(g)["u"]

    def _emitted(self, network: nn.Module) -> Tensor:
        """The network at the nodes, (channels, *nodes.shape), float64: axis by axis where it is separable."""
        if not isinstance(network, Separable):
            return by_channel(network(self.nodes(network)), self.layer.nodes.shape)
        return network.on_grid(self.axes(network)).double()
