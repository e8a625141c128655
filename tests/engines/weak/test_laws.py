"""Laws of the state by the weak form: sums, estimates, verdicts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp
from scipy.linalg import circulant

import mollifier as mf
from mollifier.engines.priors.field_prior import FieldPrior
from mollifier.engines.splines.basis import AxisSplines
from mollifier.engines.splines.laws import LawBasis
from mollifier.engines.weak.bases import basis_of
from mollifier.engines.weak.data import GridData
from mollifier.engines.weak.engine import _Run
from mollifier.engines.weak.estimate import Estimator
from mollifier.engines.weak.form import weak_form
from mollifier.engines.weak.integrands import Integrands
from mollifier.engines.weak.settings import WeakSettings
from mollifier.engines.weak.sums import WeakSums
from mollifier.engines.weak.testspace import space
from mollifier.engines.weak.tuning import DEFAULT
from mollifier.engines.weak.verdict import _moving
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.errors import EquationError
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.orders import Derivative
from mollifier.reporting.figures import unknown_figure
from tests.support.laws import diffusivity, growth, movie, observed, relative_error

BOTH = {"D": mf.FieldUnknown(), "f": mf.FieldUnknown()}
EQUATION = "u_t = dx(D(u)*u_x) + f(u)"


@pytest.fixture(scope="module")
def answer():
    """Diffusivity and growth from one movie with 2 % noise."""
    problem = mf.InverseProblem(EQUATION, observed(*movie()), BOTH)
    return problem, mf.solve(problem)


def sums_of(text, unknowns, values, variance):
    """The sums of an equation over given values of u on 24 x 20 nodes, and a test space."""
    grid = Grid(Axis("x", 0.0, 1.0, 24), Axis("t", 0.0, 1.0, 20))
    names = Names(("x", "t"), {"u": ("x", "t")}, unknowns)
    form = weak_form(parse(text, names))
    along = {"u": Axis("u", -0.5, 1.5, 9), "x": grid["x"]}
    bases = [LawBasis(n, {c: AxisSplines(along[c], 7, 5) for c in o}, grid) for n, o in unknowns.items()]
    data = GridData(grid, {"u": values}, {"u": np.asarray(variance)})
    return WeakSums(Integrands(form), data, bases), space(grid, {"x": 0.4, "t": 0.4}, {"x": 2, "t": 1}, 2.0)


def field(seed=0):
    """A smooth field on the nodes."""
    x, t = np.meshgrid(np.linspace(0, 1, 24), np.linspace(0, 1, 20), indexing="ij")
    return 0.5 + 0.4 * np.sin(4 * x + 2 * t)


def test_first_weights_of_a_law_are_alike_at_zero():
    """A law of zero leaves most of the noise out of the covariance: its first weights are all alike."""
    sums, tests = sums_of("u_t = f(u)", {"f": ("u",)}, field(), 1e-4)
    (law,) = sums.bases
    bounds = np.array([[-np.inf] * law.size, [np.inf] * law.size])
    estimator = Estimator(sums, {"f": FieldPrior(law.lattice, "auto")}, bounds)
    for level, alike in ((0.0, True), (0.3, False)):
        rows = estimator.normal(tests, np.full(law.size, level)).weights @ np.eye(tests.size)
        assert np.allclose(rows, np.eye(tests.size) * rows[0, 0], atol=1e-9 * rows.max()) is alike


@pytest.mark.parametrize(
    ("text", "unknowns"),
    [
        ("u_t = dx(D(u)*u_x) + f(u)", {"D": ("u",), "f": ("u",)}),
        ("u_t = u_xx + f(u, x)", {"f": ("u", "x")}),
        ("u_t = dx(u*D(u)*u_x)", {"D": ("u",)}),
    ],
)
def test_law_slopes_are_derivatives_of_the_residuals(text, unknowns):
    """Slopes by the coefficients, noise terms included, are those of finite differences, which are exact."""
    sums, tests = sums_of(text, unknowns, field(), 1e-3)
    rng = np.random.default_rng(1)
    at, step = rng.random(sums.size), rng.random(sums.size)
    rows = sums.rows(tests, at)
    moved = sums.rows(tests, at + step).residuals - rows.residuals
    np.testing.assert_allclose(rows.slopes @ step, moved, atol=1e-10 * np.abs(moved).max())


def test_law_rows_are_unbiased_by_noise():
    """The mean over noise of a law's rows is that of clean data: the bias of f(u + e) is subtracted."""
    clean, sd = field(), 0.08
    exact, tests = sums_of("u_t = f(u)", {"f": ("u",)}, clean, 0.0)
    coefficients = np.array([0.0, 1.0, -1.0, 2.0, -1.0, 1.0, 0.0])
    expected = exact.rows(tests, coefficients).residuals
    rng, raw, corrected = np.random.default_rng(2), 0.0, 0.0
    for noise in (sign * e for e in rng.standard_normal((60, *clean.shape)) for sign in (sd, -sd)):
        noisy = clean + noise
        data = replace(exact.data, values={"u": noisy})
        raw += WeakSums(exact.integrands, data, exact.bases).rows(tests, coefficients).residuals - expected
        data = replace(data, variances={"u": np.asarray(sd**2)})
        found = WeakSums(exact.integrands, data, exact.bases).rows(tests, coefficients)
        corrected += found.residuals - expected
    assert abs(corrected @ raw) < 0.1 * (raw @ raw)


