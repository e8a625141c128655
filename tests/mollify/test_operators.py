"""Tensor products of rows: methods, boundaries, manufactured fields, adjoints, sharing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mollifier.errors import GridError
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import BSpline, Polynomial
from mollifier.mollify.operators import AxisOperator, TensorOperator, fastest_method

K = Polynomial(8)


def wave_on(nodes: Grid, grid: Grid, orders=None) -> np.ndarray:
    """Product of cos(c x + d), whole periods along periodic axes, or a derivative of it, at nodes."""
    orders = orders or (0,) * len(grid.axes)
    result = np.ones(())
    for i, (axis, place, k) in enumerate(zip(grid, nodes, orders, strict=True)):
        c = 2 * np.pi / axis.length if axis.periodic else 1.0 + 0.5 * i
        result = result[..., None] * c**k * np.cos(c * place.points + 0.3 + 0.4 * i + k * np.pi / 2)
    return result


def grid_1d(kind: str, size: int = 60) -> Grid:
    x = np.linspace(0, 1, size)
    axis = {
        "even": Axis("x", 0.0, 1.0, size),
        "periodic": Axis("x", 0.0, 1.0, size, periodic=True),
        "uneven": Axis.from_points("x", x + 0.08 * np.sin(2 * np.pi * x) / np.pi),
    }[kind]
    return Grid(axis)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("boundary", ["halo", "one-sided", "trim"])
@pytest.mark.parametrize("kind", ["even", "periodic", "uneven"])
@pytest.mark.parametrize("position", [0, 1])
def test_operator_methods_agree(backend, boundary, kind, position):
    """GEMM, direct and FFT, along the first axis and the last, with batch dimensions."""
    along = grid_1d(kind).axes[0]
    other = Axis("y", 0.0, 1.0, 21, periodic=True)
    grid = Grid(*((along, other) if position == 0 else (other, along)))
    orders = [(0, 0), (1, 0), (0, 2), (2, 1), (4, 0)]
    results = {}
    for method in ("gemm", "direct", "fft"):
        if method == "fft" and kind == "uneven":
            continue
        op = TensorOperator(grid, orders, K, 0.24, boundary=boundary, methods={"x": method})
        values = np.random.default_rng(0).standard_normal((2, 3, *op.nodes.shape))
        given_values = torch.from_numpy(values) if backend == "torch" else values
        results[method] = [np.asarray(r) for r in op(given_values)]
        assert results[method][0].shape == (2, 3, *op.result.shape)
    reference = TensorOperator(
        grid, orders, K, 0.24, boundary=boundary, methods=dict.fromkeys(grid.names, "gemm")
    )
    for got in results.values():
        for a, b in zip(got, reference(values), strict=True):
            # Round-off of a sum of |w g|, in any order; the FFT spreads it over the axis.
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


@pytest.mark.parametrize(
    ("axes", "orders"),
    [
        ([Axis("x", 0, 1, 65)], [(0,), (1,), (2,), (3,), (4,)]),
        ([Axis("x", 0, 1, 65), Axis("y", 0, 1, 40, periodic=True)], [(0, 0), (2, 2), (4, 0), (0, 4), (1, 3)]),
        (
            [
                Axis("x", 0, 1, 33),
                Axis.from_points("t", np.linspace(0, 1, 33) ** 1.2),
                Axis("z", 0, 1, 30, periodic=True),
            ],
            [(1, 1, 1), (2, 0, 2), (0, 2, 1)],
        ),
    ],
    ids=["1-D", "2-D", "3-D"],
)
@pytest.mark.parametrize("boundary", ["halo", "one-sided", "trim"])
def test_operator_mixed_derivatives(axes, orders, boundary):
    """Mixed derivatives of a manufactured field."""
    grid = Grid(*axes)
    op = TensorOperator(grid, orders, K, 0.3, boundary=boundary, accuracy=6)
    values = wave_on(op.nodes, grid)
    for o, got in zip(orders, op(values), strict=True):
        exact = wave_on(op.result, grid, o)
        # The kernel's sixth moment times (c r)^6: c r is 2 on periodic axes and 0.3 to 0.6 on the others.
        tolerance = 1e-4 if any(a.periodic for a in axes) else 1e-7
        assert np.abs(got - exact).max() < tolerance * np.abs(wave_on(grid, grid, o)).max(), o


@pytest.mark.parametrize("method", ["gemm", "direct", "fft"])
@pytest.mark.parametrize("boundary", ["halo", "one-sided", "trim"])
def test_operator_backward_is_transpose(method, boundary):
    """<A u, v> = <u, A' v> with A' by autograd, and A' dense by A on unit vectors."""
    grid = Grid(Axis("x", 0, 1, 24), Axis("y", 0, 1, 12, periodic=True))
    op = TensorOperator(grid, [(2, 1)], K, 0.4, boundary=boundary, methods={"x": method, "y": "gemm"})
    rng = np.random.default_rng(0)
    u = torch.from_numpy(rng.standard_normal(op.nodes.shape)).requires_grad_()
    v = torch.from_numpy(rng.standard_normal(op.result.shape))
    (result,) = op(u)
    (transposed,) = torch.autograd.grad((result * v).sum(), u)
    assert (result * v).sum().item() == pytest.approx((u * transposed).sum().item(), rel=1e-11)
    unit = np.eye(op.nodes.size).reshape(-1, *op.nodes.shape)
    matrix = op(unit)[0].reshape(op.nodes.size, -1)
    expected = (matrix @ v.numpy().ravel()).reshape(op.nodes.shape)
    np.testing.assert_allclose(transposed.numpy(), expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_operator_polynomials_on_any_grid(data):
    """Linear and exact on polynomials whatever the grid."""
    axes, degrees = [], []
    orders = tuple(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)))
    for i, k in enumerate(orders):
        size = data.draw(st.integers(12, 20))
        bend = data.draw(st.sampled_from([0.0, 0.05]))
        x = np.linspace(0, 1, size)
        axes.append(Axis.from_points("xyz"[i], x + bend * np.sin(np.pi * x)))
        degrees.append(k + 1)
    boundary = data.draw(st.sampled_from(["halo", "one-sided"]))
    op = TensorOperator(Grid(*axes), [orders, (0,) * len(axes)], BSpline(7), 0.7, boundary=boundary)
    coefficients = [np.random.default_rng(i).standard_normal(d + 1) for i, d in enumerate(degrees)]

    def product(grid, counts):
        result = np.ones(())
        for axis, c, k in zip(grid, coefficients, counts, strict=True):
            result = result[..., None] * np.polynomial.Polynomial(c).deriv(k)(axis.points)
        return result

    f = product(op.nodes, (0,) * len(axes))
    for o in op.orders[:1]:
        exact = product(op.result, o)
        scale = np.abs(f).max() * op.noise_gain[0] + np.abs(exact).max()
        assert np.abs(op(f)[0] - exact).max() < 1e-11 * scale
    g = np.random.default_rng(1).standard_normal(op.nodes.shape)
    for a, b, both in zip(op(f), op(g), op(2 * f - 3 * g), strict=True):
        np.testing.assert_allclose(
            both, 2 * a - 3 * b, rtol=0, atol=1e-11 * (np.abs(a).max() + np.abs(b).max())
        )


