"""Verdicts on problems whose difficulty is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mollifier.data.observations import Observations
from mollifier.diagnostics.check.check import check
from mollifier.diagnostics.check.findings import Check
from mollifier.errors import ConfigurationError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.problem_file import load
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"


def gridded(function, noise=0.01, nx=41, nt=31, added=True, **extra) -> Observations:
    x, t = np.linspace(0, 1, nx), np.linspace(0, 1, nt)
    u = function(x[:, None], t[None, :]) + np.zeros((nx, nt))
    u = u + (
        noise * np.sqrt(np.mean(u**2)) * np.random.default_rng(0).standard_normal(u.shape) if added else 0.0
    )
    fields = {"u": (("x", "t"), u), **{k: (("x", "t"), v(x[:, None], t[None, :])) for k, v in extra.items()}}
    return Observations.from_dataset(xr.Dataset(fields, {"x": x, "t": t}), noise={"u": noise})


def wave(x, t):
    return np.exp(-t) * np.sin(5 * x) + np.cos(2 * x + t)


def texts(found: Check, level: str) -> str:
    return "\n".join(f.text for f in found.findings if f.level == level)


def scalars(*names: str) -> dict[str, ScalarUnknown]:
    return {n: ScalarUnknown() for n in names}


def test_a_sound_problem_is_ready():
    found = check(InverseProblem("u_t = D*u_xx + r*u", gridded(wave), scalars("D", "r")))
    assert found.ok
    assert found.verdict == "good"
    assert found.summary == "Ready: nothing was found against it."
    assert "D enters in -D*u_xx (linear)" in texts(found, "info")
    assert "1 % of rms, given" in texts(found, "info")
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.to_dict()["numbers"]["collocation"]["nodes"]["x"] >= 33
    assert str(found).endswith(found.summary)


def test_scattered_data_and_an_unknown_field():
    x, y, t = np.random.default_rng(0).random((3, 600))
    obs = Observations({"u": np.sin(3 * x + y) * np.exp(-t)}, {"x": x, "y": y, "t": t}, noise=0.01)
    problem = InverseProblem("u_t = div(k*grad(u))", obs, {"k": FieldUnknown(over=("x", "y"), lower=0.0)})
    found = check(problem)
    assert found.ok
    assert "k(x, y) enters in" in texts(found, "info")


def test_the_sizes_of_terms_are_right():
    found = check(InverseProblem("u_t = D*u_xx", gridded(wave, 1e-4), scalars("D")))
    x, t = np.linspace(0, 1, 41)[:, None], np.linspace(0, 1, 31)
    u_t = -np.exp(-t) * np.sin(5 * x) - np.sin(2 * x + t)
    u_xx = -25 * np.exp(-t) * np.sin(5 * x) - 4 * np.cos(2 * x + t)
    sizes = found.numbers["terms"]["u_t = D*u_xx"]
    assert sizes["u_t"] == pytest.approx(np.sqrt(np.mean(u_t**2)), rel=0.1)
    assert sizes["-D*u_xx"] == pytest.approx(np.sqrt(np.mean(u_xx**2)), rel=0.1)


def test_a_constant_field_holds_nothing():
    for obs in (gridded(lambda x, t: 2.0), gridded(lambda x, t: 2.0, added=False)):
        found = check(InverseProblem("u_t = D*u_xx", obs, scalars("D")))
        assert not found.ok
        assert "does not vary beyond its noise" in texts(found, "error")
        assert found.verdict == "cannot be answered"
        assert any("Check the column" in a for a in found.advice)


def test_an_order_higher_than_the_grid_can_carry():
    found = check(InverseProblem("u_t = D*u_xxxx", gridded(wave, nx=4), scalars("D")))
    assert "A derivative of higher order than the grid can carry: order 4 along x needs data at 5" in texts(
        found, "error"
    )
    assert "there are 4" in texts(found, "error")


def test_a_factor_that_is_zero():
    obs = gridded(lambda x, t: x * (1 + t) + t**2, 1e-4, added=False)
    found = check(InverseProblem("u_t = D*u_xx + r*u", obs, scalars("D", "r")))
    assert "What multiplies D is zero at all samples" in texts(found, "error")


def test_a_thin_front_by_counts_is_not_zero():
    """Its second derivative has little of all samples, and most of the noise of a count is elsewhere."""
    x, y, t = np.linspace(0, 990, 100), np.linspace(0, 110, 12), np.arange(0, 60, 2.0)
    front = 150 / (1 + np.exp((x - 250 - 5 * t[:, None]) / 35))[:, None, :] + 0 * y[:, None] + 5
    counts = np.random.default_rng(1).poisson(front).astype(float)
    obs = Observations.from_dataset(xr.Dataset({"u": (("t", "y", "x"), counts)}, {"t": t, "y": y, "x": x}))
    found = check(InverseProblem("u_t = D*lap(u) + r*u*(1 - u/K)", obs, scalars("D", "r", "K")))
    assert "What multiplies D is zero" not in texts(found, "error")
    assert found.ok


def test_terms_that_are_proportional():
    obs = gridded(lambda x, t: np.exp(-t) * np.sin(4 * x), 1e-4)
    found = check(InverseProblem("u_t = D*u_xx + r*u", obs, scalars("D", "r")))
    assert "D and r cannot be distinguished here: only the combination r - 16*D" in texts(found, "error")


def test_an_equation_that_zero_solves():
    obs = gridded(wave)
    found = check(InverseProblem("0 = a*u_xx + b*u_t", obs, scalars("a", "b")))
    assert "a and b cannot be distinguished by these equations: only b/a" in texts(found, "error")


def test_noise_that_drowns_the_highest_derivative():
    found = check(InverseProblem("u_t = D*u_xxxx + r*u", gridded(wave, 0.3), scalars("D", "r")))
    assert "noise hides u_xxxx" in texts(found, "info")
    gains = found.numbers["noise_gain"]["u_t = D*u_xxxx + r*u"]
    assert gains["-D*u_xxxx"] > 10 * gains["-r*u"]
    assert found.verdict != "good"


def test_a_front_narrower_than_the_samples():
    """The default has the nodes that it needs; fewer are named, with how many would do."""
    obs = gridded(lambda x, t: np.tanh((x - 0.5) / 0.004) * (1 + 0.2 * t), 1e-3)
    problem = InverseProblem("u_t = D*u_xx + r*u", obs, scalars("D", "r"))
    found = check(problem)
    assert found.numbers["collocation"]["nodes"]["x"] >= 129
    assert "should carry it" in texts(found, "info")
    assert not found.suggested
    few = check(problem, {"collocation": {"nodes": {"x": 65}}})
    assert few.suggested["collocation.nodes.x"] >= 129
    assert "--set collocation.nodes.x=" in few.summary
    assert few.verdict == "doubtful"


def test_nodes_cut_by_the_limit_and_a_kernel_too_narrow():
    problem = InverseProblem("u_t = D*u_xx", gridded(wave), scalars("D"))
    assert "by collocation.max_nodes" in texts(check(problem, {"collocation": {"max_nodes": 400}}), "warning")
    narrow = {"collocation": {"kernel": "polynomial", "nodes": {"x": 33, "t": 33}, "radius": 0.04}}
    assert not check(problem, narrow).ok
    with pytest.raises(ConfigurationError, match="Did you mean 'nodes'"):
        check(problem, {"collocation": {"node": {"x": 3}}})


def test_terms_of_hopelessly_different_size():
    obs = gridded(wave, s=lambda x, t: 1e-12 * (x + t))
    found = check(InverseProblem("u_t = D*u_xx + s", obs, scalars("D")))
    assert "Terms without unknowns differ by" in texts(found, "warning")


def test_too_few_values_to_estimate_the_noise():
    obs = Observations({"u": [1.0, 2.0, 4.0]}, {"x": [0.0, 0.5, 1.0]})
    found = check(InverseProblem("u_xx = a", obs, scalars("a")))
    assert not found.ok
    assert "The noise cannot be estimated" in texts(found, "error")


def test_experiments_that_are_mixed():
    x = np.tile(np.linspace(0, 1, 30), 3)
    obs = Observations({"u": np.sin(3 * x)}, {"x": x}, noise=0.01, columns={"dose": np.repeat([1, 2, 3], 30)})
    found = check(InverseProblem("u_xx = a*u", obs, scalars("a")))
    assert "The samples mix 3 values of 'dose'" in texts(found, "warning")


def test_label_that_names_places():
    """A column of well names is no column of experiments, with one reading of each well or several."""
    rng = np.random.default_rng(0)
    for times in (1, 5):
        well, t = np.repeat(np.arange(40), times), np.tile(np.linspace(0, 1, times), 40)
        x, y = rng.random((2, 40))[:, well]
        name = {"well": np.array([f"W{i}" for i in well])}
        h = np.sin(3 * x) * np.cos(2 * y) * np.exp(-t)
        points = {"x": x, "y": y} | ({"t": t} if times > 1 else {})
        obs = Observations({"h": h}, points, noise=0.01, columns=name)
        equation = "h_t = a*lap(h)" if times > 1 else "lap(h) = a*h"
        assert "mix" not in texts(check(InverseProblem(equation, obs, scalars("a"))), "warning")


def test_field_that_was_measured_once():
    """What its equation answers is not refused for a field that cannot be seen to vary."""
    t = np.linspace(0, 5, 60)
    v = np.where(t == 0, 2.0, np.nan)
    obs = Observations({"u": 5 * np.exp(-0.3 * t) - np.exp(-0.5 * t), "v": v}, {"t": t}, noise=0.01)
    found = check(InverseProblem("u_t = -a*u + b*v; v_t = -c*v", obs, scalars("a", "b", "c")))
    assert found.verdict == "doubtful"
    assert "'v' has too few measured values (1)" in texts(found, "warning")


@pytest.mark.skipif(
    not (SHARED / "burgers_shock.mat").exists(), reason="needs the reference data beside the repository"
)
def test_the_burgers_shock():
    """The default takes the nodes that the shock needs; with fewer, the check names them."""
    problem = load(ROOT / "examples" / "burgers.yaml").problem()
    found = check(problem)
    assert found.verdict == "good"
    assert found.numbers["collocation"]["nodes"]["x"] == 513
    few = check(problem, {"collocation": {"nodes": {"x": 187}}})
    assert few.suggested == {"collocation.nodes.x": 513}
    assert "narrower than the data spacing" in texts(few, "warning")
