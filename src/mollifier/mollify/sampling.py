"""A layer's field at other places: scattered points, and products of coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mollifier.errors import GridError
from mollifier.mollify.arrays import Index
from mollifier.mollify.grid import Grid
from mollifier.mollify.matrices import product_taps
from mollifier.mollify.operators import TensorOperator
from mollifier.mollify.orders import Derivative, Jet
from mollifier.mollify.precision import Weights, for_accumulation, unrounded
from mollifier.mollify.stencils import rows, whole_weights

# Values at nodes that a `Sampler` gathers at a time (memory: 8 bytes each, twice).
_VALUES_AT_ONCE = 1_000_000


class Resampler(nn.Module):
    """Values at a layer's nodes -> jet on a product of coordinates; see `MollifierLayer.resampler`."""

    def __init__(self, layer: Any, operator: TensorOperator, orders: Sequence[Derivative]) -> None:
        super().__init__()
        if layer.raw_radius is not None:
            raise GridError(
                "A layer with a learnable radius has no resampler and no tile; use layer.at or layer.sampler."
            )
        self._layer = [layer]  # in a list: the layer is not a part of this module
        self.orders, self.operator = tuple(orders), operator
        self.weights = Weights(operator.constants)

    def forward(self, g: Tensor) -> Jet:
        """Jet of shape (..., *len of each axis)."""
        g = on_nodes(g, self.operator.nodes)
        return self._layer[0]._jet(self.operator, self.orders, g, self.weights.tensors())


class Tile(Resampler):
    """A layer on a block of its grid; made by `MollifierLayer.tile`."""

    def __init__(
        self, layer: Any, operator: TensorOperator, orders: Sequence[Derivative], index: Sequence[Any]
    ) -> None:
        super().__init__(layer, operator, orders)
        self.nodes = operator.nodes  #: Where the module is evaluated: the block and its halo.
        #: Points of the block along each axis of the layer's result, as ``np.ix_`` takes them.
        self.index = tuple(index)
        coords = torch.as_tensor(self.nodes.coords()).to(layer.coords())
        self._coords: Tensor
        self.register_buffer("_coords", coords, persistent=False)
        self.weights.to(coords.device)

    def coords(self) -> Tensor:
        """Coordinates of the nodes, halo included, shape (n_points, d), in the layer's dtype."""
        return self._coords


def tile_index(
    grid: Grid,
    shape: Sequence[int],
    points: int | Mapping[str, int],
    start: Mapping[str, int],
    generator: torch.Generator | None,
) -> list[Index]:
    """Points of a block along each axis of results of a shape; see `MollifierLayer.tile`."""
    for name in (*(points if isinstance(points, Mapping) else ()), *start):
        grid[name]
    index = []
    for axis, count in zip(grid, shape, strict=True):
        size = points.get(axis.name, count) if isinstance(points, Mapping) else points
        size = min(max(int(size), 1), count)
        if axis.name in start:
            low = int(start[axis.name])
        elif size == count:
            low = 0
        else:
            first = 0 if axis.periodic else 1 - size
            low = int(torch.randint(first, count, (), generator=generator))
        part = np.arange(low, low + size)
        index.append(np.sort(part % count) if axis.periodic else part[(part >= 0) & (part < count)])
    return index


