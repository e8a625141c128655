"""Slopes of the residuals for unknown fields, from data whose errors are independent of the residuals.

Residuals are linear in the noise e of the fields, ``r = r0 + J e`` with covariance ``C = J S J'``, S the
covariance of e. Slopes computed from the noisy fields share that noise, which biases their products with the
residuals. The fields projected onto the equation,

    u - S J' C^-1 r,

do not: this is the step from measured values to the nearest ones that satisfy the equation (Britt and Luecke,
Technometrics 15:233, 1973), and the part of e that it leaves is uncorrelated with J e. Mollifying afterwards
keeps that, and removes most of what is left. The slopes are then instrumental variables: their products with
the residuals need no correction, and the information is never negative, however many coefficients there are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mollifier.engines.linalg.dense import contract
from mollifier.engines.weak.passes import additive
from mollifier.engines.weak.sums import WeakSums
from mollifier.engines.weak.testspace import TestSpace
from mollifier.mollify.arrays import Array


def projected_fields(
    sums: WeakSums, space: TestSpace, coefficients: Array, residuals: Array, weighted: Array
) -> dict[str, Array]:
    """The fields projected onto the equation, moved no further than noise explains, shape of the grid.

    The problem is linearised at ``coefficients``, where the residuals r, and ``weighted``, which is ``C^-1
    r``, are (rows,).
    """
    # Far from the solution the residuals exceed the noise, and would move the fields by more than it.
    limit = min(1.0, len(residuals) / max(float(residuals @ weighted), 1e-300))
    data, gradients = sums.data, sums.field_gradients(space, coefficients, limit * weighted)
    found = {f: data.values[f] - data.variances[f] * gradients[f] for f in sums.form.fields}
    for effect in data.effects:
        pattern = data.pattern(effect, slice(None))
        sizes = contract(pattern * gradients[effect.field], [m.T for m in effect.factors])
        found[effect.field] = found[effect.field] - pattern * contract(sizes, effect.factors)
    return found


@additive("rest", "slope")
def instruments(
    sums: WeakSums, space: TestSpace, coefficients: Array, residuals: Array, weighted: Array
) -> Array:
    """Slopes (rows, coefficients) from the mollified `projected_fields`, whose parameters it takes."""
    data = sums.data.loaded()
    # Of all data the sums themselves, which keep the smoothed fields.
    whole = sums if data.inner == slice(None) else sums.over(replace(data, inner=slice(None)))
    projected = projected_fields(whole, space, coefficients, residuals, weighted)
    fields = {f: data.smoothers[f](values) for f, values in projected.items()}
    exact = dict.fromkeys(fields, np.zeros(()))
    clear = replace(data, values={**data.values, **fields}, variances=exact, source=None, effects=())
    return sums.over(clear).rows(space, coefficients).slopes
