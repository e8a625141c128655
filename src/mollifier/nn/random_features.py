"""The random-feature network: a fixed hidden layer, random or on a lattice, and a trained last layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from scipy.optimize import root_scalar
from torch import Tensor, nn

from mollifier.errors import ConfigurationError
from mollifier.nn.layers import Affine, Network, Sine
from mollifier.nn.periodic import periodic_flags
from mollifier.nn.separable import Separable

_WAVES = 1.2  # Default standard deviation of the number of waves along each coordinate.
_REACH = 3.0  # The band reaches to so many standard deviations of the number of waves.
_FEWEST_FEATURES, _MOST_FEATURES = 150, 2500  # Where the width is chosen automatically.
_APART = 3.0  # Correlation lengths between one end of a coordinate and the next copy of its other end.


class RandomFeatures(Separable):
    """``u(x) = sum_j w_j s_j prod_i sin(k_ij x_i + b_ij)`` where only w is trained.

    Random features (Rahimi and Recht, NeurIPS 2007) as networks for differential equations (Chen, Chi, E and
    Yang, arXiv:2207.13380), with products of sines in place of sines of sums: on a tensor grid each
    coordinate is evaluated once. The network is linear in w: a fit to data is least squares, and Gauss-Newton
    has the same Jacobian in every step.

    The band of waves is given by the standard deviation of their number along each coordinate. Where
    ``width`` features fill the band, the numbers of waves k are normal, the phases b uniform, both drawn
    once, and the sizes s are one. A wider band would be sampled unevenly by draws: there k are on a lattice,
    those of the greatest density first, with a sine and a cosine each, and s is the root of the density, so
    that the field has the covariance of the draws (Hensman, Durrande and Solin, JMLR 18:151, 2018). The band
    is narrowed by a common factor until the features fill it. Channels share the features; periodic
    coordinates get whole numbers of waves. Further options as of `Network`.

    Parameters
    ----------
    width
        Number of features; by default as many as fill the band, from 150 to 2,500.
    fourier_scale
        Standard deviation of the number of waves across the domain, the same along every coordinate; k are
        then drawn.
    waves
        Standard deviation of the number of waves along each coordinate, positive, where ``fourier_scale`` is
        not given.

    Notes
    -----
    The first feature is constant. Initial weights give an output of about unit size.

    Examples
    --------
    >>> net = RandomFeatures(2, 1, width=40, waves=[3.0, 0.5])
    >>> x, y = torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 4)
    >>> points = net(torch.cartesian_prod(x, y))[:, 0]
    >>> torch.allclose(net.on_grid([x, y]).flatten(), points, atol=1e-5)
    True
    >>> sum(p.numel() for p in net.parameters() if p.requires_grad)
    40
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int | None = None,
        fourier_scale: float | None = None,
        periodic: Sequence[bool] | None = None,
        waves: Sequence[float] | None = None,
    ) -> None:
        Network.__init__(self, inputs, outputs, width=width or 1)
        drawn = fourier_scale is not None
        periodic = periodic_flags(inputs, periodic)
        if fourier_scale is not None or waves is None:
            waves = [_WAVES if fourier_scale is None else fourier_scale] * inputs
        if len(waves) != inputs or min(waves) <= 0:
            raise ConfigurationError(
                f"RandomFeatures: waves={list(waves)} was given for {inputs} coordinates; one positive "
                "number for each was expected."
            )
        if width is None:
            width = round(min(max(_band_size(waves), _FEWEST_FEATURES), _MOST_FEATURES))
        self.rank = width
        if drawn or round(_band_size(waves)) <= width:
            parts = [_drawn(width, w, wraps) for w, wraps in zip(waves, periodic, strict=True)]
            spread = math.sqrt(2**inputs / width)
        else:
            parts, spread = _on_lattice(width, affordable(waves, width), periodic), 1.0
        self.parts = nn.ModuleList(parts)
        self.last = nn.Linear(width, outputs, bias=False)
        nn.init.normal_(self.last.weight, 0.0, spread)

    def summed(self, products: Tensor) -> Tensor:
        """Sums (..., outputs) of features (..., width)."""
        return self.last(products)

    def features(self, axes: Sequence[Tensor]) -> list[Tensor]:
        """The factors of all features at nodes (n_i,) of each coordinate, each of shape (n_i, width)."""
        return [part(nodes[:, None]) for part, nodes in zip(self.parts, axes, strict=True)]

    def on_grid(self, axes: Sequence[Tensor]) -> Tensor:
        """Values (outputs, n_1, ..., n_d) on a tensor grid of nodes (n_i,) along each coordinate."""
        *others, along = self.features(axes)
        leading = reduce(lambda a, b: (a[:, None] * b).flatten(0, 1), others, self.last.weight)
        shape = [self.outputs, *(len(nodes) for nodes in axes)]
        return (leading @ along.T).reshape(shape)


