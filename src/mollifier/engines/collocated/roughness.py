"""The smoothness prior of states on nodes: their third differences along each coordinate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mollifier.engines.collocated.model import Model
from mollifier.engines.collocated.objective import Target
from mollifier.engines.collocated.residuals import Residuals
from mollifier.engines.priors.differences import differences
from mollifier.mollify.grid import Grid

Array = NDArray[np.float64]

DIFFERENCE = 3
"""Order of the derivatives in the prior."""


class StateRoughness:
    """Rows of the prior on the third derivatives of states along each coordinate.

    Parameters
    ----------
    model
        Its states are values at nodes.
    matrices
        For each state block, every matrix that maps its nodes to equations or data.
    """

    def __init__(self, model: Model, matrices: Sequence[Sequence[sp.csr_array]]) -> None:
        self.model, self.matrices = model, matrices
        self._third: dict[int, dict[int, sp.csr_array]] = {}

    def used(self, block: int) -> NDArray[np.bool_]:
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

    def rows(self, target: Target, nodes: list[Array], slopes: bool) -> dict[int, Residuals]:
        """Index of a coordinate -> rows on a state's third derivative along it, at unit strength."""
        if target.block not in self._third:
            self._third[target.block] = self._third_derivatives(target.block)
        found: dict[int, Residuals] = {}
        for axis, matrix in self._third[target.block].items():
            found[axis] = Residuals(matrix @ nodes[target.block][target.channel])
            if slopes:
                found[axis].fields[target.block, target.channel] = matrix
        return found

    def _third_derivatives(self, block: int) -> dict[int, sp.csr_array]:
        """Index of a coordinate -> third differences of used nodes, over the root of their number."""
        names = self.model.problem.coordinates
        unseen = (~self.used(block)).astype(np.float64)
        found: dict[int, sp.csr_array] = {}
        for name, matrix in _differences(self.model.blocks[block].mollified.lattice).items():
            rows = np.flatnonzero((abs(matrix) @ unseen) == 0)
            if len(rows):
                found[names.index(name)] = sp.csr_array(matrix[rows] / np.sqrt(len(rows)))
        return found


def _differences(nodes: Grid) -> dict[str, sp.csr_array]:
    """Coordinate -> third differences along it over the cube of the cell, shape (rows, nodes)."""
    found: dict[str, sp.csr_array] = {}
    for axis in nodes:
        order = min(DIFFERENCE, axis.size - 1)
        if order < 1 or axis.discrete:
            continue
        along = differences(axis, order)
        parts = [along if a.name == axis.name else sp.eye_array(a.size) for a in nodes]
        found[axis.name] = sp.csr_array(reduce(lambda a, b: sp.kron(a, b, format="csr"), parts))
    return found
