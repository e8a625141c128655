"""The mollifier layer: a field and its derivatives, of any order, from values on a grid.

A model emits values ``g_j`` at the nodes; the layer is the field ``u(x) = sum_j g_j w_0(x; x_j)`` and its
derivatives ``D^a u(x) = sum_j g_j w_a(x; x_j)``, with moment-exact kernel weights (see `stencils`). No
derivative is taken through the model. The method is that of arXiv:2505.11682.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mollifier.errors import GridError
from mollifier.io.arguments import typed
from mollifier.mollify.grid import Grid
from mollifier.mollify.kernels import Kernel, Polynomial
from mollifier.mollify.operators import Method, TensorOperator
from mollifier.mollify.orders import Derivative, Jet, Order, parse_orders
from mollifier.mollify.precision import Weights, exact_backward, exact_float32, for_accumulation
from mollifier.mollify.radius import Boundary, Radius, least_radius
from mollifier.mollify.sampling import Resampler, Sampler, Tile, on_nodes, tile_index
from mollifier.mollify.stencils import degree_for, whole_weights

__all__ = ["Jet", "MollifierLayer", "Order", "Resampler", "Sampler", "Weights", "parse_orders"]

pytree.register_pytree_node(
    Jet,
    lambda jet: (list(jet.values()), (jet.derivatives, jet.coordinates)),
    lambda values, spec: Jet(dict(zip(spec[0], values, strict=True)), spec[1]),
)


class MollifierLayer(nn.Module):
    """Attach to any module: values at the nodes in, a jet on the grid out.

    Parameters
    ----------
    grid
        Where the field and its derivatives are evaluated (the collocation grid).
    orders
        Names (``["u", "u_xx", "u_xxyy"]``) or multi-indices (``{"x": 2, "y": 2}``).
    kernel
        Profile; `Polynomial(8)` by default.
    radius
        Half-width of the kernel in the units of each axis: a number, or a mapping by axis name.
    boundary
        "halo": the module is evaluated up to one radius past the domain (periodic axes wrap), so that every
        point has a whole stencil. "one-sided": moment-exact rows that stay inside, for modules that emit a
        field on the grid itself. "trim": only the points whose stencil is whole.
    accuracy
        Order of accuracy of the weights: polynomials to degree ``order + accuracy - 1`` are exact. None
        samples the analytic kernel without correction, for study.
    learnable_radius
        Make the radius of each axis a trainable parameter between the least that the orders allow and
        twice the given one (which sets the halo). Even axes with "halo" or "trim" only.
    methods
        "gemm", "direct", "banded" or "fft" by axis name; the fastest where not given.
    single
        Sum values that are not float64 in float32 on a CPU too, as on a GPU: in half the time. The rounding
        error of a derivative is about ``1e-7 * noise_gain`` times the spread of the values.

    Notes
    -----
    The mean is removed first, weights stay in float64 whatever the module is cast to, and sums run in
    float64 on a CPU and at least in float32 without TF32 on a GPU. Backward is the exact transpose.

    Raises
    ------
    GridError
        If the grid cannot carry an order at this radius, or an option does not fit.

    Examples
    --------
    >>> from mollifier.mollify.grid import Axis
    >>> grid = Grid(Axis("x", 0.0, 1.0, 65))
    >>> layer = MollifierLayer(grid, orders=["u", "u_xx"], radius=0.1)
    >>> g = layer.coords()[:, 0] ** 2          # any module of the coordinates
    >>> jet = layer(g)
    >>> bool(torch.allclose(jet["u_xx"], torch.full((65,), 2.0), atol=1e-3))
    True
    >>> layer.at(torch.tensor([[0.5]]), g)["u_xx"].shape
    torch.Size([1])
    """

    @typed()
    def __init__(
        self,
        grid: Grid,
        orders: Order | Sequence[Order],
        kernel: Kernel | None = None,
        radius: float | Mapping[str, float] = 0.1,
        boundary: Boundary = "halo",
        accuracy: int | None = 2,
        *,
        learnable_radius: bool = False,
        methods: Mapping[str, Method] | None = None,
        single: bool = False,
    ) -> None:
        super().__init__()
        self.single = single
        self.grid = grid
        self.kernel = kernel if kernel is not None else Polynomial(8)
        self.boundary: Boundary = boundary
        self.accuracy = accuracy
        self.orders = parse_orders(orders, grid.names)
        self.initial_radius = self._widest = Radius(grid, radius)
        if learnable_radius:
            self._widest = self.initial_radius.widest
            methods = dict.fromkeys(grid.names, "direct")
        self.operator = self._operator(methods=methods)
        self.nodes = self.operator.nodes
        self.result = self.operator.result
        self.raw_radius: nn.Parameter | None = None
        if learnable_radius:
            self._make_learnable()
        coords = torch.as_tensor(self.nodes.coords(), dtype=torch.get_default_dtype())
        self.register_buffer("_coords", coords, persistent=False)
        self.weights = Weights(self.operator.constants)

    def _apply(self, fn: Any, recurse: bool = True) -> MollifierLayer:
        dtype = self._coords.dtype
        super()._apply(fn, recurse)
        if self._coords.dtype != dtype:
            # From the nodes again: a cast of a cast would keep the coarser rounding.
            self._coords = torch.as_tensor(self.nodes.coords()).to(self._coords)
        return self

    def get_extra_state(self) -> Tensor:
        """What a ``state_dict`` carries: grid, kernel, radius, boundary and accuracy, as bytes of JSON."""
        return signature(self.grid, self.kernel, self.initial_radius, self.boundary, self.accuracy)

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse the state of a layer that differs; with it a network is another field."""
        check_signature(state, self.get_extra_state())

    def _operator(self, **options: Any) -> TensorOperator:
        return TensorOperator(
            self.grid,
            options.pop("orders", [d.index(self.grid.names) for d in self.orders]),
            self.kernel,
            self._widest,
            boundary=self.boundary,
            accuracy=self.accuracy,
            **options,
        )

    def coords(self) -> Tensor:
        """Coordinates of the nodes, halo included, shape (n_points, d), in the module's dtype."""
        return self._coords

    @property
    def noise_gain(self) -> dict[str, float]:
        """Largest standard deviation of each derivative per unit of white noise in g."""
        return dict(zip((d.name for d in self.orders), self.operator.noise_gain, strict=True))

    @property
    def radius(self) -> dict[str, float]:
        """Current half-width along each axis, in the axis's units."""
        if self.raw_radius is None:
            return dict(self.initial_radius)
        return dict(zip(self.grid.names, self._radius().tolist(), strict=True))

    def forward(self, g: Tensor) -> Jet:
        """Derivatives on the grid.

        Parameters
        ----------
        g
            Values at the nodes: ``(..., *nodes.shape)``, ``(..., n_points)``, or, as coordinate networks
            emit them, ``(n_points, channels)``; channels become leading, and a single one is dropped.

        Returns
        -------
        Jet
            Each derivative of shape ``(..., *result.shape)``; the result is the grid itself unless trimmed.
        """
        constants = self.weights.tensors() if self.raw_radius is None else self._learned_constants()
        return self._jet(self.operator, self.orders, on_nodes(g, self.nodes), constants)

    def at(self, points: Any, g: Tensor, orders: Order | Sequence[Order] | None = None) -> Jet:
        """The same field and derivatives at scattered points.

        Parameters
        ----------
        points
            (n, d), or a mapping of (n,) by coordinate, in the units of the axes.
        g
            Values at the nodes, as `forward` takes them.
        orders
            Those of the layer by default.

        Returns
        -------
        Jet
            Each of shape (..., n). For points that stay the same over many calls, keep a `sampler`.
        """
        return self.sampler(points, orders)(g)

    def sampler(self, points: Any, orders: Order | Sequence[Order] | None = None) -> Sampler:
        """A module g -> Jet at fixed scattered points, with its weights formed once."""
        return Sampler(self, points, self.orders if orders is None else parse_orders(orders, self.grid.names))

    def resampler(self, axes: Mapping[str, Any], orders: Order | Sequence[Order] | None = None) -> Resampler:
        """A module g -> Jet on the tensor product of other coordinates, given by axis name."""
        chosen = self.orders if orders is None else parse_orders(orders, self.grid.names)
        onto = {n: np.asarray(v, dtype=float) for n, v in axes.items()}
        multi = [d.index(self.grid.names) for d in chosen]
        return Resampler(self, self._operator(orders=multi, onto=onto), chosen)

    def tile(
        self,
        points: int | Mapping[str, int],
        start: Mapping[str, int] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tile:
        """The layer on a block of the grid, from the nodes that it needs: a step costs the block alone.

        Parameters
        ----------
        points
            Along each axis, or by axis name (all where not given).
        start
            Index of the first point by axis name. Random where not given, such that every point of the grid
            is in a tile equally often: with ``S`` the sum of squared residuals over a tile, ``S / points``
            has the gradient of their mean over the grid, up to a factor. Tiles at an end are smaller; those
            of periodic axes wrap.
        generator
            Of the random starts; torch's own by default.

        Raises
        ------
        GridError
            If the radius is learnable, or an axis is not of the grid.

        Examples
        --------
        >>> from mollifier.mollify.grid import Axis
        >>> grid = Grid(Axis("x", 0.0, 1.0, 65), Axis("y", 0.0, 1.0, 65))
        >>> tile = MollifierLayer(grid, ["u", "u_xx"], radius=0.1).tile(16, start={"x": 8, "y": 0})
        >>> tile(tile.coords()[:, 0] ** 2)["u_xx"].shape, len(tile.coords())
        (torch.Size([16, 16]), 784)
        """
        shape = [len(x) for x in (a.rows[min(a.rows)].centres for a in self.operator.axes)]
        index = tile_index(self.grid, shape, points, start or {}, generator)
        return Tile(self, self.operator.part(index), self.orders, index)

    def extra_repr(self) -> str:
        """What printing the module shows."""
        return (
            f"orders={[d.name for d in self.orders]}, kernel={self.kernel}, radius={self.radius}, "
            f"boundary={self.boundary!r}, grid={dict(zip(self.grid.names, self.grid.shape, strict=True))}"
        )

    def _jet(
        self,
        operator: TensorOperator,
        orders: Sequence[Derivative],
        g: Tensor,
        constants: Mapping[str, Tensor],
    ) -> Jet:
        with exact_float32(g):
            results = operator(g, for_accumulation(constants, g, self.single))
        if g.is_cuda and not torch.compiler.is_compiling():
            exact_backward(results, g)
        return Jet(dict(zip(orders, results, strict=True)), self.grid.names)

    def _make_learnable(self) -> None:
        """Make the radii a parameter, from the least the orders allow to what the nodes were made for."""
        uneven = [a.name for a in self.grid if not a.uniform]
        if uneven or self.boundary == "one-sided" or self.accuracy is None:
            raise GridError(
                "A learnable radius needs even axes, boundary='halo' or 'trim' and an accuracy; here uneven "
                f"axes: {uneven}, boundary={self.boundary!r}, accuracy={self.accuracy}."
            )
        for axis in self.operator.axes:
            if axis.nodes.size > 1 and axis.results < 2:
                raise GridError(
                    f"A learnable radius needs two points or more along '{axis.nodes.name}' after trimming "
                    f"at twice the radius; {axis.results} is left. Take a smaller radius or boundary='halo'."
                )
        given, high = np.array([*self.initial_radius.values()]), np.array([*self._widest.values()])
        low = np.zeros(len(given))
        for i, axis in enumerate(self.grid):
            if axis.size > 1:
                degree = degree_for(max(d.along(axis.name) for d in self.orders), self.accuracy)
                low[i] = least_radius(self.kernel, axis.spacing, degree)
        if (given <= low).any() or (given >= high).any():
            raise GridError(
                f"Radius {self.initial_radius} cannot be learned: it must lie between {low.tolist()}, the "
                f"least that the orders allow, and {high.tolist()}, the widest (twice the radius, at most "
                "half a period)."
            )
        self._bounds = Weights({"low": low, "high": high})
        start = torch.logit(torch.as_tensor((given - low) / (high - low)))
        self.raw_radius = nn.Parameter(start.to(torch.get_default_dtype()))

    def _radius(self) -> Tensor:
        """The current radii, shape (d,), in float64."""
        assert self.raw_radius is not None
        bounds = self._bounds.tensors()
        return bounds["low"] + (bounds["high"] - bounds["low"]) * torch.sigmoid(self.raw_radius.double())

    def _learned_constants(self) -> dict[str, Tensor]:
        """The shared stencils at the current radius, differentiable with respect to it."""
        constants, accuracy = dict(self.weights.tensors()), self.accuracy or 1
        for d, (axis, radius) in enumerate(zip(self.nodes, self._radius(), strict=True)):
            if axis.size == 1:
                continue
            for _, orders in self.operator.steps[d]:
                name = self.operator.key(d, orders, "stencils")
                reach = (constants[name].shape[-1] - 1) // 2
                steps = torch.arange(-reach, reach + 1, dtype=torch.float64, device=radius.device)
                offsets = axis.spacing * steps[None]
                constants[name] = torch.cat(
                    [whole_weights(self.kernel, offsets, axis.spacing, radius, k, accuracy) for k in orders]
                )
        return constants


def signature(
    grid: Grid, kernel: Kernel, radius: Mapping[str, float], boundary: str, accuracy: int | None
) -> Tensor:
    """The bytes of their JSON: a tensor, as every tool that handles a ``state_dict`` expects."""
    axes = [asdict(a) for a in grid]
    entries = {"grid": axes, "kernel": repr(kernel), "radius": dict(radius)}
    text = json.dumps(entries | {"boundary": boundary, "accuracy": accuracy})
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def check_signature(found: Tensor, expected: Tensor) -> None:
    """Compare two signatures; `GridError` if an entry differs, or the first is no signature."""
    given = _entries(found)
    for name, value in _entries(expected).items():
        if given.get(name) != value:
            raise GridError(
                f"This state_dict is of another layer: {name} is {given.get(name)!s:.120} there and "
                f"{value!s:.120} here; make the layer as it was when the state was saved."
            )


def _entries(state: Any) -> dict[str, Any]:
    try:
        return dict(json.loads(bytes(state.tolist())))
    except (AttributeError, TypeError, ValueError):
        raise GridError("The extra state in this state_dict was not written by a mollifier layer.") from None
