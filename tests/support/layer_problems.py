"""A small layer for the tests, and a field to put through it."""

import torch

from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.layer import MollifierLayer

GRID = Grid(Axis("x", 0.0, 1.0, 20), Axis("y", 0.0, 1.0, 12, periodic=True))
ORDERS = ["u", "u_x", "u_xx", "u_xyy"]


def field(coords: torch.Tensor) -> torch.Tensor:
    return torch.sin(2 * coords[:, 0] + 0.3) * torch.cos(2 * torch.pi * coords[:, 1])


def small(**options) -> MollifierLayer:
    return MollifierLayer(GRID, ORDERS, **{"radius": {"x": 0.3, "y": 0.4}, **options})
