"""The multilayer perceptron, with and without random Fourier features."""

from __future__ import annotations

from torch import nn

from mollifier.nn.layers import FourierFeatures, Layered, glorot, hidden_layer


class MLP(Layered):
    """A multilayer perceptron with Glorot's normal initial weights: the default, which fits most fields.

    Parameters
    ----------
    inputs, outputs
        Coordinates in, scaled to about [-1, 1] (see `Affine.from_box`), and channels out.
    width, depth
        Units in each hidden layer, and the number of hidden layers. The defaults of all networks are small:
        Gauss-Newton handles up to 6,000 weights in all.
    activation
        "tanh", "sin", "gelu", "silu" or "wavelet".
    fourier, fourier_scale
        Number of random Fourier features before the first layer, none by default, and their standard
        deviation in periods across the domain (Tancik et al., arXiv:2006.10739). A plain perceptron learns
        slow waves long before fast ones; on features it learns all waves up to about ``fourier_scale``
        periods at one rate. Too large a scale fits the noise between the data.
    factorised
        Whether hidden layers are `FactorisedLinear`.

    Raises
    ------
    ConfigurationError
        If a size is below 1 or the activation is not known.

    Notes
    -----
    Call ``torch.manual_seed`` first for the same weights every time. Glorot and Bengio, AISTATS 2010.

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
