"""Two ways to one loss: the torch objective, and the sparse linearisation that Gauss-Newton steps with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from engine_problems import agreement_problems, heat, small
from mollifier.data.observations import Observations
from mollifier.engines.collocated.calibrate import calibrate, rescale
from mollifier.engines.collocated.jacobian import network_jacobian
from mollifier.engines.collocated.linearise import Linearisation
from mollifier.engines.collocated.places import ObservedPlaces
from mollifier.engines.network.engine import prepare_networks
from mollifier.engines.network.gauss_newton import GaussNewton
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.network.suitable import suits_gauss_newton
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.nn.layers import trained
from mollifier.nn.mlp import MLP
from mollifier.nn.periodic import PeriodicInputs
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import validated
from mollifier.problem.unknowns import ScalarUnknown

PROBLEMS = agreement_problems()
NAMES = list(PROBLEMS)


def objective_of(name, **changes):
    """Calibrated, then moved away from every symmetry."""
    problem = PROBLEMS[name]
    nodes = dict.fromkeys(problem.coordinates, 7 if len(problem.coordinates) == 3 else 9)
    settings = validated(
        NetworkSettings, small(collocation={"nodes": nodes}, network={"width": 4}, **changes)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        objective, _ = prepare_networks(problem, settings, 0)
        calibrate(objective)
        with torch.no_grad():
            for p in trained(objective.model):
                p.add_(0.3 * torch.randn_like(p))
    return objective


def parameters(objective):
    """In the order of the normal equations."""
    model = objective.model
    return [p for b in model.blocks for p in trained(b.network)] + [s.raw for s in model.scalars.values()]


def node_values(objective):
    with torch.no_grad():
        return [b.network(b.nodes()).double().T.numpy() for b in objective.model.blocks]


def residual_vector(objective, linearisation, weight):
    parts = linearisation.residuals(node_values(objective), weight, slopes=False)
    return np.concatenate([p.values for p in parts])


@pytest.mark.parametrize("name", NAMES)
def test_both_ways_give_one_loss_and_one_gradient(name):
    objective, weight = objective_of(name), 0.3
    losses = objective(weight)
    vector = residual_vector(objective, Linearisation(objective), weight)
    assert vector @ vector == pytest.approx(float(losses.total.detach()), rel=1e-10)
    exact = torch.autograd.grad(losses.total, parameters(objective))
    flat = torch.cat([g.reshape(-1) for g in exact])
    _, gradient = GaussNewton(objective, 1, 1e-3, NetworkTuning()).normal_equations(weight=weight)
    assert torch.linalg.norm(2 * gradient - flat) <= 1e-8 * torch.linalg.norm(flat)


@pytest.mark.parametrize("name", NAMES)
def test_normal_matrix_is_that_of_finite_differences(name):
    """d'(J'J)d = |Jd|^2, with Jd from central differences along random directions d."""
    objective = objective_of(name)
    linearisation = Linearisation(objective)
    hessian, _ = GaussNewton(objective, 1, 1e-3, NetworkTuning()).normal_equations()
    tensors = parameters(objective)
    start = torch.cat([p.detach().reshape(-1).clone() for p in tensors])
    step = 1e-5
    for seed in range(2):
        direction = torch.from_numpy(np.random.default_rng(seed).standard_normal(len(start)))
        ends = []
        for sign in (1, -1):
            nn.utils.vector_to_parameters(start + sign * step * direction, tensors)
            ends.append(residual_vector(objective, linearisation, 1.0))
        along = (ends[0] - ends[1]) / (2 * step)
        nn.utils.vector_to_parameters(start, tensors)
        assert float(direction @ hessian @ direction) == pytest.approx(float(along @ along), rel=1e-6)


def test_parts_of_the_loss_agree():
    objective = objective_of("a bounded field")
    numbers = objective(1.0).numbers()
    parts = list(Linearisation(objective).residuals(node_values(objective), 1.0, slopes=False))
    squares = [p.values @ p.values for p in parts]
    assert squares[0] == pytest.approx(numbers["residual"], rel=1e-10)
    assert squares[1] == pytest.approx(numbers["data"], rel=1e-10)
    assert sum(squares[2:]) == pytest.approx(numbers["prior"], rel=1e-10)


def test_environments_agree():
    objective = objective_of("known coefficients")
    env, _, _ = objective.model()
    sparse = Linearisation(objective).environments(node_values(objective))[0]
    shape = objective.model.collocation.grid.shape
    for name, value in sparse.items():
        dense = np.broadcast_to(env[name].detach().numpy(), shape).ravel()
        np.testing.assert_allclose(np.broadcast_to(value, dense.shape), dense, rtol=1e-9, atol=1e-9)


def test_partials_are_made_once():
    objective = objective_of("nonlinear")
    linearisation = Linearisation(objective)
    first = [f.program for f in linearisation.partials[0].fields[0, 0].values()]
    list(linearisation.residuals(node_values(objective), 1.0, slopes=True))
    second = [f.program for f in linearisation.partials[0].fields[0, 0].values()]
    assert all(a is b for a, b in zip(first, second, strict=True))


def test_network_jacobian_without_effect_or_gradients():
    """Weights that no value depends on have slopes of zero, also where gradients are off."""
    network = torch.nn.Linear(2, 1)
    network.idle = torch.nn.Parameter(torch.ones(()))
    with torch.no_grad():
        slopes = network_jacobian(network, torch.tensor([[2.0, 3.0]]))
    assert sorted(slopes.flatten().tolist()) == [0.0, 1.0, 2.0, 3.0]


def test_network_jacobian_is_that_of_finite_differences():
    torch.manual_seed(0)
    network = nn.Sequential(PeriodicInputs([True, False]), MLP(3, 2, width=5, depth=2)).double()
    points = torch.rand(4, 2).double()
    jacobian = network_jacobian(network, points)
    weights = trained(network)
    start = nn.utils.parameters_to_vector(weights).detach().clone()
    assert jacobian.shape == (2, 4, len(start))
    direction = torch.randn_like(start)
    ends = []
    with torch.no_grad():
        for sign in (1, -1):
            nn.utils.vector_to_parameters(start + sign * 1e-6 * direction, weights)
            ends.append(network(points))
    torch.testing.assert_close((jacobian @ direction).T, (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-8)


def test_frozen_weights_stay_out():
    network = MLP(2, 1, width=5, depth=2).double()
    for p in network.layers[0].parameters():
        p.requires_grad_(False)
    jacobian = network_jacobian(network, torch.rand(3, 2).double())
    assert jacobian.shape[-1] == sum(p.numel() for p in trained(network)) == 5 * 5 + 5 + 5 + 1


def test_large_networks_and_other_derivatives_do_not_suit_gauss_newton():
    def model_of(**changes):
        settings = validated(NetworkSettings, small(**changes))
        return prepare_networks(heat(50), settings, 0)[0].model

    assert suits_gauss_newton(model_of(), NetworkTuning())
    assert not suits_gauss_newton(model_of(network={"width": 64, "depth": 4}), NetworkTuning())
    assert not suits_gauss_newton(model_of(derivatives="nested"), NetworkTuning())


@pytest.mark.parametrize("length", [0.1, 0.3, 1.0, 99.0])
@pytest.mark.parametrize("count", [7, 23, 101])
def test_gridded_places_are_found_although_an_even_axis_rounds_its_nodes(count, length):
    x, t = np.arange(count) * length / 7, np.linspace(0, length, count)
    u = xr.DataArray(np.random.default_rng(0).random((count, count)), {"x": x, "t": t}, ("x", "t"), name="u")
    data = Observations.from_dataset(u, noise=0.1)
    found = ObservedPlaces.of(data, ["u"]).index(data.samples("u").points)
    assert (found == np.arange(count * count)).all()


def test_scattered_places_hold_each_point_once():
    x = np.array([0.5, 0.1, 0.5, 0.9])
    data = Observations(values={"u": [1.0, 2.0, 3.0, 4.0]}, points={"x": x}, noise=0.1)
    places = ObservedPlaces.of(data, ["u"])
    assert places.size == 3
    assert places.index(data.samples("u").points).tolist() == [1, 0, 1, 2]


def test_repeats_at_one_place_count_once_as_their_weighted_mean():
    values, sd = np.array([1.0, 4.0, 2.0, 0.0, 3.0]), np.array([0.1, 0.2, 0.3, 0.1, 0.1])
    points = {"x": np.array([0.0, 0.5, 0.0, 1.0, 0.2])}
    data = Observations(values={"u": values}, points=points, noise={"u": sd})
    problem = InverseProblem("u_x = a", data, {"a": ScalarUnknown()})
    objective, _ = prepare_networks(problem, validated(NetworkSettings, {"held_out": 0.0}), 0)
    index, mean, error = (v.numpy() for v in objective.target_tensors(objective.targets[0]))
    assert objective.count == 4
    assert index.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(mean, [(100 * 1 + 2 / 0.09) / (100 + 1 / 0.09), 3.0, 4.0, 0.0])
    np.testing.assert_allclose(error, [(100 + 1 / 0.09) ** -0.5, 0.1, 0.2, 0.1])
    assert objective.tau == pytest.approx(np.sqrt(np.mean(error**2)) / values.std())


def test_rescaled_priors_keep_the_loss():
    """A field that has grown far from its first guess gives its priors their unit, not another loss."""
    objective = objective_of("a field over one coordinate")
    before, scale = objective(1.0).numbers(), objective.field_scale("k")
    rescale(objective, ["k"])
    assert objective.field_scale("k") != pytest.approx(scale, rel=0.01)
    assert objective(1.0).numbers() == pytest.approx(before)
