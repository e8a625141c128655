"""The multilayer perceptron, with and without random Fourier features."""

from __future__ import annotations

from torch import nn

from mollifier.nn.layers import FourierFeatures, Layered, glorot, hidden_layer


class MLP(Layered):
    """A multilayer perceptron: the default, which fits most fields. Further options as of `Network`.

    Parameters
    ----------
    fourier, fourier_scale
        Number of random Fourier features before the first layer, none by default, and their standard
        deviation in periods across the domain (Tancik et al., arXiv:2006.10739). A plain perceptron learns
        slow waves long before fast ones; on features it learns all waves up to about ``fourier_scale``
        periods at one rate. Too large a scale fits the noise between the data.

    Examples
    --------
    >>> import torch
    >>> net = MLP(2, 3, width=16, depth=2, activation="sin", fourier=8)
    >>> net(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 16,
        depth: int = 4,
        activation: str = "tanh",
        fourier: int | None = None,
        fourier_scale: float = 1.0,
        factorised: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, width=width, depth=depth, fourier=fourier or 1)
        layers: list[nn.Module] = []
        last = inputs
        if fourier:
            layers.append(FourierFeatures(inputs, fourier, fourier_scale))
            last = 2 * fourier
        for _ in range(depth):
            layers += hidden_layer(last, width, activation, factorised)
            last = width
        self.layers = nn.Sequential(*layers, glorot(last, outputs))
