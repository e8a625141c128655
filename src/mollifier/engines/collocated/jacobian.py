"""First derivatives of a network's values with respect to its weights, point by point."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from mollifier.mollify.arrays import Index

_CHUNK = 512  # Points whose Jacobian is formed at a time.


@torch.enable_grad()
def network_jacobian(network: nn.Module, points: Tensor) -> Tensor:
    """dg/dtheta of a network (n, d) -> (n, channels), shape (channels, n, weights), float64 on the CPU.

    Each value may depend on its own point only.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    >>> network_jacobian(net, torch.zeros(5, 2)).shape
    torch.Size([1, 5, 13])
    """
    fixed = {n: p.detach() for n, p in (*network.named_parameters(), *network.named_buffers())}
    names = [n for n, p in network.named_parameters() if p.requires_grad]

    def values(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(network, {**fixed, **weights}, (x[None],))[0]

    parts = []
    for x in points.split(_CHUNK):
        # Weights of its own for each point: torch.func.jacrev loads torch's compiler, a second and 80 MiB.
        weights = {n: fixed[n].expand(len(x), *fixed[n].shape).requires_grad_() for n in names}
        channels = vmap(values)(weights, x).sum(0)
        options = {"retain_graph": True, "materialize_grads": True}  # zeros for weights without effect
        slopes = [torch.autograd.grad(c, [*weights.values()], **options) for c in channels]
        parts.append(torch.stack([torch.cat([s.reshape(len(x), -1) for s in some], -1) for some in slopes]))
    return torch.cat(parts, 1).double().cpu()


class NodeSlopes:
    """dg/dtheta at nodes on a lattice, formed as layers of the first axis are needed.

    The last layers are kept: all of them where they fit, otherwise as many as are needed at a time.

    The network is as of `network_jacobian`. Its nodes (n, d) are flat in C order, ``shape`` of them along the
    axes; ``most`` slopes are kept.

    >>> net, x = nn.Linear(1, 1), torch.linspace(-1, 1, 5)[:, None]
    >>> NodeSlopes(net, x, (5,), 100).layers(np.array([0, 1]), 0, (5, 1)).shape
    torch.Size([2, 1, 2])
    """

    def __init__(self, network: nn.Module, nodes: Tensor, shape: tuple[int, ...], most: int) -> None:
        self.network, self.count = network, shape[0]
        self._nodes = nodes.reshape(self.count, -1, nodes.shape[-1])
        channels, _, self.weights = network_jacobian(network, self._nodes[0, :1]).shape
        #: Number of slopes of one layer of one channel.
        self.layer = self._nodes.shape[1] * self.weights
        self._most = min(most // (channels * self.layer), self.count)
        # Room for as many as may be kept; memory is taken as layers are written, and `_span` limits these.
        shape = channels, self._most, self._nodes.shape[1], self.weights
        self._kept = torch.empty(shape, dtype=torch.float64)
        self._start = self._end = self._span = 0
        self._first: tuple[sp.csr_array, tuple[slice, int, int], Tensor] | None = None
        self._scratch: dict[object, Tensor] = {}

    def along_first(self, rows: slice, channel: int, shape: Sequence[int], matrix: sp.csr_array) -> Tensor:
        """Some rows of a matrix (results, shape[0]) along the first axis times the slopes of a channel.

        Shape (rows, *shape[1:], weights); kept until the next call with others.
        """
        place = rows, channel, shape[0]
        if self._first is None or self._first[0] is not matrix or self._first[1] != place:
            some = matrix[rows]
            used = np.unique(some.indices)
            x = self.layers(used, channel, shape)
            product = self.scratch("first", rows.stop - rows.start, *x.shape[1:])
            dense = torch.from_numpy(some[:, used].toarray())
            torch.mm(dense, x.flatten(1), out=product.view(len(dense), -1))
            self._first = matrix, place, product
        return self._first[2]

    def scratch(self, key: object, *shape: int) -> Tensor:
        """A tensor whose memory is used again at the next call with the key: fresh memory costs a product."""
        size, flat = math.prod(shape), self._scratch.get(key)
        if flat is None or len(flat) < size:
            flat = self._scratch[key] = torch.empty(size, dtype=torch.float64)
        return flat[:size].view(shape)

    def release(self) -> None:
        """Free products and scratch, which other rows need in other sizes; slopes are kept."""
        self._first = None
        self._scratch.clear()

    def layers(self, index: Index, channel: int, shape: Sequence[int]) -> Tensor:
        """Slopes of a channel in some layers of the first axis, in order.

        ``shape`` are the nodes along each axis, axes of a single node that the lattice lacks among them; all
        layers are the one layer of a shape whose first axis has a single node. Shape (layers, *shape[1:],
        weights).
        """
        if shape[0] == 1:
            return self.whole(channel).reshape(*shape, self.weights)
        low, high = int(index[0]), int(index[-1]) + 1
        if self._most >= self.count:
            low, high = 0, self.count
        if high - low > self._most:  # those at both ends of a periodic axis, or more than are kept
            found = network_jacobian(self.network, self._nodes[index].flatten(0, 1))[channel]
        else:
            self._keep(low, high)
            found = taken(self._kept[channel], index - self._start, 0)
        return found.reshape(len(index), *shape[1:], self.weights)

    def whole(self, channel: int) -> Tensor:
        """Slopes of a channel at all nodes, (nodes, weights)."""
        nodes = self._nodes.shape[0] * self._nodes.shape[1]
        return self.layers(np.arange(self.count), channel, (self.count, nodes // self.count)).flatten(0, 1)

    def _keep(self, low: int, high: int) -> None:
        """Have layers from ``low`` up to ``high`` among those kept."""
        self._span = max(self._span, high - low)  # Layers needed at a time, so far.
        if not self._start <= low <= self._end:
            self._start = self._end = low
        if high - self._start > self._span:
            for i in range(low, self._end):
                self._kept[:, i - low] = self._kept[:, i - self._start]
            self._start = low
        if high > self._end:
            points = self._nodes[self._end : high].flatten(0, 1)
            places = self._kept[:, self._end - self._start : high - self._start].flatten(1, 2)
            for i in range(0, len(points), _CHUNK):
                places[:, i : i + _CHUNK] = network_jacobian(self.network, points[i : i + _CHUNK])
            self._end = high


def taken(x: Tensor, index: Index, axis: int) -> Tensor:
    """Entries of a tensor along an axis; a view where they are consecutive."""
    if index[-1] - index[0] == len(index) - 1:
        return x.narrow(axis, int(index[0]), len(index))
    return x.index_select(axis, torch.from_numpy(index))
