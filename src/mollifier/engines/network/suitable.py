"""Whether Gauss-Newton suits a model, and whether its training fits into memory."""

from __future__ import annotations

import numpy as np
from torch import nn

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.factored import is_factored
from mollifier.engines.collocated.jacobian import network_jacobian
from mollifier.engines.collocated.model import Model
from mollifier.engines.linalg.memory import BLOCK
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.errors import ConfigurationError
from mollifier.nn.differentiation.mollifier import Mollified
from mollifier.nn.layers import count

# Matrices of all weights by all weights that a step holds: Hessian, its damped copy, factor, a block.
_SQUARES = 4


def suits_gauss_newton(model: Model, tuning: NetworkTuning) -> bool:
    """Whether derivatives are mollified, the matrices fit in memory, and networks can be differentiated."""
    if not all(isinstance(b.backend, Mollified) for b in model.blocks):
        return False
    sizes = [count(b.network) for b in model.blocks]
    if sum(sizes) > tuning.most_parameters:
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


def check_size(model: Model, optimiser: str, tuning: NetworkTuning) -> None:
    """Check that training fits into memory, before anything large is formed.

    The optimiser is "gauss-newton" or "lbfgs", and the limit ``tuning.most_numbers``. Raises
    `ConfigurationError` if it does not: the message says what to make smaller.
    """
    sizes = [count(b.network) for b in model.blocks]
    held = float(sum(_activations(b) for b in model.blocks))
    if optimiser == "gauss-newton":
        rows = sum(_jacobian_rows(b) * n for b, n in zip(model.blocks, sizes, strict=True))
        held = max(held, float(rows + _SQUARES * sum(sizes) ** 2 + BLOCK))
    if held > tuning.most_numbers:
        grid = model.collocation.grid
        raise ConfigurationError(
            f"The network engine ({optimiser}) would hold {held:.2g} numbers for the collocation nodes "
            f"{dict(zip(grid.names, grid.shape, strict=True))} and {sum(sizes):,} weights, more than "
            f"{tuning.most_numbers:.2g} (tuning.most_numbers). Give fewer collocation.nodes or a smaller "
            "network, or train on tiles in a loop of your own (MollifierLayer.tile)."
        )


def _activations(block: Block) -> int:
    """Numbers that a block keeps for the gradient of the loss.

    Every hidden value and its input, at the kernel's nodes; autodiff keeps about four times as many for each
    order (measured: 5 GiB for order four, 128^2 points and four layers of 64 units).
    """
    units = sum(m.out_features for m in block.network.modules() if isinstance(m, nn.Linear))
    if isinstance(block.backend, Mollified):
        return 2 * units * block.backend.lattice.size
    return units * block.grid.size * 4 ** max(sum(n for _, n in d.orders) for d in block.backend.orders)


def _jacobian_rows(block: Block) -> int:
    """Rows of a block's Jacobian that are in memory at a time: layers of the first axis that rows share."""
    if is_factored(block):
        return 0
    first, *others = block.mollified.lattice.shape
    taps = max(r.distinct.weights.shape[1] for r in block.mollified.operator.axes[0].rows.values())
    return min(first, taps + 1) * int(np.prod(others)) * len(block.names)
