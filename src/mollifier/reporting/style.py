"""One look for every figure: colours, labels, curves, maps, and the slices of what has more dimensions."""

from __future__ import annotations

import io
import itertools
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backend_bases import get_registered_canvas_class
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mollifier.equations.names import time_coordinate
from mollifier.io.files import ensure_folder, write_atomically
from mollifier.mollify.arrays import Array, Index

# Okabe and Ito's palette, distinct under every common colour blindness.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
PURPLE = "#CC79A7"
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"

_MISSING = "0.88"
# What formats call the date that they hold.
_DATES = {"svg": "Date", "pdf": "CreationDate"}
_MOST_NODES = 600  # along one side of a map: more than its pixels
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Cut:
    """One picture of a field of any dimension: which coordinates are held at which node."""

    held: dict[str, int]

    def of(self, field: xr.DataArray) -> xr.DataArray:
        """The field at the held nodes."""
        return field.isel({d: i for d, i in self.held.items() if d in field.dims})

    def title(self, field: xr.DataArray) -> str:
        """Where it is cut, as in "t = 0.5 h"; empty when nothing is held."""
        held = [(d, field[d].values[i]) for d, i in self.held.items() if d in field.dims]
        units = {d: text(unit(field[d])) for d, _ in held}
        return ", ".join(f"{text(d)} = {v:.4g} {units[d]}".rstrip() for d, v in held)


@contextmanager
def look() -> Iterator[None]:
    """A context in which figures are made and saved; matplotlib's settings are restored after it."""
    with as_file(files("mollifier.reporting") / "mollifier.mplstyle") as path, mpl.rc_context(fname=path):
        yield


class Picture(Figure):
    """A figure that no global state knows of, and that shows in a notebook."""

    def _repr_png_(self) -> bytes:
        with look(), io.BytesIO() as buffer:
            self.savefig(buffer, format="png", dpi=110)
            return buffer.getvalue()


