"""What `check` found, as files: numbers as JSON, and a map of each unknown field's posterior ratio."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from mollifier.diagnostics.check.findings import Check
from mollifier.io.files import ensure_folder, write_json
from mollifier.reporting import style


def save_check(found: Check, folder: str | os.PathLike[str]) -> list[Path]:
    """Write ``check.json`` and, for every unknown field, ``posterior_ratio_<name>.png``.

    Parameters and errors as of `mollifier.reporting.style.save_all`.
    """
    written = write_json(ensure_folder(folder) / "check.json", found.to_dict())
    figures = {f"posterior_ratio_{n}.png": partial(ratio_figure, ratio) for n, ratio in found.maps.items()}
    return [written, *style.save_all(figures, folder)]


def ratio_figure(ratio: xr.DataArray) -> Figure:
    """Posterior over prior standard deviation of an unknown field: near 0 the data decide."""
    cuts = style.cuts(ratio)
    figure = style.new_figure(4.0 * len(cuts), 3.2)
    axes = figure.subplots(1, len(cuts), squeeze=False)[0]
    head = f"{style.text(str(ratio.name))}: posterior over prior"
    for ax, cut in zip(axes, cuts, strict=True):
        style.draw_cut(ax, ratio, cut, "posterior over prior", head, level=0.5)
        if cut.of(ratio).ndim < 2:
            ax.set_ylim(0.0, 1.05)
    return figure
