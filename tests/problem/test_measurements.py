"""Measurements of an unknown field as data: what is accepted and refused, and each engine's answer."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import xarray as xr

from engine_problems import noisy, small
from mollifier import load_solution, solve
from mollifier.data.observations import Observations
from mollifier.diagnostics.check.check import check
from mollifier.engines.identifiability.structure import has_trivial_answer
from mollifier.engines.splines.basis import AxisSplines, Basis
from mollifier.engines.splines.limits import Limits
from mollifier.engines.weak.conditioning import FieldMeasurements
from mollifier.errors import ConfigurationError, DataError
from mollifier.mollify.grid import Axis, Grid
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.measurements import EXACT
from mollifier.problem.problem_file import load
from mollifier.problem.unknowns import FieldUnknown

X, T = np.linspace(0, 1, 41), np.linspace(0, 1, 31)
# The gradient of u vanishes over a part of the rod: there only the measurements tell of k.
FLAT = 0.35


def conductivity(x):
    return 1 + 0.5 * np.sin(3 * x)


def slope(x):
    return 1.5 * np.cos(3 * x)


def bend(x):
    """A function of x that is constant up to FLAT, and its first two derivatives."""
    r = np.maximum(x - FLAT, 0.0)
    return r**4, 4 * r**3, 12 * r**2


def data(noise=0.02, seed=0):
    """u = exp(-t) (1 + 4 b(x)) and the source that makes it obey u_t = div(k*grad(u)) + s."""
    x, t = np.meshgrid(X, T, indexing="ij")
    b, bx, bxx = bend(x)
    u = np.exp(-t) * (1 + 4 * b)
    s = -u - 4 * np.exp(-t) * (slope(x) * bx + conductivity(x) * bxx)
    arrays = {"u": (("x", "t"), noisy(u, noise, seed)), "s": (("x", "t"), s)}
    return Observations.from_dataset(xr.Dataset(arrays, {"x": X, "t": T}), noise={"u": noise, "s": 0.0})


def measurements(x, sd=0.0, seed=0):
    """Measurements of k at places x, with absolute noise."""
    x = np.asarray(x, dtype=float)
    values = conductivity(x) + sd * np.random.default_rng(seed).standard_normal(x.shape)
    errors = xr.DataArray(np.full(x.shape, sd), dims="point")
    return Observations({"k": values}, {"x": x}, noise={"k": errors.values})


def problem(known=None, noise=0.02, seed=0, **unknown):
    k = FieldUnknown(over=("x",), lower=0.0, measurements=known, **unknown)
    return InverseProblem("u_t = div(k*grad(u)) + s", data(noise, seed), {"k": k})


def found(solution):
    """The field found, its standard error and the truth, where the data tell nothing of k themselves."""
    k, x = solution.dataset["k"], solution.dataset["x"].values
    here = x < FLAT
    return k.values[here], solution.dataset["k_sd"].values[here], conductivity(x[here])


# What is accepted


def test_readings_are_those_of_the_field_on_its_own_points():
    made = problem(measurements([0.5, 0.1, 0.1], 0.03))
    samples = made.measurements["k"]
    assert samples.coordinates == ("x",)
    assert samples.points[:, 0].tolist() == [0.5, 0.1, 0.1]
    assert samples.sd.tolist() == pytest.approx([0.03] * 3)


def test_exact_readings_are_sure_to_a_thousandth():
    samples = problem(measurements([0.0, 1.0])).measurements["k"]
    assert samples.sd == pytest.approx(EXACT * np.sqrt(np.mean(samples.values**2)))


def test_one_place_will_do_and_a_dataset_too():
    array = xr.DataArray(conductivity(X), {"x": X}, ("x",), name="k").where(X < 0.2)
    assert len(problem(measurements([0.0])).measurements["k"].values) == 1
    known = problem(array.to_dataset().assign_attrs()).measurements["k"]
    assert len(known.values) == int((X < 0.2).sum())


def test_the_variable_of_the_fields_name_or_the_only_one():
    other = Observations({"conductivity": [1.0, 1.2]}, {"x": [0.0, 1.0]}, noise=0.1)
    assert problem(other).measurements["k"].values.tolist() == [1.0, 1.2]
    both = Observations({"k": [1.0, 1.2], "q": [5.0, 5.0]}, {"x": [0.0, 1.0]}, noise=0.1)
    assert problem(both).measurements["k"].values.tolist() == [1.0, 1.2]
    with pytest.raises(ConfigurationError, match="hold r, q; one variable"):
        problem(both.rename({"k": "r"}))


def plate(known, **periodic):
    """A field over x and y, the coordinates of whose measurements come in another order."""
    x, y = np.meshgrid(X[::4], X[::4], indexing="ij")
    u = xr.Dataset({"u": (("x", "y"), x**2 + np.sin(y))}, {"x": X[::4], "y": X[::4]})
    unknown = FieldUnknown(over=("x", "y"), measurements=known)
    obs = Observations.from_dataset(u, noise=0.01, periodic=periodic)
    return InverseProblem("0 = div(k*grad(u)) + 1", obs, {"k": unknown})


def test_an_edge_in_any_order_of_coordinates():
    y = np.linspace(0, 1, 5)
    edge = Observations({"k": 1 + y}, {"y": y, "x": 0 * y}, noise=0.0)
    samples = plate(edge).measurements["k"]
    assert samples.coordinates == ("x", "y")
    assert samples.points.tolist() == np.stack([0 * y, y], -1).tolist()


def test_places_on_a_periodic_coordinate_wrap():
    known = Observations({"k": [1.0, 2.0]}, {"x": [0.5, 0.5], "y": [1.3, -0.1]}, noise=0.0)
    assert plate(known, y=1.1).measurements["k"].points[:, 1] == pytest.approx([0.2, 1.0])


def test_the_domain_reaches_to_readings_a_little_beyond_the_data():
    made = problem(measurements([-0.03, 0.5]))
    assert made.bounds == {"x": (-0.03, 1.0), "t": (0.0, 1.0)}


# What is refused


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (
            lambda: measurements([0.5, 1.2]),
            r"outside of the domain, as at x = 1.2",
        ),
        (lambda: Observations({"k": [1.0]}, {"t": [0.5]}, noise=0.0), "are over t; the field varies over x"),
        (
            lambda: Observations({"k": [1.0, 1.1]}, {"x": [0.1, 0.2], "t": [0.1, 0.5]}, noise=0.0),
            "are over x, t; the field varies over x",
        ),
        (
            lambda: Observations({"k": [-0.5, 1.0]}, {"x": [0.1, 0.2]}, noise=0.0),
            "outside of its bounds, as -0.5",
        ),
        (lambda: [1.0, 2.0], "measurements=list was given"),
    ],
)
def test_bad_readings(known, message):
    with pytest.raises(ConfigurationError, match=message):
        problem(known())


def test_a_negative_standard_error():
    with pytest.raises(DataError, match="below zero"):
        measurements([0.1, 0.2], -0.1)


def test_noise_that_is_neither_given_nor_to_be_estimated():
    with pytest.raises(DataError, match="noise"):
        problem(Observations({"k": [1.0, 1.1]}, {"x": [0.1, 0.2]}))


def test_noise_explains_a_little_beyond_a_bound():
    assert len(problem(Observations({"k": [-0.01, 1.0]}, {"x": [0.1, 0.2]}, noise=0.05)).measurements) == 1


def test_states_at_one_place_along_a_coordinate():
    obs = Observations({"u": [1.0, 2.0]}, {"x": [0.0, 1.0], "t": [1.0, 1.0]}, noise=0.1)
    with pytest.raises(DataError, match="'t' has one point only"):
        InverseProblem("u_t = div(k*grad(u))", obs, {"k": FieldUnknown(over=("x",))})


# What else they touch


def test_a_reading_sets_the_scale():
    def made(known):
        return InverseProblem(
            "0 = div(k*grad(u))", data(), {"k": FieldUnknown(over=("x",), measurements=known)}
        )

    assert has_trivial_answer(made(None))
    assert not has_trivial_answer(made(measurements([0.0])))


def test_check_tells_of_them():
    seen = check(problem(measurements([0.0, 0.3])))
    assert seen.ok
    assert any("k: 2 measurements" in f.text for f in seen.findings)


def test_provenance_tells_readings_apart():
    first, second = (problem(measurements([0.0], seed=s, sd=0.1)).described["unknowns"]["k"] for s in (0, 1))
    assert first != second


def test_a_problem_file(tmp_path):
    rows = ["x,t,u"] + [f"{x},{t},{np.exp(-t) * np.sin(3 * x)}" for x in X[::4] for t in T[::3]]
    (tmp_path / "u.csv").write_text("\n".join(rows))
    (tmp_path / "ends.csv").write_text("x,conductivity\n0,1.5\n1,2.5\n")
    (tmp_path / "rod.yaml").write_text(
        "equation: u_t = div(k*grad(u))\n"
        "data: {file: u.csv, noise: 0.01}\n"
        "unknowns: {k: {lower: 0, over: x, measurements: {file: ends.csv, values: conductivity, noise: 0}}}\n"
    )
    read = load(tmp_path / "rod.yaml", ["unknowns.k.measurements.noise=0.1"])
    assert set(read.measurements) == {"k"}
    samples = read.problem().measurements["k"]
    assert samples.values.tolist() == [1.5, 2.5]
    assert samples.sd == pytest.approx(0.1 * np.sqrt((1.5**2 + 2.5**2) / 2))
    text = (tmp_path / "rod.yaml").read_text()
    (tmp_path / "rod.yaml").write_text(text.replace("values:", "valeus:"))
    with pytest.raises(ConfigurationError, match=r"measurements\.valeus"):
        load(tmp_path / "rod.yaml")


# The parts of the weak engine


def splines(size=12, degree=3):
    axis = Axis("x", 0.0, 1.0, 41)
    return Basis("k", {"x": AxisSplines(axis, size, degree)}, Grid(axis))


def fitted(basis, values):
    return np.asarray(np.linalg.lstsq(basis.at(basis.grid), values)[0], dtype=np.float64)


def test_rows_are_the_functions_at_points_and_go_on_beyond_the_ends():
    basis = splines()
    x = np.linspace(-0.02, 1.02, 9)
    cubic = fitted(basis, basis.grid["x"].points ** 3)
    assert basis.rows({"x": x}) @ cubic == pytest.approx(x**3, abs=1e-10)


def test_what_readings_tell_of_coefficients():
    basis, x = splines(), np.linspace(0, 1, 30)
    known = FieldMeasurements("k", basis.rows({"x": x}), x**2, np.full(30, 0.1))
    square = np.asarray(np.linalg.solve(known.information, known.right), dtype=np.float64)
    assert basis.rows({"x": x}) @ square == pytest.approx(x**2, abs=1e-8)
    assert known.misfit(square) == pytest.approx(0.0, abs=1e-7)


def test_bounds_are_held_by_values_and_not_by_coefficients():
    basis = splines(10, 9)
    place, bounds = {"k": slice(0, 10)}, np.stack([np.zeros(10), np.full(10, np.inf)])
    limits = Limits.of([basis], place, bounds)
    x = basis.grid["x"].points
    well = fitted(basis, 0.1 + x**6)
    assert well.min() < 0
    assert limits.nearest(well, np.eye(10)) == pytest.approx(well)
    below = fitted(basis, x - 0.2)
    precision = basis.at(basis.grid).T @ basis.at(basis.grid) + 1e-8 * np.eye(10)
    covariance = np.asarray(np.linalg.inv(precision), dtype=np.float64)
    nearest = basis.at(basis.grid) @ limits.nearest(below, covariance)
    assert nearest.min() > -0.01
    assert np.abs(nearest - np.maximum(x - 0.2, 0)).max() < 0.1


# The engines

FEW = {"collocation": {"nodes": {"x": 21, "t": 11}}}


@cache
def answer(engine, known, seed=0):
    given = measurements(np.linspace(0, FLAT, 8)) if known else None
    settings = (
        small(training={"steps": 100}, **FEW) if engine == "network" else FEW if engine == "joint" else {}
    )
    return solve(problem(given, seed=seed), engine, settings=settings)


@pytest.mark.parametrize("engine", ["weak", "joint", pytest.param("network", marks=pytest.mark.slow)])
def test_exact_readings_are_met_within_their_errors(engine):
    value, sd, truth = found(answer(engine, True))
    error = EXACT * np.sqrt(np.mean(truth**2))
    assert np.abs(value - truth).max() < 10 * error
    assert sd.max() < 0.05


@pytest.mark.parametrize("engine", ["weak", "joint", pytest.param("network", marks=pytest.mark.slow)])
def test_readings_better_the_answer(engine):
    with_them, without = ([*found(answer(engine, known))] for known in (True, False))
    errors = [np.sqrt(np.mean((value - truth) ** 2)) for value, _, truth in (with_them, without)]
    assert errors[0] < 0.5 * errors[1]


def test_a_solution_with_readings_is_saved_and_loaded(tmp_path):
    solution = answer("weak", True)
    solution.save(tmp_path / "run")
    assert load_solution(tmp_path / "run").to_dataset()["k"].equals(solution.to_dataset()["k"])


def test_noisy_readings_are_weighed_by_their_noise():
    """Over seeds intervals hold the truth about as often as they say, where measurements alone tell of k."""
    inside, off = [], []
    for seed in range(4):
        known = measurements(np.linspace(0, FLAT, 24), 0.05, seed + 50)
        value, sd, truth = found(solve(problem(known, seed=seed), "weak"))
        inside.append(np.abs(value - truth) < 1.96 * sd)
        off.append(np.sqrt(np.mean((value - truth) ** 2)))
    assert np.mean(inside) > 0.8
    assert np.median(off) < 0.03


def test_readings_that_contradict_the_equation_are_a_misfit():
    x = np.linspace(0.6, 1, 12)
    wrong = Observations({"k": 3 + (-1.0) ** np.arange(12)}, {"x": x}, noise=0.0)
    solution = solve(problem(wrong), "weak")
    assert solution.status.name == "misfit"
    assert "misses the measurements of 'k'" in str(solution.status)


@pytest.mark.parametrize("noise", [0.01, 0.0])
def test_a_reading_is_enough_where_the_equation_has_no_scale(noise):
    """Of 0 = div(k*grad(u)) with u_x = 1/k the data give k but for a factor."""
    u = np.log(1 + np.meshgrid(X, T, indexing="ij")[0])
    obs = Observations.from_dataset(
        xr.Dataset({"u": (("x", "t"), noisy(u, 0.005))}, {"x": X, "t": T}), noise={"u": 0.005}
    )
    end = Observations({"k": [1.0]}, {"x": [0.0]}, noise=noise)
    unknown = FieldUnknown(over=("x",), lower=0.0, measurements=end)
    solution = solve(InverseProblem("0 = div(k*grad(u))", obs, {"k": unknown}), "weak")
    k = solution.dataset["k"].values
    assert solution.status.name == "converged"
    assert np.sqrt(np.mean((k - (1 + X)) ** 2)) < 0.05


def test_unknowns_compare_by_their_readings():
    known = measurements([0.0])
    assert FieldUnknown(measurements=known) == FieldUnknown(measurements=known)
    assert replace(FieldUnknown(measurements=known), lower=0.0).measurements is known
