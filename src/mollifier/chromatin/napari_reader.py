"""A reader of ``result.nc`` for napari: maps as image layers over the nucleus, domains as points.

napari finds it by ``napari.yaml`` (npe2); napari itself is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mollifier.chromatin.result import RESULT, NucleusResult
from mollifier.reporting import style

# Group and name of each map, its colours, and whether the layer is shown at first.
_MAPS = (
    ("fields", "signal", "gray", True),
    ("fields", "phi_h", "magma", False),
    ("fields", "phi_e", "viridis", False),
    ("rate", "lam_sd", "cividis", False),
    ("rate", "identifiability", "cividis", False),
    ("rate", "lam", "viridis", True),
)

Layer = tuple[Any, dict[str, Any], str]


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Layer]] | None:
    """The reader of one or more results; None for other files."""
    return read_layers if all(Path(p).name == RESULT for p in _paths(path)) else None


def read_layers(path: str | Sequence[str]) -> list[Layer]:
    """Layers of one or more results: data, options and kind of each, axes (t,) y, x and lengths in um.

    An image whose pixels are scaled in um lies under its maps: napari puts the centre of its first pixel at
    0. Localisations keep their positions. Raises `OSError` if a file is damaged.
    """
    return [layer for p in _paths(path) for layer in _layers(NucleusResult.load(Path(p).parent)[0])]


def _paths(path: str | Sequence[str]) -> list[str]:
    return [path] if isinstance(path, str | Path) else list(path)


def _layers(result: NucleusResult) -> list[Layer]:
    label = f"{result.field} {result.name}".strip()
    if result.fields is None:
        return []
    pixel = float(np.diff(result.fields["x"].values[:2])[0])
    # Pixels of an image begin at 0 with an edge, in napari with a centre.
    shift = 0.0 if "kernel_width" in result.fields.attrs else pixel / 2
    layers: list[Layer] = []
    for group, name, colours, shown in _MAPS:
        part: xr.Dataset | None = getattr(result, group)
        if part is not None and name in part:
            field = part[name].transpose(..., "y", "x")
            layers.append(_image(field, shift, f"{label}: {name}", colours, shown))
    d = result.domains
    if len(d):
        place = (d[["y", "x"]].to_numpy(dtype=float) - shift) / 1e3
        kept = {c: d[c].to_numpy() for c in d}
        options = {"size": 2 * d["radius"].to_numpy(dtype=float) / 1e3, "features": kept, "opacity": 0.4}
        layers.append((place, {"name": f"{label}: domains", "visible": False, **options}, "points"))
    return layers


def _image(field: xr.DataArray, shift: float, name: str, colours: str, shown: bool) -> Layer:
    steps, begins = [], []
    for d in map(str, field.dims):
        values, unit = field[d].values.astype(float), 1e3 if d in "xy" else 1.0
        steps.append(float(values[1] - values[0]) / unit if values.size > 1 else 1.0)
        begins.append((float(values[0]) - (shift if d in "xy" else 0.0)) / unit)
    options = {
        "name": name, "scale": steps, "translate": begins, "colormap": colours, "visible": shown,
        "contrast_limits": list(style.limits(field, spare=0.005)), "blending": "translucent",
    }  # fmt: skip
    return field.values, options, "image"
