"""Dense normal equations of networks' weights and scalar unknowns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.factored import is_factored
from mollifier.engines.collocated.jacobian import NodeSlopes
from mollifier.engines.collocated.lattice import AxisProduct, ProductSum
from mollifier.engines.collocated.model import Model
from mollifier.engines.collocated.residuals import Residuals
from mollifier.engines.linalg.memory import rows_at_once
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.mollify.arrays import Array, slices
from mollifier.mollify.matrices import rows_matrix
from mollifier.nn.layers import count, trained

#: What rows depend on: weights of a block or of one channel, a raw scalar or a field's noise by its name.
Key = int | str | tuple[int, int]

_NODES = 32_768  # Nodes whose network is differentiated at a time.


class NormalEquations:
    """J'J and J'r over all parameters: of declared noise, of each network, then the scalars.

    The model's parts are taken as they are at each call of `form`.
    """

    def __init__(self, model: Model, tuning: NetworkTuning) -> None:
        self.model, self.tuning = model, tuning
        self.widest = max(count(b.network) for b in model.blocks)
        self.kept = self._shares(tuning.most_jacobian)
        self._grams: dict[int, tuple[Tensor, Tensor]] = {}
        self._moved: dict[int, tuple[Any, ProductSum | None]] = {}

    def _shares(self, most: int) -> dict[int, int]:
        """Slopes at nodes that each block keeps, of ``most`` in all: the largest one what others leave."""
        sizes = {
            i: count(b.network) * len(b.names) * b.mollified.lattice.size
            for i, b in enumerate(self.model.blocks)
            if not is_factored(b)
        }
        found: dict[int, int] = {}
        for i in sorted(sizes, key=lambda i: sizes[i]):
            found[i] = min(sizes[i], (most - sum(found.values())) // (len(sizes) - len(found)))
        return found

    def form(
        self, nodes: list[Array], rows: Iterable[Residuals], step: bool = False
    ) -> tuple[Tensor, Tensor]:
        """J'J (p, p) and J'r (p,) of some rows.

        ``nodes`` are values (channels, nodes) of every block, or weights (channels, weights) where it is
        linear in them, at which the rows have their derivatives. With ``step`` J'J only directs a step:
        samples that are many then count at the nodes nearest to them.
        """
        networks, place = self._laid_out(nodes)
        size = max(p.stop for p in place.values())
        hessian = torch.zeros(size, size, dtype=torch.float64)
        gradient = torch.zeros(size, dtype=torch.float64)
        self._add_rows(rows, networks, place, gradient, hessian, step)
        upper = hessian.triu(1)
        return hessian.triu_().add_(upper.T), gradient

    def pulled(self, nodes: list[Array], part: Residuals, values: Array) -> Tensor:
        """J'v (p, k) of rows with k sets of values v (m, k); ``nodes`` are as in `form`."""
        networks, place = self._laid_out(nodes)
        size = max(p.stop for p in place.values())
        found = torch.zeros(size, values.shape[1], dtype=torch.float64)
        self._add_rows([replace(part, values=values)], networks, place, found)
        return found

    def _add_rows(
        self,
        rows: Iterable[Residuals],
        networks: dict[int, NodeSlopes],
        place: dict[Key, slice],
        gradient: Tensor,
        hessian: Tensor | None = None,
        step: bool = False,
    ) -> None:
        """Add J'r of rows, and the upper triangle of J'J to a Hessian that is given."""
        slopes = {n: s.slope() for n, s in self.model.scalars.items()}
        groups: dict[tuple[int, int], list[Residuals]] = {}
        with np.errstate(all="ignore"):  # System.finite checks the result
            for part in rows:
                if part.constant:
                    self._add_constant(part, place, gradient, hessian)
                    continue
                if step and part.samples and (near := self._at_nodes(part)) is not None:
                    (((b, channel), matrix),) = part.fields.items()
                    pulled = matrix.pulled(part.values)
                    gradient[place[b]] += gradient_of(self.model.blocks[b], channel, pulled)
                    part = Residuals(np.zeros(len(near)), {(b, channel): near})
                groups.setdefault((part.step, len(part.values)), []).append(part)
            # Rows on the same grid share the slopes of some layers of nodes.
            for group in groups.values():
                for some in self._chunks(group[0]):
                    for part in group:
                        values = torch.from_numpy(np.ascontiguousarray(part.values[some]))
                        # No name for the rows: they would be held while the next are formed.
                        _add(_dense_rows(part, some, networks, slopes), values, place, gradient, hessian)
                for network in networks.values():
                    network.release()

    def moved(
        self, nodes: list[Array], rows: Iterable[Residuals], change: Tensor
    ) -> Iterator[tuple[Array, Array]]:
        """Values (m,) of rows, some at a time, and their changes (m, k) by those (p, k) of the parameters."""
        networks, place = self._laid_out(nodes)
        slopes = {n: s.slope() for n, s in self.model.scalars.items()}
        for part in rows:
            for some in self._chunks(part):
                dense = _dense_rows(part, some, networks, slopes)
                changes = torch.stack([d @ change[place[key]] for key, d in dense.items()])
                yield part.values[some], changes.sum(0).numpy()

    def _laid_out(self, nodes: list[Array]) -> tuple[dict[int, NodeSlopes], dict[Key, slice]]:
        """Slopes of each network at its nodes, and the places of all parameters."""
        networks: dict[int, NodeSlopes] = {}
        sizes: dict[Key, int] = {f: count(noise) for f, noise in self.model.noise.items()}
        for i, b in enumerate(self.model.blocks):
            if is_factored(b):
                sizes |= {(i, channel): nodes[i].shape[1] for channel in range(len(b.names))}
            else:
                shape = b.mollified.lattice.shape
                networks[i] = NodeSlopes(b.network, b.nodes(), shape, self.kept[i])
                sizes[i] = networks[i].weights
        sizes |= dict.fromkeys(self.model.scalars, 1)
        return networks, dict(zip(sizes, slices(sizes.values()), strict=True))

    def _add_constant(
        self, part: Residuals, place: Mapping[Key, slice], gradient: Tensor, hessian: Tensor | None
    ) -> None:
        """Add rows whose matrix is the same in every step; its Gram matrix is formed once."""
        ((key, matrix),) = part.fields.items()
        own = None if hessian is None else hessian[place[key], place[key]]
        if isinstance(matrix, float):  # times the identity
            if own is not None:
                own.diagonal().add_(matrix**2)
            gradient[place[key]] += matrix * torch.from_numpy(part.values)
            return
        if own is not None:
            if id(matrix) not in self._grams:
                # The matrix is stored too, so that no other can get its identity.
                square = torch.zeros_like(own)
                for some in self._chunks(part):
                    square += gram(matrix[some])
                self._grams[id(matrix)] = matrix, square
            own += self._grams[id(matrix)][1]
        for some in self._chunks(part):
            gradient[place[key]] += matrix[some].T @ torch.from_numpy(np.ascontiguousarray(part.values[some]))

    def _at_nodes(self, part: Residuals) -> ProductSum | None:
        """Rows of the field at the nodes of the grid, for samples moved to them; None for few samples.

        A minimum stays where it is: J'r has the samples where they are.
        """
        (((b, _), matrix),) = part.fields.items()
        if id(matrix) not in self._moved:
            # The matrix is stored too, so that no other can get its identity.
            self._moved[id(matrix)] = matrix, None
            block = self.model.blocks[b]
            sizes = len(part.values), getattr(matrix, "taps", 0), block.grid.size, count(block.network)
            if not is_factored(block) and self.tuning.moved(*sizes):
                squares, operator = matrix.squares(), block.mollified.operator
                outer = zip(squares.shape[-len(block.grid.shape) :], block.grid, strict=True)
                inner = tuple(slice((n - a.size) // 2, (n + a.size) // 2) for n, a in outer)
                field = AxisProduct.along([rows_matrix(op.rows[0]) for op in operator.axes])
                near = ProductSum([(np.sqrt(squares[..., *inner]).ravel(), field)])
                self._moved[id(matrix)] = matrix, near
        return self._moved[id(matrix)][1]

    def _chunks(self, part: Residuals) -> Iterator[slice]:
        """Rows that are formed at a time."""
        chunk = rows_at_once(self.widest, part.step)
        return (slice(low, low + chunk) for low in range(0, len(part.values), chunk))


def _add(
    dense: Mapping[Key, Tensor],
    values: Tensor,
    place: Mapping[Key, slice],
    gradient: Tensor,
    hessian: Tensor | None,
) -> None:
    """Add some rows; of a Hessian that is given the upper triangle."""
    for a, left in dense.items():
        gradient[place[a]] += left.T @ values
        if hessian is None:
            continue
        for b, right in dense.items():
            if a == b:
                hessian[place[a], place[a]] += gram(left)
            elif place[a].start < place[b].start:
                hessian[place[a], place[b]].addmm_(left.T, right)


def gradient_of(block: Block, channel: int, factors: Array) -> Tensor:
    """``J'v`` of a channel at the nodes and factors v (nodes,), shape (weights,), float64 on the CPU."""
    weights, nodes = trained(block.network), block.nodes()
    total = torch.zeros(sum(w.numel() for w in weights), dtype=torch.float64)
    for i in range(0, len(nodes), _NODES):
        values = block.network(nodes[i : i + _NODES])[:, channel]
        found = torch.autograd.grad(values @ torch.as_tensor(factors[i : i + _NODES]).to(values), weights)
        total += torch.cat([f.flatten() for f in found]).double().cpu()
    return total


def gram(matrix: Tensor) -> Tensor:
    """``M'M``; NumPy computes one triangle only."""
    rows = matrix.numpy()
    return torch.from_numpy(rows.T @ rows)


def _dense_rows(
    part: Residuals, rows: slice, networks: Mapping[int, NodeSlopes], slopes: dict[str, float]
) -> dict[Key, Tensor]:
    """Rows of the Jacobian by what they depend on."""
    dense: dict[Key, Tensor] = {}
    for (b, channel), matrix in part.fields.items():
        if b not in networks:
            dense[b, channel] = matrix[rows]
            continue
        if isinstance(matrix, sp.csr_array):
            piece = torch.from_numpy(matrix[rows] @ networks[b].whole(channel).numpy())
        else:
            piece = matrix.times(rows, networks[b], channel)
        dense[b] = dense[b].add_(piece) if b in dense else piece
    dense |= {f: torch.from_numpy(matrix[rows].toarray()) for f, matrix in part.shared.items()}
    for name, column in part.scalars.items():
        dense[name] = torch.from_numpy(np.ascontiguousarray(column[rows]) * slopes[name])[:, None]
    return dense