def new_figure(width: float, height: float) -> Picture:
    """An empty figure, in inches."""
    figure = Picture(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save_all(figures: Mapping[str, Callable[[], Figure]], folder: str | os.PathLike[str]) -> list[Path]:
    """Make figures in the common look and save each.

    They are by the name of their file, which ends in .png, .svg or .pdf; the folder is made if need be.
    Returns the files written. Raises `OutputError` if the folder cannot be written to.
    """
    target = ensure_folder(folder)
    with look():
        return [save(make(), target / name) for name, make in figures.items()]


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG, SVG or PDF, by the suffix; whole or not at all, and the same every time."""
    return write_atomically(path, lambda p: draw(figure, path.suffix.removeprefix("."), p))


def draw(figure: Figure, kind: str, to: Any) -> None:
    """Draw a figure once, as "png", "svg" or "pdf", to a path or a buffer.

    The method ``savefig`` of figures draws all for the layout, and again for the file.
    """
    figure.set_dpi(mpl.rcParams["savefig.dpi"])
    canvas = get_registered_canvas_class(kind)(figure)
    getattr(canvas, f"print_{kind}")(to, metadata={_DATES[kind]: None} if kind in _DATES else None)


def text(raw: str) -> str:
    """Text that matplotlib shows unchanged, but for control characters.

    >>> text("5 $/m"), text("a\\x07")
    ('5 \\\\$/m', 'a\ufffd')
    """
    return _CONTROL.sub("\ufffd", raw).replace("$", r"\$")


def label(name: str, unit: str = "") -> str:
    """An axis label with its unit.

    >>> label("x", "µm"), label("k")
    ('x (µm)', 'k')
    """
    return text(f"{name} ({unit})" if unit else name)


def unit(array: xr.DataArray | None) -> str:
    """The attribute ``units``; empty where there is none."""
    return "" if array is None else str(array.attrs.get("units", ""))


def field_label(field: xr.DataArray, name: str | None = None) -> str:
    """The label of a field or a coordinate, from its name and attribute ``units``."""
    return label(str(field.name) if name is None else name, unit(field))


def cuts(field: xr.DataArray, most: int = 4) -> list[Cut]:
    """The pictures, of one or two dimensions each, that show a field.

    Up to two dimensions: one, of the whole. With time: up to ``most`` times, evenly spaced, the last
    included. Three coordinates without time: the three planes through the middle. Whatever is left is held
    at its middle.

    >>> field = xr.DataArray(np.zeros((4, 5, 9)), dims=("x", "y", "t"))
    >>> [cut.held for cut in cuts(field)]
    [{'t': 0}, {'t': 3}, {'t': 5}, {'t': 8}]
    """
    dims = [str(d) for d in field.dims if field.sizes[d] > 1]
    single = {str(d): 0 for d in field.dims if field.sizes[d] <= 1}
    if len(dims) <= 2:
        return [Cut(single)]
    middle = {d: field.sizes[d] // 2 for d in dims}
    time = time_coordinate(dims)
    if not time:
        pairs = list(itertools.combinations(dims[:3], 2))
        return [Cut(single | {d: middle[d] for d in dims if d not in pair}) for pair in pairs]
    space = [d for d in dims if d != time]
    held = single | {d: middle[d] for d in space[2:]}
    last = field.sizes[time] - 1
    steps = sorted({math.floor(last * i / max(most - 1, 1) + 0.5) for i in range(most)})
    return [Cut(held | {time: i}) for i in steps]


def limits(*arrays: Any, symmetric: bool = False, spare: float = 0.0) -> tuple[float, float]:
    """Limits of the finite values, or (-m, m) about zero; ``spare`` cuts that share of the tails.

    >>> limits(np.array([0.0, np.nan, 2.0])), limits(np.array([-3.0, 1.0]), symmetric=True)
    ((0.0, 2.0), (-3.0, 3.0))
    """
    values = np.concatenate([np.ravel(np.asarray(a, dtype=float)) for a in arrays] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    if not values.size:
        return (-1.0, 1.0) if symmetric else (0.0, 1.0)
    if symmetric:
        bound = float(np.quantile(np.abs(values), 1 - spare)) or float(np.abs(values).max()) or 1.0
        return -bound, bound
    low, high = (float(q) for q in np.quantile(values, [spare, 1 - spare]))
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        margin = 0.05 * abs(low) or 0.5
        return low - margin, high + margin
    return low, high


def map_dims(field: xr.DataArray) -> tuple[str, str]:
    """Horizontal and vertical coordinate of a two-dimensional field: time, or else the first, lies flat."""
    first, second = map(str, field.dims)
    return (second, first) if second == time_coordinate((first, second)) else (first, second)


def draw_map(
    ax: Axes, field: xr.DataArray, name: str, bounds: tuple[float, float], *, cmap: str = SEQUENTIAL
) -> None:
    """A two-dimensional field as a coloured map with its colour bar; missing values are grey."""
    steps = {d: slice(None, None, math.ceil(n / _MOST_NODES)) for d, n in field.sizes.items()}
    thin = field.isel(steps)
    h, v = map_dims(thin)
    values = thin.transpose(v, h).values.astype(float)
    masked = np.ma.masked_invalid(values)
    ax.set_facecolor(_MISSING)
    place = thin[h].values, thin[v].values
    # As pixels in a vector format too, which would hold a path for every node.
    mesh = ax.pcolormesh(
        *place, masked, shading="nearest", cmap=cmap, vmin=bounds[0], vmax=bounds[1], rasterized=True
    )
    ax.set_xlabel(field_label(thin[h]))
    ax.set_ylabel(field_label(thin[v]))
    finite = values[np.isfinite(values)]
    below = bool(finite.size and finite.min() < bounds[0])
    above = bool(finite.size and finite.max() > bounds[1])
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    figure = ax.get_figure()
    if figure is not None:
        bar = figure.colorbar(mesh, ax=ax, extend=extend[below, above], shrink=0.9)
        bar.set_label(field_label(field, name))
        bar.outline.set_visible(False)
    if _same_scale(thin, h, v):
        ax.set_aspect("equal")


def _same_scale(field: xr.DataArray, h: str, v: str) -> bool:
    """Whether both axes are lengths in one unit, of extents that a square picture can hold."""
    if time_coordinate((h, v)) or field[h].attrs.get("units") != field[v].attrs.get("units"):
        return False
    ratio = np.ptp(field[h].values) / np.ptp(field[v].values)
    return bool(0.3 < ratio < 3.0)


def draw_curve(ax: Axes, field: xr.DataArray, name: str, **options: Any) -> None:
    """A field of one dimension as a curve, or a single number as a point."""
    if field.ndim == 0:
        ax.plot([0.0], [float(field)], "o", **options)
        ax.set_xticks([])
    else:
        coordinate = field[field.dims[0]]
        ax.plot(coordinate.values, field.values, **options)
        ax.set_xlabel(field_label(coordinate))
    ax.set_ylabel(field_label(field, name))


def draw_band(ax: Axes, line: xr.DataArray, sd: xr.DataArray, colour: str) -> tuple[Array, Array]:
    """The 95 % interval about a curve of one dimension, within its bounds; its ends, shape of the curve."""
    half = 1.96 * np.where(np.isfinite(sd.values), sd.values, np.nan)
    bounds = line.attrs.get("valid_min", -np.inf), line.attrs.get("valid_max", np.inf)
    ends = np.clip(line.values - half, *bounds), np.clip(line.values + half, *bounds)
    ax.fill_between(line[line.dims[0]].values, *ends, color=colour, alpha=0.2, linewidth=0)
    return ends


def draw_cut(
    ax: Axes,
    field: xr.DataArray,
    cut: Cut,
    name: str,
    head: str = "",
    bounds: tuple[float, float] = (0.0, 1.0),
    *,
    cmap: str = SEQUENTIAL,
    level: float | None = None,
    **options: Any,
) -> None:
    """One picture of a field, a map or a curve, with where it is cut in its title.

    ``name`` is for the axis or the colour bar, ``head`` the first line of the title. ``bounds`` and ``cmap``
    are those of a map's colours; ``level`` is the height of a thin line beside a curve, which is drawn with
    ``options``.
    """
    part = cut.of(field)
    if part.ndim < 2:
        draw_curve(ax, part, name, **options)
        if level is not None:
            ax.axhline(level, color=GREY, linewidth=0.6)
    else:
        draw_map(ax, part, name, bounds, cmap=cmap)
    ax.set_title("\n".join(t for t in (head, cut.title(field)) if t))


def log_axis(ax: Axes, which: str) -> None:
    """A log scale along "x" or "y", with plain numbers at 1, 2 and 5."""
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def some(n: int, most: int) -> Index:
    """Row numbers of at most ``most`` of ``n`` points, drawn without order, always the same ones."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, most, replace=False))
