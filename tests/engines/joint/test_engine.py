"""The joint engine: answers that are known, agreement with another method, and what a run must keep."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import xarray as xr
from scipy.integrate import solve_bvp
from scipy.optimize import least_squares

import mollifier as mf
from benchmarks.cases.ill_posed import questions
from benchmarks.cases.registry import case
from benchmarks.trust.study import Plan, trial
from engine_problems import agreement_problems, conductivity_of_x, gridded, heat, noisy, three_coordinates
from mollifier.data.observations import Observations
from mollifier.engines.collocated.solve import prepare
from mollifier.engines.joint.engine import _finer
from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.joint.smoothing import Smoothing
from mollifier.engines.joint.spline import FieldPriors, values_maker
from mollifier.engines.joint.stages import Joint
from mollifier.engines.joint.system import Bordered
from mollifier.engines.linalg.banded import BandedCholesky, NotPositiveError, banded_order
from mollifier.errors import ConfigurationError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import validated
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown

solve = partial(mf.solve, engine="joint")
FEW = {"collocation": {"max_nodes": 300}}


def rate(x):
    return 0.1 + np.exp(-0.5 * (x - 0.5) ** 2 / 0.15**2)


def reaction(noise, n=200, seed=0, **unknown):
    """D u_xx - k(x) u = sin(2 pi x), u = 0 at both ends, solved by SciPy on its own mesh."""

    def slopes(x, y):
        return np.stack([y[1], (rate(x) * y[0] + np.sin(2 * np.pi * x)) / 0.01])

    ends = solve_bvp(slopes, lambda a, b: np.array([a[0], b[0]]), np.linspace(0, 1, 500), np.zeros((2, 500)))
    x = np.linspace(0, 1, n)
    data = xr.Dataset({"u": ("x", noisy(ends.sol(x)[0], noise, seed))}, {"x": x})
    obs = Observations.from_dataset(data, noise=max(noise, 1e-6))
    return InverseProblem("D*u_xx - k*u = sin(2*pi*x)", obs, {"k": FieldUnknown(**unknown)}, {"D": 0.01})


def relative(solution, name, truth):
    found = solution.dataset[name]
    mesh = np.meshgrid(*(found[c].values for c in found.dims), indexing="ij")
    exact = truth(*mesh)
    return float(np.linalg.norm(found.values - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize(
    ("noise", "most"),
    [
        (0.0, 0.01),
        (0.05, 0.15),
        pytest.param(0.01, 0.065, marks=pytest.mark.slow),
        pytest.param(0.1, 0.30, marks=pytest.mark.slow),
    ],
)
def test_a_field_in_one_dimension(noise, most):
    errors = [relative(solve(reaction(noise, seed=s)), "k", rate) for s in range(3 if noise else 1)]
    assert np.mean(errors) < most


def test_a_number_from_scattered_data():
    solution = solve(heat(400, 0.01))
    d = solution.estimates["D"]
    assert solution.status.ok
    assert abs(d.value - 0.1) < 4 * d.sd < 0.004
    assert solution.provenance["engine"] == "joint"
    assert np.abs(solution.dataset["residual"]).max() < 1e-2


def test_sparse_noisy_data():
    """Thirty measurements with a fifth of noise."""
    d = solve(heat(30, 0.2), settings=FEW).estimates["D"]
    assert abs(d.value - 0.1) < 4 * d.sd < 0.4


def test_twelve_sensors_of_little_noise_end_in_the_smooth_state():
    """Through sensors far apart, a state that oscillates between them fits nearly as well with a wrong D."""
    found = trial(Plan("white", "0.001", "few", "joint"), 22)
    assert found.status == "converged"
    assert abs(found.scores["D"][0]) < 3
    assert np.mean(np.abs(found.scores["r"]) < 1.96) > 0.9


def test_a_system_with_two_fields():
    x, t = np.random.default_rng(0).random((2, 300))
    phase = np.sqrt(2.0) * t + x
    values = {"u": noisy(np.sqrt(2.0) * np.sin(phase), 0.01, 1), "v": noisy(np.cos(phase), 0.01, 2)}
    data = Observations(values=values, points={"x": x, "t": t}, noise=0.01)
    problem = InverseProblem("u_t = a*v; v_t = -b*u", data, {"a": ScalarUnknown(), "b": ScalarUnknown()})
    solution = solve(problem, settings=FEW)
    for name, truth in {"a": 2.0, "b": 1.0}.items():
        e = solution.estimates[name]
        assert abs(e.value - truth) < 4 * e.sd < 0.1


def test_a_field_over_one_of_two_coordinates_keeps_its_bounds():
    solution = solve(conductivity_of_x(400))
    k, sd = solution.dataset["k"], solution.dataset["k_sd"]
    assert k.dims == ("x",)
    assert float(k.min()) > 0
    assert relative(solution, "k", lambda x: 0.2 + 0.1 * x) < 0.03
    assert np.all(np.isfinite(sd))
    assert np.all(sd > 0)


def test_bounds_are_kept_where_the_data_would_break_them():
    d = solve(heat(200, 0.01, lower=0.11), settings=FEW).estimates["D"]
    assert 0.11 <= d.value < 0.1101


@pytest.mark.parametrize("replicates", [0, 2])
def test_gridded_data_with_gaps(replicates):
    def values(x, t):
        return np.exp(-0.9 * t) * np.sin(3 * x) + 0.5 * np.exp(-2.5 * t) * np.cos(5 * x)

    data = gridded(values, gaps=0.3, replicates=replicates)
    d = solve(InverseProblem("u_t = D*u_xx", data, {"D": ScalarUnknown()}), settings=FEW).estimates["D"]
    assert abs(d.value - 0.1) < 4 * d.sd < 0.01


def test_three_coordinates():
    solution = solve(three_coordinates(150), settings={"collocation": {"nodes": {"x": 6, "y": 5, "t": 5}}})
    d = solution.estimates["D"]
    assert abs(d.value - 0.1) < 4 * d.sd < 0.2


def test_an_equation_nonlinear_in_the_unknown():
    x, t = np.random.default_rng(1).random((2, 300))
    u = 1 / (1 + np.exp(-(x - 0.5 * t) / 0.2))
    data = Observations(values={"u": noisy(u, 0.01)}, points={"x": x, "t": t}, noise=0.01)
    # A wave of speed c: u_t = -c u_x, with c = sqrt(a).
    problem = InverseProblem("u_t = -sqrt(a)*u_x", data, {"a": ScalarUnknown(lower=0.0)})
    a = solve(problem, settings=FEW).estimates["a"]
    assert abs(a.value - 0.25) < 4 * a.sd < 0.1


@pytest.mark.parametrize("name", list(agreement_problems()))
def test_normal_equations_are_those_of_the_dense_slopes(name):
    """The step solves J'J dx = -J'r with J by finite differences of all the residual rows."""
    problem = agreement_problems()[name]
    few = dict.fromkeys(problem.coordinates, 5 if len(problem.coordinates) == 3 else 7)
    stage = _stage(problem, {"collocation": {"nodes": few}, "joint": {"cells": 3}})
    stage.weight = 1.0
    start = stage.parameters()
    stage.set_parameters(start + 0.1 * torch.randn(start.shape, generator=torch.manual_seed(0)))
    start, nodes = stage.parameters(), stage.node_values()
    system = Bordered(stage.linearisation, stage.layout, nodes, 1.0, stage.tuning)
    direction = torch.randn(start.shape, dtype=torch.float64, generator=torch.manual_seed(1))
    loss = []
    for sign in (-1, 1):
        stage.set_parameters(start + sign * 1e-5 * direction)
        loss.append(stage._losses(stage.node_values())["loss"])
    slope = (loss[1] - loss[0]) / 2e-5
    assert 2 * float(system.gradient @ direction) == pytest.approx(slope, rel=1e-4, abs=1e-6 * abs(loss[0]))
    move = system.solve(0.0)
    assert float(system.gradient @ move) < 0


def _stage(problem, settings):
    """A joint stage after the fit of the data."""
    chosen = validated(JointSettings, settings)
    objective, _ = prepare(problem, chosen, 0, values_maker(problem_cells(problem, chosen), chosen.tuning))
    linearisation = FieldPriors(objective)
    fit = Smoothing(linearisation)
    fit.step()
    fit.close()
    return Joint(linearisation, 50, 1e-3)


def problem_cells(problem, settings):
    return dict.fromkeys(problem.coordinates, settings.joint.cells) if settings.joint.cells else {}


def test_the_estimate_is_that_of_an_independent_least_squares():
    """u = A exp(-k t) fitted by SciPy: the limit in which u_t = -k u holds exactly."""
    t = np.linspace(0, 2, 60)
    u = noisy(3 * np.exp(-0.8 * t), 0.05)
    data = Observations(values={"u": u}, points={"t": t}, noise=0.05)
    problem = InverseProblem("u_t = -k*u", data, {"k": ScalarUnknown()})
    independent = {"most_correlated": 0}  # 60 residuals do not show white noise: 1.19 times the error
    estimate = solve(problem, settings={"held_out": 0.0, "tuning": independent}).estimates["k"]
    sd = data.noise_sd("u")
    fit = least_squares(lambda p: (p[0] * np.exp(-p[1] * t) - u) / sd, [1.0, 1.0])
    spread = np.sqrt(np.linalg.inv(fit.jac.T @ fit.jac)[1, 1])
    assert abs(estimate.value - fit.x[1]) < 0.1 * spread
    assert estimate.sd == pytest.approx(spread, rel=0.1)


@pytest.mark.slow
def test_intervals_cover():
    t = np.linspace(0, 2, 40)
    inside = []
    settings = {"collocation": {"nodes": {"t": 33}}, "held_out": 0.0}
    for seed in range(100):
        data = Observations(
            values={"u": noisy(3 * np.exp(-0.8 * t), 0.05, seed)}, points={"t": t}, noise={"u": 0.05}
        )
        problem = InverseProblem("u_t = -k*u", data, {"k": ScalarUnknown()})
        low, high = solve(problem, settings=settings).estimates["k"].interval(0.95)
        inside.append(low < 0.8 < high)
    assert 90 <= np.sum(inside) <= 99


def test_order_of_convergence():
    """Clean data: the error of the estimate falls at least as the fourth power of the cell."""
    t = np.linspace(0, 2, 400)
    data = Observations(values={"u": np.exp(-3 * t) + 0.2}, points={"t": t}, noise={"u": 1e-8})
    problem = InverseProblem("u_t = -k*(u - 0.2)", data, {"k": ScalarUnknown()})
    errors = []
    for nodes in (9, 17):
        settings = {"collocation": {"nodes": {"t": nodes}}, "held_out": 0.0}
        errors.append(abs(solve(problem, settings=settings).estimates["k"].value - 3))
    assert errors[0] / errors[1] > 16


def test_the_equation_is_not_forced_on_data_that_contradict_it():
    x, t = np.random.default_rng(0).random((2, 400))
    data = Observations(
        values={"u": noisy(np.sin(9 * x) * np.cos(7 * t), 0.01)}, points={"x": x, "t": t}, noise=0.01
    )
    solution = solve(InverseProblem("u_t = D*u_xx", data, {"D": ScalarUnknown()}))
    assert "cannot hold" in solution.status.message
    assert solution.misfit["u"]["fitted"] < 10


def test_a_prior_too_stiff_for_the_answer_does_not_keep_the_equation_out():
    """Fifteen waves, which the prior at the beginning does not let through."""
    made = case("langevin", forcing="fast")
    solution = solve(made.problem(0.05))
    assert solution.status.ok
    assert made.errors(solution)["lam"] < 0.15


def test_smoothness_that_is_given_is_kept():
    stiff = solve(reaction(0.05, smoothness=100.0)).dataset["k"].values
    free = solve(reaction(0.05, smoothness=1e-6)).dataset["k"].values
    bend = [np.abs(np.diff(k, 2)).max() for k in (stiff, free)]
    assert bend[0] < 0.1 * bend[1]


class Stop(Exception):  # noqa: N818
    pass


def test_resume_equals_an_unbroken_run(tmp_path):
    problem = conductivity_of_x(150)
    settings = {**FEW, "training": {"checkpoint_every": 1e-9}}
    whole = solve(problem, settings=settings)
    assert len(whole.history["step"]) > 4

    def interrupt(p):
        if p.stage == "joint" and p.step == 3:
            raise Stop

    with pytest.raises(Stop):
        solve(problem, settings=settings, folder=tmp_path, progress=interrupt)
    resumed = solve(problem, settings=settings, folder=tmp_path, resume=True)
    xr.testing.assert_identical(resumed.dataset, whole.dataset)
    assert resumed.estimates == whole.estimates


def test_limits_and_progress():
    seen = []
    solution = solve(heat(100), settings={**FEW, "training": {"steps": 2}}, progress=seen.append)
    assert [p.stage for p in seen] == ["fit", "joint", "joint"]
    assert all(p.engine == "joint" for p in seen)
    assert solution.status.name == "step limit"
    assert solve(heat(100), settings={**FEW, "training": {"time_limit": 1e-9}}).status.name == "time limit"
    assert solve(heat(100), settings={**FEW, "tuning": {"most_steps": 2}}).status.name == "step limit"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"derivatives": "nested"}, ".derivatives. was given to engine .joint., which does not use it"),
        ({"joint": {"cells": {"y": 4}}}, "'y', not a coordinate"),
        ({"joint": {"cells": 1}}, "greater than or equal to 2"),
        ({"collocation": {"nodes": {"x": 900, "t": 900}}}, "collocation.nodes="),
        ({"tuning": {"most_numbers": 1000}}, r"more than 1e\+03\. Give fewer, as in collocation"),
    ],
)
def test_wrong_input_is_named(settings, said):
    with pytest.raises(ConfigurationError, match=said):
        solve(heat(50), settings=settings)


def test_banded_factor():
    rng = np.random.default_rng(0)
    a = np.triu(np.tril(rng.standard_normal((300, 300)), 7), -7)
    a = a @ a.T + np.eye(300)
    factor = BandedCholesky(sp.csr_array(a))
    right = rng.standard_normal((300, 3))
    np.testing.assert_allclose(factor.solve(right), np.linalg.solve(a, right), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(factor.solve(right[:, 0]), factor.solve(right)[:, 0], atol=1e-12)
    assert factor.log_determinant == pytest.approx(np.linalg.slogdet(a)[1])
    with pytest.raises(NotPositiveError):
        BandedCholesky(sp.csr_array(-a))


def test_banded_order_is_a_permutation():
    assert sorted(banded_order((3, 7, 5)).tolist()) == list(range(105))


@pytest.mark.slow
def test_intervals_of_a_field_cover():
    """Pointwise, at a noise where strengths are uncertain and the rate comes near its bound at both ends."""
    inside = []
    for seed in range(12):
        found = solve(reaction(0.1, n=100, seed=seed, lower=0.0)).dataset
        inside.append(np.abs(found["k"] - rate(found["x"])) <= 1.96 * found["k_sd"])
    assert 0.85 < np.mean(inside) <= 1.0


def test_a_number_at_its_bound_keeps_its_standard_error():
    """Pushed to a bound, the raw parameter says nothing of the number's uncertainty."""
    free, held = (
        solve(heat(200, 0.01, **bounds), settings=FEW).estimates["D"] for bounds in ({}, {"lower": 0.104})
    )
    assert 0.5 * free.sd < held.sd < 2 * free.sd