class Sampler(nn.Module):
    """Values at a layer's nodes -> jet at scattered points; made by `MollifierLayer.sampler`."""

    def __init__(self, layer: Any, points: Any, orders: Sequence[Derivative]) -> None:
        super().__init__()
        self._layer = [layer]
        self.orders = tuple(orders)
        names = layer.grid.names
        points = _points(points, names)
        arrays: dict[str, Any] = {}
        for d, axis in enumerate(layer.nodes):
            radius = layer._widest[axis.name]
            counts = sorted({o.along(axis.name) for o in self.orders})
            found = [rows(axis, points[:, d], layer.kernel, radius, k, layer.accuracy) for k in counts]
            if layer.raw_radius is not None and not found[0].whole.all():
                raise GridError(
                    f"{int(np.sum(~found[0].whole))} points lie so near an end of '{axis.name}' that a "
                    "learnable radius has no rows there; drop them, or use boundary='halo'."
                )
            arrays |= {f"axis{d}_order{k}": r.weights for k, r in zip(counts, found, strict=True)}
            arrays[f"axis{d}_offsets"], arrays[f"axis{d}_index"] = found[0].offsets, found[0].index
        self.taps = tuple(arrays[f"axis{d}_offsets"].shape[1] for d in range(len(names)))
        self.nodes = layer.nodes.shape
        self.weights = Weights(arrays)

    def along(self, order: Derivative) -> list[tuple[Any, Any]]:
        """Initial weights along each axis, and the node of each: arrays of shape (n, taps)."""
        w = {name: t.cpu().numpy() for name, t in self.weights.tensors().items()}
        names = enumerate(self._layer[0].grid.names)
        return [(w[f"axis{i}_order{order.along(n)}"], w[f"axis{i}_index"]) for i, n in names]

    def entries(self, order: Derivative) -> tuple[Any, Any]:
        """Initial weights, and the flat node of each: arrays of shape (n, taps)."""
        return product_taps(self.along(order), self.nodes)

    def forward(self, g: Tensor) -> Jet:
        """Jet of shape (..., n)."""
        layer = self._layer[0]
        g = on_nodes(g, layer.nodes)
        w = for_accumulation(self._current_weights(layer), g, layer.single)
        work = g.to(w["axis0_offsets"].dtype).flatten(-len(self.taps))
        # The uncorrected kernel does not reproduce constants: there the mean stays.
        mean = work.mean(-1, keepdim=True) if layer.accuracy is not None else torch.zeros_like(work[..., :1])
        count, most = len(w["axis0_index"]), max(_VALUES_AT_ONCE // math.prod(self.taps), 1)
        # A part at a time, formed again for the gradient: all values would need too much memory.
        split = [{n: t[i : i + most] for n, t in w.items()} for i in range(0, max(count, 1), most)]
        again = len(split) > 1 and torch.is_grad_enabled()
        sums = partial(checkpoint, self._sums, use_reentrant=False) if again else self._sums
        parts = [sums(work - mean, part) for part in split]
        joined = [torch.cat(y, -1) for y in zip(*parts, strict=True)]
        found = zip(self.orders, joined, strict=True)
        results = {o: (y if o.total else y + mean).to(g.dtype) for o, y in found}
        return Jet(results, layer.grid.names)

    def _sums(self, work: Tensor, w: Mapping[str, Tensor]) -> list[Tensor]:
        """Every order, of shape (..., m), by weights of some points and values (..., nodes) without mean."""
        d, flat = len(self.taps), w["axis0_index"]
        for i in range(1, d):
            flat = (flat[:, :, None] * self.nodes[i] + w[f"axis{i}_index"][:, None, :]).flatten(1)
        values, found = work[..., flat], []
        for order in self.orders:
            y = values
            for i in reversed(range(d)):
                weights = w[f"axis{i}_order{order.along(self._layer[0].grid.names[i])}"]
                y = (y.unflatten(-1, (-1, self.taps[i])) @ weights[:, :, None]).squeeze(-1)
            found.append(y.squeeze(-1))
        return found

    def _current_weights(self, layer: Any) -> dict[str, Tensor]:
        w = self.weights.tensors()
        if layer.raw_radius is None:
            return w
        for i, (axis, radius) in enumerate(zip(layer.nodes, layer._radius(), strict=True)):
            if axis.size == 1:
                continue
            for name in [n for n in w if n.startswith(f"axis{i}_order")]:
                w[name] = whole_weights(
                    layer.kernel,
                    w[f"axis{i}_offsets"],
                    axis.spacing,
                    radius,
                    int(name.split("order")[1]),
                    layer.accuracy or 1,
                )
        return w


def _points(points: Any, names: Sequence[str]) -> Any:
    """Points as an array (n, d), from such an array or a mapping of (n,) by coordinate."""
    if isinstance(points, Mapping):
        missing = [n for n in names if n not in points]
        if missing:
            raise GridError(f"Points were given along {list(points)}; coordinates {missing} are missing.")
        columns = [_float64(points[n]) for n in names]
        if len({c.shape for c in columns}) > 1:
            raise GridError(f"Points of shapes {[c.shape for c in columns]} were given; one was expected.")
        points = np.stack(columns, axis=-1)
    points = _float64(points)
    if points.ndim != 2 or points.shape[1] != len(names):
        raise GridError(
            f"Points of shape {points.shape} were given; (n, {len(names)}) along {names} was expected."
        )
    return points


def _float64(x: Any) -> Any:
    return np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=float)


def on_nodes(g: Tensor, nodes: Grid) -> Tensor:
    """Values as a layer takes them, (..., *nodes.shape); `GridError` if they have another number of nodes."""
    if not isinstance(g, Tensor):
        raise GridError(
            f"Values of type {type(g).__name__} were given; a torch tensor was expected. For measured arrays "
            "there is mollifier.differentiate."
        )
    unrounded(g)
    shape, count = nodes.shape, nodes.size
    if g.ndim >= len(shape) and tuple(g.shape[-len(shape) :]) == shape:
        return g
    if g.ndim and g.shape[-1] == count:
        return g.reshape(*g.shape[:-1], *shape)
    if g.ndim >= 2 and g.shape[-2] == count:
        g = g[..., 0] if g.shape[-1] == 1 else g.movedim(-1, 0)
        return g.reshape(*g.shape[:-1], *shape)
    raise GridError(
        f"Values of shape {tuple(g.shape)} were given; the layer takes (..., "
        f"{', '.join(map(str, shape))}), (..., {count}) or ({count}, channels): evaluate the module on "
        "layer.coords()."
    )
