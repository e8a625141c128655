"""Whether Gauss-Newton suits a model."""

from __future__ import annotations

import numpy as np

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.factored import is_factored, on_grid
from mollifier.engines.collocated.jacobian import network_jacobian
from mollifier.engines.collocated.model import Model
from mollifier.engines.collocated.operators import nonzeros
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.nn.differentiation.mollifier import Mollified
from mollifier.nn.layers import count


def suits_gauss_newton(model: Model, tuning: NetworkTuning) -> bool:
    """Whether derivatives are mollified, the matrices fit in memory, and networks can be differentiated."""
    if not all(isinstance(b.backend, Mollified) for b in model.blocks):
        return False
    sizes = [count(b.network) for b in model.blocks]
    if sum(sizes) > tuning.most_parameters or nonzeros(model) > tuning.most_nonzeros:
        return False
    entries = sum(_jacobian_rows(b) * n for b, n in zip(model.blocks, sizes, strict=True))
    if entries > tuning.most_jacobian:
        return False
    try:
        for b in model.blocks:
            if not is_factored(b):
                network_jacobian(b.network, b.nodes()[:2])
    except RuntimeError:  # a module that torch.func cannot batch
        return False
    return True


def _jacobian_rows(block: Block) -> int:
    """Rows of a block's Jacobian that are in memory at a time."""
    if not is_factored(block):
        return len(block.nodes()) * len(block.names)
    if on_grid(block):
        return 0
    return int(np.prod(block.mollified.observed_shape)) * len(block.names)
