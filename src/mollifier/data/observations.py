"""Observations: a measured field, gridded or scattered, with its units, gaps and noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from mollifier.data import building, describe, interpolation, selection
from mollifier.data.building import POINT
from mollifier.data.errorbars import Noise, attach, settle, with_noise
from mollifier.data.noise import estimate_noise
from mollifier.errors import DataError, did_you_mean
from mollifier.grid import Axis, Grid

Array = NDArray[np.float64]

# Standard errors never fall below this fraction of rms(u), so that weights stay finite on exact data.
_FLOOR = 1e-8


@dataclass(frozen=True)
class Samples:
    """The finite values of one variable, one row a sample.

    Attributes
    ----------
    coordinates
        Names of the d coordinates the variable depends on.
    points
        Shape (n, d), in the order of ``coordinates``.
    values
        Shape (n,).
    sd
        Absolute standard errors, shape (n,), in the units of the values; given or estimated, always positive.
    """

    coordinates: tuple[str, ...]
    points: Array
    values: Array
    sd: Array


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Observations:
    """A measured field: values at points, missing values, units, periods and noise.

    The constructor takes scattered samples; `from_dataset` takes labelled data, gridded or scattered; `read`
    a file.

    Parameters
    ----------
    values
        Variable -> samples of shape (n,); NaN (or masked) = missing.
    points
        Coordinate -> positions of shape (n,), finite. Points may repeat: they are replicates.
    noise
        A number is a fraction of rms(u), for every variable or, in a mapping, for one. An array of the
        variable's
        shape, or the name of a variable that holds one, is the standard error of each value in u's own units.
        Absent: estimated from the data.
    columns
        Further labels of shape (n,), for `select` only.
    units
        Variable or coordinate -> unit.
    periodic
        Coordinate -> period; on a grid True means one spacing past the last node.

    Attributes
    ----------
    dataset
        The one representation. Gridded: the dimensions are the coordinates, then replicates. Scattered: one
        dimension
        ``point``. Arrays are float64 and read-only.
    coordinates
        Names, in the order of the dimensions; time last where the data are scattered.
    replicates
        Dimensions along which the same field is measured again.

    Raises
    ------
    DataError
        If the arrays cannot serve: shapes that differ, text, complex or infinite values, nothing finite, one
        place.

    Examples
    --------
    >>> import numpy as np
    >>> t, x = np.random.default_rng(0).random((2, 50))
    >>> obs = Observations(values={"u": np.sin(x + t)}, points={"t": t, "x": x}, noise={"u": 0.02})
    >>> obs.coordinates, obs.gridded, obs.samples("u").points.shape
    (('x', 't'), False, (50, 2))
    >>> round(obs.noise_sd("u") / obs.rms("u"), 3), obs.noise_source("u")
    (0.02, 'given')
    """

    dataset: xr.Dataset
    coordinates: tuple[str, ...]
    replicates: tuple[str, ...]
    _estimates: dict[str, float] = field(repr=False)

    def __init__(
        self,
        values: Mapping[str, ArrayLike],
        points: Mapping[str, ArrayLike],
        noise: Noise = None,
        *,
        columns: Mapping[str, ArrayLike] | None = None,
        units: Mapping[str, str] | None = None,
        periodic: Mapping[str, Any] | None = None,
    ) -> None:
        raw = building.scattered_dataset(values, points, columns or {})
        self._fill(raw, noise, coordinates=tuple(points), units=units, periodic=periodic)

    @classmethod
    def from_dataset(
        cls,
        dataset: xr.Dataset | xr.DataArray,
        noise: Noise = None,
        *,
        variables: Iterable[str] | None = None,
        coordinates: Iterable[str] | None = None,
        replicates: Iterable[str] | None = None,
        units: Mapping[str, str] | None = None,
        periodic: Mapping[str, Any] | None = None,
    ) -> Observations:
        """From labelled data: dimensions with coordinate values make a grid, one bare dimension scattered
        points.

        Parameters
        ----------
        dataset
            Attributes read: ``units`` of variables and coordinates, ``periodic`` (True or a period) of
            coordinates,
            ``standard_error`` of a variable (a number in its units, or the name of a variable). NaN =
            missing. Dates
            become seconds since the first.
        noise, units, periodic
            As for `Observations`.
        variables
            Those to keep; all by default.
        coordinates
            Names, where they are not plain from the dimensions; fixes their order.
        replicates
            Dimensions that count repeats of the same field; a dimension named ``replicate`` by default.

        Raises
        ------
        DataError
            As for `Observations`; also for unsorted or repeated coordinates, one node on an axis, a dimension
            without coordinate values.

        Examples
        --------
        >>> import numpy as np, xarray as xr
        >>> x, t = np.linspace(0, 1, 20), np.linspace(0, 2, 30)
        >>> u = xr.DataArray(np.sin(x[:, None] - t), dims=("x", "t"), coords={"x": x, "t": t}, name="u")
        >>> obs = Observations.from_dataset(u, noise=0.01, units={"u": "K"})
        >>> obs.gridded, obs.grid().shape, obs.units
        (True, (20, 30), {'u': 'K'})
        """
        if isinstance(dataset, xr.DataArray):
            dataset = dataset.to_dataset(name=dataset.name or "u")
        if not isinstance(dataset, xr.Dataset):
            raise DataError(
                f"from_dataset was given a {type(dataset).__name__}; an xarray.Dataset was wanted. For "
                "arrays use "
                "Observations(values=..., points=...)."
            )
        result = object.__new__(cls)
        result._fill(
            dataset,
            noise,
            variables=variables,
            coordinates=coordinates,
            replicates=replicates,
            units=units,
            periodic=periodic,
        )
        return result

    def _fill(
        self,
        raw: xr.Dataset,
        noise: Noise,
        *,
        variables: Iterable[str] | None = None,
        coordinates: Iterable[str] | None = None,
        replicates: Iterable[str] | None = None,
        units: Mapping[str, str] | None = None,
        periodic: Mapping[str, Any] | None = None,
    ) -> None:
        wanted = None if variables is None else [variables] if isinstance(variables, str) else list(variables)
        raw, fractions, named = attach(raw, noise, wanted)
        raw, lay = building.layout(raw, wanted, coordinates, replicates, named.values())
        named = {v: n for v, n in named.items() if v in lay.variables}
        dataset = building.build(raw, lay, named, periodic or {}, units or {})
        self._set(settle(dataset, lay.variables, fractions, named), lay.coordinates, lay.replicates, {})

    def _set(
        self,
        dataset: xr.Dataset,
        coordinates: tuple[str, ...],
        replicates: tuple[str, ...],
        estimates: dict[str, float],
    ) -> None:
        object.__setattr__(self, "dataset", dataset)
        object.__setattr__(self, "coordinates", coordinates)
        object.__setattr__(self, "replicates", replicates)
        object.__setattr__(self, "_estimates", estimates)

    def _with(self, dataset: xr.Dataset, *, part: bool = False) -> Observations:
        """These observations on another dataset: checked again, or a mere part with the same noise
        estimate.
        """
        result = object.__new__(Observations)
        if part:
            result._set(dataset, self.coordinates, self.replicates, dict(self._estimates))
            return result
        # Coordinates that are no longer there were selected away.
        left = tuple(c for c in self.coordinates if c in dataset.coords)
        result._fill(
            dataset, None, coordinates=left, replicates=[r for r in self.replicates if r in dataset.dims]
        )
        return result

    # What is here

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the measured variables."""
        errors = {a.attrs.get("standard_error") for a in self.dataset.data_vars.values()}
        return tuple(str(v) for v in self.dataset.data_vars if v not in errors)

    @property
    def gridded(self) -> bool:
        """Whether the values lie on a grid, rather than at scattered points."""
        return POINT not in self.dataset.dims

    @property
    def units(self) -> dict[str, str]:
        """Variable or coordinate -> unit, where one is known."""
        named = {n: str(self.dataset[n].attrs.get("units", "")) for n in (*self.variables, *self.coordinates)}
        return {n: u for n, u in named.items() if u}

    @property
    def periodic(self) -> dict[str, float]:
        """Coordinate -> period, of those that wrap."""
        attrs = {c: self.dataset[c].attrs for c in self.coordinates}
        return {c: float(a["periodic"]) for c, a in attrs.items() if "periodic" in a}

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """Coordinate or variable -> least and greatest value over the finite data; coordinates first."""
        result: dict[str, tuple[float, float]] = {}
        for c in self.coordinates:
            seen = np.zeros(self.dataset[c].size, dtype=bool)
            for v in self.variables:
                array = self.dataset[v]
                if self.dataset[c].dims[0] in array.dims:
                    other = [d for d in array.dims if d != self.dataset[c].dims[0]]
                    seen |= array.notnull().any(other).values
            x = self.dataset[c].values[seen]
            result[c] = (float(x.min()), float(x.max()))
        for v in self.variables:
            finite = self._finite(v)
            result[v] = (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)
        return result

    def coordinates_of(self, variable: str) -> tuple[str, ...]:
        """The coordinates a variable depends on, in the order of `coordinates`."""
        dims = self.dataset[self._variable(variable)].dims
        return tuple(c for c in self.coordinates if not self.gridded or c in dims)

    def grid(self, names: Iterable[str] | None = None) -> Grid:
        """The grid of the data, or of some of its coordinates, in the order of the data.

        Raises
        ------
        DataError
            If the data are scattered.
        GridError
            If a name is not a coordinate.
        """
        if not self.gridded:
            raise DataError(
                f"The observations are scattered over {self.coordinates} and have no grid; make one over "
                "their bounds."
            )
        units, periodic = self.units, self.periodic
        whole = Grid(
            *(
                Axis.from_points(
                    c, self.dataset[c].values, periodic=periodic.get(c, False), unit=units.get(c, "")
                )
                for c in self.coordinates
            )
        )
        return whole if names is None else whole.subgrid([names] if isinstance(names, str) else names)

    def _variable(self, name: str) -> str:
        if name not in self.variables:
            raise DataError(
                f"The observations have no variable '{name}'.{did_you_mean(name, self.variables)}"
            )
        return name

    def _finite(self, variable: str) -> Array:
        values = self.dataset[self._variable(variable)].values
        return values[np.isfinite(values)]

    # Samples and noise

    def samples(self, variable: str) -> Samples:
        """The finite values of a variable, with points and standard errors; replicates are further
        samples.
        """
        array = self.dataset[self._variable(variable)]
        names = self.coordinates_of(variable)
        keep = np.isfinite(array.values)
        if self.gridded:
            index = np.nonzero(keep)
            columns = [self.dataset[c].values[index[array.dims.index(c)]] for c in names]
        else:
            columns = [self.dataset[c].values[keep] for c in names]
        error = array.attrs.get("standard_error")
        if isinstance(error, str):
            sd = self.dataset[error].broadcast_like(array).transpose(*array.dims).values[keep]
        else:
            sd = np.full(int(keep.sum()), self.noise_sd(variable) if keep.any() else np.nan)
        floor = _FLOOR * (self.rms(variable) or 1.0) if keep.any() else 0.0
        return Samples(names, np.stack(columns, axis=-1), array.values[keep], np.maximum(sd, floor))

    def rms(self, variable: str) -> float:
        """Root mean square of the finite values, in the units of the variable."""
        finite = self._finite(variable)
        return float(np.sqrt(np.mean(finite**2))) if finite.size else np.nan

    def noise_sd(self, variable: str) -> float:
        """Typical standard error (root mean square), in the units of the variable; estimated where none was
        given.
        """
        array = self.dataset[self._variable(variable)]
        error = array.attrs.get("standard_error")
        if isinstance(error, str):
            sd = (
                self.dataset[error]
                .broadcast_like(array)
                .transpose(*array.dims)
                .values[np.isfinite(array.values)]
            )
            return float(np.sqrt(np.mean(sd**2)))
        if error is not None:
            return float(error)
        if variable not in self._estimates:
            self._estimates[variable] = self._estimate(variable)
        return self._estimates[variable]

    def _estimate(self, variable: str) -> float:
        array = self.dataset[variable]
        names = self.coordinates_of(variable)
        try:
            if not self.gridded:
                return estimate_noise(
                    array.values, np.stack([self.dataset[c].values for c in names], axis=-1)
                )
            repeats = tuple(i for i, d in enumerate(array.dims) if d in self.replicates)
            nodes = tuple(self.dataset[c].values for c in names)
            return estimate_noise(array.values, nodes=nodes, repeats=repeats)
        except DataError as error:
            raise DataError(str(error).replace("'u'", f"'{variable}'")) from error

    def noise_source(self, variable: str) -> str:
        """``"given"`` or ``"estimated"``."""
        return "given" if "standard_error" in self.dataset[self._variable(variable)].attrs else "estimated"

    @property
    def noise(self) -> dict[str, float]:
        """Variable -> noise as a fraction of rms(u), given or estimated."""
        return {v: self.noise_sd(v) / (self.rms(v) or 1.0) for v in self.variables}

    # Parts and variants

    def select(self, **where: Any) -> Observations:
        """Keep what equals the value along a dimension, coordinate or column; a list keeps several.

        A single value takes its dimension, coordinate or column away.

        Raises
        ------
        DataError
            If there is no such name or value; the message lists the nearest that exist.
        """
        dataset = self.dataset
        for name, value in where.items():
            dataset = selection.pick(dataset, self.coordinates, self.gridded, name, value)
        return self._with(dataset)

    def window(self, **ranges: tuple[float | None, float | None]) -> Observations:
        """Keep what lies in closed ranges, as ``window(x=(0, 1), t=(None, 5))``; a cut axis no longer
        wraps.
        """
        return self._with(selection.window(self.dataset, self.coordinates, ranges))

    def mask(self, keep: ArrayLike | xr.DataArray) -> Observations:
        """Values where ``keep`` (the shape of the data, or labelled) is false become missing."""
        return self._with(selection.mask(self.dataset, self.variables, keep))

    def scattered(self) -> Observations:
        """The same samples as scattered observations, one row for each place (and replicate) with a finite
        value.
        """
        if not self.gridded:
            return self
        dataset = selection.scatter(self.dataset, self.coordinates, self.replicates, self.variables)
        return self._with(dataset)

    def thin(self, n: int, seed: int = 0) -> Observations:
        """A random subset of ``n`` places as scattered observations.

        Raises
        ------
        DataError
            If there are fewer than ``n``.
        """
        whole = self.scattered()
        size = whole.dataset.sizes[POINT]
        if not 2 <= n <= size:
            raise DataError(
                f"A sample of {n} points was asked of {size}; a number from 2 to {size} was wanted."
            )
        keep = np.sort(np.random.default_rng(seed).permutation(size)[:n])
        return whole._with(whole.dataset.isel({POINT: keep}))

    def hold_out(
        self, fraction: float, seed: int = 0, variables: Iterable[str] | None = None
    ) -> tuple[Observations, Observations]:
        """Split at random into (train, test), sample by sample, all variables together.

        On a grid what the other part holds is missing (NaN). Variables on fewer coordinates than the rest,
        and those
        not in ``variables``, are whole in both. Both parts keep one noise estimate, that of the whole.

        Raises
        ------
        DataError
            If the fraction leaves either part without samples.
        """
        split = self.variables if variables is None else tuple(self._variable(v) for v in variables)
        for v in split:
            self.noise_sd(v)
        rows = not self.gridded and set(split) == set(self.variables)
        parts = selection.split(self.dataset, self.coordinates, split, fraction, seed, rows)
        train, test = (self._with(p, part=True) for p in parts)
        return train, test

    def add_noise(self, fraction: float | Mapping[str, float], seed: int = 0) -> Observations:
        """With Gaussian noise of sigma = fraction * rms(u) added to each variable, or to those in a mapping.

        A noise that was given grows accordingly; an estimate is made anew.
        """
        amounts = dict(fraction) if isinstance(fraction, Mapping) else dict.fromkeys(self.variables, fraction)
        scale = {self._variable(v): self.rms(v) for v in amounts}
        return self._with(with_noise(self.dataset, {v: (f, scale[v]) for v, f in amounts.items()}, seed))

    def rename(self, names: Mapping[str, str]) -> Observations:
        """With other names for variables and coordinates, as ``rename({"temperature": "u"})``."""
        for old in names:
            if old not in self.dataset.variables:
                raise DataError(
                    f"There is no '{old}' to rename.{did_you_mean(old, map(str, self.dataset.variables))}"
                )
        result = object.__new__(Observations)
        result._fill(
            selection.rename(self.dataset, names),
            None,
            coordinates=[names.get(c, c) for c in self.coordinates],
            replicates=[names.get(r, r) for r in self.replicates],
        )
        return result

    def interpolate(self, variable: str, points: Mapping[str, ArrayLike], method: str = "linear") -> Array:
        """A variable at other points: linear or (on a grid) cubic, constant beyond the range, replicates
        averaged.

        Parameters
        ----------
        variable
            Its name.
        points
            Position along each of the variable's own coordinates; arrays that broadcast. Further names are
            ignored.
        method
            ``"linear"`` or ``"cubic"``; cubic falls back to linear on scattered data, beside gaps and on
            axes of
            fewer than 4 nodes.

        Returns
        -------
        Array
            In the broadcast shape of the points.

        Raises
        ------
        DataError
            If a coordinate is not given, or a point of a grid lies beside a missing value.
        """
        if method not in ("linear", "cubic"):
            raise DataError(
                f"Interpolation '{method}' is not known.{did_you_mean(method, ('linear', 'cubic'))}"
            )
        names = self.coordinates_of(variable)
        lacking = [c for c in names if c not in points]
        if lacking:
            raise DataError(f"'{variable}' depends on {names}; no points were given along {lacking}.")
        at = np.broadcast_arrays(*(np.asarray(points[c], dtype=float) for c in names))
        flat = np.stack([a.ravel() for a in at], axis=-1)
        if not np.isfinite(flat).all():
            raise DataError(f"'{variable}' is wanted at points that are not finite numbers.")
        array = self.dataset[variable]
        if self.gridded:
            repeats = [d for d in array.dims if d in self.replicates]
            array = array.mean(repeats) if repeats else array
            values = interpolation.on_grid(variable, array.values, self.grid(names), flat, method)
        else:
            keep = np.isfinite(array.values)
            places = np.stack([self.dataset[c].values[keep] for c in names], axis=-1)
            values = interpolation.at_scattered(array.values[keep], places, flat)
        return values.reshape(at[0].shape)

    # For people and for provenance

    def summary(self) -> str:
        """A few lines: variables, counts, missing values, ranges, units and noise."""
        return describe.summary(self)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{d}: {n}" for d, n in self.dataset.sizes.items())
        return f"<Observations {', '.join(self.variables)} ({sizes})>"

    def digest(self) -> str:
        """SHA-256 of names, dimensions, coordinates and values, the same on every machine and in any order
        of names.
        """
        return describe.digest(self.dataset)
