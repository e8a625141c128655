"""The random-feature network: a hidden layer that is drawn or laid out and kept, and a last one, trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from scipy.optimize import root_scalar
from torch import Tensor, nn

from mollifier.errors import ConfigurationError
from mollifier.nn.layers import Affine, Sine, check_sizes
from mollifier.nn.separable import Separable

# Waves along each coordinate where nothing is known of the field; standard deviations of their number that
# are to be filled with features, and the fewest and most features of a network whose width is left open.
_WAVES, _REACH = 1.2, 3.0
_FEWEST, _MOST = 150, 2500
# Correlation lengths between a coordinate's one end and the next copy of its other.
_APART = 3.0


class RandomFeatures(Separable):
    """``u(x) = sum_j w_j s_j prod_i sin(k_ij x_i + b_ij)`` where only w is trained.

    Random features (Rahimi and Recht, NeurIPS 2007) as networks for differential equations (Chen, Chi, E and
    Yang, arXiv:2207.13380); products of sines in place of sines of sums, so that a tensor grid costs one
    evaluation of each coordinate. The network is linear in what is trained: a fit to data is least squares,
    and Gauss-Newton has the same Jacobian in every step.

    Numbers of waves k are normal and phases b uniform, drawn once, and sizes s one, where features fill the
    band. Where the waves ask for more features than there are, draws would meet some pairs of waves many
    times and others never: then sines and cosines stand on a lattice of waves, those of the greatest density
    first, and s is the root of that density, so that the field has the covariance that draws aim at (Fourier
    features at regular places: Hensman, Durrande and Solin, JMLR 18:151, 2018). The waves are narrowed by a
    common factor until the features fill them.

    Parameters
    ----------
    inputs, outputs
        Coordinates in, scaled to about [-1, 1], and channels out, which share the features.
    width
        Number of features; by default what the waves ask for, from 150 to 2,500.
    fourier_scale
        Standard deviation of the number of waves across the domain, along every coordinate, which are drawn.
    periodic
        Which coordinates repeat after 2, from -1 to 1; none by default. They get whole numbers of waves.
    waves
        Standard deviation of the number of waves along each coordinate, where ``fourier_scale`` is not given.

    Raises
    ------
    ConfigurationError
        If a size is below 1, a number of waves is not positive, or there are not as many as coordinates.

    Notes
    -----
    The first feature is constant. Weights begin so that the output has about unit size.

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
        nn.Module.__init__(self)
        check_sizes("A random-feature network", inputs=inputs, outputs=outputs, width=width or 1)
        drawn = fourier_scale is not None
        periodic = (False,) * inputs if periodic is None else tuple(periodic)
        if fourier_scale is not None or waves is None:
            waves = [_WAVES if fourier_scale is None else fourier_scale] * inputs
        if not len(periodic) == len(waves) == inputs or min(waves) <= 0:
            raise ConfigurationError(
                f"{inputs} coordinates, periodic={list(periodic)} and waves={list(waves)} were given; one "
                "positive number of waves for each coordinate was wanted."
            )
        if width is None:
            width = round(min(max(_wanted(waves), _FEWEST), _MOST))
        self.rank, self.outputs = width, outputs
        if drawn or round(_wanted(waves)) <= width:
            parts = [_drawn(width, w, wraps) for w, wraps in zip(waves, periodic, strict=True)]
            spread = math.sqrt(2**inputs / width)
        else:
            parts, spread = _laid_out(width, affordable(waves, width), periodic), 1.0
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


def affordable(waves: Sequence[float], most: float, fewest: float = _FEWEST) -> list[float]:
    """Numbers of waves times a common factor, so that they ask for so many features at most and at least.

    More waves than are needed cost nothing where features are few.

    Examples
    --------
    >>> affordable([2.0, 2.0], 2500), [round(w, 1) for w in affordable([6.0, 6.0], 300)]
    ([2.0, 2.0], [2.7, 2.7])
    """
    target = min(max(_wanted(waves), fewest), most)
    if target == _wanted(waves):
        return list(waves)
    found = root_scalar(
        lambda log: _wanted([w * math.exp(log) for w in waves]) - target, bracket=(-50.0, 50.0)
    )
    return [w * math.exp(found.root) for w in waves]


def _wanted(waves: Sequence[float]) -> float:
    """Features that fill the band."""
    return math.prod(1 + 2 * _REACH * w for w in waves)


def _drawn(width: int, waves: float, wraps: bool) -> nn.Sequential:
    """A coordinate's part ``sin(k x + b)`` of every feature; k and b in half-waves, whole ones exact."""
    k = waves * torch.randn(width)
    k = torch.round(k) if wraps else k
    k[0] = 0.0
    # A part that does not vary is one.
    phase = torch.where(k == 0, 0.5, 2 * torch.rand(width))
    return nn.Sequential(Affine(k.tolist(), phase.tolist()), Sine(math.pi))


def _laid_out(width: int, waves: Sequence[float], periodic: Sequence[bool]) -> list[nn.Sequential]:
    """Parts of every feature, the likeliest waves of a lattice; the sizes stand in those of the first."""
    steps = [1.0 if wraps else _step(w) for w, wraps in zip(waves, periodic, strict=True)]
    reach = 1.0
    while True:
        # Numbers of waves below zero stand for sines, the others for cosines.
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
    # A sine and a cosine of any number of waves but zero stand for the density of both signs.
    sizes *= 2 ** (0.5 * (k[:, order] != 0).sum(0)) / sizes.norm()
    parts = [
        nn.Sequential(Affine(along.tolist(), phase.tolist()), Sine(math.pi))
        for along, phase in zip(k[:, order].abs(), phases, strict=True)
    ]
    parts[0].append(Affine(sizes.tolist(), [0.0] * width))
    return parts


def _step(waves: float) -> float:
    """Between waves along a coordinate that does not repeat, so that copies of it lie far enough apart."""
    length = 1 / (math.pi * waves)
    return 2 / (2 + _APART * length)
