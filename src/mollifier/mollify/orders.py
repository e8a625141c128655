"""Names of derivatives: ``u_xxy`` is a field ``u`` and a multi-index ``{x: 2, y: 1}``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Derivative:
    """A field and a multi-index; order zero is the field itself, an order below zero an antiderivative.

    ``orders`` holds ``(coordinate, count)`` pairs sorted by coordinate: ``u_xy`` and ``u_yx`` are one.

    >>> d = Derivative.parse("phi_d_xxy", ["x", "y", "t"])
    >>> d.field, dict(d.orders), d.total, d.name
    ('phi_d', {'x': 2, 'y': 1}, 3, 'phi_d_xxy')
    """

    field: str
    orders: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, field: str, orders: Mapping[str, int]) -> Derivative:
        """From a mapping coordinate -> order; zero orders are dropped."""
        return cls(field, tuple(sorted((c, n) for c, n in orders.items() if n)))

    @classmethod
    def parse(cls, name: str, coordinates: Iterable[str]) -> Derivative:
        """Read ``u``, ``u_xx``, ``phi_d_t``; the suffix is a run of coordinate names.

        A name without such a suffix is a field's.
        """
        coordinates = sorted(coordinates, key=len, reverse=True)
        for cut in range(len(name) - 1, 0, -1):
            parts = _tokenise(name[cut + 1 :], coordinates) if name[cut] == "_" else None
            if parts:
                return cls.of(name[:cut], Counter(parts))
        return cls(name)

    @property
    def name(self) -> str:
        """Canonical name, coordinates in alphabetical order."""
        suffix = "".join(c * n if n > 0 else f"(1/{c})" * -n for c, n in self.orders)
        return f"{self.field}_{suffix}" if suffix else self.field

    @property
    def total(self) -> int:
        """The order |a| of the multi-index."""
        return sum(n for _, n in self.orders)

    def along(self, coordinate: str) -> int:
        """Order along one coordinate."""
        return dict(self.orders).get(coordinate, 0)

    def differentiate(self, coordinate: str, times: int = 1) -> Derivative:
        """The derivative of this derivative."""
        return Derivative.of(self.field, Counter(dict(self.orders)) + Counter({coordinate: times}))

    def __str__(self) -> str:
        return self.name


def _tokenise(suffix: str, coordinates: Sequence[str]) -> list[str] | None:
    """Split a suffix into coordinate names, longest first with backtracking; None where it does not fit."""
    if not suffix:
        return []
    for c in coordinates:
        if suffix.startswith(c):
            rest = _tokenise(suffix[len(c) :], coordinates)
            if rest is not None:
                return [c, *rest]
    return None
