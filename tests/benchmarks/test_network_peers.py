"""DeepXDE and PINA as peers: the problem they are given, the clock, and a few seconds of each."""

from __future__ import annotations

import importlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from inspect import getdoc
from itertools import pairwise

import numpy as np
import pytest
import torch
import xarray as xr

from benchmarks.cases import chromatin, langevin, plate
from benchmarks.cases.base import Case
from benchmarks.cases.registry import case
from benchmarks.peers import pinn
from mollifier.cli.demos import heat
from mollifier.errors import ConfigurationError

PEERS = ("deepxde", "pina")
SECONDS = 1.0


def small(name: str) -> Case:
    """A case that takes no time to make."""
    if name == "langevin":
        return langevin.build(nodes=101)
    if name.startswith("heat"):
        return plate.build(kept=0.5, nodes=21, cells=48, laplacian=name == "heat_laplacian")
    dimensions = 1 if name == "chromatin_line" else 2
    return chromatin.build(frames=3, nodes=16, modes=32, steps=4, dimensions=dimensions)


def posed(name: str, noise: float = 0.05) -> pinn.Posed:
    made = small(name)
    return pinn.pose(made, made.observations(noise, known_noise=True), seed=0)


def residuals(problem: pinn.Posed, fields) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Residuals of the fields, made from the coordinates, at five places, and the places."""
    rng = np.random.default_rng(0)
    x = {c: torch.tensor(rng.random((5, 1)), requires_grad=True) for c in problem.coordinates}

    def gradient(v, names):
        total = (v + 0 * sum(x.values())).sum()  # so that every coordinate is in its graph
        return list(torch.autograd.grad(total, [x[n] for n in names], create_graph=True))

    found = problem.balance.residuals({**fields(x), **x}, gradient)
    return [r.detach().numpy() for r in found], {c: v.detach().numpy() for c, v in x.items()}


def test_the_residual_of_langevin():
    (found,), x = residuals(posed("langevin"), lambda x: {"u": x["t"] ** 2, "lam": 3 * x["t"]})
    assert np.allclose(found, 2 * x["t"] + x["t"] ** 2 - 3 * x["t"])  # s = -1


def test_the_residual_of_the_plate():
    (found,), x = residuals(posed("heat"), lambda x: {"u": x["x"] ** 2 * x["y"], "k": 1 + x["x"]})
    assert np.allclose(found, 2 * x["y"] * (1 + 2 * x["x"]) + heat.source(x["x"], x["y"]))


def test_the_residual_of_the_papers_plate():
    fields = residuals(posed("heat_laplacian"), lambda x: {"u": x["x"] ** 2 * x["y"], "k": 1 + x["x"]})
    (found,), x = fields
    assert np.allclose(found, (1 + x["x"]) * 2 * x["y"] + heat.source(x["x"], x["y"]))


def test_the_residuals_on_a_line():
    def fields(x):
        return {"phi": 0.1 * x["t"] + 0.2 * torch.sin(x["x"]), "w": torch.cos(x["x"]), "lam": 1 + x["x"]}

    (evolution, definition), x = residuals(posed("chromatin_line"), fields)
    phi, rest = 0.1 * x["t"] + 0.2 * np.sin(x["x"]), 1 - chromatin.NUCLEOPLASM
    exchange = -(1 + x["x"]) * (rest - phi) + (rest + phi)
    assert np.allclose(evolution, 0.1 + np.cos(x["x"]) + exchange)
    assert np.allclose(definition, np.cos(x["x"]) - (phi**3 - phi + chromatin.KAPPA * 0.2 * np.sin(x["x"])))


def test_the_residuals_of_chromatin():
    def fields(x):
        phi = 0.1 * x["t"] + 0.2 * torch.sin(x["x"])
        return {"phi": phi, "w": torch.sin(x["y"]), "lam": 1 + x["y"]}

    (evolution, definition), x = residuals(posed("chromatin"), fields)
    phi, rest = 0.1 * x["t"] + 0.2 * np.sin(x["x"]), 1 - chromatin.NUCLEOPLASM
    exchange = -(1 + x["y"]) * (rest - phi) + (rest + phi)
    assert np.allclose(evolution, 0.1 + np.sin(x["y"]) + exchange)
    assert np.allclose(definition, np.sin(x["y"]) - (phi**3 - phi + chromatin.KAPPA * 0.2 * np.sin(x["x"])))


def test_a_tenth_is_held_out_and_nothing_twice():
    problem, whole = posed("heat"), small("heat").observations(0.05, known_noise=True).samples("u")
    both = np.vstack([problem.points, problem.held_points])
    assert len(problem.held_points) == pytest.approx(0.1 * len(whole.points), abs=1)
    assert len(np.unique(both, axis=0)) == len(both) == len(whole.points)


def test_the_louder_the_noise_the_more_the_equation_weighs():
    made, levels = small("langevin"), (0.3, 0.1)
    ratios = []
    for noise in levels:
        problem = posed("langevin", noise)
        equation, misfit = problem.weights
        ratios.append(equation * problem.balance.scales[0] ** 2 / misfit / made.sigma(noise)["u"] ** 2)
        assert misfit * problem.values.var() == pytest.approx(1)
    assert ratios[0] == pytest.approx(ratios[1])  # as the variance of the noise
    clean, quiet = (posed("langevin", n).weights[0] for n in (0.0, 0.001))
    assert 0 < clean == pytest.approx(quiet, rel=0.01)  # but never nothing


def test_networks_wrap_where_the_domain_does_and_positive_fields_are():
    problem = posed("chromatin")
    assert (problem.upper - problem.lower)[:2].tolist() == [8.0, 8.0]
    ends = torch.tensor(np.stack([problem.lower, problem.upper]))
    assert problem.inputs(("x", "y", "t")) == problem.features(ends, ("x", "y", "t")).shape[1]
    lower, upper = problem.features(ends, ("x", "y"))
    assert torch.allclose(lower, upper)
    assert problem.features(ends, ("t",)).tolist() == [[-1.0], [1.0]]

    def low(x):
        return torch.full((len(x), 2), -5.0)

    fields = problem.outputs(ends, low, lambda x: low(x)[:, :1])
    assert fields.shape == (2, 3)
    assert 0 < float(fields[0, 1]) < 0.1


def test_unknowns_start_at_the_size_that_balances_the_equation():
    problem = posed("heat")
    field = problem.field(lambda x: torch.zeros((len(x), 1)))["k"]
    assert field.dims == ("x", "y")
    assert 0.3 < float(field.mean()) < 3  # the true one is between 0.5 and 2


def test_other_cases_are_refused_by_name():
    made = case("reaction_rate")
    with pytest.raises(ConfigurationError, match="langevin, heat, heat_laplacian, chromatin"):
        pinn.pose(made, made.observations(0.01), seed=0)


def test_the_clock_keeps_the_field_with_the_least_misfit_and_stops_in_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pinn.time, "perf_counter", lambda: now[0])
    problem, seen = posed("langevin"), []
    clock = pinn.Clock(problem, 10.0, lambda t, fields: seen.append((t, float(fields["lam"].mean()))), 0.0)

    def constant(value: float):
        return lambda x: torch.full((len(x), 1), value)

    ends = []
    while not ends or not ends[-1]:
        now[0] += 0.5
        good = now[0] == 3.0  # the only time that the state is near the observations
        ends.append(clock.step(constant(0.0 if good else 9.0), constant(now[0])))
    answer = clock.end(constant(9.0), constant(-1.0))
    times = [t for t, _ in seen]
    assert now[0] == 10.0  # another step like the last would have ended at 10.5
    assert all(b >= 1.25 * a for a, b in pairwise(times[:-1]))
    assert float(answer["lam"].mean()) == pytest.approx(3.0 * problem.balance.size)
    assert seen[-1] == (10.0, float(answer["lam"].mean()))


@pytest.mark.parametrize("peer", PEERS)
def test_each_says_how_it_was_tuned(peer):
    text = getdoc(importlib.import_module(f"benchmarks.peers.{peer}").recover) or ""
    assert all(word in text for word in ("Adam", "L-BFGS", "one seed"))


def trained(peer: str) -> dict[str, tuple[list[float], xr.Dataset, xr.Dataset]]:
    """Times, the last fields seen and the answer, of each problem; in a process of its own."""
    recover = importlib.import_module(f"benchmarks.peers.{peer}").recover
    result = {}
    for name in ("langevin", "heat", "chromatin"):
        made = small(name)
        if name == "chromatin":  # with few observations it would not be taken in batches
            pinn.MANY, pinn.BATCH = 400, 100
        seen: list[tuple[float, xr.Dataset]] = []
        answer = recover(made, made.observations(0.05), SECONDS, 0, lambda t, f, s=seen: s.append((t, f)))
        result[name] = [t for t, _ in seen], seen[-1][1], answer
    return result


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS)
def test_it_trains_on_each_problem(peer):
    if find_spec(peer) is None:
        pytest.skip(f'{peer} is not installed: pip install "mollifier[peers]"')
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(trained, peer).result()
    for name, (times, last, answer) in found.items():
        made = small(name)
        (unknown,) = made.unknowns
        assert answer[unknown].dims == made.unknowns[unknown].over
        assert np.isfinite(answer[unknown]).all()
        assert times == sorted(times)
        assert answer.equals(last)
        assert float(answer[unknown].std()) > 0
        if name != "langevin":
            assert float(answer[unknown].min()) > 0
