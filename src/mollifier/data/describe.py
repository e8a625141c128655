"""Ranges of a dataset, and its digest for provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import xarray as xr


def bounds(
    dataset: xr.Dataset, coordinates: Sequence[str], variables: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Coordinate or variable -> least and greatest value over the finite data; coordinates first."""
    result: dict[str, tuple[float, float]] = {}
    for c in coordinates:
        seen = np.zeros(dataset[c].size, dtype=bool)
        for v in variables:
            array = dataset[v]
            if dataset[c].dims[0] in array.dims:
                other = [d for d in array.dims if d != dataset[c].dims[0]]
                seen |= array.notnull().any(other).values
        x = dataset[c].values[seen]
        result[c] = (float(x.min()), float(x.max()))
    for v in variables:
        values = dataset[v].values
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
