"""Misfits of one target as rows of the residual vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mollifier.engines.collocated.factored import Product
from mollifier.engines.collocated.lattice import AxisProduct
from mollifier.engines.collocated.objective import Objective, Target
from mollifier.engines.collocated.operators import weighted_sum

Array = NDArray[np.float64]


class DataRows:
    """Misfits of one target: ``matrix @ g``, scaled to physical units, minus ``values * share``.

    Attributes
    ----------
    matrix
        Shape (samples, nodes), or (samples, weights) where the block is linear in its weights. Where samples
        are on a grid it has a row for each of its nodes, zero without a sample.
    values, share
        Measured values and their weights in the order of the rows.
    """

    def __init__(self, objective: Objective, target: Target, observe: Any) -> None:
        index, values, sd = (v.cpu().numpy() for v in objective.target_tensors(target))
        self.values = values
        self.share = 1 / (sd * np.sqrt(objective.count))
        self.matrix: Any
        scale = float(objective.model.blocks[target.block].scale[target.channel])
        if isinstance(observe, Product | AxisProduct):
            self.values, self.share = (_placed(v, index, len(observe)) for v in (self.values, self.share))
            self.matrix = weighted_sum([(self.share * scale, observe)])
            return
        if isinstance(observe, sp.csr_array):
            factor = (self.share * scale)[:, None]
            self.matrix = sp.csr_array(sp.csr_array(observe[index]).multiply(factor))
            return
        self.matrix, order = observe.chosen(index, self.share * scale)
        self.values, self.share = self.values[order], self.share[order]


def _placed(values: Array, index: NDArray[np.intp], length: int) -> Array:
    """Values at their places in an array that is zero elsewhere."""
    whole = np.zeros(length)
    whole[index] = values
    return whole