def test_operator_noise_gain():
    """Noise gain of a mixed derivative."""
    op = TensorOperator(
        Grid(Axis("x", 0, 1, 20), Axis("y", 0, 1, 20)), [(1, 2)], K, 0.4, boundary="one-sided"
    )
    noise = np.random.default_rng(0).standard_normal((4000, 20, 20))
    # The sd of 400 sample sds from 4,000 draws is 1.1 %; their largest lies 3 to 4 of those up.
    assert op(noise)[0].std(0).max() == pytest.approx(op.noise_gain[0], rel=0.05)


def test_operator_shares_prefixes(monkeypatch):
    """Orders that share a prefix share its work."""
    passes = []
    apply = AxisOperator.apply
    monkeypatch.setattr(
        AxisOperator,
        "apply",
        lambda self, x, n, c: passes.append((self.nodes.name, n)) or apply(self, x, n, c),
    )
    grid = Grid(Axis("x", 0, 1, 20), Axis("y", 0, 1, 20))
    op = TensorOperator(grid, [(0, 0), (2, 0), (2, 1), (2, 2), (0, 1)], K, 0.4, boundary="one-sided")
    op(np.ones((20, 20)))
    # One pass along x for both of its orders, then one along y for each of the two intermediates.
    assert passes == [("x", 2), ("y", 2), ("y", 3)]


def test_operator_mean_is_removed():
    """The mean does not matter."""
    op = TensorOperator(Grid(Axis("x", 0, 1, 128)), [(0,), (4,)], K, 8 / 127, boundary="one-sided")
    u = np.sin(5 * np.linspace(0, 1, 128))
    (a0, a4), (b0, b4) = op(u), op(u + 1024.0)
    # What is left is that u + 1024 is itself rounded, by 1e-13.
    np.testing.assert_allclose(
        b4, a4, rtol=0, atol=1.2e-13 * 2 * np.abs(op.axes[0].rows[4].weights).sum(-1).max()
    )
    np.testing.assert_allclose(b0, a0 + 1024, rtol=0, atol=1e-12)


def test_operator_uncorrected_kernel():
    """The uncorrected kernel is applied as it is."""
    op = TensorOperator(Grid(Axis("x", 0, 1, 41)), [(0,)], K, 0.1, accuracy=None)
    ones = np.ones(op.nodes.shape)
    np.testing.assert_allclose(op(ones)[0], op.axes[0].rows[0].weights.sum(-1), rtol=1e-14)


