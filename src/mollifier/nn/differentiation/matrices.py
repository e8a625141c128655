"""A layer's field at observed places as a sparse matrix."""

from __future__ import annotations

import math

import scipy.sparse as sp

from mollifier.mollify.layer import Resampler, Sampler
from mollifier.mollify.matrices import product_matrix, taps_matrix
from mollifier.mollify.orders import Derivative


def observation_matrix(module: Resampler | Sampler) -> sp.csr_array:
    """The field at a resampler's or sampler's places from the layer's nodes, shape (places, nodes)."""
    if isinstance(module, Resampler):
        return product_matrix([op.rows[0] for op in module.operator.axes])
    weights, index = module.entries(Derivative("u"))
    return taps_matrix(weights, index, math.prod(module.nodes))
