"""PySINDy's weak form on equations in x and t with unknown numbers."""

# An extra, not installed for development.
from __future__ import annotations

import itertools
import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases.base import Case
from benchmarks.peers.base import TERMS, Row, scalar_errors
from mollifier.data.observations import Observations

Array = NDArray[np.float64]

_CENTRES = 500
_HALF_WIDTHS = (1 / 20, 1 / 10, 1 / 5)
_POWERS = (4, 8, 12)


def pysindy_weak(case: Case, observations: Observations, seed: int = 0) -> Row:
    """PySINDy's `WeakPDELibrary` with the true terms only, and least squares (STLSQ with threshold 0).

    Test functions ``(1 - s^2)^p`` on 500 random boxes: 100 is its default, and the error in its own example
    of the weak form falls with their number. Quadratic terms enter through a second variable, u^2, so that
    all derivatives move onto the test functions: better than its own mixed terms, which keep half of them on
    the data. Half the width of the boxes (1/20, its default, 1/10 and 1/5 of the extent along each axis) and
    p (4, its default, 8 and 12) are searched; the setting with the smallest relative standard errors of
    ordinary least squares is taken. The search counts in its seconds.
    """
    import pysindy
    from pysindy.utils import AxesArray, comprehend_axes

    start = time.perf_counter()
    terms = TERMS[case.name]
    u = observations.dataset["u"].transpose("x", "t").values
    nodes = [observations.dataset[c].values for c in ("x", "t")]
    stacked = np.stack([u, u**2], axis=-1)
    data = AxesArray(stacked, comprehend_axes(stacked))
    mesh = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1)
    extent = np.array([n[-1] - n[0] for n in nodes])
    found: list[tuple[float, dict[str, float], str]] = []
    for wide, long, power in itertools.product(_HALF_WIDTHS, _HALF_WIDTHS, _POWERS):
        np.random.seed(seed)
        library = pysindy.WeakPDELibrary(
            function_library=pysindy.CustomLibrary([lambda v: v], [lambda v: v]),
            derivative_order=max(t.order for t in terms.values()),
            spatiotemporal_grid=mesh,
            include_interaction=False,
            K=_CENTRES,
            H_xt=extent * np.array([wide, long]),
            p=power,
        )
        library.fit([data])
        features = np.asarray(library.transform([data])[0])
        names = library.get_feature_names(["u", "w"])
        columns = [f"{'uw'[t.power - 1]}_{'1' * t.order}" for t in terms.values()]
        matrix = features[:, [names.index(w) for w in columns]] * [t.factor for t in terms.values()]
        values, spread = _least_squares(matrix, np.asarray(library.convert_u_dot_integral(data))[:, 0])
        setting = f"H = ({wide:.2f}, {long:.2f}) of (x, t), p = {power}, K = {_CENTRES}"
        found.append((spread, scalar_errors(case, dict(zip(terms, values, strict=True))), setting))
    best = min(found, key=lambda f: f[0])
    oracle = min(found, key=lambda f: sum(f[1].values()))
    seconds = time.perf_counter() - start
    return Row("pysindy", case.name, best[1], seconds, best[2], oracle[1])


def _least_squares(matrix: Array, right: Array) -> tuple[list[float], float]:
    """Coefficients, and the root of the sum of their squared relative standard errors."""
    values = np.linalg.lstsq(matrix, right)[0]
    freedom = len(right) - len(values)
    variance = float(((matrix @ values - right) ** 2).sum()) / freedom
    errors = np.sqrt(variance * np.diag(np.linalg.inv(matrix.T @ matrix)))
    return [float(v) for v in values], float(np.linalg.norm(errors / values))
