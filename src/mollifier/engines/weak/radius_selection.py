"""The radii of the test functions, from the data: where the predicted standard errors are smallest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mollifier.engines.weak.estimate import Estimator, Fit
from mollifier.engines.weak.testspace import TestSpace, space
from mollifier.errors import ConfigurationError
from mollifier.mollify.bandwidth import spectral_corner
from mollifier.mollify.grid import Axis, Grid

Array = NDArray[np.float64]

# Centres of test functions within one radius.
DENSITY = 3.0
# Kernel and data: the kernel's spectrum has fallen by exp(-2) at the data's corner.
_DEVIATIONS = 2.0
_ISOTROPIC = (0.35, 0.5, 0.71, 1.41, 2.0, 2.83)
_FACTORS = (1.41, 0.71)
_MOST_TRIED = 24
# For fields each try costs a covariance of all residuals: fewer are made.
_ISOTROPIC_FIELDS = (0.5, 0.71, 1.41, 2.0)
_MOST_TRIED_FIELDS = 12
# First radii in shares of an axis, where a field is unknown: along those it varies over, and the others.
_OVER, _ACROSS = 6.0, 4.0
# A radius is taken only if it lowers the predicted error by more than this: wide kernels smooth, and cost
# rows.
_GAIN = 0.02
_LEAST_CELLS = 1.0
# Rows of which the whole covariance is held, for every radius that is tried, and for one that is given.
_MOST_ROWS, _MOST_GIVEN = 1800, 6000
# What a pair of products costs that gaps cut out, beside one that is held, is one in so many squared.
_CUT = 2
# Steps by which first radii are changed until the rows suit.
_WIDER, _NARROWER = 1.2, 0.8


@dataclass
class RadiusSelection:
    """Radii that were tried, and what came of them.

    Attributes
    ----------
    tried
        Radii by axis -> the fit.
    """

    orders: Mapping[str, int]
    grid: Grid
    estimator: Estimator
    tried: dict[tuple[float, ...], Fit] = field(default_factory=dict)

    def radius(self, key: tuple[float, ...]) -> dict[str, float]:
        """Radii by axis."""
        return dict(zip(self.grid.names, key, strict=True))

    def limits(self, axis: Axis) -> tuple[float, float]:
        """Least and greatest radius along an axis."""
        least = (self.orders[axis.name] + _LEAST_CELLS) * axis.spacing
        most = axis.length / 2
        return min(least, most), most

    def clipped(self, key: tuple[float, ...]) -> tuple[float, ...]:
        """Radii within the limits; 0 where the axis needs no test functions."""
        found = []
        for axis, r in zip(self.grid, key, strict=True):
            low, high = self.limits(axis)
            found.append(float(f"{np.clip(r, low, high):.4g}") if r else 0.0)
        return tuple(found)

    @property
    def fields(self) -> bool:
        """Whether a field is among the unknowns: test functions are then splines."""
        return bool(self.estimator.priors)

    def space(self, key: tuple[float, ...], density: float = DENSITY) -> TestSpace:
        """Test functions of some radii."""
        density, gaps = 0.0 if self.fields else density, self.estimator.sums.data.gaps
        return space(self.grid, self.radius(key), dict(self.orders), density, gaps)

    def rows(self, key: tuple[float, ...]) -> int:
        """Number of residuals at some radii."""
        return self.space(self.clipped(key)).size * self.estimator.sums.equations

    def held(self, tests: TestSpace) -> int:
        """Rows whose whole covariance takes as much as theirs, which is summed before gaps are cut out."""
        lattice = int(np.prod(tests.shape)) // _CUT
        return max(tests.size, lattice) * self.estimator.sums.equations

    def attempt(
        self, key: tuple[float, ...], start: Array, rounds: int = 1, most: int = _MOST_ROWS
    ) -> Fit | None:
        """The fit at some radii; None where it cannot be, or a field's would have too many rows."""
        key = self.clipped(key)
        if key not in self.tried:
            tests = self.space(key)
            few = tests.size * self.estimator.sums.equations < 2 * self.estimator.degrees
            if few or (self.fields and self.held(tests) > most):
                return None
            try:
                self.tried[key] = self.estimator.fit(tests, start, rounds)
            except np.linalg.LinAlgError:
                return None
        return self.tried[key]

    def given(self, key: tuple[float, ...], start: Array) -> Fit:
        """The fit at radii that the user gave.

        Raises
        ------
        ConfigurationError
            If they leave too few test functions, or too many for a field.
        """
        rows = self.held(self.space(self.clipped(key)))
        if self.fields and rows > _MOST_GIVEN:
            radii = ", ".join(f"{n}={r:.4g}" for n, r in self.radius(self.clipped(key)).items() if r)
            raise ConfigurationError(
                f"The radius given ({radii}) makes {rows:,} test functions; for an unknown field "
                f"{_MOST_GIVEN:,} can be held. Give a larger radius, or leave it to the data: radius 'auto'."
            )
        fit = self.attempt(key, start, 3, _MOST_GIVEN)
        if fit is None:
            raise too_small(self.grid, self.estimator.sums.data.gaps)
        return fit


