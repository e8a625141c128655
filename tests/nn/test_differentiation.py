"""The contract of every derivative backend, and what is particular to each."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from mollifier.errors import ConfigurationError, GridError
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import BSpline
from mollifier.mollify.orders import Derivative
from mollifier.nn.differentiation.directions import plan
from mollifier.nn.differentiation.mollifier import Mollified
from mollifier.nn.differentiation.registry import BACKENDS, make
from mollifier.nn.differentiation.taylor import Taylor
from mollifier.nn.layers import Affine, Sine
from mollifier.nn.mlp import MLP
from mollifier.nn.periodic import PeriodicInputs

WAVES = torch.tensor([[1.1, -0.7, 0.5], [0.4, 0.9, -1.2], [-0.8, 0.3, 1.0]], dtype=torch.float64)
PHASES = torch.tensor([0.3, -0.5, 1.1], dtype=torch.float64)
MIXING = torch.tensor([[1.0, 0.5, -0.7], [-0.4, 1.2, 0.8]], dtype=torch.float64)
SIZES = {1: (40,), 2: (18, 22), 3: (8, 9, 7)}
# Largest error relative to the largest value, by order of the derivative; the exact ones to round-off.
TOLERANCE = {"mollifier": 4e-4, "nested": 1e-12, "taylor": 1e-11}
OPTIONS = {"mollifier": {"accuracy": 6}}


def grid_of(dimension):
    names, scale = "xyt"[:dimension], 0.4 if dimension == 3 else 1.0
    return Grid(*(Axis(n, 0.0, scale * (1 + i), SIZES[dimension][i]) for i, n in enumerate(names)))


def options_of(kind, grid):
    cells = {a.name: 6.5 * a.spacing for a in grid}
    return {**OPTIONS[kind], "radius": cells} if kind in OPTIONS else {}


def waves(dimension):
    """The module sum_k c_k sin(a_k . x + b_k), two channels, whose derivatives are known."""
    inner, outer = nn.Linear(dimension, 3).double(), nn.Linear(3, 2, bias=False).double()
    with torch.no_grad():
        inner.weight.copy_(WAVES[:, :dimension])
        inner.bias.copy_(PHASES)
        outer.weight.copy_(MIXING)
    return nn.Sequential(inner, Sine(), outer)


def exact(points, index):
    """Derivative of `waves` at points (n, d): shape (2, n)."""
    x = torch.as_tensor(points)
    a = WAVES[:, : x.shape[1]]
    factor = torch.prod(a ** torch.tensor(index), 1)
    return MIXING @ (factor * torch.sin(x @ a.T + PHASES + sum(index) * math.pi / 2)).T


def largest(values):
    return float(values.detach().abs().max())


def all_orders(dimension, highest):
    """Names of every mixed derivative to an order."""
    indices = [i for i in itertools.product(range(highest + 1), repeat=dimension) if sum(i) <= highest]
    return {Derivative.of("u", dict(zip("xyt", i, strict=False))).name: i for i in indices}


@pytest.mark.parametrize("kind", BACKENDS)
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_every_backend_gives_every_derivative(kind, dimension):
    grid, orders = grid_of(dimension), all_orders(dimension, 4)
    field = make(kind, grid, list(orders), **options_of(kind, grid))
    jet, observed = field(waves(dimension))
    assert observed is None
    assert list(jet) == list(orders)
    for name, index in orders.items():
        wanted = exact(grid.coords(), index).reshape(2, *grid.shape)
        assert jet[name].shape == (2, *grid.shape)
        assert jet[name].dtype == torch.float64
        error = largest(jet[name] - wanted) / largest(wanted)
        assert error < TOLERANCE[kind], (name, error)


@pytest.mark.parametrize("kind", BACKENDS)
def test_observed_values_are_the_field_where_the_data_are(kind):
    grid = grid_of(2)
    points = np.random.default_rng(0).uniform([0, 0], [1, 2], (25, 2))
    tensor_product = {"y": np.array([0.1, 0.7, 1.9])}
    for observed, at, shape in [
        (points, points, (25,)),
        (tensor_product, [(x, y) for x in grid["x"].points for y in tensor_product["y"]], (18, 3)),
    ]:
        _, values = make(kind, grid, ["u_xx"], observed, **options_of(kind, grid))(waves(2))
        wanted = exact(np.array(at), (0, 0)).reshape(2, *shape)
        assert values.shape == (2, *shape)
        assert values.dtype == torch.float64
        assert largest(values - wanted) < (1e-5 if kind == "mollifier" else 1e-12)


@pytest.mark.parametrize("kind", BACKENDS)
def test_backends_train_float32_networks_and_return_float64(kind):
    grid = grid_of(2)
    torch.manual_seed(0)
    net = MLP(2, 2, width=8, depth=2)
    jet, values = make(kind, grid, ["u", "u_xxy"], [[0.5, 0.5]], **options_of(kind, grid))(net)
    assert jet["u_xxy"].dtype == values.dtype == torch.float64
    (jet["u_xxy"].square().mean() + jet["u"].mean() + values.sum()).backward()
    for p in net.parameters():
        assert p.dtype == torch.float32
        assert torch.isfinite(p.grad).all()


@pytest.mark.parametrize("kind", BACKENDS)
def test_evaluation_without_gradients(kind):
    grid = grid_of(2)
    field, net = make(kind, grid, ["u_xx"], **options_of(kind, grid)), waves(2)
    wanted = field(net)[0]["u_xx"]
    with torch.no_grad():
        got = field(net)[0]["u_xx"]
    assert not got.requires_grad
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("kind", BACKENDS)
def test_frozen_and_linear_networks(kind):
    grid = grid_of(2)
    linear = nn.Linear(2, 1).double().requires_grad_(False)
    jet, _ = make(kind, grid, ["u_x", "u_yy"], **options_of(kind, grid))(linear)
    assert torch.allclose(jet["u_x"], linear.weight[0, 0])
    assert largest(jet["u_yy"]) < 1e-8


@pytest.mark.parametrize("kind", BACKENDS)
def test_periodic_and_uneven_axes(kind):
    uneven = Axis.from_points("y", np.linspace(0.0, 1.0, 24) + 0.01 * np.sin(np.arange(24.0)))
    grid = Grid(Axis("x", 0.0, 2 * math.pi, 24, periodic=True), uneven)
    net = nn.Sequential(nn.Linear(2, 1), Sine()).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.5]]))
        net[0].bias.zero_()
    options = {"radius": {"x": 2.0, "y": 0.3}, "accuracy": 6} if kind == "mollifier" else {}
    jet, _ = make(kind, grid, ["u_xxy"], **options)(net)
    phase = torch.as_tensor(grid.coords() @ np.array([1.0, 0.5])).reshape(grid.shape)
    assert largest(jet["u_xxy"][0] + 0.5 * torch.cos(phase)) < 2e-2


NETWORKS = [
    *(
        MLP(2, 2, width=7, depth=2, activation=a, fourier=f)
        for a in ("tanh", "sin", "gelu", "silu")
        for f in (None, 3)
    ),
    nn.Sequential(PeriodicInputs([True, False]), MLP(3, 2, width=7, depth=2)),
    *(
        nn.Sequential(Affine.from_box([0, 0], [1, 2]), nn.Linear(2, 6), a, nn.Linear(6, 2), nn.Identity())
        for a in (nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.GELU("tanh"), nn.Softplus(2.0))
    ),
]


@pytest.mark.parametrize(
    "orders", [["u", "u_xxyy", "u_xy", "u_yyyy"], ["u_x"], ["u_y", "u_xxx"], ["u_xxxxyy"]]
)
@pytest.mark.parametrize("net", NETWORKS)
def test_taylor_is_nested_in_value_and_gradient(net, orders):
    torch.manual_seed(1)
    net = net.double()
    grid = Grid(Axis("x", 0.0, 1.0, 4), Axis("y", 0.0, 2.0, 5))
    weight = torch.randn(2, 4, 5, dtype=torch.float64)
    results = []
    for kind in ("taylor", "nested"):
        net.zero_grad()
        jet, _ = make(kind, grid, orders)(net)
        sum(((jet[o] / 2 + weight) ** 2).sum() for o in jet).backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in net.parameters()]
        results.append((jet, grads))
    for name in results[0][0]:
        torch.testing.assert_close(results[0][0][name], results[1][0][name], rtol=1e-8, atol=1e-9)
    scale = max(largest(g) for g in results[1][1])
    for a, b in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9 * scale)


def test_taylor_takes_few_directions():
    grid = grid_of(2)
    assert len(Taylor(grid, ["u_xx", "u_yy"]).directions) == 2
    assert len(Taylor(grid, ["u_xy"]).directions) == 2
    assert len(Taylor(grid, ["u_xxxx", "u_xxyy", "u_yyyy"]).directions) == 4
    assert Taylor(grid, ["u_y", "u_xxxx"])._sums.plan.counts == (2, 2, 1, 1, 1)
    assert Taylor(grid, ["u"]).directions.shape == (0, 2)


def test_too_few_directions_are_refused():
    with pytest.raises(GridError, match="do not determine"):
        plan([[], [], [{(1, 1): 1.0}]], np.eye(2))


def test_network_is_evaluated_once_by_the_mollifier():
    calls = []
    net = nn.Linear(2, 1)
    net.register_forward_hook(lambda *_: calls.append(1))
    grid = grid_of(2)
    make("mollifier", grid, ["u", "u_xxyy"], [[0.1, 0.2]], **options_of("mollifier", grid))(net)
    assert len(calls) == 1


def test_mollifier_within_the_grid():
    grid = grid_of(1)
    options = {"radius": 0.2, "boundary": "one-sided", "accuracy": 4}
    field = make("mollifier", grid, ["u_xx"], **options)
    assert field.layer.nodes.shape == grid.shape
    wanted = exact(grid.coords(), (2,))
    assert largest(field(waves(1))[0]["u_xx"] - wanted) < 1e-3
    with pytest.raises(GridError, match="less than the collocation grid"):
        make("mollifier", grid, ["u_xx"], radius=0.2, boundary="trim")


def test_errors_name_what_was_expected():
    grid = grid_of(2)
    with pytest.raises(ConfigurationError, match="Did you mean 'mollifier'"):
        make("molifier", grid, ["u"])
    with pytest.raises(ConfigurationError, match="Did you mean 'radius'"):
        make("mollifier", grid, ["u"], radios=0.1)
    with pytest.raises(ConfigurationError, match="nested backend has no option 'radius'"):
        make("nested", grid, ["u"], radius=0.1)
    with pytest.raises(GridError, match="not a derivative of 'u'"):
        make("nested", grid, ["v_x"])
    with pytest.raises(GridError, match=r"\(n, 2\) along"):
        make("nested", grid, ["u"], [0.1, 0.2])
    with pytest.raises(GridError, match="no axis 'z'"):
        make("nested", grid, ["u"], {"z": [0.1]})
    with pytest.raises(GridError, match=r"\(points, channels\) was expected"):
        make("nested", grid, ["u"])(nn.Flatten(0))
    with pytest.raises(ConfigurationError, match="no rule for the function 'elu'"):
        make("taylor", grid, ["u_x"])(nn.Sequential(nn.Linear(2, 3), nn.ELU()))


def test_taylor_goes_through_any_module_of_known_functions():
    class Own(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.size = inner, nn.Parameter(torch.tensor(0.7))

        def forward(self, x):
            y = self.inner(1 - x / 2)
            return torch.cat([2 * y - 3 / (2 + y * y), -self.size * torch.exp(y) / (1 + x.square())], -1)

    grid = Grid(Axis("x", 0.0, 1.0, 5))
    net = Own(nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))).double()
    found, wanted = (make(kind, grid, ["u", "u_xx", "u_xxx"])(net)[0] for kind in ("taylor", "nested"))
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: x[:, :1], "begin with an ellipsis"),
        (lambda x: x.sum(1, keepdim=True), "counted from the last"),
        (lambda x: x.flatten(), "counted from the last"),
        (lambda x: torch.cat([x, x], 1), "along the last dimension"),
    ],
)
def test_taylor_refuses_dimensions_counted_from_the_first(wrong, message):
    class Module(nn.Module):
        def forward(self, x):
            return wrong(x)

    with pytest.raises(ConfigurationError, match=message):
        make("taylor", grid_of(2), ["u_xx"])(nn.Sequential(nn.Linear(2, 2).double(), Module()))


@pytest.mark.parametrize(("order", "degree", "radius"), [(1, 5, 3.0), (2, 5, 3.0), (3, 7, 4.0), (4, 7, 4.0)])
def test_mollified_free_values_leave_what_boundary_conditions_fix(order, degree, radius):
    """The equation leaves as many values open as it has orders: none alternates or hides at the ends."""
    n = 24
    grid = Grid(Axis("x", 0.0, 1.0, n))
    field = Mollified(
        grid, ["u", {"x": order}], kernel=BSpline(degree), radius=radius / (n - 1), free={"x": order}
    )
    assert field.lattice.size == n + order
    matrix = field.matrix(Derivative("u", (("x", order),))).toarray()
    sizes = np.linalg.svd(matrix, compute_uv=False)
    assert np.linalg.matrix_rank(matrix) == n
    # Rows of nearly dependent equations would let values drift: the condition is that of the exact operator.
    assert sizes[-1] > 0.2 * sizes[0] / n**order
    x = field.lattice.axes[0].points
    values = field.matrix(Derivative("u")).toarray() @ x**degree
    # The spline of a polynomial's values differs from it by one of lower degree, up to the ends.
    lower = np.polynomial.Polynomial.fit(points := grid.axes[0].points, values - points**degree, degree - 1)
    assert np.abs(values - points**degree - lower(points)).max() < 1e-9


def test_mollified_free_values_forward_agrees_with_matrices():
    grid = Grid(Axis("x", 0.0, 1.0, 12), Axis("t", 0.0, 2.0, 9))
    field = Mollified(
        grid,
        ["u", "u_t", "u_xx"],
        np.array([[0.3, 0.2], [1.0, 2.0]]),
        BSpline(5),
        {"x": 3 / 11, "t": 3 / 4},
        free={"x": 2, "t": 1},
    )
    assert field.lattice.shape == (14, 10)
    g = torch.from_numpy(np.random.default_rng(0).standard_normal(field.lattice.size))
    values = nn.Linear(2, 1, bias=False)  # any module: its values are replaced
    values.forward = lambda points: g[:, None]
    jet, seen = field(values)
    for d in field.orders:
        assert np.allclose(jet[d.name][0].numpy().ravel(), field.matrix(d) @ g.numpy(), atol=1e-9)
    assert np.allclose(seen[0].numpy(), field.observation_matrix() @ g.numpy())
