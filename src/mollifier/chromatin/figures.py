"""Figures of a nucleus and of a study."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from mollifier.chromatin.comparison import QUANTITIES, unit_of
from mollifier.chromatin.fractions import NO_BACKGROUND
from mollifier.chromatin.infer import KNOWN
from mollifier.chromatin.rasters import edge_distance, last_of
from mollifier.chromatin.result import NucleusResult
from mollifier.reporting import style

_SIDE = 3.1
_PHASES = {"phi_n": "nucleoplasm", "phi_e": "euchromatin", "phi_h": "heterochromatin"}
_MOST_TIMES = 3
_REPLICATES = (style.BLUE, style.ORANGE, style.GREEN, style.PURPLE, style.RED, style.GREY)


def nucleus_figures(result: NucleusResult) -> dict[str, Callable[[], Figure]]:
    """Name -> function that draws it, of every figure that a nucleus has."""
    drawn = {"fields": fields_figure, "levels": levels_figure} if result.fields is not None else {}
    drawn |= {"rate": rate_figure, "profile": profile_figure} if result.rate is not None else {}
    return {name: partial(draw, result) for name, draw in drawn.items()}


def study_figures(cells: pd.DataFrame) -> dict[str, Callable[[], Figure]]:
    """Name -> function that draws it, of every figure that a study has; none without groups."""
    named = cells[cells["group"] != ""]
    return {"groups": partial(groups_figure, named)} if len(named) else {}


def in_micrometres(field: xr.DataArray) -> xr.DataArray:
    """A field with x and y converted from nm to um."""
    place = {c: (c, field[c].values / 1e3, {"units": "um"}) for c in ("x", "y")}
    return field.assign_coords(place)


def _draw_map(
    ax: Axes, field: xr.DataArray, name: str, bounds: tuple[float, float], cmap: str = style.SEQUENTIAL
) -> None:
    """A map of a field over x and y in nm, with axes in um and a scale bar."""
    style.draw_map(ax, in_micrometres(field), name, bounds, cmap=cmap)
    length = scale_length(float(np.ptp(field["x"].values)) / 1e3)
    (left, right), (base, top) = ax.get_xlim(), ax.get_ylim()
    left, height = left + 0.04 * (right - left), base + 0.05 * (top - base)
    look: Any = {"color": "black", "path_effects": [withStroke(linewidth=3, foreground="white")]}
    ax.plot([left, left + length], [height] * 2, lw=2, solid_capstyle="butt", **look)
    said = f"{length:g} um" if length >= 1 else f"{1e3 * length:g} nm"
    ax.annotate(said, (left, height), (0, 3), textcoords="offset points", fontsize=7, **look)


def scale_length(width: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that a quarter of the width holds.

    >>> scale_length(16.5), scale_length(2.1)
    (2.0, 0.5)
    """
    power = 10.0 ** np.floor(np.log10(width / 4))
    return float(max(m * power for m in (1, 2, 5) if m * power <= width / 4))


def fields_figure(result: NucleusResult) -> Figure:
    """The signal with outlines of domains, and the three volume fractions; the last frame of a time-lapse."""
    fields = result.fields
    assert fields is not None
    figure = style.new_figure(2 * _SIDE + 0.6, 2 * _SIDE - 0.6)
    axes = figure.subplots(2, 2)
    signal = last_of(fields["signal"])
    _draw_map(axes[0, 0], signal, _signal_name(fields), style.limits(signal, spare=0.005), "magma")
    _draw_domains(axes[0, 0], result)
    axes[0, 0].set_title("Signal, and domains")
    for ax, (name, phase) in zip(axes.flat[1:], _PHASES.items(), strict=True):
        _draw_map(ax, last_of(fields[name]), name, (0.0, 1.0))
        ax.set_title(f"Volume fraction of {phase}")
    return figure


