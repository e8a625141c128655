"""Priors of unknown fields in the joint engine: forms, what the evidence picks, whether intervals cover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.interpolate import BSpline
from scipy.signal import lfilter

import mollifier as mf
from mollifier.data.observations import Observations
from mollifier.engines.base import Request
from mollifier.engines.collocated.solve import prepare
from mollifier.engines.joint.engine import solve_joint
from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.joint.smoothing import Smoothing
from mollifier.engines.joint.spline import FieldPriors, values_maker
from mollifier.engines.joint.stages import Joint
from mollifier.engines.priors.field_prior import EdgePrior, FieldPrior
from mollifier.engines.priors.form import Form
from mollifier.engines.priors.search import PriorSearch
from mollifier.engines.priors.shapes import Choice, Shape
from mollifier.engines.priors.tuning import PriorTuning
from mollifier.errors import ConfigurationError
from mollifier.mollify.grid import Axis, Grid
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import validated
from mollifier.problem.unknowns import FieldUnknown

ORDERS, LENGTHS = PriorTuning().orders, PriorTuning().lengths
LINE = Grid(Axis("x", -1.0, 1.0, 25))
PLANE = Grid(Axis("x", -1.0, 1.0, 7), Axis("y", -1.0, 1.0, 6))
SMALL = validated(
    JointSettings, {"collocation": {"nodes": {"x": 33}}, "joint": {"cells": 20}, "held_out": 0.0}
)


@pytest.mark.parametrize("lattice", [LINE, PLANE])
@pytest.mark.parametrize("shape", [Shape(1), Shape(2), Shape(3, 0.5), Shape(4, LENGTHS[-1])])
def test_a_form_is_one_and_the_same_in_all_its_parts(lattice, shape):
    form = Form(lattice, shape)
    x = np.random.default_rng(0).standard_normal(lattice.size)
    rows = form.rows(x)
    assert rows @ rows == pytest.approx(x @ form.square @ x, rel=1e-9)
    np.testing.assert_allclose(
        form.gradient(x), form.square @ x, rtol=1e-7, atol=1e-7 * abs(form.square).max()
    )
    assert form.rows(np.ones(lattice.size)) == pytest.approx(0.0, abs=1e-6)
    values = np.linalg.eigvalsh(form.square)
    np.testing.assert_allclose(form.spectrum, values, atol=1e-10 * values[-1])


def test_a_form_is_that_of_the_derivatives():
    """Of a quadratic its second differences are its second derivative; of x*y the mixed one counts twice."""
    x, y = PLANE.coords().T
    assert np.sum(Form(PLANE, Shape(2)).rows(3 * x**2) ** 2) == pytest.approx(36.0)
    assert np.sum(Form(PLANE, Shape(2)).rows(x * y) ** 2) == pytest.approx(2.0)
    assert np.sum(Form(PLANE, Shape(1)).rows(2 * x - y) ** 2) == pytest.approx(5.0)


def test_kinds_leave_a_choice_or_none():
    assert list(FieldPrior(LINE, "h1").shapes) == [Shape(1)]
    assert list(FieldPrior(LINE, "auto", given=True).shapes) == [Shape(2)]
    free = FieldPrior(LINE, "auto").shapes
    assert len(list(free)) == len(ORDERS) * len(LENGTHS)
    assert set(free.neighbours(Shape(1, LENGTHS[0]))) == {Shape(1, LENGTHS[1]), Shape(2, LENGTHS[0])}


def drawn(order, length, rng, cells):
    """A field about 3, of unit variance, from a Matern prior: a cubic spline of so many cells over [0, 1]."""
    form = Form(Grid(Axis("x", -1 - 2 / cells, 1 + 2 / cells, cells + 3)), Shape(order, length))
    values, modes = np.linalg.eigh(form.square)
    shares = rng.standard_normal(cells + 2) / np.sqrt(values[1:] * form.variance)
    knots = np.arange(-3, cells + 4) / cells
    return BSpline(knots, 3.0 + modes[:, 1:] @ shares, 3)


def derivative(order, length, seed, noise=0.01, n=50, cells=20, **unknown):
    """u_x = k with k drawn from a prior; the problem and the true k."""
    rng = np.random.default_rng(seed)
    k = drawn(order, length, rng, cells)
    x = np.linspace(0, 1, n)
    seen = k.antiderivative()(x)
    sd = noise * seen.std()
    data = xr.Dataset({"u": ("x", seen + sd * rng.standard_normal(n))}, {"x": x})
    obs = Observations.from_dataset(data, noise={"u": float(sd)})
    return InverseProblem("u_x = k", obs, {"k": FieldUnknown(**unknown)}), k


def stage_of(problem, settings=SMALL):
    """A joint stage after the fit of the data."""
    cells = settings.joint.cells
    assert isinstance(cells, int)
    objective, _ = prepare(problem, settings, 0, values_maker({"x": cells}, settings.tuning))
    linearisation = FieldPriors(objective)
    fit = Smoothing(linearisation)
    fit.step()
    fit.close()
    return Joint(linearisation, 60, 1e-3)


def ended(stage):
    for _ in range(stage.steps):
        stage.step()
        if stage.finished:
            break
    return stage.linearisation.priors["k"].shape


def test_noisy_measurements_of_a_field_are_conditions_of_its_evidence():
    """Where they are the only information on a field, no prior is better than another but by its own."""
    x = np.linspace(0, 1, 30)
    data = Observations.from_dataset(xr.Dataset({"u": ("x", x)}, {"x": x}), noise=0.1)
    measured = mf.Observations({"k": 1 + x**2}, {"x": x}, noise={"k": 0.1})
    problem = InverseProblem("u_x = k", data, {"k": FieldUnknown(over=("x",), measurements=measured)})
    linear = stage_of(problem).bordered().linear
    curvature, slope = linear.conditions["k"]
    assert curvature.any()
    alone = replace(linear, curvature=np.zeros_like(linear.curvature), slope=np.zeros_like(linear.slope))
    here = linear.priors["k"].columns
    alone.curvature[here, here], alone.slope[here] = curvature, slope
    found = [
        alone.log_evidence({"k": c}) - linear.priors["k"].log_hyperprior(c.shape, c.strength)
        for c in (Choice(Shape(1, 1.0), 1.0), Choice(Shape(2, 0.3), 10.0))
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_shapes_are_sought_where_the_run_may_end(monkeypatch):
    """Steps that still lower the loss seek strengths alone, but for the first search of shapes."""
    joint, sought, improved = stage_of(derivative(1, 0.1, 6)[0]), [], PriorSearch.improved

    def noted(search, choices, shapes=True, **how):
        sought.append(shapes)
        return improved(search, choices, shapes, **how)

    monkeypatch.setattr(PriorSearch, "improved", noted)
    monkeypatch.setattr(Joint, "_adapt", lambda self: False)
    ended(joint)
    assert joint.outcome == "converged"
    assert sought[-1]
    assert sum(sought) == 2


@pytest.mark.slow
def test_the_evidence_tells_rough_fields_from_smooth_ones():
    settings = validated(JointSettings, {"collocation": {"nodes": {"x": 97}}, "joint": {"cells": 64}})
    rough, smooth = (
        [
            ended(stage_of(derivative(s, ell, i, noise=1e-3, n=100, cells=64)[0], settings)).order
            for i in range(5)
        ]
        for s, ell in ((1, 1.0), (4, 0.18))
    )
    assert np.median(rough) == 1
    assert np.median(smooth) >= 2


def covered(order, length, seed):
    """Shares of the points of one field drawn that lie within its 50, 80 and 95 % intervals."""
    problem, truth = derivative(order, length, seed)
    found = solve_joint(Request(problem, SMALL)).dataset
    z = np.abs(found["k"] - truth(found["x"])) / found["k_sd"]
    return [float(np.mean(z < q)) for q in (0.674, 1.282, 1.960)]


@pytest.mark.slow
def test_intervals_cover_fields_drawn_from_the_prior():
    """Whose order and length are drawn, as the average over them supposes."""
    rng = np.random.default_rng(0)
    drawn_shapes = [(ORDERS[i % 4], float(rng.choice(LENGTHS[2:]))) for i in range(50)]
    shares = np.mean([covered(s, ell, seed) for seed, (s, ell) in enumerate(drawn_shapes)], axis=0)
    np.testing.assert_allclose(shares, [0.5, 0.8, 0.95], atol=0.1)


def test_intervals_cover_the_first_of_these():
    """A state's prior that stayed where it began smoothed the field too, and these held 73 %."""
    rng = np.random.default_rng(0)
    drawn_shapes = [(ORDERS[i % 4], float(rng.choice(LENGTHS[2:]))) for i in range(12)]
    shares = [covered(s, ell, seed)[2] for seed, (s, ell) in enumerate(drawn_shapes)]
    assert np.mean(shares) > 0.87


