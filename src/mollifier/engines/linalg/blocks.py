"""The inverse of a covariance whose blocks are correlated with their neighbours only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mollifier.engines.linalg.dense import inverted, lifted

Array = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class BlockInverse:
    """The inverse of a symmetric block tridiagonal matrix C, by block elimination; of one block the inverse.

    Schur complements ``S_0 = C_00`` and ``S_i+1 = C_i+1,i+1 - C_i+1,i S_i^-1 C_i,i+1`` give products with the
    inverse, and its own blocks on and beside the diagonal, for the cost of the blocks.

    Attributes
    ----------
    rows
        Indices of each block.
    inverses
        ``S_i^-1``.
    links
        ``S_i^-1 C_i,i+1``, one fewer.

    Examples
    --------
    >>> c = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 2.0]])
    >>> found = BlockInverse.of(c, np.array([0, 1, 2]), 0.0)
    >>> (found @ (c @ [1.0, 2.0, 3.0])).round(9).tolist(), found.entries.round(9).tolist()
    ([1.0, 2.0, 3.0], [[0.75, -0.5, 0.0], [-0.5, 1.0, -0.5], [0.0, -0.5, 0.75]])
    """

    rows: Sequence[Index]
    inverses: Sequence[Array]
    links: Sequence[Array]

    @classmethod
    def of(cls, matrix: Array, block: Index, ridge: float) -> BlockInverse:
        """Of a matrix (n, n) with a `lifted` diagonal, whose ``block`` numbers, (n,), differ by 1 at most."""
        matrix, order = lifted(matrix, ridge), np.argsort(block, kind="stable")
        edges = np.cumsum([0, *np.unique(block, return_counts=True)[1]]).tolist()
        if len(edges) > 2:
            matrix = matrix[np.ix_(order, order)]
        places = [slice(*e) for e in pairwise(edges)]
        schur, inverses, links = matrix[places[0], places[0]], [], []
        for here, after in pairwise(places):
            across = matrix[here, after]
            inverses.append(inverted(schur))
            links.append(inverses[-1] @ across)
            schur = matrix[after, after] - across.T @ links[-1]
        return cls([order[p] for p in places], (*inverses, inverted(schur)), links)

    @classmethod
    def whole(cls, inverse: Array) -> BlockInverse:
        """An inverse (n, n) that is known, as one block."""
        return cls((np.arange(len(inverse)),), (inverse,), ())

    def __matmul__(self, right: Array) -> Array:
        """The inverse times an array (n,) or (n, k)."""
        parts = [np.asarray(right)[r] for r in self.rows]
        for i, link in enumerate(self.links):
            parts[i + 1] -= link.T @ parts[i]
        parts = [s @ p for s, p in zip(self.inverses, parts, strict=True)]
        for i in reversed(range(len(self.links))):
            parts[i] -= self.links[i] @ parts[i + 1]
        found = np.empty_like(right, dtype=float)
        found[np.concatenate(self.rows)] = np.concatenate(parts)
        return found

    @cached_property
    def entries(self) -> Array:
        """The inverse (n, n) with zeros where blocks are not neighbours."""
        count = sum(map(len, self.rows))
        found = np.zeros((count, count))
        for i, (own, across) in self._elements():
            here = self.rows[i]
            found[np.ix_(here, here)] = own
            if across is not None:
                after = self.rows[i + 1]
                found[np.ix_(here, after)], found[np.ix_(after, here)] = across, across.T
        return found

    @property
    def diagonal(self) -> Array:
        """The diagonal of the inverse, (n,)."""
        found = np.empty(sum(map(len, self.rows)))
        for i, (own, _) in self._elements():
            found[self.rows[i]] = np.diag(own)
        return found

    def _elements(self) -> Iterator[tuple[int, tuple[Array, Array | None]]]:
        """From the last block: its number, the inverse's block on the diagonal, and that after it, if any."""
        own = self.inverses[-1]
        yield len(self.links), (own, None)
        for i in reversed(range(len(self.links))):
            across = -self.links[i] @ own
            own = self.inverses[i] - across @ self.links[i].T
            yield i, (own, across)
