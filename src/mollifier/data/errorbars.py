"""Standard errors of measured values, from what a user states about the noise.

Attributes of a variable hold them: ``standard_error`` is a number in its units or the name of an array,
``trusted`` names an array that is 1 where samples are taken as measured, and ``noise_source`` is "estimated"
where the array of standard errors is an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mollifier.data import building
from mollifier.data.building import POINT
from mollifier.data.noise import estimate_noise
from mollifier.data.noise_model import NoiseModel, declared_in, smoothed
from mollifier.data.noise_structure import NoiseFinding, less_than_given, noise_structure
from mollifier.data.values import EXTENTS, in_parts, is_number, names_in_parts, real_array
from mollifier.equations.names import time_coordinate
from mollifier.errors import DataError, check_known
from mollifier.io.draws import Rng, generator
from mollifier.mollify.arrays import Array, Mask, rms

Noise: TypeAlias = "float | Mapping[str, float | str | ArrayLike | xr.DataArray | Mapping[str, Any]] | None"


@dataclass(frozen=True)
class Bars:
    """The noise as given, by variable, before the arrays are checked."""

    #: A fraction of rms(u), the name of an array of standard errors, or a declaration.
    given: dict[str, float | str | NoiseModel]
    marks: dict[str, str]  #: Names of the arrays that mark trusted samples.

    def linked(self, variables: Sequence[str] | None = None) -> tuple[str, ...]:
        """Names of the arrays that belong to the variables, or to any."""
        pairs = [(v, n) for d in (self.given, self.marks) for v, n in d.items() if isinstance(n, str)]
        return tuple(dict.fromkeys(n for v, n in pairs if variables is None or v in variables))


def linked(dataset: xr.Dataset) -> set[str]:
    """Names of the arrays that belong to variables: standard errors, and marks of trusted samples."""
    names = {a.attrs.get(k) for a in dataset.data_vars.values() for k in ("standard_error", "trusted")}
    return {n for n in names if isinstance(n, str)}


def _beside(dataset: xr.Dataset, variable: str, name: str) -> Array:
    """The values of a linked array in the shape of its variable."""
    array = dataset[variable]
    return dataset[name].broadcast_like(array).transpose(*array.dims).values


def trusted(dataset: xr.Dataset, variable: str) -> Mask:
    """Where the samples of a variable are trusted, in its shape."""
    name = dataset[variable].attrs.get("trusted")
    if name is None:
        return np.zeros(dataset[variable].shape, dtype=bool)
    return _beside(dataset, variable, name) > 0


def known(dataset: xr.Dataset, variable: str) -> Array | None:
    """The standard error of each value, in the shape of the variable; None where it is to be estimated."""
    error = dataset[variable].attrs.get("standard_error")
    if isinstance(error, str):
        return _beside(dataset, variable, error)
    return None if error is None else np.full(dataset[variable].shape, float(error))


def typical(dataset: xr.Dataset, variable: str) -> float | None:
    """The median standard error of the finite values that are not trusted (of all, where all are)."""
    error = dataset[variable].attrs.get("standard_error")
    if not isinstance(error, str):
        return None if error is None else float(error)
    sd = _beside(dataset, variable, error)
    finite = np.isfinite(dataset[variable].values)
    plain = finite & ~trusted(dataset, variable)
    used = sd[plain if plain.any() else finite]
    return float(np.median(used)) if used.size else np.nan


def estimate(
    dataset: xr.Dataset,
    variable: str,
    coordinates: Sequence[str],
    replicates: Sequence[str],
    found: Sequence[NoiseFinding] | None = None,
) -> float:
    """The standard deviation of the noise of a variable, from its values and, if known, its `findings`."""
    array = dataset[variable]
    nodes = [dataset[c].values for c in coordinates]
    try:
        if POINT in dataset.dims:
            return estimate_noise(array.values, np.stack(nodes, axis=-1))
        repeats = tuple(i for i, d in enumerate(array.dims) if d in replicates)
        least = estimate_noise(array.values, nodes=tuple(nodes), repeats=repeats)
        if found is None:
            found = findings(dataset, variable, coordinates, replicates)
        # The smallest estimate is that of the white part alone.
        return max([least, *(f.sd for f in found)])
    except DataError as error:
        raise DataError(str(error).replace("'u'", f"'{variable}'")) from error


def findings(
    dataset: xr.Dataset, variable: str, coordinates: Sequence[str], replicates: Sequence[str]
) -> tuple[NoiseFinding, ...]:
    """What the noise of a variable is besides white, and besides what was given.

    At scattered points only whether much less was found than was given.
    """
    array = dataset[variable]
    if POINT in dataset.dims:
        sd = typical(dataset, variable)
        try:
            found = estimate(dataset, variable, coordinates, replicates) if sd else np.inf
        except DataError:  # too few values to say
            found = np.inf
        less = sd is not None and less_than_given(found, sd)
        return (NoiseFinding("less than given", found / rms(array.values), grave=False),) if less else ()
    declared = declared_in(array)
    order = (*(d for d in array.dims if d in replicates), *coordinates)
    given = known(dataset, variable)

    def arranged(values: Array) -> Array:
        moved = xr.Variable(array.dims, values).transpose(*order).values
        return moved.reshape(-1, *(dataset.sizes[c] for c in coordinates))

    found = noise_structure(
        arranged(array.values),
        [dataset[c].values for c in coordinates],
        coordinates,
        time_coordinate(coordinates) or None,
        None if given is None else arranged(given),
    )
    return tuple(f for f in found if f.kind not in declared)


def prepare(
    raw: xr.Dataset,
    noise: Noise,
    *,
    variables: Iterable[str] | None = None,
    coordinates: Iterable[str] | None = None,
    replicates: Iterable[str] | None = None,
    units: Mapping[str, str] | None = None,
    periodic: Mapping[str, Any] | None = None,
) -> tuple[xr.Dataset, tuple[str, ...], tuple[str, ...]]:
    """The checked dataset with its standard errors, its coordinates and its replicate dimensions."""
    if not isinstance(raw, xr.Dataset):
        raise DataError(
            f"A {type(raw).__name__} was given as data; Observations or an xarray.Dataset was expected. For "
            "a table of pandas use mollifier.read(table, 'u', coordinates=['x', 't']), for arrays "
            "Observations(values=..., points=...), and of several experiments put the rows into one table "
            "with a column of their names."
        )
    for name, array in raw.variables.items():
        if len(set(array.dims)) < array.ndim:
            raise DataError(f"'{name}' has the dimensions {array.dims}; each was expected once: rename one.")
    raw, parts = in_parts(raw)
    requested = [variables] if isinstance(variables, str) else variables
    requested, noise, units = (names_in_parts(given, parts) for given in (requested, noise, units))
    raw, bars = attach(raw, noise, requested)
    raw, lay = building.layout(raw, requested, coordinates, replicates, bars.linked())
    dataset = building.build(raw, lay, bars.linked(lay.variables), periodic or {}, units or {})
    return settle(dataset, lay.variables, bars, lay.coordinates), lay.coordinates, lay.replicates


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _fraction(what: str, value: float) -> float:
    if not 0 <= value < EXTENTS[1]:
        raise DataError(f"{what}; a fraction of rms of 0 or more was expected, such as 0.02.")
    return float(value)


def _per_variable(raw: xr.Dataset, noise: Noise, variables: list[str] | None) -> dict[str, Any]:
    known = [str(v) for v in (variables if variables is not None else raw.data_vars)]
    if noise is None:
        return {}
    if isinstance(noise, Mapping):
        check_known(noise, known, DataError, "noise names '{}', which is not a variable.")
        return {str(n): v for n, v in noise.items() if v is not None}
    if _number(noise):
        return dict.fromkeys(known, noise)
    raise DataError(
        f"noise was given a {type(noise).__name__}; a fraction of rms such as 0.02, or a mapping from "
        "variable to a fraction, an array of standard errors, the name of a variable or a mapping such as "
        "{'sensor_gain': 0.02}, was expected."
    )


def attach(raw: xr.Dataset, noise: Noise, variables: list[str] | None) -> tuple[xr.Dataset, Bars]:
    """The dataset with arrays of standard errors added, and the noise as given.

    Noise given here replaces what the dataset states, trust included.
    """
    found: dict[str, Any] = {}
    marks: dict[str, str] = {}
    for v, array in raw.data_vars.items():
        error, mark = array.attrs.get("standard_error"), array.attrs.get("trusted")
        if isinstance(error, str):
            found[str(v)] = error
            if isinstance(mark, str) and mark in raw.variables:
                marks[str(v)] = mark
    replaced: set[str] = set()
    for v, given in _per_variable(raw, noise, variables).items():
        replaced |= {d.pop(v) for d in (found, marks) if v in d}
        if isinstance(given, str):
            found[v] = given
        elif isinstance(given, Mapping):
            found[v] = NoiseModel.of(v, given)
        elif _number(given):
            found[v] = _fraction(f"Noise of '{v}' was given as {given}", given)
        else:
            check_known(v, map(str, raw.variables), DataError, "Variable '{}' is not in the data.")
            array = given if isinstance(given, xr.DataArray) else real_array(f"noise of {v}", given)
            if not isinstance(array, xr.DataArray) and array.shape != raw[v].shape:
                raise DataError(
                    f"Noise of '{v}' has shape {array.shape}; the shape of its values, {raw[v].shape}, was "
                    "expected (standard errors in the variable's units), or one number (a fraction of rms)."
                )
            found[v] = f"{v}_standard_error"
            raw = raw.assign({found[v]: array if isinstance(array, xr.DataArray) else (raw[v].dims, array)})
    for v, name in ((v, n) for v, n in found.items() if isinstance(n, str)):
        text = f"Standard error '{name}' of '{v}' is not in the data."
        check_known(name, map(str, raw.variables), DataError, text)
    bars = Bars(found, marks)
    left = {*bars.linked(), *(variables or ())}
    return raw.drop_vars([n for n in replaced if n in raw.variables and n not in left]), bars


def _declared(
    dataset: xr.Dataset, variable: str, model: NoiseModel, coordinates: Sequence[str]
) -> xr.Dataset:
    """The dataset with a variable's noise as it was declared."""
    array = dataset[variable]
    points = [dataset[c].values for c in coordinates] if POINT in dataset.dims else None
    array.attrs.pop("standard_error", None)
    lacks = model.correlated and model.sd is None and model.fraction is None
    own = [c for c in coordinates if points is not None or c in array.dims]
    repeats = [str(d) for d in array.dims if d not in coordinates]
    whole = estimate(dataset, variable, own, repeats) if lacks else None
    sd = model.settle(array, rms(array.values), smoothed(array.values, points), whole)
    if isinstance(sd, np.ndarray):
        _link(dataset, variable, "standard_error", xr.Variable(array.dims, sd))
    elif sd is not None:
        array.attrs["standard_error"] = sd
    return dataset


