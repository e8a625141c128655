"""Parts of a dataset: values along a dimension, windows, masks, random splits, scattered rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from mollifier.data import errorbars
from mollifier.data.arrays import check_rename
from mollifier.data.building import POINT, noted, time_last
from mollifier.errors import DataError, check_known, did_you_mean
from mollifier.io.draws import Rng, generator
from mollifier.mollify.arrays import Array, Index, Mask

# Standard errors never fall below this fraction of rms(u), so that weights stay finite on exact data.
_FLOOR = 1e-8


@dataclass(frozen=True)
class Samples:
    """The finite values of one variable, one row a sample."""

    coordinates: tuple[str, ...]  #: Names of the d coordinates the variable depends on.
    points: Array  #: Shape (n, d), in the order of ``coordinates``.
    values: Array  #: Shape (n,).
    #: Absolute standard errors, shape (n,), in the units of the values; given or estimated, always positive.
    sd: Array

    @property
    def places(self) -> dict[str, Array]:
        """Coordinate -> where the samples are along it, shape (n,)."""
        return dict(zip(self.coordinates, self.points.T, strict=True))

    def over(self, names: Iterable[Hashable]) -> Array:
        """Where the samples are along some of their coordinates, shape (n, names)."""
        return self.points[:, [self.coordinates.index(str(c)) for c in names]]

    def part(self, rows: Index, names: Sequence[str] | None = None) -> Samples:
        """Some of the samples, over some of their coordinates, or all."""
        names = self.coordinates if names is None else tuple(names)
        return Samples(names, self.over(names)[rows], self.values[rows], self.sd[rows])

    def floored(self, least: float) -> Samples:
        """These, with standard errors of at least ``least``."""
        return replace(self, sd=np.maximum(self.sd, least))


def samples(
    dataset: xr.Dataset,
    variable: str,
    coordinates: tuple[str, ...],
    sd: Array | float,
    most: int | None = None,
    rng: Rng = 0,
) -> Samples:
    """The finite values of a variable, with standard errors ``sd`` in its shape, or one for all.

    At most ``most`` of them, drawn at random.
    """
    array = dataset[variable]
    there = np.isfinite(array.values)
    count, index = np.count_nonzero(there), None
    if most is not None and count > most:
        index = np.sort(generator(rng).choice(count, most, replace=False))
    if index is None or count < there.size:  # of data without gaps no list of all places is made
        every = np.flatnonzero(there)
        index = every if index is None else every[index]
    at = np.unravel_index(index, array.shape)
    scattered = POINT in dataset.dims
    columns = [dataset[c].values[at if scattered else at[array.dims.index(c)]] for c in coordinates]
    values = array.values[at]
    floor = _FLOOR * (float(np.sqrt(np.mean(values**2))) or 1.0) if values.size else 0.0
    errors = np.maximum(np.broadcast_to(sd, array.shape)[at], floor)
    return Samples(coordinates, np.stack(columns, axis=-1), values, errors)


def equals(name: str, labels: NDArray[Any], value: Any) -> Mask:
    """Where labels equal the value, numbers to rounding, in the shape of the labels.

    Raises `DataError` if none does; the message lists what is there.
    """
    if labels.dtype.kind in "fiu":
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = np.nan
        hit = np.isclose(labels, number, rtol=1e-9, atol=1e-9 * float(np.nanmax(np.abs(labels), initial=0.0)))
    elif labels.dtype.kind == "M":
        hit = labels == np.datetime64(value)
    else:
        hit = labels.astype(str) == str(value)
    if hit.any():
        return hit
    there = np.unique(labels[labels == labels])
    shown = [str(v) for v in there]
    if len(shown) > 12:
        middle = int(np.searchsorted(there, value)) if labels.dtype.kind in "fiu" and np.isreal(value) else 0
        start = min(max(middle - 6, 0), len(shown) - 12)
        shown = [*shown[start : start + 12], f"... ({len(there)} in all)"]
    close = did_you_mean(str(value), map(str, there)) if labels.dtype.kind not in "fiuM" else ""
    raise DataError(f"'{name}' has no value {value!r}. There are: {', '.join(shown)}.{close}")


def matches(name: str, labels: NDArray[Any], value: Any, near: bool = False) -> tuple[Mask, bool]:
    """Where labels equal the value, or one of several, as `equals`; and whether it is a single value.

    With ``near`` numbers may differ by rounding to single precision.
    """
    single = isinstance(value, str) or not isinstance(value, Iterable)
    values = [_nearest(labels, v) if near else v for v in ([value] if single else value)]
    return np.any([np.zeros(labels.shape), *(equals(name, labels, v) for v in values)], axis=0), single


def pick(dataset: xr.Dataset, coordinates: Sequence[str], gridded: bool, name: str, value: Any) -> xr.Dataset:
    """Keep where ``name`` equals a value, or one of several; a single value takes the name away."""
    known = [str(n) for n in (dataset.dims if gridded else dataset.variables)]
    check_known(name, known, DataError, "Nothing to select by '{}'.")
    labels = dataset[name].values if name in dataset.variables else np.arange(dataset.sizes[name])
    hit, single = matches(name, labels, value)
    dataset = dataset.isel(
        {dataset[name].dims[0] if name in dataset.variables else name: np.flatnonzero(hit)}
    )
    dataset = noted(dataset, "selected", f"{name} = {value}")
    if not single:
        return _unwrap(dataset, [name]) if not hit.all() else dataset
    if name in coordinates and len(coordinates) == 1:
        raise DataError(
            f"'{name}' is the only coordinate; keep a range of it with window({name}=(lower, upper))."
        )
    if not gridded:
        return dataset.drop_vars(name) if len(dataset.data_vars) > 1 or name in dataset.coords else dataset
    dataset = dataset.squeeze(name, drop=True)
    bare = {str(v) for v in dataset.data_vars if not dataset[v].dims}
    return dataset.drop_vars(bare - errorbars.linked(dataset.drop_vars(bare)))


def _unwrap(dataset: xr.Dataset, names: Iterable[str]) -> xr.Dataset:
    """Without the period of coordinates that were cut."""
    dataset = dataset.copy()
    for n in names:
        if n in dataset.coords:
            dataset[n].attrs.pop("periodic", None)
    return dataset


def window(dataset: xr.Dataset, coordinates: Sequence[str], ranges: Mapping[str, Any]) -> xr.Dataset:
    """Keep coordinates within closed ranges; None leaves an end open."""
    for name, limits in ranges.items():
        check_known(name, coordinates, DataError, "There is no coordinate '{}' to cut.")
        try:
            lower, upper = (None if v is None else float(v) for v in limits)
        except (TypeError, ValueError):
            raise DataError(
                f"window({name}=...) was given {limits!r}; a pair (lower, upper) was expected."
            ) from None
        x = dataset[name].values
        keep = (x >= (-np.inf if lower is None else lower)) & (x <= (np.inf if upper is None else upper))
        if not keep.any():
            raise DataError(
                f"No data lie in {name} = {lower} to {upper}; they run from {x.min():g} to {x.max():g}."
            )
        if not keep.all():
            dataset = _unwrap(dataset.isel({dataset[name].dims[0]: np.flatnonzero(keep)}), [name])
    return dataset


def mask(dataset: xr.Dataset, variables: Sequence[str], keep: ArrayLike | xr.DataArray) -> xr.Dataset:
    """Values become NaN where ``keep`` is false; variables of other dimensions stay."""
    if isinstance(keep, xr.DataArray):
        label = keep.astype(bool)
        hit = [v for v in variables if set(label.dims) <= set(dataset[v].dims)]
    else:
        array = np.asarray(keep).astype(bool)
        hit = [v for v in variables if dataset[v].shape == array.shape]
        label = xr.DataArray(array, dims=dataset[hit[0]].dims) if hit else xr.DataArray(array)
    if not hit:
        shapes = {v: dict(dataset[v].sizes) for v in variables}
        raise DataError(f"The mask has sizes {dict(label.sizes)}, which fit no variable; there are {shapes}.")
    try:
        return dataset.assign({v: dataset[v].where(label).transpose(*dataset[v].dims) for v in hit})
    except ValueError as error:
        raise DataError(f"The mask does not fit the data: {error}") from error


def _nearest(labels: Array, value: Any) -> Any:
    """The label nearest to a number where they differ by single-precision rounding only; else the value."""
    try:
        near = float(labels[np.argmin(np.abs(labels - float(value)))])
        return near if abs(near - float(value)) <= 2e-7 * float(np.abs(labels).max()) else value
    except (TypeError, ValueError):
        return value


def where_trusted(
    dataset: xr.Dataset, variables: Sequence[str], coordinates: Sequence[str], where: Mapping[str, Any]
) -> dict[str, xr.Variable]:
    """Variable -> where all the coordinates equal their value, or one of several.

    Only variables that depend on those coordinates and have finite values there.
    """
    if not where:
        raise DataError(f"Nothing to trust was named; give a coordinate's value, as {coordinates[-1]}=0.")
    mark = xr.Variable((), np.array(True))
    for name, value in where.items():
        check_known(name, coordinates, DataError, "There is no coordinate '{}' to trust.")
        hit = matches(name, dataset[name].values, value, near=True)[0]
        mark = mark & xr.Variable(dataset[name].dims, hit)
    found = [v for v in variables if set(mark.dims) <= set(dataset[v].dims)]
    found = [v for v in found if (dataset[v].variable.notnull() & mark).any()]
    if not found:
        raise DataError(f"No variable has values where {', '.join(f'{n} = {v}' for n, v in where.items())}.")
    return dict.fromkeys(found, mark)


def scatter(
    dataset: xr.Dataset, coordinates: Sequence[str], replicates: Sequence[str], variables: Sequence[str]
) -> xr.Dataset:
    """A gridded dataset as rows, one a place and replicate where a variable on most coordinates is finite."""
    dims = [*coordinates, *replicates]
    template = xr.DataArray(np.empty([dataset.sizes[d] for d in dims], dtype=bool), dims=dims)
    flat = {
        v: a.broadcast_like(template).transpose(*dims).values.ravel() for v, a in dataset.data_vars.items()
    }
    main = most_coordinates(dataset, coordinates, variables)
    keep = np.any([np.isfinite(flat[v]) for v in main], axis=0)
    index = np.unravel_index(np.flatnonzero(keep), template.shape)
    coords: dict[str, Any] = {}
    for d, i in zip(dims, index, strict=True):
        if d in dataset.coords or d in replicates:
            labels = dataset[d].values if d in dataset.coords else np.arange(dataset.sizes[d])
            attrs = dataset[d].attrs if d in coordinates else {"role": "label"}
            coords[d] = (POINT, labels[i], attrs)
    coords = {c: coords[c] for c in (*time_last(coordinates), *replicates)}
    data = {v: (POINT, flat[v][keep], dataset[v].attrs) for v in dataset.data_vars}
    attrs = {k: a for k, a in dataset.attrs.items() if k != "replicates"}
    return xr.Dataset(data, coords, attrs)


def most_coordinates(dataset: xr.Dataset, coordinates: Sequence[str], variables: Sequence[str]) -> list[str]:
    """The variables that depend on the most coordinates: what is measured, beside what is merely known."""
    count = {v: len(set(dataset[v].dims) & set(coordinates)) for v in variables}
    return [v for v in variables if count[v] == max(count.values())]


def split(
    dataset: xr.Dataset,
    coordinates: Sequence[str],
    variables: Sequence[str],
    fraction: float,
    rng: Rng,
    rows: bool,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Two datasets that share the samples of the variables at random; a part of ``fraction`` is the second.

    Trusted samples stay in the first, and the fraction is of the others. ``rows`` splits scattered rows
    whole, rather than marking values as missing.
    """
    if not 0 < fraction < 1:
        raise DataError(f"hold_out was given the fraction {fraction}; a number between 0 and 1 was expected.")
    draws = generator(rng)
    first, second = dataset, dataset
    groups: dict[tuple[Any, ...], list[str]] = {}
    for v in most_coordinates(dataset, coordinates, variables):
        groups.setdefault(dataset[v].dims, []).append(v)
    for dims, names in groups.items():
        finite = np.any([np.isfinite(dataset[v].values) for v in names], axis=0)
        kept = np.any([errorbars.trusted(dataset, v) for v in names], axis=0)
        places = np.flatnonzero(finite & ~kept)
        n = round(fraction * places.size)
        if not 1 <= n < places.size:
            raise DataError(
                f"hold_out({fraction}) of {places.size} samples of {names} leaves one part empty."
                + (" Trusted samples are never held out." if kept.any() else "")
            )
        chosen = np.zeros(finite.size, dtype=bool)
        chosen[draws.permutation(places)[:n]] = True
        chosen = chosen.reshape(finite.shape)
        if rows:
            return dataset.isel({POINT: np.flatnonzero(~chosen)}), dataset.isel(
                {POINT: np.flatnonzero(chosen)}
            )
        test = xr.DataArray(chosen, dims=dims)
        first = first.assign({v: first[v].where(~test) for v in names})
        second = second.assign({v: second[v].where(test) for v in names})
    return first, second


def rename(dataset: xr.Dataset, names: Mapping[str, str]) -> xr.Dataset:
    """Other names for variables, coordinates and dimensions; links to standard errors follow."""
    check_rename(names, dataset.variables)
    final = [names.get(str(n), str(n)) for n in dataset.variables]
    twice = sorted({n for n in final if final.count(n) > 1})
    if twice:
        raise DataError(f"Renaming {dict(names)} gives two things the name {twice}.")
    dataset = dataset.rename(dict(names))
    for v in dataset.data_vars:
        for what in ("standard_error", "trusted"):
            link = dataset[v].attrs.get(what)
            if isinstance(link, str) and link in names:
                dataset[v].attrs[what] = names[link]
    return dataset
