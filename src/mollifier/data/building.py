"""Any xarray dataset to the one form the program works on: checked, float64, read-only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from mollifier.data.experiments import is_text, names_along
from mollifier.data.times import in_utc
from mollifier.data.values import EXTENTS, check_text, is_complex, measured_array, real_array
from mollifier.equations.names import TIME_NAMES, time_coordinate
from mollifier.errors import DataError, GridError, check_known
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Axis
from mollifier.mollify.periodic import repeats_first

POINT = "point"
COORDINATE_NAMES = ("x", "y", "z", "lon", "lat", "longitude", "latitude", *TIME_NAMES)
REPLICATE = "replicate"
# Names that label rows rather than measure anything, as pandas and CF files write them.
_ROW_NAMES = (POINT, "points", "obs", "observation", "index", "row", "sample", "node")
_KEPT = {
    *("units", "long_name", "standard_name", "origin", "experiments"),
    *("standard_error", "trusted", "noise_source", "noise_model"),
}


@dataclass(frozen=True)
class Roles:
    """What names in a file are said to be; None where its content decides."""

    variables: Sequence[str] | None = None
    coordinates: Sequence[str] | None = None
    replicates: Sequence[str] | None = None
    errors: Sequence[str] = ()  #: Arrays beside the variables: standard errors, and a mask.


@dataclass(frozen=True)
class Dimensions:
    """What the dimensions of a dataset mean."""

    variables: tuple[str, ...]
    coordinates: tuple[str, ...]
    replicates: tuple[str, ...]
    point: str | None
    labels: tuple[str, ...] = ()


def noted(dataset: xr.Dataset, what: str, *notes: str) -> xr.Dataset:
    """With notes on values that were "selected" or "masked", after those that there are."""
    text = "; ".join(n for n in (dataset.attrs.get(what), *notes) if n)
    return dataset.assign_attrs({what: text}) if text else dataset


def time_last(names: Iterable[str]) -> tuple[str, ...]:
    """The names in their order, with time at the end.

    >>> time_last(["t", "x", "y"])
    ('x', 'y', 't')
    """
    given = tuple(names)
    return tuple(sorted(given, key=time_coordinate(given).__eq__))


def _coordinate(name: str, array: xr.DataArray) -> tuple[Array, dict[str, Any]]:
    """Values and attributes of a coordinate; dates become seconds since the first, names become numbers."""
    attrs = {k: v for k, v in array.attrs.items() if k in _KEPT}
    raw = in_utc(np.asarray(array.values))
    if raw.dtype.kind == "O" and raw.size and hasattr(raw.flat[0], "calendar"):  # cftime's, of a model year
        attrs["origin"], raw = str(raw.min()), (raw - raw.min()).astype("m8[us]")
    if raw.dtype.kind in "Mm":
        if np.isnat(raw).any():
            raise DataError(f"Coordinate '{name}' has {np.isnat(raw).sum()} missing dates; drop those rows.")
        if raw.dtype.kind == "M":
            attrs["origin"] = str(raw.min())
            raw = raw - raw.min()
        attrs["units"] = "s"
        return raw / np.timedelta64(1, "s"), attrs
    if is_text(raw):
        codes, attrs["experiments"] = names_along(name, raw, axis=array.dims == (name,))
        return codes, attrs
    result = real_array(name, raw)
    bad = int((~np.isfinite(result)).sum())
    if bad:
        raise DataError(f"Coordinate '{name}' has {bad} points that are not finite numbers; drop those rows.")
    low, extent, high = EXTENTS[0], float(np.ptp(result)) if result.size else 0.0, EXTENTS[1]
    if extent and not low < extent < high:
        raise DataError(
            f"Coordinate '{name}' spans {extent:g}; {low:g} to {high:g} was expected: change its unit."
        )
    return result, attrs


def with_axes(raw: xr.Dataset, periodic: Mapping[str, Any]) -> xr.Dataset:
    """A dataset with its axes as numbers, and their periods, which a part of the dataset would not show."""
    names = (str(d) for d in raw.dims if d in raw.coords and raw[d].dtype.kind in "fiubMm")
    return raw.assign_coords({n: _checked(raw, n, periodic, (n,), {}) for n in names})


def indexed(nodes: Array) -> pd.Index | Array:
    """Numbers (n,) along a dimension as the index that xarray makes of them.

    Of an array xarray asks first whether it is one of pint's, which takes a tenth of a second to load.
    """
    return pd.Index(nodes) if nodes.dtype.kind == "f" else nodes


def _checked(
    raw: xr.Dataset, name: str, periodic: Mapping[str, Any], dims: tuple[str, ...], units: Mapping[str, str]
) -> tuple[tuple[str, ...], Array, dict[str, Any]]:
    """Dimensions, values and attributes of a coordinate, its unit and its period among them."""
    x, attrs = _coordinate(name, raw[name])
    period = _check_axis(name, x, _period(raw, name, periodic), scattered=dims == (POINT,))
    attrs |= {"units": units[name]} if name in units else {}
    return dims, x, attrs | ({"periodic": period} if period else {})


def _period(raw: xr.Dataset, name: str, periodic: Mapping[str, Any]) -> bool | float:
    """A period from an option or an attribute; a NetCDF boolean is a one-byte integer."""
    value = periodic.get(name, raw[name].attrs.get("periodic"))
    flags = {"true": True, "yes": True, "false": False, "no": False, "": False}
    if isinstance(value, str) and value.strip().lower() in flags:
        return flags[value.strip().lower()]
    if value is None or np.asarray(value).dtype in (np.bool_, np.int8, np.uint8):
        return bool(value)
    try:
        period = float(value)
    except (TypeError, ValueError):
        period = np.nan
    if not (np.isfinite(period) and period >= 0):
        raise DataError(f"periodic was given {value!r}; True, False or a positive period was expected.")
    return period


def _array(name: str, given: ArrayLike) -> Any:
    detach: Any = getattr(given, "detach", None)
    if detach is not None:  # a tensor, which may be on a device or have a gradient
        given = detach().cpu()
    try:
        return given if np.ma.isMaskedArray(given) else np.asarray(given)
    except ValueError:
        raise DataError(f"'{name}' was given rows of different lengths; an array was expected.") from None


def scattered_dataset(
    values: Mapping[str, ArrayLike], points: Mapping[str, ArrayLike], columns: Mapping[str, ArrayLike]
) -> xr.Dataset:
    """Arrays of shape (n,) as one dataset along ``point``."""
    if not values or not points:
        raise DataError("Observations need at least one variable in values and one coordinate in points.")
    names = [*values, *points, *columns]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DataError(
            f"{twice} are in more than one of values, points and columns; each name has one role."
        )
    for n in names:
        if not isinstance(n, str) or not n:
            raise DataError(f"The name {n!r} was given; text was expected.")
    arrays = {n: _array(n, a) for n, a in {**values, **points, **columns}.items()}
    shapes = {n: np.shape(a) for n, a in arrays.items()}
    if any(len(s) != 1 for s in shapes.values()) or len(set(shapes.values())) != 1:
        listed = ", ".join(f"{n} {s}" for n, s in shapes.items())
        raise DataError(
            f"Scattered values and points need one shape (n,); given: {listed}. For arrays on a grid use "
            "Observations.from_dataset(xarray.Dataset({'u': (('x', 't'), u)}, coords={'x': x, 't': t}))."
        )
    data = {n: np.ma.filled(a, np.nan) if is_complex(a := arrays[n]) else real_array(n, a) for n in values}
    return xr.Dataset(
        {n: (POINT, a) for n, a in data.items()},
        coords={n: (POINT, arrays[n]) for n in points}
        | {n: (POINT, arrays[n], {"role": "label"}) for n in columns},
    )


def _known(what: str, names: Iterable[str], raw: xr.Dataset) -> None:
    known = [str(v) for v in [*raw.variables, *raw.dims]]
    check_known(names, known, DataError, f"{what} '{{}}' is not in the data.")


def _along_rows(raw: xr.Dataset, name: str) -> bool:
    """Whether a data variable lies on a bare row count, and so may be a coordinate of scattered points."""
    dims = raw[name].dims
    return len(dims) == 1 and dims[0] != name and (dims[0] not in raw.coords or dims[0] in _ROW_NAMES)


def layout(
    raw: xr.Dataset,
    variables: Iterable[str] | None,
    coordinates: Iterable[str] | None,
    replicates: Iterable[str] | None,
    linked: Iterable[str],
) -> tuple[xr.Dataset, Dimensions]:
    """Decide which names are variables, coordinates, replicates and labels, and whether the data are
    scattered. ``linked`` arrays belong to variables and are none themselves.
    """
    given = None if coordinates is None else tuple(coordinates)
    _known("Coordinate", given or (), raw)
    _known("Variable", variables or (), raw)
    repeats = _repeats(raw, replicates)
    promoted = given or [n for n in COORDINATE_NAMES if n in raw.data_vars and variables is None]
    raw = raw.set_coords([n for n in promoted if n in raw.data_vars and _along_rows(raw, n)])
    beside = set(linked)
    text = [n for n, v in raw.data_vars.items() if v.dtype.kind in "UST"]  # as names of stations
    if variables is None and len(text) < len(raw.data_vars):
        raw = raw.drop_vars(text)
    names = tuple(str(n) for n in (variables if variables is not None else raw.data_vars) if n not in beside)
    if not names:
        raise DataError(f"The data hold no variable besides {sorted(map(str, raw.variables))}.")
    for n in names:
        if raw[n].ndim == 0 or set(raw[n].dims) <= set(repeats):
            raise DataError(
                f"Variable '{n}' has no coordinate (dims {raw[n].dims}); leave it out by naming the others."
            )
    by_size = sorted(names, key=lambda n: -raw[n].ndim)
    dims = [str(d) for d in dict.fromkeys(d for n in by_size for d in raw[n].dims)]
    scattered = _scattered(raw, names, dims[0], given) if len(dims) == 1 else None
    return raw, scattered or _gridded(raw, names, dims, given, repeats)


def _repeats(raw: xr.Dataset, replicates: Iterable[str] | None) -> list[str]:
    """The replicate dimensions: those named, or those the file lists."""
    if replicates is None:
        listed = str(raw.attrs.get("replicates", "")).split(",")
        return [d for d in {REPLICATE: 0, **dict.fromkeys(listed)} if d in raw.dims]
    _known("Replicate dimension", replicates := tuple(replicates), raw)
    return [d for d in replicates if d in raw.dims]


def _scattered(
    raw: xr.Dataset, names: tuple[str, ...], p: str, given: tuple[str, ...] | None
) -> Dimensions | None:
    """The layout of scattered points along the only dimension; None where that is an axis of a grid."""
    along = [str(c) for c in raw.coords if c != p and raw[c].dims == (p,)]
    if not ((p not in given) if given else (bool(along) and (p not in raw.coords or p in _ROW_NAMES))):
        return None
    labels = [c for c in along if raw[c].attrs.get("role") == "label" or (given and c not in given)]
    found = given or [c for c in along if c not in labels]
    off = [c for c in found if raw[c].dims != (p,)]
    if off:
        raise DataError(f"Coordinate '{off[0]}' has dims {raw[off[0]].dims}; scattered data need ('{p}',).")
    return Dimensions(names, time_last(found), (), p, tuple(labels))


def _gridded(
    raw: xr.Dataset,
    names: tuple[str, ...],
    dims: list[str],
    given: tuple[str, ...] | None,
    repeats: list[str],
) -> Dimensions:
    """The layout of a grid: every dimension is a coordinate or counts repeats."""
    axes = [d for d in dims if d not in repeats]
    bare = [d for d in axes if d not in raw.coords]
    if bare:
        raise DataError(
            f"Dimension '{bare[0]}' of {names} has no coordinate values. Assign them "
            f"(dataset.assign_coords), give their step (coordinates={{'{bare[0]}': 1.0}}), list it in "
            f"replicates=('{bare[0]}',) if it counts repeats of one field, or give scattered points."
        )
    if given is not None and set(given) != set(axes):
        extra, lacking = sorted(set(given) - set(axes)), sorted(set(axes) - set(given))
        stray = f"; {extra} are not dimensions" * bool(extra)
        bound = f"; select one value of {lacking}, or list them in coordinates or replicates" * bool(lacking)
        raise DataError(
            f"The variables lie on {tuple(axes)} but coordinates={given} was given{stray}{bound}."
        )
    return Dimensions(names, given or tuple(axes), tuple(d for d in dims if d in repeats), None)


def build(
    raw: xr.Dataset,
    lay: Dimensions,
    linked: Iterable[str],
    periodic: Mapping[str, Any],
    units: Mapping[str, str],
) -> xr.Dataset:
    """The checked dataset: variables and linked arrays, dimensions in coordinate order, replicates last."""
    check_known(periodic, lay.coordinates, DataError, "periodic names '{}'.")
    for n, unit in units.items():
        if not isinstance(unit, str):
            raise DataError(f"The unit of '{n}' was given as {unit!r}; text was expected.")
    check_known(units, (*lay.coordinates, *lay.variables), DataError, "units names '{}'.")
    dims = (POINT,) if lay.point else (*lay.coordinates, *lay.replicates)
    if not lay.point:
        raw = _straightened(raw, lay, periodic)
    else:
        names = {lay.point: POINT} if lay.point != POINT else {}
        raw = raw.drop_vars(lay.point, errors="ignore").rename(names)
    coords: dict[str, Any] = {
        n: _checked(raw, n, periodic, (POINT,) if lay.point else (n,), units) for n in lay.coordinates
    }
    for name in (*lay.labels, *(r for r in lay.replicates if r in raw.coords)):
        label = np.array(raw[name].values)
        label = label.astype(str) if label.dtype.kind in "OT" else label
        coords[name] = (raw[name].dims, label, {"role": "label"})
    data = {
        name: _variable(name, raw[name], dims, units, measured=name in lay.variables)
        for name in dict.fromkeys((*lay.variables, *linked))
    }
    for name, (_, array, attrs) in {**data, **coords}.items():
        array.setflags(write=False)
        check_text(name, attrs)
    kept = {k: v for k, v in raw.attrs.items() if isinstance(v, str | int | float) and k != "replicates"}
    check_text("the dataset", kept)
    if not lay.point:
        coords |= {
            n: (dims, indexed(x), attrs) for n, (dims, x, attrs) in coords.items() if n in lay.coordinates
        }
    return xr.Dataset(
        data, coords, kept | ({"replicates": ",".join(lay.replicates)} if lay.replicates else {})
    )


def _variable(
    name: str, array: xr.DataArray, dims: tuple[str, ...], units: Mapping[str, str], measured: bool
) -> tuple[tuple[str, ...], Array, dict[str, Any]]:
    """Dimensions, values and attributes of a variable, or of an array that belongs to one."""
    own = tuple(d for d in dims if d in array.dims)
    stray = set(array.dims) - set(own)
    if stray:
        raise DataError(f"'{name}' has dimensions {sorted(map(str, stray))} that the variables do not have.")
    array = array.transpose(*own)
    values = np.ma.asarray(array.data) if np.ma.isMaskedArray(array.data) else array.values
    attrs = {k: v for k, v in array.attrs.items() if k in _KEPT}
    attrs |= {"units": units[name]} if name in units else {}
    return own, measured_array(name, values) if measured else real_array(name, values), attrs


def _straightened(raw: xr.Dataset, lay: Dimensions, periodic: Mapping[str, Any]) -> xr.Dataset:
    """With decreasing axes, as latitudes, turned round; periodic ones without a last slice like the first."""
    for name in lay.coordinates:
        x = raw[name].values
        if is_text(x):
            raw = raw.sortby(name)  # experiments are numbered in the order of their names
        elif x.size > 1 and x.dtype.kind in "fiuM" and (x[1:] < x[:-1]).all():
            raw = raw.isel({name: slice(None, None, -1)})
            raw = noted(raw, "selected", f"{name} turned round, so that it increases")
        there = [raw[v].transpose(name, ...) for v in lay.variables if name in raw[v].dims]
        # One variable that shows the repeat suffices.
        if _period(raw, name, periodic) is True and any(repeats_first(a.values) for a in there):
            raw = raw.isel({name: slice(-1)})
            note = f"without the last slice along {name}, which repeats the first ({name} is periodic)"
            raw = noted(raw, "selected", note)
    return raw


def _check_axis(name: str, x: Array, period: bool | float, scattered: bool) -> float:
    """The period of a coordinate, or 0; raises where the coordinate cannot serve."""
    if x.size == 0:
        raise DataError(f"Coordinate '{name}' has no points; the data are empty.")
    if np.ptp(x) == 0 and not scattered:
        raise DataError(
            f"Coordinate '{name}' has one point only ({x[0]:g}); at least two were expected: select it away "
            f"with select({name}={x[0]:g}), in a problem file data.select: {{{name}: {x[0]:g}}}."
        )
    if scattered:
        if period is True:
            raise DataError(
                f"Scattered coordinate '{name}' needs its period as a number, as periodic={{'{name}': 2.0}}."
            )
        if period and np.ptp(x) > period * (1 + 1e-9):
            raise DataError(f"Coordinate '{name}' spans {np.ptp(x):g}, more than its period {period:g}.")
        return float(period)
    try:
        axis = Axis.from_points(name, x, periodic=period)
    except GridError as error:
        ordered = bool((np.diff(x) > 0).all())
        raise DataError(
            f"{error}"
            + ("" if ordered else f" With xarray: dataset.sortby('{name}').drop_duplicates('{name}').")
        ) from error
    return axis.length if axis.periodic else 0.0
