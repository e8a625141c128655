"""Jets: a field and its derivatives by name, and the names of derivatives that a user may ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mollifier.errors import GridError, check_known, did_you_mean
from mollifier.mollify.orders import Derivative

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

    Raises
    ------
    GridError
        If a name or multi-index holds a coordinate that is not there, an order is negative, or there is
        none.

    Examples
    --------
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
