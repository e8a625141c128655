"""The smoothness prior of states on nodes: their third differences along each coordinate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.model import Model
from mollifier.engines.collocated.objective import Target
from mollifier.engines.collocated.residuals import Residuals
from mollifier.engines.collocated.tuning import CollocatedTuning
from mollifier.engines.priors.differences import differences_along
from mollifier.mollify.arrays import Array, Mask


class StateRoughness:
    """Rows of the prior on the third derivatives of states along each coordinate.

    Where values along the whole boundary determine a state by its equations, the prior is one of these
    values: of nodes outside of the collocation grid and the measured region. Inside, the state is as smooth
    as the unknowns let it be, and a prior on it would be one on the unknowns that no data support. A small
    weight is left there, against oscillations between nodes.

    ``matrices`` are, for each state block, all that map its nodes to equations or data.
    """

    def __init__(
        self, model: Model, matrices: Sequence[Sequence[sp.csr_array]], tuning: CollocatedTuning
    ) -> None:
        self.model, self.matrices, self.tuning = model, matrices, tuning
        self._third: dict[tuple[int, bool], dict[int, sp.csr_array]] = {}

    def used(self, block: int) -> Mask:
        """The smallest box of a block's nodes that enter the equations or the data, shape (nodes,)."""
        shape = self.model.blocks[block].mollified.lattice.shape
        seen = np.zeros(int(np.prod(shape)), dtype=bool)
        for matrix in self.matrices[block]:
            seen[matrix.indices] = True
        box = np.ones(shape, dtype=bool)
        for axis in range(len(shape)):
            others = tuple(i for i in range(len(shape)) if i != axis)
            along = seen.reshape(shape).any(axis=others)
            box &= along.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        return box.ravel()

    def rows(
        self, target: Target, nodes: list[Array], slopes: bool, alone: bool = False
    ) -> dict[int, Residuals]:
        """Index of a coordinate -> rows on a state's third derivative along it, at unit strength.

        They are everywhere alike where the data are ``alone``, without the equations.
        """
        key = target.block, alone
        if key not in self._third:
            self._third[key] = self._third_derivatives(target.block, alone)
        found: dict[int, Residuals] = {}
        for axis, matrix in self._third[key].items():
            found[axis] = Residuals(matrix @ nodes[target.block][target.channel])
            if slopes:
                found[axis].fields[target.block, target.channel] = matrix
        return found

    def _third_derivatives(self, block: int, alone: bool) -> dict[int, sp.csr_array]:
        """Index of a coordinate -> third differences of used nodes, of weights that add up to one."""
        names = self.model.problem.coordinates
        unseen = (~self.used(block)).astype(np.float64)
        solved = np.zeros(len(unseen)) if alone else self._solved(block).astype(np.float64)
        found: dict[int, sp.csr_array] = {}
        lattice = self.model.blocks[block].mollified.lattice
        for axis in (a for a in lattice if a.size > 1 and not a.discrete):
            order = min(self.tuning.state_difference, axis.size - 1)
            matrix = differences_along(lattice, {a.name: order * (a is axis) for a in lattice})
            rows = matrix[np.flatnonzero((abs(matrix) @ unseen) == 0)]
            weights = np.where(abs(rows) @ solved > 0, self.tuning.interior_weight, 1.0)
            if len(weights):
                scaled = sp.diags_array(np.sqrt(weights / weights.sum())) @ rows
                found[names.index(axis.name)] = sp.csr_array(scaled)
        return found

    def _solved(self, block: int) -> Mask:
        """Nodes of a block at which the equations determine it by values on the boundary, shape (nodes,)."""
        own = self.model.blocks[block]
        if not self._elliptic(own):
            return np.zeros(own.mollified.lattice.size, dtype=bool)
        halo = [
            (low := round((b.lower - a.lower) / a.spacing) if a.size > b.size else 0, a.size - b.size - low)
            for a, b in zip(own.mollified.lattice, own.mollified.grid, strict=True)
        ]
        return np.pad(self.model.collocation.within(own.grid.names), halo).ravel()

    def _elliptic(self, block: Block) -> bool:
        """Whether equations, no fewer than states, have second derivatives along two coordinates or more, all
        of space."""
        problem, names = self.model.problem, block.grid.names
        if len(names) < 2 or len(problem.system.equations) < len(problem.all_states):
            return False
        orders = [[dict(d.orders) for d in needed] for needed in block.needed.values()]
        if problem.system.names.time in names:
            return False
        return all(max(o.get(c, 0) for o in n) > 1 for n in orders for c in names)
