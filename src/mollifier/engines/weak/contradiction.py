"""Which condition a misfit is of: one that a constant, added to it, would make consistent with the data."""

from __future__ import annotations

from itertools import product

import numpy as np

from mollifier.engines.weak.boundary import End, Orders, Trace
from mollifier.engines.weak.estimate import Estimator, Fit
from mollifier.equations.system import Equation
from mollifier.problem.inverse_problem import InverseProblem


def contradicting(problem: InverseProblem, fit: Fit, estimator: Estimator) -> tuple[Equation, ...]:
    """The conditions at the end where a constant explains most of a misfit; none where that is too little.

    A constant beside a condition is one at the traces of its test functions. By how much it would lower the
    weighted sum of squared residuals is its score statistic (Rao, Proc. Camb. Phil. Soc. 44:50, 1948).
    """
    sums, space, r = estimator.sums, fit.space, fit.residuals
    many = len(r) > sums.tuning.inverted_residuals
    if not problem.system.conditions or many or not np.isfinite(fit.covariance).all():
        return ()
    _, weights, independent = estimator.whitening(space, fit.coefficients)
    plain = sums.rows(space, fit.coefficients).slopes
    slopes, white, within = weights @ plain, weights @ r, fit.covariance
    if not estimator.priors:  # far from the noise the estimate is not that of these weights
        size = np.maximum(np.linalg.norm(plain, axis=0), 1e-300)
        within = np.linalg.pinv(plain.T @ slopes / np.outer(size, size), hermitian=True) / np.outer(
            size, size
        )
        white = white - slopes @ (within @ (plain.T @ white))
    plane = (0,) * len(space.axes)
    candidates: list[tuple[Orders, str, End | None]] = [(plane, "", None)]  # a source, of no condition
    for i, (axis, ends) in enumerate(zip(space.axes, sums.form.ends, strict=True)):
        at = [k for k in axis.weights if isinstance(k, Trace)]
        candidates += [((*plane[:i], k, *plane[i + 1 :]), axis.axis.name, ends[k.end]) for k in at]
    found, one = [], np.ones(sums.data.grid.shape)
    for (orders, name, end), e in product(candidates, range(sums.equations)):
        added = np.zeros(len(r))
        added[sums.part(e, space)] = space.project(one, orders)
        shared = added @ slopes
        left = added @ (weights @ added) - shared @ within @ shared
        found.append(((added @ white) ** 2 / left if left > 0 else 0.0, name, end))
    lowered, name, end = max(found, key=lambda f: f[0])
    if end is None or lowered < sums.tuning.misfit_named * (float(r @ white) - independent):
        return ()
    return tuple(c for c in problem.system.conditions if c.at == {name: end.place})
