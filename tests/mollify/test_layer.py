"""The layer: shapes, gradients, points between nodes, precision."""

import numpy as np
import pytest
import torch

from layer_problems import GRID, ORDERS, field, small
from mollifier.errors import GridError
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import BSpline, Bump, Polynomial
from mollifier.mollify.layer import MollifierLayer
from mollifier.mollify.precision import _put_back, _switch_off_tf32, _switches, exact_backward

# Shapes


def test_layer_jet_shapes():
    """The jet has the grids shape in all three layouts."""
    layer = small().double()
    g = field(layer.coords())
    flat = layer(g)
    assert {n: tuple(v.shape) for n, v in flat.items()} == dict.fromkeys(ORDERS, GRID.shape)
    on_nodes, column = layer(g.reshape(layer.nodes.shape)), layer(g[:, None])
    channels = layer(torch.stack([g, 2 * g, 3 * g], -1))
    batch = layer(torch.stack([g, 2 * g]).reshape(2, 1, *layer.nodes.shape))
    for name, value in flat.items():
        torch.testing.assert_close(on_nodes[name], value, rtol=0, atol=0)
        torch.testing.assert_close(column[name], value, rtol=0, atol=0)
        assert channels[name].shape == (3, *GRID.shape)
        assert batch[name].shape == (2, 1, *GRID.shape)
        torch.testing.assert_close(channels[name][2], 3 * value)
        torch.testing.assert_close(batch[name][1, 0], 2 * value)


def test_layer_halo_coordinates():
    """Halo coordinates are less than one radius past the ends, and not round a circle."""
    layer = small()
    assert layer.coords().dtype == torch.float32
    x, y = layer.coords().T
    gap = layer.grid["x"].spacing
    assert -0.3 < x.min() <= gap - 0.3 + 1e-6
    assert 1.3 - gap - 1e-6 <= x.max() < 1.3
    assert 0 <= y.min() <= y.max() < 1
    assert small(boundary="one-sided").coords().shape == (20 * 12, 2)


def test_layer_trim():
    """Trimming leaves the points whose stencil is whole."""
    layer = small(boundary="trim").double()
    jet = layer(field(layer.coords()))
    assert jet["u"].shape == layer.result.shape == (10, 12)
    torch.testing.assert_close(
        jet["u_x"], small(boundary="one-sided").double()(field(layer.coords()))["u_x"][5:15]
    )


def test_layer_wrong_shape():
    """Values of another shape are refused."""
    with pytest.raises(GridError, match=r"Values of shape \(7,\) .* the layer takes .* layer.coords"):
        small()(torch.zeros(7))


# Derivatives


@pytest.mark.parametrize("boundary", ["halo", "one-sided"])
def test_layer_derivatives_consistent(boundary):
    """u_x, u_xx, u_xyy against the manufactured field that the same layer gives for u, to O(r^4)."""
    layer = small(boundary=boundary, accuracy=4).double()
    jet = layer(field(layer.coords()))
    x, y = (torch.as_tensor(GRID.coords()[:, i]) for i in (0, 1))
    wave = torch.cos(2 * torch.pi * y)
    exact = {
        "u": torch.sin(2 * x + 0.3) * wave,
        "u_x": 2 * torch.cos(2 * x + 0.3) * wave,
        "u_xx": -4 * torch.sin(2 * x + 0.3) * wave,
        "u_xyy": 2 * torch.cos(2 * x + 0.3) * -((2 * torch.pi) ** 2) * wave,
    }
    for name, value in exact.items():
        # Measured 1.1 %: the sixth of the period that the kernel spans along y, to the fourth power.
        assert (jet[name].flatten() - value).abs().max() < 0.015 * value.abs().max(), name


