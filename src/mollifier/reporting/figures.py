"""Figures of a solution, written as PNG files."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mollifier.diagnostics.scores import compare
from mollifier.errors import MollifierError, check_known
from mollifier.mollify.arrays import rms
from mollifier.problem.solution import HISTORY, Solution
from mollifier.reporting import style
from mollifier.reporting.fits import fit_figure
from mollifier.reporting.sensitivity import has_radii, sensitivity_figure

_LOSSES = {"loss": style.BLUE, "data": style.ORANGE, "residual": style.GREEN, "prior": style.RED}
_MOST_PATHS = 6
_MOST_STAGES = 8
_UNKNOWN = "unknown_"


def save_figures(
    solution: Solution, folder: str | os.PathLike[str], truth: xr.Dataset | None = None
) -> list[Path]:
    """Write the figures of a solution: ``fit``, ``unknown_<name>``, ``residual`` and ``history``, as PNG.

    The weak engine takes no steps: it has ``sensitivity``, its estimates by radius, in place of ``history``.
    What the solution does not hold gives no figure. The truth holds true unknown fields and scalars, on any
    grid; it is interpolated to the solution's. The files written are returned.

    Raises `OutputError` if the folder cannot be written to, `MollifierError` if a true field has coordinates
    that the estimate has not.
    """
    figures = _figures(solution, truth)
    return style.save_all({f"{name}.png": make for name, make in figures.items()}, folder)


def plot(solution: Solution, what: str | None = None, truth: xr.Dataset | None = None) -> Figure:
    """One figure of a solution, which a notebook shows.

    Parameters
    ----------
    solution
        What to show.
    what
        An unknown field, or "fit", "residual", "history" or (of the weak engine) "sensitivity"; by default
        the first unknown field, or else "fit".
    truth
        True unknown fields and scalars, on any grid; interpolated to the solution's.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with ``savefig``.

    Raises
    ------
    MollifierError
        If this is no solution, or has no such figure; if the truth is no dataset, or a true field has
        coordinates that the estimate has not.

    Examples
    --------
    >>> import mollifier as mf
    >>> t = np.linspace(0, 1, 60)
    >>> data = mf.Observations({"u": 0.3 + np.exp(-2 * t)}, {"t": t}, noise=0.01)
    >>> solution = mf.solve(mf.InverseProblem("u_t = lam - 2*u", data, {"lam": mf.FieldUnknown(over=("t",))}))
    >>> mf.plot(solution).axes[0].get_title("left")
    'lam, estimated'
    """
    figures = _figures(solution, truth)
    names = {name.removeprefix(_UNKNOWN): name for name in figures}
    if what is None:
        what = next((n for n in names if names[n].startswith(_UNKNOWN)), "fit")
    check_known([what], names, MollifierError, "The solution has no figure '{}'.")
    with style.look():
        return figures[names[what]]()


def _figures(solution: Solution, truth: xr.Dataset | None) -> dict[str, Callable[[], Figure]]:
    """What the solution can show: name -> function that makes the figure."""
    if not isinstance(solution, Solution):
        raise MollifierError(
            f"{solution!r:.60} was given to plot; a Solution was expected, as solve returns."
        )
    if not isinstance(truth, xr.Dataset | None):
        raise MollifierError(f"truth={truth!r:.60} was given; an xarray.Dataset of true values was expected.")
    figures: dict[str, Callable[[], Figure]] = {}
    if solution.observed:
        figures["fit"] = partial(fit_figure, solution)
    for name in solution.unknown_fields:
        true = None
        if truth is not None and name in truth:
            true = true_field(truth[name], solution.dataset[name])
        figures[f"{_UNKNOWN}{name}"] = partial(unknown_figure, solution, name, true)
    if solution.residuals:
        figures["residual"] = partial(residual_figure, solution)
    if has_radii(solution.history):
        figures["sensitivity"] = partial(sensitivity_figure, solution)
    elif solution.history.sizes["step"] and solution.history.data_vars:
        figures["history"] = partial(history_figure, solution, truth)
    return figures


def true_field(truth: xr.DataArray, estimate: xr.DataArray) -> xr.DataArray:
    """The truth on the estimate's nodes, by linear interpolation; NaN outside where it is known.

    Raises `MollifierError` if it has a coordinate that the estimate has not, or no positions along one and
    another number of nodes.

    >>> truth = xr.DataArray([0.0, 1.0], {"x": [0.0, 2.0]}, name="k")
    >>> true_field(truth, xr.DataArray(np.zeros(3), {"x": [0.0, 0.5, 1.0]})).values
    array([0.  , 0.25, 0.5 ])
    """
    extra = [str(d) for d in truth.dims if d not in estimate.dims]
    if extra:
        raise MollifierError(
            f"The true '{truth.name}' varies along {extra}, but its estimate only over "
            f"{list(estimate.dims)}; select one position first, as in truth.isel(t=0)."
        )
    for d in truth.dims:
        if d not in truth.coords and truth.sizes[d] != estimate.sizes[d]:
            raise MollifierError(
                f"The true '{truth.name}' has {truth.sizes[d]} nodes along '{d}' without positions, and its "
                f"estimate {estimate.sizes[d]}; give the truth a coordinate '{d}'."
            )
    along = {d: estimate[d] for d in truth.dims if d in truth.coords and truth.sizes[d] > 1}
    on_nodes = truth.astype(float).interp(along) if along else truth.astype(float)
    return on_nodes.broadcast_like(estimate).transpose(*estimate.dims)


def unknown_figure(solution: Solution, name: str, truth: xr.DataArray | None = None) -> Figure:
    """An unknown field: estimate, standard error, truth and difference, ratio read-out, as far as known."""
    estimate = solution.dataset[name]
    sd, ratio = solution.dataset.get(f"{name}_sd"), solution.dataset.get(f"{name}_ratio")
    pictures = style.cuts(estimate)
    if pictures[0].of(estimate).ndim < 2:
        figure = _unknown_curve(name, pictures[0], estimate, sd, ratio, truth)
        for visits in (v for n, v in solution.dataset.items() if v.dims == estimate.dims and _visits(n)):
            _draw_visits(figure.axes[0], visits)
        return figure
    bounds = style.limits(estimate.values, *([] if truth is None else [truth.values]), spare=0.002)
    shown = style.text(name)
    columns = [(f"{shown}, estimated", estimate, bounds, style.SEQUENTIAL)]
    if truth is not None:
        error = estimate - truth
        agreement = _agreement(estimate, truth).replace(", ", "\n")
        span = style.limits(error.values, symmetric=True, spare=0.002)
        columns.append((f"{shown}, true", truth, bounds, style.SEQUENTIAL))
        columns.append((f"estimated - true\n{agreement}", error, span, style.DIVERGING))
    if ratio is not None:
        head = f"{shown}, ratio read-out\n(a picture, no estimate)"
        columns.append((head, ratio, bounds, style.SEQUENTIAL))
    if sd is not None:
        span = style.limits(sd.values, spare=0.002)
        columns.append((f"{shown}, standard error", sd, span, style.SEQUENTIAL))
    figure = style.new_figure(3.7 * len(columns), 3.2 * len(pictures))
    axes = figure.subplots(len(pictures), len(columns), squeeze=False)
    for row, cut in enumerate(pictures):
        for column, (title, field, span, cmap) in enumerate(columns):
            whole = field.assign_attrs(estimate.attrs)
            style.draw_cut(axes[row, column], whole, cut, name, "" if row else title, span, cmap=cmap)
    return figure


def _unknown_curve(
    name: str,
    cut: style.Cut,
    estimate: xr.DataArray,
    sd: xr.DataArray | None,
    ratio: xr.DataArray | None,
    truth: xr.DataArray | None,
) -> Figure:
    figure = style.new_figure(6.0, 3.4 if truth is None else 5.2)
    rows = 1 if truth is None else 2
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=[2, 1][:rows])[:, 0]
    ax = axes[0]
    line = cut.of(estimate)
    curves = [line.values]
    if sd is not None and line.ndim:
        curves += style.draw_band(ax, line, cut.of(sd), style.BLUE)
        ax.plot([], [], color=style.BLUE, alpha=0.2, linewidth=6, label="95 % interval")
    if truth is not None:
        true = cut.of(truth)
        curves.append(true.values)
        style.draw_curve(ax, true, name, color="black", linewidth=1.2, linestyle="--", label="true")
        error = (line - true).assign_attrs(estimate.attrs)
        style.draw_curve(axes[1], error, "estimated - true", color=style.RED, linewidth=1.2)
        axes[1].axhline(0.0, color="black", linewidth=0.6)
    low, high = style.limits(*curves)
    if ratio is not None:
        points = cut.of(ratio).assign_attrs(estimate.attrs)
        options = {"linestyle": "none", "marker": ".", "markersize": 3.0}
        style.draw_curve(ax, points, name, color=style.GREY, label="ratio read-out", **options)
    style.draw_curve(ax, line, name, color=style.BLUE, linewidth=1.8, label="estimated")
    ax.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    ax.set_title(
        f"{style.text(name)}, estimated" + ("" if truth is None else f" ({_agreement(estimate, truth)})")
    )
    ax.legend()
    if truth is not None:
        ax.set_xlabel("")
    return figure


def _visits(name: object) -> bool:
    return str(name).endswith("_visits")


def _draw_visits(ax: Axes, visits: xr.DataArray) -> None:
    """How often a state takes each value, as a histogram in the lower quarter of a law's figure."""
    beside = ax.twinx()
    x = visits[visits.dims[0]].values
    beside.fill_between(x, visits.values, step="mid", color=style.GREY, alpha=0.25, linewidth=0)
    beside.set_ylim(0.0, 4.0 * float(visits.max() or 1.0))
    beside.set_yticks([])
    ax.plot([], [], color=style.GREY, alpha=0.25, linewidth=6, label="visits")
    ax.legend()


