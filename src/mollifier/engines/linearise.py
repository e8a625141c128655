"""The objective linearised in the values at the nodes: sparse rows for the equations, the data and the prior.

Derivatives are linear in the values g that a network emits, so one sparse matrix per derivative, formed once, serves
every step: the residual of an equation changes by ``sum_a (dr/d u_a) W_a dg`` with the partial derivatives dr/d u_a that
the equation gives. A network adds one dense factor, its Jacobian dg/dtheta, whatever the order of the equation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mollifier.derivatives.mollifier import Mollified
from mollifier.engines.model import Block, Model
from mollifier.engines.objective import Objective
from mollifier.grid import Grid
from mollifier.layer import Resampler, Sampler
from mollifier.orders import Derivative
from mollifier.stencils import Rows

Array = NDArray[np.float64]


@dataclass
class Residuals:
    """Some rows of the weighted residual vector, and what they depend on.

    Attributes
    ----------
    values
        Shape (m,).
    fields
        (block, channel) -> sparse derivative with respect to that channel's values at the block's nodes, (m, nodes).
    scalars
        Scalar unknown -> derivative, shape (m,).
    """

    values: Array
    fields: dict[tuple[int, int], sp.csr_array] = field(default_factory=dict)
    scalars: dict[str, Array] = field(default_factory=dict)


class Linearisation:
    """Sparse matrices of a model whose derivatives are mollified, and the residuals they give.

    Parameters
    ----------
    objective
        The loss; its value is the sum of squares of all the residuals.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        model = objective.model
        whole = model.collocation.grid
        self.rows = [
            {d: _operator(block, d, whole) for n in block.names for d in block.needed[n]} for block in model.blocks
        ]
        self.bends = [[_matrix(_layer_rows(block, d)) for d in block.curvatures] for block in model.blocks]
        self.observe = [_observing(block) for block in model.state_blocks]  # type: ignore[arg-type]

    @staticmethod
    def size(model: Model) -> int:
        """Non-zero weights that the matrices would hold, before any is formed."""
        total = 0
        for block in model.blocks:
            taps = 1.0
            for a in block.grid:
                taps *= 2 * model.collocation.cells[a.name]
            total += int(taps) * model.collocation.grid.size * sum(len(v) for v in block.needed.values())
        return total

    def environment(self, nodes: list[Array]) -> dict[str, Array]:
        """Physical derivatives on the grid, flat, from values (channels, nodes) of every block."""
        model = self.objective.model
        env: dict[str, Array] = {}
        for block, rows, g in zip(model.blocks, self.rows, nodes, strict=True):
            for channel, name in enumerate(block.names):
                mean = g[channel].mean()
                for d in block.needed[name]:
                    scale = float(block.scale[channel])
                    value = (rows[d] @ (g[channel] - mean)) * scale
                    env[d.name] = value if d.total else value + mean * scale + float(block.level[channel])
        grid = model.collocation.grid
        for name in model.known_names:
            known = getattr(model, f"known_{name}").cpu().numpy()
            env[name] = np.broadcast_to(known, grid.shape).ravel()
        return env | {n: np.asarray(v) for n, v in model.values().items()}

    def residuals(self, nodes: list[Array], weight: float, slopes: bool) -> Iterator[Residuals]:
        """All residuals at values (channels, nodes) of every block, with derivatives if ``slopes``.

        ``weight`` multiplies the equations' weight, as in `Objective.forward`.
        """
        yield from self._equations(nodes, weight, slopes)
        yield from self._data(nodes, slopes)
        yield from self._prior(nodes, slopes)

    def _equations(self, nodes: list[Array], weight: float, slopes: bool) -> Iterator[Residuals]:
        objective, model = self.objective, self.objective.model
        env = self.environment(nodes)
        count = model.collocation.grid.size
        for e, size in zip(objective.equations, objective.sizes.tolist(), strict=True):
            share = np.sqrt(weight * objective.weight / count) / (objective.tau * size)
            result = Residuals(np.broadcast_to(e.evaluate(env), count) * share)
            if slopes:
                for b, block in enumerate(model.blocks):
                    for channel, name in enumerate(block.names):
                        parts = [
                            self.rows[b][d].multiply(
                                (np.broadcast_to(e.partial(d.name)(env), count) * (share * float(block.scale[channel])))[:, None]
                            )
                            for d in block.needed[name]
                            if d.name in e.symbols
                        ]
                        if parts:
                            result.fields[b, channel] = sp.csr_array(reduce(lambda a, b: a + b, parts))
                for name in model.scalars:
                    if name in e.symbols:
                        result.scalars[name] = np.broadcast_to(e.partial(name)(env), count) * share
            yield result

    def _data(self, nodes: list[Array], slopes: bool) -> Iterator[Residuals]:
        objective = self.objective
        for b, channel, name in objective.targets:
            block = objective.model.blocks[b]
            g = nodes[b][channel]
            index, value, sd = (
                getattr(objective, f"{kind}_{name}").cpu().numpy() for kind in ("index", "value", "sd")
            )
            scale = float(block.scale[channel])
            fitted = (self.observe[b] @ (g - g.mean()) + g.mean()) * scale + float(block.level[channel])
            share = 1 / (sd * np.sqrt(objective.count))
            result = Residuals((fitted[index] - value) * share)
            if slopes:
                result.fields[b, channel] = sp.csr_array(self.observe[b][index].multiply((share * scale)[:, None]))
            yield result

    def _prior(self, nodes: list[Array], slopes: bool) -> Iterator[Residuals]:
        objective = self.objective
        for b, block in enumerate(objective.model.blocks):
            strength = objective.smoothness.get(block.names[0], 0.0)
            if not self.bends[b] or not strength:
                continue
            for matrix in self.bends[b]:
                share = np.sqrt(strength / matrix.shape[0]) / objective.field_scale(block.names[0])
                result = Residuals(share * (matrix @ (nodes[b][0] - nodes[b][0].mean())))
                if slopes:
                    result.fields[b, 0] = sp.csr_array(matrix * share)
                yield result


