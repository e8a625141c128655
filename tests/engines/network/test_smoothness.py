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
from mollifier.diagnostics.scores import score_fields
from mollifier.engines.collocated.calibrate import calibrate
from mollifier.engines.collocated.laplace import Laplace, _spread_factor
from mollifier.engines.collocated.levenberg_marquardt import Component
from mollifier.engines.linalg.normal import SchurComplement
from mollifier.engines.network import smoothness
from mollifier.engines.network.engine import prepare_networks
from mollifier.engines.network.gauss_newton import GaussNewton
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.engines.priors.field_prior import ORDERS, Form, Shape, derivative_rows
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


def of_all_parameters(stage, found, shape, strength):
    """Evidence of a prior by determinants over all parameters, states included, but for a constant."""
    prior, objective = found.prior, stage.objective
    hessian, gradient = (objective.count * part.numpy().copy() for part in stage.normal_equations())
    sizes = [count(b.network) for b in stage.model.blocks]
    places = slice(sizes[0], sizes[0] + sizes[1])
    hessian[np.diag_indices(sum(sizes))] += 1.0
    held = np.eye(sizes[1])
    value = 0.0
    for one, factor in ((prior.shape, -objective.strength("lam") * objective.count), (shape, strength)):
        rows = stage.linearisation.prior_rows("lam", one).toarray() @ found._slopes.numpy()
        values = stage.linearisation.prior_rows("lam", one) @ found._values.numpy()
        hessian[places, places] += factor * rows.T @ rows
        gradient[places] += factor * rows.T @ values
        if one is shape:
            held = held + factor * rows.T @ rows
            value = factor * values @ values
    volume = np.linalg.slogdet(held)[1] - np.linalg.slogdet(hessian)[1]
    likely = 0.5 * (volume + gradient @ np.linalg.solve(hessian, gradient) - value)
    moves = found._moves.numpy()
    variance = np.mean(np.sum(moves.T * np.linalg.solve(held, moves.T), axis=0))
    return likely + 0.5 * np.log(variance) - np.log1p(variance)


def test_the_evidence_is_that_of_all_parameters():
    """Integrated over the states' parameters first or last, it is the same, for all shapes and strengths."""
    stage = started(forced()[0])
    found = smoothness._Evidence(stage, stage.unknowns(), "lam")
    tried = [(Shape(1, 1.0), 0.3), (Shape(2, 0.1), 3.0), (Shape(3, 1.0), 1e-3), (Shape(2, 0.1), 30.0)]
    ours = np.array([found._evidence(found._at(s), c) for s, c in tried])
    wanted = np.array([of_all_parameters(stage, found, s, c) for s, c in tried])
    assert ours - ours[0] == pytest.approx(wanted - wanted[0], abs=1e-5)


def test_the_best_prior_is_found_from_anywhere():
    stage = started(forced()[0])
    found = smoothness._Evidence(stage, stage.unknowns(), "lam")
    best, evidence = found.climbed()
    again = smoothness.maximum_evidence(stage)["lam"]
    assert again == best
    for shape in found.prior.neighbours(best.shape):
        assert found._strongest(shape)[1] <= evidence + 0.1
    strength = best.strength * found.unit
    for factor in (np.e**-2, np.e**2):
        assert found._evidence(found._at(best.shape), strength * factor) < evidence


def test_shares_of_a_mixture_add_up():
    stage = started(forced()[0])
    mixed = stage.marginal()[0]
    assert 1 < len(mixed) <= smoothness._MOST
    assert sum(m.share for m in mixed) == pytest.approx(1.0)


def test_a_prior_that_nobody_chose_is_a_part_of_the_error(monkeypatch):
    """A field that its prior flattens is wrong by more than the curvature of the loss tells."""
    stages = []

    class Kept(Laplace):
        def __init__(self, stage):
            stages.append(stage)
            super().__init__(stage)

    monkeypatch.setattr("mollifier.engines.collocated.solve.Laplace", Kept)
    monkeypatch.setattr("mollifier.engines.network.gauss_newton.maximum_evidence", lambda stage: {})
    problem, lam = forced(n=200, wave=6)
    settings = small(network={"width": 16}, training={"steps": 60}, collocation={"nodes": {"t": 97}})
    solution = mf.solve(problem, "network", settings=settings)
    (stage,) = stages
    monkeypatch.setattr(smoothness, "free_fields", lambda stage: [])
    narrow = solution.dataset.assign(lam_sd=("t", Laplace(stage).fields()["lam"]))
    held = [
        np.mean(np.abs(standardised(s, {"lam": lam})["lam"]) < 1.96)
        for s in (solution, dataclasses.replace(solution, dataset=narrow))
    ]
    assert held[0] > 0.9
    assert held[1] < 0.5


def test_a_smoothness_that_was_given_is_kept():
    stage = started(forced(smoothness=1e-3)[0])
    assert smoothness.maximum_evidence(stage) == {}
    ((component,), _) = stage.marginal()
    assert component.share == 1.0


def test_the_curvature_alone_where_it_was_asked_for():
    stage = started(forced(prior="h2")[0])
    assert smoothness.maximum_evidence(stage)["lam"].shape == Shape(2)
    assert not np.isnan(Laplace(stage).fields()["lam"]).any()


def test_smoothness_is_found_where_it_was_wrong():
    """A forcing of many waves, which the smoothness that a run starts with does not admit."""
    made = case("langevin", forcing="fast")
    solution = mf.solve(made.problem(0.05, 0), "network", settings=RANDOM_FEATURES)
    assert score_fields(solution.dataset, made.true_fields)["lam"].correlation > 0.98
    given = dataclasses.replace(
        made, unknowns={n: dataclasses.replace(u, smoothness=1e-3) for n, u in made.unknowns.items()}
    )
    held = mf.solve(given.problem(0.05, 0), "network", settings=RANDOM_FEATURES)
    assert score_fields(held.dataset, made.true_fields)["lam"].correlation < 0.8


@pytest.mark.parametrize("periodic", [False, True])
def test_rows_tell_mean_squared_derivatives(periodic):
    """Of a wave on an even lattice, by differences of second order; one mean for the prior of all."""
    x = Axis("x", 0.0, 1.0, 128, periodic=periodic)
    wave = np.sin(2 * np.pi * x.points)
    for order in ORDERS:
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
    rows, given = torch.from_numpy(rng.normal(size=(9, 4))), torch.from_numpy(rng.normal(size=(5, 4)))
    precision, assumed = rows.T @ rows + given.T @ given, given.T @ given
    factor = _spread_factor([Component(precision, np.zeros(4), 1.0, assumed)], np.ones(4), np.zeros(4))
    estimator = torch.linalg.solve(precision, rows.T)
    assert torch.allclose(factor.T @ factor, estimator @ estimator.T)


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
    """As many features as readings: the fit takes the noise up, and no diffusivity obeys it."""
    settings = {"network": {"kind": "random-features", "width": 400}}
    solution = mf.solve(heat(seed=9, noise=0.05), "network", settings=settings)
    assert abs(solution.estimates["D"].value - 0.1) > 0.05
    assert solution.status.name == "misfit"
    assert "residual of the equation" in solution.status.message
