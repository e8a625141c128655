"""Observations in a few lines for a person, and as a digest for provenance."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from mollifier.data.building import POINT
from mollifier.data.errorbars import trusted
from mollifier.errors import DataError

if TYPE_CHECKING:
    from mollifier.data.labelled import Labelled
    from mollifier.data.observations import Observations


def summary(obs: Observations) -> str:
    """Variables, counts, missing values, ranges, units and noise, a line each."""
    sizes = {str(d): n for d, n in obs.dataset.sizes.items()}
    if obs.gridded:
        shape = " x ".join(str(sizes[c]) for c in obs.coordinates)
        place = f"on a grid of {shape} ({', '.join(obs.coordinates)})"
        place += "".join(f", {sizes[r]} repeats ({r})" for r in obs.replicates)
    else:
        place = f"at {sizes[POINT]:,} scattered points ({', '.join(obs.coordinates)})"
    lines = [f"Observations of {', '.join(obs.variables)} {place}"]
    bounds, units, periodic = obs.bounds, obs.units, obs.periodic
    wide = max(len(n) for n in bounds)
    for name, (lo, hi) in bounds.items():
        line = f"  {name:<{wide}}  {lo:.4g} to {hi:.4g} {units.get(name, '')}".rstrip()
        if name in periodic:
            line += f", period {periodic[name]:.4g}"
        if name in obs.variables:
            array = obs.dataset[name]
            missing = int(array.isnull().sum())
            line += f"; {array.size - missing:,} values" + (f", {missing:,} missing" if missing else "")
            line += f"; {_noise(obs, name)}"
        lines.append(line)
    if "selected" in obs.dataset.attrs:
        lines.append(f"  selected: {obs.dataset.attrs['selected']}")
    return "\n".join(lines)


def _noise(obs: Observations, variable: str) -> str:
    try:
        fraction = obs.noise_sd(variable) / (obs.rms(variable) or 1.0)
    except DataError:
        return "noise not given, too few values to estimate it"
    text = f"noise {100 * fraction:.2g} % of rms ({obs.noise_source(variable)})"
    sure = int((trusted(obs.dataset, variable) & obs.dataset[variable].notnull().values).sum())
    return text + (f", {sure:,} values trusted" if sure else "")


def bounds(obs: Labelled) -> dict[str, tuple[float, float]]:
    """Coordinate or variable -> least and greatest value over the finite data; coordinates first."""
    result: dict[str, tuple[float, float]] = {}
    for c in obs.coordinates:
        seen = np.zeros(obs.dataset[c].size, dtype=bool)
        for v in obs.variables:
            array = obs.dataset[v]
            if obs.dataset[c].dims[0] in array.dims:
                other = [d for d in array.dims if d != obs.dataset[c].dims[0]]
                seen |= array.notnull().any(other).values
        x = obs.dataset[c].values[seen]
        result[c] = (float(x.min()), float(x.max()))
    for v in obs.variables:
        values = obs.dataset[v].values
        finite = values[np.isfinite(values)]
        result[v] = (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)
    return result


def digest(dataset: xr.Dataset) -> str:
    """SHA-256 over names in alphabetical order, dimensions, and values as little-endian float64."""
    h = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        array = dataset.variables[name]
        h.update(f"{name}|{array.dims}|{array.shape}|".encode())
        values = array.values
        if values.dtype.kind in "fiub":
            values = np.asarray(values, dtype="<f8") + 0.0
            h.update(np.where(np.isnan(values), np.nan, values).tobytes())
        else:
            h.update("\0".join(map(str, values.ravel())).encode())
    return h.hexdigest()
