"""What a user says about noise, to standard errors kept beside the values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mollifier.data.building import real_array
from mollifier.errors import DataError, did_you_mean

Noise: TypeAlias = "float | Mapping[str, float | str | ArrayLike | xr.DataArray] | None"


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _per_variable(raw: xr.Dataset, noise: Noise, variables: list[str] | None) -> dict[str, Any]:
    known = [str(v) for v in (variables if variables is not None else raw.data_vars)]
    if noise is None:
        return {}
    if isinstance(noise, Mapping):
        for name in noise:
            if name not in known:
                raise DataError(
                    f"noise names '{name}', which is not a variable.{did_you_mean(str(name), known)}"
                )
        return {str(n): v for n, v in noise.items() if v is not None}
    if _number(noise):
        return dict.fromkeys(known, noise)
    raise DataError(
        f"noise was given a {type(noise).__name__}; a fraction of rms such as 0.02, or a mapping from "
        "variable to a "
        "fraction, an array of standard errors or the name of a variable, was wanted."
    )


def attach(
    raw: xr.Dataset, noise: Noise, variables: list[str] | None
) -> tuple[xr.Dataset, dict[str, float], dict[str, str]]:
    """The dataset with arrays of standard errors added, fractions of rms by variable, names of errors by
    variable.
    """
    fractions: dict[str, float] = {}
    named: dict[str, str] = {}
    for v, array in raw.data_vars.items():
        error = array.attrs.get("standard_error")
        if isinstance(error, str):
            named[str(v)] = error
    for v, given in _per_variable(raw, noise, variables).items():
        named.pop(v, None)
        if isinstance(given, str):
            named[v] = given
        elif _number(given):
            if not (np.isfinite(given) and given >= 0):
                raise DataError(
                    f"Noise of '{v}' was given as {given}; a fraction of rms of 0 or more was wanted, such "
                    "as 0.02."
                )
            fractions[v] = float(given)
        else:
            if v not in raw.variables:
                raise DataError(
                    f"Variable '{v}' is not in the data.{did_you_mean(v, map(str, raw.data_vars))}"
                )
            array = given if isinstance(given, xr.DataArray) else real_array(f"noise of {v}", given)
            if not isinstance(array, xr.DataArray) and array.shape != raw[v].shape:
                raise DataError(
                    f"Noise of '{v}' has shape {array.shape}; the shape of its values, {raw[v].shape}, was "
                    "wanted "
                    "(standard errors in the variable's units), or one number (a fraction of rms)."
                )
            named[v] = f"{v}_standard_error"
            raw = raw.assign({named[v]: array if isinstance(array, xr.DataArray) else (raw[v].dims, array)})
    for v, name in named.items():
        if name not in raw.variables:
            hint = did_you_mean(name, map(str, raw.data_vars))
            raise DataError(f"Standard error '{name}' of '{v}' is not in the data.{hint}")
    return raw, fractions, named


def settle(
    dataset: xr.Dataset, variables: tuple[str, ...], fractions: Mapping[str, float], named: Mapping[str, str]
) -> xr.Dataset:
    """Write the ``standard_error`` attribute of each variable: a number in its units, or a name; checked."""
    for v in variables:
        array = dataset[v]
        if v in fractions:
            array.attrs["standard_error"] = fractions[v] * float(np.sqrt(np.nanmean(array.values**2)))
        elif v in named:
            array.attrs["standard_error"] = named[v]
            sd = (
                dataset[named[v]]
                .broadcast_like(array)
                .transpose(*array.dims)
                .values[np.isfinite(array.values)]
            )
            bad = int((~np.isfinite(sd)).sum()), int((sd < 0).sum())
            if any(bad):
                raise DataError(
                    f"Standard error '{named[v]}' has {bad[0]} values that are not finite and {bad[1]} "
                    "below zero "
                    f"where '{v}' is known; mask '{v}' there (NaN) or give the errors."
                )
        elif "standard_error" in array.attrs:
            given = array.attrs["standard_error"]
            if not (_number(given) and np.isfinite(given) and given >= 0):
                raise DataError(
                    f"Attribute standard_error of '{v}' is {given!r}; a number of 0 or more was wanted."
                )
            array.attrs["standard_error"] = float(given)
    return dataset


def with_noise(dataset: xr.Dataset, amounts: Mapping[str, tuple[float, float]], seed: int) -> xr.Dataset:
    """Gaussian noise added to variables, each with its (fraction, rms); standard errors grow in
    quadrature.
    """
    rng = np.random.default_rng(seed)
    dataset = dataset.copy()
    for v, (fraction, rms) in amounts.items():
        if not (np.isfinite(fraction) and fraction >= 0):
            raise DataError(
                f"add_noise was given {fraction} for '{v}'; a fraction of rms of 0 or more was wanted."
            )
        sigma = float(fraction) * rms
        old = dataset[v]
        dataset[v] = old + sigma * rng.standard_normal(old.shape)
        dataset[v].attrs.update(old.attrs)
        error = old.attrs.get("standard_error")
        if isinstance(error, str):
            dataset[error] = np.hypot(dataset[error], sigma)
        elif error is not None:
            dataset[v].attrs["standard_error"] = float(np.hypot(error, sigma))
    return dataset
