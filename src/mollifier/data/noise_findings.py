"""What was found of the noise besides white, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "sensor_gain",
    "sensor_offset",
    "frame_gain",
    "frame_offset",
    "correlated",
    "relative",
    "tails",
    "steps",
    "more than given",
    "less than given",
]


@dataclass(frozen=True)
class NoiseFinding:
    """One thing that the noise is besides white.

    Attributes
    ----------
    kind
        In the words that declare it.
    size
        Standard deviation, as a fraction of the field's rms; for gains and `relative` of the local value.
    along
        The axis along which it is correlated, "" for none.
    length
        Its correlation length, in the unit of the axis; 0 where it has none.
    grave
        Whether intervals that assume white noise are off by more than about 20 %.
    sd
        Standard deviation of all noise that this finding saw, in the unit of the field; 0 where it saw none.
    """

    kind: Kind
    size: float
    along: str = ""
    length: float = 0.0
    grave: bool = True
    sd: float = 0.0

    @property
    def text(self) -> str:
        """What the data show, as a clause.

        >>> NoiseFinding("sensor_gain", 0.02).text
        'each sensor has its own gain (about 2 %)'
        """
        size = f"{100 * self.size:.2g} %"
        return {
            "sensor_gain": f"each sensor has its own gain (about {size})",
            "sensor_offset": f"each sensor has its own offset (about {size} of rms)",
            "frame_gain": f"each frame has its own gain (about {size})",
            "frame_offset": f"each frame has its own offset (about {size} of rms)",
            "correlated": f"the noise ({size} of rms) is correlated along {self.along} over about "
            f"{self.length:.2g}",
            "relative": f"the noise grows with the value (about {size} of it)",
            "tails": "the noise has heavier tails than a normal distribution (excess kurtosis "
            f"{self.size:.2g})",
            "steps": f"the values are rounded to steps of {size} of rms",
            "more than given": f"the noise is {size} of rms, more than three times what was given",
            "less than given": f"the noise is at most {size} of rms, less than a third of what was given",
        }[self.kind]

    def declaration(self, variable: str) -> str:
        """The words of a problem file that declare it; "" where there are none."""
        what = {
            "correlated": f"correlated: {{{self.along}: {self.length:.2g}}}",
            "tails": "distribution: student",
            "steps": "",
        }.get(self.kind, f"{self.kind}: {self.size:.2g}")
        if self.kind.endswith("given"):
            return f"noise: {{{variable}: {self.size:.2g}}}"
        return f"noise: {{{variable}: {{{what}}}}}" if what else ""