def _agreement(estimate: xr.DataArray, truth: xr.DataArray) -> str:
    """Relative L2 error and correlation over the nodes where both are known.

    >>> field = xr.DataArray([1.0, 2.0, np.nan])
    >>> _agreement(field, field), _agreement(field, 0 * field), _agreement(np.nan * field, field)
    ('relative L2 0, correlation 1', 'relative L2 undefined', 'relative L2 undefined')
    """
    found = compare(estimate, truth.where(np.isfinite(estimate)))
    error = "undefined" if np.isnan(found.relative_l2) else f"{found.relative_l2:.3g}"
    varied = not np.isnan(found.correlation)
    return f"relative L2 {error}" + (f", correlation {found.correlation:.3g}" if varied else "")


def residual_figure(solution: Solution) -> Figure:
    """What is left of each equation, relative to the rms of its terms, on a scale centred on zero."""
    fields = {n: _where_known(solution.dataset[n].assign_attrs(units="")) for n in solution.residuals}
    pictures = {n: style.cuts(f) for n, f in fields.items()}
    widest = max(len(p) for p in pictures.values())
    figure = style.new_figure(max(3.6 * widest, 5.2), 3.3 * len(fields))
    axes = figure.subplots(len(fields), widest, squeeze=False)
    for row, (name, field) in enumerate(fields.items()):
        size = f"{rms(field.values):.3g}" if np.isfinite(field.values).any() else "unknown"
        head = f"{name.replace('_', ' ')} of the equation, rms {size}\n(relative to the rms of its terms)"
        bounds = style.limits(field.values, symmetric=True, spare=0.005)
        for ax in axes[row, len(pictures[name]) :]:
            ax.set_axis_off()
        for column, cut in enumerate(pictures[name]):
            style.draw_cut(
                axes[row, column],
                field,
                cut,
                "relative residual",
                "" if column else head,
                bounds,
                cmap=style.DIVERGING,
                level=0.0,
                color=style.BLUE,
                linewidth=1.0,
            )
    return figure