@pytest.mark.parametrize("method", ["gemm", "direct", "banded", "fft"])
@pytest.mark.parametrize("boundary", ["halo", "one-sided", "trim"])
def test_layer_gradients(method, boundary):
    """Gradients of every order are right."""
    grid = Grid(Axis("x", 0, 1, 9), Axis("y", 0, 1, 8, periodic=True))
    layer = MollifierLayer(
        grid, ["u", "u_xyy"], radius=0.4, boundary=boundary, accuracy=1, methods={"x": method, "y": method}
    ).double()
    g = torch.randn(layer.nodes.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    g.requires_grad_()

    def squares(g):
        return layer(g)["u_xyy"][::2] ** 2 + layer(g)["u"][::2]

    # The numerical Jacobian of gradcheck steps by 1e-6 and derivatives reach 1e3: hence the scaling.
    assert torch.autograd.gradcheck(lambda g: layer(g)["u_xyy"] / 100, g, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda g: squares(g) / 1e4, g, fast_mode=True)


def test_layer_at_gradients():
    layer = small(accuracy=1).double()
    sampler = layer.sampler(np.array([[0.11, 0.2], [0.9, 0.97], [0.5, 0.0]]), ["u", "u_xy"])
    g = torch.randn(layer.nodes.size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: sampler(g)["u_xy"], g, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda g: sampler(g)["u"] ** 2, g, fast_mode=True)


# Points between nodes


@pytest.mark.parametrize("boundary", ["halo", "one-sided", "trim"])
@pytest.mark.parametrize("kernel", [Polynomial(8), BSpline(7)], ids=str)
def test_layer_at_nodes(boundary, kernel):
    """At nodes the points are the grid."""
    layer = small(boundary=boundary, kernel=kernel).double()
    g = torch.randn(2, *layer.nodes.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = layer.result.coords()
    for sampled in (layer.at(points, g), layer.at(dict(zip("xy", points.T, strict=True)), g)):
        for name, value in layer(g).items():
            torch.testing.assert_close(
                sampled[name], value.flatten(-2), rtol=0, atol=1e-11 * value.abs().max()
            )


def test_layer_at_convergence():
    errors = []
    points = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for size in (20, 40):
        grid = Grid(Axis("x", 0, 1, size + 1), Axis("y", 0, 1, size, periodic=True))
        layer = MollifierLayer(grid, ["u_xyy"], radius=7.5 / size, accuracy=4).double()
        exact = (
            -((2 * torch.pi) ** 2)
            * 2
            * torch.cos(2 * points[:, 0] + 0.3)
            * torch.cos(2 * torch.pi * points[:, 1])
        )
        errors.append((layer.at(points, field(layer.coords()))["u_xyy"] - exact).abs().max())
    assert (errors[0] / errors[1]).log2() > 3.7


def test_layer_at_derivative_consistent():
    """u_x at points is the slope of u at points, to the order of the rows (corrected one by one)."""
    layer = small(accuracy=4).double()
    g = field(layer.coords())
    x = torch.linspace(0.2, 0.8, 7, dtype=torch.float64)
    step = 1e-4
    points = torch.stack([x, torch.full_like(x, 0.21)], -1)
    shift = torch.tensor([step, 0.0], dtype=torch.float64)
    slope = (layer.at(points + shift, g)["u"] - layer.at(points - shift, g)["u"]) / (2 * step)
    torch.testing.assert_close(layer.at(points, g)["u_x"], slope, rtol=0, atol=2e-4)


def test_resampler_equals_points():
    """A resampler is the points of a product."""
    layer = small().double()
    g = torch.randn(3, *layer.nodes.shape, dtype=torch.float64)
    x, y = np.array([0.0, 0.33, 0.71]), np.array([0.05, 0.5])
    product = layer.resampler({"x": x, "y": y}, ["u", "u_xy"])(g)
    points = layer.at(np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2), g, ["u", "u_xy"])
    for name, value in product.items():
        assert value.shape == (3, 3, 2)
        torch.testing.assert_close(value.flatten(-2), points[name])
    along_x = layer.resampler({"x": x})(g)["u"]
    assert along_x.shape == (3, 3, 12)


def test_layer_at_single_time():
    """Points of a grid with one time."""
    grid = Grid(Axis("x", 0, 1, 20), Axis("t", 2.0, 2.0, 1))
    layer = MollifierLayer(grid, ["u", "u_x"], radius=0.3).double()
    g = layer.coords()[:, 0] ** 2
    assert layer.at([[0.5, 2.0]], g)["u_x"].item() == pytest.approx(1.0)
    assert layer.at(np.zeros((0, 2)), g)["u_x"].shape == (0,)


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (np.zeros((3, 3)), r"shape \(3, 3\) were given; \(n, 2\)"),
        ({"x": [0.0]}, r"coordinates \['y'\] are missing"),
        (np.array([[1.5, 0.0]]), "outside the axis 'x'"),
        (np.array([[np.nan, 0.0]]), "not finite"),
    ],
)
def test_layer_at_refusals(points, says):
    """Points that are none are refused."""
    with pytest.raises(GridError, match=says):
        small(boundary="one-sided").sampler(points)


