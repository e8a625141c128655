"""How estimates of the weak engine depend on the radius of its test functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mollifier.problem.solution import Solution
from mollifier.reporting import style

_CHOSEN = "chosen"
_MOST = 6  # unknowns
_NEAR = 0.1  # of the logarithm of a radius
_POINTS: dict[str, Any] = {"marker": "o", "linestyle": "none"}
_LOOKS: dict[str, dict[str, Any]] = {
    "other": _POINTS | {"color": "0.75", "markersize": 3.0, "label": "tried"},
    "beside": _POINTS | {"color": "0.35", "markersize": 4.0, "label": "tried, otherwise as chosen"},
    "chosen": _POINTS
    | {"color": style.RED, "marker": "D", "markersize": 5.0, "zorder": 3, "label": "chosen"},
}


def has_radii(history: xr.Dataset) -> bool:
    """Whether a history is of the radii tried, rather than of steps."""
    if "stage" not in history or not _radii(history):
        return False
    return _CHOSEN in history["stage"].values.astype(str)


def sensitivity_figure(solution: Solution) -> Figure:
    """Estimates with their 95 % intervals against the radius along each coordinate, the chosen one marked.

    A row for each unknown number (the mean over the nodes, for a field) and one for the misfit of the
    equation, a column for each coordinate along which the equation is tested. The solution's history must
    be one of radii, see `has_radii`.
    """
    history = solution.history
    radii = _radii(history)
    unknowns = [str(n) for n in history.data_vars if f"{n}_sd" in history][:_MOST]
    rows = [*unknowns, *(["misfit"] if "misfit" in history else [])]
    figure = style.new_figure(max(3.6 * len(radii), 5.0), 2.1 * len(rows) + 0.6)
    axes = figure.subplots(len(rows), len(radii), squeeze=False, sharex="col", sharey="row")
    for row, name in enumerate(rows):
        for column, along in enumerate(radii):
            ax = axes[row, column]
            x = history[f"radius_{along}"].values.astype(float)
            if name == "misfit":
                _draw_misfit(ax, x, history[name].values.astype(float), _kinds(history, radii, along))
            else:
                _draw_estimates(ax, solution, name, x, _kinds(history, radii, along))
            _scale(ax, x[x > 0])
            if row == len(rows) - 1:
                ax.set_xlabel(style.label(f"radius along {along}", style.unit(solution.dataset.get(along))))
            if column:
                ax.set_ylabel("")
    figure.suptitle("Sensitivity to the radius of the test functions", fontsize=9.5, x=0.02, ha="left")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=3, loc="outside upper right")
    return figure


def _radii(history: xr.Dataset) -> list[str]:
    """Coordinates along which a radius was tried; 0 means none."""
    named = [str(n).removeprefix("radius_") for n in history.data_vars if str(n).startswith("radius_")]
    return [c for c in named if (history[f"radius_{c}"].values > 0).any()]


def _scale(ax: Axes, radii: np.ndarray) -> None:
    """Limits about the radii; a log axis where its numbers would not crowd."""
    low, high = float(radii.min()), float(radii.max())
    margin = max(high / low, 1.2) ** 0.06
    ax.set_xlim(low / margin, high * margin)
    if high > 4 * low:
        style.log_axis(ax, "x")
    else:
        ax.locator_params(axis="x", nbins=5)


def _draw_estimates(
    ax: Axes, solution: Solution, name: str, x: np.ndarray, kinds: dict[str, np.ndarray]
) -> None:
    values = solution.history[name].values.astype(float)
    sd = np.abs(solution.history[f"{name}_sd"].values.astype(float))
    half = 1.96 * np.nan_to_num(sd, posinf=0.0)  # an infinite one has no bar
    ax.plot(x[kinds["other"]], values[kinds["other"]], **_LOOKS["other"])
    for kind in ("beside", "chosen"):
        rows = kinds[kind]
        options = _LOOKS[kind] | {"capsize": 2, "elinewidth": 0.9}
        ax.errorbar(x[rows], values[rows], yerr=half[rows], **options)
    estimate = solution.estimates.get(name)
    ax.set_ylim(*_window(values, half, kinds))
    shown, unit = (name, estimate.unit) if estimate is not None else (f"mean of {name}", "")
    ax.set_ylabel(style.label(shown, unit))


def _kinds(history: xr.Dataset, radii: list[str], along: str) -> dict[str, np.ndarray]:
    """Rows that were chosen, those with (nearly) the chosen radii along the other coordinates, the others."""
    chosen = history["stage"].values.astype(str) == _CHOSEN
    beside = ~chosen
    for c in radii:
        if c != along:
            r = history[f"radius_{c}"].values.astype(float)
            with np.errstate(divide="ignore", invalid="ignore"):
                beside &= np.abs(np.log(r / r[chosen][-1])) < _NEAR
    return {"chosen": chosen, "beside": beside, "other": ~chosen & ~beside}


def _window(values: np.ndarray, half: np.ndarray, kinds: dict[str, np.ndarray]) -> tuple[float, float]:
    """Limits that show the chosen estimate and most others; a useless radius must not squeeze the rest."""
    low, high = style.limits(values, spare=0.1)
    at = kinds["chosen"] & np.isfinite(values)
    if at.any():
        low = min(low, float((values - 2 * half)[at].min()))
        high = max(high, float((values + 2 * half)[at].max()))
    spare = 0.1 * (high - low)
    return low - spare, high + spare


def _draw_misfit(ax: Axes, x: np.ndarray, misfit: np.ndarray, kinds: dict[str, np.ndarray]) -> None:
    """Residuals of the equation relative to what the noise explains."""
    for kind, rows in kinds.items():
        ax.plot(x[rows], misfit[rows], **_LOOKS[kind])
    ax.axhline(1.0, color="black", linewidth=0.7, linestyle=":")
    ax.set_ylabel("residual / noise")