def test_a_jump_is_better_under_the_gradient_than_under_the_curvature():
    """On as many nodes as are chosen; on few the spacing is most of both errors."""
    x = np.linspace(0, 1, 60)
    u = np.where(x < 0.5, x, 0.5 + 3 * (x - 0.5)) + 0.002 * np.random.default_rng(0).standard_normal(60)
    data = Observations.from_dataset(xr.Dataset({"u": ("x", u)}, {"x": x}), noise=0.002)
    errors = {}
    for prior in ("h1", "h2", "auto"):
        problem = InverseProblem("u_x = k", data, {"k": FieldUnknown(prior=prior)})
        k = solve_joint(Request(problem, JointSettings())).dataset["k"]
        errors[prior] = float(np.sqrt(np.mean((k - np.where(k["x"] < 0.5, 1.0, 3.0)) ** 2)))
    assert errors["h1"] < errors["h2"]
    assert errors["auto"] < 1.1 * errors["h1"]


def followed(seed: int, peak: bool) -> tuple[InverseProblem, np.ndarray]:
    """u_t = lam(t) - u with a lam that has a peak, or is smooth; 120 samples, 5 % noise."""
    fine = np.linspace(0, 3, 30_001)
    lam = 1 + (3 * np.exp(-(((fine - 1.2) / 0.08) ** 2)) if peak else 0.5 * np.sin(1.5 * fine))
    step = fine[1]
    u = lfilter([1 - np.exp(-step)], [1, -np.exp(-step)], np.append(0.0, lam[:-1])) + 0.3 * np.exp(-fine)
    t = np.linspace(0, 3, 120)
    v = np.interp(t, fine, u)
    v = v + 0.05 * np.sqrt(np.mean(v**2)) * np.random.default_rng(seed).standard_normal(120)
    data = Observations.from_dataset(xr.Dataset({"u": ("t", v)}, {"t": t}), noise=0.05)
    return InverseProblem("u_t = lam - u", data, {"lam": FieldUnknown(over="t")}), np.interp(t, fine, lam)


