"""A labelled dataset as what was measured: variables over coordinates, units, periods, gaps and noise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mollifier.data import errorbars
from mollifier.data.building import POINT
from mollifier.data.damage import Damage, find_damage
from mollifier.data.interpolation import at_scattered, on_grid, positions
from mollifier.data.noise_model import NoiseEffect, effects_of
from mollifier.data.noise_structure import NoiseFinding
from mollifier.errors import DataError, check_known
from mollifier.io.printed import Printed
from mollifier.mollify.arrays import Array, rms
from mollifier.mollify.grid import Grid, axis_of

_HASHED = 2**20  # Values that are hashed at a time: a copy of all would take as much memory as the data.


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Labelled(Printed):
    """What can be asked of measured variables and their noise; attributes as of `Observations`."""

    dataset: xr.Dataset
    coordinates: tuple[str, ...]
    replicates: tuple[str, ...]
    whole: Any
    _middle: Any
    _estimates: dict[str, float]
    _findings: dict[str, tuple[NoiseFinding, ...]]

    @property
    def part(self) -> Any:
        """These observations; of data in blocks the contiguous middle, which noise is judged by."""
        return self if self.whole is None else self._middle

    @property
    def in_memory(self) -> xr.Dataset:
        """The dataset; `DataError` if the data are read in blocks."""
        if self.whole is None:
            return self.dataset
        raise DataError(
            "The data are read in blocks; data in memory were expected. Cut them with window or select, then "
            "take obs.load()."
        )

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the measured variables."""
        beside = errorbars.linked(self.dataset)
        return tuple(str(v) for v in self.dataset.data_vars if v not in beside)

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
            along = self.dataset[c].dims[0]
            for v in self.variables:
                array = self.dataset[v]
                if along in array.dims:
                    seen |= array.notnull().any([d for d in array.dims if d != along]).values
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

        Raises `DataError` if the data are scattered, and `GridError` if a name is not a coordinate.
        """
        if not self.gridded:
            where = f"scattered over {self.coordinates}"
            raise DataError(f"The observations are {where} and have no grid; make one over their bounds.")
        whole = Grid(*(axis_of(self.dataset[c]) for c in self.coordinates))
        return whole if names is None else whole.subgrid([names] if isinstance(names, str) else names)

    def _variable(self, name: str) -> str:
        check_known([name], self.variables, DataError, "The observations have no variable '{}'.")
        return name

    def _finite(self, variable: str) -> Array:
        values = self.dataset[self._variable(variable)].values
        return values[np.isfinite(values)]

    def rms(self, variable: str) -> float:
        """Root mean square of the finite values, in the units of the variable."""
        return rms(self.dataset[self._variable(variable)].values)

    def noise_sd(self, variable: str) -> float:
        """Typical standard error, in the units of the variable; estimated where none was given.

        Where values have their own: the median over those that are not trusted.
        """
        given = errorbars.typical(self.dataset, self._variable(variable))
        if given is not None:
            return given
        if self.whole is not None:
            return self.part.noise_sd(variable)
        if variable not in self._estimates:
            names = self.coordinates_of(variable)
            found = self.noise_findings(variable)
            self._estimates[variable] = errorbars.estimate(
                self.dataset, variable, names, self.replicates, found
            )
        return self._estimates[variable]

    def noise_source(self, variable: str) -> str:
        """``"given"`` or ``"estimated"``."""
        attrs = self.dataset[self._variable(variable)].attrs
        return str(attrs.get("noise_source", "given")) if "standard_error" in attrs else "estimated"

    def noise_findings(self, variable: str) -> tuple[NoiseFinding, ...]:
        """What the data show of the noise besides white, and besides what was given; on grids mainly.

        Effects of sensors and frames, correlation, growth with the level, tails, rounding, a wrong size.

        >>> import numpy as np
        >>> from mollifier import Observations
        >>> x, t, rng = np.linspace(0, 1, 40), np.linspace(0, 1, 30), np.random.default_rng(0)
        >>> u = np.exp(-t) * (2 + np.sin(6 * x[:, None])) + 0.05 * rng.standard_normal((40, 1))
        >>> data = xr.DataArray(u, {"x": x, "t": t}, ("x", "t"), name="u")
        >>> for found in Observations.from_dataset(data).noise_findings("u"):
        ...     print(found.text)
        each sensor has its own offset (about 2.6 % of rms)
        """
        if self.whole is not None:
            return self.part.noise_findings(variable)
        if variable not in self._findings:
            names = self.coordinates_of(variable)
            found = errorbars.findings(self.dataset, variable, names, self.replicates)
            self._findings[variable] = found
        return self._findings[variable]

    @property
    def noise(self) -> dict[str, float]:
        """Variable -> noise as a fraction of rms(u), given or estimated."""
        return {v: self.noise_sd(v) / (self.rms(v) or 1.0) for v in self.variables}

    def noise_effects(self, variable: str) -> tuple[NoiseEffect, ...]:
        """The random effects that were declared for a variable."""
        return effects_of(self.dataset[self._variable(variable)])

    @cached_property
    def damage(self) -> list[Damage]:
        """Values that are no measurements of the field: fill values, dead sensors and frames, spikes."""
        parts = [find_damage(self.dataset, v, self.coordinates_of(v)) for v in self.variables]
        return [d for part in parts for d in part]

    def interpolate(self, variable: str, points: Mapping[str, ArrayLike], method: str = "linear") -> Array:
        """A variable at other points, constant beyond the range, replicates averaged.

        ``points`` has positions along each of the variable's own coordinates, arrays that broadcast and whose
        shape the result has; further names are ignored. The method is "linear" or "cubic", which falls back
        to linear on scattered data, beside gaps and on axes of fewer than 4 nodes. Raises `DataError` if a
        coordinate is not given, or a point of a grid lies beside a missing value.
        """
        check_known([method], ("linear", "cubic"), DataError, "Interpolation '{}' is not known.")
        names = self.coordinates_of(variable)
        flat, shape = positions(variable, names, points)
        array = self.dataset[variable]
        if self.gridded:
            repeats = [d for d in array.dims if d not in names]
            array = array.mean(repeats) if repeats else array
            return on_grid(variable, array.values, self.grid(names), flat, method).reshape(shape)
        keep = np.isfinite(array.values)
        places = np.stack([self.dataset[c].values[keep] for c in names], axis=-1)
        return at_scattered(array.values[keep], places, flat).reshape(shape)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{d}: {n}" for d, n in self.dataset.sizes.items())
        return f"<Observations {', '.join(self.variables)} ({sizes})>"

    def digest(self) -> str:
        """SHA-256 of names, dimensions and values, the same on every machine and in any order of names.

        Numbers are taken as little-endian float64.
        """
        h = hashlib.sha256()
        for name in sorted(map(str, self.dataset.variables)):
            array = self.dataset.variables[name]
            h.update(f"{name}|{array.dims}|{array.shape}|".encode())
            values = array.values
            if values.dtype.kind in "fiub":
                flat = values.ravel()
                for start in range(0, flat.size, _HASHED):
                    part = np.asarray(flat[start : start + _HASHED], dtype="<f8") + 0.0
                    h.update(np.where(np.isnan(part), np.nan, part).tobytes())
            else:
                h.update("\0".join(map(str, values.ravel())).encode())
        return h.hexdigest()