def settle(
    dataset: xr.Dataset, variables: tuple[str, ...], bars: Bars, coordinates: Sequence[str]
) -> xr.Dataset:
    """Write the ``standard_error`` attribute of each variable: a number in its units, or a name; checked."""
    for v in variables:
        array, given = dataset[v], bars.given.get(v)
        if v not in bars.marks:
            array.attrs.pop("trusted", None)
            array.attrs.pop("noise_source", None)
        if isinstance(given, float) or (given is not None and array.attrs.get("standard_error") != given):
            array.attrs.pop("noise_model", None)
        if isinstance(given, NoiseModel):
            dataset = _declared(dataset, v, given, coordinates)
        elif isinstance(given, float):
            array.attrs["standard_error"] = given * rms(array.values)
        elif given is not None:
            array.attrs["standard_error"] = given
            sd = _beside(dataset, v, given)[np.isfinite(array.values)]
            bad = int((~np.isfinite(sd)).sum()), int((sd < 0).sum())
            if any(bad):
                raise DataError(
                    f"Standard error '{given}' has {bad[0]} values that are not finite and {bad[1]} below "
                    f"zero where '{v}' is known; mask '{v}' there (NaN) or give the errors."
                )
        elif "standard_error" in array.attrs:
            given = array.attrs["standard_error"]
            if not (is_number(given) and given >= 0):
                raise DataError(
                    f"Attribute standard_error of '{v}' is {given!r}; a number of 0 or more was expected."
                )
            array.attrs["standard_error"] = float(given)
    return dataset


