"""Data against fit, for one observed variable."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mollifier.mollify.arrays import Index, Mask
from mollifier.problem.solution import Solution
from mollifier.reporting import style

_MOST_ON_MAP = 400
_MOST_IN_PLOT = 4000
_HISTOGRAM = 5.0  # in units of sd; what lies beyond is counted in the outermost bins


def fit_figure(solution: Solution) -> Figure:
    """The fitted field with the measured points, measured against fitted, and the errors in units of sd.

    One band for each observed variable.
    """
    names = solution.observed
    pictures = {n: style.cuts(solution.dataset[n]) if n in solution.dataset else [] for n in names}
    widest = max(len(p) for p in pictures.values()) if pictures else 0
    heights = [6.2 if len(pictures[n]) > 1 else 3.4 for n in names]
    figure = style.new_figure(min(3.6 * max(widest, 3) + 0.8, 14.0), sum(heights))
    bands = figure.subfigures(len(names), 1, squeeze=False, height_ratios=heights)[:, 0]
    for name, band in zip(names, bands, strict=True):
        count = len(pictures[name])
        if count > 1:
            above, below = band.subfigures(2, 1, height_ratios=[1.1, 1.0])
            maps = above.subplots(1, count, squeeze=False)[0]
            left, right = below.subplots(1, 2)
        else:
            *maps, left, right = band.subplots(1, count + 2)
        if count:
            _draw_field(maps, solution, name, pictures[name])
        _draw_pairs(left, solution, name)
        _draw_errors(right, solution, name)
    return figure


def _draw_field(axes: Any, solution: Solution, name: str, pictures: list[style.Cut]) -> None:
    field = solution.dataset[name].where(np.isfinite(solution.dataset[name]))
    measured = solution.fit[name].values
    bounds = style.limits(field.values, measured, spare=0.002)
    for ax, cut in zip(axes, pictures, strict=True):
        part = cut.of(field)
        rows = np.flatnonzero(np.isfinite(measured) & _near(solution.fit, field, cut))
        where = cut.title(field)
        if part.ndim < 2:
            _draw_points(ax, solution, name, part, rows)
            ax.set_title(f"{style.text(name)}: measured and fitted" + (f", {where}" if where else ""))
            continue
        style.draw_map(ax, part, name, bounds)
        shown = rows[style.some(rows.size, _MOST_ON_MAP)]
        held_out = solution.fit[f"{name}_held_out"].values.astype(bool)[shown]
        h, v = (solution.fit[d].values[shown] if d in solution.fit else None for d in style.map_dims(part))
        if h is not None and v is not None:
            edges = np.where(held_out, style.RED, "white").tolist()
            colours: dict[str, Any] = {
                "c": measured[shown],
                "vmin": bounds[0],
                "vmax": bounds[1],
                "cmap": style.SEQUENTIAL,
            }
            ax.scatter(h, v, s=16, edgecolors=edges, linewidths=0.6, **colours)
        count = f"{shown.size} of {rows.size} points" if shown.size < rows.size else f"{rows.size} points"
        count += ", held out: red rings" if held_out.any() else ""
        ax.set_title(
            where if len(pictures) > 1 else f"{style.text(name)}: fitted map, measured dots\n({count})"
        )
    if len(pictures) > 1:
        axes[0].set_title(f"{style.text(name)}: fitted map, measured dots\n{axes[0].get_title(loc='left')}")


def _near(fit: xr.Dataset, field: xr.DataArray, cut: style.Cut) -> Mask:
    """Rows whose points lie at the cut: within half a grid step of it, or the nearest there are."""
    result = np.ones(fit.sizes["observation"], dtype=bool)
    for d, i in cut.held.items():
        nodes = field[d].values if d in field.coords else None
        if d not in fit.coords or nodes is None or nodes.size < 2 or not result.any():
            continue
        distance = np.abs(fit[d].values - nodes[i])
        half = 0.5 * float(np.max(np.abs(np.diff(nodes))))
        result &= distance <= max(half, float(np.min(distance[result])) * (1 + 1e-9))
    return result


def _draw_points(ax: Axes, solution: Solution, name: str, part: xr.DataArray, rows: Index) -> None:
    """Measured values with their standard errors, and the fitted curve over them."""
    rows = rows[style.some(rows.size, _MOST_IN_PLOT)]
    held = solution.fit[f"{name}_held_out"].values.astype(bool)[rows]
    x = np.zeros(rows.size)
    if part.ndim and part.dims[0] in solution.fit:
        x = solution.fit[part.dims[0]].values[rows]
    for chosen, colour, who in ((~held, style.GREY, "measured"), (held, style.RED, "held out")):
        if chosen.any():
            values, sd = (solution.fit[n].values[rows][chosen] for n in (name, f"{name}_sd"))
            look: dict[str, Any] = {"fmt": "o", "markersize": 2.5, "linewidth": 0.6, "alpha": 0.6}
            ax.errorbar(x[chosen], values, np.nan_to_num(sd), color=colour, label=f"{who} ± sd", **look)
    style.draw_curve(ax, part, name, color=style.BLUE, linewidth=1.6, label="fitted", zorder=5)
    ax.legend()


def _draw_pairs(ax: Axes, solution: Solution, name: str) -> None:
    measured, fitted = solution.fit[name].values, solution.fit[f"{name}_fitted"].values
    unit = style.unit(solution.fit[name])
    held = solution.fit[f"{name}_held_out"].values.astype(bool)
    finite = np.isfinite(measured) & np.isfinite(fitted)
    for chosen, colour, who in ((~held, style.BLUE, "fitted to"), (held, style.RED, "held out")):
        rows = np.flatnonzero(finite & chosen)
        if rows.size:
            rows = rows[style.some(rows.size, _MOST_IN_PLOT)]
            look: dict[str, Any] = {"markersize": 4, "markeredgewidth": 0, "alpha": 0.5}
            ax.plot(measured[rows], fitted[rows], ".", color=colour, label=who, **look)
    low, high = style.limits(measured[finite], fitted[finite])
    ax.plot([low, high], [low, high], color="black", linewidth=0.8, label="1:1")
    ax.set_xlabel(style.label(f"measured {name}", unit))
    ax.set_ylabel(style.label(f"fitted {name}", unit))
    ax.set_title(f"{style.text(name)}: measured against fitted")
    ax.legend()


def _draw_errors(ax: Axes, solution: Solution, name: str) -> None:
    z = solution.scaled_errors(name)
    held = solution.fit[f"{name}_held_out"].values.astype(bool)
    edges = np.linspace(-_HISTOGRAM, _HISTOGRAM, 26).tolist()
    parts = (("fitted", ~held, style.BLUE, "fitted to"), ("held_out", held, style.RED, "held out"))
    misfit = solution.misfit[name]
    for part, chosen, colour, who in parts:
        values = np.clip(z[chosen & np.isfinite(z)], -_HISTOGRAM, _HISTOGRAM)
        rms = misfit[part]
        if values.size and rms is not None:
            look: dict[str, Any] = (
                {"histtype": "stepfilled", "alpha": 0.45} if part == "fitted" else {"histtype": "step"}
            )
            label = f"{who}: rms {rms:.3g}"
            ax.hist(values, edges, density=True, color=colour, linewidth=1.4, label=label, **look)
    x = np.linspace(-_HISTOGRAM, _HISTOGRAM, 201)
    ax.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color="black", linewidth=0.8, label="normal, rms 1")
    ax.set_xlabel("(fitted - measured) / sd")
    ax.set_ylabel("density")
    ax.set_ylim(0.0, 1.35 * ax.get_ylim()[1])  # room for the legend
    ax.set_title(f"{style.text(name)}: errors in units of sd")
    ax.legend()
