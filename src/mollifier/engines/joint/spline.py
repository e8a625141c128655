"""Values at the kernel's nodes as they are, or a spline over fewer of them, in place of a network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mollifier.derivatives.base import Derivatives
from mollifier.derivatives.mollifier import Mollified
from mollifier.engines.laplace import unit_of
from mollifier.engines.linearise import Linearisation, Residuals
from mollifier.engines.model import Block, Maker
from mollifier.grid import Axis
from mollifier.kernels import BSpline

Array = NDArray[np.float64]

# Cells of the spline that stands for an unknown field, along each axis, by the number of axes.
_CELLS = {1: 64, 2: 16, 3: 8}
_CUBIC = BSpline(3)


class Values(nn.Module):
    """Nodes (n, d) -> values (n, channels), linear in the parameters; it knows no points but its nodes.

    Attributes
    ----------
    coefficients
        Shape (p, channels), zero at first.
    spread
        Values at the nodes from coefficients, shape (n, p); None where they are the same.
    """

    def __init__(self, nodes: int, channels: int, spread: sp.csr_array | None = None) -> None:
        super().__init__()
        self.spread = spread
        count = nodes if spread is None else sp.csc_array(spread).indptr.size - 1
        self.coefficients = nn.Parameter(torch.zeros(count, channels, dtype=torch.float64))
        self._spread = None if spread is None else _torch(spread)

    def forward(self, points: Tensor) -> Tensor:
        """Values at the nodes, whatever the points."""
        return self.coefficients if self._spread is None else self._spread @ self.coefficients


def values_maker(cells: dict[str, int] | None) -> Maker:
    """States as values at the kernel's nodes; unknown fields as cubic splines of so many cells.

    Parameters
    ----------
    cells
        By coordinate; 64, 16 or 8 for fields over one, two or three where not given. As many as the
        collocation grid has, or more, are the values at the kernel's nodes.
    """

    def make(backend: Derivatives, channels: int, unknown: bool) -> nn.Module:
        assert isinstance(backend, Mollified)
        nodes = backend.layer.nodes
        if not unknown:
            return Values(nodes.size, channels)
        count = {a.name: (cells or {}).get(a.name, _CELLS.get(len(nodes.axes), 5)) for a in nodes}
        along = [
            _cubic(axis, domain, count[axis.name])
            for axis, domain in zip(nodes, backend.layer.grid, strict=True)
        ]
        return Values(
            nodes.size, channels, sp.csr_array(reduce(lambda a, b: sp.kron(a, b, format="csr"), along))
        )

    return make


def slopes_of(block: Block) -> sp.csr_array:
    """Slopes of a block's values at its nodes with respect to the coefficients, shape (nodes, p)."""
    if block.bijection is None:
        return spread_of(block)
    with torch.enable_grad():
        raw = raw_values(block).requires_grad_()
        slope = torch.autograd.grad(block.bijection(raw).sum(), raw)[0][:, 0].numpy()
    return sp.csr_array(spread_of(block).multiply(slope[:, None]))


def spread_of(block: Block) -> sp.csr_array:
    """Slopes of the values before the bijection, shape (nodes, p)."""
    module = _values(block)
    if module.spread is not None:
        return module.spread
    return sp.csr_array(sp.eye_array(len(module.coefficients), format="csr"))


def raw_values(block: Block) -> Tensor:
    """Values at a block's nodes before the bijection, shape (nodes, channels)."""
    with torch.no_grad():
        return _values(block)(block.nodes()).detach()


def _values(block: Block) -> Values:
    module = block.network if block.bijection is None else block.network[0]  # pyright: ignore[reportIndexIssue]
    assert isinstance(module, Values)
    return module


def _cubic(nodes: Axis, domain: Axis, cells: int) -> sp.csr_array:
    """A cubic spline of so many cells over the domain at nodes that reach past it, shape (nodes, p)."""
    own = domain.size if domain.periodic else domain.size - 1
    if cells >= own:
        return sp.csr_array(sp.eye_array(nodes.size, format="csr"))
    cell = domain.length / cells
    place = (nodes.points - domain.lower) / cell
    index = np.floor(place).astype(np.intp)[:, None] + np.arange(-1, 3)
    weights = _CUBIC((place[:, None] - index) / 2) / 2
    if domain.periodic:
        index, count = index % cells, cells
    else:
        index = index - index.min()
        count = int(index.max()) + 1
    rows = np.repeat(np.arange(nodes.size), 4)
    return sp.csr_array((weights.ravel(), (rows, index.ravel())), shape=(nodes.size, count))


class RawCurvature(Linearisation):
    """A linearisation whose prior of the unknown fields is on the curvature before the bijection.

    On the values themselves it would lose its hold where they come near a bound: their slope vanishes there.
    """

    def curvature(self, name: str, nodes: list[Array], slopes: bool) -> Iterator[Residuals]:
        """Rows of an unknown field's smoothness prior, at a strength of one; ``nodes`` are not read."""
        model = self.objective.model
        block = model.unknown_blocks[name]
        b = len(model.state_blocks) + list(model.unknown_blocks).index(name)
        raw = raw_values(block)[:, 0].numpy()
        assert block.bijection is not None
        share = unit_of(block.bijection) / (np.sqrt(block.grid.size) * self.objective.field_scale(name))
        for matrix in self.bends[b]:
            part = Residuals(share * (matrix @ (raw - raw.mean())), raw=True)
            if slopes:
                part.fields[b, 0] = sp.csr_array(matrix * share)
            yield part


def _torch(matrix: sp.csr_array) -> Tensor:
    coo = sp.coo_array(matrix)
    place = torch.from_numpy(np.stack(coo.coords).astype(np.int64))
    return torch.sparse_coo_tensor(place, torch.from_numpy(coo.data), matrix.shape, check_invariants=False)
