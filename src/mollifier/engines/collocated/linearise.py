"""The objective linearised in the values at the nodes: sparse rows for the equations, the data and the prior.

Derivatives are linear in the values g that a network emits, so one sparse matrix per derivative, formed
once, serves every step: the residual of an equation changes by ``sum_a (dr/d u_a) W_a dg`` with the partial
derivatives dr/d u_a that the equation gives. A network adds one dense factor, its Jacobian dg/dtheta,
whatever the order of the equation. A random-feature network is linear in its weights: they stand in the
place of values at nodes, and its matrices are factored by coordinate (`mollifier.engines.network.features`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from mollifier.engines.collocated.model import Block, Model
from mollifier.engines.collocated.objective import Objective, Target
from mollifier.engines.network.features import Combination, Product, factored, observed, products
from mollifier.engines.priors.differences import differences
from mollifier.engines.priors.field_prior import FieldPrior, Shape, derivative_rows, thinned
from mollifier.engines.priors.matern import SEMINORMS, matern_weights
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.system import Equation
from mollifier.mollify.grid import Grid
from mollifier.mollify.orders import Derivative

Array = NDArray[np.float64]

# The prior that networks start with.
_CURVATURE = Shape(SEMINORMS["h2"])
# Order of the derivatives that the smoothness prior of a state takes.
DIFFERENCE = 3


@dataclass
class Residuals:
    """Some rows of the weighted residual vector, and what they depend on.

    Attributes
    ----------
    values
        Shape (m,).
    fields
        (block, channel) -> derivative with respect to that channel's values at the block's nodes, sparse, or
        with respect to its weights where it is linear in them; shape (m, nodes) or (m, weights).
    scalars
        Scalar unknown -> derivative, shape (m,).
    constant
        Whether they depend on one channel alone, by the same matrix in every step.
    """

    values: Array
    fields: dict[tuple[int, int], Any] = field(default_factory=dict)
    scalars: dict[str, Array] = field(default_factory=dict)
    constant: bool = False

    @property
    def step(self) -> int:
        """Rows of the fields' derivatives are taken by multiples of so many."""
        return max((m.step for m in self.fields.values() if isinstance(m, Combination)), default=1)

    def scaled(self, factor: float) -> Residuals:
        """The same rows, each times a number."""
        fields = {k: sp.csr_array(m * factor) for k, m in self.fields.items()}
        scalars = {n: s * factor for n, s in self.scalars.items()}
        return Residuals(self.values * factor, fields, scalars)