def rate_figure(result: NucleusResult) -> Figure:
    """lam, its standard error and its identifiability; hatched where lam is not identified."""
    assert result.rate is not None
    inside = result.rate["mask"].astype(bool)
    rate = result.rate.where(inside, drop=True).transpose("x", "y", ...)
    lam = rate["lam"]
    cuts = style.cuts(lam, _MOST_TIMES)[:_MOST_TIMES] if "t" in lam.dims else [style.Cut({})]
    figure = style.new_figure(3 * _SIDE, (_SIDE - 0.5) * len(cuts))
    axes = figure.subplots(len(cuts), 3, squeeze=False)
    sure = rate["identifiability"] < KNOWN
    bounds = {
        "lam": style.limits(rate["lam"].where(sure) if bool(sure.any()) else rate["lam"], spare=0.01),
        "lam_sd": (0.0, style.limits(rate["lam_sd"], spare=0.05)[1]),
        "identifiability": (0.0, 1.0),
    }
    heads = {"lam": "Rate", "lam_sd": "Its error by noise", "identifiability": "Identifiability"}
    for row, cut in zip(axes, cuts, strict=True):
        for ax, (name, head) in zip(row, heads.items(), strict=True):
            _draw_map(
                ax, cut.of(rate[name]), name, bounds[name], style.SEQUENTIAL if name == "lam" else "cividis"
            )
            _hatch(ax, in_micrometres(cut.of(rate["identifiability"])))
            ax.set_title(", ".join(t for t in (head, cut.title(lam)) if t))
    return figure


