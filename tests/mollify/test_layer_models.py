"""The layer in a model: learnable radii, copies, torch's transforms, training."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from layer_problems import GRID, ORDERS, field, small
from mollifier.errors import GridError
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import BSpline, Bump, Polynomial
from mollifier.mollify.layer import MollifierLayer
from mollifier.mollify.orders import Jet


class Net(nn.Sequential):
    """Coordinates (n, 2) -> values (n, channels)."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, channels))


# Learnable radius


def learnable(**options) -> MollifierLayer:
    return MollifierLayer(GRID, ["u", "u_xx"], radius={"x": 0.3, "y": 0.3}, learnable_radius=True, **options)


@pytest.mark.parametrize("boundary", ["halo", "trim"])
@pytest.mark.parametrize("kernel", [Polynomial(8), BSpline(7), Bump()], ids=str)
def test_learnable_radius_start_and_gradient(boundary, kernel):
    """A learnable radius starts where it was set and has the right gradient."""
    grid = Grid(Axis("x", 0.0, 1.0, 60), Axis("y", 0.0, 1.0, 24, periodic=True))
    layer = MollifierLayer(
        grid, ["u", "u_xx"], kernel, {"x": 0.17, "y": 0.3}, boundary=boundary, learnable_radius=True
    ).double()
    assert layer.radius == pytest.approx({"x": 0.17, "y": 0.3}, rel=1e-6)
    g = field(layer.coords()) + 0.1 * torch.sin(40 * layer.coords()[:, 0])
    points = np.array([[0.4, 0.3], [0.55, 0.9]])
    sampler = layer.sampler(points)

    def loss() -> torch.Tensor:
        return layer(g)["u_xx"].square().mean() + sampler(g)["u_xx"].square().mean()

    loss().backward()
    step = 1e-5
    for i in range(2):
        with torch.no_grad():
            layer.raw_radius[i] += step
            up = loss()
            layer.raw_radius[i] -= 2 * step
            down = loss()
            layer.raw_radius[i] += step
        # Central differences: 1e-10 of truncation, and round-off of the loss, 1e-16 * loss / step.
        found, expected = layer.raw_radius.grad[i].item(), ((up - down) / (2 * step)).item()
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-9 * loss().item())


def test_learnable_radius_equals_fixed():
    """A learnable radius gives what a fixed one gives."""
    layer = learnable().double()
    fixed = MollifierLayer(GRID, ["u", "u_xx"], radius=layer.radius).double()
    for name, value in fixed(field(fixed.coords())).items():
        torch.testing.assert_close(layer(field(layer.coords()))[name], value, rtol=0, atol=1e-9)


def test_learnable_radius_trains_and_is_saved():
    """A learnable radius trains and is saved."""
    layer = learnable()
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
    g = torch.sin(30 * layer.coords()[:, 0])
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = layer(g)["u"].square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert layer.radius["x"] > 0.3  # a wider kernel damps the wave
    assert list(layer.state_dict()) == ["raw_radius", "_extra_state"]
    other = learnable()
    other.load_state_dict(layer.state_dict())
    assert other.radius == layer.radius
    with torch.no_grad():
        layer.raw_radius.fill_(-50.0)
    assert torch.isfinite(layer(g)["u_xx"]).all()  # the least radius still holds enough nodes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"boundary": "one-sided"}, "needs even axes"),
        ({"accuracy": None}, "an accuracy"),
        ({"accuracy": 8}, "cannot be learned|nodes under the kernel"),
    ],
)
def test_learnable_radius_refusals(options, says):
    """A radius that cannot be learned is refused."""
    with pytest.raises(GridError, match=says):
        learnable(**options)


def test_learnable_radius_points_near_an_end():
    """Points too near an end for a learnable radius are refused."""
    layer = MollifierLayer(
        Grid(Axis("x", 0, 1, 60)), ["u"], radius=0.15, boundary="trim", learnable_radius=True
    )
    with pytest.raises(GridError, match="1 points lie so near an end"):
        layer.sampler([[0.5], [0.1]])
    with pytest.raises(GridError, match="no resampler"):
        layer.resampler({"x": [0.5]})


