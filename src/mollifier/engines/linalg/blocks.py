"""Symmetric matrices whose blocks are correlated with their neighbours only, and their inverses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from mollifier.engines.linalg.dense import inverted
from mollifier.mollify.arrays import Array, Index


class BlockLayout:
    """Where the entries of a block tridiagonal matrix are kept, given the number of each row's block, (n,).

    All blocks on the diagonal come first, then those beside it: the other half is their transpose.
    """

    def __init__(self, block: Index) -> None:
        _, self._block, sizes = np.unique(block, return_inverse=True, return_counts=True)
        #: Indices of the rows of each block.
        self.rows = np.split(np.argsort(self._block, kind="stable"), np.cumsum(sizes)[:-1])
        self._place = np.empty_like(self._block)
        for rows in self.rows:
            self._place[rows] = np.arange(len(rows))
        self._sizes = sizes
        self._shapes = [*zip(sizes, sizes, strict=True), *pairwise(sizes)]
        self._starts = np.cumsum([0, *(m * n for m, n in self._shapes)])

    @property
    def size(self) -> int:
        """Number of entries that are kept."""
        return int(self._starts[-1])

    def index(self, i: Index, j: Index) -> Index:
        """Where the entries (i, j) are kept, each (pairs,), whose blocks are the same or neighbours."""
        if len(self.rows) == 1:
            return i * len(self._block) + j
        before, after = self._block[i], self._block[j]
        turned = after < before
        i, j = np.where(turned, j, i), np.where(turned, i, j)
        first = np.minimum(before, after)
        part = np.where(before == after, first, len(self.rows) + first)
        return self._starts[part] + self._place[i] * self._sizes[np.maximum(before, after)] + self._place[j]

    def parts(self, entries: Array) -> tuple[list[Array], list[Array]]:
        """Blocks on the diagonal and after it, as views of all entries."""
        edges = zip(pairwise(self._starts), self._shapes, strict=True)
        found = [entries[a:b].reshape(shape) for (a, b), shape in edges]
        return found[: len(self.rows)], found[len(self.rows) :]


class Blocks:
    """A symmetric block tridiagonal matrix, from its entries (layout.size,)."""

    def __init__(self, layout: BlockLayout, entries: Array) -> None:
        self.layout, self.entries = layout, entries
        #: Blocks on the diagonal and after it, as views of the entries.
        self.own, self.across = layout.parts(entries)

    @classmethod
    def symmetric(cls, layout: BlockLayout, entries: Array) -> Blocks:
        """The sum of a matrix and its transpose, from its entries, added up where they are kept; in place."""
        found = cls(layout, entries)
        for own in found.own:
            own += own.T.copy()
        return found

    @property
    def diagonal(self) -> Array:
        """Entries (n,) on the diagonal, in the order of the rows."""
        found = np.empty(sum(map(len, self.layout.rows)))
        for rows, own in zip(self.layout.rows, self.own, strict=True):
            found[rows] = own.diagonal()
        return found

    def __matmul__(self, right: Array) -> Array:
        """The matrix times an array (n,) or (n, k)."""
        found, rows = np.empty_like(right, dtype=float), self.layout.rows
        for here, own in zip(rows, self.own, strict=True):
            found[here] = own @ right[here]
        for (here, after), across in zip(pairwise(rows), self.across, strict=True):
            found[here] += across @ right[after]
            found[after] += across.T @ right[here]
        return found


@dataclass(frozen=True, eq=False)
class BlockInverse:
    """The inverse of a symmetric block tridiagonal matrix C, by block elimination; of one block the inverse.

    Schur complements ``S_0 = C_00`` and ``S_i+1 = C_i+1,i+1 - C_i+1,i S_i^-1 C_i,i+1`` give products with the
    inverse, and its own blocks on and beside the diagonal, for the cost of the blocks.

    >>> layout, (i, j) = BlockLayout(np.array([0, 1, 2])), np.array([[0, 1, 2, 0, 1], [0, 1, 2, 1, 2]])
    >>> c = Blocks.symmetric(layout, np.bincount(layout.index(i, j), [1.0, 1.0, 1.0, 1.0, 1.0]))
    >>> (c @ np.eye(3)).tolist()
    [[2.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 2.0]]
    >>> found = BlockInverse.of(c, 0.0)
    >>> (found @ (c @ np.array([1.0, 2.0, 3.0]))).round(9).tolist()
    [1.0, 2.0, 3.0]
    >>> (found.near @ np.eye(3)).round(9).tolist()
    [[0.75, -0.5, 0.0], [-0.5, 1.0, -0.5], [0.0, -0.5, 0.75]]
    """

    layout: BlockLayout  #: The blocks.
    inverses: Sequence[Array]  #: ``S_i^-1``.
    links: Sequence[Array]  #: ``S_i^-1 C_i,i+1``, one fewer.

    @classmethod
    def of(cls, matrix: Blocks, ridge: float) -> BlockInverse:
        """Of a matrix whose diagonal is raised by a share ``ridge`` of it and of its mean."""
        diagonal = matrix.diagonal
        lift = ridge * (diagonal + diagonal.mean())
        schur, inverses, links = 0.0, [], []
        for rows, own, across in zip(matrix.layout.rows, matrix.own, [*matrix.across, None], strict=True):
            whole = own - schur
            whole[np.diag_indices_from(whole)] += lift[rows]
            inverses.append(inverted(whole))
            if across is not None:
                links.append(inverses[-1] @ across)
                schur = across.T @ links[-1]
        return cls(matrix.layout, inverses, links)

    @classmethod
    def whole(cls, inverse: Array) -> BlockInverse:
        """An inverse (n, n) that is known, as one block."""
        return cls(BlockLayout(np.zeros(len(inverse), dtype=np.intp)), (inverse,), ())

    def __matmul__(self, right: Array) -> Array:
        """The inverse times an array (n,) or (n, k)."""
        parts = [np.asarray(right)[r] for r in self.layout.rows]
        for i, link in enumerate(self.links):
            parts[i + 1] -= link.T @ parts[i]
        parts = [s @ p for s, p in zip(self.inverses, parts, strict=True)]
        for i in reversed(range(len(self.links))):
            parts[i] -= self.links[i] @ parts[i + 1]
        found = np.empty_like(right, dtype=float)
        found[np.concatenate(self.layout.rows)] = np.concatenate(parts)
        return found

    @cached_property
    def near(self) -> Blocks:
        """The inverse's own blocks on and beside the diagonal."""
        found = Blocks(self.layout, np.empty(self.layout.size))
        found.own[-1][...] = own = self.inverses[-1]
        for i in reversed(range(len(self.links))):
            found.across[i][...] = across = -self.links[i] @ own
            found.own[i][...] = own = self.inverses[i] - across @ self.links[i].T
        return found