def score(fit: Fit, estimator: Estimator) -> float:
    """Mean log standard error of the unknowns, wider where the equation does not hold to the noise."""
    total = []
    for b in estimator.sums.bases:
        here = estimator.sums.place[b.name]
        variance = max(b.mean_variance(fit.covariance[here, here]), 0.0)
        total.append(np.log(np.sqrt(variance) * max(1.0, fit.misfit) + 1e-300))
    return float(np.mean(total))


def first_radii(
    grid: Grid,
    values: Mapping[str, Array],
    variances: Mapping[str, Array],
    orders: Mapping[str, int],
    over: Collection[str] = (),
    gaps: NDArray[np.bool_] | None = None,
) -> tuple[float, ...]:
    """Radii at which the kernel's spectrum ends where the data's does; 0 along axes without derivatives.

    Where a field is unknown they leave room for a dozen test functions along the axes it varies over. Lengths
    are those that the data have between gaps.
    """
    found = []
    there = np.ones(grid.shape, dtype=bool) if gaps is None else ~gaps
    for i, axis in enumerate(grid):
        if not orders[axis.name]:
            found.append(0.0)
            continue
        corners = [
            spectral_corner(np.broadcast_to(v, grid.shape), i, axis, float(np.mean(variances[n])))
            for n, v in values.items()
        ]
        corner = max(corners)
        # (1 - s^2)^p has the standard deviation r/sqrt(2p + 3); p = 8 stands for all.
        radius = _DEVIATIONS * np.sqrt(19.0) / corner
        share = 1 / 2 if not over else 1 / _OVER if axis.name in over else 1 / _ACROSS
        lines = there.mean(i)
        found.append(min(radius, share * axis.length * float(lines[lines > 0].mean())))
    return tuple(found)


def search(
    selection: RadiusSelection, first: tuple[float, ...], start: Array
) -> tuple[tuple[float, ...], Fit]:
    """Radii with the smallest predicted error: all axes together first, then each by itself.

    Raises
    ------
    ConfigurationError
        If no radius leaves enough test functions.
    """
    best: tuple[float, tuple[float, ...], Fit] | None = None
    coefficients = start

    def look(key: tuple[float, ...], rounds: int = 1) -> bool:
        nonlocal best, coefficients
        fit = selection.attempt(key, coefficients, rounds)
        if fit is None:
            return False
        value = score(fit, selection.estimator)
        if best is not None and not value < best[0] - _GAIN:
            return False
        best = value, selection.clipped(key), fit
        if not fit.loose:
            coefficients = fit.coefficients
        return True

    look(first, rounds=2 if selection.fields else 3)
    # What is learnt of the priors at first holds for all radii: their errors can then be compared.
    selection.estimator.posterior.learn = False
    for factor in _ISOTROPIC_FIELDS if selection.fields else _ISOTROPIC:
        look(tuple(r * factor for r in first))
    if best is None:
        raise too_small(selection.grid, selection.estimator.sums.data.gaps)
    moved = True
    most = _MOST_TRIED_FIELDS if selection.fields else _MOST_TRIED
    while moved and len(selection.tried) < most:
        moved = False
        for a in range(len(first)):
            for factor in _FACTORS:
                key = list(best[1])
                key[a] *= factor
                if key[a] and look(tuple(key)):
                    moved = True
                    break
    selection.estimator.posterior.learn = True
    return best[1], best[2]


def suited(selection: RadiusSelection, radii: tuple[float, ...]) -> tuple[float, ...]:
    """First radii narrowed until test functions fit between gaps, or, where fields are unknown, widened.

    The covariance of all residuals must be held there.
    """
    least = 2 * selection.estimator.degrees
    gaps = selection.estimator.sums.data.gaps
    while gaps is not None and selection.rows(radii) < least:
        narrower = tuple(r * _NARROWER for r in radii)
        if selection.clipped(narrower) == selection.clipped(radii):
            break
        radii = narrower
    while selection.fields and selection.held(selection.space(selection.clipped(radii))) > _MOST_ROWS / 2:
        wider = selection.clipped(tuple(r * _WIDER for r in radii))
        if wider == selection.clipped(radii):
            break
        radii = wider
    return radii


def too_small(grid: Grid, gaps: NDArray[np.bool_] | None = None) -> ConfigurationError:
    """The error where no test functions are left."""
    lost = "" if gaps is None else f", and {100 * gaps.mean():.0f} % of its nodes lie in wide gaps"
    return ConfigurationError(
        f"No radius leaves enough test functions for this many unknowns: the grid {grid.shape} is too small"
        f"{lost}. Give more data, fewer unknowns, or use engine 'joint'."
    )
