"""Names of derivatives: ``u_xxy`` is a field ``u`` and a multi-index ``{x: 2, y: 1}``; and jets of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mollifier.errors import GridError, check_known, did_you_mean


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

    def index(self, coordinates: Iterable[str]) -> tuple[int, ...]:
        """Order along each of some coordinates.

        >>> Derivative.parse("u_xxy", "xy").index("yx")
        (1, 2)
        """
        return tuple(map(self.along, coordinates))

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


Order = str | Mapping[str, int] | Derivative


class Jet(Mapping[str, Any]):
    """A field and its derivatives by name: ``jet["u_xx"]``; ``u_xy`` and ``u_yx`` are one.

    Values are arrays of one kind and shape. Under torch a jet is a pytree, so that `torch.func` and
    `torch.compile` can take it apart and put it together.

    >>> jet = Jet({Derivative.parse("u_xy", "xy"): 1.0}, ("x", "y"))
    >>> jet["u_yx"], list(jet)
    (1.0, ['u_xy'])
    """

    def __init__(self, values: Mapping[Derivative, Any], coordinates: Sequence[str]) -> None:
        self._values = dict(values)
        self._coordinates = tuple(coordinates)

    @property
    def derivatives(self) -> tuple[Derivative, ...]:
        """What the jet holds, in the order given."""
        return tuple(self._values)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates."""
        return self._coordinates

    def __getitem__(self, name: str) -> Any:
        key = Derivative.parse(name, self._coordinates)
        if key not in self._values:
            raise KeyError(f"This jet does not hold '{name}'.{did_you_mean(name, list(self))}")
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return (d.name for d in self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{d.name}: {tuple(getattr(v, 'shape', ()))}" for d, v in self._values.items())
        return f"Jet({shapes})"


def parse_orders(orders: Order | Sequence[Order], coordinates: Sequence[str]) -> tuple[Derivative, ...]:
    """Derivatives from names (``"u_xxyy"``) or multi-indices (``{"x": 2, "y": 2}``, of a field called u).

    Raises `GridError` if a name or multi-index holds a coordinate that is not there, an order is negative, or
    there is none.

    >>> [d.name for d in parse_orders(["u", "u_yx", {"x": 2}], ["x", "y"])]
    ['u', 'u_xy', 'u_xx']
    """
    if isinstance(orders, str | Mapping | Derivative):
        orders = [orders]
    parsed = tuple(dict.fromkeys(_parse(order, coordinates) for order in orders))
    if not parsed:
        raise GridError("No derivative orders were given; name at least one, as in orders=['u', 'u_xx'].")
    return parsed


def _parse(order: Order, coordinates: Sequence[str]) -> Derivative:
    if isinstance(order, Derivative):
        order, field = dict(order.orders), order.field
    elif isinstance(order, str):
        derivative = Derivative.parse(order, coordinates)
        _check_suffix(derivative, coordinates)
        return derivative
    else:
        field = "u"
    for name, count in order.items():
        check_known([name], coordinates, GridError, f"Order {dict(order)} names '{name}', not a coordinate.")
        if count < 0 or int(count) != count:
            raise GridError(f"Order {dict(order)} holds {count}; derivatives are counted 0, 1, 2, ...")
    return Derivative.of(field, order)


def _check_suffix(derivative: Derivative, coordinates: Sequence[str]) -> None:
    """Refuse ``u_zz`` on a grid over x and y, which otherwise reads as a field of that name.

    A suffix of other letters (``k_eff``, ``phi_d``) is taken as part of the field's name.
    """
    field, _, suffix = derivative.field.rpartition("_")
    letters = {"x", "y", "z", "t", *coordinates}
    if field and not derivative.total and suffix and set(suffix) <= letters:
        raise GridError(
            f"'{derivative.name}' is no derivative along the coordinates {', '.join(coordinates)}; write the "
            f"field, an underscore and coordinates, as in {field}_{coordinates[0] * 2}, or a multi-index, as "
            f"in {{'{coordinates[0]}': 2}}."
        )
