"""Sums over the data: rows, slopes, and what noise does to products of sums."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest

from mollifier.engines.linalg.blocks import BlockInverse
from mollifier.engines.splines.basis import AxisSplines, Basis
from mollifier.engines.weak.data import GridData
from mollifier.engines.weak.form import weak_form
from mollifier.engines.weak.integrands import Integrands
from mollifier.engines.weak.sums import WeakSums
from mollifier.engines.weak.testspace import space
from mollifier.engines.weak.tuning import WeakTuning
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.mollify.grid import Axis, Grid
from weak_axes import SPLINES, dense

NAMES = Names(
    ("x", "t"),
    {"u": ("x", "t"), "v": ("x", "t")},
    {"a": (), "b": (), "k": ("x",)},
    {"s": ("x", "t")},
)
SYSTEMS = {
    "numbers": "u_t + a*u*u_x = b*u_xx",
    "a field": "u_t = div(k*grad(u)) + a*s*u",
    "two equations": "u_t = a*u_xx - u*v + s; v_t = b*v_xx + a*b*u^2",
    "a product of a field and a number": "u_t = a*k*u + b*v_x; v_t = k*u^2",
}


def problem(name, noise=0.3, sizes=(9, 6), density=3.0):
    """Sums over a small grid with uneven variances, coefficients, and the true fields."""
    form = weak_form(parse(SYSTEMS[name], NAMES))
    x, t = Axis("x", 0.0, 1.0, sizes[0]), Axis("t", 0.0, 1.0, sizes[1])
    grid = Grid(x, t)
    mesh = np.meshgrid(x.points, t.points, indexing="ij")
    true = {"u": 1 + np.sin(2 * mesh[0] + mesh[1]), "v": np.cos(mesh[0] * mesh[1] + 1)}
    known = {"s": 1 + mesh[0] ** 2 + mesh[1], "s_x": 2 * mesh[0]}
    variances = {n: noise**2 * (1 + mesh[0] * mesh[1]) for n in form.fields}
    measured = GridData(grid, {n: true[n] for n in form.fields} | known, variances)
    unknown = [n for n in "abk" if any(d.field == n for d in form.unknowns)]
    bases = [Basis(n, {"x": AxisSplines(x, 5, 3)} if n == "k" else {}, grid) for n in unknown]
    sums = WeakSums(Integrands(form), measured, bases)
    coefficients = 0.5 + np.random.default_rng(5).random(sums.size)
    orders = {c: max(ch.orders[i] for ch in form.channels) for i, c in enumerate(grid.names)}
    tests = space(grid, {"x": 0.4, "t": 0.5 if orders["t"] else 0.0}, orders, density)
    return sums, tests, coefficients, true


def with_values(sums, values):
    m = sums.data
    return WeakSums(sums.integrands, GridData(m.grid, {**m.values, **values}, m.variances), sums.bases)


@pytest.mark.parametrize("name", SYSTEMS)
def test_rows_projections(name):
    """Residuals are projections of the integrands onto the test functions."""
    sums, tests, coefficients, _ = problem(name, noise=0.0)
    rows = sums.rows(tests, coefficients)
    env = sums.data.env(slice(None))
    for u in sums.form.unknowns:
        basis = next(b for b in sums.bases if b.name == u.field)
        env[u.name] = basis.evaluate(coefficients[sums.place[u.field]], u)
    expected = np.zeros((sums.equations, tests.size))
    for c in sums.form.channels:
        f = ArrayFunction(c.integrand)(env)
        expected[c.equation] += dense(tests, c.orders) @ np.broadcast_to(f, sums.data.grid.shape).ravel()
    np.testing.assert_allclose(rows.residuals, expected.ravel(), atol=1e-11 * np.abs(expected).max())
    assert not sums.variances(tests, coefficients).any()


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("density", [3.0, SPLINES])
def test_rows_slopes(name, density):
    """Central differences; exact but for rounding, for residuals of second degree in the unknowns."""
    sums, tests, coefficients, _ = problem(name, density=density)
    slopes = sums.rows(tests, coefficients).slopes
    step = 1e-2
    for i, e in enumerate(np.eye(sums.size)):
        up, down = (sums.rows(tests, coefficients + d * step * e).residuals for d in (1, -1))
        np.testing.assert_allclose(
            slopes[:, i], (up - down) / (2 * step), atol=1e-10 * np.abs(slopes).max() + 1e-10
        )


@pytest.mark.parametrize("name", SYSTEMS)
def test_covariance_consistent(name):
    """Variances and the score's covariance are those of the whole covariance."""
    sums, tests, coefficients, _ = problem(name)
    whole = np.eye(sums.equations * tests.size)
    covariance = sums.covariance(tests, coefficients) @ whole
    np.testing.assert_allclose(covariance, covariance.T)
    size = 1e-11 * np.abs(covariance).max()
    np.testing.assert_allclose(
        sums.covariance(tests, coefficients, smoothed=True).diagonal,
        sums.variances(tests, coefficients),
        atol=size,
    )
    weighted = np.random.default_rng(6).standard_normal((len(covariance), 3))
    expected = weighted.T @ covariance @ weighted
    np.testing.assert_allclose(
        sums.score_covariance(tests, coefficients, weighted), expected, atol=1e-11 * np.abs(expected).max()
    )


