"""Networks: shapes, seeds, scaling of inputs, and errors that name the nearest."""

import math

import pytest
import torch

from mollifier.errors import ConfigurationError
from mollifier.nn.layers import ACTIVATIONS, Affine, FourierFeatures
from mollifier.nn.mlp import MLP
from mollifier.nn.random_features import RandomFeatures, affordable


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fourier", [None, 6])
def test_mlp_maps_points_to_channels(activation, fourier):
    net = MLP(3, 2, width=8, depth=2, activation=activation, fourier=fourier)
    values = net(torch.rand(11, 3))
    assert values.shape == (11, 2)
    values.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_depth_counts_hidden_layers():
    linear = [m for m in MLP(2, 1, width=5, depth=3).layers if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(2, 5), (5, 5), (5, 5), (5, 1)]


def test_same_seed_same_network():
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(MLP(2, 1, width=8, fourier=4))
    x = torch.rand(5, 2)
    assert torch.equal(nets[0](x), nets[1](x))


def test_hidden_values_keep_their_size():
    torch.manual_seed(0)
    net = MLP(2, 1, width=256, depth=6)
    hidden = net.layers[:-1](2 * torch.rand(500, 2) - 1).detach()
    assert 0.05 < float(hidden.std()) < 1.0


def test_fourier_scale_is_the_spread_of_frequencies():
    torch.manual_seed(0)
    features = FourierFeatures(2, 4000, scale=3.0)
    assert float(features.frequencies.std()) == pytest.approx(3.0 * torch.pi, rel=0.05)
    assert features(torch.zeros(1, 2)).shape == (1, 8000)


def test_affine_takes_a_box_to_the_unit_box():
    unit = Affine.from_box([0.0, 10.0], [4.0, 20.0])
    corners = torch.tensor([[0.0, 10.0], [4.0, 20.0], [2.0, 15.0]])
    assert unit(corners).tolist() == [[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]


def test_errors_name_what_was_expected():
    with pytest.raises(ConfigurationError, match="Did you mean 'tanh'"):
        MLP(1, 1, activation="tahn")
    with pytest.raises(ConfigurationError, match="width=0"):
        MLP(1, 1, width=0)
    with pytest.raises(ConfigurationError, match="must lie above"):
        Affine.from_box([0.0], [0.0])
    with pytest.raises(ConfigurationError, match="2 scales and 1 shifts"):
        Affine([1.0, 2.0], [0.0])


def test_features_on_a_lattice_have_the_covariance_that_draws_have():
    waves = [4.0, 2.0]
    net = RandomFeatures(2, 1, width=320, waves=waves, periodic=[True, False]).double()
    torch.manual_seed(0)
    x = 2 * torch.rand(40, 2, dtype=torch.float64) - 1
    first, second = net.features([x[:, 0], x[:, 1]])
    features = first * second
    apart = (x[:, None] - x).abs()
    apart[..., 0] = torch.minimum(apart[..., 0], 2 - apart[..., 0])
    turns = math.pi * apart * torch.tensor(affordable(waves, 320))
    wanted = torch.exp(-0.5 * turns.square().sum(-1))
    assert float((features @ features.T - wanted).abs().max()) < 0.03


@pytest.mark.parametrize(
    ("chosen", "exact"), [({"waves": [6.0, 6.0]}, True), ({"fourier_scale": 3.2}, False)]
)
def test_lattice_holds_every_wave_of_its_band(chosen, exact):
    torch.manual_seed(0)
    net = RandomFeatures(2, 1, width=400, periodic=[True, True], **chosen).double()
    x = torch.linspace(-1, 1, 25, dtype=torch.float64)[:-1]
    first, second = net.features([x, x])
    matrix = (first[:, None] * second).flatten(0, 1)
    field = (
        torch.cos(9 * math.pi * x)[:, None] * torch.sin(4 * math.pi * x) + torch.cos(7 * math.pi * x)[:, None]
    )
    weights = torch.linalg.lstsq(matrix, field.flatten()[:, None], driver="gelsd").solution
    missed = float((matrix @ weights - field.flatten()[:, None]).norm() / field.norm())
    assert (missed < 1e-6) == exact