class Linearisation:
    """Sparse matrices of a model whose derivatives are mollified, and the residuals they give.

    Parameters
    ----------
    objective
        The loss; its value is the sum of squares of all the residuals.

    Attributes
    ----------
    shifts
        What is added to each equation's residual, relative to its terms, shape (grid.size,): the multipliers
        of an augmented Lagrangian. None for nothing.
    priors
        Of unknown fields, on the lattice of some of the kernel's nodes.
    tied
        Whether the smoothness of unknown fields weighs less where the equation, which tells of them, does.
    """

    tied = True

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        model = objective.model
        whole = model.collocation.grid
        self.rows = [
            products(block, whole)
            if factored(block)
            else {d: _operator(block, d, whole) for n in block.names for d in block.needed[n]}
            for block in model.blocks
        ]
        self.observe = [
            observed(block) if factored(block) else block.mollified.observation_matrix()
            for block in model.state_blocks
        ]
        self.known = {
            n: np.broadcast_to(v.cpu().numpy(), whole.shape).ravel() for n, v in model.known.items()
        }
        self.parts = [_Partials(e, model.blocks, tuple(model.scalars)) for e in objective.equations]
        self.data = [_DataRows(objective, t, self.observe[t.block]) for t in objective.targets]
        self.readings = [
            _DataRows(objective, t, model.blocks[t.block].mollified.observation_matrix())
            for t in objective.readings
        ]
        self.shifts: list[Array] | None = None
        self._identities: dict[int, Tensor] = {}
        unknowns = model.problem.unknown_fields
        self.priors = {
            n: FieldPrior(
                thinned(b.mollified.layer.nodes, b.grid)[0],
                unknowns[n].prior,
                unknowns[n].smoothness is not None,
            )
            for n, b in model.unknown_blocks.items()
        }
        for prior in self.priors.values():  # until the data have their say
            prior.shape = _CURVATURE
        self._derivative_rows: dict[tuple[str, int | None], sp.csr_array] = {}
        self._third: dict[int, dict[int, sp.csr_array]] = {}

    def prior_rows(self, name: str, shape: Shape) -> sp.csr_array:
        """What turns an unknown field's values at its nodes into the rows of a prior, shape (m, nodes).

        At a strength of one, and without the field's size.
        """
        if shape == _CURVATURE:
            return self.derivative_rows(name, None)
        factors = enumerate(matern_weights(shape.order, shape.length).tolist())
        return sp.csr_array(sp.vstack([self.derivative_rows(name, k) * np.sqrt(f) for k, f in factors if f]))

    def derivative_rows(self, name: str, order: int | None) -> sp.csr_array:
        """Rows whose squares add up to an unknown field's mean squared derivatives of an order, (m, nodes).

        On the lattice of its prior; the curvature that the mollifier tells where the order is None.
        """
        if (name, order) not in self._derivative_rows:
            block = self.objective.model.unknown_blocks[name]
            if order is None:
                rows = sp.vstack([block.mollified.matrix(d) for d in block.curvatures]) / block.grid.size**0.5
            else:
                lattice, index = thinned(block.mollified.layer.nodes, block.grid)
                chosen = sp.csr_array(sp.eye_array(block.mollified.layer.nodes.size))[index]
                rows = derivative_rows(lattice, order) @ chosen
            self._derivative_rows[name, order] = sp.csr_array(rows)
        return self._derivative_rows[name, order]

    @staticmethod
    def size(model: Model) -> int:
        """Non-zero weights that the matrices would hold, before any is formed."""
        total = 0
        for block in model.blocks:
            if factored(block):
                continue
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
                mean = _middle(block, g[channel])
                for d in block.needed[name]:
                    scale = float(block.scale[channel])
                    value = (rows[d] @ (g[channel] - mean)) * scale
                    env[d.name] = value if d.total else value + mean * scale + float(block.level[channel])
        return env | self.known | {n: np.asarray(v) for n, v in model.values().items()}

    def residuals(
        self, nodes: list[Array], weight: float, slopes: bool, curvatures: bool = True
    ) -> Iterator[Residuals]:
        """All residuals at values (channels, nodes) of every block, with derivatives if ``slopes``.

        ``weight`` multiplies the equations' weight, as in `Objective.forward`; without ``curvatures`` the
        smoothness prior of the unknown fields is left out.
        """
        yield from self.equations(nodes, weight, slopes)
        yield from self._data(nodes, slopes)
        yield from self._prior(nodes, slopes, curvatures, weight if self.tied else 1.0)

    def observed(self, b: int, channel: int, nodes: list[Array]) -> Array:
        """A state at all places where its block is observed, physical, shape (places,)."""
        block, matrix, g = self.objective.model.blocks[b], self.observe[b], nodes[b][channel]
        middle = _middle(block, g)
        values = (matrix.numpy() if isinstance(matrix, Tensor) else matrix) @ (g - middle)
        return (values + middle) * float(block.scale[channel]) + float(block.level[channel])

    def fit(self, nodes: list[Array]) -> Iterator[Residuals]:
        """What a fit of the states to the data alone makes small, with derivatives."""
        yield from self._data(nodes, slopes=True)
        yield from self._shrinkages(nodes, slopes=True)

    def equations(self, nodes: list[Array], weight: float, slopes: bool) -> Iterator[Residuals]:
        """What the equations leave, one after another."""
        objective = self.objective
        env = self.environment(nodes)
        count = objective.model.collocation.grid.size
        sizes = objective.sizes.tolist()
        for i, (e, size, partials) in enumerate(zip(objective.equations, sizes, self.parts, strict=True)):
            share = np.sqrt(weight * objective.weight / count) / (objective.tau * size)
            result = Residuals(np.broadcast_to(e.evaluate(env), count) * share)
            if self.shifts is not None:
                result.values = result.values + self.shifts[i] * (share * size)
            if slopes:
                for (b, channel), present in partials.fields.items():
                    factor = share * float(objective.model.blocks[b].scale[channel])
                    parts = [(np.broadcast_to(f(env), count) * factor, d) for d, f in present.items()]
                    result.fields[b, channel] = _summed([(c, self.rows[b][d]) for c, d in parts])
                for name, f in partials.scalars.items():
                    result.scalars[name] = np.broadcast_to(f(env), count) * share
            yield result

    def _data(self, nodes: list[Array], slopes: bool) -> Iterator[Residuals]:
        objective = self.objective
        for target, data in zip(objective.fitted, [*self.data, *self.readings], strict=True):
            block, channel = objective.model.blocks[target.block], target.channel
            g = nodes[target.block][channel]
            mean = _middle(block, g)
            offset = mean * float(block.scale[channel]) + float(block.level[channel])
            matrix = data.matrix.numpy() if isinstance(data.matrix, Tensor) else data.matrix
            values = matrix @ (g - mean) + (offset - data.values) * data.share
            result = Residuals(values, constant=factored(block))
            if slopes:
                result.fields[target.block, channel] = data.matrix
            yield result

    def _prior(self, nodes: list[Array], slopes: bool, curvatures: bool, share: float) -> Iterator[Residuals]:
        objective = self.objective
        for name in objective.model.unknown_blocks if curvatures else ():
            strength = objective.strength(name)
            if strength:
                yield self.curvature(name, nodes, slopes).scaled(np.sqrt(share * strength))
        yield from self._shrinkages(nodes, slopes)
        for i, target in enumerate(objective.targets):
            if not objective.roughness[i].any():
                continue
            for axis, part in self.rough(target, nodes, slopes).items():
                strength = float(objective.roughness[i, axis])
                if strength:
                    yield part.scaled(np.sqrt(strength))

    def curvature(self, name: str, nodes: list[Array], slopes: bool) -> Residuals:
        """Rows of an unknown field's smoothness prior, at a strength of one."""
        model = self.objective.model
        b = len(model.state_blocks) + list(model.unknown_blocks).index(name)
        rows = self.prior_rows(name, self.priors[name].shape) / self.objective.field_scale(name)
        result = Residuals(rows @ (nodes[b][0] - nodes[b][0].mean()))
        if slopes:
            result.fields[b, 0] = sp.csr_array(rows)
        return result

    def _shrinkages(self, nodes: list[Array], slopes: bool) -> Iterator[Residuals]:
        """Random features' weights are normal beforehand, with the field's own standard deviation."""
        share = 1 / np.sqrt(self.objective.count)
        for b, block in enumerate(self.objective.model.state_blocks):
            for channel, weights in enumerate(nodes[b] if factored(block) else ()):
                result = Residuals(weights * share, constant=True)
                if slopes:
                    if len(weights) not in self._identities:
                        self._identities[len(weights)] = torch.eye(len(weights), dtype=torch.float64) * share
                    result.fields[b, channel] = self._identities[len(weights)]
                yield result

    def used(self, block: int) -> NDArray[np.bool_]:
        """Which of a state block's nodes the equations or the data see, shape (nodes,): a box of them."""
        shape = self.objective.model.blocks[block].mollified.layer.nodes.shape
        seen = np.zeros(int(np.prod(shape)), dtype=bool)
        for matrix in (*self.rows[block].values(), self.observe[block]):
            assert isinstance(matrix, sp.csr_array)
            seen[matrix.indices] = True
        box = np.ones(shape, dtype=bool)
        for axis in range(len(shape)):
            others = tuple(i for i in range(len(shape)) if i != axis)
            along = seen.reshape(shape).any(axis=others)
            box &= along.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        return box.ravel()

    def rough(self, target: Target, nodes: list[Array], slopes: bool) -> dict[int, Residuals]:
        """Coordinate -> rows of the prior on a state's third derivative along it, at a strength of one."""
        if target.block not in self._third:
            self._third[target.block] = self._third_derivatives(target.block)
        found: dict[int, Residuals] = {}
        for axis, matrix in self._third[target.block].items():
            found[axis] = Residuals(matrix @ nodes[target.block][target.channel])
            if slopes:
                found[axis].fields[target.block, target.channel] = matrix
        return found

    def _third_derivatives(self, block: int) -> dict[int, sp.csr_array]:
        """Coordinate -> third derivative along it, of what is seen, over the root of the number of rows."""
        model = self.objective.model
        names = model.problem.coordinates
        unseen = (~self.used(block)).astype(np.float64)
        found: dict[int, sp.csr_array] = {}
        for name, matrix in _differences(model.blocks[block].mollified.layer.nodes).items():
            rows = np.flatnonzero((abs(matrix) @ unseen) == 0)
            if len(rows):
                found[names.index(name)] = sp.csr_array(matrix[rows] / np.sqrt(len(rows)))
        return found


