"""The evidence of priors against the density of the data, and the hyperprior against its definition."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from mollifier.engines.priors.differences import derivative_rows
from mollifier.engines.priors.evidence import LinearisedProblem, PriorOnCoefficients, QuadraticForm
from mollifier.engines.priors.field_prior import FieldPrior
from mollifier.engines.priors.lattice_prior import LatticePrior
from mollifier.engines.priors.matern import matern_weights
from mollifier.engines.priors.shapes import Choice, Shape
from mollifier.engines.splines.basis import AxisSplines, Basis
from mollifier.mollify.grid import Axis, Grid

X = Axis("x", -1.0, 1.0, 40)
SHAPES = [Shape(1, 1.0), Shape(2, 0.3), Shape(3, 0.5), Shape(2)]
STRENGTHS = [0.01, 1.0, 30.0]
SD = 0.1


class Splines(PriorOnCoefficients):
    """A Matern prior of a proper level, for a field of size two."""

    def __init__(self, basis):
        self.basis, self.columns = basis, slice(0, basis.size)
        self.prior = FieldPrior(basis.lattice, "auto")

    def precision(self, shape):
        rows = [derivative_rows(self.basis.lattice, k) for k in range(1, shape.order + 1)]
        forms = [self.basis.mass, *((r.T @ r).toarray() for r in rows)]
        return sum(w * f for w, f in zip(matern_weights(shape.order, shape.length), forms, strict=True))

    @property
    def mean_square(self):
        return float(np.trace(self.basis.mass))

    def form(self, shape):
        return QuadraticForm(self.precision(shape), np.zeros(self.basis.size), 0.0)

    def log_determinant(self, shape, strength):
        return self.basis.size * np.log(strength) + np.linalg.slogdet(self.precision(shape))[1]

    def log_variance(self, shape, strength):
        spread = np.trace(np.linalg.solve(self.precision(shape), self.basis.mass))
        return float(np.log(spread / (4.0 * strength))), 1.0

    def of(self, *_):
        raise NotImplementedError

    on_lattice = of


@pytest.fixture(scope="module")
def measured():
    basis = Basis("k", {"x": AxisSplines(X, 10, 5)}, Grid(X))
    rows = basis.at(basis.grid)[::3]
    values = np.sin(4 * X.points[::3]) + SD * np.random.default_rng(0).standard_normal(len(rows))
    return basis, rows, values


def density(rows, values, precision):
    """Logarithm of the density of ``values = rows @ x + noise`` for normal x, by 50 digits."""
    with mpmath.workdps(50):
        a, y, p = (
            mpmath.matrix(rows.tolist()),
            mpmath.matrix(values.tolist()),
            mpmath.matrix(precision.tolist()),
        )
        covariance = a * mpmath.inverse(p) * a.T + SD**2 * mpmath.eye(len(values))
        return float(-(y.T * mpmath.inverse(covariance) * y)[0] / 2 - mpmath.log(mpmath.det(covariance)) / 2)


@pytest.mark.parametrize("exact", [False, True])
def test_log_evidence_is_the_density_of_the_data(measured, exact):
    """That of all data; over that of the exact ones, where some are conditions."""
    basis, rows, values = measured
    own = Splines(basis)
    information, pull = rows.T @ rows / SD**2, rows.T @ values / SD**2
    some = slice(0, 4)
    conditions = {"k": (rows[some].T @ rows[some] / SD**2, -rows[some].T @ values[some] / SD**2)}
    problem = LinearisedProblem(information, -pull, {"k": own}, conditions if exact else {})
    found, expected = [], []
    for shape in SHAPES[:3]:
        for strength in STRENGTHS:
            hyperprior = own.log_hyperprior(shape, strength)
            found.append(problem.log_evidence({"k": Choice(shape, strength)}) - hyperprior)
            precision = strength * own.precision(shape)
            expected.append(density(rows, values, precision))
            expected[-1] -= density(rows[some], values[some], precision) if exact else 0.0
    assert np.subtract(found, found[0]) == pytest.approx(np.subtract(expected, expected[0]), abs=1e-2)


def test_integral_over_the_others(measured):
    """The integral of a normal density over one field after the others is that over all at once."""
    own, rng = Splines(measured[0]), np.random.default_rng(2)
    size = measured[0].size
    own.columns = slice(2, 2 + size)
    root, slope = rng.standard_normal((size + 5, size + 5)), rng.standard_normal(size + 5)
    curvature = root @ root.T + np.eye(size + 5)
    problem = LinearisedProblem(curvature, slope, {"k": own})

    def integral(square, pull):
        return pull @ np.linalg.solve(square, pull) / 2 - np.linalg.slogdet(square)[1] / 2

    square, pull, others = problem.without_others({"k": Choice(SHAPES[0], 1.0)}, "k")
    assert square.shape == (size, size)
    assert others + integral(square, pull) == pytest.approx(integral(curvature, slope))


def test_log_evidence_does_not_depend_on_where_it_is_linearised():
    """The quadratics of data and prior are the same about any coefficients, but for a constant."""
    lattice = Grid(Axis("x", -1.0, 1.0, 20))
    rng = np.random.default_rng(1)
    rows, values = rng.standard_normal((30, 20)), rng.standard_normal(30)
    curvature, choices = rows.T @ rows, [{"k": Choice(s, a)} for s in SHAPES for a in STRENGTHS]
    found = []
    for x in (np.zeros(20), rng.standard_normal(20)):
        own = LatticePrior(slice(0, 20), FieldPrior(lattice, "auto"), x, 1.0, 7)
        own.held = 1e-9  # what is held is held where the coefficients are
        problem = LinearisedProblem(curvature, curvature @ x - rows.T @ values, {"k": own})
        found.append(np.array([problem.log_evidence(c) for c in choices]))
    assert found[0] - found[0][0] == pytest.approx(found[1] - found[1][0], abs=1e-5)


@pytest.mark.slow
def test_hyperprior_is_a_half_cauchy_density_of_the_standard_deviation(measured):
    """Along the logarithm of a strength it integrates to one, but for its constant."""
    own = Splines(measured[0])
    logs = np.linspace(-60, 60, 4001)
    for shape in SHAPES[:3]:
        values = np.exp([own.log_hyperprior(shape, float(np.exp(x))) for x in logs])
        # Density of log sd is 2 s / pi / (1 + s^2), and log sd is minus half of the logarithm.
        assert np.trapezoid(values, logs) == pytest.approx(np.pi, rel=1e-3)
