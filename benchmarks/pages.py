"""Figures of the benchmarks: accuracy against noise, calibration, and cost against size."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from mollifier.io.files import ensure_folder
from mollifier.reporting import style
from mollifier.reporting.comparison import COLOURS

if TYPE_CHECKING:
    from benchmarks.accuracy import Row
    from benchmarks.coverage import Row as Covered
    from benchmarks.scale import Row as Size
    from benchmarks.table import Table

# Per cent of the intervals that are drawn, and how.
_INTERVALS = {95: "-", 50: "--"}


def save_benchmark(table: Table, folder: str | os.PathLike[str]) -> list[Path]:
    """Write the figure of a benchmark as NAME.png and NAME.svg.

    Parameters
    ----------
    table
        Of `python -m benchmarks engines`, `coverage`, `scale` or `paper`; others, and one without rows, have
        none.
    folder
        Where; made if need be.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """
    target = ensure_folder(folder)
    if table.name not in _FIGURES or not table.rows:
        return []
    with style.look():
        figure = _FIGURES[table.name](table)
        return [style.save(figure, target / f"{table.name}.{kind}") for kind in ("png", "svg")]


def accuracy_figure(table: Table) -> Figure:
    """A row for each case: error against noise, with quartiles and target; coverage of two intervals.

    Exact data have no place on the log axis of the noise and are left out.
    """
    cases = list(dict.fromkeys(r.case for r in table.rows))
    engines = list(dict.fromkeys(r.engine for r in table.rows))
    colours = {e: COLOURS[i % len(COLOURS)] for i, e in enumerate(engines)}
    figure = style.new_figure(7.2, 2.7 * len(cases))
    axes = figure.subplots(len(cases), 2, squeeze=False)
    for (left, right), case in zip(axes, cases, strict=True):
        rows = [r for r in table.rows if r.case == case]
        noises = [r.noise for r in rows if r.noise > 0]
        for engine, colour in colours.items():
            own = sorted((r for r in rows if r.engine == engine), key=lambda r: r.noise)
            _draw_errors(left, own, engine, colour)
            _draw_coverage(right, own, colour)
        _finish_errors(left, rows, case)
        _finish_coverage(right, rows)
        for ax in (left, right):
            _noise_axis(ax, noises)
    return figure


def _draw_errors(ax: Axes, rows: Sequence[Row], engine: str, colour: str) -> None:
    shown = [r for r in rows if r.noise > 0 and math.isfinite(r.worst) and r.worst > 0]
    if not shown:
        return
    worst = np.array([r.worst for r in shown])
    ends = np.array([r.quartiles for r in shown]).T
    # A quartile that is infinite has no answer to end at.
    ends = np.where(np.isfinite(ends), ends, worst)
    noise = [r.noise for r in shown]
    bars = np.abs(ends - worst)
    ax.errorbar(
        noise, worst, yerr=bars, fmt="o-", color=colour, markersize=4, linewidth=1.2, capsize=2, label=engine
    )


def _finish_errors(ax: Axes, rows: Sequence[Row], case: str) -> None:
    targets = {r.noise: r.target for r in rows if r.target is not None and r.noise > 0}
    if targets:
        noise = sorted(targets)
        values = [targets[n] for n in noise]
        ax.plot(noise, values, "_--", color="black", markersize=14, linewidth=0.8, label="target")
    ax.set_title(style.text(case))
    ax.set_ylabel("largest relative error")
    if ax.get_legend_handles_labels()[1]:
        ax.legend()
        _log_values(ax)
    else:
        ax.text(0.5, 0.5, "no answer", transform=ax.transAxes, ha="center", color=style.GREY)


def _draw_coverage(ax: Axes, rows: Sequence[Row], colour: str) -> None:
    """The mean over the unknowns as a line, each unknown as a dot."""
    shown = [r for r in rows if r.noise > 0 and r.coverage]
    for level, line in _INTERVALS.items():
        means = [float(np.mean([c[level] for c in r.coverage.values()])) for r in shown]
        ax.plot([r.noise for r in shown], means, line, color=colour, linewidth=1.2)
        for r in shown:
            dots = [c[level] for c in r.coverage.values()]
            ax.plot([r.noise] * len(dots), dots, "o", color=colour, markersize=3)


def _finish_coverage(ax: Axes, rows: Sequence[Row]) -> None:
    """What is nominal, with the 95 % range of a share of so many seeds."""
    seeds = min(r.seeds for r in rows)
    for level, line in _INTERVALS.items():
        share = level / 100
        half = 1.96 * math.sqrt(share * (1 - share) / seeds)
        ax.axhspan(share - half, min(share + half, 1.0), color="0.92", linewidth=0)
        ax.axhline(share, color="0.5", linewidth=0.8, linestyle=line)
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0.0, 0.5, 0.95])
    ax.set_ylabel("share that holds the truth")
    ax.set_title(f"Coverage of 95 % (-) and 50 % (--), {seeds} seed{'' if seeds == 1 else 's'}")


def _noise_axis(ax: Axes, noises: Sequence[float]) -> None:
    if noises:
        ax.set_xscale("log")
        ax.set_xticks(sorted(set(noises)), [f"{n:.3g}" for n in sorted(set(noises))])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(min(noises) / 1.5, max(noises) * 1.5)
    ax.set_xlabel("noise, sigma / rms(u)")


def _log_values(ax: Axes) -> None:
    """A log scale upward: plain numbers within two decades, powers of ten beyond, where those would crowd."""
    low, high = ax.get_ylim()
    if low > 0 and high / low < 100:
        style.log_axis(ax, "y")
    else:
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(NullFormatter())


def scale_figure(table: Table) -> Figure:
    """Seconds, and memory above the data, against the number of points, with the fitted powers."""
    rows: list[Size] = [r for r in table.rows if math.isfinite(r.seconds)]
    figure = style.new_figure(7.2, 3.2)
    left, right = figure.subplots(1, 2)
    points = np.array([r.points for r in rows], dtype=float)
    for ax, what, values in (
        (left, "seconds", [r.seconds for r in rows]),
        (right, "peak above the data, MiB", [r.memory_mib for r in rows]),
    ):
        _draw_power(ax, points, np.array(values))
        ax.set_ylabel(what)
        ax.set_xlabel("nodes")
    if rows:
        right.plot(points, [r.data_mib for r in rows], ":", color=style.GREY, label="the data")
        right.legend()
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xticks(points, [f"{r.size}²" for r in rows])
        ax.xaxis.set_minor_locator(NullLocator())
        _log_values(ax)
    return figure


def _draw_power(ax: Axes, points: np.ndarray, values: np.ndarray) -> None:
    """Dots, and the power of the number of points that fits them best on log axes."""
    known = np.isfinite(values) & (values > 0)
    x, y = points[known], values[known]
    if not x.size:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", color=style.GREY)
        return
    ax.plot(x, y, "o", color=style.BLUE, markersize=5)
    if x.size > 1:
        power, factor = np.polyfit(np.log(x), np.log(y), 1)
        fitted = np.exp(factor) * x**power
        ax.plot(x, fitted, color=style.ORANGE, linewidth=1.2, label=f"points^{power:.2f}")
        ax.legend()


def paper_figure(table: Table) -> Figure:
    """A panel for each problem and noise: error of the unknown against seconds, a dot for each answer."""
    places = list(dict.fromkeys((r.problem, r.noise) for r in table.rows))
    methods = list(dict.fromkeys(r.method for r in table.rows))
    networks = list(dict.fromkeys(r.network for r in table.rows))
    wide = min(len(places), 3)
    tall = math.ceil(len(places) / wide)
    figure = style.new_figure(2.6 * wide + 1.6, 2.5 * tall + 0.4)
    axes = figure.subplots(tall, wide, squeeze=False).ravel()
    for ax, place in zip(axes, places, strict=False):
        for r in (r for r in table.rows if (r.problem, r.noise) == place and math.isfinite(r.relative_l2)):
            colour = _METHOD_COLOURS[methods.index(r.method) % len(_METHOD_COLOURS)]
            shape = _MARKERS[networks.index(r.network) % len(_MARKERS)]
            ax.plot(r.seconds, r.relative_l2, shape, color=colour, markersize=5)
        ax.set(xscale="log", yscale="log", xlabel="seconds", ylabel="relative L2")
        ax.set_title(style.text(f"{place[0]}, {100 * place[1]:.3g} %"))
    for ax in axes[len(places) :]:
        ax.set_axis_off()
    shown = [
        Line2D([], [], marker="o", ls="", color=_METHOD_COLOURS[i % len(_METHOD_COLOURS)], label=m)
        for i, m in enumerate(methods)
    ]
    shown += [
        Line2D([], [], marker=_MARKERS[i % len(_MARKERS)], ls="", color=style.GREY, label=n or "no network")
        for i, n in enumerate(networks)
    ]
    figure.legend(handles=shown, loc="outside lower center", ncols=5)
    return figure


def coverage_figure(table: Table) -> Figure:
    """A row for each unknown: histogram of the PITs, their distribution less an even one, with its band."""
    rows: list[Covered] = [r for r in table.rows if r.answers]
    figure = style.new_figure(7.2, 2.2 * max(len(rows), 1))
    axes = figure.subplots(max(len(rows), 1), 2, squeeze=False)
    for (left, right), row in zip(axes, rows, strict=False):
        bins = len(row.histogram)
        # Of a field's places only the runs are independent, so that the range of a number's is the wider.
        half = 1.96 * math.sqrt((1 - 1 / bins) / bins / row.answers)
        left.axhspan(max(1 / bins - half, 0.0), 1 / bins + half, color="0.92", linewidth=0)
        left.axhline(1 / bins, color="0.5", linewidth=0.8)
        left.bar((np.arange(bins) + 0.5) / bins, row.histogram, 0.9 / bins, color=style.BLUE)
        left.set(xlim=(0, 1), ylabel="share", xlabel="PIT of the truth")
        left.set_title(style.text(f"{row.case}, {row.engine}, {100 * row.noise:.3g} %: {row.unknown}"))
        right.axhspan(-row.band, row.band, color="0.92", linewidth=0)
        right.axhline(0.0, color="0.5", linewidth=0.8)
        right.plot(np.linspace(0, 1, len(row.difference)), row.difference, color=style.ORANGE, linewidth=1.2)
        right.set(xlim=(0, 1), ylabel="ECDF less even", xlabel="PIT of the truth")
        right.set_title(f"95 % intervals hold {row.coverage[95]}, {row.answers} seeds")
    if not rows:
        for ax in axes.ravel():
            ax.text(0.5, 0.5, "no answer", transform=ax.transAxes, ha="center", color=style.GREY)
    return figure


_METHOD_COLOURS = (*COLOURS, style.GREY)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_FIGURES: dict[str, Callable[[Table], Figure]] = {
    "accuracy": accuracy_figure,
    "coverage": coverage_figure,
    "scale": scale_figure,
    "paper": paper_figure,
}
