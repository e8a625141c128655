"""How far errors that the data cannot show would move the answer: an offset, and a drift, of all values."""

from __future__ import annotations

import numpy as np

from mollifier.data.building import TIME_NAMES
from mollifier.data.noise_model import NoiseEffect
from mollifier.engines.weak.data import GridEffect
from mollifier.engines.weak.estimate import Fit
from mollifier.engines.weak.sums import WeakSums

_SIZE = 0.01
"""Of the offset, and of the drift from the first time to the last, over the field's rms."""

# The standard deviation of a line from -1/2 to 1/2.
_LINE = 12**-0.5


def sensitivity(sums: WeakSums, fit: Fit) -> dict[str, dict[str, float]]:
    """Unknown -> "offset of u" and "drift of u" -> by how much 1 % of rms would move it, to first order.

    A number moves by the value, with its sign; a field by the value in root mean square. Unknowns that the
    data do not determine are left out, and so are drifts where no axis is time.
    """
    grid, data = sums.data.grid, sums.data
    nodes = {a.name: a.points for a in grid}
    time = next((n for n in nodes if n.lower() in TIME_NAMES), None)
    found: dict[str, dict[str, float]] = {n: {} for n in sums.place}
    for f in data.variances:
        rms = float(np.sqrt(np.nanmean(data.part.values[f] ** 2)))
        for kind, sd in (("offset", _SIZE * rms), ("drift", _SIZE * rms * _LINE)):
            if kind == "drift" and time is None:
                continue
            factors = NoiseEffect(kind, sd).factors(nodes, time)
            (mode,) = sums.modes_of(fit.space, GridEffect(f, sd, False, tuple(factors)), fit.coefficients).T
            change = fit.gain @ mode
            for b in sums.bases:
                here = sums.place[b.name]
                if np.isfinite(np.diag(fit.covariance)[here]).all():
                    moved = change[here]
                    size = np.sqrt(max(float(moved @ b.mass @ moved), 0.0)) if b.splines else float(moved[0])
                    found[b.name][f"{kind} of {f}"] = float(f"{size:.3g}")
    return {n: shifts for n, shifts in found.items() if shifts}
