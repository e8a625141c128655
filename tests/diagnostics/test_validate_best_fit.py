"""Starts and ends are fitted to the data; answers far from where these fit best are caught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.diagnostics.validation import forward as forward_module
from mollifier.diagnostics.validation.corrections import fitted, most_likely
from mollifier.diagnostics.validation.forward_problem import NoForwardSolutionError
from mollifier.diagnostics.validation.modes import SmoothModes
from mollifier.diagnostics.validation.validate import validate
from mollifier.mollify.grid import Axis, Grid


def noisy(u, rng, noise):
    return u + noise * np.sqrt(np.mean(u**2)) * rng.standard_normal(u.shape)


def wave(seed, noise):
    rng = np.random.default_rng(seed)
    x, t = np.arange(48) / 48, np.linspace(0, 1, 40)
    turns = 2 * np.pi * np.array([1, 2, 3])
    phases = rng.uniform(0, 6, (3, 2))
    u = sum(
        np.cos(0.5 * w * t + p) * np.cos(w * x[:, None] + q) / n
        for n, (w, (p, q)) in enumerate(zip(turns, phases, strict=True), 1)
    )
    data = xr.Dataset({"u": (("x", "t"), noisy(u, rng, noise))}, {"x": ("x", x, {"periodic": 1.0}), "t": t})
    return mf.InverseProblem("u_tt = a*u_xx", data, {"a": mf.ScalarUnknown()})


def oscillator(seed, noise):
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 10, 100)
    u = noisy(np.exp(-0.1 * t) * np.cos(1.7 * t + rng.uniform(0, 6)), rng, noise)
    unknowns = {"k": mf.ScalarUnknown(), "c": mf.ScalarUnknown()}
    return mf.InverseProblem("u_tt = -k*u - c*u_t", xr.Dataset({"u": ("t", u)}, {"t": t}), unknowns)


def heat(seed, noise):
    rng = np.random.default_rng(seed)
    x, t = np.linspace(0, 1, 40), np.linspace(0, 1, 40)
    u = sum(
        np.exp(-0.02 * (w * np.pi) ** 2 * t) * np.cos(w * np.pi * x[:, None] + rng.uniform(0, 6))
        for w in (1, 2, 4)
    )
    data = xr.Dataset({"u": (("x", "t"), noisy(u, rng, noise))}, {"x": x, "t": t})
    return mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown()})


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.01, 0.05])
@pytest.mark.parametrize("case", [wave, oscillator, heat])
def test_right_answers_hold_and_moved_ones_do_not(case, noise):
    """Of first and second order in time; moved by five standard errors."""
    for seed in range(2):
        solution = mf.solve(case(seed, noise), "weak")
        assert validate(solution).status == "holds"
        for name, e in solution.estimates.items():
            moved = replace(e, value=e.value + 5 * e.sd)
            found = validate(replace(solution, estimates={**solution.estimates, name: moved}))
            assert found.status in ("doubtful", "refuted")
            assert any(f"'{name}'" in r and "below the estimate" in r for r in found.reasons)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("equation", "names", "constants", "lacks"),
    [("u_t = D*u_xx - c*u_x", "Dc", {}, "u"), ("u_t = D*u_xx - c*u_x + r*u", "cr", {"D": 0.0106}, "u_xx")],
)
def test_small_missing_terms_and_wrong_constants_are_named(equation, names, constants, lacks):
    """At 5 % noise, where residuals alone look like noise; with the right equation nothing is lacking."""
    rng = np.random.default_rng(0)
    x, t, w = np.arange(64) / 64, np.linspace(0, 1, 50), 2 * np.pi * np.array([1, 2, 3])
    u = sum(np.exp((-0.06 - 0.01 * k**2) * t) * np.cos(k * (x[:, None] - 0.6 * t) + k) for k in w)
    data = xr.Dataset({"u": (("x", "t"), noisy(u, rng, 0.05))}, {"x": ("x", x, {"periodic": 1.0}), "t": t})

    def validated(equation, names, constants):
        unknowns = {n: mf.ScalarUnknown() for n in names}
        return validate(mf.solve(mf.InverseProblem(equation, data, unknowns, constants=constants), "weak"))

    found = validated(equation, names, constants)
    row = next(r for r in found.table if r["test"] == "further term")
    assert (row["field"], found.status != "holds") == (lacks, True)
    assert validated("u_t = D*u_xx - c*u_x + r*u", "Dcr", {}).status == "holds"


def test_undetermined_is_said_to_be():
    x, t = np.linspace(0, 1, 40), np.linspace(0, 1, 40)
    u = np.exp(-t) * np.sin(3 * x[:, None])
    u = noisy(u, np.random.default_rng(0), 0.01)
    problem = mf.InverseProblem(
        "u_t = D*u_xx + r*u",
        xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}),
        {"D": mf.ScalarUnknown(), "r": mf.ScalarUnknown()},
    )
    found = validate(mf.solve(problem, "weak"))
    assert found.status == "undetermined"
    assert "'D'" in found.reasons[0] or "D" in found.reasons[0]


@pytest.mark.parametrize("axis", [Axis("x", 0, 2, 30), Axis("x", 0, 2, 30, periodic=True)])
def test_modes_derivatives(axis):
    modes = SmoothModes({"x": axis}, {"x": 7})
    x, h = np.linspace(0.1, 1.9, 19), 1e-6
    slope = (modes.factor("x", x + h) - modes.factor("x", x - h)) / (2 * h)
    np.testing.assert_allclose(modes.factor("x", x, 1), slope, atol=1e-6)


def test_modes_that_touch_nothing_given_are_left_out():
    """A quarter of the products of splines counts: those at the start, and at the two ends at any time."""
    axes = {"x": Axis("x", 0, 2, 41), "t": Axis("t", 0, 1, 30)}
    every = SmoothModes(axes, {"x": 20, "t": 12}, "t")
    grid, given = Grid(axes["x"]), np.array([0, 40])
    kept = every.touching(grid, given, 1)
    assert kept.size == 20 + 2 * 11
    coefficients = np.random.default_rng(0).standard_normal(every.size)
    states = xr.DataArray(np.zeros((41, 30)), {"x": axes["x"].points, "t": axes["t"].points}, ("x", "t"))
    whole = every.correction(states, coefficients)
    part = kept.correction(states, coefficients[kept.kept])
    np.testing.assert_allclose(part.isel(t=0), whole.isel(t=0), atol=1e-12)
    np.testing.assert_allclose(part.isel(x=[0, -1]), whole.isel(x=[0, -1]), atol=1e-12)
    slices = kept.given(["u"], [("u", 0)], grid, axes["t"].points[12], 1)["u", 0]
    assert slices.shape == (41, kept.size + 1)
    np.testing.assert_allclose(slices[:, :-1] @ coefficients[kept.kept], part.isel(t=12), atol=1e-12)


def test_a_finer_grid_that_takes_too_many_steps_leaves_the_coarser_one(monkeypatch):
    """The answer was doubtful, as if the equation could not be solved."""
    whole = forward_module.solve_on

    def limited(problem, refined):
        if refined > 1:
            raise NoForwardSolutionError("it takes too many evaluations")
        return whole(problem, refined)

    monkeypatch.setattr(forward_module, "solve_on", limited)
    found = validate(mf.solve(oscillator(0, 0.02), "weak"))
    assert found.status == "holds"
    assert any("hardly resolved" in n for n in found.notes)


def test_most_likely_scale_and_fit():
    """Coefficients of scale 3 are found as such and within their standard errors; without any, the least."""
    rng = np.random.default_rng(0)
    responses, true = rng.standard_normal((500, 30)) / 5, 3 * rng.standard_normal(30)
    errors = rng.standard_normal(500)
    scales = (0.1, 0.3, 1.0, 3.0, 10.0)
    assert most_likely(responses, errors - responses @ true, scales) == 3.0
    assert most_likely(responses, errors, scales) <= 0.3
    step, sd = fitted(responses, errors - responses @ true, np.full(30, 3.0), np.zeros(30))
    assert 0.7 < np.sqrt(np.mean(((step - true) / sd) ** 2)) < 1.3
