"""What is unknown: numbers, and fields that vary over some of the coordinates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from mollifier.errors import ConfigurationError


@dataclass(frozen=True)
class ScalarUnknown:
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

    def __post_init__(self) -> None:
        _check_bounds(self)

    @property
    def over(self) -> tuple[str, ...]:
        """A number varies over nothing."""
        return ()

    def admits(self, value: float) -> bool:
        """Whether a value lies strictly within the bounds."""
        return _admits(self, value)


@dataclass(frozen=True)
class FieldUnknown:
    """An unknown field.

    Parameters
    ----------
    over
        Coordinates it varies over; all of the equation's when not given.
    lower, upper
        Bounds, kept by a bijection; none by default.
    initial
        Level to start from; found from the data where the equation is linear in the unknown.
    unit
        Physical unit, for labels.
    smoothness
        Weight of the mean squared curvature, in units of the field's level over the half-length of the
        domain. It settles what the data leave open; 0 leaves it out. When not given, the joint engine takes
        it from the data (the strength of greatest marginal likelihood), the network engine takes 1e-3.

    Raises
    ------
    ConfigurationError
        If bounds, initial value or smoothness are out of range.

    Examples
    --------
    >>> FieldUnknown(over=("x", "y"), lower=0.0).over
    ('x', 'y')
    """

    over: tuple[str, ...] | None = None
    lower: float | None = None
    upper: float | None = None
    initial: float | None = None
    unit: str = ""
    smoothness: float | None = None

    def __post_init__(self) -> None:
        _check_bounds(self)
        if self.over is not None:
            names = (self.over,) if isinstance(self.over, str) else tuple(self.over)
            object.__setattr__(self, "over", names)
            if not names:
                raise ConfigurationError("FieldUnknown(over=()) varies over nothing; use ScalarUnknown.")
        if self.smoothness is not None and not (math.isfinite(self.smoothness) and self.smoothness >= 0):
            raise ConfigurationError(
                f"smoothness={self.smoothness} was given; a number of 0 or more was wanted."
            )

    def admits(self, value: float) -> bool:
        """Whether a value lies strictly within the bounds."""
        return _admits(self, value)


Unknown = ScalarUnknown | FieldUnknown


def _bounds(unknown: Unknown) -> Iterable[tuple[str, float]]:
    for name in ("lower", "upper", "initial"):
        value = getattr(unknown, name)
        if value is not None:
            yield name, value


def _check_bounds(unknown: Unknown) -> None:
    for name, value in _bounds(unknown):
        if not math.isfinite(value):
            raise ConfigurationError(f"{name}={value} was given for an unknown; a finite number was wanted.")
    if unknown.lower is not None and unknown.upper is not None and not unknown.lower < unknown.upper:
        raise ConfigurationError(
            f"Bounds {unknown.lower} and {unknown.upper} were given for an unknown; lower must be below "
            "upper."
        )
    if unknown.initial is not None and not _admits(unknown, unknown.initial):
        raise ConfigurationError(
            f"initial={unknown.initial} was given for an unknown with bounds ({unknown.lower}, "
            f"{unknown.upper}); it must lie strictly between them."
        )


def _admits(unknown: Unknown, value: float) -> bool:
    return (unknown.lower is None or value > unknown.lower) and (
        unknown.upper is None or value < unknown.upper
    )
