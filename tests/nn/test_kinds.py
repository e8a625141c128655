"""What every kind of network must do: shapes, periodic axes, slopes by any backend, training, checkpoints."""

import copy
import os
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from engine_problems import gridded, heat, small
from mollifier.engines.collocated.jacobian import network_jacobian
from mollifier.engines.network.networks import scale_output
from mollifier.engines.network.settings import Network, NetworkSettings
from mollifier.engines.registry import ENGINES
from mollifier.engines.settings import load_problem as load
from mollifier.engines.settings import settings_for
from mollifier.engines.solve import solve
from mollifier.errors import ConfigurationError
from mollifier.mollify.grid import Axis, Grid
from mollifier.nn.differentiation.registry import make as derivatives
from mollifier.nn.layers import count
from mollifier.nn.registry import NETWORKS, make, options
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import validated
from mollifier.problem.unknowns import ScalarUnknown

SMALLEST = {
    "pinnsformer": {"width": 4, "hidden": 4},
    "piratenet": {"width": 6, "depth": 1},
    "separable": {"width": 5, "rank": 4},
    "random-features": {"width": 20},
}
FACTORISED = [k for k in NETWORKS if "factorised" in options(k)]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def smallest(kind, outputs=2, periodic=None, **chosen):
    """Double precision, every weight moved, so that nothing is left out of a slope."""
    sizes = SMALLEST.get(kind, {"width": 5, "depth": 2})
    net = make(kind, 2, outputs, periodic, **{**sizes, **chosen}).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net


