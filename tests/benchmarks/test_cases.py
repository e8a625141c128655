"""The benchmark cases: each obeys its equation, carries the noise it says, and scores against its truth."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.io import savemat

from benchmarks.cases import (
    burgers,
    ill_posed,
    inverse_heat,
    inverse_poisson,
    kdv,
    kuramoto_sivashinsky,
    reaction_rate,
    spectral,
)
from benchmarks.cases.burgers import read_burgers
from benchmarks.cases.registry import CASES, case
from benchmarks.peers import registry as peers
from mollifier.errors import ConfigurationError, DataError
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

SHOCK = Path(__file__).parents[3] / "shared" / "data" / "burgers_shock.mat"


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A cache of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("MOLLIFIER_CACHE", str(folder))
        yield folder


# Small, but fine enough for the derivatives below.
SMALL = {
    "advection_diffusion": ({"nodes": 72, "frames": 41, "modes": 108, "steps": 2}, 1e-3),
    "allen_cahn": ({"frames": 201, "modes": 1024, "steps": 5}, 1e-6),
    "burgers": ({"nodes": 33, "frames": 9}, None),
    "chromatin": ({"nodes": 96, "modes": 192, "steps": 4}, 3e-3),
    "chromatin_line": ({"nodes": 96, "modes": 192, "steps": 8}, 3e-3),
    "fisher_kpp": ({"modes": 512, "steps": 10}, 1e-5),
    "heat": ({"nodes": 33, "cells": 96}, 1e-3),
    "heat_laplacian": ({"nodes": 33, "cells": 96}, 1e-3),
    "inverse_heat": ({}, 1e-5),
    "inverse_poisson": ({}, 1e-5),
    "kdv": ({"nodes": 256, "frames": 401, "modes": 256, "steps": 20}, 1e-7),
    "kuramoto_sivashinsky": ({"modes": 512, "steps": 20, "until": 10.0}, 1e-6),
    "langevin": ({}, 1e-12),
    "reaction_rate": ({}, 1e-8),
    "vorticity": ({"nodes": 72, "frames": 41, "modes": 108, "steps": 3}, 1e-3),
}


def small(name):
    return case(name, **SMALL[name][0])


def differences(x, order, width=9):
    """Matrix (n, n) of derivatives that are exact for polynomials of degree width - 1, one-sided at ends."""
    n = len(x)
    matrix = np.zeros((n, n))
    for i in range(n):
        first = min(max(i - width // 2, 0), n - width)
        s = x[first : first + width] - x[i]
        scale = np.abs(s).max()
        right = np.zeros(width)
        right[order] = math.factorial(order) / scale**order
        matrix[i, first : first + width] = np.linalg.solve(np.vander(s / scale, increasing=True).T, right)
    return matrix


def derivative(array, orders):
    """Spectral along periodic coordinates, high-order differences along others."""
    for name, order in orders:
        x, axis = array[name].values, array.get_axis_num(name)
        if "periodic" in array[name].attrs:
            k = 2 * np.pi / float(array[name].attrs["periodic"]) * np.fft.fftfreq(len(x), 1 / len(x))
            shape = [-1 if i == axis else 1 for i in range(array.ndim)]
            spectrum = np.fft.fft(array.values, axis=axis) * (1j * k.reshape(shape)) ** order
            values = np.fft.ifft(spectrum, axis=axis).real
        else:
            values = np.moveaxis(np.tensordot(differences(x, order), array.values, (1, axis)), 0, axis)
        array = array.copy(data=values)
    return array


def residual(made):
    """Largest residual of the equation over the rms of its largest term, away from the ends of axes."""
    system, clean = made.problem(noise=0.0).system, made.clean
    env = {**made.constants, **made.scalars, **{c: clean[c] for c in clean.dims}}
    env |= {v: clean[v] for v in clean.data_vars}
    for name, truth in made.true_fields.items():
        exact = truth.interp({c: clean[c] for c in truth.dims}, method="cubic")
        wraps = {c: clean[c].attrs for c in truth.dims}
        env[str(name)] = exact.assign_coords({c: (c, clean[c].values, wraps[c]) for c in truth.dims})
    for name, wanted in system.derivatives.items():
        if name in made.scalars:
            continue
        for d in wanted:
            env[d.name] = derivative(env[name], d.orders)
    equation = system.equations[0]
    arrays = xr.broadcast(*(xr.DataArray(v) for v in env.values()))
    plain = {n: a.transpose(*clean.dims).values for n, a in zip(env, arrays, strict=True)}
    wrong = equation.evaluate({n: plain[n] for n in equation.symbols})
    terms = equation.evaluate_terms({n: plain[n] for n in equation.symbols})
    inside = tuple(slice(None) if "periodic" in clean[c].attrs else slice(5, -5) for c in clean.dims)
    largest = max(np.sqrt(np.mean(np.broadcast_to(t, wrong.shape)[inside] ** 2)) for t in terms)
    return np.abs(wrong[inside]).max() / largest


# Their truths take seconds to make.
LONG = ("chromatin", "reaction_rate", "kdv", "kuramoto_sivashinsky")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in CASES if n != "burgers"],
)
def test_a_case_obeys_its_own_equation(name):
    made = small(name)
    if name == "inverse_heat":
        x, t = np.linspace(-1, 1, 41), np.linspace(0, 1, 21)
        u = inverse_heat.temperature(x[:, None, None], x[:, None], t)
        made = replace(made, clean=xr.Dataset({"u": (("x", "y", "t"), u)}, {"x": x, "y": x, "t": t}))
    assert residual(made) < SMALL[name][1]


def test_the_exact_burgers_solution_obeys_the_equation():
    """With a viscosity that the differences of the test resolve."""
    x, t = np.linspace(-1, 1, 201), np.linspace(0, 0.6, 61)
    u = np.stack([burgers.exact(x, s, nu=0.05) for s in t], axis=-1)
    made = replace(
        small("burgers"),
        clean=xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}),
        truth={"a": 1.0, "nu": 0.05},
    )
    assert residual(made) < 1e-5
    assert burgers.exact(x, 0.7) == pytest.approx(burgers.exact(x, 0.7, half=3000), abs=1e-13)
    assert burgers.exact(np.array([-1.0, 0.0, 1.0]), 0.9) == pytest.approx([0, 0, 0], abs=1e-12)


@pytest.mark.slow
@pytest.mark.skipif(not SHOCK.exists(), reason="needs the reference data beside the repository")
def test_the_burgers_file_agrees_with_the_exact_solution():
    read, made = read_burgers(SHOCK), case("burgers")
    assert read.clean["u"].values == pytest.approx(made.clean["u"].values, abs=1e-10)
    assert read.equation == made.equation


def test_a_file_that_is_not_burgers_is_refused(tmp_path):
    savemat(tmp_path / "other.mat", {"x": np.zeros(3)})
    with pytest.raises(DataError, match="holds no t, usol"):
        read_burgers(tmp_path / "other.mat")


@pytest.mark.parametrize(
    ("simulate", "sizes"),
    [
        (kdv.simulate, {"nodes": 64, "frames": 3, "modes": 256}),
        (kuramoto_sivashinsky.simulate, {"nodes": 64, "frames": 3, "modes": 384, "until": 10.0}),
    ],
)
def test_simulations_converge_at_fourth_order(simulate, sizes):
    runs = [simulate(**sizes, steps=steps)["u"].values[:, -1] for steps in (200, 400, 1600)]
    errors = [np.abs(run - runs[-1]).max() for run in runs[:2]]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.5)
    finer = simulate(**{**sizes, "modes": 2 * sizes["modes"]}, steps=1600)["u"].values[:, -1]
    assert finer == pytest.approx(runs[-1], abs=1e-8)


def test_the_soliton_of_kdv():
    """u = 3 c sech^2 travels at speed c; the simulation is started from it."""
    box = spectral.Box((2.0,), (256,))
    (k,) = box.wavenumbers()
    x, speed, b = box.nodes()[0], 0.8, 0.0025

    def soliton(t):
        away = (x - 1.0 - speed * t + 1) % 2 - 1
        return 3 * speed / np.cosh(np.sqrt(speed / (4 * b)) * away) ** 2

    keep = box.retained()
    found = spectral.etdrk4(
        1j * b * k**3,
        lambda v: -0.5j * k * keep * box.spectrum(box.values(v) ** 2),
        box.spectrum(soliton(0.0)),
        2,
        0.5,
        2000,
    )
    assert box.values(found[-1]) == pytest.approx(soliton(0.5), abs=3e-7)


def test_reaction_rate_agrees_with_another_scheme():
    """Differences of eighth order on a dense mesh, where collocation on an adapted one was used."""
    x = np.linspace(0, 1, 397)
    matrix = 0.01 * differences(x, 2) - np.diag(reaction_rate.rate(x))
    matrix[[0, -1]] = np.eye(len(x))[[0, -1]]
    right = np.sin(2 * np.pi * x)
    right[[0, -1]] = 0
    assert np.linalg.solve(matrix, right)[::4] == pytest.approx(small("reaction_rate").clean["u"], abs=1e-9)


# Observations


@pytest.mark.parametrize("name", CASES)
def test_noise_is_as_asked_and_not_told(name):
    made = small(name)
    told = made.problem(noise=0.05, seed=2, known_noise=True).data
    untold = made.problem(noise=0.05, seed=2).data
    for v in made.clean.data_vars:
        error = untold.dataset[v].values - made.clean[v].values
        rms = float(np.sqrt((made.clean[v] ** 2).mean()))
        if v in made.noisy:
            assert np.std(error) == pytest.approx(0.05 * rms, rel=0.2)
            assert told.noise_sd(v) == pytest.approx(0.05 * rms, rel=1e-9)
            assert untold.noise_source(v) == "estimated"
        else:
            assert not error.any()
            assert (untold.noise_source(v), untold.noise_sd(v)) == ("given", 0.0)
    assert made.observations(seed=2).digest() == made.observations(seed=2).digest()
    assert made.observations(seed=3).digest() != made.observations(seed=2).digest()


def test_some_points_of_a_grid():
    data = small("kdv").observations(0.01, seed=1, points=300, known_noise=True)
    assert (data.gridded, data.dataset.sizes["point"]) == (False, 300)
    assert small("kdv").observations(0.01, points=300).digest() != data.digest()


def test_absolute_noise_where_the_source_has_it():
    made = small("inverse_poisson")
    assert made.sigma() == {"u": 0.1}
    assert made.sigma(0.01)["u"] == pytest.approx(0.01 * 0.5, rel=0.05)
    error = made.observations(seed=4).dataset["u"] - made.clean["u"]
    assert float(error.std()) == pytest.approx(0.1, rel=0.05)


def test_variants():
    assert case("chromatin", frames=2, **SMALL["chromatin"][0]).clean.sizes["t"] == 2
    with pytest.raises(ConfigurationError, match="from 2 to 31"):
        case("chromatin", frames=40)
    with pytest.raises(ConfigurationError, match="dimensions=3"):
        case("chromatin", dimensions=3)
    assert case("heat", kept=0.2, **SMALL["heat"][0]).clean.sizes["point"] == round(0.2 * 33**2)
    with pytest.raises(ConfigurationError, match="kept=0"):
        case("heat", kept=0)
    assert case("vorticity", measured=True, **SMALL["vorticity"][0]).noisy == ("w", "u", "v")
    with pytest.raises(ConfigurationError, match="Did you mean 'rough'"):
        case("langevin", forcing="rouhg")
    assert residual(case("langevin", forcing="rough", drift=1.0, nodes=2001)) < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_a_case_says_what_it_is(name):
    made = small(name)
    assert made.name == name
    assert set(made.truth) == set(made.unknowns)
    assert set(made.scalars) | set(made.true_fields.data_vars) == set(made.truth)
    for text in (made.title, made.source, made.fails):
        assert text.strip()
        assert "\n" not in text
    assert all(made.unknowns[n].admits(v) for n, v in made.scalars.items())
    assert all(made.unknowns[str(n)].admits(float(v.min())) for n, v in made.true_fields.items())


# Scores


def solution(estimates, dataset):
    rows, steps = xr.Dataset({"u": ("observation", [])}), xr.Dataset({"loss": ("step", [])})
    found = {n: Estimate(n, v, 0.1) for n, v in estimates.items()}
    return Solution(Status("converged"), found, dataset, rows, steps, {})


def test_errors_of_numbers():
    made = small("kdv")
    errors = made.errors(solution({"a": 1.1, "b": 0.0025}, xr.Dataset()))
    assert errors == {"a": pytest.approx(0.1), "b": 0.0}
    assert math.isnan(made.errors(solution({"a": 1.0}, xr.Dataset()))["b"])


def test_errors_of_fields():
    made = small("inverse_poisson")
    x = np.linspace(0, 1, 33)
    field = xr.DataArray(1.2 * inverse_poisson.conductivity(x[:, None], x), {"x": x, "y": x}, ("x", "y"))
    assert made.errors(solution({}, xr.Dataset({"a": field})))["a"] == pytest.approx(0.2, abs=1e-4)
    assert math.isnan(made.errors(solution({}, xr.Dataset()))["a"])


def test_a_case_that_is_not_there():
    with pytest.raises(ConfigurationError, match="Did you mean 'kdv'"):
        case("kvd")


# Questions without an answer

PAIRS = ill_posed.questions()


def least_squares(made):
    """Condition number of the unknown numbers' own regression, and its misfit over the known terms."""
    equation = made.problem(noise=0.0).system.equations[0]
    env = {s: made.clean[s] for s in made.clean.data_vars}
    for d in made.problem(noise=0.0).system.derivatives["u"]:
        env[d.name] = derivative(made.clean["u"], d.orders)
    plain = {n: v.values for n, v in env.items()}
    remainder, factors = equation.collect(list(made.unknowns))
    right = -np.ravel(remainder({n: plain[n] for n in remainder.symbols}) + 0 * plain["u"])
    columns = [np.ravel(f({n: plain[n] for n in f.symbols}) + 0 * plain["u"]) for f in factors.values()]
    matrix = np.stack(columns, axis=-1)
    if not np.abs(right).max() > 1e-9:
        return math.inf, 0.0
    singular = np.linalg.svd(matrix / np.abs(matrix).max(), compute_uv=False)
    misfit = right - matrix @ np.linalg.lstsq(matrix, right)[0]
    return singular[0] / max(singular[-1], 1e-300), np.linalg.norm(misfit) / np.linalg.norm(right)


