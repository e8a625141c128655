"""How smooth unknown fields of networks are: priors by evidence, and what is averaged over."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import mollifier as mf
from benchmarks.calibration import standardised
from benchmarks.cases.registry import case
from engine_problems import forced, heat, small
from mollifier.diagnostics.scores import score
from mollifier.engines.collocated.calibrate import calibrate
from mollifier.engines.collocated.laplace import Laplace, _spread_factor
from mollifier.engines.collocated.levenberg_marquardt import Component
from mollifier.engines.linalg.normal import SchurComplement
from mollifier.engines.network.engine import prepare_networks
from mollifier.engines.network.gauss_newton import GaussNewton
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.engines.priors.differences import derivative_rows
from mollifier.engines.priors.form import Form
from mollifier.engines.priors.shapes import Choice, Shape
from mollifier.engines.priors.tuning import PriorTuning
from mollifier.mollify.grid import Axis, Grid
from mollifier.nn.layers import count
from mollifier.problem.settings import validated

RANDOM_FEATURES = {"network": {"kind": "random-features"}}


def started(problem, **changes):
    torch.manual_seed(0)
    objective, _ = prepare_networks(problem, validated(NetworkSettings, small(**changes)), 0)
    calibrate(objective)
    return GaussNewton(objective, 1, 1e-3, NetworkTuning())


def test_a_prior_is_no_stronger_for_more_readings():
    few, some, many = (started(forced(n=n)[0]).objective for n in (300, 2000, 8000))
    weights = [o.strength("lam") * o.count for o in (few, some, many)]
    assert weights[0] < weights[1] == pytest.approx(weights[2])
    assert few.strength("lam") == 1e-3
    given = started(forced(n=2000, smoothness=0.5)[0]).objective
    assert given.strength("lam") == 0.5


def of_all_parameters(stage, prior, shape, strength):
    """Evidence of a prior by determinants over all parameters, states included, but for a constant."""
    objective, linearisation = stage.objective, stage.linearisation
    hessian, gradient = (objective.count * part.numpy().copy() for part in stage.normal_equations())
    sizes = [count(b.network) for b in stage.model.blocks]
    places = slice(sizes[0], sizes[0] + sizes[1])
    hessian[np.diag_indices(sum(sizes))] += 1.0
    held = np.eye(sizes[1])
    value = 0.0
    present = linearisation.priors["lam"].shape
    for one, factor in ((present, -objective.strength("lam") * objective.count), (shape, strength)):
        rows = linearisation.prior_rows("lam", one).toarray() @ prior._slopes
        values = linearisation.prior_rows("lam", one) @ prior._values
        hessian[places, places] += factor * rows.T @ rows
        gradient[places] += factor * rows.T @ values
        if one is shape:
            form = factor * rows.T @ rows
            held = held + form
            value = factor * values @ values
    volume = np.linalg.slogdet(held)[1] - np.linalg.slogdet(hessian)[1]
    likely = 0.5 * (volume + gradient @ np.linalg.solve(hessian, gradient) - value)
    spread = np.linalg.solve(held, prior._moves.T)
    variance = np.mean(np.sum(prior._moves.T * spread, axis=0))
    slope = np.mean(np.sum(spread * (form @ spread), axis=0)) / variance
    return likely + 0.5 * np.log(variance) - np.log1p(variance) + np.log(slope)


def searched(stage):
    search = stage._prior_search(stage.unknowns())
    return search, search.problem.priors["lam"]


def test_evidence_is_that_of_all_parameters():
    """Integrated over the states' parameters first or last, it is the same, for all shapes and strengths."""
    stage = started(forced()[0])
    search, prior = searched(stage)
    tried = [(Shape(1, 1.0), 0.3), (Shape(2, 0.1), 3.0), (Shape(3, 1.0), 1e-3), (Shape(2, 0.1), 30.0)]
    ours = np.array([search.problem.log_evidence({"lam": Choice(s, c / prior.count)}) for s, c in tried])
    expected = np.array([of_all_parameters(stage, prior, s, c) for s, c in tried])
    assert ours - ours[0] == pytest.approx(expected - expected[0], abs=1e-5)


