"""Derivatives of gridded data without an equation: finite differences and Savitzky-Golay filters.

Both are given the window that the truth calls best, which nobody has in practice: as baselines they are
stronger than life.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from benchmarks.cases.base import Case
from benchmarks.paper.problems import PROBLEMS, true_derivatives, with_operators
from mollifier.diagnostics.scores import Score, compare
from mollifier.mollify.orders import Derivative

Array = NDArray[np.float64]

FINITE, SAVGOL = "finite differences", "savitzky-golay"
# Nodes of the windows tried, and degrees above the order of the derivative.
_WINDOWS = (5, 7, 9, 13, 17, 23, 31, 41, 55, 75)
_ABOVE = (1, 3)


def classic(problem: str, noise: float, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of the derivatives by both; none where the data are not on a grid.

    Returns
    -------
    scores
        Baseline -> derivative -> `Score` as a dictionary.

    Examples
    --------
    >>> found = classic("langevin", 0.01, 0)
    >>> found[SAVGOL]["u_t"]["relative_l2"] < found[FINITE]["u_t"]["relative_l2"]
    True
    """
    made = PROBLEMS[problem].build()
    if "point" in made.clean.dims:
        return {}
    noisy = made.observations(noise, seed).dataset
    until = float(made.clean["t"].max()) if "t" in made.clean.coords else None
    truth = true_derivatives(PROBLEMS[problem], until)
    tried = {
        FINITE: _best(made, noisy, truth, (3,), (0,)),
        SAVGOL: _best(made, noisy, truth, _WINDOWS, _ABOVE),
    }
    return {n: {d: asdict(s) for d, s in scores.items()} for n, scores in tried.items()}


def _best(
    made: Case, noisy: xr.Dataset, truth: xr.Dataset, windows: tuple[int, ...], above: tuple[int, ...]
) -> dict[str, Score]:
    """The best score of each derivative over windows and degrees."""
    best: dict[str, Score] = {}
    names = [d for f in made.fields for d in made.problem(0.0).system.derivatives[f] if d.total]
    for window in windows:
        for degree in above:
            fields = {d.name: filtered(noisy[d.field], d, window, degree) for d in names}
            found = with_operators(
                xr.Dataset({n: v for n, v in fields.items() if v is not None}), made.fields
            )
            for n in truth.data_vars:
                if n in found:
                    score = compare(found[n].transpose(*truth[n].dims), truth[n])
                    if str(n) not in best or score.relative_l2 < best[str(n)].relative_l2:
                        best[str(n)] = score
    return best


def filtered(values: xr.DataArray, derivative: Derivative, window: int, above: int) -> xr.DataArray | None:
    """A derivative by local polynomials along each axis; None where an axis has too few nodes.

    Parameters
    ----------
    values
        On an even grid.
    window
        Nodes, odd; widened to what the degree needs, and not wider than the axis.
    above
        Degree above the order; 0 gives central differences. Axes that are not differentiated along are
        smoothed by a polynomial of this degree where it is above 0.
    """
    orders: Mapping[str, int] = dict(derivative.orders)
    array: Array = values.values
    for axis, c in enumerate(values.dims):
        order = orders.get(str(c), 0)
        if not order and not above:
            continue
        degree = order + above
        size = max(window, degree + 1 + degree % 2)
        most = values.sizes[c] - 1 + values.sizes[c] % 2
        if size > most and order:
            size = most
        if size <= degree:
            return None
        if size > most:
            continue
        step = float(np.diff(values[c].values[:2])[0])
        mode = "wrap" if values[c].attrs.get("periodic") else "interp"
        array = np.asarray(savgol_filter(array, size, degree, order, step, axis, mode))
    return values.copy(data=array)