@pytest.mark.parametrize(
    "name",
    [
        "same_term",
        pytest.param("single_wave", marks=pytest.mark.slow),
        "pure_noise",
        pytest.param("proportional", marks=pytest.mark.slow),
        pytest.param("no_scale", marks=pytest.mark.slow),
    ],
)
def test_questions_without_an_answer_are_told_from_their_twins(name):
    bad, good = next(pair for pair in questions() if pair[0].case.name == name)
    assert solve(bad.case.problem(seed=0)).status.name == "undetermined"
    assert solve(good.case.problem(seed=0)).status.name == "converged"


def test_nodes_are_added_where_the_state_is_steeper_than_the_data_show():
    x, t = np.random.default_rng(0).uniform([[-1], [0]], [[1], [1]], (2, 150))
    u = 0.5 - 0.5 * np.tanh((x + 0.4 - 0.5 * t) / 0.025)
    data = Observations(values={"u": noisy(u, 0.01)}, points={"x": x, "t": t}, noise=0.01)
    problem = InverseProblem("u_t + u*u_x = nu*u_xx", data, {"nu": ScalarUnknown(lower=0.0)})
    few = validated(JointSettings, {"collocation": {"nodes": {"x": 33, "t": 17}}})
    found = solve(problem, settings=few)
    finer = _finer(problem, JointSettings(), found)
    assert finer is not None
    assert finer.collocation.nodes["x"] > 1.25 * 33
    assert _finer(problem, few, found) is None
    lenient = validated(JointSettings, {"tuning": {"coarse_factor": 100.0}})
    assert _finer(problem, lenient, found) is None


