"""The keys of a problem file, but for the settings of the engine."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mollifier.problem.settings import Strict
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown, Unknown

ALL = "all"
"""Every coordinate, in place of their names."""


class DataEntry(Strict):
    """The arguments of `mollifier.data.read.read`; the file is relative to the problem file."""

    file: str
    variables: str | list[str] | dict[str, str] | None = None
    values: str | list[str] | None = None
    coordinates: str | list[str] | None = None
    noise: float | str | dict[str, float | str | dict[str, Any]] | None = None
    select: dict[str, Any] = Field(default_factory=dict)
    replicates: str | list[str] | None = None
    units: dict[str, str] | None = None
    periodic: dict[str, bool | float] | None = None
    rename: dict[str, str] | None = None
    dims: dict[str, list[str]] | None = None
    mask: str | None = None
    window: dict[str, tuple[float | None, float | None]] | None = None
    trusted: dict[str, float | list[float]] | None = None
    mask_outliers: bool = False
    sample: int | None = Field(None, ge=2)
    seed: int = Field(0, ge=0)
    gridded: bool | None = None
    format: str | None = None


class UnknownEntry(Strict):
    """A scalar; a field when ``over``, ``smoothness``, ``prior`` or ``measurements`` is given."""

    over: str | list[str] | None = None
    lower: float | None = None
    upper: float | None = None
    initial: float | None = None
    unit: str = ""
    smoothness: float | None = None
    prior: str | None = None
    measurements: DataEntry | None = None

    def unknown(self) -> Unknown:
        """As the problem takes it, but for the measurements, which are not read."""
        common: dict[str, Any] = dict(
            lower=self.lower, upper=self.upper, initial=self.initial, unit=self.unit
        )
        own = {"smoothness": self.smoothness, "prior": self.prior}
        common |= (given := {name: value for name, value in own.items() if value is not None})
        if self.over is None and self.measurements is None and not given:
            return ScalarUnknown(**common)
        over = (self.over,) if isinstance(self.over, str) else self.over
        return FieldUnknown(None if over is None or over == (ALL,) else tuple(over), **common)


class IntervalsEntry(Strict):
    """Where standard errors come from: the engine's own, or repeats of the solve."""

    kind: Literal["own", "bootstrap", "ensemble"] = "own"
    repeats: int | None = Field(default=None, ge=3)
    processes: int = Field(default=1, ge=1)


class Entries(Strict):
    """The keys of a problem file but for the settings of the engine."""

    equation: str | list[str]
    data: DataEntry
    unknowns: dict[str, Any]
    constants: dict[str, float] = Field(default_factory=dict)
    fields: list[str] | None = None
    engine: str = "auto"
    start: str | None = None
    seed: int = Field(0, ge=0)
    intervals: IntervalsEntry = IntervalsEntry()
