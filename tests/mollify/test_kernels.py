"""Kernels against SymPy and quadrature."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import sympy
import torch
from scipy.integrate import quad

from mollifier.errors import ConfigurationError, GridError
from mollifier.mollify.differentiate import differentiate
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import KERNELS, BSpline, Bump, Polynomial, kernel_for
from mollifier.problem.settings import CollocationSettings, validated

EXAMPLES = [
    Polynomial(1),
    Polynomial(8),
    Polynomial(12),
    BSpline(1),
    BSpline(4),
    BSpline(7),
    BSpline(9),
    Bump(),
    Bump(3.0),
]
S = sympy.Symbol("s", real=True)
# Off the knots of every spline above, on both sides, near the centre and near the edge.
PLACES = [sympy.Rational(p, 1000) for p in (-951, -613, -237, -7, 113, 391, 533, 777, 983)]


def truth(kernel, places, order):
    """The derivative by SymPy in exact numbers; splines from their truncated powers about the left end."""
    if isinstance(kernel, Polynomial):
        p = kernel.degree
        eta = (
            sympy.gamma(p + sympy.Rational(3, 2))
            / (sympy.sqrt(sympy.pi) * sympy.gamma(p + 1))
            * (1 - S**2) ** p
        )
        return [float(sympy.diff(eta, S, order).subs(S, s).evalf(30)) for s in places]
    if isinstance(kernel, Bump):
        a = sympy.Rational(kernel.sharpness)
        mass = 1 / quad(lambda s: np.exp(-kernel.sharpness / (1 - s * s)), -1, 1, epsabs=0, epsrel=1e-13)[0]
        eta = sympy.exp(-a / (1 - S**2))
        return [mass * float(sympy.diff(eta, S, order).subs(S, s).evalf(30)) for s in places]
    p = kernel.degree
    c = sympy.Rational(p + 1, 2)
    result = []
    for s in places:
        active = [i for i in range(p + 2) if c * (s + 1) - i > 0]
        power = [(-1) ** i * sympy.binomial(p + 1, i) * (c * (S + 1) - i) ** p for i in active]
        eta = c / sympy.factorial(p) * sum(power)
        result.append(float(sympy.diff(eta, S, order).subs(S, s).evalf(30)))
    return result


@pytest.mark.parametrize("kernel", EXAMPLES, ids=str)
def test_kernel_integral(kernel):
    knots = (
        np.linspace(-1, 1, kernel.degree + 2) if isinstance(kernel, BSpline) else np.array([-1.0, 0.0, 1.0])
    )
    total = sum(quad(kernel, a, b, epsabs=1e-14, epsrel=1e-12)[0] for a, b in pairwise(knots))
    assert abs(total - 1) < 1e-11


@pytest.mark.parametrize(
    ("kernel", "order"), [(k, n) for k in EXAMPLES for n in range(7) if n <= k.smoothness]
)
def test_kernel_derivatives_against_sympy(kernel, order):
    """Derivatives are those of SymPy."""
    expected = np.array(truth(kernel, PLACES, order))
    scale = np.abs(kernel(np.linspace(-1, 1, 401), order)).max()
    got = kernel(np.array([float(s) for s in PLACES]), order)
    # Relative to the largest value of that derivative: Horner's rule loses a few digits where it is small.
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("kernel", EXAMPLES, ids=str)
def test_kernel_even_positive_compact(kernel):
    s = np.arange(-600, 601) / 400
    for order in range(min(6, int(min(kernel.smoothness, 6))) + 1):
        value = kernel(s, order)
        np.testing.assert_array_equal(kernel(-s, order) * (-1) ** order, value)
        assert not value[np.abs(s) >= 1].any()
    assert (kernel(s) >= 0).all()


@pytest.mark.parametrize("kernel", [BSpline(1), BSpline(7), BSpline(9)], ids=str)
def test_bspline_precision_at_the_edge(kernel):
    """Weights near the edge are divided by: they must be right relative to themselves."""
    gap = 2.0**-20
    exact = (
        ((kernel.degree + 1) / 2) ** (kernel.degree + 1)
        * gap**kernel.degree
        / float(sympy.factorial(kernel.degree))
    )
    assert kernel(np.array(1 - gap)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kernel", EXAMPLES, ids=str)
def test_kernel_torch_equals_numpy(kernel, dtype):
    """Torch equals NumPy and differentiates."""
    s = np.linspace(-1.2, 1.2, 97)
    x = torch.tensor(s, dtype=dtype, requires_grad=True)
    tolerance = 1e-13 if dtype == torch.float64 else 2e-5  # float32 rounds s itself, and the bump is steep
    for order in range(min(4, int(min(kernel.smoothness, 4)))):
        value = kernel(x, order)
        assert value.dtype == dtype
        scale = np.abs(kernel(s, order)).max()
        np.testing.assert_allclose(value.detach().numpy(), kernel(s, order), rtol=0, atol=tolerance * scale)
    if dtype == torch.float64 and kernel.smoothness > 1:
        (slope,) = torch.autograd.grad(kernel(x).sum(), x)
        np.testing.assert_allclose(
            slope.numpy(), kernel(s, 1), rtol=0, atol=1e-12 * np.abs(kernel(s, 1)).max()
        )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: Polynomial(3)(np.zeros(1), 4),
            r"order 0 to 3; order 4 was given; take .* Polynomial\(8\)",
        ),
        (lambda: BSpline(2)(np.zeros(1), 3), "take a higher degree"),
        (lambda: Bump()(np.zeros(1), -1), "a whole number of 0 or more"),
        (lambda: Polynomial(0), "from 1 to 40"),
        (lambda: BSpline(0), "from 1 to 40"),
        (lambda: Bump(0.0), "positive"),
    ],
)
def test_kernel_refusals(make, says):
    with pytest.raises(GridError, match=says):
        make()


@dataclass(frozen=True)
class Cosine:
    """Half a period of a cosine squared: a kernel from outside the package."""

    smoothness: float = 2

    @classmethod
    def for_order(cls, order, degree=None):
        return cls(), 6.0

    def __call__(self, s, order=0):
        value = [
            np.cos(np.pi * s / 2) ** 2,
            -np.pi / 2 * np.sin(np.pi * s),
            -(np.pi**2) / 2 * np.cos(np.pi * s),
        ]
        return np.where(np.abs(s) < 1, value[order], 0.0)


@pytest.fixture
def cosine(monkeypatch):
    monkeypatch.setattr(KERNELS, "_entries", dict(KERNELS._entries))
    KERNELS.register("cosine", Cosine)


def test_kernel_registered_by_a_plugin(cosine):
    """It is chosen by name in the settings, and differentiates exactly what its moments are exact for."""
    assert validated(CollocationSettings, {"kernel": "cosine"}).kernel == "cosine"
    kernel, cells = kernel_for("cosine", 2)
    axis = Axis("x", 0.0, 1.0, 41)
    found = differentiate(axis.points**3, Grid(axis), "u_xx", radius=cells * axis.spacing, kernel=kernel)
    np.testing.assert_allclose(found, 6 * axis.points, atol=1e-9)


def test_kernel_unknown_names_the_registered_ones(cosine):
    with pytest.raises(ConfigurationError, match=r"'bump' or 'cosine'\. Did you mean 'cosine'\?"):
        validated(CollocationSettings, {"kernel": "cosin"})
    with pytest.raises(ConfigurationError, match=r"There is no kernel 'cosin'\. Did you mean 'cosine'"):
        kernel_for("cosin", 2)
