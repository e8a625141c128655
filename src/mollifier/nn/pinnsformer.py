"""PINNsFormer: a transformer over short sequences of times."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mollifier.errors import ConfigurationError
from mollifier.nn.layers import Network, Wavelet, glorot
from mollifier.nn.periodic import PeriodicInputs, periodic_flags


class Attention(nn.Module):
    """Multi-head attention, ``softmax(Q K' / sqrt(width / heads)) V`` in each head (arXiv:1706.03762).

    Written out, since torch's cannot be differentiated twice and batched over weights.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(width // heads)
        self.query, self.key, self.value = (glorot(width, width) for _ in range(3))
        self.out = glorot(width, width)

    def split(self, x: Tensor) -> Tensor:
        """(..., length, width) -> (..., heads, length, width / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def join(self, x: Tensor) -> Tensor:
        """(..., heads, length, width / heads) -> (..., length, width)."""
        return x.transpose(-3, -2).flatten(-2)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """Each position of x (..., positions, width) attends to the source (..., length, width)."""
        query, key, value = (
            self.split(part(s)) for part, s in ((self.query, x), (self.key, source), (self.value, source))
        )
        weights = torch.softmax(self.scale * query @ key.transpose(-1, -2), -1)
        return self.out(self.join(weights @ value))


class AttentionBlock(nn.Module):
    """Attention, then a perceptron, each after a `Wavelet` and with a skip connection."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.before, self.between = Wavelet(), Wavelet()
        self.attention = Attention(width, heads)
        self.forth = _perceptron(width, hidden, width)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """(..., positions, width) -> the same; self-attention where no source is given."""
        y = self.before(x)
        x = x + self.attention(y, y if source is None else source)
        return x + self.forth(self.between(x))


class PINNsFormer(Network):
    """The transformer over pseudo-sequences (Zhao, Ding and Prakash, arXiv:2307.11833).

    A point [x, t] becomes the sequence [x, t], [x, t + dt], ..., [x, t + (length - 1) dt]; a linear layer
    mixes the coordinates of each, an encoder attends to the sequence itself and a decoder to the encoder's
    output, and a perceptron turns each position into values. `Wavelet` is the only activation, and there is
    no layer normalisation. The value at the point is that at the sequence's first position, as in the paper's
    tests. Further options as of `Network`.

    Parameters
    ----------
    width, hidden
        Units at each position, and in the hidden layers of its perceptrons. The paper has 32 and 256 to 512,
        half a million weights, too many for Gauss-Newton.
    depth
        Blocks in the encoder, and in the decoder.
    heads
        Number of attention heads; a divisor of the width.
    length, step
        Number of times in a sequence, and the distance dt between them. The paper has 5 and 1e-4 in units of
        t; here a step is in half-lengths of the domain.
    along
        Index of the coordinate that is the time; the last by default.

    Notes
    -----
    The paper imposes the equation at all
    positions of the sequence; here it is imposed at the collocation nodes.

    Examples
    --------
    >>> net = PINNsFormer(2, 3)
    >>> net(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 8,
        depth: int = 1,
        hidden: int = 8,
        heads: int = 2,
        length: int = 5,
        step: float = 1e-4,
        along: int = -1,
        periodic: Sequence[bool] | None = None,
    ) -> None:
        sizes = {"width": width, "depth": depth, "hidden": hidden, "heads": heads, "length": length}
        super().__init__(inputs, outputs, **sizes)
        periodic = periodic_flags(inputs, periodic)
        if not -inputs <= along < inputs:
            raise ConfigurationError(
                f"PINNsFormer: along={along} was given; an index of one of {inputs} coordinates was expected."
            )
        if width % heads:
            raise ConfigurationError(
                f"PINNsFormer: width={width} and heads={heads} were given; a width that is a multiple of "
                "heads was expected."
            )
        self.embedding = PeriodicInputs(periodic) if any(periodic) else nn.Identity()
        self.shifts: Tensor
        shifts = torch.zeros(length, inputs)
        shifts[:, along] = step * torch.arange(length)
        self.register_buffer("shifts", shifts)
        self.mixer = glorot(PeriodicInputs(periodic).outputs, width)
        self.encoder = nn.ModuleList(AttentionBlock(width, hidden, heads) for _ in range(depth))
        self.encoded = Wavelet()
        self.decoder = nn.ModuleList(AttentionBlock(width, hidden, heads) for _ in range(depth))
        self.decoded = Wavelet()
        self.head = _perceptron(width, hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, outputs)."""
        source = self.mixer(self.embedding(x[..., None, :] + self.shifts))
        # Positions of the decoder do not see each other: the first alone is enough.
        query = source[..., :1, :]
        for block in self.encoder:
            source = block(source)
        source = self.encoded(source)
        for block in self.decoder:
            query = block(query, source)
        return self.head(self.decoded(query)[..., 0, :])


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A perceptron with two hidden layers of Wavelets."""
    first, second = glorot(inputs, hidden), glorot(hidden, hidden)
    return nn.Sequential(first, Wavelet(), second, Wavelet(), glorot(hidden, outputs))