def with_noise(dataset: xr.Dataset, fractions: Mapping[str, float], rng: Rng) -> xr.Dataset:
    """Gaussian noise of fractions of rms added to variables; standard errors grow in quadrature."""
    draws = generator(rng)
    dataset = dataset.copy()
    for v, fraction in fractions.items():
        old = dataset[v]
        sigma = _fraction(f"add_noise was given {fraction} for '{v}'", fraction) * rms(old.values)
        dataset[v] = old + sigma * draws.standard_normal(old.shape)
        dataset[v].attrs.update(old.attrs)
        error = old.attrs.get("standard_error")
        if isinstance(error, str):
            dataset[error] = np.hypot(dataset[error], sigma)
        elif error is not None:
            dataset[v].attrs["standard_error"] = float(np.hypot(error, sigma))
    return dataset


def trust(
    dataset: xr.Dataset, marks: Mapping[str, xr.Variable], factor: float, sd: Callable[[str], float]
) -> xr.Dataset:
    """Standard errors multiplied by a factor where a mark of the variable is true, and the marks kept.

    ``sd`` estimates that of all values of a variable where none was given; a variable with too few values to
    estimate it stays as it is, unless it is the only one.
    """
    if not 0 < factor <= 1:
        raise DataError(f"trust was given the factor {factor}; a number above 0, at most 1, was expected.")
    dataset = dataset.copy()
    for v, where in marks.items():
        attrs = dataset[v].attrs
        error, mark = attrs.get("standard_error"), attrs.get("trusted")
        try:
            base = dataset[error].variable if isinstance(error, str) else sd(v)
        except DataError:
            if len(marks) == 1:
                raise
            continue
        before = False if mark is None else dataset[mark].variable > 0
        attrs |= {"standard_error": None, "trusted": None}
        attrs |= {"noise_source": "estimated"} if error is None else {}
        # What is linked no longer would count as a variable.
        dataset = dataset.drop_vars({n for n in (error, mark) if isinstance(n, str)} - linked(dataset))
        steps = xr.Variable(where.dims, np.where(where.values, factor, 1.0))
        _link(dataset, v, "standard_error", steps * base)
        _link(dataset, v, "trusted", (where | before).astype(float))
    return dataset


def _link(dataset: xr.Dataset, variable: str, what: str, array: xr.Variable) -> None:
    """Put an array beside a variable under a name that nothing else has."""
    name = f"{variable}_{what}"
    while name in dataset.variables:
        name += "_"
    dataset[name] = array
    dataset[variable].attrs[what] = name
