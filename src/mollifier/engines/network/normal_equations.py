"""Dense normal equations of networks' weights and scalar unknowns."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from mollifier.engines.collocated.factored import is_factored
from mollifier.engines.collocated.jacobian import NodeSlopes
from mollifier.engines.collocated.model import Model
from mollifier.engines.collocated.residuals import Residuals
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.nn.layers import count

Array = NDArray[np.float64]
Key = int | str | tuple[int, int]
"""What rows depend on: weights of a block or of one channel, a raw scalar or a field's noise by its name."""


class NormalEquations:
    """J'J and J'r over all parameters: of declared noise, of each network, then the scalars.

    Parameters
    ----------
    model
        Its noise, state blocks, unknown fields and scalars, as they are at each call of `form`.
    tuning
        Rows of the dense Jacobian that are formed at a time, and the slopes at nodes that are kept.
    """

    def __init__(self, model: Model, tuning: NetworkTuning) -> None:
        self.model, self.chunk = model, tuning.chunk_rows
        self.kept = self._shares(tuning.most_jacobian)
        self._grams: dict[int, tuple[Tensor, Tensor]] = {}

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
        self, nodes: list[Array], rows: Iterable[Residuals], sets: tuple[int, ...] = ()
    ) -> tuple[Tensor, Tensor]:
        """J'J (p, p) and J'r (p,) of some rows.

        Parameters
        ----------
        nodes
            Values (channels, nodes) of every block, or weights (channels, weights) where linear in them.
        rows
            Of the residual vector, with derivatives at these values.
        sets
            (k,) where the values of the rows are k sets, shape (m, k): then J'r has the shape (p, k).
        """
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
        edges = np.cumsum([0, *sizes.values()]).tolist()
        place = {k: slice(low, high) for k, low, high in zip(sizes, edges[:-1], edges[1:], strict=True)}
        hessian = torch.zeros(edges[-1], edges[-1], dtype=torch.float64)
        gradient = torch.zeros(edges[-1], *sets, dtype=torch.float64)
        slopes = {n: s.slope() for n, s in self.model.scalars.items()}
        with np.errstate(all="ignore"):  # System.finite checks the result
            for part in rows:
                if part.constant:
                    self._add_constant(part, place, hessian, gradient)
                    continue
                for some in self._chunks(part):
                    dense = _dense_rows(part, some, networks, slopes)
                    values = torch.from_numpy(np.ascontiguousarray(part.values[some]))
                    for a, left in dense.items():
                        gradient[place[a]] += left.T @ values
                        for b, right in dense.items():
                            if a == b:
                                hessian[place[a], place[a]] += gram(left)
                            elif place[a].start < place[b].start:
                                hessian[place[a], place[b]].addmm_(left.T, right)
        upper = hessian.triu(1)
        return hessian.triu_().add_(upper.T), gradient

    def _add_constant(
        self, part: Residuals, place: Mapping[Key, slice], hessian: Tensor, gradient: Tensor
    ) -> None:
        """Add rows whose matrix is the same in every step; its Gram matrix is formed once."""
        ((key, matrix),) = part.fields.items()
        if id(matrix) not in self._grams:
            # The matrix is stored too, so that no other can get its identity.
            square = torch.zeros_like(hessian[place[key], place[key]])
            for some in self._chunks(part):
                square += gram(matrix[some])
            self._grams[id(matrix)] = matrix, square
        hessian[place[key], place[key]] += self._grams[id(matrix)][1]
        for some in self._chunks(part):
            gradient[place[key]] += matrix[some].T @ torch.from_numpy(np.ascontiguousarray(part.values[some]))

    def _chunks(self, part: Residuals) -> Iterator[slice]:
        """Rows that are formed at a time."""
        chunk = max(self.chunk // part.step, 1) * part.step
        return (slice(low, low + chunk) for low in range(0, len(part.values), chunk))


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
            piece = _sparse_tensor(matrix[rows]) @ networks[b].whole(channel)
        else:
            piece = matrix.times(rows, networks[b], channel)
        dense[b] = dense[b].add_(piece) if b in dense else piece
    dense |= {f: torch.from_numpy(matrix[rows].toarray()) for f, matrix in part.shared.items()}
    for name, column in part.scalars.items():
        dense[name] = torch.from_numpy(np.ascontiguousarray(column[rows]) * slopes[name])[:, None]
    return dense


def _sparse_tensor(matrix: Any) -> Tensor:
    """A SciPy CSR matrix as a torch one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data),
            size=matrix.shape,
            check_invariants=False,
        )