def test_law_basis_combines_its_functions():
    """A law of state and place is the sum of its functions."""
    grid = Grid(Axis("x", 0.0, 1.0, 6), Axis("t", 0.0, 1.0, 5))
    splines = {"u": AxisSplines(Axis("u", 0.0, 1.0, 9), 6, 3), "x": AxisSplines(grid["x"], 5, 3)}
    law, rng = LawBasis("f", splines, grid), np.random.default_rng(0)
    env = {"u": rng.random((6, 5)), "x": grid["x"].points[:, None]}
    coefficients = rng.random(law.size)
    for d in (Derivative("f"), Derivative.of("f", {"u": -1}), Derivative.of("f", {"u": 1, "x": 1})):
        whole = sum(c * g for c, g in zip(coefficients, law.functions(d, env), strict=True))
        np.testing.assert_allclose(law.of_state(coefficients, d, env), whole, rtol=1e-12, atol=1e-12)


def test_solve_two_laws_of_one_movie(answer):
    """Diffusivity and growth together, over the values that the state takes, with intervals that hold."""
    _, solution = answer
    assert solution.status.name == "converged"
    assert solution.provenance["engine"] == "weak"
    assert solution.unknown_fields == ("D", "f")
    assert solution.states == ("u",)
    for name, truth in (("D", diffusivity), ("f", growth)):
        law, sd = solution.dataset[name], solution.dataset[f"{name}_sd"]
        assert law.dims == ("u_value",)
        assert relative_error(law, truth) < 0.05
        covered = np.abs(law.values - truth(law.u_value.values)) < 1.96 * sd.values
        assert covered.mean() > 0.85
    visits, u = solution.dataset["u_visits"], solution.dataset["u"]
    assert int(visits.sum()) == u.size
    assert float(visits.u_value[-1]) == float(u.max())


def test_law_that_still_moves_is_not_converged(answer):
    """A law that changes by more than its standard error in the last round of weights has not settled."""
    problem, _ = answer
    run = _Run(problem, WeakSettings())
    selection, fit = run.selection([1, 1]), SimpleNamespace()
    sums = selection.estimator.sums
    fit.covariance = np.eye(sums.size)
    for size, expected in ((0.0, None), (3.0, "step limit")):
        fit.moved = np.full(sums.size, size)
        status = _moving(fit, sums)
        assert (status and status.name) == expected


def test_law_of_state_and_place():
    """A source that depends on the state and on the place; it lies over both."""
    x, t, u = movie(reacts=False)
    problem = mf.InverseProblem(
        "u_t = dx(0.01*(1 + u)^2*u_x) + f(u, x)", observed(x, t, u), {"f": mf.FieldUnknown()}
    )
    form = weak_form(problem.system)
    basis = basis_of(problem, "f", problem.data.grid(), (0.5, 0.5), Integrands(form))
    assert tuple(basis.splines) == ("u", "x")
    assert basis.size == np.prod(basis.shape) <= DEFAULT.most_coefficients


def test_law_figure_shows_its_visits(answer):
    """The figure of a law has its band and the histogram of the values that the state takes."""
    figure = unknown_figure(answer[1], "D")
    shown = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert {"95 % interval", "estimated", "visits"} <= set(shown)


def test_law_solution_is_saved_and_read(answer, tmp_path):
    """A solution with laws is read back as it was."""
    _, solution = answer
    solution.save(tmp_path)
    again = mf.load_solution(tmp_path)
    xr.testing.assert_identical(again.dataset, solution.dataset)
    assert again.unknown_fields == ("D", "f")