# Saving, copying, moving


def test_layer_state_is_its_signature(tmp_path):
    """The state holds no weights, only the signature, and a loaded model gives the same."""
    model = nn.ModuleDict({"net": Net(), "layer": small()})
    assert list(model["layer"].state_dict()) == ["_extra_state"]
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = nn.ModuleDict({"net": Net(), "layer": small()})
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    results = [m["layer"](m["net"](m["layer"].coords()))["u_xx"] for m in (model, other)]
    torch.testing.assert_close(*results, rtol=0, atol=0)


class Model(nn.Module):
    """A layer with its sampler, as an engine holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.layer = Net(), learnable()
        self.sampler = self.layer.sampler([[0.5, 0.5]])

    def forward(self) -> torch.Tensor:
        return self.sampler(self.net(self.layer.coords()))["u_xx"]


def through_pickle(module):
    buffer = io.BytesIO()
    pickle.dump(module, buffer)
    buffer.seek(0)
    return pickle.load(buffer)


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
def test_layer_deepcopy(copied):
    """A copy holds one layer and no part of the first."""
    model = Model()
    model.layer(model.net(model.layer.coords()))
    other = copied(model)
    torch.testing.assert_close(other(), model(), rtol=0, atol=0)
    assert other.sampler._layer[0] is other.layer
    with torch.no_grad():
        other.layer.raw_radius += 1.0
    assert model.sampler._layer[0].radius != other.sampler._layer[0].radius
    assert sorted(n for n, _ in model.named_parameters() if "radius" in n) == ["layer.raw_radius"]


def test_layer_moves_with_its_model():
    """A model moves as one."""
    model = Model().to(torch.float64)
    assert model().dtype == torch.float64
    assert model.layer.coords().dtype == torch.float64


# torch's transforms


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, in its forward mode
def test_layer_torch_func():
    layer = small().double()
    g = torch.randn(3, *layer.nodes.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mapped, whole = torch.func.vmap(layer)(g), layer(g)
    assert isinstance(mapped, Jet)
    for name, value in whole.items():
        torch.testing.assert_close(mapped[name], value)
    jet, tangent = torch.func.jvp(layer, (g[0],), (g[1],))
    for name in ORDERS:  # linear: the tangent is the layer of the tangent
        torch.testing.assert_close(jet[name], whole[name][0])
        torch.testing.assert_close(tangent[name], whole[name][1])
    gradient = torch.func.grad(lambda g: layer(g)["u_xx"].square().sum())(g[0])
    assert gradient.shape == layer.nodes.shape


@pytest.mark.slow
@pytest.mark.parametrize("learn", [False, True])
def test_layer_compiled(learn):
    """Compiled it gives the same."""
    grid = Grid(Axis("x", 0, 1, 20, periodic=True)) if learn else GRID
    layer = MollifierLayer(grid, ["u_xx"], radius=0.3, learnable_radius=learn)
    g = torch.randn(layer.nodes.size, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(lambda g: layer(g)["u_xx"], backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(g), layer(g)["u_xx"])


# Training


def test_layer_trains_coordinate_network():
    """A coordinate network trains without derivatives through it."""
    torch.manual_seed(0)
    layer, net = small(), Net()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        jet = layer(net(layer.coords()))
        loss = (jet["u_xx"] - 1.0).square().mean() + jet["u"].square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_layer_trains_grid_network():
    """A network that emits a field on the grid trains."""
    torch.manual_seed(0)
    layer = small(boundary="one-sided")
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding="same"), nn.Tanh(), nn.Conv2d(4, 1, 3, padding="same"))
    data = torch.rand(2, 1, *GRID.shape)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = layer(net(data))["u_xx"].square().mean() + (layer(net(data))["u"] - data).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert layer(net(data))["u_xx"].shape == (2, 1, *GRID.shape)


def test_layer_repr():
    """Printing a layer says what it is."""
    assert "orders=['u', 'u_x', 'u_xx', 'u_xyy']" in repr(small())
    assert repr(small()(torch.zeros(small().nodes.size))).startswith("Jet(u: (20, 12)")
    assert set(small().noise_gain) == set(ORDERS)
