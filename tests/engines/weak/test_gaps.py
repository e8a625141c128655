"""The weak engine on data with wide gaps and windows, given radii, and what SymPy costs."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
import xarray as xr

from mollifier.data.observations import Observations
from mollifier.engines.solve import solve
from mollifier.engines.splines.basis import AxisSplines, Basis
from mollifier.engines.weak.data import GridData
from mollifier.engines.weak.form import VARIANCE, weak_form
from mollifier.engines.weak.gaps import wide
from mollifier.engines.weak.integrands import Integrands
from mollifier.engines.weak.prepare import grid_data
from mollifier.engines.weak.testspace import space
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.errors import ConfigurationError, DataError
from mollifier.mollify.grid import Axis, Grid
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown

N, NOISE = 30, 0.02
SIDE, TIME = np.linspace(0, 3, N), np.linspace(0, 1, 16)
X, Y, T = np.meshgrid(SIDE, SIDE, TIME, indexing="ij")
DISC = np.hypot(X - 1.5, Y - 1.5) < np.sqrt(0.58 * 9 / np.pi)
GRID = Grid(Axis("x", 0.0, 3.0, N), Axis("y", 0.0, 3.0, N), Axis("t", 0.0, 1.0, 16))


def heat():
    """u_t = 0.1 lap(u), three modes that decay."""
    return (
        np.exp(-1.3 * T) * np.sin(3 * X + 0.3) * np.cos(2 * Y)
        + 0.6 * np.exp(-1.7 * T) * np.cos(X - 0.5) * np.sin(4 * Y + 1)
        + 0.4 * np.exp(-2.5 * T) * np.sin(4 * X) * np.sin(3 * Y)
    )


def noisy(values, seed=0, noise=NOISE):
    sd = noise * np.sqrt(np.mean(values**2))
    return values + sd * np.random.default_rng(seed).standard_normal(values.shape), sd


def posed(values, sd, equation="u_t = D*lap(u)", unknowns=None, **known):
    variables = {"u": (("x", "y", "t"), values), "sd": (("x", "y", "t"), np.full(values.shape, sd))}
    variables |= {n: (("x", "y"), v) for n, v in known.items()}
    data = xr.Dataset(variables, {"x": SIDE, "y": SIDE, "t": TIME})
    observed = Observations.from_dataset(data, noise={"u": "sd"})
    return InverseProblem(equation, observed, unknowns or {"D": ScalarUnknown()}, fields=["u"])


@pytest.mark.slow
def test_disc_errors():
    """With 45 % of a box outside of a disc the errors are those of the nodes that are left."""
    assert 0.43 < 1 - DISC.mean() < 0.47
    whole, part = [], []
    for seed in range(3):
        values, sd = noisy(heat(), seed)
        whole.append(solve(posed(values, sd), "weak").estimates["D"])
        found = solve(posed(np.where(DISC, values, np.nan), sd), "weak")
        assert found.status.ok, found.status
        part.append(found.estimates["D"])
    assert all(abs(e.value - 0.1) < 4 * e.sd for e in part)
    errors = [np.sqrt(np.mean([(e.value - 0.1) ** 2 + e.sd**2 for e in es])) for es in (part, whole)]
    # Half the nodes, and no test function across the edge; filled outside, it was off by tens of per cent.
    assert errors[0] < 4.5 * errors[1]
    assert errors[0] < 0.006 * 0.1


def test_disc_outside_unused():
    """Sums do not depend on values outside of the disc."""
    values, sd = noisy(heat())
    problem = posed(np.where(DISC, values, np.nan), sd)
    data = grid_data(problem, weak_form(problem.system))
    assert data.gaps is not None
    outside = ~DISC[..., 0]
    np.testing.assert_array_equal(data.gaps.all(2), outside)
    tests = space(GRID, {"x": 0.4, "y": 0.4, "t": 0.3}, {"x": 2, "y": 2, "t": 1}, 3.0, data.gaps)
    assert 0 < tests.size < np.prod(tests.shape)
    changed = np.where(data.gaps, 1e3, 0.0)
    scale = tests.project(np.abs(data.values["u"]), (0, 0, 0)).max()
    assert np.abs(tests.project(changed, (0, 0, 0))).max() < 1e3 * 1e-3 * scale


@pytest.mark.slow
def test_disc_field():
    """u_t = k(x, y) u."""
    k = np.sin(SIDE)[:, None] * np.cos(SIDE)
    values, sd = noisy(np.exp(k[:, :, None] * T))
    values = np.where(DISC, values, np.nan)
    unknown = {"k": FieldUnknown(over=("x", "y"), prior="h2")}
    found = solve(posed(values, sd, "u_t = k*u", unknown), "weak")
    inside = DISC[..., 0]
    error = (found.dataset["k"].values - k)[inside]
    assert found.status.ok, found.status
    assert np.linalg.norm(error) < 0.15 * np.linalg.norm(k[inside])
    assert np.isnan(found.dataset["u"].values[~inside]).all()
    assert np.isfinite(found.dataset["u"].values[inside]).all()


def test_space_with_gaps():
    """Sums, pairs and the adjoint are those of the test functions that are kept."""
    rng = np.random.default_rng(0)
    grid = Grid(Axis("x", 0.0, 1.0, 40), Axis("t", 0.0, 1.0, 30))
    gaps = np.zeros(grid.shape, dtype=bool)
    gaps[25:, 18:] = True
    radius, orders = {"x": 0.2, "t": 0.2}, {"x": 2, "t": 1}
    full, cut = space(grid, radius, orders, 2.0), space(grid, radius, orders, 2.0, gaps)
    kept = cut.kept.ravel()
    assert 0 < cut.size == kept.sum() < full.size
    values, rows = rng.standard_normal(grid.shape), rng.standard_normal(cut.size)
    a, b = (2, 0), (0, 1)
    np.testing.assert_allclose(cut.project(values, a), full.project(values, a)[kept])
    assert np.isclose(rows @ cut.project(values, a), np.sum(values * cut.adjoint(rows, a)))
    np.testing.assert_allclose(cut.squared([(values, a, b)]), full.squared([(values, a, b)])[kept])
    dense = np.zeros((full.size, full.size))
    dense[full.pairs] = full.products([(values, a, b)])
    mine = np.zeros((cut.size, cut.size))
    mine[cut.pairs] = cut.products([(values, a, b)])
    np.testing.assert_allclose(mine, dense[np.ix_(kept, kept)])
    assert np.isnan(cut.lattice(rows, np.nan).ravel()[~kept]).all()


def test_wide_gaps():
    """Scattered gaps are not wide, the region beyond an edge is."""
    rng = np.random.default_rng(1)
    scattered = rng.random(GRID.shape) < 0.2
    assert not wide(scattered, GRID).any()
    np.testing.assert_array_equal(wide(~DISC, GRID), ~DISC)


def test_known_data_with_gaps():
    """Known data may be missing where the fields are, and at single nodes, but not in a wide gap."""
    values, sd = noisy(heat())
    inside = DISC[..., 0]
    known = np.where(inside, 1.0, np.nan)
    problem = posed(np.where(DISC, values, np.nan), sd, "s*u_t = s*D*lap(u)", s=known)
    found = solve(problem, "weak").estimates["D"]
    assert abs(found.value - 0.1) < 4 * found.sd
    known[N // 2, N // 2] = np.nan
    bridged = solve(posed(np.where(DISC, values, np.nan), sd, "s*u_t = s*D*lap(u)", s=known), "weak")
    assert abs(bridged.estimates["D"].value - 0.1) < 4 * found.sd
    known[8:22, 8:22] = np.nan
    with pytest.raises(DataError, match="'s' have"):
        solve(posed(np.where(DISC, values, np.nan), sd, "s*u_t = s*D*lap(u)", s=known), "weak")


def test_basis_within_gaps():
    """Splines that reach no data are not counted."""
    splines = {c: AxisSplines(GRID[c], 15, 3) for c in ("x", "y")}
    basis = Basis("k", splines, GRID)
    left = np.zeros(GRID.shape, dtype=bool)
    left[:15] = True
    assert basis.within(None) == 15 * 15
    assert 8 * 15 <= basis.within(left) <= 9 * 15
    assert Basis("D", {}, GRID).within(left) == 1


def test_window_residuals():
    """Their variance is zero: the misfit of the others is what it is, and so is their number."""
    values, sd = noisy(heat())
    rise = np.clip((2.2 - SIDE) / 0.6, 0, 1)
    window = np.broadcast_to((rise**4 * (35 - 84 * rise + 70 * rise**2 - 20 * rise**3))[:, None], (N, N))
    data = posed(values + 0.1 * np.sin(40 * X + 30 * Y), sd, "w*(u_t - D*lap(u)) = 0", w=window)
    found = solve(data, "weak", settings={"collocation": {"radius": {"x": 0.3, "y": 0.3, "t": 0.2}}})
    assert found.provenance["misfit"] > 1.1  # the ripple is not noise, and 1 is what was said before
    tests = space(GRID, {"x": 0.4, "y": 0.4, "t": 0.3}, {"x": 2, "y": 2, "t": 1}, 3.0)
    half = np.zeros(tests.shape, dtype=bool)
    half[: tests.shape[0] // 2] = True
    every = tests.independent(np.ones(tests.size, dtype=bool), False)
    assert tests.independent(half.ravel(), False) == pytest.approx(every / 2, rel=0.1)
    assert tests.independent(half.ravel(), True) == half.sum()


def test_radius_too_small_error():
    values, sd = noisy(np.exp(np.sin(SIDE)[:, None, None] * T) + 0 * Y)
    unknown = {"k": FieldUnknown(over=("x", "y"))}
    problem = posed(values, sd, "u_t = k*u + 0*u_xxxx + 0*u_yyyy", unknown)
    with pytest.raises(ConfigurationError, match=r"makes [\d,]+ test functions.*larger radius"):
        solve(problem, "weak", settings={"collocation": {"radius": {"x": 0.05, "y": 0.05, "t": 0.01}}})


def many_channels():
    """A product of five known factors with a cubic under four derivatives."""
    names = Names(
        ("x", "y", "t"),
        {"u": ("x", "y", "t")},
        {"k": ("x", "y")},
        known={"w": ("x", "y")},
    )
    text = "w*(2*u_t - (lap(12.0*u^3 - 18.0*u^2 + 7.0*u) - 0.1*bilap(u) + k*(0.9 - u) - u)) = 0"
    return weak_form(parse(text, names))


def test_integrands_many_channels():
    """Known coefficients stay out of the expansions, which would have ten thousand terms."""
    form = many_channels()
    assert len(form.channels) > 10
    found = Integrands(form)
    assert found.instructions < 1500


def test_covariance_many_channels():
    """The covariance is that of the expressions multiplied out."""
    form = many_channels()
    u, s = sympy.symbols("u"), sympy.Symbol(VARIANCE.format("u"))
    f, g = form.channels[0].integrand, form.channels[-1].integrand
    names = sorted(map(str, (f * g).free_symbols | {s}))
    at = dict(zip(names, np.random.default_rng(0).uniform(0.5, 1.5, len(names)), strict=True))

    def averaged(e):
        found = [(-s / 2) ** n / sympy.factorial(n) * sympy.diff(e, u, 2 * n) for n in range(4)]
        return sympy.Add(*found)

    expected = averaged(f) * averaged(g) - averaged(sympy.expand(f * g))
    assert float(form.covariance(f, g).subs(at)) == pytest.approx(float(expected.subs(at)), rel=1e-9)


def test_thinned_gaps():
    gaps = np.zeros(GRID.shape, dtype=bool)
    gaps[10] = True
    data = GridData(GRID, {"u": heat()}, {"u": np.array(1.0)}, gaps).thinned([2, 1, 2])
    assert data.gaps is not None
    np.testing.assert_array_equal(data.gaps, gaps[::2, :, ::2])