def profile_figure(result: NucleusResult) -> Figure:
    """Rate against distance from the nuclear edge, and against time where it varies."""
    table: Any = result.profile
    times = list(table["t"].unique()) if "t" in table else [None]
    figure = style.new_figure(_SIDE * (3 if len(times) > 1 else 2), 2.6)
    axes = figure.subplots(1, 2 if len(times) > 1 else 1, squeeze=False)[0]
    shown = times if len(times) <= _MOST_TIMES else [times[0], times[len(times) // 2], times[-1]]
    for t, colour in zip(shown, (style.BLUE, style.ORANGE, style.GREEN), strict=False):
        part = table if t is None else table[table["t"] == t]
        place, rate, half = part["distance"] / 1e3, part["rate"], 1.96 * part["rate_sd"]
        label = "mean and spread of the map" if t is None else f"t = {t:.4g} s"
        axes[0].errorbar(place, rate, part["spread"], fmt="o-", ms=4, capsize=2, color=colour, label=label)
        if t is None:
            ends = np.maximum(rate - half, 0), rate + half
            area = {"color": colour, "alpha": 0.15, "linewidth": 0, "label": "95 % of one pixel"}
            axes[0].fill_between(place, *ends, **area)
    axes[0].set_xlabel("distance from the nuclear edge (um)")
    axes[0].set_ylabel("lam")
    axes[0].legend()
    if len(times) > 1:
        # Means over the identified pixels of all rings.
        weight = table["pixels"] * table["identified"]
        sums = table.assign(rate=table["rate"] * weight, weight=weight).groupby("t")[["rate", "weight"]].sum()
        axes[1].plot(sums.index, sums["rate"] / sums["weight"], "o-", ms=4, color=style.BLUE)
        axes[1].set_xlabel("t (s)")
        axes[1].set_ylabel("mean lam")
    return figure


def levels_figure(result: NucleusResult) -> Figure:
    """Histogram of the signal in the nucleus, with the levels of the phases."""
    fields = result.fields
    assert fields is not None
    values = fields["signal"].values
    values = values[np.isfinite(values)]
    figure = style.new_figure(2 * _SIDE, 2.3)
    ax = figure.subplots()
    colours = {"background": style.GREY, "euchromatin": style.GREEN, "heterochromatin": style.RED}
    levels = {n: fields.attrs[f"threshold_{n}"] for n in colours}
    levels = {n: level for n, level in levels.items() if level != NO_BACKGROUND}
    top = max(float(np.quantile(values, 0.999)), levels["heterochromatin"] * 1.05)
    ax.hist(values, bins=80, range=(min(float(values.min()), *levels.values()), top), color="0.75")
    for name, level in levels.items():
        ax.axvline(level, color=colours[name], label=f"{name} {level:.3g}")
    ax.set_xlabel(style.label(_signal_name(fields), fields["signal"].attrs.get("units", "")))
    ax.set_ylabel("pixels")
    ax.legend()
    return figure


def truth_figure(rate: xr.Dataset, truth: xr.DataArray) -> Figure:
    """A map of rates next to the true one, and a scatter plot of both."""
    figure = style.new_figure(3 * _SIDE, _SIDE - 0.3)
    axes = figure.subplots(1, 3)
    found, exact = (last_of(f).transpose("x", "y") for f in (rate["lam"], truth))
    sure = (last_of(rate["identifiability"]) < KNOWN).transpose("x", "y")
    bounds = style.limits(exact.where(found.notnull()))
    for ax, field, head in ((axes[0], exact.where(found.notnull()), "Truth"), (axes[1], found, "Found")):
        _draw_map(ax, field, "lam", bounds)
        ax.set_title(head)
    _hatch(axes[1], in_micrometres(last_of(rate["identifiability"]).transpose("x", "y")))
    for here, colour, label in ((sure, style.BLUE, "identified"), (~sure, style.GREY, "not identified")):
        a, b = (f.where(here).values.ravel() for f in (exact.where(found.notnull()), found))
        keep = np.isfinite(a) & np.isfinite(b)
        axes[2].plot(a[keep], b[keep], ".", ms=2, color=colour, label=label, rasterized=True)
    axes[2].plot(bounds, bounds, color="0.4", linewidth=0.8)
    axes[2].set_xlabel("true lam")
    axes[2].set_ylabel("lam found")
    axes[2].set_ylim(0, 2 * bounds[1])
    axes[2].legend()
    return figure


def groups_figure(cells: Any) -> Figure:
    """A dot for each cell, coloured by replicate, the mean of each replicate, and the mean of each group."""
    names = [q for q in QUANTITIES if q in cells and bool(np.isfinite(cells[q].to_numpy(dtype=float)).any())]
    groups = list(dict.fromkeys(cells["group"]))
    rows = max(-(-len(names) // 3), 1)
    figure = style.new_figure(3 * _SIDE, 2.3 * rows)
    axes = np.ravel(figure.subplots(rows, 3, squeeze=False))
    unit = unit_of(cells)
    replicates = [] if unit == "cell" else list(dict.fromkeys(cells[unit]))
    colours = {u: _REPLICATES[i % len(_REPLICATES)] for i, u in enumerate(replicates)}
    for ax, name in zip(axes, names, strict=False):
        known = cells[np.isfinite(cells[name].to_numpy(dtype=float))]
        for k, group in enumerate(groups):
            part = known[known["group"] == group]
            if len(part):
                _draw_group(ax, k, part[name], part[unit] if colours else None, colours)
        ax.set_xticks(range(len(groups)), [style.text(g) for g in groups])
        ax.set_xlim(-0.6, len(groups) - 0.4)
        ax.set_title(style.text(name))
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    return figure


def _draw_group(ax: Axes, k: int, values: Any, replicates: Any, colours: dict[Any, str]) -> None:
    """The cells of one group, and mean and standard error of its units: replicates, or else cells."""
    # Dots are spread along x so that none hides another.
    beside = k + (np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1))
    units: Any = values
    if replicates is None:
        ax.plot(beside, values, "o", ms=4, color=style.BLUE, alpha=0.7)
    else:
        units = values.groupby(replicates.to_numpy()).mean()
        for name, mean in units.items():
            own, colour = (replicates == name).to_numpy(), colours[name]
            ax.plot(beside[own], values[own], "o", ms=3, color=colour, alpha=0.5)
            ax.plot([beside[own].mean()], [mean], "D", ms=6, color=colour, mec="black", mew=0.6)
    sem = float(units.std(ddof=1)) / np.sqrt(len(units)) if len(units) > 1 else 0.0
    ax.errorbar([k + 0.35], [float(units.mean())], [sem], fmt="_", color="black", capsize=3)


def _signal_name(fields: xr.Dataset) -> str:
    return "density" if "kernel_width" in fields.attrs else "counts"


def _draw_domains(ax: Axes, result: NucleusResult) -> None:
    """Circles of the area of each domain inside, and a line at the mean thickness of the rim."""
    assert result.fields is not None
    inside = result.domains["place"] == "interior"
    places = result.domains.loc[inside, ["x", "y", "radius"]].to_numpy(dtype=float) / 1e3
    size = 2 * places[:, 2]
    circles = EllipseCollection(
        size, size, 0 * size, units="xy", offsets=places[:, :2], offset_transform=ax.transData,
        facecolors="none", edgecolors="white", linewidths=min(0.7, 15 / max(len(size), 1) ** 0.5),
    )  # fmt: skip
    ax.add_collection(circles)
    thickness = result.numbers.get("lamina_thickness", math.nan)
    if thickness > 0:
        depth = in_micrometres(edge_distance(last_of(result.fields["phi_h"]).transpose("x", "y").notnull()))
        line = {"levels": [thickness], "colors": style.ORANGE, "linewidths": 0.7}
        ax.contour(depth["x"].values, depth["y"].values, depth.values.T, **line)


def _hatch(ax: Axes, identifiability: xr.DataArray) -> None:
    """Hatch the pixels that are not identified."""
    values = identifiability.values.T
    doubt: Any = np.where(np.isfinite(values), values, 0.0)
    if (doubt >= KNOWN).any():
        place = identifiability["x"].values, identifiability["y"].values
        ax.contourf(*place, doubt, levels=[KNOWN, 1.01], colors="none", hatches=["////"])
