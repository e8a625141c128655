"""The study of trust: true solutions, noise of each kind, counted verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from benchmarks.app import bench
from benchmarks.trust import study
from benchmarks.trust.noises import DECLARED, NOISES, SAMPLES, declared
from benchmarks.trust.questions import QUESTIONS, Array, Question
from benchmarks.trust.study import Plan, Trial, at_nodes, observed, run


def derivative(question: Question, places: Array, axis: int, order: int, h: float) -> Array:
    """A central difference of the solution of sixth order in ``h``, at places (n, coordinates)."""
    offsets = np.arange(-4, 5)
    weights = np.linalg.solve(
        np.vander(offsets.astype(float), increasing=True).T,
        np.eye(9)[order] * np.prod(np.arange(1, order + 1)),
    )
    step = h * np.eye(places.shape[1])[axis]
    values = np.stack([question.solution(*(places + k * step).T) for k in offsets])
    return np.einsum("k,kn->n", weights, values) / h**order


@pytest.mark.parametrize("name", QUESTIONS)
def test_question_solution_satisfies_its_equation(name: str) -> None:
    """Terms from finite differences of the formula, put into the equation with the true unknowns."""
    question = QUESTIONS[name](np.random.default_rng(5))
    rng = np.random.default_rng(6)
    low, high = np.array(list(question.bounds.values())).T
    places = low + (high - low) * (0.1 + 0.8 * rng.random((40, len(low))))
    names, h = question.coordinates, 2e-3
    u = question.solution(*places.T)
    first = {c: derivative(question, places, i, 1, h) for i, c in enumerate(names)}
    second = {c: derivative(question, places, i, 2, h) for i, c in enumerate(names)}
    t: dict[str, Any] = dict(question.truth)
    sides = {
        "transport": lambda: (first["t"], t["D"] * second["x"] - t["c"] * first["x"] + t["r"] * u),
        "plane-heat": lambda: (first["t"], t["D"] * (second["x"] + second["y"]) + t["r"] * u),
        "string": lambda: (second["t"], t["c"] * second["x"] - t["g"] * first["t"]),
        "burgers": lambda: (first["t"], t["nu"] * second["x"] - t["s"] * u * first["x"]),
        "growth": lambda: (
            first["t"],
            t["D"] * second["x"] + t["r"].interp(x=("n", places[:, 0]), method="cubic").values * u,
        ),
        "relaxation": lambda: (first["t"], t["r"] * u * (1 - u / t["K"])),
    }
    left, right = sides[name]()
    assert np.abs(left - right).max() < 2e-4 * np.abs(left).max()


@pytest.mark.parametrize("kind", NOISES)
def test_noise_size(kind: str) -> None:
    """Each kind has about the size asked for and leaves the shape; spikes are few and large."""
    u = 2 + np.sin(np.linspace(0, 6, 60))[:, None] * np.cos(np.linspace(0, 3, 50))
    errors = NOISES[kind](u, 0.02, np.random.default_rng(0)) - u
    rms = np.sqrt(np.mean(u**2))
    size = np.sqrt(np.mean(errors**2)) / rms
    if kind == "spikes":
        assert 0.002 < np.mean(np.abs(errors) > 0.3 * rms) < 0.03
    else:
        assert 0.008 < size < 0.035
    assert kind in SAMPLES or errors.shape == u.shape


@pytest.mark.parametrize("layout", study.SIZES)
def test_observed_layouts(layout: str) -> None:
    question = QUESTIONS["transport"](np.random.default_rng(0))
    data = observed(question, layout, "white", 0.01, np.random.default_rng(1))
    assert data.gridded == (layout != "scattered")
    assert data.dataset["u"].size == {"scattered": 400, "few": 360, "logged": 3600}.get(layout, 1920)


def test_trial_off() -> None:
    """A number is off by its score, a field by the places that its intervals do not hold."""
    assert Trial("q", "converged", scores={"D": [3.5]}).off(3)
    assert not Trial("q", "converged", scores={"D": [3.5]}).off(4)
    assert Trial("q", "converged", scores={"k": [0.0, 5.0, 5.0]}).off(4)
    assert not Trial("q", "misfit", scores={"D": [9.0]}).good


def test_run_kinds_only_where_they_apply() -> None:
    assert study.applies(Plan("equation", "missing term", "grid", "weak"), 0)
    assert not study.applies(Plan("equation", "wrong coordinate", "grid", "weak"), 0)
    assert not study.applies(Plan("noise", "gain of each sensor", "grid", "weak"), 5)
    table = run(["equation"], ["weak"], range(4, 5), ["number for a field"])
    assert [(r.what, r.runs) for r in table.rows] == [("number for a field", 1)]
    assert not run(["noise"], ["weak"], range(4, 5), ["white"], ["burgers", "relaxation"]).rows


def test_command(tmp_path) -> None:
    asked = [
        "trust",
        "noise",
        "--engines",
        "weak",
        "--kinds",
        "white",
        "--seeds",
        "1",
        "--out",
        str(tmp_path),
    ]
    assert CliRunner().invoke(bench, [*asked, "--out", str(tmp_path)]).exit_code == 0
    assert "white" in (tmp_path / "trust.md").read_text()


def test_declared_noise_has_the_size_that_is_declared() -> None:
    """Of a constant field the squares of every kind have the mean of the sizes declared."""
    axes = {"x": np.linspace(0, 1, 12), "t": np.linspace(0, 1, 30)}
    for kind in DECLARED:
        squares = []
        for seed in range(40):
            u, words = declared(kind, np.ones((12, 30)), 0.02, np.random.default_rng(seed), axes)
            squares.append(np.mean((u - 1) ** 2))
        sizes = [v for v in words.values() if isinstance(v, float)]
        assert np.mean(squares) == pytest.approx(np.sum(np.square(sizes)), rel=0.5)


def test_mistaken_question_keeps_the_truths_that_it_still_asks_for() -> None:
    growth = QUESTIONS["growth"](np.random.default_rng(0))
    assert set(growth.mistaken("number for a field").truth) == {"D"}
    assert set(growth.mistaken("wrong coordinate").truth) == {"D"}
    assert set(QUESTIONS["transport"](np.random.default_rng(0)).mistaken("constant +5%").truth) == {"D", "r"}


def test_truth_is_taken_at_the_nodes_of_an_answer() -> None:
    """An exact answer, interpolated between its nodes, is off by more than its errors at little noise."""
    exact = QUESTIONS["growth"](np.random.default_rng(0)).truth["r"]
    nodes = xr.Dataset(coords={"x": np.linspace(0, 1, 48)})
    found = exact.interp(x=nodes["x"])
    assert abs(found.interp(x=np.linspace(0, 1, 64)) - exact.interp(x=np.linspace(0, 1, 64))).max() > 2e-3
    near = at_nodes({"r": exact, "D": 0.1}, nodes)
    assert near["D"] == 0.1
    assert np.asarray(near["r"]) == pytest.approx(found.values)
