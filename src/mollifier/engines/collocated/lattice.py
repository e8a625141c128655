"""Matrices of values on a lattice that are never formed: axis by axis, or by blocks of cells.

A derivative of a network's values at the nodes takes (2 radius)^d of them, but is a product of one narrow
matrix an axis. Its product with the network's slopes (nodes, weights) is formed axis by axis, some layers of
the first axis at a time. At scattered points the rows of a block of cells share their nodes, and are one
dense product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from mollifier.engines.collocated.jacobian import NodeSlopes, taken

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Rows of a narrow matrix that are multiplied as one dense block, and numbers that a product holds (memory).
_BAND, _NUMBERS = 32, 4_000_000
# Rows whose product takes as long as the copy of the slopes that they share, and most nodes of such a copy.
_COPY_ROWS, _BLOCK_NODES = 64, 4096


@dataclass(frozen=True, eq=False)
class AxisProduct:
    """The tensor product of one matrix for each axis, flat in C order.

    Attributes
    ----------
    factors
        Sparse, shape (results, nodes) along each axis; two axes at least, the first may have one node.
    scale
        Of the whole.

    Examples
    --------
    >>> one, other = sp.csr_array([[1.0, 2.0]]), sp.csr_array([[1.0, 0.0], [0.0, 10.0]])
    >>> (AxisProduct((one, other)) @ np.ones(4)).tolist()
    [3.0, 30.0]
    """

    factors: tuple[sp.csr_array, ...]
    scale: float = 1.0

    @classmethod
    def along(cls, factors: Sequence[sp.csr_array], scale: float = 1.0) -> AxisProduct:
        """From the factors, times a number; a single one gets a first axis of one node."""
        return cls((*[sp.csr_array([[1.0]])] * (2 - len(factors)), *factors), scale)

    def __len__(self) -> int:
        return math.prod(_shape(f)[0] for f in self.factors)

    def __matmul__(self, values: Array) -> Array:
        x = values.reshape([_shape(f)[1] for f in self.factors])
        for axis, f in enumerate(self.factors):
            lines = np.moveaxis(x, axis, 0)
            x = np.moveaxis((f @ lines.reshape(len(lines), -1)).reshape(-1, *lines.shape[1:]), 0, axis)
        return x.ravel() * self.scale


@dataclass(frozen=True, eq=False)
class ProductSum:
    """``sum_k diag(c_k) P_k``.

    Attributes
    ----------
    terms
        Coefficients c_k of shape (rows,), and products over the same grid; equal factors are the same object.
    """

    terms: Sequence[tuple[Array, AxisProduct]]

    @property
    def step(self) -> int:
        """Slices of the rows must start at multiples of this: those of one layer of the first axis."""
        return math.prod(_shape(f)[0] for f in self.terms[0][1].factors[1:])

    def __matmul__(self, values: Array) -> Array:
        return np.sum([c * (product @ values) for c, product in self.terms], axis=0)

    def times(self, rows: slice, slopes: NodeSlopes, channel: int) -> Tensor:
        """Some rows' product with the slopes of a channel, shape (rows, weights)."""
        low, high = rows.start // self.step, -(-min(rows.stop, len(self.terms[0][0])) // self.step)
        most = max(_NUMBERS // slopes.layer, 1)
        parts = [slice(i, min(i + most, high)) for i in range(low, high, most)]
        return torch.cat([self._layers(part, slopes, channel) for part in parts])

    def _layers(self, part: slice, slopes: NodeSlopes, channel: int) -> Tensor:
        """The rows of some layers of the first axis."""
        firsts = {id(p.factors[0]): p.factors[0][part] for _, p in self.terms}
        used = np.unique(np.concatenate([f.indices for f in firsts.values()]))
        x = slopes.layers(used, channel, [_shape(f)[1] for f in self.terms[0][1].factors])
        formed: dict[tuple[int, ...], Tensor] = {
            (key,): _along(sp.csr_array(f[:, used]), x, 0) for key, f in firsts.items()
        }
        for axis in range(1, len(self.terms[0][1].factors) - 1):
            following: dict[tuple[int, ...], Tensor] = {}
            for _, p in self.terms:
                key = tuple(map(id, p.factors[: axis + 1]))
                if key not in following:
                    following[key] = _along(p.factors[axis], formed[key[:-1]], axis)
            formed = following
        return self._last(part, formed)

    def _last(self, part: slice, formed: dict[tuple[int, ...], Tensor]) -> Tensor:
        """Products along the last axis, those of one prefix summed with their coefficients first."""
        last = {id(p.factors[-1]): p.factors[-1] for _, p in self.terms}
        count, nodes = _shape(self.terms[0][1].factors[-1])
        here = slice(part.start * self.step, part.stop * self.step)
        groups: dict[tuple[int, ...], list[tuple[Tensor, int]]] = {}
        for c, p in self.terms:
            share = torch.from_numpy(c[here] * p.scale).reshape(-1, count)
            groups.setdefault(tuple(map(id, p.factors[:-1])), []).append((share, id(p.factors[-1])))
        some = next(iter(formed.values()))
        out = some.new_zeros((part.stop - part.start) * self.step // count, count, some.shape[-1])
        for rows, columns in _bands(list(last.values())):
            blocks = {k: torch.from_numpy(f[rows, columns].toarray()) for k, f in last.items()}
            for key, members in groups.items():
                mixed = reduce(torch.add, (share[:, rows, None] * blocks[k] for share, k in members))
                out[:, rows].baddbmm_(mixed, formed[key].reshape(-1, nodes, some.shape[-1])[:, columns])
        return out.flatten(0, 1)


@dataclass(frozen=True, eq=False)
class PointRows:
    """Values at scattered points: a row of the kernel's weights for each.

    Attributes
    ----------
    index, weights
        Along each axis: the nodes of each row, and their weights, shape (rows, taps).
    shape
        Nodes along each axis.
    """

    index: tuple[Index, ...]
    weights: tuple[Array, ...]
    shape: tuple[int, ...]

    step = 1

    def __len__(self) -> int:
        return len(self.index[0])

    def chosen(self, places: Index, factor: Array) -> tuple[PointRows, Index]:
        """Some of the rows, each times a number, in the order that `times` needs; and that order."""
        some = self._taken(places, factor)
        order = some._order
        return some._taken(order, np.ones(len(order))), order

    def _taken(self, places: Index, factor: Array) -> PointRows:
        index, (first, *others) = [i[places] for i in self.index], [w[places] for w in self.weights]
        return replace(self, index=tuple(index), weights=(first * factor[:, None], *others))

    @property
    def _order(self) -> Index:
        """The rows, block of cells by block of cells."""
        return np.lexsort(self._blocks[::-1])

    @cached_property
    def _blocks(self) -> list[Index]:
        """Number of each row's block of cells along each axis."""
        centres = [
            np.take_along_axis(i, np.abs(w).argmax(1)[:, None], axis=1)[:, 0]
            for i, w in zip(self.index, self.weights, strict=True)
        ]
        density, taps = len(self) / math.prod(self.shape), [i.shape[1] for i in self.index]

        def cost(sizes: tuple[int, ...]) -> float:
            """Numbers of a row, and of the copy that rows share; infinite where that is large."""
            nodes = math.prod(size + t - 1 for size, t in zip(sizes, taps, strict=True))
            fits = nodes <= _BLOCK_NODES or max(sizes) == 1
            return nodes * (1 + _COPY_ROWS / max(density * math.prod(sizes), 1e-3)) if fits else np.inf

        # Few layers of the first axis: these are in memory together.
        choices = ((min(b, 2), *[b] * (len(taps) - 1)) for b in range(1, 17))
        return [c // size for c, size in zip(centres, min(choices, key=cost), strict=True)]

    @cached_property
    def _parts(self) -> list[tuple[Index, list[Index], list[Array]]]:
        """Of each block of cells: its rows, its nodes along each axis, and their weights (rows, nodes)."""
        blocks = np.stack(self._blocks, axis=1)
        order = self._order
        starts = np.flatnonzero(np.r_[True, (np.diff(blocks[order], axis=0) != 0).any(axis=1)])
        found = []
        for rows in np.split(order, starts[1:]):
            nodes, dense = [], []
            for index, weights in zip(self.index, self.weights, strict=True):
                i, w = index[rows], weights[rows]
                used, place = np.unique(i[w != 0], return_inverse=True)
                matrix = np.zeros((len(rows), len(used)))
                np.add.at(matrix, (np.nonzero(w)[0], place), w[w != 0])
                nodes.append(used)
                dense.append(matrix)
            found.append((rows, nodes, dense))
        return found

    def __matmul__(self, values: Array) -> Array:
        grid, found = values.reshape(self.shape), np.empty(len(self))
        for rows, nodes, (*others, last) in self._parts:
            x = grid[np.ix_(*nodes)] @ last.T
            for w in reversed(others):
                x = np.einsum("...np,pn->...p", x, w)
            found[rows] = x
        return found

    def times(self, rows: slice, slopes: NodeSlopes, channel: int) -> Tensor:
        """The product of rows, ordered by `chosen`, with the slopes of a channel, shape (rows, weights)."""
        out = torch.empty(min(rows.stop, len(self)) - rows.start, slopes.weights, dtype=torch.float64)
        for own, (first, *nodes), weights in self._overlapping(rows):
            x = slopes.layers(first, channel, self.shape)
            for axis, n in enumerate(nodes, start=1):
                x = taken(x, n, axis)
            matrix = reduce(lambda a, b: (a[:, :, None] * b[:, None, :]).reshape(len(a), -1), weights)
            out[own] = torch.from_numpy(matrix) @ x.reshape(matrix.shape[1], -1)
        return out

    def _overlapping(self, rows: slice) -> Iterator[tuple[slice, list[Index], list[Array]]]:
        """The parts of blocks in a slice: rows from its start, nodes and weights."""
        for here, nodes, weights in self._parts:
            low, high = max(here[0], rows.start), min(here[-1] + 1, rows.stop)
            if low < high:
                kept = slice(low - here[0], high - here[0])
                yield slice(low - rows.start, high - rows.start), nodes, [w[kept] for w in weights]


def _along(matrix: sp.csr_array, x: Tensor, axis: int) -> Tensor:
    """A narrow matrix (m, n) along one axis of a tensor."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    lines = x.reshape(math.prod(before), x.shape[axis], math.prod(after))
    parts = [
        torch.from_numpy(matrix[rows, columns].toarray()) @ lines[:, columns]
        for rows, columns in _bands([matrix])
    ]
    return (torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]).reshape(
        *before, _shape(matrix)[0], *after
    )


def _bands(matrices: Sequence[sp.csr_array]) -> Iterator[tuple[slice, slice]]:
    """Some rows of matrices (m, n) at a time, and the columns that they use."""
    count = _shape(matrices[0])[0]
    for low in range(0, count, _BAND):
        rows = slice(low, min(low + _BAND, count))
        used = np.concatenate([m.indices[m.indptr[low] : m.indptr[rows.stop]] for m in matrices])
        yield rows, slice(int(used.min(initial=0)), int(used.max(initial=0)) + 1)


def _shape(matrix: Any) -> tuple[int, int]:
    """Rows and columns."""
    return matrix.shape[0], matrix.shape[1]