def test_operator_dtypes_and_batches():
    op = TensorOperator(
        Grid(Axis("x", 0, 1, 20), Axis("t", 0, 1, 1)), [(0, 0), (1, 0)], K, 0.4, boundary="one-sided"
    )
    values = np.arange(20)[:, None] ** 2
    whole, slope = op(values)
    assert whole.dtype == slope.dtype == np.float64
    np.testing.assert_allclose(slope[:, 0], 2 * 19 * np.arange(20), atol=1e-9)
    assert op(values.astype(np.float32))[1].dtype == np.float32
    assert op(torch.from_numpy(values))[1].dtype == torch.float64
    assert op(torch.from_numpy(values).half())[1].dtype == torch.float16
    for empty in (np.zeros((0, 20, 1)), torch.zeros((2, 0, 20, 1))):
        assert tuple(op(empty)[1].shape) == tuple(empty.shape)


def test_operator_onto_other_points():
    grid = Grid(Axis("x", 0, 1, 40), Axis("y", 0, 1, 30, periodic=True))
    places = {"x": np.array([0.11, 0.52, 0.9])}
    op = TensorOperator(grid, [(0, 0), (2, 0)], K, 0.3, boundary="halo", accuracy=6, onto=places)
    got = op(wave_on(op.nodes, grid))[1]
    exact = wave_on(Grid(Axis.from_points("x", places["x"]), grid["y"]), grid, (2, 0))
    assert got.shape == (3, 30)
    assert np.abs(got - exact).max() < 1e-4


@pytest.mark.parametrize(
    ("nodes", "taps", "invariant", "expected"),
    [
        (64, 17, True, "gemm"),
        (300, 60, False, "gemm"),
        (2_000, 5, True, "direct"),
        (1_024, 17, True, "banded"),
        (8_192, 501, True, "fft"),
        (1_000_000, 9, False, "direct"),
        (5_000, 400, False, "direct"),
    ],
)
def test_fastest_method(nodes, taps, invariant, expected):
    """The fastest method is plausible."""
    assert fastest_method(nodes, taps, invariant) == expected


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda g: TensorOperator(g, [(1, 1)], K, 0.4)(np.zeros((30, 30))), r"shape \(30, 30\) .* should be"),
        (lambda g: TensorOperator(g, [(1, 1)], K, 0.4)(np.zeros(30)), "the nodes along"),
        (lambda g: TensorOperator(g, [(1,)], K, 0.4), "one order, 0 or more, for each of"),
        (lambda g: TensorOperator(g, [(1, -1)], K, 0.4), "one order, 0 or more"),
        (lambda g: TensorOperator(g, [(1, 1)], K, 0.4, boundary="zero"), "'zero' is none of"),
        (lambda g: TensorOperator(g, [(1, 1)], K, 0.4, methods={"x": "gem"}), "Did you mean 'gemm'"),
        (lambda g: TensorOperator(g, [(1, 1)], K, 0.4, methods={"z": "gemm"}), "no axis 'z'"),
        (lambda g: TensorOperator(g, [(1, 1)], K, 0.8, boundary="trim"), "leaves no points"),
        (lambda g: TensorOperator(Grid(Axis("x", 0, 1, 1)), [(1,)], K, 0.4), "has one point"),
        (
            lambda g: TensorOperator(
                Grid(Axis.from_points("x", [0, 1, 3, 4, 8])),
                [(1,)],
                K,
                8,
                boundary="one-sided",
                methods={"x": "fft"},
            ),
            "no shift-invariant rows",
        ),
    ],
)
def test_operator_refusals(make, says):
    with pytest.raises(GridError, match=says):
        make(Grid(Axis("x", 0, 1, 20), Axis("y", 0, 1, 20)))


def test_operator_fft_in_pieces_equals_direct():
    """A long axis is transformed in pieces: the same values and gradients as by direct convolution."""
    grid = Grid(Axis("x", 0.0, 1.0, 10_000))
    radius = 12 * grid["x"].spacing
    values = (
        torch.sin(40 * torch.linspace(0, 1, 10_000, dtype=torch.float64)) + torch.rand(2, 10_000).double()
    )
    found = []
    for method in ("fft", "direct"):
        op = TensorOperator(grid, [(0,), (1,)], K, radius, boundary="one-sided", methods={"x": method})
        v = values.clone().requires_grad_()
        results = op(v)
        for one, other in zip(results, op(values.numpy()), strict=True):
            np.testing.assert_allclose(one.detach().numpy(), other, atol=1e-11 * np.abs(other).max())
        (results[0] ** 2 + results[1] / op.noise_gain[1]).sum().backward()
        found.append([*(r.detach() for r in results), v.grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11 * float(other.abs().max()))
