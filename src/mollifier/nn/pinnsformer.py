"""PINNsFormer: a transformer over short sequences of times."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mollifier.errors import ConfigurationError
from mollifier.nn.layers import Wavelet, check_sizes, glorot
from mollifier.nn.periodic import PeriodicInputs


class Attention(nn.Module):
    """Multi-head attention, ``softmax(Q K' / sqrt(width / heads)) V`` in each head (arXiv:1706.03762).

    Written out, because it must be differentiated more than once and batched over weights.
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
        """What each position of x (..., positions, width) finds in the source (..., length, width)."""
        query, key, value = (
            self.split(part(s)) for part, s in ((self.query, x), (self.key, source), (self.value, source))
        )
        weights = torch.softmax(self.scale * query @ key.transpose(-1, -2), -1)
        return self.out(self.join(weights @ value))


class AttentionBlock(nn.Module):
    """Attention, then a perceptron, each after a `Wavelet` and added to what came in."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.before, self.between = Wavelet(), Wavelet()
        self.attention = Attention(width, heads)
        self.forth = _perceptron(width, hidden, width)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """(..., positions, width) -> the same; looks at itself where no source is given."""
        y = self.before(x)
        x = x + self.attention(y, y if source is None else source)
        return x + self.forth(self.between(x))


class PINNsFormer(nn.Module):
    """The transformer over pseudo-sequences (Zhao, Ding and Prakash, arXiv:2307.11833).

    A point [x, t] becomes the sequence [x, t], [x, t + dt], ..., [x, t + (length - 1) dt]; a linear layer
    mixes the coordinates of each, an encoder looks at the sequence itself and a decoder at the encoder's
    output, and a perceptron turns each position into values. `Wavelet` is the only activation, and there is
    no normalisation of layers. The value at the point is that at the sequence's first position, as in the
    paper's tests; `sequence` gives all.

    Parameters
    ----------
    inputs, outputs
        Coordinates in, scaled to about [-1, 1], and channels out.
    width, hidden
        Units at each position, and in the hidden layers of its perceptrons. The paper has 32 and 256 to 512,
        half a million weights: beyond Gauss-Newton.
    depth
        Blocks in the encoder, and in the decoder.
    heads
        Of the attention; a divisor of the width.
    length, step
        Number of times in a sequence, and the distance dt between them along the last coordinate, or that
        of ``along``. The paper has 5 and 1e-4 in units of t; here a step is measured in half-lengths of the
        domain.
    along
        Which coordinate the sequence runs along; the last by default.
    periodic
        Which coordinates repeat after 2, from -1 to 1; none by default.

    Raises
    ------
    ConfigurationError
        If a size is below 1, the heads do not divide the width, or the other numbers make no sense.

    Notes
    -----
    Glorot's normal weights, no bias, and Wavelets of ones at first. The paper's loss asks for the equation at
    all positions of the sequence; here it is asked for at the collocation nodes.

    Examples
    --------
    >>> net = PINNsFormer(2, 3)
    >>> x = torch.zeros(5, 2)
    >>> net(x).shape, net.sequence(x).shape
    (torch.Size([5, 3]), torch.Size([5, 5, 3]))
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
        super().__init__()
        sizes = {"inputs": inputs, "outputs": outputs, "width": width, "depth": depth, "hidden": hidden}
        check_sizes("A PINNsFormer", **sizes, heads=heads, length=length)
        periodic = (False,) * inputs if periodic is None else tuple(periodic)
        if len(periodic) != inputs or not -inputs <= along < inputs:
            raise ConfigurationError(
                f"{inputs} coordinates, periodic={list(periodic)} and along={along} were given."
            )
        if width % heads:
            raise ConfigurationError(
                f"A PINNsFormer was given width={width} and heads={heads}; a width that the "
                "heads divide was wanted."
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

    def sequence(self, x: Tensor) -> Tensor:
        """(n, inputs) -> values at all times of the pseudo-sequence, (n, length, outputs)."""
        mixed = self._mixed(x)
        return self.head(self._decoded(mixed, mixed))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, outputs)."""
        mixed = self._mixed(x)
        # No position of the decoder looks at another of its own.
        return self.head(self._decoded(mixed, mixed[..., :1, :])[..., 0, :])

    def _mixed(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, length, width)."""
        return self.mixer(self.embedding(x[..., None, :] + self.shifts))

    def _decoded(self, source: Tensor, found: Tensor) -> Tensor:
        """Encodes the source (n, length, width) and decodes what is found in it, (n, positions, width)."""
        for block in self.encoder:
            source = block(source)
        source = self.encoded(source)
        for block in self.decoder:
            found = block(found, source)
        return self.decoded(found)


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers of Wavelets."""
    first, second = glorot(inputs, hidden), glorot(hidden, hidden)
    return nn.Sequential(first, Wavelet(), second, Wavelet(), glorot(hidden, outputs))
