"""Random-feature networks in the network engine: factored matrices, least squares, the equation's weight."""

import os
import signal

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import mollifier as mf
from benchmarks.cases import darcy
from benchmarks.cases.registry import case
from mollifier.engines.collocated.calibrate import calibrate
from mollifier.engines.collocated.factored import Combination, Product, is_factored
from mollifier.engines.collocated.operators import derivative_matrices, observation_matrix
from mollifier.engines.linalg.memory import BLOCK
from mollifier.engines.network.engine import prepare_networks
from mollifier.engines.network.gauss_newton import GaussNewton
from mollifier.engines.network.least_squares import LeastSquares
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.network.suitable import suits_gauss_newton
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.mollify.orders import Derivative
from mollifier.problem.settings import validated

FEATURES = {"kind": "random-features", "width": 30}


class Opaque(nn.Module):
    """A network whose kind is hidden."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def movie(noise=0.02, scattered=False):
    """A decaying wave on the plane, whose loss rate varies along x."""
    x, y, t = np.linspace(0, 1, 9), np.linspace(0, 2 * np.pi, 8, endpoint=False), np.linspace(0, 1, 6)
    u = (1 + 0.3 * x[:, None, None]) * np.cos(y)[:, None] * np.exp(-(1 + x[:, None, None]) * t)
    u = u + noise * np.random.default_rng(0).standard_normal(u.shape)
    data = xr.Dataset(
        {"u": (("x", "y", "t"), u, {"standard_error": noise})},
        {"x": x, "y": ("y", y, {"periodic": 2 * np.pi}), "t": t},
    )
    if scattered:
        flat = (
            data.stack(p=("x", "y", "t"))
            .reset_index("p")
            .isel(p=np.random.default_rng(1).permutation(432)[:90])
        )
        data = mf.Observations.from_dataset(flat, periodic={"y": 2 * np.pi}, coordinates=["x", "y", "t"])
    return mf.InverseProblem("u_t = a*u_yy + b*u_xxy - k*u", data, unknowns())


def unknowns():
    return {"k": mf.FieldUnknown(over=("x",)), "a": mf.ScalarUnknown(lower=0.0), "b": mf.ScalarUnknown()}


def started(problem, opaque=False, **chosen):
    torch.manual_seed(0)
    nodes = {"x": 6, "y": 8, "t": 5}
    settings = validated(NetworkSettings, {"network": FEATURES, "collocation": {"nodes": nodes}} | chosen)
    objective, held = prepare_networks(problem, settings, 0)
    calibrate(objective)
    if opaque:
        for block in objective.model.state_blocks:
            block.network = Opaque(block.network)
    return objective, held


@pytest.mark.parametrize("block", [BLOCK, 1], ids=["whole", "in blocks"])
@pytest.mark.parametrize("chosen", [FEATURES, {**FEATURES, "fourier_scale": 0.5}], ids=["laid out", "drawn"])
@pytest.mark.parametrize("scattered", [False, True])
def test_factored_matrices_are_those_of_the_kernel(scattered, chosen, block, monkeypatch):
    """Also where rows are formed one at a time."""
    monkeypatch.setattr("mollifier.engines.linalg.memory.BLOCK", block)
    objective, _ = started(movie(scattered=scattered), network=chosen)
    block = objective.model.state_blocks[0]
    assert is_factored(block)
    weights = block.network.last.weight.detach().numpy()[0]
    with torch.no_grad():
        nodes = block.network(block.nodes()).double().numpy()[:, 0]
    grid = objective.model.collocation.grid
    for d, product in derivative_matrices(block, block.mollified, grid, False).items():
        wanted = (block.mollified.matrix(Derivative("u", d.orders)) @ nodes) * block.factor(d)
        np.testing.assert_allclose(product @ weights, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())
        np.testing.assert_allclose(product.dense().numpy() @ weights, wanted, rtol=1e-9, atol=1e-8)
    wanted = block.mollified.observation_matrix() @ nodes
    rows = observation_matrix(block, False)
    rows = rows.numpy() if isinstance(rows, torch.Tensor) else rows
    np.testing.assert_allclose(rows @ weights, wanted, rtol=1e-9, atol=1e-9)


def test_rows_of_a_combination_are_those_of_the_sum():
    rng = np.random.default_rng(0)
    for sizes in ((7,), (3, 4), (2, 3, 4)):
        last = [torch.from_numpy(rng.standard_normal((sizes[-1], 5))) for _ in range(2)]
        terms = []
        for k in range(3):
            leading = [torch.from_numpy(rng.standard_normal((n, 5))) for n in sizes[:-1]]
            terms.append((rng.standard_normal(np.prod(sizes)), Product((*leading, last[k % 2]))))
        combination = Combination(terms)
        wanted = sum(c[:, None] * p.dense().numpy() for c, p in terms)
        step = combination.step
        assert step == sizes[-1]
        weights = rng.standard_normal(5)
        np.testing.assert_allclose(combination @ weights, wanted @ weights, rtol=1e-12, atol=1e-12)
        found = [combination[slice(i, i + 2 * step)] for i in range(0, len(wanted), 2 * step)]
        np.testing.assert_allclose(torch.cat(found).numpy(), wanted, rtol=1e-12, atol=1e-12)


def test_normal_equations_are_those_of_any_network():
    factoring, _ = started(movie())
    plain, _ = started(movie(), opaque=True)
    stages = [GaussNewton(o, 1, 1e-3, NetworkTuning()) for o in (factoring, plain)]
    assert [s.linear for s in stages] == [True, False]
    (h, g), (hessian, gradient) = (s.normal_equations(weight=0.4) for s in stages)
    # The weights' own prior is a part of the loss where they are linear, else of the marginal.
    weights = factoring.model.state_blocks[0].network.last.weight.detach()[0]
    prior = len(weights)
    h[range(prior), range(prior)] -= 1 / factoring.count
    g[:prior] -= weights / factoring.count
    torch.testing.assert_close(h, hessian, rtol=1e-7, atol=1e-9 * float(hessian.abs().max()))
    torch.testing.assert_close(g, gradient, rtol=1e-7, atol=1e-9 * float(gradient.abs().max()))


def test_least_squares_leaves_no_slope_in_the_states():
    objective, _ = started(movie(), network={"kind": "random-features", "width": 150})
    stage = GaussNewton(objective, 1, 1e-3, NetworkTuning())
    first = LeastSquares(stage)
    losses = [first.step()["loss"] for _ in range(2)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert 0.3 < losses[0] < 1.5
    nodes = stage.node_values()
    _, gradient = stage.normal_equations(nodes, rows=stage.linearisation.fit(nodes))
    assert float(gradient.abs().max()) < 1e-8 * losses[0] / objective.tau


@pytest.mark.parametrize(("noise", "lighter"), [(1e-4, True), (0.3, False)])
def test_equation_weight_starts_at_the_data_s(noise, lighter):
    objective, _ = started(movie(noise=noise))
    objective.weight = 10.0
    stage = GaussNewton(objective, 1, 1e-3, NetworkTuning())
    usual = stage.weight
    first = LeastSquares(stage)
    first.step()
    first.close()
    data, equation = (objective(stage.weight).numbers()[n] for n in ("data", "residual"))
    assert equation <= max(data, 1.0) * (1 + 1e-9)
    assert (stage.weight < usual) == lighter
    assert stage.weight == usual or equation == pytest.approx(max(data, 1.0))


def test_random_features_resume_to_the_bit(tmp_path):
    problem, chosen = movie(), {"training": {"steps": 4}, "network": FEATURES}

    def stop(event):
        if event.stage == "gauss-newton" and event.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    whole = mf.solve(problem, "network", settings=chosen)
    broken = mf.solve(problem, "network", settings=chosen, folder=tmp_path, progress=stop)
    assert broken.status.name == "interrupted"
    resumed = mf.solve(problem, "network", settings=chosen, folder=tmp_path, resume=True)
    assert resumed.estimates == whole.estimates
    assert np.array_equal(resumed.dataset["u"], whole.dataset["u"])


def test_where_the_band_is_wide_states_are_laid_out_and_unknowns_drawn():
    objective, _ = started(movie())
    state = objective.model.state_blocks[0].network
    unknown = objective.model.unknown_blocks["k"].network[0]
    assert [state.rank, unknown.rank] == [30, 30]
    places = torch.cat([torch.stack([p[0].scale, p[0].shift]) for p in state.parts])
    assert places.unique(dim=1).shape == places.shape
    assert set(places[1::2].flatten().tolist()) == {0.0, 0.5}
    assert not set(unknown.parts[0][0].shift.tolist()) <= {0.0, 0.5}


def test_gauss_newton_suits_factored_matrices_but_not_the_same_with_taps():
    tuning = NetworkTuning(most_jacobian=5_000)
    assert suits_gauss_newton(started(movie())[0].model, tuning)
    assert not suits_gauss_newton(started(movie(), opaque=True)[0].model, tuning)


@pytest.mark.slow
def test_movie_whose_data_determine_a_sum_only_is_undetermined():
    """u_yy is -u here: of a and k the data determine the sum, which is 1 + x, and it is found."""
    problem = movie(noise=0.01)
    solution = mf.solve(problem, "network", settings={"network": {"kind": "random-features", "width": 200}})
    assert solution.status.name == "undetermined"
    truth = xr.DataArray(1 + solution.dataset["x"].values, {"x": solution.dataset["x"]})
    found = solution.dataset["k"] + solution.estimates["a"].value
    assert float(np.abs(found - truth).mean()) < 0.1


def test_weight_stops_where_held_out_data_are_fitted_worse(monkeypatch):
    made = case("heat")
    objective, held = prepare_networks(
        made.problem(0.05, 0), validated(NetworkSettings, {"network": FEATURES}), 0
    )
    stage = GaussNewton(objective, 1, 1e-3, NetworkTuning(), held)
    assert stage.held is not None
    LeastSquares(stage).close()
    misfits = iter([np.ones(200), np.full(200, 0.9), np.full(200, 1.0) + np.linspace(-0.1, 0.1, 200)])
    monkeypatch.setattr(type(stage.held), "misfits", lambda *_: next(misfits))
    first = stage.weight
    stage._raise_weight()
    before = stage.parameters()
    stage._raise_weight()
    assert stage.weight == pytest.approx(9 * first)
    stage.set_parameters(before + 1)
    stage._raise_weight()
    assert stage.most == stage.weight == pytest.approx(3 * first)
    assert torch.equal(stage.parameters(), before)
    assert "held-out" in stage.finished
    assert stage.outcome == "misfit"


def test_fewer_samples_than_features_leave_a_field_undetermined():
    """60 wells end with a word on their number, and the engine that takes them, not as converged."""
    solution = mf.solve(
        darcy.build(seed=10, wells=60).problem(noise=0.002),
        "network",
        settings={
            "network": {"kind": "random-features", "width": 80},
            "collocation": {"max_nodes": 150},
        },
    )
    assert solution.status.name in ("undetermined", "misfit")
    assert solution.status.name == "misfit" or "Engine 'joint'" in solution.status.message