def _layer_rows(block: Block, derivative: Derivative) -> list[Rows]:
    """Per-axis rows of one derivative of a block's layer."""
    backend = block.backend
    assert isinstance(backend, Mollified)
    axes = backend.layer.operator.axes
    return [op.rows[derivative.along(a.name)] for op, a in zip(axes, block.grid, strict=True)]


def _matrix(rows: list[Rows]) -> sp.csr_array:
    """The tensor product of per-axis rows, shape (grid, nodes)."""
    parts = []
    for r in rows:
        m, taps = r.weights.shape
        # Copies: dropping the zeros that pad the rows works in place.
        part = sp.csr_array(
            (r.weights.flatten(), r.index.flatten(), np.arange(0, m * taps + 1, taps)), shape=(m, r.nodes)
        )
        part.eliminate_zeros()
        parts.append(part)
    return sp.csr_array(reduce(lambda a, b: sp.kron(a, b, format="csr"), parts))


def value_matrix(block: Block) -> sp.csr_array:
    """A block's field on its own grid from its nodes."""
    return _matrix(_layer_rows(block, Derivative("u")))


def _operator(block: Block, derivative: Derivative, whole: Grid) -> sp.csr_array:
    """Physical derivative, in units of the block's scale, on the whole grid from the block's nodes."""
    matrix = _matrix(_layer_rows(block, derivative)) * block.factor(derivative)
    if block.grid.names == whole.names:
        return sp.csr_array(matrix)
    inner = np.arange(block.grid.size).reshape(block.broadcast)
    return sp.csr_array(sp.csr_array(matrix)[np.broadcast_to(inner, whole.shape).ravel()])


def _observing(block: Block) -> sp.csr_array:
    """The observed places from the block's nodes."""
    backend = block.backend
    assert isinstance(backend, Mollified)
    module = backend.observer
    if isinstance(module, Resampler):
        return _matrix([op.rows[0] for op in module.operator.axes])
    assert isinstance(module, Sampler)
    held = {n: w.cpu().numpy() for n, w in module.weights.tensors().items()}
    weights = held["axis0_order0"]
    for i in range(1, len(module.taps)):
        weights = (weights[:, :, None] * held[f"axis{i}_order0"][:, None, :]).reshape(len(weights), -1)
    m, taps = weights.shape
    return sp.csr_array(
        (weights.ravel(), held["index"].ravel(), np.arange(0, m * taps + 1, taps)),
        shape=(m, backend.layer.nodes.size),
    )