def test_a_field_with_a_bound_varies_by_ratios():
    """A permeability from 0.1 to 10 is known to a few per cent where it is small and where it is large."""
    x = np.linspace(0, 1, 400)
    k, flux = 10 ** np.sin(2 * np.pi * x), 0.7 - x
    u = np.concatenate([[0.0], np.cumsum((flux / k)[1:] + (flux / k)[:-1]) / 2 / 399])
    at = np.random.default_rng(0).uniform(0, 1, 80)
    head = np.interp(at, x, u)
    head += 0.005 * head.std() * np.random.default_rng(1).standard_normal(80)
    data = mf.Observations({"u": head}, {"x": at}, noise={"u": 0.005})
    known = {
        "k": mf.FieldUnknown(
            over=("x",), lower=0.0, measurements=mf.Observations({"k": [1.0]}, {"x": [0.5]}, noise=0.01)
        )
    }
    solution = solve(mf.InverseProblem("0 = dx(k*u_x) + 1", data, known))
    found, sd = (solution.dataset[n].interp(x=x[20:-20]).values for n in ("k", "k_sd"))
    assert solution.status.ok
    assert np.mean(np.abs(found - k[20:-20]) < 1.96 * sd) > 0.85
    assert np.median(np.abs(found / k[20:-20] - 1)) < 0.1


@pytest.mark.parametrize(
    "bounds", [pytest.param({"lower": 0.0}, marks=pytest.mark.slow), {"lower": 0.0, "upper": 1.0}]
)
def test_a_field_at_its_bound_is_not_determined(bounds):
    """A rate that is zero, with 0 for its lower bound, does not end as converged with an error of nothing."""
    x, t = np.random.default_rng(5).random((2, 120))
    u = 1 + 0.5 * np.cos(2 * np.pi * x) * np.exp(-0.08 * np.pi**2 * t)
    data = mf.Observations({"u": u}, {"x": x, "t": t}).add_noise(0.01, rng=5)
    problem = mf.InverseProblem("u_t = 0.02*u_xx - a*u", data, {"a": mf.FieldUnknown(over=("x",), **bounds)})
    solution = solve(problem, settings={"collocation": {"nodes": {"x": 25, "t": 17}}})
    assert solution.status.name == "undetermined"
    assert np.all(solution.dataset["a"] < 1.96 * solution.dataset["a_sd"])