class _DataRows:
    """Misfits of one target: ``matrix @ g``, which has the scale in it, minus ``values * share``.

    Attributes
    ----------
    matrix
        Shape (samples, nodes), or (samples, weights): dense, or, where samples are on a grid, a combination
        with a row for each of its nodes, of zeros where there is no sample.
    values, share
        Shape (samples,) or (nodes of the grid,): what was measured, and the weight of each.
    """

    def __init__(self, objective: Objective, target: Target, observe: Any) -> None:
        index, values, sd = (v.cpu().numpy() for v in objective.target_tensors(target))
        self.values = values
        self.share = 1 / (sd * np.sqrt(objective.count))
        self.matrix: Any
        scale = float(objective.model.blocks[target.block].scale[target.channel])
        if isinstance(observe, Product):
            self.values, self.share = (_placed(v, index, len(observe)) for v in (self.values, self.share))
            self.matrix = Combination([(self.share * scale, observe)])
            return
        factor = (self.share * scale)[:, None]
        self.matrix = (
            observe[torch.from_numpy(index)].mul_(torch.from_numpy(factor))
            if isinstance(observe, Tensor)
            else sp.csr_array(sp.csr_array(observe[index]).multiply(factor))
        )


def _placed(values: Array, index: NDArray[np.intp], length: int) -> Array:
    """Values at their places in an array that is zero elsewhere."""
    whole = np.zeros(length)
    whole[index] = values
    return whole


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


