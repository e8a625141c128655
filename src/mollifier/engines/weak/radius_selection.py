"""Choice of the test functions' radii: where the predicted standard errors are smallest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from mollifier.engines.splines.laws import LawBasis
from mollifier.engines.weak.data import GridData
from mollifier.engines.weak.estimate import Estimator, Fit
from mollifier.engines.weak.passes import Pace
from mollifier.engines.weak.testspace import TestSpace, space
from mollifier.engines.weak.tuning import WeakTuning
from mollifier.errors import ConfigurationError
from mollifier.mollify.arrays import Array
from mollifier.mollify.bandwidth import spectral_corner
from mollifier.mollify.grid import Axis

Radii = tuple[float, ...]  #: One radius for each axis, in its unit; 0 along axes without derivatives.

_RADIUS_OF_SD = np.sqrt(19.0)  # (1 - s^2)^p has the standard deviation r/sqrt(2p + 3); here p is 8.


@dataclass
class RadiusSelection:
    """Fits at the radii that were tried, of which that of least predicted error is chosen."""

    orders: Mapping[str, int]  #: Axis -> highest derivative of a test function.
    estimator: Estimator  #: Of the problem.
    tried: dict[Radii, Fit] = field(default_factory=dict)  #: Radii -> the fit, in brief.
    follow: Pace | None = None  #: Called after every radius.

    def __post_init__(self) -> None:
        sums = self.estimator.sums
        self.data, self.grid, self.tuning = sums.data, sums.data.grid, sums.tuning
        self._spaces: dict[tuple[Radii, float, WeakTuning], TestSpace] = {}

    @property
    def dense(self) -> bool:
        """Whether every fit inverts the whole covariance: test functions are then B-splines."""
        return bool(self.estimator.priors) or self.estimator.whole

    @property
    def laws(self) -> bool:
        """Whether all unknown fields are laws of the state, which a part of the test functions determines."""
        return all(isinstance(b, LawBasis) for b in self.estimator.sums.bases if b.splines)

    def limits(self, axis: Axis) -> tuple[float, float]:
        """Least and greatest radius along an axis."""
        least = (self.orders[axis.name] + self.tuning.least_cells) * axis.spacing
        most = axis.length / 2
        return min(least, most), most

    def clipped(self, radii: Radii) -> Radii:
        """Radii within the limits, rounded to four digits."""
        found = []
        for axis, r in zip(self.grid, radii, strict=True):
            low, high = self.limits(axis)
            found.append(float(f"{np.clip(r, low, high):.4g}") if r else 0.0)
        return tuple(found)

    def space(
        self, radii: Radii, density: float | None = None, tuning: WeakTuning | None = None
    ) -> TestSpace:
        """Test functions of given radii, which are clipped, and density, ``tuning.density`` by default.

        For laws there are fewer where the covariance of all could not be held.
        """
        key = (
            self.clipped(radii),
            0.0 if self.dense else density or self.tuning.density,
            tuning or self.tuning,
        )
        if key not in self._spaces:
            radii, density, tuning = key
            named, ends = dict(zip(self.grid.names, radii, strict=True)), self.estimator.sums.form.ends

            def made(density: float) -> TestSpace:
                return space(self.grid, named, self.orders, density, self.data.gaps, tuning, ends)

            tests = made(density)
            if self.dense and self.laws and self.dense_residuals(tests) > tuning.most_residuals:
                tests = made(tuning.law_density)
            self._spaces[key] = tests
        return self._spaces[key]

    def residuals(self, tests: TestSpace) -> int:
        """Number of residuals of all equations, one for each test function."""
        return tests.size * self.estimator.sums.equations

    def dense_residuals(self, tests: TestSpace) -> int:
        """Number of residuals whose whole covariance takes as much memory as theirs does."""
        lattice = int(np.prod(tests.shape)) // self.tuning.gap_residuals
        return max(tests.size, lattice) * self.estimator.sums.equations

    def attempt(self, radii: Radii, start: Array, rounds: int = 1, most: int | None = None) -> Fit | None:
        """The fit at given radii.

        None where there are too few test functions, or more than ``most`` residuals (by default
        ``tuning.most_residuals``) for an unknown field.
        """
        key = self.clipped(radii)
        if key not in self.tried:
            tests = self.space(key)
            few = self.residuals(tests) < 2 * self.estimator.degrees
            if few or (self.dense and self.dense_residuals(tests) > (most or self.tuning.most_residuals)):
                return None
            try:
                self.tried[key] = self.estimator.fit(tests, start, rounds).brief
            except np.linalg.LinAlgError:
                return None
            if self.follow is not None:
                steps = 1 + 2 * (1 + sum(map(bool, key)))  # both ways, together and along each axis
                numbers, found = self.estimator.sums.numbers, self.tried[key].coefficients
                values = {n: float(found[i]) for n, i in numbers.items()}
                self.follow("radii", len(self.tried), max(steps, len(self.tried)), values)
        return self.tried[key]

    def given(self, radii: Radii, start: Array) -> Fit:
        """The fit at radii that the user gave.

        Raises `ConfigurationError` if they leave too few test functions, or too many for a field.
        """
        most, count = self.tuning.most_residuals_given, self.dense_residuals(self.space(radii))
        if self.dense and count > most:
            named = zip(self.grid.names, self.clipped(radii), strict=True)
            raise ConfigurationError(
                f"The radius ({', '.join(f'{n}={r:.4g}' for n, r in named if r)}) makes {count:,} test "
                f"functions; for an unknown field at most {most:,} were expected. Give a larger radius, or "
                "radius 'auto'."
            )
        fit = self.attempt(radii, start, 3, most)
        if fit is None:
            raise too_small(self.data)
        return fit

    def feasible(self, radii: Radii) -> Radii:
        """First radii that are feasible.

        They are narrowed until enough test functions fit on the axes and between gaps; with unknown fields
        they are then widened until the whole covariance of the residuals can be held.
        """
        least = self.estimator.degrees + max(self.estimator.degrees, self.tuning.least_freedom)
        most = self.tuning.most_residuals / 2
        while self.residuals(self.space(radii)) < least:
            narrower = tuple(r * self.tuning.narrowing for r in radii)
            if self.clipped(narrower) == self.clipped(radii):
                break
            radii = narrower
        while self.dense and self.dense_residuals(self.space(radii)) > most:
            wider = self.clipped(tuple(r * self.tuning.widening for r in radii))
            if wider == self.clipped(radii):
                break
            radii = wider
        return radii

    def search(self, first: Radii, start: Array) -> tuple[Radii, Fit]:
        """Radii with the smallest predicted error: first all scaled together, then one at a time.

        Both go one way as long as that improves, and the other way where it does not. Raises
        `ConfigurationError` if no radius leaves enough test functions.
        """
        tuning, posterior = self.tuning, self.estimator.posterior
        best: tuple[float, Radii, Fit] | None = None
        coefficients = start

        def improves(radii: Radii, rounds: int = 1) -> bool:
            nonlocal best, coefficients
            fit = self.attempt(radii, coefficients, rounds)
            if fit is None or (best and fit.freedom[1] < min(tuning.least_freedom, best[2].freedom[1])):
                return False
            value = score(fit, self.estimator)
            if best is not None and not value < best[0] - tuning.least_gain:
                return False
            best = value, self.clipped(radii), fit
            if not fit.free_directions:
                coefficients = fit.coefficients
            return True

        improves(first, rounds=tuning.law_rounds if self.dense and self.laws else 2)
        # Errors at different radii can be compared only under the same priors: those estimated first.
        posterior.learn = False
        every = range(len(first))
        for axes in (every, *([a] for a in every if first[a])):
            begun = best[1] if best else first
            for factor in (1 / tuning.radius_step, tuning.radius_step):
                for n in range(1, tuning.most_steps + 1):
                    radii = tuple(r * factor**n if a in axes else r for a, r in enumerate(begun))
                    if not improves(radii) and best:
                        break
                if best and best[1] != begun:
                    break
        posterior.learn = True
        if best is None:
            raise too_small(self.data)
        return best[1], best[2]


def score(fit: Fit, estimator: Estimator) -> float:
    """Mean log standard error of the unknowns, widened where the residuals exceed the noise.

    With fields they are weighted by coefficients found at another radius, and exceed it by up to
    ``tuning.tried_misfit`` where these are off.
    """
    total, allowed = [], estimator.sums.tuning.tried_misfit if estimator.priors else 1.0
    for b in estimator.sums.bases:
        here = estimator.sums.place[b.name]
        variance = max(b.mean_variance(fit.covariance[here, here]), 0.0)
        total.append(np.log(np.sqrt(variance) * max(fit.widening / allowed, 1.0) + 1e-300))
    return float(np.mean(total))


def first_radii(data: GridData, orders: Mapping[str, int], over: Collection[str] = ()) -> Radii:
    """Radii at which the kernel's spectrum ends where that of the data does.

    ``orders`` are the highest derivatives of a test function along each axis. Along axes that an unknown
    field varies ``over`` radii leave room for a dozen test functions. Lengths of axes are what the data cover
    between gaps.
    """
    found, tuning, grid = [], data.tuning, data.grid
    there = np.ones(grid.shape, dtype=bool) if data.gaps is None else ~data.gaps
    for i, axis in enumerate(grid):
        if not orders[axis.name]:
            found.append(0.0)
            continue
        corner = max(
            spectral_corner(data.lines(f, i), i, axis, float(np.mean(v)))
            for f, v in data.all_variances.items()
        )
        radius = tuning.corner_decay * _RADIUS_OF_SD / corner
        parts = 2.0 if not over else tuning.first_over if axis.name in over else tuning.first_across
        lines = there.mean(i)
        found.append(min(radius, 1 / parts * axis.length * float(lines[lines > 0].mean())))
    return tuple(found)


def too_small(data: GridData) -> ConfigurationError:
    """The error where no test functions are left."""
    lost = "" if data.gaps is None else f", and {100 * data.gaps.mean():.0f} % of its nodes lie in wide gaps"
    return ConfigurationError(
        f"The grid {data.grid.shape} is too small: no radius leaves enough test functions for this many "
        f"unknowns{lost}. Give more data, fewer unknowns, or use engine 'joint'."
    )
