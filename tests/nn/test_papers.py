"""Each network against what its paper says of it."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from mollifier.errors import ConfigurationError
from mollifier.nn.gated import ModifiedMLP, PirateNet
from mollifier.nn.layers import FactorisedLinear, FourierFeatures, Sine, Wavelet
from mollifier.nn.mlp import MLP
from mollifier.nn.pinnsformer import Attention, PINNsFormer
from mollifier.nn.registry import make
from mollifier.nn.separable import Separable
from mollifier.nn.siren import SIREN


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def points(n=7, d=2):
    return 2 * torch.rand(n, d, dtype=torch.float64) - 1


def disturbed(network, size=0.3):
    """Double precision, every weight moved: nothing stays zero or one."""
    network = network.double()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(size * torch.randn_like(p))
    return network


def test_kernel_of_fourier_features_is_stationary():
    features = FourierFeatures(2, 6, scale=2.0).double()
    x, y, moved = points(), points(), torch.tensor([0.37, -0.81], dtype=torch.float64)
    kernel = features(x) @ features(y).T
    assert torch.allclose(features(x + moved) @ features(y + moved).T, kernel)
    assert torch.allclose((features(x) ** 2).sum(-1), torch.tensor(6.0, dtype=torch.float64))


def test_kernel_of_many_fourier_features_is_gaussian():
    features = FourierFeatures(2, 20_000, scale=0.7).double()
    x, y = points(40), points(40)
    kernel = features(x) @ features(y).T / 20_000
    expected = torch.exp(-((math.pi * 0.7) ** 2) * torch.cdist(x, y) ** 2 / 2)
    assert float((kernel - expected).abs().max()) < 5 / math.sqrt(20_000)


def test_mlp_depends_on_its_fourier_features_only():
    net = MLP(1, 1, fourier=4).double()
    net.layers[0].frequencies.copy_(math.pi * torch.arange(4.0, dtype=torch.float64)[:, None])
    x = points(d=1)
    assert torch.allclose(net(x + 2), net(x))


def test_modified_mlp_is_its_equations():
    net = disturbed(ModifiedMLP(2, 3, width=5, depth=3, activation="sin"))
    w = {n: p.detach().numpy() for n, p in net.named_parameters()}
    x = points()

    def layer(name, v):
        return np.sin(v @ w[f"{name}.0.weight"].T + w[f"{name}.0.bias"])

    u, v, h = (layer(n, x.numpy()) for n in ("gates.0", "gates.1", "first"))
    for k in range(2):
        z = layer(f"hidden.{k}", h)
        h = (1 - z) * u + z * v
    expected = h @ w["head.weight"].T + w["head.bias"]
    assert np.allclose(net(x).detach().numpy(), expected)
    assert len(w) == 2 * (2 + 1 + 2 + 1)


@pytest.mark.parametrize("factorised", [False, True])
def test_piratenet_is_linear_in_its_embedding_at_first(factorised):
    net = PirateNet(2, 2, width=10, depth=3, factorised=factorised).double()
    x = points()
    assert [float(b.alpha.detach()) for b in net.blocks] == [0.0] * 3
    assert torch.equal(net(x), net.head(net.embedding(x)))
    net(x).square().sum().backward()
    for block in net.blocks:  # depth is taken up through alpha, and only through it
        assert float(block.alpha.grad.abs()) > 0
        assert all(not p.grad.any() for p in block.layers.parameters())


def test_piratenet_is_its_equations():
    net = disturbed(PirateNet(2, 1, width=6, depth=2))
    w = {n: p.detach().numpy() for n, p in net.named_parameters()}
    x = points()

    def layer(name, v):
        return np.tanh(v @ w[f"{name}.0.weight"].T + w[f"{name}.0.bias"])

    h = net.embedding(x).numpy()
    u, v = layer("gates.0", h), layer("gates.1", h)
    for k in range(2):
        f = layer(f"blocks.{k}.layers.0", h)
        g = layer(f"blocks.{k}.layers.1", f * u + (1 - f) * v)
        top = layer(f"blocks.{k}.layers.2", g * u + (1 - g) * v)
        alpha = w[f"blocks.{k}.alpha"]
        assert alpha != 0
        h = alpha * top + (1 - alpha) * h
    assert np.allclose(net(x).detach().numpy(), h @ w["head.weight"].T + w["head.bias"])


def test_piratenet_wants_an_even_width():
    with pytest.raises(ConfigurationError, match="width=7 was given; an even number"):
        PirateNet(2, 1, width=7)


def test_wavelet_is_a_sine_and_a_cosine():
    wavelet, x = Wavelet().double(), points()
    assert torch.allclose(wavelet(x), math.sqrt(2) * torch.sin(x + math.pi / 4))
    with torch.no_grad():
        wavelet.sine.fill_(0.3)
        wavelet.cosine.fill_(-1.2)
    assert torch.allclose(wavelet(x), 0.3 * torch.sin(x) - 1.2 * torch.cos(x))
    assert len(list(wavelet.parameters())) == 2


@pytest.mark.parametrize("along", [0, -1])
def test_pseudo_sequence_steps_in_time(along):
    net = PINNsFormer(2, 1, length=4, step=0.25, along=along).double()
    seen = []
    net.mixer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    x = points()
    assert net(x).shape == (7, 1)
    expected = x[:, None].repeat(1, 4, 1)
    expected[..., along] += 0.25 * torch.arange(4)
    assert torch.allclose(seen[0], expected)


def test_attention_is_that_of_torch():
    ours, torchs = disturbed(Attention(6, 3)), nn.MultiheadAttention(6, 3, batch_first=True).double()
    parts = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        torchs.in_proj_weight.copy_(torch.cat([p.weight for p in parts]))
        torchs.in_proj_bias.copy_(torch.cat([p.bias for p in parts]))
    torchs.out_proj.load_state_dict(ours.out.state_dict())
    x, source = (torch.randn(5, n, 6, dtype=torch.float64) for n in (2, 4))
    assert torch.allclose(ours(x, source), torchs(x, source, source)[0])


def test_sequence_matters_and_its_later_times_are_seen():
    net, x = disturbed(PINNsFormer(2, 1, length=3, step=0.5)), points()
    before = net(x)
    net.shifts[2, 1] += 0.4
    assert float((net(x) - before).abs().max().detach()) > 1e-4


def test_there_is_no_normalisation_and_no_other_activation():
    kinds = {type(m).__name__ for m in PINNsFormer(2, 1).modules()}
    assert not kinds & {"LayerNorm", "Tanh", "ReLU", "GELU", "SiLU"}
    with pytest.raises(ConfigurationError, match="width=8 and heads=3"):
        PINNsFormer(2, 1, width=8, heads=3)
    with pytest.raises(ConfigurationError, match="along=2"):
        PINNsFormer(2, 1, along=2)


@pytest.mark.parametrize("frequency", [3.0, 30.0])
def test_values_in_a_siren_keep_their_distribution_at_any_depth(frequency):
    net = SIREN(2, 1, width=1024, depth=7, frequency=frequency)
    h, variances = 2 * torch.rand(300, 2) - 1, []
    for linear, sine in zip(net.layers[:-1:2], net.layers[1:-1:2], strict=True):
        assert isinstance(sine, Sine)
        z = frequency * linear(h).detach()
        h = sine(linear(h)).detach()
        variances.append(float(z.var()))
        if len(variances) > 1:  # normal, so that the sine has a known variance
            inside = float((z.abs() < z.std()).double().mean())
            assert inside == pytest.approx(0.683, abs=0.02)
            assert float(h.var()) == pytest.approx((1 - math.exp(-2 * variances[-1])) / 2, rel=0.1)
    fixed_point = 0.7968  # of v = 1 - exp(-2 v)
    assert variances[3:] == pytest.approx([fixed_point] * 4, rel=0.1)


def test_siren_has_the_bounds_of_its_paper():
    net = SIREN(3, 1, width=50, depth=2, frequency=30.0)
    bounds = [float(m.weight.detach().abs().max()) for m in net.layers if isinstance(m, nn.Linear)]
    wanted = [1 / 3, math.sqrt(6 / 50) / 30, math.sqrt(6 / 50)]
    assert all(0.8 * w < b <= w for b, w in zip(bounds, wanted, strict=True))


@pytest.mark.parametrize("sizes", [(6,), (5, 4), (3, 4, 5), (2, 3, 2, 3)])
def test_separable_network_on_a_grid_is_that_at_its_nodes(sizes):
    net = disturbed(Separable(len(sizes), 3, width=5, rank=4, periodic=[True] + [False] * (len(sizes) - 1)))
    axes = [torch.linspace(-1, 0.7, n, dtype=torch.float64) for n in sizes]
    evaluated = []
    for part in net.parts:
        part.register_forward_hook(lambda _, given, out: evaluated.append(len(out)))
    on_grid = net.on_grid(axes)
    assert sum(evaluated) == sum(sizes)
    evaluated.clear()
    nodes = torch.stack([m.ravel() for m in torch.meshgrid(*axes, indexing="ij")], -1)
    pointwise = net(nodes)
    assert sum(evaluated) == len(sizes) * math.prod(sizes)
    assert on_grid.shape == (3, *sizes)
    assert torch.allclose(on_grid, pointwise.T.reshape(3, *sizes))


def test_separable_network_has_the_rank_it_is_given():
    net = disturbed(Separable(2, 1, rank=3))
    values = net.on_grid([torch.linspace(-1, 1, 30, dtype=torch.float64)] * 2)[0].detach()
    singular = torch.linalg.svdvals(values)
    assert float(singular[2] / singular[0]) > 1e-8
    assert float(singular[3] / singular[0]) < 1e-13


def test_factorised_weights_are_the_ordinary_ones_at_first():
    plain = nn.Linear(4, 500).double()
    factorised = FactorisedLinear(plain).double()
    assert torch.allclose(factorised.product, plain.weight, rtol=1e-6)
    scales = factorised.log_scale.detach()
    assert float(scales.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(scales.std()) == pytest.approx(0.1, abs=0.02)


def test_factorised_neuron_has_a_step_of_its_own():
    """Of dL/dW: exp(s) times it by V, and w . dL/dw by s, neuron by neuron."""
    plain, x = nn.Linear(4, 3).double(), points(d=4)
    factorised = FactorisedLinear(plain).double()
    with torch.no_grad():
        plain.weight.copy_(factorised.product)
    for layer in (plain, factorised):
        layer(x).pow(3).sum().backward()
    scale = factorised.log_scale.detach().exp()[:, None]
    assert torch.allclose(factorised.weight.grad, scale * plain.weight.grad)
    along = (plain.weight.detach() * plain.weight.grad).sum(-1)
    assert torch.allclose(factorised.log_scale.grad, along)


@pytest.mark.parametrize("kind", ["mlp", "modified-mlp", "piratenet", "separable"])
def test_hidden_layers_can_be_factorised(kind):
    net = disturbed(make(kind, 2, 1, factorised=True))
    layers = [m for m in net.modules() if isinstance(m, nn.Linear)]
    assert sum(isinstance(m, FactorisedLinear) for m in layers) >= len(layers) / 2
    x, values = points(), []
    for layer in layers:
        if isinstance(layer, FactorisedLinear):
            layer.register_forward_hook(lambda m, given, out: values.append((m, given[0], out)))
    net(x)
    for m, given, out in values:
        assert torch.allclose(out, functional.linear(given, m.product, m.bias))
