"""Figures of a comparison: what each engine found, and what it cost."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mollifier.reporting import style

if TYPE_CHECKING:
    from mollifier.diagnostics.compare.comparison import Comparison
    from mollifier.problem.estimate import Estimate

COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.RED, style.PURPLE)

_MOST_MAPS = 3  # cuts of a field of three dimensions or more


def save_comparison(comparison: Comparison, folder: str | os.PathLike[str]) -> list[Path]:
    """Write the figure of a comparison as ``compare.png`` and ``compare.svg``; with no row, nothing.

    Parameters and errors as of `mollifier.reporting.style.save_all`.
    """
    names = ("compare.png", "compare.svg") if comparison.rows else ()
    return style.save_all(dict.fromkeys(names, partial(comparison_figure, comparison)), folder)


def comparison_figure(comparison: Comparison) -> Figure:
    """Estimates of the numbers with their 95 % intervals, the fields side by side, and the times.

    Engines whose solution is no answer are named with their status and not drawn.
    """
    bands: list[tuple[float, Callable[[Any], None]]] = []
    scalars = dict.fromkeys(n for s in comparison.solutions.values() for n in s.estimates)
    fields = dict.fromkeys(n for s in comparison.solutions.values() for n in s.unknown_fields)
    tall = 0.7 + 0.32 * len(comparison.rows)
    if scalars:
        bands.append((tall, partial(_draw_scalars, comparison=comparison, names=list(scalars))))
    width = 7.2
    for name in fields:
        able = [e for e in comparison.answers if name in comparison.solutions[e].unknown_fields]
        if not able:
            continue
        one = comparison.solutions[able[0]].dataset[name]
        cuts = style.cuts(one, _MOST_MAPS)[:_MOST_MAPS]
        if cuts[0].of(one).ndim < 2:
            bands.append((3.2, partial(_draw_curves, comparison=comparison, name=name, engines=able)))
        else:
            width = max(width, 3.4 * len(able))
            draw = partial(_draw_maps, comparison=comparison, name=name, engines=able, rows=len(cuts))
            bands.append((3.1 * len(cuts), draw))
    bands.append((tall, partial(_draw_costs, comparison=comparison)))
    figure = style.new_figure(width, sum(h for h, _ in bands))
    parts = figure.subfigures(len(bands), 1, squeeze=False, height_ratios=[h for h, _ in bands])[:, 0]
    for part, (_, draw_band) in zip(parts, bands, strict=True):
        draw_band(part)
    return figure


def _colour(comparison: Comparison, engine: str) -> str:
    place = [r.engine for r in comparison.rows].index(engine)
    return COLOURS[place % len(COLOURS)]


def _engine_axis(ax: Axes, comparison: Comparison) -> None:
    """One line an engine, the first on top."""
    names = [r.engine for r in comparison.rows]
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)


def _note(ax: Axes, place: int, text: str) -> None:
    place_of: dict[str, Any] = {"xy": (0.02, place), "xycoords": ax.get_yaxis_transform()}
    ax.annotate(style.text(text), **place_of, va="center", fontsize=8.0, color=style.GREY)


def _draw_scalars(band: Any, comparison: Comparison, names: list[str]) -> None:
    """A dot and its 95 % interval for each engine; a hollow dot where there is no standard error."""
    for ax, name in zip(band.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        shown = {
            place: row.estimates[name]
            for place, row in enumerate(comparison.rows)
            if row.engine in comparison.answers and name in row.estimates
        }
        low, high = _window(list(shown.values()))
        ax.set_xlim(low, high)
        _engine_axis(ax, comparison)
        for place, row in enumerate(comparison.rows):
            if place not in shown:
                _note(ax, place, row.status if row.engine not in comparison.answers else "no estimate")
                continue
            colour, e = _colour(comparison, row.engine), shown[place]
            if not low <= e.value <= high:
                _note(ax, place, f"{'<' if e.value < low else '>'} {e.value:.4g}, beyond the picture")
                continue
            known = _is_known(e)
            ends = e.interval(0.95) if known and e.sd is not None else (e.value, e.value)
            half = [[e.value - ends[0]], [ends[1] - e.value]] if known else None
            look: dict[str, Any] = {
                "color": colour,
                "markerfacecolor": colour if known else "white",
                "markersize": 5,
            }
            ax.errorbar([e.value], [place], xerr=half, fmt="o", capsize=3, **look)
        unit = next((e.unit for e in shown.values() if e.unit), "")
        ax.set_xlabel(style.label(name, unit))
        ax.locator_params(axis="x", nbins=5)
        ax.grid(axis="x", color="0.9", linewidth=0.6)
        ax.set_axisbelow(True)
        hollow = "" if all(map(_is_known, shown.values())) else " (hollow: none given)"
        ax.set_title(f"{style.text(name)}, 95 % intervals{hollow}")


def _is_known(estimate: Estimate) -> bool:
    return estimate.sd is not None and math.isfinite(estimate.sd)


def _window(estimates: list[Estimate]) -> tuple[float, float]:
    """Limits that hold every interval; estimates without one only where they do not squeeze the others.

    >>> from mollifier.problem.estimate import Estimate
    >>> low, high = _window([Estimate("D", 1.0, 0.01), Estimate("D", 1.05), Estimate("D", -3.0)])
    >>> -3.0 < low < 1.0 < 1.05 < high
    True
    """
    finite = [e for e in estimates if math.isfinite(e.value)]
    known = [e for e in finite if _is_known(e)]
    ends = [v for e in known for v in e.interval(0.95)] or [e.value for e in finite] or [0.0, 1.0]
    low, high = min(ends), max(ends)
    reach = 3 * (high - low)
    near = [e.value for e in finite if low - reach <= e.value <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    spare = 0.08 * (high - low) or 0.05 * abs(high) or 0.5
    return low - spare, high + spare


def _draw_curves(band: Any, comparison: Comparison, name: str, engines: list[str]) -> None:
    """A field of one dimension: a curve and its 95 % band for each engine."""
    ax = band.subplots()
    shown = []
    for engine in engines:
        dataset = comparison.solutions[engine].dataset
        colour = _colour(comparison, engine)
        cut = style.cuts(dataset[name])[0]
        line = cut.of(dataset[name])
        shown.append(line.values)
        if f"{name}_sd" in dataset and line.ndim:
            style.draw_band(ax, line, cut.of(dataset[f"{name}_sd"]), colour)
        style.draw_curve(ax, line, name, color=colour, linewidth=1.6, label=engine)
    low, high = style.limits(*shown)
    ax.set_ylim(low - 0.25 * (high - low), high + 0.25 * (high - low))
    ax.set_title(f"{style.text(name)}, with 95 % bands where known")
    ax.legend(ncols=len(engines))


def _draw_maps(band: Any, comparison: Comparison, name: str, engines: list[str], rows: int) -> None:
    """A field's maps side by side, one column an engine, on one colour scale."""
    fields = {e: comparison.solutions[e].dataset[name] for e in engines}
    bounds = style.limits(*(f.values for f in fields.values()), spare=0.002)
    axes = band.subplots(rows, len(engines), squeeze=False)
    for column, (engine, field) in enumerate(fields.items()):
        for ax, cut in zip(axes[:, column], style.cuts(field, _MOST_MAPS), strict=False):
            style.draw_cut(ax, field, cut, name, f"{style.text(name)}, {engine}", bounds)


def _draw_costs(band: Any, comparison: Comparison) -> None:
    """Seconds as bars on a log axis, with the memory beside."""
    ax = band.subplots()
    for place, row in enumerate(comparison.rows):
        if row.seconds is None:
            _note(ax, place, row.status)
            continue
        seconds = max(row.seconds, 1e-3)
        ax.barh(place, seconds, height=0.6, color=_colour(comparison, row.engine))
        memory = "" if row.memory is None else f", {row.memory:.0f} MiB"
        beside: dict[str, Any] = {"xy": (seconds, place), "xytext": (4, 0), "textcoords": "offset points"}
        ax.annotate(f"{row.seconds:.3g} s{memory}", **beside, va="center", fontsize=8.0)
    times = [max(r.seconds, 1e-3) for r in comparison.rows if r.seconds is not None] or [1.0]
    style.log_axis(ax, "x")
    # Half a decade below the shortest, so that its bar is seen; room for the text beyond the longest.
    span = np.log10(max(times) / min(times)) + 0.5
    ax.set_xlim(min(times) / 10**0.5, max(times) * 10 ** (0.35 * span))
    _engine_axis(ax, comparison)
    ax.set_xlabel("seconds")
    ax.set_title("Time to solve, and peak memory")
