"""The objective linearised in the values at the nodes: sparse rows for the equations, the data and the prior.

Derivatives are linear in the values g that a network emits, so one sparse matrix per derivative, formed
once, serves every step: the residual of an equation changes by ``sum_a (dr/d u_a) W_a dg`` with the partial
derivatives dr/d u_a that the equation gives. A network adds one dense factor, its Jacobian dg/dtheta,
whatever the order of the equation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mollifier.engines.model import Block, Model
from mollifier.engines.objective import Objective, Target
from mollifier.equations import ArrayFunction, Equation
from mollifier.grid import Grid
from mollifier.orders import Derivative

Array = NDArray[np.float64]


@dataclass
class Residuals:
    """Some rows of the weighted residual vector, and what they depend on.

    Attributes
    ----------
    values
        Shape (m,).
    fields
        (block, channel) -> sparse derivative with respect to that channel's values at the block's nodes,
        shape (m, nodes).
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
            {d: _operator(block, d, whole) for n in block.names for d in block.needed[n]}
            for block in model.blocks
        ]
        self.bends = [[block.mollified.matrix(d) for d in block.curvatures] for block in model.blocks]
        self.observe = [block.mollified.observation_matrix() for block in model.state_blocks]
        self.known = {
            n: np.broadcast_to(v.cpu().numpy(), whole.shape).ravel() for n, v in model.known.items()
        }
        self.parts = [_Partials(e, model.blocks, tuple(model.scalars)) for e in objective.equations]
        self.data = [_DataRows(objective, t, self.observe[t.block]) for t in objective.targets]

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
        return env | self.known | {n: np.asarray(v) for n, v in model.values().items()}

    def residuals(self, nodes: list[Array], weight: float, slopes: bool) -> Iterator[Residuals]:
        """All residuals at values (channels, nodes) of every block, with derivatives if ``slopes``.

        ``weight`` multiplies the equations' weight, as in `Objective.forward`.
        """
        yield from self._equations(nodes, weight, slopes)
        yield from self._data(nodes, slopes)
        yield from self._prior(nodes, slopes)

    def _equations(self, nodes: list[Array], weight: float, slopes: bool) -> Iterator[Residuals]:
        objective = self.objective
        env = self.environment(nodes)
        count = objective.model.collocation.grid.size
        sizes = objective.sizes.tolist()
        for e, size, partials in zip(objective.equations, sizes, self.parts, strict=True):
            share = np.sqrt(weight * objective.weight / count) / (objective.tau * size)
            result = Residuals(np.broadcast_to(e.evaluate(env), count) * share)
            if slopes:
                for (b, channel), present in partials.fields.items():
                    factor = share * float(objective.model.blocks[b].scale[channel])
                    pieces = [
                        self.rows[b][d].multiply((np.broadcast_to(f(env), count) * factor)[:, None])
                        for d, f in present.items()
                    ]
                    result.fields[b, channel] = sp.csr_array(reduce(lambda a, b: a + b, pieces))
                for name, f in partials.scalars.items():
                    result.scalars[name] = np.broadcast_to(f(env), count) * share
            yield result

    def _data(self, nodes: list[Array], slopes: bool) -> Iterator[Residuals]:
        objective = self.objective
        for target, data in zip(objective.targets, self.data, strict=True):
            block, channel = objective.model.blocks[target.block], target.channel
            g = nodes[target.block][channel]
            mean = g.mean()
            offset = mean * float(block.scale[channel]) + float(block.level[channel])
            result = Residuals(data.matrix @ (g - mean) + (offset - data.values) * data.share)
            if slopes:
                result.fields[target.block, channel] = data.matrix
            yield result

    def _prior(self, nodes: list[Array], slopes: bool) -> Iterator[Residuals]:
        objective = self.objective
        for b, block in enumerate(objective.model.blocks):
            strength = objective.smoothness.get(block.names[0], 0.0)
            if not self.bends[b] or not strength:
                continue
            for matrix in self.bends[b]:
                share = np.sqrt(strength / block.grid.size) / objective.field_scale(block.names[0])
                result = Residuals(share * (matrix @ (nodes[b][0] - nodes[b][0].mean())))
                if slopes:
                    result.fields[b, 0] = sp.csr_array(matrix * share)
                yield result


class _DataRows:
    """Misfits of one target: ``matrix @ g``, which has the scale in it, minus ``values * share``.

    Attributes
    ----------
    matrix
        Shape (samples, nodes).
    values, share
        Shape (samples,): what was measured, and the weight of each.
    """

    def __init__(self, objective: Objective, target: Target, observe: sp.csr_array) -> None:
        index, values, sd = (v.cpu().numpy() for v in objective.target_tensors(target))
        self.values = values
        self.share = 1 / (sd * np.sqrt(objective.count))
        scale = float(objective.model.blocks[target.block].scale[target.channel])
        self.matrix = sp.csr_array(sp.csr_array(observe[index]).multiply((self.share * scale)[:, None]))


class _Partials:
    """Partial derivatives of one equation that are not zero, compiled once.

    Attributes
    ----------
    fields
        (block, channel) -> derivative of that field -> function of the environment.
    scalars
        Scalar unknown -> function of the environment.
    """

    def __init__(self, equation: Equation, blocks: Sequence[Block], scalars: Sequence[str]) -> None:
        present = set(equation.symbols)
        self.fields: dict[tuple[int, int], dict[Derivative, ArrayFunction]] = {}
        for b, block in enumerate(blocks):
            for channel, name in enumerate(block.names):
                found = {d: equation.partial(d.name) for d in block.needed[name] if d.name in present}
                if found:
                    self.fields[b, channel] = found
        self.scalars = {n: equation.partial(n) for n in scalars if n in present}


def _operator(block: Block, derivative: Derivative, whole: Grid) -> sp.csr_array:
    """Physical derivative, in units of the block's scale, on the whole grid from the block's nodes."""
    matrix = block.mollified.matrix(Derivative("u", derivative.orders)) * block.factor(derivative)
    if block.grid.names == whole.names:
        return sp.csr_array(matrix)
    inner = np.arange(block.grid.size).reshape(block.broadcast)
    return sp.csr_array(sp.csr_array(matrix)[np.broadcast_to(inner, whole.shape).ravel()])
