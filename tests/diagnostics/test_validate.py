"""Right answers hold; wrong equations, boundaries, radii and unfinished networks are caught."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import mollifier as mf
from engine_problems import heat, heat_values, noisy
from mollifier.cli.app import app
from mollifier.data.observations import Observations
from mollifier.diagnostics.compare import children
from mollifier.diagnostics.validation import solved_again
from mollifier.diagnostics.validation.validate import validate
from mollifier.engines.complete import complete
from mollifier.errors import ConfigurationError, DataError
from mollifier.mollify.orders import Derivative
from mollifier.problem.estimate import Estimate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.status import Status
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown
from validated_solutions import decaying, drifting, exact_solution, narrow


def gridded(function, noise, seed, nx=50, nt=40, periodic=False):
    x, t = np.linspace(0, 1, nx, endpoint=not periodic), np.linspace(0, 1, nt)
    u = noisy(function(*np.meshgrid(x, t, indexing="ij")), noise, seed)
    wraps = {"periodic": 1.0} if periodic else {}
    dataset = xr.Dataset({"u": (("x", "t"), u)}, {"x": ("x", x, wraps), "t": t})
    return Observations.from_dataset(dataset, noise={"u": noise})


def numbers(*names):
    return {n: ScalarUnknown() for n in names}


RIGHT = {
    "weak": ("u_t = D*u_xx - r*u", lambda s: gridded(decaying, 0.05, s), ("D", "r"), "weak", {}),
    "weak, periodic": ("u_t = -c*u_x + D*u_xx", lambda s: gridded(drifting, 0.05, s, periodic=True),
                       ("c", "D"), "weak", {}),
    "joint": ("u_t = D*u_xx", lambda s: heat(300, 0.02, s).data, ("D",), "joint", {}),
}  # fmt: skip
COARSE = {"collocation": {"radius": {"x": 1.0, "t": 0.3}}}
EARLY = {
    "network": {"width": 8, "depth": 2},
    "training": {"warmup_steps": 100, "steps": 3},
    "collocation": {"max_nodes": 400},
}


WRONG = {
    "a missing term": ("u_t = D*u_xx", lambda s: gridded(decaying, 0.05, s), ("D",), "weak", {}),
    "a boundary that does not wrap": (
        "u_t = D*u_xx",
        lambda s: gridded(heat_values, 0.02, s, periodic=True),
        ("D",),
        "weak",
        {},
    ),
    "a width far too large": (
        "u_t = D*u_xx",
        lambda s: gridded(narrow, 0.02, s, 25, 20),
        ("D",),
        "joint",
        COARSE,
    ),
    "a network stopped too early": (
        "u_t = D*u_xx",
        lambda s: heat(300, 0.02, s).data,
        ("D",),
        "network",
        EARLY,
    ),
}


def solved(case, seed):
    equation, data, names, engine, settings = case
    return mf.solve(
        InverseProblem(equation, data(seed), numbers(*names)), engine, rng=seed, settings=settings
    )


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_hold(name):
    found = mf.validate(solved(RIGHT[name], 7))
    assert found.status == "holds", found
    assert found.ok
    assert not found.reasons


@pytest.mark.parametrize("name", WRONG)
def test_wrong_ones_are_caught(name):
    found = mf.validate(solved(WRONG[name], 7))
    assert found.status != "holds", found
    assert found.reasons
    # Not by the engine's own word alone.
    assert any(r["verdict"] != "holds" for r in found.table if r["test"] != "engine's status"), found


@pytest.fixture(scope="module")
def answer():
    equation, _, *rest = RIGHT["weak"]
    return solved((equation, lambda s: gridded(decaying, 0.05, s, 30, 24), *rest), 3)


def test_the_status_of_an_engine_without_an_answer_is_a_reason(answer):
    found = mf.validate(replace(answer, status=Status("undetermined", "too little")))
    assert found.status == "undetermined"
    assert found.reasons[0] == "too little"
    stopped = mf.validate(replace(answer, status=Status("step limit")))
    assert stopped.ok
    assert "step limit" in stopped.notes[0]


def test_what_cannot_be_solved_forward_is_doubtful(answer):
    said = {**answer.provenance, "equation": ["u_tx = D*u_xx - r*u"]}
    found = mf.validate(replace(answer, provenance=said))
    assert found.status == "doubtful"
    assert "not solved forward: u_tx mixes t with another coordinate" in " ".join(found.reasons)
    assert not found.forward.data_vars
    backwards = mf.validate(replace(answer, estimates={**answer.estimates, "D": Estimate("D", -0.1)}))
    assert backwards.status != "holds"
    unread = mf.validate(replace(answer, provenance={}))
    assert "give the problem" in " ".join(unread.reasons)


def test_further_measurements_are_used(answer):
    fresh = gridded(decaying, 0.05, 99, 25, 19)
    found = mf.validate(answer, held_out=fresh)
    rows = [r for r in found.table if r["test"] == "further data"]
    assert [r["verdict"] for r in rows] == ["holds"]
    shifted = Observations.from_dataset(fresh.dataset + 0.2, noise={"u": 0.05})
    assert mf.validate(answer, held_out=shifted).status == "refuted"
    with pytest.raises(DataError, match="none of the fields"):
        mf.validate(answer, held_out=Observations.from_dataset(fresh.dataset.rename(u="w")))


def test_other_engines_are_compared_on_request(answer, monkeypatch):
    """With what was chosen for this one; the defaults and the algorithm of each are its own."""
    monkeypatch.setattr(children, "portable", lambda problem: None)  # in this process
    given = []
    monkeypatch.setattr(
        solved_again, "compare", lambda *a, **o: given.append(o["settings"]) or mf.compare(*a, **o)
    )
    problem = InverseProblem("u_t = D*u_xx - r*u", gridded(decaying, 0.05, 3, 30, 24), numbers("D", "r"))
    found = mf.validate(answer, problem, engines=["joint"])
    assert found.table[-1]["test"] == "engine 'joint'"
    assert found.ok, found
    said = {**answer.provenance["settings"], "training": {"likelihood": "huber", "noise_floor": 1e-3}}
    moved = replace(
        answer,
        estimates={n: replace(e, value=2 * e.value) for n, e in answer.estimates.items()},
        provenance={**answer.provenance, "settings": said},
    )
    judged = mf.validate(moved, problem, engines=["joint"])
    assert "engine 'joint' finds another value of 'D', 'r'" in judged.reasons
    assert given == [{}, {"training": {"likelihood": "huber"}}]


@pytest.mark.slow
def test_other_radii_are_compared_on_request(answer):
    problem = InverseProblem("u_t = D*u_xx - r*u", gridded(decaying, 0.05, 3, 30, 24), numbers("D", "r"))
    found = mf.validate(answer, problem, radii=True)
    assert [r["test"] for r in found.table][-2:] == ["radius times 0.7", "radius times 1.4"]
    assert found.ok, found
    moved = replace(answer, estimates={n: replace(e, value=2 * e.value) for n, e in answer.estimates.items()})
    judged = validate(moved, problem, radii=True)
    assert "radius times 1.4 finds another value of 'D', 'r'" in judged.reasons
    with pytest.raises(ConfigurationError, match="needs the problem"):
        mf.validate(answer, radii=True)


def test_known_coefficients_and_periods_are_kept():
    x, t = np.random.default_rng(0).random((2, 200))
    data = Observations(
        values={"u": np.exp(-t) * np.sin(x), "s": x * t},
        points={"x": x, "t": t},
        noise={"u": 0.01, "s": 0.0},
        units={"s": "K/s"},
        periodic={"x": 1.0},
    )
    problem = InverseProblem("u_t = D*u_xx + s", data, numbers("D"))
    blank = exact_solution({"u": heat_values}, {"D": 0.1}, "u_t = D*u_xx + s")
    full = complete(problem, blank)
    assert full.known == ("s",)
    assert full.states == ("u",)
    assert full.dataset["s"].attrs == {"role": "known", "units": "K/s"}
    assert full.dataset["x"].attrs["periodic"] == 1.0


def test_it_prints(answer):
    text = str(mf.validate(answer))
    assert text.startswith("Verdict   holds")
    assert "forward solution  u" in text
    assert Derivative("u").name == "u"


def test_the_command(answer, tmp_path):
    answer.save(tmp_path)
    ran = CliRunner().invoke(app, ["validate", str(tmp_path), "--json"])
    assert ran.exit_code == 0, ran.output
    said = json.loads(ran.stdout)
    assert said["status"] == "holds"
    assert json.loads((tmp_path / "validation.json").read_text())["table"] == said["table"]
    wrong = {n: replace(e, value=3 * e.value) for n, e in answer.estimates.items()}
    replace(answer, estimates=wrong).save(tmp_path)
    ran = CliRunner().invoke(app, ["validate", str(tmp_path)])
    assert ran.exit_code == 1
    assert "Verdict: refuted" in ran.stdout
    ran = CliRunner().invoke(app, ["validate", str(tmp_path), "--radii"])
    assert ran.exit_code == 2
    assert CliRunner().invoke(app, ["validate", str(tmp_path / "no")]).exit_code == 2


@pytest.mark.parametrize("jitter", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
def test_a_periodic_axis_with_uneven_nodes_holds(jitter):
    """Estimated states are interpolated from the nodes where they are, even ones or not."""
    rng = np.random.default_rng(0)
    x, t = (np.arange(64) + jitter * rng.uniform(-1, 1, 64)) / 64, np.linspace(0, 1, 50)
    x = x - x[0]
    waves = ((1, 1.0), (2, 0.7), (3, 0.5))
    u = sum(
        a
        * np.exp((-0.5 - 0.01 * (2 * np.pi * k) ** 2) * t)
        * np.cos(2 * np.pi * k * (x[:, None] - 0.6 * t) + k)
        for k, a in waves
    )
    u = u + 0.01 * np.sqrt(np.mean(u**2)) * rng.standard_normal(u.shape)
    data = xr.Dataset({"u": (("x", "t"), u)}, {"x": ("x", x, {"periodic": 1.0}), "t": t})
    problem = InverseProblem("u_t = D*u_xx - c*u_x + r*u", data, numbers("D", "c", "r"))
    solution = mf.solve(problem)
    found = mf.validate(solution, held_out=problem.data)
    assert found.status == "holds", found
    # Against the states too, where the equation cannot be solved forward.
    unsolved = mf.validate(replace(solution, provenance={}), held_out=problem.data)
    assert [r["verdict"] for r in unsolved.table if r["test"] == "further data"] == ["holds"], unsolved


@pytest.mark.slow
def test_unknown_fields_hold_too():
    problem = InverseProblem(
        "u_t = dx(k*u_x) + s",
        Observations.from_dataset(_conducting(), noise={"u": 0.01, "s": 0.0}),
        {"k": FieldUnknown(over=("x",), lower=0.0)},
    )
    found = mf.validate(mf.solve(problem, "weak"))
    assert found.ok, found


def _conducting():
    x, t = np.linspace(0, 1, 60), np.linspace(0, 1, 50)
    gx, gt = np.meshgrid(x, t, indexing="ij")
    ux, uxx = 3 * np.exp(-gt) * np.cos(3 * gx), -9 * np.exp(-gt) * np.sin(3 * gx)
    source = -np.exp(-gt) * np.sin(3 * gx) - (0.1 * ux + (0.2 + 0.1 * gx) * uxx)
    u = noisy(np.exp(-gt) * np.sin(3 * gx), 0.01)
    return xr.Dataset({"u": (("x", "t"), u), "s": (("x", "t"), source)}, {"x": x, "t": t})
