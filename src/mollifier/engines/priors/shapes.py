"""The family of priors of unknown fields: Matern fields by order and length, and the seminorms H1 and H2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mollifier.engines.priors.matern import SEMINORMS
from mollifier.engines.priors.tuning import PriorTuning


@dataclass(frozen=True)
class Shape:
    """A prior without its strength."""

    order: int  #: Of its highest derivatives.
    #: In half-lengths of the domain. An infinite length leaves one term, the mean squared derivatives of the
    #: order: a seminorm.
    length: float = np.inf


@dataclass(frozen=True)
class Choice:
    """Shape and strength of the prior of an unknown field."""

    shape: Shape
    strength: float

    def distance(self, other: Choice) -> float:
        """Of strengths, in logarithm; infinite between shapes."""
        return abs(float(np.log(self.strength / other.strength))) if self.shape == other.shape else np.inf

    def described(self) -> dict[str, Any]:
        """Order, strength, and length in half-lengths of the domain; no length for a seminorm."""
        length = self.shape.length if np.isfinite(self.shape.length) else None
        return {"order": self.shape.order, "length": length, "strength": self.strength}


@dataclass(frozen=True)
class Shapes:
    """All shapes that a kind of prior leaves a choice of.

    >>> Shapes.of("h1").first
    [Shape(order=1, length=inf)]
    >>> len(list(Shapes.of("auto"))), Shape(2, 10.0) in Shapes.of("auto")
    (36, False)
    """

    #: One shape for each pair.
    orders: tuple[int, ...]
    lengths: tuple[float, ...]
    #: Places of the lengths with which a search without a start begins.
    first_lengths: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, kind: str, tuning: PriorTuning | None = None) -> Shapes:
        """What `mollifier.FieldUnknown` calls a kind: "auto", "h1", "h2" or "tv"."""
        tuning = tuning or PriorTuning()
        if kind == "auto":
            return cls(tuning.orders, tuning.lengths, tuning.first_lengths)
        return cls((1 if kind == "tv" else SEMINORMS[kind],), (np.inf,))

    def __iter__(self) -> Iterator[Shape]:
        return (Shape(order, length) for order in self.orders for length in self.lengths)

    def __contains__(self, shape: Shape) -> bool:
        return shape.order in self.orders and shape.length in self.lengths

    @property
    def first(self) -> list[Shape]:
        """Those with which a search without a start begins."""
        return [Shape(order, self.lengths[i]) for order in self.orders for i in self.first_lengths]

    def neighbours(self, shape: Shape) -> Iterator[Shape]:
        """Shapes one order, or one length, away."""
        if shape not in self:
            return
        s, i = self.orders.index(shape.order), self.lengths.index(shape.length)
        for a, b in ((s, i - 1), (s, i + 1), (s - 1, i), (s + 1, i)):
            if 0 <= a < len(self.orders) and 0 <= b < len(self.lengths):
                yield Shape(self.orders[a], self.lengths[b])


#: The one shape of values that have no neighbours, as of experiments: normal about their common mean.
EXCHANGEABLE = Shapes((0,), (np.inf,))
