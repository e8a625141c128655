"""Whether `check` is right about what can be answered: on twelve pairs and on others, and in its words."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp
from typer.testing import CliRunner

from benchmarks.cases.ill_posed import questions
from benchmarks.cases.ill_posed_lab import lab_questions
from mollifier.cli.app import app
from mollifier.data.observations import Observations, Samples
from mollifier.diagnostics.check.answer import _free
from mollifier.diagnostics.check.check import check
from mollifier.engines.identifiability.information import information
from mollifier.engines.identifiability.pointwise import local_fits
from mollifier.engines.identifiability.structure import scalings, terms_at_samples
from mollifier.engines.identifiability.undetermined import Direction, combination
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown, StateUnknown
from mollifier.reporting.check_maps import save_check

X, T = np.linspace(0, 3, 61), np.linspace(0, 1, 51)
MIXED = (
    np.exp(-0.4 * T) * np.sin(2 * X)[:, None]
    + 0.5 * np.exp(-2.5 * T) * np.cos(5 * X)[:, None]
    + np.exp(-0.1 * T) * np.cos(X)[:, None]
)


def measured(u, noise=0.01, seed=1, x=X, t=T) -> Observations:
    u = np.broadcast_to(u, (x.size, t.size))
    u = u + noise * np.sqrt(np.mean(u**2)) * np.random.default_rng(seed).standard_normal(u.shape)
    return Observations.from_dataset(xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}))


def series(t, noise=0.01, **values) -> Observations:
    rng = np.random.default_rng(2)
    noisy = {
        k: ("t", v + noise * np.sqrt(np.mean(v**2)) * rng.standard_normal(v.shape)) for k, v in values.items()
    }
    return Observations.from_dataset(xr.Dataset(noisy, {"t": t}))


def numbers(names: str) -> dict[str, ScalarUnknown]:
    return {n: ScalarUnknown() for n in names.split()}


def errors(found) -> str:
    return " ".join(f.text for f in found.errors)


PAIRS = [*questions(), *lab_questions()]
QUESTIONS = [q for pair in PAIRS for q in pair]


@pytest.mark.slow
def test_twenty_three_of_twenty_four_questions_are_judged_right():
    found = {q.case.name: (check(q.case.problem()), q.answerable) for q in QUESTIONS}
    assert len(found) == 24
    wrong = [n for n, (c, answerable) in found.items() if c.ok != answerable]
    assert len(wrong) <= 1, wrong
    doubtful = [n for n, (c, answerable) in found.items() if answerable and c.verdict != "good"]
    assert len(doubtful) <= 1, doubtful
    assert all(c.advice for c, answerable in found.values() if not answerable)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("proportional", "only b/a"),
        ("same_term", "combination r + s"),
        ("single_wave", "combination r - 4*D"),
        ("creep", "combination eta + 2*E"),
        ("absent_gradient", "What multiplies c is zero"),
        ("aliased", "along x are in waves of fewer than 4 nodes"),
        ("slow_camera", "along t are in waves of fewer than 4 nodes"),
        ("no_scale", "Nothing fixes the scale of k"),
        ("two_fields", "only q/k"),
        ("silent_half", "the data say little or nothing about k(x)"),
    ],
)
def test_the_reason_is_named(name, words):
    (question,) = [q for q in QUESTIONS if q.case.name == name]
    found = check(question.case.problem())
    assert words in errors(found)
    assert found.advice


def wave():
    return np.sin(2 * X)[:, None] * np.cos(4 * T) + 0.6 * np.cos(3 * X)[:, None] * np.sin(6 * T + 1)


def soliton(noise=0.005, finer=1):
    x, t = np.linspace(-6, 10, 160 * finer + 1), np.linspace(0, 4, 80 * finer + 1)
    return measured(3 / np.cosh(0.5 * (x[:, None] - t)) ** 2, noise, x=x, t=t)


def epidemic():
    t = np.linspace(0, 20, 201)
    s, i = solve_ivp(
        lambda t, z: [-0.002 * z[0] * z[1], 0.002 * z[0] * z[1] - 0.4 * z[1]],
        (0, 20), [1000, 5], t_eval=t, rtol=1e-8,
    ).y  # fmt: skip
    return series(t, s=s, i=i)


def pendulum():
    t = np.linspace(0, 12, 301)
    u = solve_ivp(lambda t, z: [z[1], -4 * np.sin(z[0]) - 0.2 * z[1]], (0, 12), [2.5, 0], t_eval=t, rtol=1e-8)
    return series(t, u=u.y[0])


def logistic():
    t = np.linspace(0, 10, 201)
    return series(t, u=5 / (1 + 9 * np.exp(-t)))


FINE = {
    "heat": ("u_t = D*u_xx + r*u", lambda: measured(MIXED), "D r"),
    "loud": ("u_t = D*u_xx", lambda: measured(MIXED, 0.2), "D"),
    "waves": ("u_tt = c*u_xx + b*u", lambda: measured(wave()), "c b"),
    "soliton": ("u_t + a*u*u_x + b*u_xxx = 0", soliton, "a b"),
    "soliton, loud": ("u_t + a*u*u_x + b*u_xxx = 0", lambda: soliton(0.5, 2), "a b"),
    "epidemic": ("s_t = -b*s*i; i_t = b*s*i - c*i", epidemic, "b c"),
    "pendulum": ("u_tt = -w*sin(u) - c*u_t", pendulum, "w c"),
    "logistic": ("u_t = r*u*(1 - u/K)", logistic, "r K"),
}
VAIN = {
    "standing wave": (
        "u_tt = c*u_xx + b*u", lambda: measured(np.sin(2 * X)[:, None] * np.cos(6 * T)), "c b",
        "distinguished here",
    ),
    "one soliton": ("u_t + a*u*u_x + b*u_xxx + c*u_x = 0", soliton, "a b c", "a, b and c cannot be"),
    "flat": ("u_t = D*u_xx + r*u", lambda: measured(np.exp(T)[None]), "D r", "What multiplies D is zero"),
    "product": ("u_t = k*s*u_xx", lambda: measured(MIXED), "k s", "only k*s"),
    "one mode": (
        "u_t = k*(u_xx + s*u)", lambda: measured(np.exp(0.1 * T) * np.sin(2 * X)[:, None]), "k s",
        "distinguished here",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "soliton, loud")) for n in FINE]
)
def test_problems_that_are_fine(name):
    equation, data, unknowns = FINE[name]
    found = check(InverseProblem(equation, data(), numbers(unknowns)))
    assert found.verdict == "good", str(found)


@pytest.mark.parametrize("name", VAIN)
def test_problems_that_are_in_vain(name):
    equation, data, unknowns, words = VAIN[name]
    found = check(InverseProblem(equation, data(), numbers(unknowns)))
    assert found.verdict == "cannot be answered"
    assert words in errors(found)


def test_what_noise_hides_is_doubtful_and_not_in_vain():
    """Measurements enough, so that all of them together tell what no single place does."""
    found = check(InverseProblem("u_t + a*u*u_x + b*u_xxx = 0", soliton(0.5), numbers("a b")))
    assert found.verdict == "doubtful"
    hidden = Direction({"a": 1.0, "b": 2.0}, 0.0, hidden=True)
    assert _free(hidden, ("a", "b")).level == "warning"
    assert _free(replace(hidden, hidden=False), ("a", "b")).level == "error"


def test_windows_are_wider_where_noise_drowns_a_derivative():
    x = np.linspace(0, 1, 2000)[:, None]
    lengths, shares = [], []
    for sd in (1e-3, 0.5):
        u = np.sin(2 * np.pi * x[:, 0]) + sd * np.random.default_rng(0).standard_normal(2000)
        fit = local_fits(
            Samples(("x",), x, u, np.full(2000, sd)), x[300:1700:10], [(0,), (3,)], np.full(1, 0.12)
        )
        lengths.append(fit.lengths[0])
        shares.append(np.sqrt(np.mean(fit.sd[:, 1] ** 2) / np.mean(fit.values[:, 1] ** 2)))
    assert lengths[1] > 2 * lengths[0]
    assert shares[1] < 0.5


def test_rough_values_and_errors_are_of_the_right_size():
    problem = InverseProblem("u_t = D*u_xx + r*u", measured(0.9 * MIXED * np.exp(0.3 * T)), numbers("D r"))
    found = information(terms_at_samples(problem, {"x": 0.5, "t": 0.5}))
    assert found.values["D"] == pytest.approx(0.1, rel=0.15)
    assert found.values["r"] == pytest.approx(0.3, rel=0.15)
    assert 0 < found.sd["D"] < 0.02
    loud = InverseProblem("u_t = D*u_xx + r*u", measured(MIXED, 0.1), numbers("D r"))
    assert information(terms_at_samples(loud, {"x": 0.5, "t": 0.5})).sd["D"] > found.sd["D"]


def test_numbers_that_are_not_linear_are_searched_for():
    problem = InverseProblem("u_t = r*u*(1 - u/K)", logistic(), numbers("r K"))
    found = information(terms_at_samples(problem, {"t": 1.0}))
    assert found.values == pytest.approx({"r": 1.0, "K": 5.0}, rel=0.1)


def test_the_map_shows_where_a_field_is_told():
    (question,) = [q for q in QUESTIONS if q.case.name == "silent_half"]
    found = check(question.case.problem())
    ratio = found.maps["k"]
    assert ratio.dims == ("x",)
    assert float(ratio.sel(x=slice(0.1, 0.4)).max()) < 0.2
    assert float(ratio.sel(x=slice(0.7, 1.0)).min()) > 0.9
    listed = json.loads(json.dumps(found.to_dict(), allow_nan=False))["maps"]["k"]
    assert len(listed["ratio"]) == len(listed["coordinates"]["x"]) == ratio.size


def test_readings_fix_a_scale():
    (question,) = [q for q in QUESTIONS if q.case.name == "no_scale"]
    problem = question.case.problem()
    assert scalings(problem) == [{"k": 1}]
    ends = Observations({"k": [0.71, 0.71]}, {"x": [0.0, 1.0]}, noise=0.01)
    told = InverseProblem(problem.equation, problem.data, {"k": FieldUnknown(over="x", measurements=ends)})
    assert scalings(told) == []
    assert check(told).ok


def test_a_source_that_may_be_anything():
    unknowns = {"D": ScalarUnknown(), "q": FieldUnknown(over=("x", "t"))}
    found = check(InverseProblem("u_t = D*u_xx + q", measured(MIXED), unknowns))
    assert found.verdict == "doubtful"
    assert any("hold for any D" in f.text for f in found.warnings)


def test_fields_that_cannot_be_distinguished():
    one = measured(np.exp(-T) * np.sin(2 * X + 0.3)[:, None])
    unknowns = {"k": FieldUnknown(over="x"), "q": FieldUnknown(over="x")}
    found = check(InverseProblem("u_t = dx(k*u_x) + q*u", one, unknowns))
    assert "alone it could be found" in errors(found)


def test_holes_in_scattered_data():
    x, t = np.random.default_rng(0).random((2, 4000))
    keep = (x < 0.4) | (x > 0.8)
    u = np.exp(-t) * np.sin(20 * x) + np.cos(9 * x + t)
    whole = Observations({"u": u}, {"x": x, "t": t}, noise=0.01)
    holed = Observations({"u": u[keep]}, {"x": x[keep], "t": t[keep]}, noise=0.01)
    assert not any(f.topic == "coverage" for f in check(made(whole)).warnings)
    found = check(made(holed))
    (hole,) = [f for f in found.warnings if f.topic == "coverage"]
    assert 0.1 < found.numbers["coverage"]["u"]["empty"] < 0.4
    assert "x = 0.6" in hole.text or "x = 0.5" in hole.text


def made(data: Observations) -> InverseProblem:
    return InverseProblem("u_t = D*u_xx", data, numbers("D"))


def test_every_engine_has_a_price():
    small = check(made(measured(MIXED))).numbers["cost"]
    assert set(small) == {"weak", "joint", "network"}
    assert small["weak"]["serves"]
    x, t = np.linspace(0, 3, 301), np.linspace(0, 1, 301)
    u = np.exp(-0.4 * t) * np.sin(2 * x)[:, None] + np.exp(-2.5 * t) * np.cos(5 * x)[:, None]
    large = check(made(measured(u, x=x, t=t))).numbers["cost"]
    assert large["weak"]["seconds"] > small["weak"]["seconds"]
    squares = check(InverseProblem("u_t = D*u_x^2", measured(MIXED), numbers("D"))).numbers["cost"]
    assert not squares["weak"]["serves"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"r": 1.0, "s": -1.0}, "r + s"),
        ({"r": 1.0, "s": 1.02}, "s - r"),
        ({"a": 1.0, "b": -0.5}, "a + 2*b"),
        ({"a": 1.0, "b": 1.5}, "b - 3/2*a"),
        ({"a": 1.0, "b": 437.0}, "b - 4.4e+02*a"),
    ],
)
def test_combinations_are_written_plainly(change, text):
    assert combination(change) == text


def test_what_was_found_is_saved(tmp_path):
    (question,) = [q for q in QUESTIONS if q.case.name == "silent_half"]
    paths = save_check(check(question.case.problem()), tmp_path / "out")
    assert [p.name for p in paths] == ["check.json", "posterior_ratio_k.png"]
    assert json.loads(paths[0].read_text())["verdict"] == "cannot be answered"
    assert paths[1].read_bytes().startswith(b"\x89PNG")


def test_the_command_says_the_verdict(tmp_path):
    x, t = (a.ravel() for a in np.meshgrid(X, T, indexing="ij"))
    rows = np.stack([x, t, MIXED.ravel()], axis=1)
    np.savetxt(tmp_path / "u.csv", rows, delimiter=",", header="x,t,u", comments="")
    file = tmp_path / "p.yaml"
    file.write_text(
        "equation: u_t = k*s*u_xx\ndata: {file: u.csv, noise: 0.01}\nunknowns: {k: scalar, s: scalar}\n"
    )
    result = CliRunner().invoke(app, ["check", str(file), "--save", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "only k*s" in result.stdout
    assert "Verdict: cannot be answered." in result.stdout
    assert (tmp_path / "out" / "check.json").exists()
    answer = json.loads(CliRunner().invoke(app, ["check", str(file), "--json"]).stdout)
    assert answer["numbers"]["scalings"] == [{"k": 1, "s": -1}]
    assert answer["advice"]


def test_no_network_library_is_loaded():
    code = (
        "import sys, mollifier.diagnostics.check.check; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_check_hidden_number_that_starts_near_zero() -> None:
    """A number that the first steps beside a hidden state leave near zero has the size of its term."""

    def chain(_, y):
        x, prey, top = y
        return [x * (1 - 0.2 * x - prey), prey * (0.8 * x - 0.3 - 0.6 * top), top * (0.5 * prey - 0.25)]

    t = np.linspace(0, 40, 81)
    y = solve_ivp(chain, (0, 40), [1, 0.6, 0.4], "LSODA", t, rtol=1e-8, atol=1e-10).y
    y = y * np.exp(0.03 * np.random.default_rng(1).normal(size=y.shape))
    problem = InverseProblem(
        ["x_t = x*(r - 0.2*x - a*y)", "y_t = y*(b*x - m - Z)", "Z_t = Z*(d*y - n)"],
        Observations({"x": y[0], "y": y[1]}, {"t": t}),
        {n: ScalarUnknown(lower=0) for n in "rabmdn"},
        states={"Z": StateUnknown(lower=0)},
    )
    found = check(problem)
    assert found.verdict == "good", found.errors
    assert 0.01 < found.numbers["information"]["numbers"]["m"]["sd"] < 0.3


def test_a_power_law_is_in_the_data_though_at_its_largest_it_would_be_far_more():
    """Ice that flows by a power law of thickness and slope, 4 % of the largest that both together could give.

    `check` said that what multiplies its number is zero.
    """
    x, t = np.linspace(0.1, 8, 32), np.linspace(0, 20, 41)
    slope = np.diff(np.eye(160), axis=0) * 159 / 10

    def flow(_, h):
        h = np.maximum(h, 1e-6)
        flux = -0.004 * ((h[1:] + h[:-1]) / 2) ** 5 * np.abs(slope @ h) ** 2 * (slope @ h)
        return -np.diff(np.concatenate([[0.0], flux, flux[-1:]])) * 159 / 10 + 0.12 * (1 - whole / 5)

    whole = np.linspace(0, 10, 160)
    start = 2.5 * np.sqrt(1 - (whole / 11) ** 2) + 0.3 * np.sin(whole)
    h = solve_ivp(flow, (0, 20), start, "BDF", t, rtol=1e-6).y
    h = np.stack([np.interp(x, whole, column) for column in h.T], axis=1)
    data = Observations.from_dataset(
        xr.Dataset(
            {"H": (("x", "t"), h + 0.02 * np.random.default_rng(0).normal(size=h.shape))}, {"x": x, "t": t}
        )
    )
    unknowns = {"G": ScalarUnknown(lower=0.0), "n": ScalarUnknown(lower=1.0, upper=5.0)}
    law = "H_t = dx(G*H^(n+2)*abs(H_x)^(n-1)*H_x) + 0.12*(1 - x/5)"
    assert check(InverseProblem(law, data, unknowns)).ok