# Precision


def fourth(dtype, offset: float, kernel=None) -> tuple[float, MollifierLayer, torch.Tensor]:
    """Error of u_xxxx of sin(5x) + offset on 128 points at a radius of 8 cells, in one precision."""
    layer = MollifierLayer(
        Grid(Axis("x", 0.0, 1.0, 128)), ["u_xxxx"], kernel or Polynomial(8), radius=8 / 127
    )
    x = torch.as_tensor(layer.nodes.coords()[:, 0])
    g = (torch.sin(5 * x) + offset).to(dtype)
    exact = 625 * torch.sin(5 * torch.linspace(0, 1, 128, dtype=torch.float64))
    return (layer(g)["u_xxxx"].double() - exact).abs().max().item(), layer, g


@pytest.mark.parametrize("kernel", [Polynomial(8), BSpline(7), Bump()], ids=str)
def test_layer_float32_without_offset(kernel):
    """Measured against the float64 error: 1.3 (Polynomial), 1.9 (BSpline), 2.2 (Bump)."""
    assert fourth(torch.float32, 0.0, kernel)[0] < 5 * fourth(torch.float64, 0.0, kernel)[0]


def test_layer_float32_with_offset():
    """sin(5x) + 10 in float32 is rounded by up to 4.8e-7 before the layer sees it.

    The noise gain of order 4 at 8 cells is 1.65e7, so that the error is 9.2 times that of float64
    whatever the layer does (B-spline 22, bump 27; at 16 cells 1.0 to 1.1). The layer adds nothing: on the
    same rounded values it agrees with float64 to the rounding of its result.
    """
    error, layer, g = fourth(torch.float32, 10.0)
    truncation = fourth(torch.float64, 10.0)[0]
    rounding = 4.8e-7 / 3**0.5 * layer.noise_gain["u_xxxx"]  # its standard deviation
    assert 5 * truncation < error < truncation + 4.5 * rounding
    from_float64 = layer(g.double())["u_xxxx"]
    assert (layer(g)["u_xxxx"].double() - from_float64).abs().max() < 6e-8 * from_float64.abs().max()


def test_layer_weights_stay_float64():
    """Weights stay in float64 whatever the cast."""
    layer = small()
    sampler = layer.sampler([[0.5, 0.5]])
    for cast in (layer.float(), layer.to(torch.float32), layer.half(), layer.double()):
        assert {w.dtype for w in cast.weights.tensors().values()} == {torch.float64}
    sampler.half()
    assert {w.dtype for w in sampler.weights.tensors().values()} == {torch.float64, torch.int64}
    # Coordinates follow the module, and come back unrounded.
    np.testing.assert_array_equal(layer.coords().numpy(), layer.nodes.coords())
    assert layer.half().coords().dtype == torch.float16


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_layer_dtype_of_results(dtype):
    """Results come in the dtype of the values."""
    layer = small()
    g = torch.ones(layer.nodes.size, dtype=dtype)
    assert layer(g)["u_x"].dtype == layer.at([[0.5, 0.5]], g)["u_x"].dtype == dtype


