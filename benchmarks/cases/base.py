"""A benchmark case: a problem with its truth, its noise, where it comes from and when it fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.data.observations import Observations
from mollifier.diagnostics.scores import score
from mollifier.problem.domain import Domain
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.unknowns import Unknown

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """A problem whose answer is known.

    Attributes
    ----------
    name, title
        Short name, and one line for tables.
    equation
        Text in the equation language.
    unknowns
        Name -> `ScalarUnknown` or `FieldUnknown`.
    clean
        What is measured, without noise: states and known coefficients, on the grid of the measurement, or at
        scattered points along a dimension ``point``. Coordinates carry ``periodic`` where they wrap.
    truth
        Unknown -> its true value, or an array on a grid fine enough to judge by.
    source
        Where the problem comes from.
    fails
        When it is hard, and when it has no answer.
    constants
        Name -> known number.
    fields
        The states: the measured variables that the equation is solved for.
    noisy
        Variables that carry noise; the states by default. All others are exact.
    noise
        Standard noise: sigma / rms(u) of each noisy variable.
    sd
        Variable -> standard noise in its own units, where the source defines it so; takes the place of
        ``noise`` for that variable.
    levels
        Noise levels, sigma / rms(u), that a benchmark of the case should go through; its standard noise where
        none are given.
    engines
        Engines that suit it; the one that "auto" takes where none are given.
    targets
        Noise level -> the largest relative error of an unknown that is aimed at.
    points
        So many places drawn at random with each seed, as scattered data; all by default.
    domain
        Where the equation holds; the box of the data by default.

    Examples
    --------
    >>> from benchmarks.cases.registry import case
    >>> reaction = case("reaction_rate")
    >>> reaction.equation, sorted(reaction.unknowns), reaction.clean.sizes["x"]
    ('lam*u_xx - k*u = sin(2*pi*x)', ['k'], 100)
    >>> reaction.observations(noise=0.02, seed=1).noise_source("u")
    'estimated'
    >>> known = reaction.problem(noise=0.02, seed=1, known_noise=True)
    >>> round(known.data.noise["u"], 3)
    0.02
    """

    name: str
    title: str
    equation: str
    unknowns: Mapping[str, Unknown]
    clean: xr.Dataset
    truth: Mapping[str, float | xr.DataArray]
    source: str
    fails: str
    fields: tuple[str, ...]
    constants: Mapping[str, float] = field(default_factory=dict)
    noisy: tuple[str, ...] = ()
    noise: float = 0.01
    sd: Mapping[str, float] = field(default_factory=dict)
    levels: tuple[float, ...] = ()
    engines: tuple[str, ...] = ()
    targets: Mapping[float, float] = field(default_factory=dict)
    points: int | None = None
    domain: Domain | None = None

    def __post_init__(self) -> None:
        if not self.noisy:
            object.__setattr__(self, "noisy", self.fields)

    @property
    def scalars(self) -> dict[str, float]:
        """The true numbers."""
        return {n: float(v) for n, v in self.truth.items() if not isinstance(v, xr.DataArray)}

    @property
    def true_fields(self) -> xr.Dataset:
        """The true fields, on their own grid."""
        return xr.Dataset({n: v for n, v in self.truth.items() if isinstance(v, xr.DataArray)})

    def sigma(self, noise: float | None = None) -> dict[str, float]:
        """Standard deviation of the noise of each noisy variable, in its own units.

        Parameters
        ----------
        noise
            sigma / rms(u); the standard noise of the case where it is not given.
        """
        rms = {v: math.sqrt(float((self.clean[v] ** 2).mean())) for v in self.noisy}
        if noise is not None:
            return {v: noise * r for v, r in rms.items()}
        return {v: self.sd.get(v, self.noise * r) for v, r in rms.items()}

    def observations(
        self,
        noise: float | None = None,
        seed: int = 0,
        points: int | None = None,
        known_noise: bool = False,
    ) -> Observations:
        """Noisy measurements.

        Parameters
        ----------
        noise
            sigma / rms(u) of each noisy variable; the standard noise of the case where it is not given.
        seed
            Of the noise and of the places.
        points
            So many places drawn at random, as scattered data; those of the case by default.
        known_noise
            Whether the observations say how large the noise is. By default they do not, and have to estimate
            it; variables without noise have a declared noise of 0.
        """
        rng = np.random.default_rng(seed)
        noisy = self.clean.copy()
        for v, sd in self.sigma(noise).items():
            errors = sd * rng.standard_normal(noisy[v].shape)
            attrs = {"standard_error": sd} if known_noise else {}
            noisy[v] = (noisy[v] + errors).assign_attrs({**self.clean[v].attrs, **attrs})
        exact = {str(v): 0.0 for v in noisy.data_vars if v not in self.noisy}
        data = Observations.from_dataset(noisy, noise=exact)
        points = self.points if points is None else points
        return data if points is None else data.thin(points, seed)

    def problem(
        self,
        noise: float | None = None,
        seed: int = 0,
        points: int | None = None,
        known_noise: bool = False,
    ) -> InverseProblem:
        """The inverse problem with noisy measurements; parameters as those of `observations`."""
        data = self.observations(noise, seed, points, known_noise)
        constants, fields = dict(self.constants), list(self.fields)
        return InverseProblem(self.equation, data, self.unknowns, constants, fields, domain=self.domain)

    def errors(self, solution: Solution) -> dict[str, float]:
        """Error of each unknown: relative for numbers, relative L2 on the truth's grid for fields.

        A number whose truth is zero has its absolute error; what the solution does not hold is NaN.
        """
        result = dict.fromkeys(self.truth, math.nan)
        for name, exact in self.scalars.items():
            if name in solution.estimates:
                result[name] = abs(solution.estimates[name].value - exact) / (abs(exact) or 1.0)
        return result | {n: s.relative_l2 for n, s in score(solution.dataset, self.true_fields).items()}


def on_boundary(name: str, field: Callable[[Array, Array], Array], along: Array) -> Observations:
    """Exact measurements of a field over x and y on the boundary of a square, at places along its sides.

    >>> on_boundary("a", lambda x, y: 1 + x * y, np.linspace(0, 1, 5)).dataset.sizes["point"]
    16
    """
    places = np.stack([m.ravel() for m in np.meshgrid(along, along, indexing="ij")])
    x, y = places[:, np.isin(places, (along[0], along[-1])).any(axis=0)]
    return Observations({name: field(x, y)}, {"x": x, "y": y}, noise=0.0)