ONE_STRENGTH = {"tuning": {"priors": {"adapted": 1e9}}}


@pytest.mark.parametrize("seed", [20, pytest.param(21, marks=pytest.mark.slow)])
def test_strength_that_varies_follows_a_peak(seed):
    """Where a field is steeper than elsewhere its prior is weaker: less bias, and intervals that hold it."""
    problem, lam = followed(seed, peak=True)
    error, inside = {}, {}
    for name, settings in (("one", ONE_STRENGTH), ("varying", None)):
        found = mf.solve(problem, "joint", settings=settings).dataset.interp(t=problem.data.dataset["t"])
        distance = found["lam"].values - lam
        error[name] = np.sqrt(np.mean(distance**2))
        inside[name] = np.mean(np.abs(distance) < 1.96 * found["lam_sd"].values)
    assert error["varying"] < 0.95 * error["one"]
    assert inside["varying"] > 0.85
    assert inside["varying"] >= inside["one"]


def test_smooth_field_keeps_one_strength():
    problem, _ = followed(20, peak=False)
    varying, one = (mf.solve(problem, "joint", settings=s).dataset["lam"] for s in (None, ONE_STRENGTH))
    np.testing.assert_array_equal(varying, one)


def levels(seed: int, prior: str) -> tuple[InverseProblem, np.ndarray]:
    """u_t = lam(t) - u with a lam of three levels, integrated exactly between them."""
    t, edges, values = np.linspace(0, 3, 150), (1.1, 2.2), (0.5, 2.0, 1.2)
    lam = np.select([t < edges[0], t < edges[1]], values[:2], values[2])
    u, state = np.empty(150), 0.3
    for low, high, level in zip((0.0, *edges), (*edges, 3.1), values, strict=True):
        here = (t >= low) & (t < high)
        u[here] = level + (state - level) * np.exp(low - t[here])
        state = level + (state - level) * np.exp(low - high)
    noise = 0.01 * np.sqrt(np.mean(u**2))
    u = u + noise * np.random.default_rng(seed).standard_normal(150)
    data = Observations.from_dataset(xr.Dataset({"u": ("t", u)}, {"t": t}), noise=0.01)
    return InverseProblem("u_t = lam - u", data, {"lam": FieldUnknown(over="t", prior=prior)}), lam


