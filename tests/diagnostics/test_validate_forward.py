"""The forward solution: equal to a known exact one, with stable steps, on a grid that is fine enough."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from engine_problems import heat_values
from mollifier.diagnostics.validation import solvers
from mollifier.diagnostics.validation.forward import forward
from mollifier.diagnostics.validation.forward_problem import (
    ForwardProblem,
    NoForwardSolutionError,
    evolution_of,
    system_of,
)
from mollifier.diagnostics.validation.validate import validate
from mollifier.problem.estimate import Estimate
from validated_solutions import exact_solution


def growing(x, t):
    return heat_values(x, t) * np.exp(2 * t)


PAIRS = {
    "diffusion": ("u_t = D*u_xx", {"u": heat_values}, {"D": 0.1}, {}),
    "a wave": (
        "u_tt = c*u_xx",
        {"u": lambda x, t: np.sin(3 * x) * np.cos(6 * t) + np.cos(2 * x - 4 * t)},
        {"c": 4.0},
        {"x": np.linspace(0, 1, 65), "t": np.linspace(0, 1, 65)},
    ),
    "a soliton": (
        "u_t = -a*u*u_x - b*u_xxx",
        {"u": lambda x, t: 3 * 4 / np.cosh(x - 4 * t - 3) ** 2},
        {"a": 1.0, "b": 1.0},
        {"x": np.linspace(0, 10, 101)},
    ),
    "a rotation": (
        "u_t = a*v; v_t = -b*u",
        {
            "u": lambda x, t: np.sqrt(2) * np.sin(np.sqrt(2) * t + x),
            "v": lambda x, t: np.cos(np.sqrt(2) * t + x),
        },
        {"a": 2.0, "b": 1.0},
        {},
    ),
    "growth": ("u_t = D*u_xx + r*u", {"u": growing}, {"D": 0.1, "r": 2.0}, {}),
    "no time": (
        "0 = D*u_xx + D*u_yy + u^2 - s",
        {"u": lambda x, y: np.sin(2 * x) * np.exp(y)},
        {"D": 0.5},
        {
            "dims": ("x", "y"),
            "known": {
                "s": lambda x, y: -1.5 * np.sin(2 * x) * np.exp(y) + np.sin(2 * x) ** 2 * np.exp(2 * y)
            },
        },
    ),
    "marched along x": ("u_x = -c*u", {"u": lambda x: np.exp(-2 * x)}, {"c": 2.0}, {"dims": ("x",)}),
    "an unknown field": (
        "u_t = dx(k*u_x) + s",
        {"u": lambda x, t: np.exp(-t) * np.sin(3 * x)},
        {},
        {
            "fields": {"k": lambda x, t: 0.2 + 0.1 * x},
            "known": {
                "s": lambda x, t: (
                    np.exp(-t)
                    * (-np.sin(3 * x) - (0.3 * np.cos(3 * x) - 9 * (0.2 + 0.1 * x) * np.sin(3 * x)))
                )
            },
        },
    ),
}


SLOW = ("a wave", "a soliton", "growth", "a rotation", "an unknown field")  # the last by a test below too


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in PAIRS])
def test_the_forward_solution_is_the_exact_one(name):
    """And with one number or field off by a tenth, it is not."""
    equation, state, estimates, rest = PAIRS[name]
    right = exact_solution(state, estimates, equation, noise=1e-3, **rest)
    found = validate(right)
    assert found.status == "holds", found
    first = next(iter(state))
    exact = state[first](*np.meshgrid(*(found.forward[d] for d in right.dataset.dims), indexing="ij"))
    gap = found.forward[first].transpose(*right.dataset.dims).values - exact
    assert np.abs(gap).max() < 2e-3 * np.abs(exact).max()
    if estimates:
        worse = {n: Estimate(n, e.value * 1.1) for n, e in right.estimates.items()}
        wrong = replace(right, estimates=worse)
    else:
        wrong = replace(right, dataset=right.dataset.assign(k=right.dataset["k"] * 1.1))
    assert validate(wrong).status != "holds"


def test_explicit_steps_are_taken_where_they_are_few(monkeypatch):
    """With the same solution as implicit ones; a stiff equation stays implicit."""
    methods, original = [], solvers.solve_ivp

    def watched(*args, **options):
        methods.append(options["method"])
        return original(*args, **options)

    def solved(diffusivity):
        methods.clear()
        right = exact_solution({"u": heat_values}, {"D": diffusivity}, "u_t = D*u_xx")
        system, numbers = system_of(right, None), {"D": xr.DataArray(diffusivity)}
        problem = ForwardProblem(right.dataset[["u"]], numbers, system, evolution_of(system), ("u",))
        return solvers.solve_on(problem, 1)[1]["u"].values, {*methods}

    monkeypatch.setattr(solvers, "solve_ivp", watched)
    explicit, by = solved(0.1)
    assert by == {"RK45"}
    assert solved(100.0)[1] == {"Radau"}
    monkeypatch.setattr(solvers, "_FEW", 0.0)
    implicit, by = solved(0.1)
    assert by == {"Radau"}
    assert 0 < np.abs(explicit - implicit).max() < 1e-4


def test_a_wave_whose_start_has_noise_is_solved_on_a_fine_grid():
    """Waves of the noise go on undamped: implicit steps that follow them ended on a coarse grid, in doubt."""

    def rough(x, t):
        noise = np.random.default_rng(0).normal(size=x.shape)
        return np.sin(3 * x) * np.cos(3 * t) + np.cos(2 * x - 2 * t) + 5e-3 * noise

    axes = {"x": np.linspace(0, 1, 48), "t": np.linspace(0, 1, 40)}
    right = exact_solution({"u": rough}, {"c": 1.0}, "u_tt = c*u_xx", noise=2e-2, **axes)
    system, numbers = system_of(right, None), {"c": xr.DataArray(1.0)}
    problem = ForwardProblem(right.dataset[["u"]], numbers, system, evolution_of(system), ("u",))
    solver, _ = solvers.solve_on(problem, 4)
    assert isinstance(solver, solvers.MethodOfLines)
    assert solver.left > 0


@pytest.mark.parametrize(("resolved", "status"), [(True, "refuted"), (False, "doubtful")])
def test_a_grid_that_is_hardly_resolved_refutes_nothing(monkeypatch, resolved, status):
    right = exact_solution({"u": heat_values}, {"D": 0.1}, "u_t = D*u_xx", noise=1e-3)
    away = replace(forward(right, system_of(right, None)), shifts={"D": 80.0}, resolved=resolved)
    monkeypatch.setattr("mollifier.diagnostics.validation.validate.forward", lambda *_: away)
    found = validate(right)
    assert found.status == status
    (said,) = [r for r in found.reasons if "'D' 80 of its standard errors" in r]
    assert said.endswith("(or the grid of the forward solution is too coarse)") == (not resolved)


@pytest.mark.parametrize(("affordable", "resolved"), [(True, True), (False, False)])
def test_a_grid_is_resolved_where_a_finer_one_changes_little(monkeypatch, affordable, resolved):
    right = exact_solution({"u": heat_values}, {"D": 0.1}, "u_t = D*u_xx", noise=1e-3)
    if not affordable:
        monkeypatch.setattr(ForwardProblem, "affordable", lambda *_: False)
    assert forward(right, system_of(right, None)).resolved == resolved


def test_an_equation_that_lets_errors_grow_is_started_anew():
    state = {"u": lambda x, t: heat_values(x, t) * np.exp(10 * t)}
    found = validate(exact_solution(state, {"D": 0.1, "r": 10.0}, "u_t = D*u_xx + r*u"))
    assert any("restarted" in n for n in found.notes), found
    quiet = validate(exact_solution({"u": heat_values}, {"D": 0.1}, "u_t = D*u_xx"))
    assert not any("restarted" in n for n in quiet.notes)


def test_equations_that_do_not_fit_are_named():
    one = exact_solution({"u": heat_values}, {"D": 0.1}, "u_t = D*u_xx; u_tt = u_xx")
    with pytest.raises(NoForwardSolutionError, match="2 equations were given for 1 fields"):
        evolution_of(system_of(one, None))