def affordable(waves: Sequence[float], most: float, fewest: float = _FEWEST_FEATURES) -> list[float]:
    """Numbers of waves times a common factor, such that ``fewest`` to ``most`` features fill their band.

    ``waves`` are standard deviations of the number of waves along each coordinate.

    >>> affordable([2.0, 2.0], 2500), [round(w, 1) for w in affordable([6.0, 6.0], 300)]
    ([2.0, 2.0], [2.7, 2.7])
    """
    target = min(max(_band_size(waves), fewest), most)
    if target == _band_size(waves):
        return list(waves)
    found = root_scalar(
        lambda log: _band_size([w * math.exp(log) for w in waves]) - target, bracket=(-50.0, 50.0)
    )
    return [w * math.exp(found.root) for w in waves]


def _band_size(waves: Sequence[float]) -> float:
    """Number of features that fill the band."""
    return math.prod(1 + 2 * _REACH * w for w in waves)


def _drawn(width: int, waves: float, wraps: bool) -> nn.Sequential:
    """Factors ``sin(k x + b)`` of all features along one coordinate, drawn; k and b in units of pi."""
    k = waves * torch.randn(width)
    k = torch.round(k) if wraps else k
    k[0] = 0.0
    # A factor that does not vary is one.
    phase = torch.where(k == 0, 0.5, 2 * torch.rand(width))
    return nn.Sequential(Affine(k.tolist(), phase.tolist()), Sine(math.pi))


def _on_lattice(width: int, waves: Sequence[float], periodic: Sequence[bool]) -> list[nn.Sequential]:
    """Factors along each coordinate at the lattice's densest waves; the first coordinate's hold the sizes."""
    steps = [1.0 if wraps else _step(w) for w, wraps in zip(waves, periodic, strict=True)]
    reach = 1.0
    while True:
        # Negative numbers of waves encode sines, the others cosines.
        axes = [
            torch.arange(-math.floor(reach * w / d), math.floor(reach * w / d) + 1) * d
            for w, d in zip(waves, steps, strict=True)
        ]
        k = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1).double()
        squares = (k / torch.tensor(waves)[:, None]).square().sum(0)
        if int((squares <= reach**2).sum()) >= width:
            break
        reach *= 1.1
    order = torch.sort(squares, stable=True).indices[:width]
    phases = torch.where(k[:, order] < 0, 0.0, 0.5)
    sizes = torch.exp(-squares[order] / 4)
    # Both signs of a number of waves share one sine and one cosine; zero has one sign.
    sizes *= 2 ** (0.5 * (k[:, order] != 0).sum(0)) / sizes.norm()
    parts = [
        nn.Sequential(Affine(along.tolist(), phase.tolist()), Sine(math.pi))
        for along, phase in zip(k[:, order].abs(), phases, strict=True)
    ]
    parts[0].append(Affine(sizes.tolist(), [0.0] * width))
    return parts


def _step(waves: float) -> float:
    """Spacing of the lattice along a coordinate that is not periodic: it sets the period of the field."""
    length = 1 / (math.pi * waves)
    return 2 / (2 + _APART * length)