def test_best_prior_of_a_network_field():
    """No neighbouring shape, nor any strength of its own further off than the search resolves, is better."""
    search, prior = searched(started(forced()[0]))
    best = search.anew()["lam"]
    assert search.anew()["lam"] == best
    evidence = search.problem.log_evidence({"lam": best})
    for shape in prior.shapes.neighbours(best.shape):
        near = search.improved({"lam": Choice(shape, best.strength)}, shapes=False)["lam"]
        assert search.problem.log_evidence({"lam": near}) <= evidence + search.tuning.better + 0.05
    for factor in (np.e**-2, np.e**2):
        other = Choice(best.shape, best.strength * factor)
        assert search.problem.log_evidence({"lam": other}) < evidence - 0.1


def test_evidence_of_strengths_that_no_longer_matter():
    """The spread of the weights bounds the field, however weak its prior: such strengths have no weight."""
    search, _ = searched(started(forced()[0]))
    shape = Shape(2, 1.0)
    balance = search.problem.balance("lam", shape)
    logs = [
        search.problem.log_evidence({"lam": Choice(shape, float(np.exp(balance - x)))}) for x in (55, 60, 65)
    ]
    assert np.diff(logs) == pytest.approx([-5.0, -5.0], abs=0.1)


def test_weights_of_a_mixture_add_up():
    mixed = started(forced()[0]).marginal()[0]
    assert len(mixed) > 1
    assert sum(m.share for m in mixed) == pytest.approx(1.0)


@pytest.mark.slow
def test_a_prior_that_nobody_chose_is_a_part_of_the_error(monkeypatch):
    """A field that its prior flattens is wrong by more than the curvature of the loss tells."""
    stages = []

    class Kept(Laplace):
        def __init__(self, stage):
            stages.append(stage)
            super().__init__(stage)

    monkeypatch.setattr("mollifier.engines.collocated.solve.Laplace", Kept)
    problem, lam = forced(n=200, wave=6)
    settings = small(network={"width": 16}, training={"steps": 250}, collocation={"nodes": {"t": 97}})
    settings["tuning"] = {"evidence_updates": 0}
    solution = mf.solve(problem, "network", settings=settings)
    (stage,) = stages
    monkeypatch.setattr(GaussNewton, "_prior_search", lambda stage, unknowns: None)
    narrow = solution.dataset.assign(lam_sd=("t", Laplace(stage).fields["lam"]))
    held = [
        np.mean(np.abs(standardised(s, {"lam": lam})["lam"]) < 1.96)
        for s in (solution, dataclasses.replace(solution, dataset=narrow))
    ]
    assert held[0] > 0.9
    assert held[1] < 0.5


def test_a_smoothness_that_was_given_is_kept():
    stage = started(forced(smoothness=1e-3)[0])
    assert stage._prior_search(stage.unknowns()) is None
    ((component,), _) = stage.marginal()
    assert component.share == 1.0


def test_the_curvature_alone_where_it_was_asked_for():
    stage = started(forced(prior="h2")[0])
    assert searched(stage)[0].anew()["lam"].shape == Shape(2)
    assert not np.isnan(Laplace(stage).fields["lam"]).any()


def test_smoothness_is_found_where_it_was_wrong():
    """A forcing of many waves, which the smoothness that a run starts with does not admit."""
    made = case("langevin", forcing="fast")
    solution = mf.solve(made.problem(0.05, 0), "network", settings=RANDOM_FEATURES)
    assert score(solution.dataset, made.true_fields)["lam"].correlation > 0.98
    given = dataclasses.replace(
        made, unknowns={n: dataclasses.replace(u, smoothness=1e-3) for n, u in made.unknowns.items()}
    )
    held = mf.solve(given.problem(0.05, 0), "network", settings=RANDOM_FEATURES)
    assert score(held.dataset, made.true_fields)["lam"].correlation < 0.8


