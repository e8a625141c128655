"""The mollifier layer: a field and its derivatives, of any order, from values on a grid.

A model emits values ``g_j`` at the nodes; the layer is the field ``u(x) = sum_j g_j w_0(x; x_j)`` and its derivatives
``D^a u(x) = sum_j g_j w_a(x; x_j)``, with moment-exact kernel weights (`mollifier.stencils`). No derivative is taken
through the model. The method is that of arXiv:2505.11682.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mollifier.errors import GridError, did_you_mean
from mollifier.grid import Grid
from mollifier.kernels import Kernel, Polynomial
from mollifier.operators import Boundary, Method, TensorOperator
from mollifier.orders import Derivative
from mollifier.stencils import degree_for, row_weights, rows

Order = str | Mapping[str, int]


class Jet(Mapping[str, Any]):
    """A field and its derivatives by name: ``jet["u_xx"]``; ``u_xy`` and ``u_yx`` are one.

    Examples
    --------
    >>> jet = Jet({Derivative.parse("u_xy", "xy"): 1.0}, ("x", "y"))
    >>> jet["u_yx"], list(jet)
    (1.0, ['u_xy'])
    """

    def __init__(self, values: Mapping[Derivative, Any], coordinates: Sequence[str]) -> None:
        self._values = dict(values)
        self._coordinates = tuple(coordinates)

    def __getitem__(self, name: str) -> Any:
        key = Derivative.parse(name, self._coordinates)
        if key not in self._values:
            raise KeyError(f"This jet does not hold '{name}'.{did_you_mean(name, list(self))}")
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return (d.name for d in self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{d.name}: {tuple(getattr(v, 'shape', ()))}" for d, v in self._values.items())
        return f"Jet({shapes})"


pytree.register_pytree_node(
    Jet,
    lambda jet: (list(jet._values.values()), (tuple(jet._values), jet._coordinates)),
    lambda values, spec: Jet(dict(zip(spec[0], values, strict=True)), spec[1]),
)


def parse_orders(orders: Order | Sequence[Order], coordinates: Sequence[str]) -> tuple[Derivative, ...]:
    """Derivatives from names (``"u_xxyy"``) or multi-indices (``{"x": 2, "y": 2}``, of a field called u).

    Raises
    ------
    GridError
        If a multi-index names a coordinate that is not there, an order is negative, or nothing is asked for.
    """
    if isinstance(orders, str | Mapping):
        orders = [orders]
    parsed = []
    for order in orders:
        if isinstance(order, str):
            parsed.append(Derivative.parse(order, coordinates))
            continue
        for name, count in order.items():
            if name not in coordinates:
                raise GridError(
                    f"Order {dict(order)} names '{name}', not a coordinate.{did_you_mean(name, coordinates)}"
                )
            if count < 0 or int(count) != count:
                raise GridError(f"Order {dict(order)} holds {count}; derivatives are counted 0, 1, 2, ...")
        parsed.append(Derivative.of("u", order))
    if not parsed:
        raise GridError("No derivative orders were given; name at least one, as in orders=['u', 'u_xx'].")
    return tuple(dict.fromkeys(parsed))


class MollifierLayer(nn.Module):
    """Attach to any module: values at the nodes in, a jet on the grid out.

    Parameters
    ----------
    grid
        Where the field and its derivatives are wanted (the collocation grid).
    orders
        Names (``["u", "u_xx", "u_xxyy"]``) or multi-indices (``{"x": 2, "y": 2}``).
    kernel
        Profile; `Polynomial(8)` by default.
    radius
        Half-width of the kernel in the units of each axis: a number, or a mapping by axis name.
    boundary
        "halo": the module is evaluated one radius past the domain (periodic axes wrap), so that every point has a
        whole stencil. "one-sided": moment-exact rows that stay inside, for modules that emit a field on the grid
        itself. "trim": only the points whose stencil is whole.
    accuracy
        Order of accuracy of the weights: polynomials to degree ``order + accuracy - 1`` are exact. None samples the
        analytic kernel without correction, for study.
    learnable_radius
        Make the radius of each axis a trainable parameter between the least that the orders allow and twice the
        given one (which sets the halo). Even axes with "halo" or "trim" only.
    methods
        "gemm", "direct" or "fft" by axis name; the fastest where not given.

    Notes
    -----
    The mean is removed first, weights stay in float64 whatever the module is cast to, and sums run in float64 on a
    CPU and at least in float32 without TF32 on a GPU. Backward is the exact transpose.

    Raises
    ------
    GridError
        If the grid cannot carry an order at this radius, or an option does not fit.

    Examples
    --------
    >>> from mollifier.grid import Axis
    >>> grid = Grid(Axis("x", 0.0, 1.0, 65))
    >>> layer = MollifierLayer(grid, orders=["u", "u_xx"], radius=0.1)
    >>> g = layer.coords()[:, 0] ** 2          # any module of the coordinates
    >>> jet = layer(g)
    >>> bool(torch.allclose(jet["u_xx"], torch.full((65,), 2.0), atol=1e-3))
    True
    >>> layer.at(torch.tensor([[0.5]]), g)["u_xx"].shape
    torch.Size([1])
    """

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
    ) -> None:
        super().__init__()
        self.grid = grid
        self.kernel = kernel if kernel is not None else Polynomial(8)
        self.boundary: Boundary = boundary
        self.accuracy = accuracy
        self.orders = parse_orders(orders, grid.names)
        self.initial_radius = grid.radii(radius)
        self._widest = {n: r * (2 if learnable_radius else 1) for n, r in self.initial_radius.items()}
        if learnable_radius:
            self._check_learnable()
            methods = dict.fromkeys(grid.names, "direct")
        self.operator = self._operator(methods=methods)
        self.nodes = self.operator.nodes
        self.result = self.operator.result
        self.raw_radius = nn.Parameter(torch.zeros(len(grid.axes))) if learnable_radius else None
        if self.raw_radius is not None:
            self._set_radius(self.initial_radius)
        self.register_buffer("_coords", torch.as_tensor(self.nodes.coords()), persistent=False)
        self._coords = self._coords.to(torch.get_default_dtype())
        self.weights = Weights(self.operator.constants)

    def _operator(self, **options: Any) -> TensorOperator:
        return TensorOperator(
            self.grid,
            options.pop("orders", [tuple(d.along(n) for n in self.grid.names) for d in self.orders]),
            self.kernel,
            self._widest,
            boundary=self.boundary,
            accuracy=self.accuracy,
            **options,
        )

    def coords(self) -> Tensor:
        """Coordinates of the nodes, halo included, shape (n_points, d), in the module's dtype and on its device."""
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
            Values at the nodes: (..., *nodes.shape), (..., n_points), or (n_points, channels) as coordinate
            networks emit them; channels become leading, and a single one is dropped.

        Returns
        -------
        Jet
            Each derivative of shape (..., *result.shape); the result is the grid itself unless trimmed.
        """
        constants = self.weights.tensors() if self.raw_radius is None else self._learned_constants()
        return self._jet(self.operator, self.orders, self._on_nodes(g), constants)

    def at(self, points: Any, g: Tensor, orders: Order | Sequence[Order] | None = None) -> Jet:
        """The same field and derivatives at scattered points, shape (n, d) or a mapping of (n,) by coordinate.

        Results have shape (..., n). For points that stay the same over many calls, keep a `sampler`.
        """
        return self.sampler(points, orders)(g)

    def sampler(self, points: Any, orders: Order | Sequence[Order] | None = None) -> Sampler:
        """A module g -> Jet at fixed scattered points, with its weights formed once."""
        return Sampler(self, points, self.orders if orders is None else parse_orders(orders, self.grid.names))

    def resampler(self, axes: Mapping[str, Any], orders: Order | Sequence[Order] | None = None) -> Resampler:
        """A module g -> Jet on the tensor product of other coordinates, given by axis name."""
        return Resampler(self, axes, self.orders if orders is None else parse_orders(orders, self.grid.names))

    def extra_repr(self) -> str:
        """What printing the module shows."""
        return (
            f"orders={[d.name for d in self.orders]}, kernel={self.kernel}, radius={self.radius}, "
            f"boundary={self.boundary!r}, grid={dict(zip(self.grid.names, self.grid.shape, strict=True))}"
        )

    def _on_nodes(self, g: Tensor) -> Tensor:
        """g as (..., *nodes.shape)."""
        shape, count = self.nodes.shape, self.nodes.size
        if g.ndim >= len(shape) and tuple(g.shape[-len(shape) :]) == shape:
            return g
        if g.ndim and g.shape[-1] == count:
            return g.reshape(*g.shape[:-1], *shape)
        if g.ndim >= 2 and g.shape[-2] == count:
            g = g[..., 0] if g.shape[-1] == 1 else g.movedim(-1, 0)
            return g.reshape(*g.shape[:-1], *shape)
        raise GridError(
            f"Values of shape {tuple(g.shape)} were given; the layer takes (..., {', '.join(map(str, shape))}), "
            f"(..., {count}) or ({count}, channels): evaluate the module on layer.coords()."
        )

    def _jet(
        self,
        operator: TensorOperator,
        orders: Sequence[Derivative],
        g: Tensor,
        constants: Mapping[str, Tensor],
    ) -> Jet:
        with exact_float32(g):
            results = operator(g, _for_accumulation(constants, g))
        return Jet(dict(zip(orders, results, strict=True)), self.grid.names)

    def _check_learnable(self) -> None:
        uneven = [a.name for a in self.grid if not a.uniform]
        if uneven or self.boundary == "one-sided" or self.accuracy is None:
            raise GridError(
                "A learnable radius needs even axes, boundary='halo' or 'trim' and an accuracy; here "
                f"uneven axes: {uneven}, boundary={self.boundary!r}, accuracy={self.accuracy}."
            )

    def _radius_bounds(self) -> tuple[Tensor, Tensor]:
        most = max(d.along(n) for d in self.orders for n in self.grid.names)
        needed = degree_for(most, self.accuracy or 1) + 2
        low = torch.tensor([a.spacing * needed / 2 for a in self.grid], dtype=torch.float64)
        return low, torch.tensor([self._widest[n] for n in self.grid.names], dtype=torch.float64)

    def _radius(self) -> Tensor:
        assert self.raw_radius is not None
        low, high = (b.to(self.raw_radius.device) for b in self._radius_bounds())
        return low + (high - low) * torch.sigmoid(self.raw_radius.double())

    def _set_radius(self, radius: Mapping[str, float]) -> None:
        assert self.raw_radius is not None
        low, high = self._radius_bounds()
        wanted = torch.tensor([radius[n] for n in self.grid.names], dtype=torch.float64)
        if (wanted <= low).any():
            raise GridError(f"Radius {radius} is too small to learn from; more than {low.tolist()} was wanted.")
        with torch.no_grad():
            self.raw_radius.copy_(torch.logit((wanted - low) / (high - low)))

    def _learned_constants(self) -> dict[str, Tensor]:
        """The shared stencils at the current radius, differentiable with respect to it."""
        constants = self.weights.tensors()
        result = dict(constants)
        for d, (axis, radius) in enumerate(zip(self.nodes, self._radius(), strict=True)):
            for _, orders in self.operator.steps[d]:
                name = self.operator.key(d, orders, "stencils")
                reach = (constants[name].shape[-1] - 1) // 2
                offsets = axis.spacing * torch.arange(-reach, reach + 1, dtype=torch.float64, device=radius.device)
                result[name] = torch.cat(
                    [self._learned_rows(offsets[None], axis.spacing, radius, k) for k in orders]
                )
        return result

    def _learned_rows(self, offsets: Tensor, cell: float, radius: Tensor, order: int) -> Tensor:
        """Weights (m, taps) of whole rows at the current radius."""
        full = torch.ones(len(offsets), 1, dtype=torch.bool, device=offsets.device)
        degree = degree_for(order, self.accuracy or 1)
        return row_weights(self.kernel, offsets, offsets * 0 + cell, radius, radius, full, order, degree)


class Weights(nn.Module):
    """Constant arrays as buffers that move between devices and stay float64 whatever the model is cast to."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        super().__init__()
        for name, array in arrays.items():
            self.register_buffer(name, torch.as_tensor(np.ascontiguousarray(array)), persistent=False)

    def tensors(self) -> dict[str, Tensor]:
        """The buffers by name."""
        return {name: b for name, b in self._buffers.items() if b is not None}

    def _apply(self, fn: Any, recurse: bool = True) -> Weights:
        kept = self.tensors()
        super()._apply(fn, recurse)
        for name, before in kept.items():
            after = self.tensors()[name]
            if after.dtype != before.dtype:
                self._buffers[name] = before.to(after.device)
        return self