NUMBERS = ["constant", "proportional", "same_term", "absent_gradient", "aliased", "single_wave"]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p[0].case.name)
def test_a_question_has_no_answer_and_its_twin_has(pair):
    bad, good = pair
    assert bad.undetermined
    assert not bad.answerable
    assert good.answerable
    assert set(bad.undetermined) <= set(bad.case.unknowns)
    assert good.case.name == f"{bad.case.name}_twin"
    for question in pair:
        question.case.problem()
    assert residual(good.case) < 1e-3
    if bad.case.name in NUMBERS:
        condition, misfit = least_squares(bad.case)
        assert condition > 1e6 or misfit > 0.1
        condition, misfit = least_squares(good.case)
        assert condition < 100
        assert misfit < 1e-4


def test_pure_noise_is_noise():
    bad, good = PAIRS[[b.case.name for b, _ in PAIRS].index("pure_noise")]
    assert float(bad.case.observations().dataset["u"].std()) == pytest.approx(0.1, rel=0.05)
    assert good.case.sigma()["u"] == pytest.approx(0.1 * good.case.observations(0.0).rms("u"))


# Peers


def test_a_peer_is_named_and_says_what_it_is_not_run_on():
    made = small("inverse_heat")
    with pytest.raises(ConfigurationError, match="Did you mean 'pysindy'"):
        peers.run("pysindi", made, made.observations())
    assert "is run on burgers" in peers.run("pysindy", made, made.observations()).note
    some = small("kdv")
    assert "grid" in peers.run("pysindy", some, some.observations(points=50)).note


def test_a_peer_that_is_not_there_is_a_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "pysindy", None)
    row = peers.run("pysindy", small("kdv"), small("kdv").observations())
    assert not row.errors
    assert row.note == 'not installed (pysindy): pip install "mollifier[peers]"'


@pytest.mark.skipif(find_spec("pysindy") is None, reason="needs pysindy (the extra 'peers')")
def test_pysindy_finds_the_coefficients(monkeypatch):
    monkeypatch.setattr(peers.sindy, "_CENTRES", 60)
    monkeypatch.setattr(peers.sindy, "_HALF_WIDTHS", (0.1,))
    monkeypatch.setattr(peers.sindy, "_POWERS", (6,))
    made = small("kdv")
    state = np.random.get_state()[1].tolist()
    row = peers.run("pysindy", made, made.observations(0.001))
    assert set(row.errors) == {"a", "b"}
    assert max(row.errors.values()) < 0.01
    assert row.seconds > 0
    assert np.random.get_state()[1].tolist() == state