def test_tf32_off_in_backward():
    """What `exact_backward` hangs on the nodes of matrix products, seen on a CPU graph."""
    before = [(name, getattr(place, name)) for place, name, _ in _switches()]
    g, w = torch.randn(3, 4, requires_grad=True), torch.randn(4, 5)
    y = g @ w
    exact_backward([y.sum(0)], g)
    during = []
    y.grad_fn.register_prehook(lambda grads: during.extend(getattr(p, n) == off for p, n, off in _switches()))
    y.sum().backward()
    assert during == [True, True]
    assert [(name, getattr(place, name)) for place, name, _ in _switches()] == before


def test_tf32_switches_restored():
    """Tf32 switches are put back as found."""
    place, name, _ = _switches()[0]
    outer = _switch_off_tf32()
    setattr(place, name, True if name == "allow_tf32" else "tf32")
    inner = _switch_off_tf32()
    assert getattr(place, name) in (False, "ieee")
    _put_back(inner)
    assert getattr(place, name) in (True, "tf32")
    _put_back(outer)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: TF32 exists only there")
def test_tf32_on_a_gpu():
    """On a gpu float32 is exact and tf32 is put back."""
    place, name, _ = _switches()[0]
    before = getattr(place, name)
    setattr(place, name, True if name == "allow_tf32" else "tf32")
    try:
        for method in ("gemm", "direct", "banded", "fft"):
            layer = small(methods={"x": method}).cuda()
            g = field(layer.coords().double()).float().requires_grad_()
            jet = layer(g)
            assert getattr(place, name) in (True, "tf32")
            reference = layer(g.detach().double())
            for key, value in jet.items():
                error = (value.double() - reference[key]).abs().max()
                assert error < 1e-4 * reference[key].abs().max(), key
            jet["u_xx"].square().sum().backward()
            assert torch.isfinite(g.grad).all()
    finally:
        setattr(place, name, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layer_refuses_values_rounded_by_autocast(dtype):
    """Under autocast a network emits half precision; the layer refuses it instead of a wrong derivative."""
    layer = MollifierLayer(Grid(Axis("x", 0.0, 1.0, 33)), ["u", "u_xx"], radius=0.2)
    net = torch.nn.Linear(1, 1)
    with torch.autocast("cpu", dtype=dtype):
        with pytest.raises(GridError, match=r"enabled=False"):
            layer(net(layer.coords().float()))
        with pytest.raises(GridError, match=str(dtype).removeprefix("torch.")):
            layer.at([[0.5]], net(layer.coords().float()))


def test_layer_under_autocast_computes_in_full():
    """Values of full precision give the same jet and gradient under autocast as without."""
    layer = MollifierLayer(Grid(Axis("x", 0.0, 1.0, 33)), ["u", "u_xx"], radius=0.2)
    g = torch.sin(5 * layer.coords()[:, 0]).float().requires_grad_()
    expected = layer(g)["u_xx"]
    slope = torch.autograd.grad(expected.square().mean(), g)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(g)["u_xx"]
        again = torch.autograd.grad(found.square().mean(), g)[0]
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert torch.equal(again, slope)


def test_layer_state_dict_refuses_another_layer():
    """The state carries grid, kernel, radius and boundary; a layer that differs in one refuses it."""

    def made(size=33, radius=0.2, kernel=None, orders=("u",), **options):
        layer = MollifierLayer(Grid(Axis("x", 0.0, 1.0, size)), list(orders), kernel, radius, **options)
        return torch.nn.Sequential(torch.nn.Linear(1, 1), layer)

    saved = made().state_dict()
    assert all(isinstance(v, torch.Tensor) for v in saved.values())
    made(orders=("u", "u_x")).load_state_dict(saved)  # the same field, other derivatives of it
    others = {
        "grid": made(size=34),
        "radius": made(radius=0.21),
        "kernel": made(kernel=Bump()),
        "boundary": made(boundary="one-sided"),
        "accuracy": made(accuracy=4),
    }
    for name, other in others.items():
        with pytest.raises(GridError, match=f"another layer: {name} is"):
            other.load_state_dict(saved)
    with pytest.raises(GridError, match="not written by a mollifier layer"):
        made().load_state_dict(saved | {"1._extra_state": torch.tensor([1, 2], dtype=torch.uint8)})