class Resampler(nn.Module):
    """Values at a layer's nodes -> jet on the product of other coordinates; made by `MollifierLayer.resampler`."""

    def __init__(self, layer: MollifierLayer, axes: Mapping[str, Any], orders: Sequence[Derivative]) -> None:
        super().__init__()
        if layer.raw_radius is not None:
            raise GridError("A layer with a learnable radius has no resampler; use layer.at or layer.sampler.")
        self._layer = [layer]  # in a list: the layer is not a part of this module
        self.orders = tuple(orders)
        names = layer.grid.names
        self.operator = layer._operator(
            orders=[tuple(d.along(n) for n in names) for d in self.orders],
            onto={n: np.asarray(v, dtype=float) for n, v in axes.items()},
        )
        self.weights = Weights(self.operator.constants)

    def forward(self, g: Tensor) -> Jet:
        """Jet of shape (..., *len of each axis)."""
        layer = self._layer[0]
        return layer._jet(self.operator, self.orders, layer._on_nodes(g), self.weights.tensors())


class Sampler(nn.Module):
    """Values at a layer's nodes -> jet at scattered points; made by `MollifierLayer.sampler`."""

    def __init__(self, layer: MollifierLayer, points: Any, orders: Sequence[Derivative]) -> None:
        super().__init__()
        self._layer = [layer]
        self.orders = tuple(orders)
        names = layer.grid.names
        if isinstance(points, Mapping):
            points = np.stack([np.asarray(points[n], dtype=float) for n in names], axis=-1)
        points = np.asarray(points.detach().cpu() if isinstance(points, Tensor) else points, dtype=float)
        if points.ndim != 2 or points.shape[1] != len(names):
            raise GridError(f"Points of shape {points.shape} were given; (n, {len(names)}) along {names} was wanted.")
        arrays: dict[str, Any] = {}
        flat = np.zeros((len(points), 1), dtype=np.intp)
        for d, axis in enumerate(layer.nodes):
            for k in sorted({o.along(axis.name) for o in self.orders}):
                r = rows(axis, points[:, d], layer.kernel, layer._widest[axis.name], k, layer.accuracy)
                arrays[f"axis{d}_order{k}"] = r.weights
                if f"axis{d}_offsets" not in arrays:
                    arrays[f"axis{d}_offsets"] = r.offsets
                    flat = (flat[:, :, None] * axis.size + r.index[:, None, :]).reshape(len(points), -1)
        self.taps = tuple(arrays[f"axis{d}_offsets"].shape[1] for d in range(len(names)))
        self.weights = Weights({**arrays, "index": flat})

    def forward(self, g: Tensor) -> Jet:
        """Jet of shape (..., n)."""
        layer = self._layer[0]
        g = layer._on_nodes(g)
        d = len(self.taps)
        w = _for_accumulation(self._current_weights(layer), g)
        mean = g.mean(tuple(range(-d, 0)), keepdim=True)
        values = (g - mean).flatten(-d)[..., w["index"]].to(w["axis0_offsets"].dtype)
        values = values.unflatten(-1, self.taps)
        results = {}
        for order in self.orders:
            y = values
            for i in reversed(range(d)):
                k = order.along(layer.grid.names[i])
                y = (y * w[f"axis{i}_order{k}"].unflatten(0, (-1, *(1,) * i))).sum(-1)
            y = y.to(g.dtype)
            results[order] = y if order.total else y + mean.flatten(-d)
        return Jet(results, layer.grid.names)

    def _current_weights(self, layer: MollifierLayer) -> dict[str, Tensor]:
        w = self.weights.tensors()
        if layer.raw_radius is None:
            return w
        for i, (axis, radius) in enumerate(zip(layer.nodes, layer._radius(), strict=True)):
            for name in [n for n in w if n.startswith(f"axis{i}_order")]:
                w[name] = layer._learned_rows(w[f"axis{i}_offsets"], axis.spacing, radius, int(name.split("order")[1]))
        return w


def _for_accumulation(constants: Mapping[str, Tensor], g: Tensor) -> Mapping[str, Tensor]:
    """Weights in the dtype that sums run in: float64, or float32 for float32 values on an accelerator."""
    if g.dtype == torch.float64 or g.device.type == "cpu":
        return constants
    return {k: v.float() if v.is_floating_point() else v for k, v in constants.items()}


@contextmanager
def exact_float32(g: Tensor) -> Iterator[None]:
    """No TF32 while the weights are applied; the setting found is put back."""
    if not g.is_cuda or torch.compiler.is_compiling():
        yield
        return
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution
