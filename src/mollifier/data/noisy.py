"""Labelled data with their noise, as given or estimated; data in blocks by a contiguous part of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import xarray as xr

from mollifier.data import errorbars, lazy
from mollifier.data.labelled import Labelled
from mollifier.data.noise_findings import NoiseFinding
from mollifier.errors import DataError


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Noisy(Labelled):
    """What `mollifier.Observations` knows of the noise of each variable.

    Attributes
    ----------
    whole
        The data of which these are an overview, where they are read in blocks; None where all are in memory.
    """

    whole: Any
    _estimates: dict[str, float] = field(repr=False)
    _findings: dict[str, tuple[NoiseFinding, ...]] = field(repr=False)

    @cached_property
    def part(self) -> Any:
        """These observations; of data in blocks the contiguous middle, which noise is judged by."""
        if self.whole is None:
            return self
        whole = self.whole.dataset
        cut = lazy.central([*whole.sizes.values()], lazy.DEFAULT.part)
        dataset = lazy.part(whole, dict(zip(map(str, whole.sizes), cut, strict=True)))
        for name, array in dataset.coords.items():
            if array.size < whole.sizes.get(name, 0):
                array.attrs.pop("periodic", None)
        return self._with(dataset)

    @classmethod
    def from_dataset(
        cls, dataset: xr.Dataset, *, coordinates: Iterable[str], replicates: Iterable[str]
    ) -> Any:
        """As of `mollifier.Observations`."""
        raise NotImplementedError

    def _with(self, dataset: xr.Dataset, names: Mapping[str, str] | None = None) -> Any:
        """These observations on another dataset, checked again; ``names`` are those that changed."""
        coordinates, repeats = (
            [(names or {}).get(n, n) for n in a] for a in (self.coordinates, self.replicates)
        )
        # What is no longer there was selected away.
        left = [c for c in coordinates if c in dataset.coords]
        return self.from_dataset(
            dataset, coordinates=left, replicates=[r for r in repeats if r in dataset.dims]
        )

    @property
    def in_memory(self) -> xr.Dataset:
        """The dataset.

        Raises
        ------
        DataError
            If the data are read in blocks.
        """
        if self.whole is None:
            return self.dataset
        raise DataError(
            "The data are read in blocks; data in memory were expected. Cut them with window or select, then "
            "take obs.load()."
        )

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

        Examples
        --------
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
