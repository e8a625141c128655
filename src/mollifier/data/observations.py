"""Observations: a measured field, gridded or scattered, with its units, gaps and noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mollifier.data import building, errorbars, lazy, selection
from mollifier.data.building import POINT
from mollifier.data.errorbars import Noise, trusted
from mollifier.data.labelled import Labelled
from mollifier.data.noise import of_rms
from mollifier.data.selection import Samples
from mollifier.errors import DataError
from mollifier.io.arguments import typed
from mollifier.io.draws import Rng, generator
from mollifier.mollify.arrays import Array


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Observations(Labelled):
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
        variable's shape, or the name of a variable that holds one, is the standard error of each value in
        u's own units. A mapping declares more: ``{"fraction": 0.01, "sensor_gain": 0.02}`` (docs: data).
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
        dimension ``point``. Arrays are float64 and read-only. Of data in blocks it is an overview: every so
        many nodes along each axis.
    coordinates
        Names, in the order of the dimensions; time last where the data are scattered.
    replicates
        Dimensions along which the same field is measured again.
    whole
        The data of which these are an overview, where they are read in blocks; None where all are in memory.

    Raises
    ------
    DataError
        If the arrays cannot serve: shapes that differ, text, complex or infinite values, no place at all.

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

    @typed("noise")
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
        self._set(*errorbars.prepare(raw, noise, coordinates=tuple(points), units=units, periodic=periodic))

    @classmethod
    @typed("dataset", "noise")
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
        """From labelled data: dimensions with coordinate values make a grid, a bare one scattered points.

        Parameters
        ----------
        dataset
            Attributes read: ``units`` of variables and coordinates, ``periodic`` (True or a period) of
            coordinates, ``standard_error`` of a variable (a number in its units, or the name of a variable).
            NaN = missing. Dates become seconds since the first. Dask arrays on a grid stay where they are and
            are read in blocks.
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
        names: dict[str, Any] = {"variables": variables, "coordinates": coordinates, "replicates": replicates}
        if isinstance(dataset, xr.DataArray):
            dataset = dataset.to_dataset(name=dataset.name or "u")
        if not lazy.lazy_variables(dataset):
            prepared = errorbars.prepare(dataset, noise, **names, units=units, periodic=periodic)
            return object.__new__(cls)._set(*prepared)
        raw = building.with_axes(lazy.ordered(dataset), periodic or {})
        seen, axes, repeats = errorbars.prepare(lazy.overview(raw), noise, **names, units=units)
        whole = object.__new__(cls)._set(lazy.like(raw, seen), axes, repeats)
        middle = cls.from_dataset(lazy.middle(whole.dataset), coordinates=axes, replicates=repeats)
        return object.__new__(cls)._set(seen, axes, repeats, whole=whole, middle=middle)

    def _set(
        self,
        dataset: xr.Dataset,
        coordinates: tuple[str, ...],
        replicates: tuple[str, ...],
        estimates: Mapping[str, float] | None = None,
        whole: Observations | None = None,
        middle: Observations | None = None,
    ) -> Self:
        found = {"_estimates": dict(estimates or {}), "_findings": {}, "_middle": middle}
        vars(self).update(
            dataset=dataset, coordinates=coordinates, replicates=replicates, whole=whole, **found
        )
        return self

    def _with(self, dataset: xr.Dataset, names: Mapping[str, str] | None = None) -> Observations:
        """These observations on another dataset, checked again; ``names`` are those that changed."""
        coordinates, repeats = (
            [(names or {}).get(n, n) for n in a] for a in (self.coordinates, self.replicates)
        )
        # What is no longer there was selected away.
        left = [c for c in coordinates if c in dataset.coords]
        return self.from_dataset(
            dataset, coordinates=left, replicates=[r for r in repeats if r in dataset.dims]
        )

    def samples(self, variable: str, most: int | None = None, rng: Rng = 0) -> Samples:
        """The finite values of a variable, with points and standard errors; replicates are further ones.

        At most ``most`` of them, drawn at random.
        """
        sd = errorbars.known(self.dataset, self._variable(variable))
        if sd is None:
            sd = self.noise_sd(variable) if np.isfinite(self.dataset[variable].values).any() else np.nan
        return selection.samples(self.dataset, variable, self.coordinates_of(variable), sd, most, rng)

    def select(self, **where: Any) -> Observations:
        """Keep what equals the value along a dimension, coordinate or column; a list keeps several.

        A single value takes its dimension, coordinate or column away.

        Raises
        ------
        DataError
            If there is no such name or value; the message lists the nearest that exist.

        >>> obs = Observations({"u": [1.0, 2.0, 3.0]}, {"x": [0.0, 1.0, 2.0]}, noise=0.1)
        >>> obs.select(x=[0.0, 2.0]).samples("u").values.tolist()
        [1.0, 3.0]
        """
        dataset = (self.whole or self).dataset
        for name, value in where.items():
            dataset = selection.pick(dataset, self.coordinates, self.gridded, name, value)
        return self._with(dataset)

    def window(self, **ranges: tuple[float | None, float | None]) -> Observations:
        """Keep what lies in closed ranges, as ``window(x=(0, 1), t=(None, 5))``; a cut axis wraps no more."""
        return self._with(selection.window((self.whole or self).dataset, self.coordinates, ranges))

    def load(self) -> Observations:
        """With all values in memory, where they are read in blocks: other engines take no blocks."""
        return self if self.whole is None else self._with(self.whole.dataset.load())

    def mask(self, keep: ArrayLike | xr.DataArray, note: str = "") -> Observations:
        """Values where ``keep`` (the shape of the data, or labelled) is false become missing.

        A ``note`` on the reason goes into the summary.
        """
        found = selection.mask(self.in_memory, self.variables, keep)
        return self._with(building.noted(found, "masked", note))

    def mask_outliers(self) -> Observations:
        """With the values that `damage` finds missing; how many and where is in the summary.

        Examples
        --------
        >>> x = np.linspace(0, 1, 60)
        >>> u = np.where(np.arange(60) == 20, 9.0, np.sin(3 * x))
        >>> obs = Observations({"u": u}, {"x": x}).mask_outliers()
        >>> print(obs.summary().splitlines()[-1])
          masked: 1 value of u (1.7 %) is far from all neighbours, at x = 0.339
        """
        dataset, found = self.in_memory.copy(), self.part.damage
        for d in found:
            dataset[d.variable] = dataset[d.variable].where(~d.mask)
        return self._with(building.noted(dataset, "masked", *(d.text for d in found))) if found else self

    def weighed(self, errors: Mapping[str, Array]) -> Observations:
        """With standard errors that were estimated, in the order of `samples`, for some variables."""
        dataset, arrays = self.in_memory.copy(), {}
        for v, sd in errors.items():
            there = np.isfinite(dataset[v].values)
            arrays[v] = np.full(there.shape, float(np.median(sd)))
            arrays[v][there] = sd
        found = self.from_dataset(
            dataset, noise=arrays, coordinates=self.coordinates, replicates=self.replicates
        )
        for v in errors:
            found.dataset[v].attrs["noise_source"] = "estimated"
        return found

    def scattered(self) -> Observations:
        """The same samples as scattered observations, one row for each place (and replicate) with a value."""
        if not self.gridded:
            return self
        dataset = selection.scatter(self.in_memory, self.coordinates, self.replicates, self.variables)
        return self._with(dataset)

    @typed("rng")
    def thin(self, n: int, rng: Rng = 0) -> Observations:
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
                f"sample={n} was given; a number from 2 to {size}, the number of points, was expected."
            )
        rows = np.sort(generator(rng).permutation(size)[:n])
        return whole._with(whole.dataset.isel({POINT: rows}))

    @typed("rng")
    def hold_out(
        self, fraction: float, rng: Rng = 0, variables: Iterable[str] | None = None
    ) -> tuple[Observations, Observations]:
        """Split at random into (train, test), sample by sample, all variables together.

        On a grid what the other part holds is missing (NaN). Variables on fewer coordinates than the rest,
        and those not in ``variables``, are whole in both. Both parts keep one noise estimate, that of the
        whole. Trusted samples are never held out: the fraction is of the others.

        Raises
        ------
        DataError
            If the fraction leaves either part without samples.

        >>> train, test = Observations({"u": range(20)}, {"x": range(20)}, noise=0.1).hold_out(0.25)
        >>> len(train.samples("u").values), len(test.samples("u").values)
        (15, 5)
        """
        split = self.variables if variables is None else tuple(self._variable(v) for v in variables)
        for v in split:
            self.noise_sd(v)
        rows = not self.gridded and set(split) == set(self.variables)
        parts = selection.split(self.in_memory, self.coordinates, split, fraction, rng, rows)
        train, test = (
            object.__new__(Observations)._set(p, self.coordinates, self.replicates, self._estimates)
            for p in parts
        )
        return train, test

    @typed()
    def trust(self, factor: float = 0.1, **where: Any) -> Observations:
        """With the standard errors multiplied by ``factor`` where all the named coordinates equal a value.

        So an initial or boundary profile is taken (nearly) as it was measured. Noise that was not given is
        estimated first, over everything. Trusting a sample twice multiplies twice.

        Parameters
        ----------
        factor
            Above 0, at most 1.
        where
            Coordinate -> value, to rounding, or a list of values.

        Raises
        ------
        DataError
            If there is no such coordinate, or nothing measured at the value; the message lists the nearest.

        Examples
        --------
        >>> x, t = np.meshgrid(np.linspace(0, 1, 5), [0.0, 0.5, 1.0])
        >>> obs = Observations({"u": 1 + x.ravel()}, {"x": x.ravel(), "t": t.ravel()}, noise=0.1)
        >>> sd = obs.trust(0.01, t=0).samples("u").sd / obs.noise_sd("u")
        >>> sd[[0, 4, 5, 14]].round(3).tolist()
        [0.01, 0.01, 1.0, 1.0]
        """
        mark = selection.where_trusted(self.in_memory, self.variables, self.coordinates, where)
        return self._with(errorbars.trust(self.dataset, mark, factor, self.noise_sd))

    @typed("rng")
    def add_noise(self, fraction: float | Mapping[str, float], rng: Rng = 0) -> Observations:
        """With Gaussian noise of sigma = fraction * rms(u) added to each variable, or to those in a mapping.

        A noise that was given, or kept by `trust`, grows accordingly; an estimate is made anew.
        """
        amounts = dict(fraction) if isinstance(fraction, Mapping) else dict.fromkeys(self.variables, fraction)
        for v in amounts:
            self._variable(v)
        return self._with(errorbars.with_noise(self.in_memory, amounts, rng))

    @typed()
    def rename(self, names: Mapping[str, str]) -> Observations:
        """With other names for variables and coordinates, as ``rename({"temperature": "u"})``."""
        return self._with(selection.rename((self.whole or self).dataset, names), names)

    def summary(self) -> str:
        """A few lines: variables, counts, missing values, ranges, units and noise."""
        sizes = {str(d): n for d, n in (self.whole or self).dataset.sizes.items()}
        if self.gridded:
            shape = " x ".join(str(sizes[c]) for c in self.coordinates)
            place = f"on a grid of {shape} ({', '.join(self.coordinates)})"
            place += "".join(f", {sizes[r]} repeats ({r})" for r in self.replicates)
            place += "" if self.whole is None else ", read in blocks (ranges of an overview)"
        else:
            place = f"at {sizes[POINT]:,} scattered points ({', '.join(self.coordinates)})"
        lines = [f"Observations of {', '.join(self.variables)} {place}"]
        bounds, units, periodic = self.bounds, self.units, self.periodic
        wide = max(len(n) for n in bounds)
        for name, (lo, hi) in bounds.items():
            line = f"  {name:<{wide}}  {lo:.4g} to {hi:.4g} {units.get(name, '')}".rstrip()
            if name in periodic:
                line += f", period {periodic[name]:.4g}"
            if name in self.variables:
                array = self.dataset[name]
                missing = int(array.isnull().sum())
                line += f"; {array.size - missing:,} values" + (f", {missing:,} missing" if missing else "")
                line += f"; {_noise(self, name)}"
            lines.append(line)
        notes = (n for n in ("selected", "masked") if n in self.dataset.attrs)
        lines += [f"  {n}: {self.dataset.attrs[n]}" for n in notes]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


def _noise(obs: Observations, variable: str) -> str:
    try:
        fraction = obs.noise_sd(variable) / (obs.rms(variable) or 1.0)
    except DataError:
        return "noise not given, too few values to estimate it"
    text = f"noise {of_rms(fraction)} ({obs.noise_source(variable)})"
    sure = int((trusted(obs.dataset, variable) & obs.dataset[variable].notnull().values).sum())
    return text + (f", {sure:,} values trusted" if sure else "")