@pytest.mark.parametrize("periodic", [False, True])
def test_rows_tell_mean_squared_derivatives(periodic):
    """Of a wave on an even lattice, by differences of second order; one mean for the prior of all."""
    x = Axis("x", 0.0, 1.0, 128, periodic=periodic)
    wave = np.sin(2 * np.pi * x.points)
    for order in PriorTuning().orders:
        squares = np.sum((derivative_rows(Grid(x), order) @ wave) ** 2)
        # The mean is over the places that differences reach, which leave out up to four of 128.
        assert squares == pytest.approx((2 * np.pi) ** (2 * order) / 2, rel=4 / 128)
    form = Form(Grid(x), Shape(2, 0.5))
    assert form.matrix @ np.ones(128) == pytest.approx(0.0, abs=1e-9)
    wanted = (16 * np.var(wave) + 8 * (2 * np.pi) ** 2 / 2 + (2 * np.pi) ** 4 / 2) if periodic else None
    if wanted is not None:
        assert np.sum(form.rows(wave) ** 2) == pytest.approx(wanted, rel=0.01)


# What the equation brings in


def test_what_is_assumed_brings_no_error_of_its_own_in():
    """Estimates A y of normal y are spread by what y is, whatever A was made with."""
    rng = np.random.default_rng(3)
    rows, given = rng.normal(size=(9, 4)), rng.normal(size=(5, 4))
    precision, assumed = rows.T @ rows + given.T @ given, given.T @ given
    factor = _spread_factor([Component(precision, np.zeros(4), 1.0, assumed)], np.ones(4), np.zeros(4))
    estimator = np.linalg.solve(precision, rows.T)
    assert np.allclose(factor.T @ factor, estimator @ estimator.T)


def test_a_part_of_normal_equations_is_left_when_others_follow():
    """Of the inverse: H^-1 P H^-1 over the unknowns, and the trace of P H^-1."""
    rng = np.random.default_rng(4)
    whole, some = (torch.from_numpy(rng.normal(size=(9, 6))) for _ in range(2))
    hessian, part = whole.T @ whole + some.T @ some, some.T @ some
    following = SchurComplement(hessian, torch.zeros(6).double(), 4)
    left, determined = following.part(part)
    inverse = torch.linalg.inv(hessian)
    assert torch.allclose(torch.linalg.inv(following.precision), inverse[4:, 4:])
    schur = torch.linalg.inv(following.precision)
    assert torch.allclose(schur @ left @ schur, (inverse @ part @ inverse)[4:, 4:])
    assert determined == pytest.approx(float((inverse @ part).trace()))


@pytest.mark.slow
def test_an_equation_that_holds_exactly_adds_little_to_the_errors_of_numbers():
    """Of the diffusivity, over noise: the standard error told is that of the estimates."""
    found = []
    for seed in range(12):
        solution = mf.solve(heat(seed=seed, noise=0.05), "network", settings=RANDOM_FEATURES)
        found.append(solution.estimates["D"])
    # Twelve estimates tell their spread to a fifth of itself: three of those.
    spread = np.sqrt(np.mean([(e.value - 0.1) ** 2 for e in found]))
    assert np.mean([e.sd for e in found]) == pytest.approx(spread, rel=0.6)


def test_an_equation_that_is_missed_is_no_answer():
    """As many features as measurements: the fit takes the noise up, and no diffusivity obeys it."""
    settings = {"network": {"kind": "random-features", "width": 400}}
    solution = mf.solve(heat(seed=9, noise=0.05), "network", settings=settings)
    assert abs(solution.estimates["D"].value - 0.1) > 0.05
    assert solution.status.name == "misfit"
    assert "residual of the equation" in solution.status.message


def test_noise_in_derivatives_does_not_make_the_equation_count_less():
    """A first guess that is right, of averages, made it seem fifty times larger: D was 0.005 and a misfit."""
    settings = {"network": {"kind": "random-features", "width": 400}}
    solution = mf.solve(heat(seed=2, noise=0.05), "network", settings=settings)
    assert solution.status.ok
    assert abs(solution.estimates["D"].value - 0.1) < 3 * solution.estimates["D"].sd < 0.01
