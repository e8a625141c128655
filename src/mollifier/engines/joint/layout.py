"""Order of the joint engine's parameters, and the parts of its normal equations: core, between, border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from mollifier.engines.collocated.laplace import slope_of
from mollifier.engines.collocated.linearise import Linearisation
from mollifier.engines.collocated.model import Model
from mollifier.engines.collocated.residuals import Residuals
from mollifier.engines.joint.spline import slopes_of
from mollifier.engines.linalg.banded import order_within
from mollifier.mollify.arrays import Array, Index
from mollifier.nn.layers import count


class Layout:
    """Places of the parameters: first the core, nodes in banded order with channels fastest; then the border.

    The core is the largest state block; the border is declared noise, all other states, unknown fields and
    numbers. Without a ``linearisation``, which shows what nodes are involved, all are.
    """

    def __init__(self, model: Model, linearisation: Linearisation | None = None) -> None:
        self.model = model
        sizes = [sum(p.numel() for p in b.network.parameters()) for b in model.blocks]
        #: Index of the state block with the most values.
        self.core = int(np.argmax(sizes[: len(model.state_blocks)]))
        block = model.blocks[self.core]
        self.channels = len(block.names)
        shape = block.mollified.lattice.shape
        used = (
            np.ones(int(np.prod(shape)), dtype=bool)
            if linearisation is None
            else linearisation.roughness.used(self.core)
        )
        #: Node of the core, flat in C order -> its place in the core, shape (nodes,); -1 for nodes that no
        #: equation and no datum involves.
        self.order = order_within(used, shape)
        self.core_size = int(used.sum()) * self.channels  #: Number of parameters of the core.
        #: Index of a block, name of a number, or field with declared noise -> its columns of the border.
        self.places: dict[int | str, slice] = {}
        low, noise = 0, ((f, count(n)) for f, n in model.noise.items())
        for key, size in [*noise, *enumerate(sizes), *((n, 1) for n in model.scalars)]:
            if key != self.core:
                self.places[key] = slice(low, low + size)
                low += size
        self.border_size = low
        #: Index of a part of the data -> its square (core_size, core_size), which does not change between
        #: steps.
        self.constant: dict[int, sp.csr_array] = {}
        #: Index of a state in the core and of a coordinate -> slopes of its smoothness prior with respect to
        #: core and border, to the core alone, and the square of these: they do not change either.
        self.rough: dict[tuple[int, int], tuple[sp.csr_array, sp.csr_array, sp.csr_array]] = {}

    @property
    def unknowns(self) -> dict[str, slice]:
        """Name of an unknown -> its columns of the border."""
        first = len(self.model.state_blocks)
        fields = {n: self.places[first + i] for i, n in enumerate(self.model.unknown_blocks)}
        return fields | {n: self.places[n] for n in self.model.scalars}

    @property
    def states(self) -> Index:
        """Columns of the border that belong to states."""
        kept = [self.places[b] for b in range(len(self.model.state_blocks)) if b != self.core]
        return np.concatenate([np.arange(p.start, p.stop) for p in kept] or [np.arange(0)])

    def flat(self, core: Array, border: Array) -> Tensor:
        """Core (core_size,) and border (border_size,) as one vector: noise, blocks, numbers."""
        parts: list[Array] = [border[self.places[f]] for f in self.model.noise]
        for b in range(len(self.model.blocks)):
            if b == self.core:
                values = core.reshape(-1, self.channels)[self.order]
                parts.append(np.where(self.order[:, None] < 0, 0.0, values).ravel())
            else:
                parts.append(border[self.places[b]])
        parts += [border[self.places[n]] for n in self.model.scalars]
        return torch.from_numpy(np.concatenate(parts))

    def core_rows(self, part: Residuals) -> sp.csr_array | None:
        """Slopes of m residuals with respect to the core, shape (m, core_size); None if all are zero."""
        total: sp.csr_array | None = None
        for (b, channel), matrix in part.fields.items():
            if b != self.core:
                continue
            # In the type of the indices: a wider one would be copied.
            column = (self.order * self.channels + channel).astype(matrix.indices.dtype)[matrix.indices]
            shape = (len(part.values), self.core_size)
            moved = sp.csr_array((matrix.data, column, matrix.indptr), shape=shape)
            total = moved if total is None else sp.csr_array(total + moved)
        return total

    def border_rows(self, part: Residuals, slopes: Slopes) -> sp.csr_array | None:
        """Slopes of m residuals with respect to the border, shape (m, border_size); None if all are zero."""
        m, n = len(part.values), self.border_size
        pieces: list[sp.csr_array] = []
        for (b, channel), matrix in part.fields.items():
            if b == self.core:
                continue
            place, count = self.places[b], len(self.model.blocks[b].names)
            moved = sp.csr_array(matrix @ slopes.fields[b])
            column = place.start + moved.indices * count + channel
            pieces.append(sp.csr_array((moved.data, column, moved.indptr), shape=(m, n)))
        for noisy, matrix in part.shared.items():
            column = self.places[noisy].start + matrix.indices
            pieces.append(sp.csr_array((matrix.data, column, matrix.indptr), shape=(m, n)))
        for name, slope in part.scalars.items():
            column = np.full(m, self.places[name].start)
            data = np.ascontiguousarray(slope) * slopes.scalars[name]
            pieces.append(sp.csr_array((data, column, np.arange(m + 1)), shape=(m, n)))
        return sp.csr_array(sum(pieces[1:], pieces[0])) if pieces else None

    def rows(self, part: Residuals, slopes: Slopes) -> sp.csr_array:
        """Slopes of m residuals with respect to core and border, shape (m, core_size + border_size)."""
        m, sizes = len(part.values), (self.core_size, self.border_size)
        parts = self.core_rows(part), self.border_rows(part, slopes)
        whole = [sp.csr_array((m, n)) if p is None else p for p, n in zip(parts, sizes, strict=True)]
        return sp.csr_array(sp.hstack(whole))


class Slopes:
    """Slopes of fields and numbers with respect to the parameters, before the bijections to their bounds.

    ``mean`` are those of the bijections of some unknown fields, averaged over their standard errors.
    """

    def __init__(self, model: Model, mean: Mapping[str, Array] | None = None) -> None:
        given = mean or {}
        #: For each block, slopes of its values at nodes, shape (nodes, coefficients).
        self.fields = [slopes_of(b, given.get(b.names[0])) for b in model.blocks]
        self.scalars = {n: slope_of(s) for n, s in model.scalars.items()}  #: Name of a number -> its slope.


@dataclass
class Normal:
    """Normal equations J'J and J'r, with J the slopes and r the values of residuals, in parts."""

    #: Blocks of J'J, shapes (n, n), (n, p) and (p, p), for n parameters of the core and p of the border.
    core: sp.csr_array
    between: sp.csr_array
    border: Array
    #: Parts of J'r, shapes (n,) and (p,).
    core_gradient: Array
    border_gradient: Array
    #: Rows of J, in parts that are zero for core or border where None.
    rows: list[tuple[sp.csr_array | None, sp.csr_array | None]] = field(default_factory=list)

    @classmethod
    def zero(cls, layout: Layout) -> Normal:
        """Normal equations of no residuals."""
        n, p = layout.core_size, layout.border_size
        return cls(sp.csr_array((n, n)), sp.csr_array((n, p)), np.zeros((p, p)), np.zeros(n), np.zeros(p))

    def plus(self, other: Normal) -> Normal:
        """The sum of two normal equations."""
        return Normal(
            sp.csr_array(self.core + other.core),
            sp.csr_array(self.between + other.between),
            self.border + other.border,
            self.core_gradient + other.core_gradient,
            self.border_gradient + other.border_gradient,
            self.rows + other.rows,
        )

    def add(
        self,
        part: Residuals,
        layout: Layout,
        slopes: Slopes,
        kept: dict[int, sp.csr_array] | None = None,
        key: int = 0,
    ) -> None:
        """Add the squares of some residuals; those of the core are cached in ``kept`` under ``key``."""
        u, v = layout.core_rows(part), layout.border_rows(part, slopes)
        self.rows.append((u, v))
        if u is not None:
            square = None if kept is None else kept.get(key)
            if square is None:
                square = sp.csr_array(u.T @ u)
                if kept is not None:
                    kept[key] = square
            self.core = sp.csr_array(self.core + square)
            self.core_gradient += u.T @ part.values
        if v is not None:
            self.border += (v.T @ v).toarray()
            self.border_gradient += v.T @ part.values
        if u is not None and v is not None:
            self.between = sp.csr_array(self.between + u.T @ v)

    def add_rough(self, rows: sp.csr_array, square: sp.csr_array, values: Array, strength: float) -> None:
        """Add the squares of a smoothness prior of the core at a strength, by its slopes and their square."""
        self.rows.append((sp.csr_array(rows * np.sqrt(strength)), None))
        self.core = sp.csr_array(self.core + square * strength)
        self.core_gradient += strength * (rows.T @ values)

    def stacked(self) -> sp.csr_array:
        """All rows of J, shape (m, n + p)."""
        sizes = len(self.core_gradient), len(self.border_gradient)
        parts = []
        for pair in self.rows:
            count = next((p.shape[0] for p in pair if p is not None), 0)
            parts.append(
                [sp.csr_array((count, n)) if p is None else p for p, n in zip(pair, sizes, strict=True)]
            )
        return sp.csr_array(sp.vstack([sp.hstack(p) for p in parts]))