def _where_known(field: xr.DataArray) -> xr.DataArray:
    """A field that is shown by cuts, without the margins that would be cuts of nothing."""
    if len(style.cuts(field)) > 1 and np.isfinite(field.values).any():
        for d in field.dims:
            field = field.dropna(d, how="all")
    return field


def history_figure(solution: Solution, truth: xr.Dataset | None = None) -> Figure:
    """Losses over time on a log axis, and the path of each scalar unknown to its estimate."""
    history = solution.history
    paths = [str(n) for n in history.data_vars if n not in HISTORY and history[n].dtype.kind in "fiu"]
    paths = paths[:_MOST_PATHS]
    figure = style.new_figure(6.4, 3.2 + 1.7 * len(paths))
    axes = figure.subplots(
        1 + len(paths), 1, sharex=True, squeeze=False, height_ratios=[3.0] + [1.7] * len(paths)
    )[:, 0]
    x = np.arange(history.sizes["step"], dtype=float)
    timed = "seconds" in history and np.isfinite(history["seconds"].values).all()
    x = history["seconds"].values.astype(float) if timed else x
    marker = "." if x.size < 30 else ""
    for name, colour in _LOSSES.items():
        values = history[name].values.astype(float) if name in history else np.zeros(1)
        positive = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        if np.isfinite(positive).any():
            width = 1.8 if name == "loss" else 1.1
            axes[0].plot(x, positive, color=colour, linewidth=width, marker=marker, label=name)
            axes[0].set_yscale("log")
    axes[0].set_ylabel("loss")
    axes[0].set_title(f"Loss: {style.text(solution.status.name)}", pad=14)
    if axes[0].lines:
        axes[0].legend()
    for ax, name in zip(axes[1:], paths, strict=True):
        _draw_path(ax, solution, name, x, truth)
    _mark_stages(axes, history, x)
    axes[-1].set_xlabel("seconds" if timed else "step")
    return figure


