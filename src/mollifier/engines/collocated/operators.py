"""Matrices of a block: derivatives on the collocation grid and values where it is observed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import scipy.sparse as sp

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.factored import Combination, Product, is_factored, observed, products
from mollifier.engines.collocated.lattice import AxisProduct, PointRows, ProductSum
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid
from mollifier.mollify.layer import Resampler
from mollifier.mollify.matrices import rows_matrix
from mollifier.mollify.orders import Derivative
from mollifier.nn.differentiation.base import Derivatives
from mollifier.nn.differentiation.mollifier import Mollified


def derivative_matrices(
    block: Block, backend: Derivatives, grid: Grid, entries: bool
) -> dict[Derivative, Any]:
    """Each derivative that the equations name, in units of the block's scale, by its backend on a grid.

    An `AxisProduct` (grid.size, nodes), or a sparse matrix if its entries are needed; a `Product` (grid.size,
    features) where the block is linear in its weights.
    """
    assert isinstance(backend, Mollified)
    if is_factored(block):
        return dict(products(block, backend, grid))
    derivatives = dict.fromkeys(d for n in block.names for d in block.needed[n])
    if entries:
        return {d: _operator(block, backend, d, grid) for d in derivatives}
    operators = {a.name: op for a, op in zip(block.grid, backend.operator.axes, strict=True)}
    known = {(n, k): rows_matrix(r) for n, op in operators.items() for k, r in op.rows.items()}
    constant = {a.name: sp.csr_array(np.ones((a.size, 1))) for a in grid}
    found: dict[Derivative, Any] = {}
    for d in derivatives:
        along = [known.get((a.name, d.along(a.name)), constant[a.name]) for a in grid]
        found[d] = AxisProduct.along(along, block.factor(d))
    return found


def observation_matrix(block: Block, entries: bool) -> Any:
    """The block at its observed places.

    An `AxisProduct` or `PointRows` (places, nodes), or a sparse matrix if its entries are needed; a `Product`
    or `PointProduct` (places, features) of random features.
    """
    if is_factored(block):
        return observed(block)
    observer = block.mollified.observer
    if entries or observer is None:
        return block.mollified.observation_matrix()
    if isinstance(observer, Resampler):
        return AxisProduct.along([rows_matrix(op.rows[0]) for op in observer.operator.axes])
    weights, index = zip(*observer.along(Derivative("u")), strict=True)
    return PointRows(index, weights, observer.nodes)


def weighted_sum(terms: Sequence[tuple[Array, Any]]) -> sp.csr_array | Combination | ProductSum:
    """``sum_k diag(c_k) M_k`` of coefficients (rows,) and matrices."""
    if isinstance(terms[0][1], Product):
        return Combination(terms)
    if isinstance(terms[0][1], AxisProduct):
        return ProductSum(terms)
    return sp.csr_array(reduce(lambda a, b: a + b, (m.multiply(c[:, None]) for c, m in terms)))


def middle(block: Block, values: Array) -> float:
    """The mean of a channel's values at nodes, subtracted before kernel sums against rounding."""
    return 0.0 if is_factored(block) else float(values.mean())


def _operator(block: Block, backend: Mollified, derivative: Derivative, grid: Grid) -> sp.csr_array:
    """Physical derivative, in units of the block's scale, on a grid from the block's nodes."""
    matrix = backend.matrix(Derivative("u", derivative.orders)) * block.factor(derivative)
    if block.grid.names == grid.names:
        return sp.csr_array(matrix)
    inner = np.arange(backend.grid.size).reshape(block.over(grid))
    return sp.csr_array(sp.csr_array(matrix)[np.broadcast_to(inner, grid.shape).ravel()])
