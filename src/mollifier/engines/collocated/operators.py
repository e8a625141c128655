"""Matrices of a block: derivatives on the collocation grid and values where it is observed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.factored import Combination, PointProduct, Product, features_of, is_factored
from mollifier.engines.collocated.lattice import AxisProduct, PointRows, ProductSum
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid
from mollifier.mollify.layer import Resampler
from mollifier.mollify.matrices import rows_matrix, taps_matrix
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
    derivatives, factored = dict.fromkeys(d for n in block.names for d in block.needed[n]), is_factored(block)
    if entries and not factored:
        return {d: _operator(block, backend, d, grid) for d in derivatives}
    operators = zip(block.grid.names, backend.operator.axes, strict=True)
    known: dict[Any, Any] = {(n, k): rows_matrix(r) for n, op in operators for k, r in op.rows.items()}
    constant: dict[str, Any] = {a.name: sp.csr_array(np.ones((a.size, 1))) for a in grid}
    if factored:
        features = features_of(block)
        known = {(n, k): torch.from_numpy(m @ features[n]) for (n, k), m in known.items()}
        width = next(iter(features.values())).shape[1]
        constant = {a.name: torch.ones(a.size, width).double() for a in grid}
    made = Product.along if factored else AxisProduct.along
    along = {d: [known.get((a.name, d.along(a.name)), constant[a.name]) for a in grid] for d in derivatives}
    return {d: made(factors, block.factor(d)) for d, factors in along.items()}


def observation_matrix(block: Block, entries: bool) -> Any:
    """The block at its observed places.

    An `AxisProduct` or `PointRows` (places, nodes), or a sparse matrix if its entries are needed; a `Product`
    or `PointProduct` (places, features) of random features.
    """
    observer, factored = block.mollified.observer, is_factored(block)
    if observer is None or (entries and not factored):
        return block.mollified.observation_matrix()
    features = [*features_of(block).values()] if factored else []
    if isinstance(observer, Resampler):
        rows = [rows_matrix(op.rows[0]) for op in observer.operator.axes]
        if not factored:
            return AxisProduct.along(rows)
        return Product.along([torch.from_numpy(m @ f) for m, f in zip(rows, features, strict=True)])
    weights, index = zip(*observer.along(Derivative("u")), strict=True)
    if not factored:
        return PointRows(index, weights, observer.nodes)
    along = zip(weights, index, features, strict=True)
    return PointProduct(tuple((taps_matrix(w, i, len(f)), f) for w, i, f in along))


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
