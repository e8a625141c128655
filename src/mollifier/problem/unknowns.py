"""What is unknown: numbers, fields over coordinates, laws of the state, and states without data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import xarray as xr

from mollifier.data.observations import Observations
from mollifier.data.values import is_number, storable
from mollifier.errors import ConfigurationError, check_known

PRIORS = ("auto", "h1", "h2", "tv")  #: Available priors of an unknown field.

#: Ways in which an unknown field may be monotone -> the sign of its slope.
MONOTONE = {None: 0, "increasing": 1, "decreasing": -1}


class _Checked:
    """What unknowns and states have in common: bounds, a starting value and a unit, which are checked."""

    def __post_init__(self: Any) -> None:
        for name in ("lower", "upper", "initial"):
            value = getattr(self, name)
            if value is not None and not is_number(value):
                raise ConfigurationError(
                    f"{name}={value!r} was given for an unknown; a finite number below 1e60 was expected."
                )
        if not isinstance(self.unit, str) or not storable(self.unit):
            raise ConfigurationError(
                f"unit={self.unit!a} was given for an unknown; text without NUL and without halves of "
                "surrogate pairs was expected."
            )
        if self.lower is not None and self.upper is not None and not self.lower < self.upper:
            raise ConfigurationError(
                f"Bounds {self.lower} and {self.upper} were given for an unknown; lower must be below upper."
            )
        if self.initial is not None and not self.admits(self.initial):
            raise ConfigurationError(
                f"initial={self.initial} was given for an unknown with bounds ({self.lower}, {self.upper}); "
                "it must lie strictly between them."
            )

    def admits(self: Any, value: float) -> bool:
        """Whether a value lies strictly within the bounds."""
        return (self.lower is None or value > self.lower) and (self.upper is None or value < self.upper)


@dataclass(frozen=True)
class ScalarUnknown(_Checked):
    """An unknown number.

    Parameters
    ----------
    lower, upper
        Bounds, kept by a bijection; none by default.
    initial
        Starting value; found from the data where the equation is linear in the unknown.
    unit
        Physical unit, for labels.

    Raises
    ------
    ConfigurationError
        If the bounds are not in order, or the initial value does not lie strictly between them.

    Examples
    --------
    >>> ScalarUnknown(lower=0.0).admits(-1.0)
    False
    """

    lower: float | None = None
    upper: float | None = None
    initial: float | None = None
    unit: str = ""

    @property
    def over(self) -> tuple[str, ...]:
        """A number varies over nothing."""
        return ()


@dataclass(frozen=True)
class FieldUnknown(_Checked):
    """An unknown field, or an unknown law of the state.

    Parameters
    ----------
    over
        Coordinates it varies over, or fields: over ``("u",)`` it is a law of the state, D(u). By default what
        the equation writes it with, as ``D(u)``, and all coordinates where it is written without arguments.
        A law is found over the values that its states take, and nothing is said beyond; a state that was not
        measured needs both bounds for that.
    lower, upper
        Bounds, kept by a bijection; none by default.
    initial
        Level to start from; found from the data where the equation is linear in the unknown.
    unit
        Physical unit, for labels.
    smoothness
        Weight of the mean squared curvature (gradient, under "h1"), in units of the field's level over the
        half-length of the domain. It regularises what the data leave open; 0 leaves it out. By default it is
        taken from the data (the strength of greatest marginal likelihood); the network engine starts from
        1e-3, divided by the number of measurements over 1,000 if there are more, and stays there under L-BFGS
        and where the equation does not reach its full weight.
    prior
        Regularises what the data leave open; its strength is that of greatest marginal likelihood in the
        weak engine and, unless ``smoothness`` is given, in the others. "auto": a Matern field, order and
        length from the data too, and the curvature where ``smoothness`` is given; the network engine starts
        from the curvature, and the joint engine takes a prior for edges where the evidence is for one.
        "h1": the mean squared gradient. "h2": the mean squared curvature. "tv": the total variation (Rudin,
        Osher and Fatemi, Physica D 60:259, 1992) by lagged diffusivity (Vogel and Oman, SIAM J. Sci. Comput.
        17:227, 1996), for a field of levels with edges between them. Standard errors under "tv" are those of
        the last Gaussian approximation. The joint engine's include the place of an edge within a cell of the
        field's spline; the weak engine's take it as known, and beside an edge they may be too small. The
        network engine takes neither "h1" nor "tv".
    monotone
        "increasing" or "decreasing" for a field over one coordinate, or a law of one state, that is known to
        be; taken by the weak engine.
    measurements
        Where the field itself was measured, or is known: `Observations` (or an `xarray.Dataset` that makes
        them) of one variable, or of one with the unknown's name, over the field's coordinates. They
        are data like those of the states, with their points and noise; a noise of 0 makes them
        exact, which is to a thousandth of their rms.

    Raises
    ------
    ConfigurationError
        If bounds, initial value or smoothness are out of range, the prior is none of these, or the
        measurements are no observations.
    DataError
        If a dataset of measurements makes no observations.

    Examples
    --------
    >>> FieldUnknown(over=("x", "y"), lower=0.0).over
    ('x', 'y')
    >>> end = Observations(values={"k": [0.8]}, points={"x": [0.0]}, noise=0.0)
    >>> FieldUnknown(over="x", lower=0.0, measurements=end).measurements
    <Observations k (point: 1)>
    """

    over: tuple[str, ...] | None = None
    lower: float | None = None
    upper: float | None = None
    initial: float | None = None
    unit: str = ""
    smoothness: float | None = None
    prior: str = "auto"
    monotone: str | None = None
    measurements: Observations | xr.Dataset | xr.DataArray | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "measurements", _observed(self.measurements))
        object.__setattr__(self, "over", _coordinates("FieldUnknown", self.over))
        if self.smoothness is not None and not (is_number(self.smoothness) and self.smoothness >= 0):
            raise ConfigurationError(
                f"smoothness={self.smoothness!r} was given; a number of 0 or more was expected."
            )
        if self.monotone is not None:
            text = f"monotone={self.monotone!r} was given; 'increasing' or 'decreasing' was expected."
            check_known([self.monotone], ("increasing", "decreasing"), ConfigurationError, text)
        text = f"prior={self.prior!r} was given; one of {', '.join(PRIORS)} was expected."
        check_known([self.prior], PRIORS, ConfigurationError, text)


@dataclass(frozen=True)
class StateUnknown(_Checked):
    """A state of the equations that was measured nowhere, or hardly: a pressure, a second species.

    One of which only derivatives enter, so that a function of some coordinates may be added to it, is
    reported with a mean of zero over the other coordinates.

    Parameters
    ----------
    over
        Coordinates it varies over; all of the data's when not given.
    lower, upper
        Bounds, kept by a bijection, which does not reach them; none by default. Where a condition puts the
        state at one, searches begin within the bounds, and an answer that passes them is a misfit.
    initial
        Level to start from; several levels are tried by default.
    unit
        Physical unit, for labels.

    Raises
    ------
    ConfigurationError
        If bounds, initial value or coordinates are out of range.

    Examples
    --------
    >>> StateUnknown(over="t", lower=0.0).over
    ('t',)
    """

    over: tuple[str, ...] | None = None
    lower: float | None = None
    upper: float | None = None
    initial: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "over", _coordinates("StateUnknown", self.over))

    @property
    def range(self) -> tuple[float, float]:
        """Both bounds, infinite unless both are given."""
        if self.lower is None or self.upper is None:
            return -math.inf, math.inf
        return float(self.lower), float(self.upper)

    @property
    def bounded(self) -> bool:
        """Whether there is a bound."""
        return self.lower is not None or self.upper is not None


def _coordinates(kind: str, over: Any) -> tuple[str, ...] | None:
    """Names of coordinates as a tuple; None for all of them."""
    if over is None:
        return None
    names = as_names("over", over, "('x', 'y')")
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise ConfigurationError(f"{kind}(over={names!r}) names '{twice[0]}' twice; once was expected.")
    if not names:
        raise ConfigurationError(f"{kind}(over=()) varies over nothing; use ScalarUnknown.")
    return names


def as_names(argument: str, given: Any, example: str) -> tuple[str, ...]:
    """One name or several, given as an argument, as a tuple.

    >>> as_names("fields", "u", "['u']")
    ('u',)
    >>> as_names("fields", 3, "['u']")
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: fields=3 was given; names were expected, as in fields=['u'].
    """
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    if not all(isinstance(n, str) for n in names):
        raise ConfigurationError(
            f"{argument}={given!r} was given; names were expected, as in {argument}={example}."
        )
    return names


def value_axis(field: str) -> str:
    """Name of the dimension of a solution that runs over the values of a field, for laws of it.

    >>> value_axis("u")
    'u_value'
    """
    return f"{field}_value"


Unknown = ScalarUnknown | FieldUnknown

Bounded = Unknown | StateUnknown  #: All that may have bounds and an initial value.


def _observed(measurements: Any) -> Observations | None:
    """Measurements as observations."""
    if measurements is None or isinstance(measurements, Observations):
        return measurements
    if isinstance(measurements, xr.Dataset | xr.DataArray):
        return Observations.from_dataset(measurements)
    raise ConfigurationError(
        f"measurements={type(measurements).__name__} was given for an unknown field; Observations of it were "
        "expected, as in Observations(values={'k': values}, points={'x': x}, noise=0.01)."
    )
