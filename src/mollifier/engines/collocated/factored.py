"""Random-feature networks as matrices factored by coordinate.

A feature is a product of functions of one coordinate each, and so is its mollification: the rows of any
derivative, weight by weight, are the column-wise Khatri-Rao product of small matrices ``W_a F_a``, one for
each coordinate, of the kernel's rows ``W_a`` and the features ``F_a`` at the nodes. No matrix of the size of
nodes times taps is formed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from mollifier.engines.collocated.block import Block
from mollifier.engines.linalg.memory import rows_at_once
from mollifier.mollify.arrays import Array, Index
from mollifier.nn.differentiation.mollifier import Mollified
from mollifier.nn.random_features import RandomFeatures


@dataclass(frozen=True)
class Product:
    """The matrix whose row (i, j, ...) is the entrywise product of rows i, j, ... of the factors.

    >>> one, other = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 10.0]])
    >>> product = Product((one.double(), other.double()))
    >>> (product @ np.ones(2)).tolist(), product.dense().tolist()
    ([21.0, 43.0], [[1.0, 20.0], [3.0, 40.0]])
    """

    #: One for each axis of the whole grid, each of shape (nodes along it, features).
    factors: tuple[Tensor, ...]

    @classmethod
    def along(cls, factors: Sequence[Tensor], scale: float = 1.0) -> Product:
        """From the factors, times a number."""
        first, *others = factors
        return cls((first * scale, *others))

    def __len__(self) -> int:
        return int(np.prod([len(f) for f in self.factors]))

    def __matmul__(self, weights: Array) -> Array:
        *leading, last = self.factors
        first, *others = leading or [_one_row(last)]
        start = torch.from_numpy(np.ascontiguousarray(weights))
        most = rows_at_once(math.prod(len(f) for f in others) * len(start))
        parts = [reduce(_khatri_rao, others, rows * start) @ last.T for rows in first.split(most)]
        return torch.cat(parts).flatten().numpy()

    def dense(self) -> Tensor:
        """All rows, shape (rows, features)."""
        return reduce(_khatri_rao, self.factors)


@dataclass(frozen=True)
class Combination:
    """``sum_k diag(c_k) P_k``, whose rows are formed on demand."""

    #: Coefficients c_k of shape (rows,), and products over the same grid.
    terms: Sequence[tuple[Array, Product]]

    @property
    def step(self) -> int:
        """Slices must start at multiples of this: the number of nodes along the last axis."""
        return len(self.terms[0][1].factors[-1])

    def __matmul__(self, weights: Array) -> Array:
        return np.sum([c * (product @ weights) for c, product in self.terms], axis=0)

    def __getitem__(self, rows: slice) -> Tensor:
        """Rows of a slice between multiples of ``step``, shape (rows, features)."""
        along = self.step
        *shape, _ = (len(f) for f in self.terms[0][1].factors)
        low, high = rows.start // along, -(-min(rows.stop, len(self.terms[0][0])) // along)
        place = np.unravel_index(np.arange(low, high), shape) if shape else ()
        # Terms that share the last factor are summed first, by a small matrix product.
        groups: dict[int, list[tuple[Array, Product]]] = {}
        for coefficients, product in self.terms:
            groups.setdefault(id(product.factors[-1]), []).append((coefficients, product))
        total: Tensor | None = None
        for terms in groups.values():
            last = terms[0][1].factors[-1]
            leading = torch.stack(
                [
                    reduce(
                        torch.mul,
                        (f[i] for f, i in zip(p.factors[:-1], place, strict=True)),
                        _one_row(last),
                    )
                    for _, p in terms
                ],
                dim=1,
            )
            share = torch.from_numpy(np.stack([c.reshape(-1, along)[low:high] for c, _ in terms], axis=-1))
            part = (share @ leading.expand(len(share), -1, -1)).mul_(last)
            total = part if total is None else total.add_(part)
        assert total is not None
        return total.flatten(0, 1)


@dataclass(frozen=True)
class PointProduct:
    """The matrix whose row is the entrywise product of those of the factors, formed on demand."""

    #: For each coordinate, the kernel's rows at the points (points, nodes), and the features (nodes,
    #: features).
    factors: tuple[tuple[sp.csr_array, Array], ...]

    step = 1

    def __len__(self) -> int:
        return int(self.factors[0][0].indptr.size) - 1

    def chosen(self, places: Index, factor: Array) -> tuple[PointProduct, Index]:
        """Some of the rows, each times a number; and their order, which is as given."""
        (first, features), *others = [(sp.csr_array(m[places]), f) for m, f in self.factors]
        first = sp.csr_array(first.multiply(factor[:, None]))
        return PointProduct(((first, features), *others)), np.arange(len(places))

    def __matmul__(self, weights: Array) -> Array:
        most = rows_at_once(len(weights))
        parts = [self[slice(i, i + most)].numpy() @ weights for i in range(0, len(self), most)]
        return np.concatenate(parts)

    def __getitem__(self, rows: slice) -> Tensor:
        """Rows of a slice, shape (rows, features)."""
        (first, features), *others = self.factors
        found = first[rows] @ features
        for matrix, features in others:
            found *= matrix[rows] @ features
        return torch.from_numpy(found)


def is_factored(block: Block) -> bool:
    """Whether a block is a random-feature network under the mollifier, linear in its weights."""
    return isinstance(block.network, RandomFeatures) and isinstance(block.backend, Mollified)


def features_of(block: Block) -> Mapping[str, Array]:
    """Factors of the features at the layer's nodes along each coordinate, (nodes, features)."""
    network = block.network
    assert isinstance(network, RandomFeatures)
    axes = block.mollified.axes(network)
    with torch.no_grad():
        factors = network.features(axes)
    return {a.name: f.double().cpu().numpy() for a, f in zip(block.grid, factors, strict=True)}


def _one_row(factor: Tensor) -> Tensor:
    return factor.new_ones(1, factor.shape[1])


def _khatri_rao(left: Tensor, right: Tensor) -> Tensor:
    return (left[:, None] * right).flatten(0, 1)
