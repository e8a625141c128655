"""What `check` says: findings, and the verdict that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import xarray as xr

from mollifier.io.files import jsonable
from mollifier.io.printed import Printed

Level = Literal["info", "warning", "error"]
Verdict = Literal["good", "doubtful", "cannot be answered"]

_MARKS = {"info": " ", "warning": "!", "error": "x"}


@dataclass(frozen=True)
class Finding:
    """One finding: a level, a topic, a sentence, and what to change, where something is to be changed."""

    level: Level
    topic: str
    text: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{_MARKS[self.level]} {self.topic:<17}{self.text} {self.advice}".rstrip()


Maker = partial[Finding]


def about(topic: str) -> tuple[Maker, Maker, Maker]:
    """Makers of findings on a topic, by level: info, warning, error."""
    return (
        partial(Finding, "info", topic),
        partial(Finding, "warning", topic),
        partial(Finding, "error", topic),
    )


@dataclass(frozen=True)
class Check(Printed):
    """What `check` saw."""

    #: In this order: data, noise, unknowns, resolution, scales, identifiability, cost.
    findings: tuple[Finding, ...]
    #: The figures behind them, by name, for programs.
    numbers: Mapping[str, Any] = field(default_factory=dict)
    #: Settings that would help, as dotted keys: ``{"collocation.nodes.x": 513}``.
    suggested: Mapping[str, Any] = field(default_factory=dict)
    #: Unknown field -> posterior over prior standard deviation, over its coordinates: near 0 the data
    #: determine it, near 1 they do not.
    maps: Mapping[str, xr.DataArray] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing was found that forbids an answer."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What forbids an answer."""
        return tuple(f for f in self.findings if f.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What may spoil an answer."""
        return tuple(f for f in self.findings if f.level == "warning")

    @property
    def verdict(self) -> Verdict:
        """``"good"``, ``"doubtful"`` (there are warnings) or ``"cannot be answered"`` (there are errors).

        >>> Check((Finding("error", "data", "The field is constant."),)).verdict
        'cannot be answered'
        """
        if self.errors:
            return "cannot be answered"
        return "doubtful" if self.warnings else "good"

    @property
    def advice(self) -> tuple[str, ...]:
        """What to change, the gravest first; nothing twice."""
        said = [f.advice for f in (*self.errors, *self.warnings) if f.advice]
        return tuple(dict.fromkeys([*said, *([self._try] if self._try else [])]))

    @property
    def _try(self) -> str:
        settings = " ".join(f"--set {k}={v}" for k, v in self.suggested.items())
        return f"Try {settings}." if settings else ""

    @property
    def summary(self) -> str:
        """The whole in a sentence or two.

        >>> Check((Finding("error", "data", "The field is constant."),)).summary
        'These data cannot answer: 1 error.'
        """
        if self.errors:
            return f"These data cannot answer: {_count(len(self.errors), 'error')}."
        if self.warnings:
            doubts = _count(len(self.warnings), "warning")
            return f"Ready, but doubtful: {doubts} to look at. {self._try}".rstrip()
        return "Ready: nothing was found against it."

    def to_dict(self) -> dict[str, Any]:
        """Everything in JSON's types, maps as values by coordinate."""
        whole = {
            "ok": self.ok,
            "verdict": self.verdict,
            "summary": self.summary,
            "advice": self.advice,
            "findings": [asdict(f) for f in self.findings],
            "numbers": self.numbers,
            "suggested": self.suggested,
            "maps": {
                n: {"coordinates": {str(c): m[c].values for c in m.dims}, "ratio": m.values.round(4)}
                for n, m in self.maps.items()
            },
        }
        return jsonable(whole)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings), "", f"{self.verdict}. {self.summary}"])


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")
