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
from torch import Tensor

from mollifier.engines.collocated.jacobian import NodeSlopes, taken
from mollifier.engines.linalg.memory import rows_at_once
from mollifier.mollify.arrays import Array, Index
from mollifier.mollify.matrices import row_products

_BAND = 32  # Rows of a narrow matrix that are multiplied as one dense block.
# Rows whose product takes as long as the copy of the slopes that they share, and most nodes of such a copy.
_COPY_ROWS, _BLOCK_NODES = 64, 4096


@dataclass(frozen=True, eq=False)
class AxisProduct:
    """The tensor product of one matrix for each axis, flat in C order.

    >>> one, other = sp.csr_array([[1.0, 2.0]]), sp.csr_array([[1.0, 0.0], [0.0, 10.0]])
    >>> (AxisProduct((one, other)) @ np.ones(4)).tolist()
    [3.0, 30.0]
    """

    #: Sparse, shape (results, nodes) along each axis; two axes at least, the first may have one node.
    factors: tuple[sp.csr_array, ...]
    scale: float = 1.0  #: Of the whole.

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

    @property
    def transposed(self) -> AxisProduct:
        """The product of the factors' transposes: from results to nodes."""
        return AxisProduct(tuple(sp.csr_array(f.T) for f in self.factors), self.scale)


@dataclass(frozen=True, eq=False)
class ProductSum:
    """The matrix ``sum_k diag(c_k) P_k``, whose products are formed axis by axis."""

    #: Coefficients c_k of shape (rows,), and products over the same grid; equal factors are the same object.
    terms: Sequence[tuple[Array, AxisProduct]]

    @property
    def step(self) -> int:
        """Slices of the rows must start at multiples of this: those of one layer of the first axis."""
        return math.prod(_shape(f)[0] for f in self.terms[0][1].factors[1:])

    def __len__(self) -> int:
        return len(self.terms[0][0])

    def __matmul__(self, values: Array) -> Array:
        return np.sum([c * (product @ values) for c, product in self.terms], axis=0)

    def pulled(self, values: Array) -> Array:
        """The transpose times values (rows,), flat."""
        return np.sum([product.transposed @ (c * values) for c, product in self.terms], axis=0)

    def squares(self) -> Array:
        """Squared coefficients of a single term, added up at the node nearest to each row, (*nodes,)."""
        ((c, product),) = self.terms
        places = [np.asarray(abs(f).argmax(axis=1)).ravel() for f in product.factors]
        found = np.zeros([_shape(f)[1] for f in product.factors])
        np.add.at(found, np.ix_(*places), np.square(c * product.scale).reshape([len(i) for i in places]))
        return found

    def times(self, rows: slice, slopes: NodeSlopes, channel: int) -> Tensor:
        """Some rows' product with the slopes of a channel, (rows, weights); valid until the next call."""
        low, high = rows.start // self.step, -(-min(rows.stop, len(self)) // self.step)
        out = slopes.scratch(("rows", channel), (high - low) * self.step, slopes.weights)
        firsts = {id(p.factors[0]): p.factors[0] for _, p in self.terms}
        shape = [_shape(f)[1] for f in self.terms[0][1].factors]
        most = rows_at_once(slopes.layer)
        for i in range(low, high, most):
            part = slice(i, min(i + most, high))
            found = out[(i - low) * self.step : (part.stop - low) * self.step].zero_()
            here = slice(i * self.step, part.stop * self.step)
            terms = [(c[here], p) for c, p in self.terms]
            for key, first in firsts.items():
                x = slopes.along_first(part, channel, shape, first)
                _add([(c, p) for c, p in terms if id(p.factors[0]) == key], x, 1, slopes, found)
        return out


