"""The multilayer perceptron and the small modules it is built from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mollifier.errors import ConfigurationError, did_you_mean


class Sine(nn.Module):
    """The sine, as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Sine of each entry; any shape."""
        return torch.sin(x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "sin": Sine,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


class Affine(nn.Module):
    """A fixed map ``scale * x + shift`` of each column, for scaling a network's inputs and outputs.

    Parameters
    ----------
    scale, shift
        One number for each column.

    Examples
    --------
    >>> unit = Affine.from_box([0.0, -5.0], [2.0, 5.0])      # the box to [-1, 1] in each coordinate
    >>> unit(torch.tensor([[0.0, 5.0], [1.0, 0.0]]))
    tensor([[-1.,  1.],
            [ 0.,  0.]])
    """

    def __init__(self, scale: Sequence[float], shift: Sequence[float]) -> None:
        super().__init__()
        if len(scale) != len(shift):
            raise ConfigurationError(
                f"{len(scale)} scales and {len(shift)} shifts were given; one of each for every column "
                "was wanted."
            )
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.get_default_dtype()))
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.get_default_dtype()))

    @classmethod
    def from_box(cls, lower: Sequence[float], upper: Sequence[float]) -> Affine:
        """The map of a box to [-1, 1] in each coordinate.

        Raises
        ------
        ConfigurationError
            If an upper bound does not lie above its lower bound, or their counts differ.
        """
        if len(lower) != len(upper) or any(not a < b for a, b in zip(lower, upper, strict=False)):
            raise ConfigurationError(
                f"A box from {list(lower)} to {list(upper)} was given; "
                "each upper bound must lie above its lower."
            )
        pairs = list(zip(lower, upper, strict=True))
        return cls([2 / (b - a) for a, b in pairs], [-(a + b) / (b - a) for a, b in pairs])

    def forward(self, x: Tensor) -> Tensor:
        """(n, columns) -> (n, columns)."""
        return x * self.scale + self.shift


class FourierFeatures(nn.Module):
    """Random Fourier features ``[sin(pi B x), cos(pi B x)]`` with B normal and fixed (arXiv:2006.10739).

    Parameters
    ----------
    inputs
        Number of coordinates, each expected within about [-1, 1].
    features
        Number of frequencies; twice as many columns come out.
    scale
        Standard deviation of the entries of B: about the highest number of periods wanted across the domain.
    """

    def __init__(self, inputs: int, features: int, scale: float = 1.0) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", math.pi * scale * torch.randn(features, inputs))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, 2 features)."""
        phase = x @ self.frequencies.T
        return torch.cat([torch.sin(phase), torch.cos(phase)], -1)


class MLP(nn.Module):
    """A multilayer perceptron, Glorot-initialised.

    Parameters
    ----------
    inputs, outputs
        Coordinates in and channels out. Inputs should be scaled to about [-1, 1]; see `Affine.from_box`.
    width, depth
        Units in each hidden layer, and the number of hidden layers.
    activation
        "tanh", "sin", "gelu" or "silu".
    fourier
        Number of random Fourier features put before the first layer; none by default.
    fourier_scale
        Their standard deviation, see `FourierFeatures`.

    Raises
    ------
    ConfigurationError
        If a size is below 1 or the activation is not known.

    Notes
    -----
    Call ``torch.manual_seed`` first for the same weights every time.

    Examples
    --------
    >>> net = MLP(2, 3, width=16, depth=2, activation="sin", fourier=8)
    >>> net(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 64,
        depth: int = 4,
        activation: str = "tanh",
        fourier: int | None = None,
        fourier_scale: float = 1.0,
    ) -> None:
        super().__init__()
        sizes = {"inputs": inputs, "outputs": outputs, "width": width, "depth": depth}
        for name, size in {**sizes, "fourier": 1 if fourier is None else fourier}.items():
            if size < 1:
                raise ConfigurationError(f"An MLP was given {name}={size}; 1 or more was wanted.")
        if activation not in ACTIVATIONS:
            raise ConfigurationError(
                f"There is no activation '{activation}'.{did_you_mean(activation, ACTIVATIONS)} "
                f"Known: {', '.join(ACTIVATIONS)}."
            )
        self.inputs, self.outputs, self.activation = inputs, outputs, activation
        layers: list[nn.Module] = []
        last = inputs
        if fourier is not None:
            layers.append(FourierFeatures(inputs, fourier, fourier_scale))
            last = 2 * fourier
        for _ in range(depth):
            layers += [_glorot(last, width), ACTIVATIONS[activation]()]
            last = width
        self.layers = nn.Sequential(*layers, _glorot(last, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, outputs)."""
        return self.layers(x)


def _glorot(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer with Glorot's normal weights and no bias at first."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
