"""The base of every method to differentiate a network on a grid."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mollifier.errors import GridError
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.layer import Jet, Weights, parse_orders
from mollifier.mollify.orders import Derivative

Observed = Array | Mapping[str, Array]
MultiIndex = tuple[int, ...]


class Derivatives(nn.Module, ABC):
    """How a network becomes a field with derivatives: on a collocation grid, and its values where data are.

    Parameters
    ----------
    grid
        The collocation grid.
    orders
        Derivatives of a field called u, for every channel alike: `Derivative`, names or multi-indices.
    observed
        Where values are evaluated in addition to the grid: scattered points of shape (n, d), columns in the
        order of the grid's axes, or a tensor product of coordinates by axis name (an axis that is left out
        keeps the grid's nodes). None for nowhere.
    onto
        Coordinates by axis name on whose product the jet is evaluated in place of the grid; results then have
        their shape.

    Raises
    ------
    GridError
        If an order is not one of the field u along the grid's axes, or the points do not fit the grid.
    """

    def __init__(
        self,
        grid: Grid,
        orders: Sequence[Derivative | str | Mapping[str, int]],
        observed: Observed | None = None,
        onto: Mapping[str, Array] | None = None,
    ) -> None:
        super().__init__()
        self.grid = grid if onto is None else Grid(*(Axis.from_points(a.name, onto[a.name]) for a in grid))
        self.orders = _checked(orders, grid)
        self.observed, self.observed_shape = _places(observed, grid)
        self._held = Weights({} if self.observed is None else {"observed": _coords(self.observed, grid)})
        self._indices = {d: d.index(grid.names) for d in self.orders}
        self._prepare()

    def _prepare(self) -> None:
        """What a subclass derives from grid and orders; by default, the points of the jet."""
        self._hold("nodes", self.grid.coords())

    @abstractmethod
    def forward(self, network: nn.Module) -> tuple[Jet, Tensor | None]:
        """The field of a network (n, d) -> (n, channels).

        The jet has each derivative, (channels, *grid.shape), and values are those at the ``observed`` places,
        (channels, n) or (channels, *len of each axis), None where there are none; both in float64.
        """

    def _hold(self, name: str, points: Array) -> None:
        """Store coordinates (n, d), which move with the module to its device and stay float64."""
        self._held.register_buffer(name, torch.as_tensor(np.ascontiguousarray(points)), persistent=False)

    def _at(self, name: str, network: nn.Module) -> Tensor:
        """Stored coordinates in the network's dtype and on its device, shape (n, d)."""
        points = self._held.tensors()[name]
        tensors = chain(network.parameters(), network.buffers())
        like = next((p for p in tensors if p.is_floating_point()), None)
        return points if like is None else points.to(like)

    def evaluate(self, network: nn.Module) -> Tensor | None:
        """The network's values at the ``observed`` places, without mollification."""
        if self.observed is None:
            return None
        return by_channel(network(self._at("observed", network)), self.observed_shape)


def by_channel(values: Tensor, shape: Sequence[int]) -> Tensor:
    """A network's values (n, channels) as float64 of shape (channels, *shape).

    Raises `GridError` if the values have another shape.
    """
    if values.ndim != 2 or values.shape[0] != int(np.prod(shape)):
        raise GridError(
            f"The network gave values of shape {tuple(values.shape)} at {int(np.prod(shape))} points; "
            "(points, channels) was expected."
        )
    return values.double().T.reshape(-1, *shape)


def _checked(orders: Sequence[Derivative | str | Mapping[str, int]], grid: Grid) -> tuple[Derivative, ...]:
    """The orders as derivatives of u along the grid's axes."""
    parsed = parse_orders(orders, grid.names)
    for d in parsed:
        if d.field != "u":
            raise GridError(
                f"'{d.name}' is not a derivative of 'u' along {grid.names}: every channel of a network is "
                "differentiated alike, under the name u, as in orders=['u', 'u_xx']."
            )
    return parsed


def _places(observed: Any, grid: Grid) -> tuple[Any, tuple[int, ...]]:
    """Observed places as float64 points (n, d) or axes by name in the grid's order; and their shape."""
    if observed is None:
        return None, ()
    if isinstance(observed, Mapping):
        for name in observed:
            grid[name]
        axes = {a.name: np.asarray(observed.get(a.name, a.points), dtype=float) for a in grid}
        for name, x in axes.items():
            if x.ndim != 1:
                raise GridError(
                    f"Observed coordinates along '{name}' have shape {x.shape}; (n,) was expected."
                )
        return axes, tuple(len(x) for x in axes.values())
    points = np.asarray(observed, dtype=float)
    if points.ndim != 2 or points.shape[1] != len(grid.axes):
        raise GridError(
            f"Observed points of shape {points.shape} were given; (n, {len(grid.axes)}) along {grid.names} "
            "was expected."
        )
    return points, (len(points),)


def _coords(observed: Any, grid: Grid) -> Array:
    """Every observed place as a point, shape (n, d)."""
    if not isinstance(observed, Mapping):
        return observed
    mesh = np.meshgrid(*(observed[n] for n in grid.names), indexing="ij")
    return np.stack([m.ravel() for m in mesh], axis=-1)
