"""Networks whose layers interpolate, unit by unit, between two embeddings of the inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mollifier.errors import ConfigurationError
from mollifier.nn.layers import FourierFeatures, Network, glorot, hidden_layer


def _gates(inputs: int, width: int, activation: str, factorised: bool) -> nn.ModuleList:
    """Two embeddings ``U = a(W1 x + b1)`` and ``V = a(W2 x + b2)`` of the inputs, each (n, width)."""
    return nn.ModuleList(hidden_layer(inputs, width, activation, factorised) for _ in range(2))


class ModifiedMLP(Network):
    """The modified multilayer perceptron (Wang, Teng and Perdikaris, arXiv:2001.04536, section 2.6).

    With ``U = a(W1 x + b1)`` and ``V = a(W2 x + b2)``, the first hidden layer is ``H = a(W x + b)`` and each
    one after it ``H <- (1 - Z) U + Z V`` with ``Z = a(W H + b)``; the output is linear in H. Every layer sees
    the inputs and can multiply them: steep fields train better than in an `MLP`. Options are those of
    `Network`; all layers but the last may be factorised, and ``depth - 1`` of the hidden ones are gated.

    >>> ModifiedMLP(2, 3, width=8)(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 16,
        depth: int = 4,
        activation: str = "tanh",
        factorised: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, width=width, depth=depth)
        self.gates = _gates(inputs, width, activation, factorised)
        self.first = hidden_layer(inputs, width, activation, factorised)
        self.hidden = nn.ModuleList(
            hidden_layer(width, width, activation, factorised) for _ in range(depth - 1)
        )
        self.head = glorot(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, outputs)."""
        u, v = (gate(x) for gate in self.gates)
        h = self.first(x)
        for layer in self.hidden:
            h = torch.lerp(u, v, layer(h))
        return self.head(h)


class PirateBlock(nn.Module):
    """One adaptive residual block of `PirateNet`, (n, width) -> (n, width); the identity at first."""

    def __init__(self, width: int, activation: str, factorised: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(hidden_layer(width, width, activation, factorised) for _ in range(3))
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """``alpha h + (1 - alpha) x`` with h the block's three layers, gated by u and v after two of them."""
        h = torch.lerp(v, u, self.layers[0](x))
        h = torch.lerp(v, u, self.layers[1](h))
        return torch.lerp(x, self.layers[2](h), self.alpha)


class PirateNet(Network):
    """The physics-informed residual adaptive network (Wang, Li, Chen and Perdikaris, arXiv:2402.00326).

    On random Fourier features Phi of the inputs and gates ``U = a(W1 Phi + b1)``, ``V = a(W2 Phi + b2)``,
    each block takes x to ``alpha h + (1 - alpha) x`` where ::

        z1 = f U + (1 - f) V,  f = a(W x + b)
        z2 = g U + (1 - g) V,  g = a(W z1 + b)
        h = a(W z2 + b)

    and the output is linear in the last block's. Every alpha is trained and zero at first: the network begins
    as a linear combination of the features, and becomes nonlinear as training raises alpha. Further options
    as of `Network`; all layers but the last may be factorised, as in the paper.

    Parameters
    ----------
    width
        Units in each layer, even: the features are half as many frequencies.
    depth
        Number of blocks of three layers. The paper takes 3 to 9 of 256 units, too many for Gauss-Newton.
    fourier_scale
        Standard deviation of the frequencies, in periods across the domain; see `FourierFeatures`.

    Notes
    -----
    The paper fits the last layer to data by least squares; here the warm-up on the data does that.

    Examples
    --------
    >>> PirateNet(2, 3, width=8)(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 16,
        depth: int = 1,
        activation: str = "tanh",
        fourier_scale: float = 1.0,
        factorised: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, width=width, depth=depth)
        if width % 2:
            raise ConfigurationError(
                f"PirateNet: width={width} was given; an even number was expected: a sine and a cosine for "
                "each frequency."
            )
        self.embedding = FourierFeatures(inputs, width // 2, fourier_scale)
        self.gates = _gates(width, width, activation, factorised)
        self.blocks = nn.ModuleList(PirateBlock(width, activation, factorised) for _ in range(depth))
        self.head = glorot(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, outputs)."""
        h = self.embedding(x)
        u, v = (gate(h) for gate in self.gates)
        for block in self.blocks:
            h = block(h, u, v)
        return self.head(h)