@dataclass(frozen=True, eq=False)
class PointRows:
    """Values at scattered points: a row of the kernel's weights for each."""

    #: Along each axis: the nodes of each row, and their weights, shape (rows, taps).
    index: tuple[Index, ...]
    weights: tuple[Array, ...]
    shape: tuple[int, ...]  #: Nodes along each axis.

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

    @cached_property
    def _centres(self) -> list[Index]:
        """Node of each row's largest weight along each axis."""
        return [
            np.take_along_axis(i, np.abs(w).argmax(1)[:, None], axis=1)[:, 0]
            for i, w in zip(self.index, self.weights, strict=True)
        ]

    @property
    def _order(self) -> Index:
        """The rows, block of cells by block of cells."""
        return np.lexsort(self._blocks[::-1])

    @cached_property
    def _blocks(self) -> list[Index]:
        """Number of each row's block of cells along each axis."""
        density, taps = len(self) / math.prod(self.shape), [i.shape[1] for i in self.index]

        def cost(sizes: tuple[int, ...]) -> float:
            """Numbers of a row, and of the copy that rows share; infinite where that is large."""
            nodes = math.prod(size + t - 1 for size, t in zip(sizes, taps, strict=True))
            fits = nodes <= _BLOCK_NODES or max(sizes) == 1
            return nodes * (1 + _COPY_ROWS / max(density * math.prod(sizes), 1e-3)) if fits else np.inf

        # Few layers of the first axis: these are in memory together.
        choices = ((min(b, 2), *[b] * (len(taps) - 1)) for b in range(1, 17))
        return [c // size for c, size in zip(self._centres, min(choices, key=cost), strict=True)]

    @cached_property
    def _parts(self) -> list[tuple[Index, tuple[Index, ...], list[Array]]]:
        """Of each block of cells: its rows, the open mesh of its nodes, and weights (rows, nodes) by axis."""
        blocks = np.stack(self._blocks, axis=1)
        order = self._order
        starts = np.flatnonzero(np.r_[True, (np.diff(blocks[order], axis=0) != 0).any(axis=1)])
        found = []
        for rows in np.split(order, starts[1:]):
            nodes, dense = [], []
            for index, weights, size in zip(self.index, self.weights, self.shape, strict=True):
                i, w = index[rows], weights[rows]
                here = np.zeros(size, dtype=bool)
                here[i[w != 0]] = True
                used, place = np.flatnonzero(here), np.cumsum(here) - 1
                matrix = np.zeros((len(rows), len(used)))
                np.add.at(matrix, (np.nonzero(w)[0], place[i[w != 0]]), w[w != 0])
                nodes.append(used)
                dense.append(matrix)
            found.append((rows, np.ix_(*nodes), dense))
        return found

    def __matmul__(self, values: Array) -> Array:
        grid, found = values.reshape(self.shape), np.empty(len(self))
        for rows, mesh, (*others, last) in self._parts:
            x = grid[mesh] @ last.T
            for w in reversed(others):
                x = np.einsum("...np,pn->...p", x, w)
            found[rows] = x
        return found

    def pulled(self, values: Array) -> Array:
        """The transpose times values (rows,), flat."""
        grid = np.zeros(self.shape)
        for rows, mesh, (*others, last) in self._parts:
            leading = reduce(row_products, others, values[rows][:, None])
            grid[mesh] += (leading.T @ last).reshape([n.size for n in mesh])
        return grid.ravel()

    def squares(self) -> Array:
        """Squares of the rows' sums, added up at the node nearest to each row, (*nodes,)."""
        found, sums = np.zeros(self.shape), [w.sum(axis=1) for w in self.weights]
        np.add.at(found, tuple(self._centres), np.square(reduce(np.multiply, sums)))
        return found

    @property
    def taps(self) -> int:
        """Nodes to which a row gives weight, over all axes."""
        return math.prod(w.shape[1] for w in self.weights)

    def times(self, rows: slice, slopes: NodeSlopes, channel: int) -> Tensor:
        """The product of rows, ordered by `chosen`, with the slopes of a channel, shape (rows, weights)."""
        out = torch.empty(min(rows.stop, len(self)) - rows.start, slopes.weights, dtype=torch.float64)
        for own, (first, *nodes), weights in self._overlapping(rows):
            x = slopes.layers(first, channel, self.shape)
            for axis, n in enumerate(nodes, start=1):
                x = taken(x, n, axis)
            matrix = reduce(row_products, weights)
            out[own] = torch.from_numpy(matrix) @ x.reshape(matrix.shape[1], -1)
        return out

    def _overlapping(self, rows: slice) -> Iterator[tuple[slice, list[Index], list[Array]]]:
        """The parts of blocks in a slice: rows from its start, nodes and weights."""
        for here, mesh, weights in self._parts:
            low, high = max(here[0], rows.start), min(here[-1] + 1, rows.stop)
            if low < high:
                kept = slice(low - here[0], high - here[0])
                yield (
                    slice(low - rows.start, high - rows.start),
                    [n.ravel() for n in mesh],
                    [w[kept] for w in weights],
                )


def _add(
    terms: Sequence[tuple[Array, AxisProduct]], x: Tensor, axis: int, slopes: NodeSlopes, out: Tensor
) -> None:
    """Add terms to rows, from the slopes times the factors of the axes before one: the same for all terms."""
    factors = {id(p.factors[axis]): p.factors[axis] for _, p in terms}
    if axis < len(terms[0][1].factors) - 1:
        for key, f in factors.items():
            y = slopes.scratch(axis, *x.shape[:axis], _shape(f)[0], *x.shape[axis + 1 :])
            _along(f, x, axis, y)
            _add([(c, p) for c, p in terms if id(p.factors[axis]) == key], y, axis + 1, slopes, out)
        return
    count, nodes = _shape(terms[0][1].factors[axis])
    lines, x = out.view(-1, count, out.shape[-1]), x.view(-1, nodes, out.shape[-1])
    shares = [(torch.from_numpy(c * p.scale).view(-1, count, 1), id(p.factors[axis])) for c, p in terms]
    for rows, columns in _bands(list(factors.values())):
        blocks = {k: torch.from_numpy(f[rows, columns].toarray()) for k, f in factors.items()}
        mixed = reduce(torch.add, (share[:, rows] * blocks[k] for share, k in shares))
        lines[:, rows].baddbmm_(mixed, x[:, columns])


def _along(matrix: sp.csr_array, x: Tensor, axis: int, out: Tensor) -> None:
    """A narrow matrix (m, n) along one axis of a tensor."""
    lines, found = (y.view(math.prod(y.shape[:axis]), y.shape[axis], -1) for y in (x, out))
    for rows, columns in _bands([matrix]):
        block = torch.from_numpy(matrix[rows, columns].toarray()).expand(len(lines), -1, -1)
        torch.bmm(block, lines[:, columns], out=found[:, rows])


def _bands(matrices: Sequence[sp.csr_array]) -> Iterator[tuple[slice, slice]]:
    """Some rows of matrices (m, n) at a time, and the columns that they use."""
    count = _shape(matrices[0])[0]
    for low in range(0, count, _BAND):
        rows = slice(low, min(low + _BAND, count))
        used = np.concatenate([m.indices[m.indptr[low] : m.indptr[rows.stop]] for m in matrices])
        yield rows, slice(int(used.min(initial=0)), int(used.max(initial=0)) + 1)


def _shape(matrix: Any) -> tuple[int, int]:
    """Rows and columns of a matrix, of which SciPy's types say nothing."""
    return matrix.shape[0], matrix.shape[1]
