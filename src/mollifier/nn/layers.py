"""The modules that networks are built from, and their initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mollifier.errors import ConfigurationError
from mollifier.io.registry import Registry

# Mean and standard deviation of the log-scales of `FactorisedLinear`, the paper's.
_SCALE_MEAN, _SCALE_SD = 1.0, 0.1


class Network(nn.Module):
    """What the networks of this room share: points (n, inputs) -> values (n, outputs), sizes checked.

    Parameters
    ----------
    inputs, outputs
        Number of coordinates, each scaled to about [-1, 1] (see `Affine.from_box`), and of channels.
    width, depth
        Units in each hidden layer, and the number of hidden layers. The defaults of all networks are small:
        Gauss-Newton handles up to 6,000 weights in all.
    activation
        "tanh", "sin", "gelu", "silu" or "wavelet".
    factorised
        Whether hidden layers are `FactorisedLinear`.
    periodic
        Which coordinates are periodic, with period 2; none by default. Networks without this option get the
        sine and cosine of these (`mollifier.nn.periodic.PeriodicInputs`).

    Raises
    ------
    ConfigurationError
        If a size is below 1, the activation is not known, or ``periodic`` has another length than ``inputs``.

    Notes
    -----
    Initial weights are Glorot's normal ones (Glorot and Bengio, AISTATS 2010), with zero bias, where a
    network does not say otherwise. Call ``torch.manual_seed`` first for the same weights every time.
    """

    def __init__(self, inputs: int, outputs: int, **sizes: int) -> None:
        super().__init__()
        check_sizes(type(self).__name__, inputs=inputs, outputs=outputs, **sizes)
        self.inputs, self.outputs = inputs, outputs


class Layered(Network):
    """A network whose layers follow each other."""

    layers: nn.Sequential

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, outputs)."""
        return self.layers(x)


class Sine(nn.Module):
    """The sine of ``frequency * x``, as a module."""

    def __init__(self, frequency: float = 1.0) -> None:
        super().__init__()
        self.frequency = frequency

    def forward(self, x: Tensor) -> Tensor:
        """Sine of each entry; any shape."""
        return torch.sin(x if self.frequency == 1 else self.frequency * x)

    def extra_repr(self) -> str:
        """The frequency."""
        return f"{self.frequency:g}"


class Wavelet(nn.Module):
    """``w1 sin x + w2 cos x`` with w1 and w2 trained, one at first (arXiv:2307.11833, section 3.3).

    >>> Wavelet()(torch.tensor([0.0, math.pi / 2])).detach()
    tensor([1.0000, 1.0000])
    """

    def __init__(self) -> None:
        super().__init__()
        self.sine = nn.Parameter(torch.ones(()))
        self.cosine = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Entry by entry; any shape."""
        return self.sine * torch.sin(x) + self.cosine * torch.cos(x)


#: Name -> what makes a new activation, a module that acts entry by entry.
ACTIVATIONS: Registry[Callable[[], nn.Module]] = Registry(
    "activation", {"tanh": nn.Tanh, "sin": Sine, "gelu": nn.GELU, "silu": nn.SiLU, "wavelet": Wavelet}
)


class Affine(nn.Module):
    """The fixed map ``scale * x + shift`` of each column, to scale a network's inputs or outputs.

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
                "was expected."
            )
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.get_default_dtype()))
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.get_default_dtype()))

    @classmethod
    def from_box(cls, lower: Sequence[float], upper: Sequence[float]) -> Affine:
        """The map of a box to [-1, 1] in each coordinate.

        Raises `ConfigurationError` if an upper bound does not lie above its lower bound, or their counts
        differ.
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

    The inner product of the features of two points is ``sum_j cos(pi b_j . (x - y))``: a stationary kernel of
    length 1/scale for a network on top of them.

    Inputs are expected within about [-1, 1]. There are so many frequencies, ``features``, and twice as many
    columns come out. ``scale`` is the standard deviation of the entries of B: about the highest number of
    periods across the domain.
    """

    def __init__(self, inputs: int, features: int, scale: float = 1.0) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", math.pi * scale * torch.randn(features, inputs))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, 2 features)."""
        phase = x @ self.frequencies.T
        return torch.cat([torch.sin(phase), torch.cos(phase)], -1)


class FactorisedLinear(nn.Linear):
    """A linear layer whose weights are ``diag(exp(s)) V``: random weight factorisation (arXiv:2210.01274).

    ``s`` is normal with mean 1 and standard deviation 0.1. V makes the product equal to the weights of the
    layer given. Adam's step size then differs from neuron to neuron.

    >>> plain = nn.Linear(2, 3)
    >>> torch.allclose(FactorisedLinear(plain)(torch.ones(1, 2)), plain(torch.ones(1, 2)), atol=1e-5)
    True
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features)
        self.log_scale = nn.Parameter(_SCALE_MEAN + _SCALE_SD * torch.randn(layer.out_features))
        with torch.no_grad():
            self.weight.copy_(layer.weight / self.log_scale.exp()[:, None])
            self.bias.copy_(layer.bias)

    @property
    def product(self) -> Tensor:
        """diag(exp(s)) V, shape (outputs, inputs)."""
        return self.log_scale.exp()[:, None] * self.weight

    def forward(self, input: Tensor) -> Tensor:
        """(n, inputs) -> (n, outputs)."""
        return functional.linear(input, self.product, self.bias)


def glorot(inputs: int, outputs: int, factorised: bool = False) -> nn.Linear:
    """A linear layer with Glorot's normal weights and zero bias at first; `FactorisedLinear` if chosen."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return FactorisedLinear(layer) if factorised else layer


def hidden_layer(inputs: int, outputs: int, activation: str, factorised: bool = False) -> nn.Sequential:
    """A layer of `glorot` and an activation: (n, inputs) -> (n, outputs).

    Raises `ConfigurationError` if the activation is not one of `ACTIVATIONS`.
    """
    return nn.Sequential(glorot(inputs, outputs, factorised), ACTIVATIONS[activation]())


def check_sizes(network: str, **sizes: int) -> None:
    """Refuse sizes below 1.

    >>> check_sizes("SIREN", width=0)
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: SIREN: width=0 was given; an integer of 1 or more was expected.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ConfigurationError(
                f"{network}: {name}={size} was given; an integer of 1 or more was expected."
            )


def trained(network: nn.Module) -> list[Tensor]:
    """Weights that training may change, each once."""
    return [p for p in network.parameters() if p.requires_grad]


def count(network: nn.Module) -> int:
    """Number of weights that training may change.

    >>> count(nn.Linear(2, 3))
    9
    """
    return sum(p.numel() for p in trained(network))
