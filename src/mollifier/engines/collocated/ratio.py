"""The ratio of arXiv:2505.11682: an unknown field solved for point by point, as a picture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from mollifier.errors import EquationError
from mollifier.mollify.arrays import Array
from mollifier.problem.inverse_problem import InverseProblem


def ratio_read_out(
    problem: InverseProblem, env: Mapping[str, Tensor], shape: tuple[int, ...], least: float
) -> dict[str, Array]:
    """Unknown fields that enter an equation linearly and undifferentiated: minus the rest over their factor.

    NaN where the factor is below ``least`` times its rms: there the ratio is noise, whatever the fit.
    """
    result = {}
    for name in problem.unknown_fields:
        for e in problem.system.equations:
            derivatives = [d.name for d in problem.system.derivatives.get(name, ()) if d.total]
            if name not in e.symbols or any(d in e.symbols for d in derivatives):
                continue
            try:
                rest, factors = e.collect([name])
            except EquationError:
                continue
            top, bottom = (
                np.broadcast_to(v.detach().cpu().numpy(), shape) for v in (rest(env), factors[name](env))
            )
            masked = np.abs(bottom) < least * np.sqrt(np.mean(np.square(bottom)))
            result[name] = np.where(masked, np.nan, -top / np.where(masked, 1.0, bottom))
    return result