def _middle(block: Block, values: Array) -> float:
    """What is taken off a channel's values at nodes before kernel sums, against rounding."""
    return 0.0 if factored(block) else float(values.mean())


def _summed(terms: Sequence[tuple[Array, Any]]) -> sp.csr_array | Combination:
    """``sum_k diag(c_k) M_k``."""
    if isinstance(terms[0][1], Product):
        return Combination(terms)
    return sp.csr_array(reduce(lambda a, b: a + b, (m.multiply(c[:, None]) for c, m in terms)))


def _differences(nodes: Grid) -> dict[str, sp.csr_array]:
    """Coordinate -> third differences along it over the cube of the cell, shape (rows, nodes)."""
    found: dict[str, sp.csr_array] = {}
    for axis in nodes:
        order = min(DIFFERENCE, axis.size - 1)
        if order < 1:
            continue
        along = differences(axis, order)
        parts = [along if a.name == axis.name else sp.eye_array(a.size) for a in nodes]
        found[axis.name] = sp.csr_array(reduce(lambda a, b: sp.kron(a, b, format="csr"), parts))
    return found


def _operator(block: Block, derivative: Derivative, whole: Grid) -> sp.csr_array:
    """Physical derivative, in units of the block's scale, on the whole grid from the block's nodes."""
    matrix = block.mollified.matrix(Derivative("u", derivative.orders)) * block.factor(derivative)
    if block.grid.names == whole.names:
        return sp.csr_array(matrix)
    inner = np.arange(block.grid.size).reshape(block.broadcast)
    return sp.csr_array(sp.csr_array(matrix)[np.broadcast_to(inner, whole.shape).ravel()])
