"""Misfits of one target as rows of the residual vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from mollifier.engines.collocated.factored import Product
from mollifier.engines.collocated.lattice import AxisProduct
from mollifier.engines.collocated.objective import Objective, Target
from mollifier.engines.collocated.operators import weighted_sum
from mollifier.mollify.arrays import Array, Index


class DataRows:
    """Misfits of one target: ``matrix @ g``, scaled to physical units, minus ``values * share``."""

    def __init__(self, objective: Objective, target: Target, observe: Any) -> None:
        model = objective.model
        index, values, sd = (v.cpu().numpy() for v in objective.target_tensors(target))
        #: Measured values and their weights in the order of the rows.
        self.values = values
        self.share = 1 / (sd * np.sqrt(objective.count))
        #: Shape (samples, nodes), or (samples, weights) where the block is linear in its weights. Where
        #: samples are on a grid it has a row for each of its nodes, zero without a sample.
        self.matrix: Any
        self._last: tuple[Array, Array] | None = None
        self.places = index  #: Place of each row among those of the block.
        self._form(observe, float(model.blocks[target.block].scale[target.channel]))
        noise = model.noise.get(target.name)
        #: The declared noise of the field in these rows, shape (samples, k); None where there is none.
        self.shared = None if noise is None else self.at(noise.matrix)

    def _form(self, observe: Any, scale: float) -> None:
        """The matrix, with values and weights in the order of its rows."""
        index = self.places
        if isinstance(observe, Product | AxisProduct):
            self.values, self.share = (_placed(v, index, len(observe)) for v in (self.values, self.share))
            self.places = np.arange(len(observe))
            self.matrix = weighted_sum([(self.share * scale, observe)])
            return
        if isinstance(observe, sp.csr_array):
            factor = (self.share * scale)[:, None]
            self.matrix = sp.csr_array(sp.csr_array(observe[index]).multiply(factor))
            return
        self.matrix, order = observe.chosen(index, self.share * scale)
        self.values, self.share, self.places = self.values[order], self.share[order], index[order]

    def at(self, measured: sp.csr_array) -> sp.csr_array:
        """What changes of the measurements at all places, (places, k), are in the rows, (samples, k)."""
        return sp.csr_array(measured[self.places].multiply(self.share[:, None]))

    def fitted(self, g: Array) -> Array:
        """The matrix times values, kept for the next call: a step needs it several times."""
        if self._last is None or not np.array_equal(g, self._last[0]):
            self._last = g.copy(), self.matrix @ g
        return self._last[1]


def _placed(values: Array, index: Index, length: int) -> Array:
    """Values at their places in an array that is zero elsewhere."""
    whole = np.zeros(length)
    whole[index] = values
    return whole
