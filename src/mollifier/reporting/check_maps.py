"""What `check` found, written down: numbers as JSON, and maps of what the data tell of unknown fields."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from mollifier.diagnostics.check.findings import Check
from mollifier.io.files import ensure_folder, write_json
from mollifier.reporting import style


def save_check(found: Check, folder: str | os.PathLike[str]) -> list[Path]:
    """Write ``check.json`` and, for every unknown field, ``told_<name>.png``.

    Parameters
    ----------
    found
        What to write.
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
    paths = [write_json(target / "check.json", found.to_dict())]
    with style.look():
        for name, ratio in found.maps.items():
            paths.append(style.save(told_figure(ratio), target / f"told_{name}.png"))
    return paths


def told_figure(ratio: xr.DataArray) -> Figure:
    """Posterior over prior standard deviation of an unknown field: 0 told by the data, 1 not told."""
    pictures = style.cuts(ratio)
    figure = style.new_figure(4.0 * len(pictures), 3.2)
    axes = figure.subplots(1, len(pictures), squeeze=False)[0]
    title = f"{style.text(str(ratio.name))}: posterior over prior"
    for ax, cut in zip(axes, pictures, strict=True):
        part = cut.of(ratio)
        if part.ndim < 2:
            style.draw_curve(ax, part, "posterior over prior")
            ax.axhline(0.5, color="0.6", linewidth=0.8)
            ax.set_ylim(0.0, 1.05)
        else:
            style.draw_map(ax, part, "posterior over prior", (0.0, 1.0))
        ax.set_title("\n".join(t for t in (title, cut.title(ratio)) if t))
    return figure