VARIANTS = [(k, {}) for k in NETWORKS] + [(k, {"factorised": True}) for k in FACTORISED]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_network_maps_points_to_values(kind, inputs):
    net = make(kind, inputs, 2)
    values = net(2 * torch.rand(9, inputs) - 1)
    assert values.shape == (9, 2)
    assert values.dtype == torch.float32
    assert 1e-3 < float(values.std().detach()) < 20
    values.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert net.double()(torch.rand(3, inputs, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("kind", NETWORKS)
def test_defaults_are_small_enough_for_gauss_newton(kind):
    net = make(kind, 3, 1)
    assert 500 < count(net) < 3000
    assert count(net) == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("kind", NETWORKS)
def test_same_seed_gives_the_same_network(kind):
    nets = []
    for _ in range(2):
        torch.manual_seed(5)
        nets.append(make(kind, 2, 1))
    x = torch.rand(4, 2)
    assert torch.equal(nets[0](x), nets[1](x))


@pytest.mark.parametrize("kind", NETWORKS)
def test_periodic_axes_repeat_and_others_do_not(kind):
    net, x = smallest(kind, periodic=[True, False]), 2 * torch.rand(6, 2).double() - 1
    for axis, repeats in ((0, True), (1, False)):
        moved = x.clone()
        moved[:, axis] += 2
        same = torch.allclose(net(moved), net(x))
        assert same == repeats


@pytest.mark.parametrize(("kind", "chosen"), VARIANTS)
def test_jacobian_is_that_of_reverse_mode(kind, chosen):
    net, x = smallest(kind, **chosen), torch.rand(3, 2).double()
    values, rows = net(x), []
    for channel in range(2):
        for i in range(3):
            slopes = torch.autograd.grad(values[i, channel], list(net.parameters()), retain_graph=True)
            rows.append(torch.cat([s.ravel() for s in slopes]))
    expected = torch.stack(rows).reshape(2, 3, -1)
    assert torch.allclose(network_jacobian(net, x), expected, rtol=1e-9, atol=1e-12)
    assert float(expected.abs().amax((0, 1)).min()) > 0  # every weight counts


@pytest.mark.parametrize(("kind", "chosen"), VARIANTS)
def test_seeds_can_be_batched(kind, chosen):
    nets, x = [smallest(kind, **chosen) for _ in range(3)], torch.rand(4, 2).double()
    empty = copy.deepcopy(nets[0]).to("meta")
    together = vmap(lambda p, b: functional_call(empty, (p, b), (x,)))(*stack_module_state(nets))
    for one, net in zip(together, nets, strict=True):
        assert torch.allclose(one, net(x), rtol=1e-10, atol=1e-12)


ORDERS = [["u_x"], ["u", "u_xxyy", "u_xy", "u_yyyy"], ["u_y", "u_xxx"]]


@pytest.mark.parametrize("orders", ORDERS)
@pytest.mark.parametrize(("kind", "chosen"), VARIANTS)
def test_taylor_mode_is_nested_in_value_and_gradient(kind, chosen, orders):
    net = smallest(kind, periodic=[True, False], **chosen)
    grid = Grid(Axis("x", 0.0, 1.0, 3), Axis("y", 0.0, 2.0, 3))
    jets, gradients = [], []
    for backend in ("taylor", "nested"):
        net.zero_grad()
        jet, _ = derivatives(backend, grid, orders)(net)
        sum((jet[o] + 0.3).square().sum() for o in jet).backward()
        jets.append(torch.stack([jet[o].detach() for o in jet]))
        none = (torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters())
        gradients.append(torch.cat([g.ravel() for g in none]))
    assert torch.allclose(*jets, rtol=1e-9, atol=1e-9 * float(jets[1].abs().max()))
    assert torch.allclose(*gradients, rtol=1e-8, atol=1e-9 * float(gradients[1].abs().max()))


class Normalised(nn.Module):
    """Layer norm in elementary operations: torch's own cannot be differentiated three times."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        normal = centred * torch.rsqrt(variance + self.norm.eps) * self.norm.weight
        return normal if self.norm.bias is None else normal + self.norm.bias


@pytest.mark.parametrize("bias", [False, True])
def test_taylor_mode_through_layer_norm(bias):
    norm, first, last = nn.LayerNorm(6, bias=bias), nn.Linear(2, 6), nn.Linear(6, 2)
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    grid = Grid(Axis("x", 0.0, 1.0, 3), Axis("y", 0.0, 2.0, 3))
    found, _ = derivatives("taylor", grid, ORDERS[1])(nn.Sequential(first, norm, nn.Tanh(), last).double())
    plain = nn.Sequential(first, Normalised(norm), nn.Tanh(), last)
    wanted, _ = derivatives("nested", grid, ORDERS[1])(plain)
    for name in wanted:
        assert torch.allclose(found[name], wanted[name], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("kind", "chosen"), VARIANTS)
def test_unknown_field_starts_near_its_level(kind, chosen):
    net, x = smallest(kind, outputs=1, **chosen), torch.rand(50, 2).double()
    last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        if last.bias is not None:
            last.bias.zero_()
        before = net(x)
        scale_output(net, 0.1)
        assert torch.allclose(net(x), 0.1 * before)


def test_unknown_kinds_and_options_name_the_nearest(tmp_path):
    with pytest.raises(ConfigurationError, match=r"'piratnet'\. Did you mean 'piratenet'"):
        make("piratnet", 2, 1)
    with pytest.raises(ConfigurationError, match=r"'siren' has no option 'frequenzy'\. Did you mean 'freq"):
        make("siren", 2, 1, frequenzy=3.0)
    with pytest.raises(ConfigurationError, match="width=0"):
        make("siren", 2, 1, width=0)
    with pytest.raises(ConfigurationError, match=r"'network.kind' was given as 'sirene'.*'siren'\?"):
        validated(NetworkSettings, {"network": {"kind": "sirene"}})
    with pytest.raises(ConfigurationError, match=r"Unknown key 'network.widht'. Did you mean 'width'"):
        validated(NetworkSettings, {"network": {"widht": 8}})
    with pytest.raises(ConfigurationError, match="'mlp' has no option 'rank'"):
        solve(heat(50), "network", settings=small(network={"rank": 3}))


def test_settings_and_networks_name_the_same_kinds_and_options():
    for kind in NETWORKS:
        assert Network(kind=kind).kind == kind
    named = {o for k in NETWORKS for o in options(k)}
    assert named == set(Network.model_fields) - {"kind"}


def test_options_of_a_registered_network(monkeypatch):
    """Settings accept the options in the signature of a class that is registered, and refuse others."""

    class Waving(nn.Module):
        def __init__(self, inputs, outputs, waviness=1.0):
            super().__init__()
            self.waviness, self.last = waviness, nn.Linear(inputs, outputs)

        def forward(self, x):
            return self.last(torch.sin(self.waviness * x))

    monkeypatch.setitem(NETWORKS._entries, "waving", Waving)
    network = settings_for(ENGINES["network"], {"network": {"kind": "waving", "waviness": 3.0}}).network
    assert make(inputs=2, outputs=1, **network.model_dump()).waviness == 3.0
    with pytest.raises(ConfigurationError, match=r"Unknown key 'network.wavines'. Did you mean 'waviness'"):
        settings_for(ENGINES["network"], {"network": {"kind": "waving", "wavines": 3.0}})
    with pytest.raises(ConfigurationError, match=r"Unknown key 'network.waviness'"):
        validated(NetworkSettings, {"network": {"kind": "mlp", "waviness": 3.0}})


def test_kind_in_a_problem_file(tmp_path):
    path = tmp_path / "rod.yaml"
    path.write_text(
        "equation: u_t = D*u_xx\ndata: {file: rod.csv}\nunknowns: {D: {lower: 0}}\n"
        "network: {kind: piratenet, width: 8, depth: 1}\n"
    )
    assert load(path).settings["network"] == {"kind": "piratenet", "width": 8, "depth": 1}
    assert load(path, ["network.kind=siren"]).settings["network"]["kind"] == "siren"
    with pytest.raises(ConfigurationError, match=r"rod.yaml: 'network.kind'.*Did you mean 'siren'"):
        load(path, ["network.kind=sirn"])


SETTINGS = {"training": {"warmup_steps": 150, "steps": 25}, "collocation": {"max_nodes": 120}}


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k == "pinnsformer")) for k in NETWORKS]
)
def test_every_kind_finds_the_diffusivity(kind):
    solution = solve(heat(200), "network", settings={**SETTINGS, "network": {"kind": kind, **SIZES[kind]}})
    assert solution.history["stage"].values[-1] == "gauss-newton"
    assert solution.estimates["D"].value == pytest.approx(0.1, rel=0.05)
    assert solution.provenance["settings"]["network"]["kind"] == kind


SIZES = {
    "mlp": {"width": 8, "depth": 2, "fourier": 4, "fourier_scale": 0.5},
    "modified-mlp": {"width": 8, "depth": 2},
    "piratenet": {"width": 8, "depth": 1, "fourier_scale": 0.5},
    "pinnsformer": {"width": 4, "hidden": 4},
    "siren": {"width": 8, "depth": 2},
    "separable": {"width": 6, "depth": 1, "rank": 6},
    "random-features": {"width": 60, "fourier_scale": 0.5},
}


@pytest.mark.parametrize("kind", ["pinnsformer", "separable"])
@pytest.mark.parametrize("backend", ["nested", "taylor"])
def test_autodiff_backends_train_them_too(kind, backend):
    few = {"warmup_steps": 20, "adam_steps": 10, "steps": 20, "optimiser": "lbfgs"}
    network = {"kind": kind, **SIZES[kind]}
    changed = {"derivatives": backend, "training": few, "collocation": {"max_nodes": 60}, "network": network}
    losses = solve(heat(80), "network", settings=changed).history["loss"].values
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[20]


@pytest.mark.parametrize("kind", ["piratenet", "pinnsformer"])
def test_resume_of_any_kind(kind, tmp_path):
    chosen = {
        "training": {"warmup_steps": 20, "steps": 4},
        "collocation": {"max_nodes": 60},
        "network": {"kind": kind, **SIZES[kind]},
    }

    def stop(event):
        if event.stage == "gauss-newton" and event.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    whole = solve(heat(60), "network", settings=chosen)
    broken = solve(heat(60), "network", settings=chosen, folder=tmp_path, progress=stop)
    assert broken.status.name == "interrupted"
    resumed = solve(heat(60), "network", settings=chosen, folder=tmp_path, resume=True)
    assert resumed.estimates == whole.estimates
    assert np.array_equal(resumed.dataset["u"], whole.dataset["u"])


def test_network_of_ours_given_as_a_module_is_any_module():
    network = make("modified-mlp", 2, 1, width=8, depth=2)
    solution = solve(heat(200), "network", settings=SETTINGS, network=network)
    assert solution.estimates["D"].value == pytest.approx(0.1, rel=0.05)


def test_module_may_hold_weights_without_a_dimension():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.size = make("mlp", 2, 1, width=4, depth=1), nn.Parameter(torch.ones(()))

        def forward(self, x):
            return self.size * self.inner(x)

    net = Scaled().double()
    assert network_jacobian(net, torch.rand(3, 2).double()).shape == (1, 3, count(net))


def test_separable_network_is_mollified_axis_by_axis():
    net = smallest("separable", periodic=[True, False])
    grid = Grid(Axis("x", 0.0, 1.0, 9), Axis("y", 0.0, 2.0, 7))
    field = derivatives("mollifier", grid, ["u", "u_xy"], radius={"x": 0.4, "y": 1.0})
    evaluated = []
    handle = net.parts[1].register_forward_hook(lambda _, given, out: evaluated.append(len(out)))
    jet, _ = field(net)
    assert evaluated == [field.layer.nodes.shape[1]]
    handle.remove()
    pointwise, _ = field(nn.Sequential(net))
    for name in jet:
        assert torch.allclose(jet[name], pointwise[name], rtol=1e-9, atol=1e-10)


def test_time_is_found_by_its_name_and_periodic_axes_are_kept():
    """The pseudo-sequence runs along t at any position, and a periodic axis stays periodic."""
    data = gridded(lambda x, t: np.sin(2 * np.pi * (x - 0.4 * t)), nx=16, nt=12, periodic=True)
    problem = InverseProblem("u_t = -c*u_x", data, {"c": ScalarUnknown()})
    network = {"kind": "pinnsformer", **SIZES["pinnsformer"]}
    solution = solve(problem, "network", settings={**SETTINGS, "network": network})
    assert solution.estimates["c"].value == pytest.approx(0.4, rel=0.05)
    assert (
        float(abs(solution.dataset["u"].isel(x=0) - np.sin(-0.8 * np.pi * solution.dataset["t"])).max()) < 0.1
    )
