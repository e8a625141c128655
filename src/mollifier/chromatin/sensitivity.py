"""How a map of rates depends on the parameters of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.chromatin.infer import infer_rate
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.rate_map import RateMap
from mollifier.errors import ConfigurationError, did_you_mean

Array = NDArray[np.float64]
# Relative change of a parameter.
_CHANGE = 0.2


def sensitivity(
    fields: xr.Dataset,
    model: ChromatinModel,
    found: RateMap,
    change: float = _CHANGE,
    parameters: Sequence[str] | None = None,
) -> xr.Dataset:
    """How the map depends on the parameters of the model: solved again with each one lower and higher.

    Parameters
    ----------
    fields, model
        As given to `infer_rate`.
    found
        Its result.
    change
        Relative change of each parameter.
    parameters
        Names of the parameters to change; all that are not zero by default.

    Returns
    -------
    Dataset
        Over ``parameter`` and ``sign`` (-1, 1): ``level``, the change of the median of lam, and ``pattern``,
        the rms change of lam, both relative to the median of lam.

    Raises
    ------
    ConfigurationError
        If the change is not between 0 and 1, or there is no such parameter.
    """
    if not 0 < change < 1:
        raise ConfigurationError(f"change={change} was given; a number between 0 and 1 was expected.")
    base = found.dataset["lam"]
    over = tuple(str(d) for d in base.dims)
    middle = float(base.median())
    known = _parameters(model)
    names = list(known) if parameters is None else list(parameters)
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"The model has no parameter '{name}' to change.{did_you_mean(name, known)}"
            )
    table = np.zeros((2, len(names), 2))
    for i, name in enumerate(names):
        for k, sign in enumerate((-1, 1)):
            other = _with(model, name, known[name] * (1 + sign * change))
            lam = infer_rate(fields, other, over, found.prior).dataset["lam"]
            table[0, i, k] = (float(lam.median()) - middle) / middle
            table[1, i, k] = float(np.sqrt(((lam - base) ** 2).mean())) / middle
    coords = {"parameter": names, "sign": [-1, 1]}
    dims = ("parameter", "sign")
    attrs = {"change": change}
    return xr.Dataset({"level": (dims, table[0]), "pattern": (dims, table[1])}, coords, attrs)


def _parameters(model: ChromatinModel) -> dict[str, float]:
    """Those that are not zero, nor without effect because another one is."""
    energy = {f.name: float(getattr(model.energy, f.name)) for f in dataclasses.fields(model.energy)}
    if not energy["adhesion"]:
        del energy["reach"]
    both = {**energy, "diffusion": model.diffusion, "acetylation": model.acetylation}
    return {name: value for name, value in both.items() if value}


def _with(model: ChromatinModel, name: str, value: float) -> ChromatinModel:
    if hasattr(model.energy, name):
        return replace(model, energy=replace(model.energy, **{name: value}))
    return replace(model, **{name: value})
