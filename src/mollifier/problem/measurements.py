"""Measurements of an unknown field, checked against the field and the domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mollifier.data.observations import Observations, Samples
from mollifier.errors import ConfigurationError, DataError, did_you_mean
from mollifier.mollify.arrays import Array, Mask
from mollifier.problem.unknowns import FieldUnknown, Unknown

EXACT = 1e-3  #: Share of the measurements' rms below which no standard error is taken.

# Share of the domain's length that a measurement may lie beyond the data, and standard errors beyond a bound.
_BEYOND, _MOST = 0.05, 4.0


def all_measurements(unknowns: Mapping[str, Unknown], data: Observations) -> dict[str, Samples]:
    """The measurements of every unknown field that has some; see `measurements_of`."""
    fields = {n: u for n, u in unknowns.items() if isinstance(u, FieldUnknown)}
    return {n: measurements_of(n, u, data) for n, u in fields.items() if u.measurements is not None}


def measurements_of(name: str, unknown: FieldUnknown, data: Observations) -> Samples:
    """The measurements of one unknown field, columns in the order of the coordinates that it varies over.

    The box of the data is the domain, and a little beyond it counts as inside.

    >>> x, t = np.random.default_rng(0).random((2, 50))
    >>> data = Observations({"u": x * t}, {"x": x, "t": t}, noise=0.01)
    >>> ends = Observations({"k": [1.0, 3.0]}, {"x": [0.0, 1.0]}, noise=0.0)
    >>> measurements_of("k", FieldUnknown(over="x", measurements=ends), data).sd.round(5)
    array([0.00224, 0.00224])
    """
    given = unknown.measurements
    assert isinstance(given, Observations)
    variable = _variable(name, given)
    over, found = unknown.over or (), given.coordinates_of(variable)
    if set(found) != set(over):
        raise ConfigurationError(
            f"The measurements of '{name}' are over {', '.join(found)}; the field varies over "
            f"{', '.join(over)}. Give each measurement's place along these coordinates and no other."
        )
    samples = given.samples(variable)
    if not len(samples.values):
        raise DataError(
            f"None of the measurements of '{name}' is finite; leave them out, or look at the mask."
        )
    points, bounds = samples.over(over), data.bounds
    for i, c in enumerate(over):
        if c not in bounds:  # the state of a law, which may take any value
            continue
        low, high = bounds[c]
        if c in data.periodic:
            points[:, i] = low + np.mod(points[:, i] - low, data.periodic[c])
            continue
        slack = _BEYOND * (high - low)
        outside = (points[:, i] < low - slack) | (points[:, i] > high + slack)
        if outside.any():
            raise ConfigurationError(
                f"{int(outside.sum())} of the {len(points)} measurements of '{name}' lie outside of the "
                f"domain, as at {c} = {points[outside, i][0]:.6g}; the data reach from {low:.6g} to "
                f"{high:.6g} along '{c}'. Leave those measurements out, or correct their units."
            )
    sd = np.maximum(samples.sd, least_error(samples.values))
    samples = replace(samples, coordinates=over, points=points, sd=sd)
    _check_bounds(name, unknown, samples)
    return samples


def summary(name: str, samples: Samples) -> str:
    """What there is, in a line.

    >>> summary("k", Samples(("x",), np.zeros((1, 1)), np.ones(1), np.full(1, 0.02)))
    'k: 1 measurements, 1 to 1, known to 0.02.'
    """
    low, high, sd = samples.values.min(), samples.values.max(), float(np.median(samples.sd))
    return f"{name}: {len(samples.values):,} measurements, {low:.4g} to {high:.4g}, known to {sd:.2g}."


def least_error(values: Array) -> float:
    """Standard error of measurements that are given as exact, shape () from values (n,)."""
    return EXACT * (float(np.sqrt(np.mean(values**2))) or 1.0)


def exact(samples: Samples) -> Mask:
    """Which measurements were given as exact, or more precise than any may count, shape (n,).

    They are conditions that the field meets, as boundary values are; the others are data with noise.
    """
    return samples.sd <= least_error(samples.values) * (1 + 1e-9)


def _variable(name: str, measurements: Observations) -> str:
    """The variable of the unknown's name, or the only one."""
    if name in measurements.variables:
        return name
    if len(measurements.variables) > 1:
        raise ConfigurationError(
            f"The measurements of '{name}' hold {', '.join(measurements.variables)}; one variable, or one "
            f"of the field's name, was expected.{did_you_mean(name, measurements.variables)}"
        )
    return next(iter(measurements.variables))


def _check_bounds(name: str, unknown: FieldUnknown, samples: Samples) -> None:
    """Refuse measurements that lie beyond a bound by more than their noise explains."""
    low = -np.inf if unknown.lower is None else unknown.lower
    high = np.inf if unknown.upper is None else unknown.upper
    slack = _MOST * samples.sd
    outside = (samples.values < low - slack) | (samples.values > high + slack)
    if outside.any():
        first = float(samples.values[np.argmax(outside)])
        raise ConfigurationError(
            f"{int(outside.sum())} of the {len(outside)} measurements of '{name}' lie outside of its bounds, "
            f"as {first:.6g}; between {low:g} and {high:g} was expected. Widen the bounds, correct the "
            "measurements, or give them their noise."
        )
