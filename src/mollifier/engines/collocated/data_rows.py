"""Misfits of one target as rows of the residual vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from mollifier.engines.collocated.factored import Combination, Product
from mollifier.engines.collocated.objective import Objective, Target

Array = NDArray[np.float64]


class DataRows:
    """Misfits of one target: ``matrix @ g``, scaled to physical units, minus ``values * share``.

    Attributes
    ----------
    matrix
        Shape (samples, nodes), or (samples, weights) where the block is linear in its weights: dense, or,
        where samples are on a grid, a combination with a row for each of its nodes, zero without a sample.
    values, share
        Shape (samples,) or (nodes of the grid,): measured values and their weights.
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
