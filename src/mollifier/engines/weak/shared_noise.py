"""Random effects of the noise in the sums over the data: what they add to covariances.

An effect ``sum_m b_m P(x) prod_a F_a(x_a, m_a)`` with independent coefficients of variance one adds to the
residuals the modes ``R_m = J (P F_m)``, with J the residuals' derivatives by the field, and so ``R R'`` to
their covariance. Slopes are instrumental variables then, which need no correction for what they share with R.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mollifier.engines.linalg.dense import contract, product
from mollifier.engines.weak.axes import overlaps
from mollifier.engines.weak.data import GridData, GridEffect
from mollifier.engines.weak.form import Channel
from mollifier.engines.weak.testspace import TestSpace, index_pairs
from mollifier.errors import ConfigurationError
from mollifier.mollify.arrays import Array

_MOST_MODES = 40_000_000  # Most numbers of the modes that are held: rows times coefficients of all effects.


def effect_modes(
    effect: GridEffect,
    data: GridData,
    space: TestSpace,
    equations: int,
    channels: Sequence[Channel],
    slabs: Iterable[tuple[slice, Mapping[tuple, Array]]],
) -> Array:
    """Modes (rows, shapes) of one effect.

    ``channels`` are all integrands, and ``slabs`` their derivatives by fields, slab by slab. Raises
    `ConfigurationError` if the modes are too many to be held.
    """
    total = np.zeros((equations, space.size, int(np.prod(effect.shape))))
    if total.size > _MOST_MODES:
        raise ConfigurationError(
            f"The noise declared for '{effect.field}' has {total.shape[2]:,} random effects for "
            f"{equations * space.size:,} residuals; at most {_MOST_MODES:,} products of the two were "
            "expected. Thin the data, or declare fewer effects."
        )
    pairs = [overlaps(a.weights[0], f.T) for a, f in zip(space.axes, effect.factors, strict=True)]
    kept, row, mode = space.rows_of(*index_pairs(pairs, space.shape, effect.shape))
    for slab, values in slabs:
        pattern = data.pattern(effect, slab)
        for (_, number, field), gain in values.items():
            if field == effect.field:
                c = channels[number]
                matrices = space.crossed(effect.on(slab).factors, pairs, c.orders, slab)
                total[c.equation][row, mode] += contract(product(gain, pattern), matrices).ravel()[kept]
    return total.reshape(-1, total.shape[2])