def _draw_path(ax: Axes, solution: Solution, name: str, x: np.ndarray, truth: xr.Dataset | None) -> None:
    """One scalar unknown on its way, its estimate with the 95 % interval, and the truth where known."""
    marker = "." if x.size < 30 else ""
    ax.plot(x, solution.history[name].values, color=style.BLUE, linewidth=1.4, marker=marker, label="path")
    estimate = solution.estimates.get(name)
    if estimate is not None and np.isfinite(estimate.value):
        if estimate.sd is not None and np.isfinite(estimate.sd):
            ax.axhspan(
                *estimate.interval(0.95), color=style.BLUE, alpha=0.15, linewidth=0, label="95 % interval"
            )
        ax.set_title(style.text(str(estimate)))
    if truth is not None and name in truth and truth[name].size == 1:
        value = float(truth[name].values.item())
        ax.axhline(value, color="black", linewidth=1.0, linestyle="--", label="true")
    ax.set_ylabel(style.label(name, estimate.unit if estimate else ""))
    ax.legend(ncols=3)


def _mark_stages(axes: np.ndarray, history: xr.Dataset, x: np.ndarray) -> None:
    """A dotted line where the method changes, with the name of each stage above the first panel."""
    if "stage" not in history:
        return
    stages = history["stage"].values.astype(str)
    starts = [0, *(np.flatnonzero(stages[1:] != stages[:-1]) + 1)]
    for i in starts:
        for ax in axes[: None if i else 0]:
            ax.axvline(x[i], color=style.GREY, linewidth=0.8, linestyle=":")
        if len(starts) <= _MOST_STAGES and stages[i]:
            place = {"xy": (x[i], 1.0), "xycoords": axes[0].get_xaxis_transform()}
            axes[0].annotate(
                style.text(str(stages[i])), **place, xytext=(2, 2), textcoords="offset points", fontsize=7.5
            )