def hermite(sums):
    """Points and weights of a mean over normal noise of every field; exact for polynomials of degree 11."""
    z, w = np.polynomial.hermite_e.hermegauss(6)
    fields = sums.form.fields
    points = np.stack(np.meshgrid(*[z] * len(fields), indexing="ij"), -1).reshape(-1, len(fields))
    weights = reduce(np.multiply.outer, [w / w.sum()] * len(fields)).ravel()
    return [
        (weight, dict(zip(fields, point, strict=True))) for weight, point in zip(weights, points, strict=True)
    ]


def moved(sums, true, z, node=slice(None)):
    """The sums with values off by z standard errors, everywhere or at one node."""
    values = {n: v.copy() for n, v in true.items() if n in sums.form.fields}
    for n, v in values.items():
        v.flat[node] += z[n] * np.sqrt(sums.data.variances[n].flat[node])
    return with_values(sums, values)


def exact_covariances(sums, tests, coefficients, true, *weights):
    """Of the rows with each other, and what noise adds to G'Wr and G'WG.

    Rows and slopes are sums over nodes, whose noise is independent: the covariances of one node's parts,
    found with all others held, add up.
    """

    def products(r, g):
        return [np.outer(r, r), *(part for w in weights for part in (g.T @ w @ r, g.T @ w @ g))]

    total: list = [0.0] * (1 + 2 * len(weights))
    for node in range(sums.data.grid.size):
        means, found = [0.0, 0.0], [0.0] * len(total)
        for share, z in hermite(sums):
            rows = moved(sums, true, z, node).rows(tests, coefficients)
            r, g = rows.residuals, rows.slopes
            means = [m + share * value for m, value in zip(means, (r, g), strict=True)]
            found = [f + share * value for f, value in zip(found, products(r, g), strict=True)]
        apart = zip(total, found, products(*means), strict=True)
        total = [t + f - value for t, f, value in apart]
    return total


@pytest.mark.parametrize("density", [3.0, SPLINES])
@pytest.mark.parametrize("name", SYSTEMS)
def test_bias_exact_for_polynomials(name, density):
    """Integrands are polynomials of the fields: Gauss-Hermite quadrature leaves rounding only.

    Of weights on the diagonal alone, and of a whole matrix of them; the bias is that of numbers.
    """
    sums, tests, coefficients, true = problem(name, sizes=(6, 3), density=density)
    rng, count = np.random.default_rng(8), sums.equations * tests.size
    diagonal, half = rng.random(count), rng.standard_normal((count, count))
    whole = half @ half.T
    weights = diagonal, BlockInverse.whole(whole)
    expected = exact_covariances(sums, tests, coefficients, true, np.diag(diagonal), whole)
    found = [0.0] * len(expected)
    for share, z in hermite(sums):
        one = moved(sums, true, z)
        parts = [one.covariance(tests, coefficients) @ np.eye(count)]
        parts += [part for w in weights for part in one.bias(tests, coefficients, w)]
        found = [f + share * p for f, p in zip(found, parts, strict=True)]
    numbers = [sums.place[b.name].start for b in sums.bases if not b.splines]
    for i, (f, w) in enumerate(zip(found, expected, strict=True)):
        here = np.ix_(*[numbers] * f.ndim) if i else ...
        np.testing.assert_allclose(f[here], w[here], atol=1e-9 * np.abs(w).max())
    assert np.abs(expected[1]).max() > 0


@pytest.mark.parametrize("name", SYSTEMS)
def test_rows_unbiased(name):
    """The mean of residuals and slopes over the noise is that without noise."""
    sums, tests, coefficients, true = problem(name)
    clean = with_values(sums, true)
    clean = WeakSums(
        clean.integrands,
        GridData(clean.data.grid, clean.data.values, {n: np.zeros(()) for n in sums.form.fields}),
        clean.bases,
    ).rows(tests, coefficients)
    means = [0.0, 0.0]
    for weight, z in hermite(sums):
        rows = moved(sums, true, z).rows(tests, coefficients)
        means = [m + weight * p for m, p in zip(means, (rows.residuals, rows.slopes), strict=True)]
    for mean, expected in zip(means, (clean.residuals, clean.slopes), strict=True):
        np.testing.assert_allclose(mean, expected, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("name", SYSTEMS)
def test_slabs_sum(name):
    """Sums over slabs add up to the sums over the grid."""

    def everything(values):
        sums, tests, coefficients, _ = problem(name, density=SPLINES)
        data = replace(sums.data, tuning=WeakTuning(slab_values=values))
        sums = WeakSums(sums.integrands, data, sums.bases)
        assert (len(data.slabs) > 2) == (values < 100)
        rows = sums.rows(tests, coefficients)
        weights = np.linspace(1, 2, len(rows.residuals))
        columns = np.outer(weights, [1.0, 0.5])
        columns[::2, 1] = 0.0
        return [
            rows.residuals,
            rows.slopes,
            sums.variances(tests, coefficients),
            sums.covariance(tests, coefficients).entries,
            *sums.bias(tests, coefficients, weights),
            *sums.bias(tests, coefficients, BlockInverse.whole(np.diag(weights))),
            sums.score_covariance(tests, coefficients, columns),
        ]

    for a, b in zip(everything(20), everything(400_000), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12 * np.abs(b).max())