def test_law_keeps_its_bounds_and_direction():
    """A law does not leave its bounds, and does not fall where it may only increase."""
    data = observed(*movie(reacts=False, nodes=201), noise=0.1)
    bound = {"D": mf.FieldUnknown(lower=0.012, upper=0.03, monotone="increasing")}
    law = mf.solve(mf.InverseProblem("u_t = dx(D(u)*u_x)", data, bound)).dataset["D"]
    assert float(law.min()) >= 0.012
    assert float(law.max()) <= 0.03
    assert float(law.diff("u_value").min()) > -1e-6


def test_two_laws_whose_sum_matters_are_undetermined():
    """Neither part of a sum is called found."""
    laws = {"f": mf.FieldUnknown(), "g": mf.FieldUnknown()}
    found = mf.solve(
        mf.InverseProblem("u_t = dx(0.01*(1 + u)^2*u_x) + f(u) + g(u)", observed(*movie()), laws)
    )
    assert found.status.name == "undetermined"


def test_law_beside_a_derivative_is_refused():
    """A law that no derivative can be moved past is refused, with the form that can be solved."""
    problem = mf.InverseProblem("u_t = D(u)*u_xx", observed(*movie(nodes=201)), {"D": mf.FieldUnknown()})
    with pytest.raises(EquationError, match=r"in '-D\*u_xx' onto.*Write laws inside of derivatives"):
        mf.solve(problem, "weak")


def test_missing_law_is_a_misfit():
    """A reaction that the equation lacks is not called a diffusivity."""
    problem = mf.InverseProblem("u_t = dx(D(u)*u_x)", observed(*movie(nodes=201)), {"D": mf.FieldUnknown()})
    assert mf.solve(problem).status.name == "misfit"


def test_functional_response_of_two_species():
    """One law in two ordinary differential equations: what a predator eats at each density of its prey."""
    t, rng = np.linspace(0, 60, 401), np.random.default_rng(0)

    def rate(_, y):
        eaten = y[0] * y[1] / (0.3 + y[0])
        return [y[0] * (1 - y[0]) - eaten, 0.8 * eaten - 0.3 * y[1]]

    u, v = solve_ivp(rate, (0, 60), [0.5, 0.3], t_eval=t, rtol=1e-9).y
    noisy = {n: ("t", y + 0.01 * y.std() * rng.standard_normal(401)) for n, y in (("u", u), ("v", v))}
    data = mf.Observations.from_dataset(xr.Dataset(noisy, {"t": t}))
    equations = "u_t = u*(1 - u) - g(u)*v; v_t = c*g(u)*v - 0.3*v"
    solution = mf.solve(mf.InverseProblem(equations, data, {"g": mf.FieldUnknown(), "c": mf.ScalarUnknown()}))
    assert solution.status.ok
    assert abs(solution.estimates["c"].value - 0.8) < 4 * solution.estimates["c"].sd
    assert relative_error(solution.dataset["g"], lambda u: u / (0.3 + u)) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_free_energy_of_cahn_hilliard(seed):
    """The chemical potential F(phi) of a fourth-order equation, up to a constant, at 1 % noise."""
    n, length = 256, 20.0
    x, h = np.arange(n) * length / n, length / n
    rng = np.random.default_rng(5)
    waves = [rng.normal() * np.cos(2 * np.pi * m * x / length + 6.3 * rng.random()) for m in range(1, 9)]
    start = 0.5 * sum(waves) / np.abs(sum(waves)).max()
    lap = circulant([-2.0, 1.0, *[0.0] * (n - 3), 1.0]) / h**2
    t = np.linspace(0, 6, 241)
    done = solve_ivp(
        lambda _, u: lap @ (u**3 - u - 0.16 * lap @ u), (0, 6), start, "BDF", t, rtol=1e-6, atol=1e-8,
        jac=lambda _, u: lap * (3 * u**2 - 1) - 0.16 * lap @ lap,
    )  # fmt: skip
    u = done.y[::2]
    noisy = u + 0.01 * np.sqrt(np.mean(u**2)) * np.random.default_rng(seed).standard_normal(u.shape)
    made = xr.Dataset({"phi": (("x", "t"), noisy)}, {"x": x[::2], "t": t})
    data = mf.Observations.from_dataset(made, noise={"phi": 0.01}, periodic={"x": length})
    unknown = {"F": mf.FieldUnknown()}
    law = mf.solve(mf.InverseProblem("phi_t = lap(F(phi) - 0.16*phi_xx)", data, unknown)).dataset["F"]
    assert "free up to a constant" in law.attrs["comment"]
    assert relative_error(law - law.mean(), lambda p: p**3 - p - np.mean(p**3 - p)) < 0.05
