"""Simulations kept between runs: netCDF files with a checksum in the user's cache folder.

A file serves only if its checksum and its parameters agree; anything else is simulated again. A folder that
cannot be written to costs the time of the simulation, never an error.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import xarray as xr

from mollifier.io.files import OutputError, jsonable, read_groups, write_groups

_GROUP = "clean"


def cache_folder() -> Path:
    """Where simulations are kept: MOLLIFIER_CACHE, else ``mollifier`` in XDG_CACHE_HOME or ``~/.cache``."""
    own = os.environ.get("MOLLIFIER_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path("~/.cache").expanduser()) / "mollifier"


def simulated(
    name: str, simulate: Callable[..., xr.Dataset], version: int = 1, **parameters: Any
) -> xr.Dataset:
    """What ``simulate(**parameters)`` returns, from the cache where it was simulated before.

    Parameters
    ----------
    name
        Of the case; begins the name of the file.
    simulate
        Returns a dataset of float64 arrays.
    version
        To be raised whenever the simulation changes, so that old files no longer serve.
    parameters
        Numbers and text that fix the result.

    Examples
    --------
    >>> import tempfile
    >>> from unittest.mock import patch
    >>> def line(nodes):
    ...     print("simulating")
    ...     return xr.Dataset({"u": ("x", [0.5] * nodes)})
    >>> with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, MOLLIFIER_CACHE=folder):
    ...     simulated("line", line, nodes=3).sizes["x"], simulated("line", line, nodes=3).sizes["x"]
    simulating
    (3, 3)
    """
    key = json.dumps(jsonable({"name": name, "version": version, "parameters": parameters}), sort_keys=True)
    path = cache_folder() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.nc"
    kept = _read(path, key)
    if kept is not None:
        return kept
    fresh = simulate(**parameters)
    with suppress(OutputError, OSError):
        write_groups(path, {"key": key}, {_GROUP: fresh})
    return fresh


def _read(path: Path, key: str) -> xr.Dataset | None:
    """The dataset of a file that can be trusted, or None."""
    # A damaged HDF5 file raises errors of many kinds, and each of them means: simulate again.
    try:
        if not path.is_file() or not path.with_suffix(".sha256").is_file():
            return None
        attrs, groups = read_groups(path)
        return groups[_GROUP] if attrs.get("key") == key else None
    except Exception:
        return None