@pytest.mark.parametrize("seed", [10, pytest.param(11, marks=pytest.mark.slow)])
def test_total_variation_keeps_edges(seed):
    """Levels are found better than under a quadratic prior, and their intervals hold them."""
    errors, inside = {}, 0.0
    for prior in ("h1", "tv"):
        problem, lam = levels(seed, prior)
        found = mf.solve(problem, "joint").dataset
        error = found["lam"].interp(t=problem.data.dataset["t"]).values - lam
        errors[prior] = np.sqrt(np.mean(error**2))
        inside = np.mean(np.abs(error) < 1.96 * found["lam_sd"].interp(t=problem.data.dataset["t"]).values)
    assert errors["tv"] < 0.9 * errors["h1"]
    assert inside > 0.85


def test_total_variation_is_refused_by_the_network_engine():
    with pytest.raises(ConfigurationError, match="takes auto or h2"):
        mf.solve(levels(0, "tv")[0], engine="network")


def test_total_variation_prior_weighs_an_edge_like_a_slope():
    """About a field, its energy is the sum of the sizes of the gradient, whatever their distribution."""
    lattice = Grid(Axis("x", -1.0, 1.0, 201))
    x = next(iter(lattice)).points
    energies = []
    for field in (x, np.where(x < 0.005, -1.0, 1.0)):
        prior = EdgePrior(lattice)
        prior.about(field)
        rows = prior.form(prior.shape).rows(field)
        gradient = np.diff(field) / (x[1] - x[0])
        energies.append(float(rows @ rows) / np.sqrt(np.mean(gradient**2)))
    assert energies[1] == pytest.approx(energies[0], rel=0.1)


def test_failed_steps_are_damped_further_before_a_run_ends_stalled():
    """Damping that has come down needs more than one step's tries to go up to where a step gains."""
    stage = stage_of(derivative(2, 0.4, 0)[0])
    stage.weight, stage.damping = 100.0, 1e-11
    tried = []

    def losses(nodes):
        # As if nothing but a step hardly longer than none would lower the loss.
        found = Joint._losses(stage, nodes)
        moved = max(float(np.abs(a - b).max()) for a, b in zip(nodes, kept, strict=True))
        tried.append(stage.damping)
        return found | {"loss": found["loss"] + 1e6 * max(moved - 1e-3, 0.0)}

    for _ in range(3):
        kept = stage.node_values()
        stage._losses = losses
        stage.step()
    assert max(tried) > 1e-3
    assert stage.outcome != "stalled"
    stage._whole, stage.damping = 1.0, stage.tuning.most_damping
    stage._judge_failure(1.0, 1.0)
    assert stage.outcome == "stalled"
