"""How far an offset and a drift of all values would move the weak engine's answer."""

from __future__ import annotations

import numpy as np

from mollifier.engines.sensitivity import rounded, unseen
from mollifier.engines.weak.data import GridEffect
from mollifier.engines.weak.estimate import Fit
from mollifier.engines.weak.sums import WeakSums


def sensitivity(sums: WeakSums, fit: Fit) -> dict[str, dict[str, float]]:
    """Unknown -> label of `mollifier.engines.sensitivity.unseen` -> by how much it would move it."""
    data, found = sums.data, {n: {} for n in sums.place}
    nodes = {a.name: a.points for a in data.grid}
    for f in data.variances:
        for label, e in unseen(f, float(np.sqrt(np.nanmean(data.part.values[f] ** 2))), nodes).items():
            effect = GridEffect(f, e.sd, False, tuple(e.factors(nodes)))
            change = fit.moved_by(sums.modes_of(fit.space, effect, fit.coefficients)[:, 0])
            for b in sums.bases:
                here = sums.place[b.name]
                if np.isfinite(np.diag(fit.covariance)[here]).all():
                    moved = change[here]
                    size = np.sqrt(max(float(moved @ b.mass @ moved), 0.0)) if b.splines else float(moved[0])
                    found[b.name][label] = rounded(size)
    return {n: shifts for n, shifts in found.items() if shifts}
