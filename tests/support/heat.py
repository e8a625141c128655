"""Heat in a rod, u_t = 0.3 u_xx, as the adapters' tests solve it."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from mollifier.adapters.residual import ResidualLayer
from mollifier.mollify.grid import Axis, Grid
from mollifier.nn.layers import Affine, Sine

GRID = Grid(Axis("x", 0.0, 3.0, 31), Axis("t", 0.0, 1.0, 21))
TRUE = 0.3


def needs(package: str) -> list[pytest.MarkDecorator]:
    """Marks of tests against a real package, which they import only where they run."""
    why = f"{package} is not installed: pip install 'mollifier[adapters]'"
    return [pytest.mark.filterwarnings("ignore"), pytest.mark.skipif(not find_spec(package), reason=why)]


def heat(coords: Any) -> np.ndarray:
    """An exact solution at points (n, 2)."""
    x, t = np.asarray(coords).T
    return np.exp(-TRUE * t) * np.sin(x) + 0.5 * np.exp(-4 * TRUE * t) * np.cos(2 * x)


def places() -> np.ndarray:
    """300 scattered points, (300, 2)."""
    return np.random.default_rng(1).random((300, 2)) * [3.0, 1.0]


def equation(radius: float = 0.3) -> ResidualLayer:
    """The equation on its layer."""
    return ResidualLayer("u_t = k*u_xx", GRID, unknowns=["k"], radius=radius)


def network() -> torch.nn.Module:
    """A small sine network, the same every time."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(2, 24), Sine(2.0), torch.nn.Linear(24, 24), Sine(2.0), torch.nn.Linear(24, 1)]
    return torch.nn.Sequential(Affine.from_box([0.0, 0.0], [3.0, 1.0]), *layers)
