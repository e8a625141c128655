"""Matrices of a block: derivatives on the collocation grid and values where it is observed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from torch import Tensor

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.factored import Combination, Product, is_factored, observed, products
from mollifier.engines.collocated.model import Model
from mollifier.mollify.grid import Grid
from mollifier.mollify.orders import Derivative
from mollifier.nn.differentiation.base import Derivatives
from mollifier.nn.differentiation.mollifier import Mollified

Array = NDArray[np.float64]


def derivative_matrices(block: Block, backend: Derivatives, grid: Grid) -> dict[Derivative, Any]:
    """Each derivative that the equations name, in units of the block's scale, by its backend on a grid.

    Returns
    -------
    dict
        Matrices (grid.size, nodes), or `Product` (grid.size, features) where the block is linear in its
        weights.
    """
    assert isinstance(backend, Mollified)
    if is_factored(block):
        return dict(products(block, backend, grid))
    return {d: _operator(block, backend, d, grid) for n in block.names for d in block.needed[n]}


def observation_matrix(block: Block, columns: int) -> Any:
    """The block at its observed places: (places, nodes), or (places, features) of random features.

    Of the latter, ``columns`` are formed at a time.
    """
    return observed(block, columns) if is_factored(block) else block.mollified.observation_matrix()


def nonzeros(model: Model) -> int:
    """Number of non-zero entries of all `derivative_matrices`, before any is formed."""
    total = 0
    for block in model.blocks:
        if is_factored(block):
            continue
        taps = 1.0
        for a in block.grid:
            taps *= 2 * model.collocation.radius.cells[a.name]
        total += int(taps) * model.collocation.grid.size * sum(len(v) for v in block.needed.values())
    return total


def weighted_sum(terms: Sequence[tuple[Array, Any]]) -> sp.csr_array | Combination:
    """``sum_k diag(c_k) M_k`` of coefficients (rows,) and matrices."""
    if isinstance(terms[0][1], Product):
        return Combination(terms)
    return sp.csr_array(reduce(lambda a, b: a + b, (m.multiply(c[:, None]) for c, m in terms)))


def middle(block: Block, values: Array) -> float:
    """The mean of a channel's values at nodes, subtracted before kernel sums against rounding."""
    return 0.0 if is_factored(block) else float(values.mean())


def dense(matrix: Any) -> Any:
    """A torch matrix as NumPy's; others as they are."""
    return matrix.numpy() if isinstance(matrix, Tensor) else matrix


def _operator(block: Block, backend: Mollified, derivative: Derivative, grid: Grid) -> sp.csr_array:
    """Physical derivative, in units of the block's scale, on a grid from the block's nodes."""
    matrix = backend.matrix(Derivative("u", derivative.orders)) * block.factor(derivative)
    if block.grid.names == grid.names:
        return sp.csr_array(matrix)
    inner = np.arange(backend.grid.size).reshape(block.over(grid))
    return sp.csr_array(sp.csr_array(matrix)[np.broadcast_to(inner, grid.shape).ravel()])
