"""A number that was unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from mollifier.errors import MollifierError
from mollifier.io.arguments import typed
from mollifier.io.printed import Printed


@dataclass(frozen=True)
class Estimate(Printed):
    """A number that was unknown, with its standard error where the engine gives one.

    Attributes
    ----------
    name, value, sd, unit
        The unknown, its value and standard error in its unit.
    lower, upper
        Its declared bounds, None for none.

    Examples
    --------
    >>> r = Estimate("r", 0.04812, 0.00123, "1/h")
    >>> print(r)
    r = 0.0481 ± 0.0012 1/h
    >>> low, high = r.interval(0.95)
    >>> round(low, 4), round(high, 4)
    (0.0457, 0.0505)
    >>> Estimate("D", 0.01, 0.02, lower=0.0).interval(0.95)[0]
    0.0
    """

    name: str
    value: float
    sd: float | None = None
    unit: str = ""
    lower: float | None = None
    upper: float | None = None

    @typed()
    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval of a normal distribution with this value and standard error, within the bounds.

        Parameters
        ----------
        level
            Probability of the interval, between 0 and 1.

        Returns
        -------
        tuple
            Lower and upper end, in the unit of the value.

        Raises
        ------
        MollifierError
            If the engine gave no standard error, or the level does not lie between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise MollifierError(
                f"An interval was requested at level {level}; a number between 0 and 1 was expected, as 0.95."
            )
        if self.sd is None:
            raise MollifierError(
                f"'{self.name}' has no standard error: the run ended before it converged, or the engine gave "
                "none. See the solution's status; let the run converge, or use the weak or joint engine, or "
                "mollifier.bootstrap, to get intervals."
            )
        half = NormalDist().inv_cdf(0.5 + level / 2) * self.sd
        low = -math.inf if self.lower is None else self.lower
        high = math.inf if self.upper is None else self.upper
        return max(self.value - half, low), min(self.value + half, high)

    @property
    def amount(self) -> str:
        """Value, standard error and unit, for people."""
        return f"{_rounded(self.value, self.sd)} {self.unit}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Value, standard error, 95 % interval and unit."""
        interval = None if self.sd is None else self.interval(0.95)
        return {"value": self.value, "sd": self.sd, "interval_95": interval, "unit": self.unit}

    def __str__(self) -> str:
        return f"{self.name} = {self.amount}"


def _rounded(value: float, sd: float | None) -> str:
    """Two digits of the standard error, and the value to the same place.

    >>> _rounded(1234567.0, 12345.0), _rounded(4.8123e-9, 1.2e-10), _rounded(3.14159, None)
    ('1235000 ± 12000', '(4.81 ± 0.12)e-09', '3.1416')
    """
    if sd is None:
        return f"{value:.5g}"
    if not (math.isfinite(value) and math.isfinite(sd) and sd > 0):
        return f"{value:.5g} ± {sd:.2g}"
    size = max(abs(value), sd)
    exponent = math.floor(math.log10(size))
    if -4 <= exponent < 7:
        exponent = 0
    scale = 10.0**exponent
    v, s = value / scale, sd / scale
    places = 1 - math.floor(math.log10(s))
    if places > 12:
        return f"{value:.10g} ± {sd:.2g}"
    text = f"{round(v, places):.{max(places, 0)}f} ± {round(s, places):.{max(places, 0)}f}"
    return f"({text})e{exponent:+03d}" if exponent else text
