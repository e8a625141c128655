"""Noise that was not declared and grows with the value: samples weigh as the residuals show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import mollifier as mf
from mollifier.engines.collocated.bijection import Scalar
from mollifier.engines.collocated.laplace import wide_sd
from mollifier.engines.growing_noise import Growth, growing, noise_of, weighed


def decay(noise: str, seed: int, rate: float = 0.5) -> mf.InverseProblem:
    """A chain A -> B, both counted or measured."""
    t, rng = np.linspace(0, 20, 61), np.random.default_rng(seed)
    a = np.exp(-rate * t)
    b = rate / (rate - 0.15) * (np.exp(-0.15 * t) - a)
    if noise == "counts":
        a, b = (rng.poisson(500 * v) / 500 for v in (a, b))
    else:
        a, b = (v + 0.02 * rng.standard_normal(t.size) for v in (a, b))
    unknowns = {"k1": mf.ScalarUnknown(), "k2": mf.ScalarUnknown()}
    data = mf.Observations({"A": a, "B": b}, {"t": t})
    return mf.InverseProblem(["A_t = -k1*A", "B_t = k1*A - k2*B"], data, unknowns)


@pytest.mark.parametrize("seed", [0, 1])
def test_counts_are_no_misfit(seed):
    """The noise of most values, which are small, is a tenth of that of the first ones."""
    solution = mf.solve(decay("counts", seed), "joint")
    assert solution.status.ok
    assert "A: the noise grows with the value" in solution.status.message
    for name, true in (("k1", 0.5), ("k2", 0.15)):
        low, high = solution.estimates[name].interval(0.997)
        assert low < true < high
    assert mf.validate(solution).status == "holds"


def test_noise_of_one_size_is_left_as_it_is():
    solution = mf.solve(decay("white", 0), "joint")
    assert solution.status.ok
    assert "growing_noise" not in solution.provenance


def test_what_an_equation_lacks_is_no_noise():
    """Without the loss of B its residuals are large where B is, and neighbours share them."""
    problem = replace(
        decay("white", 0),
        equation=["A_t = -k1*A", "B_t = k1*A"],
        unknowns={"k1": mf.ScalarUnknown()},
    )
    solution = mf.solve(problem, "joint")
    assert solution.status.name == "misfit"
    assert "growing_noise" not in solution.provenance


def test_weights_are_those_of_the_samples():
    """The table of the fit has held-out samples last, the data their own order."""
    problem = decay("counts", 0)
    solution = mf.solve(problem, "joint")
    seen = Growth(floor=0.01, share=0.1)
    sd = weighed(problem, solution, {"A": seen}).data.samples("A").sd
    true = seen.sd(np.exp(-0.5 * np.linspace(0, 20, 61)))
    np.testing.assert_allclose(sd, true, rtol=0.1)
    assert weighed(problem, solution, {"A": seen}).data.noise_source("A") == "estimated"
    assert growing(decay("white", 0), mf.solve(decay("white", 0), "joint")) == {}


def test_a_wide_prior_has_the_size_of_the_number():
    """A first guess of .001 for .4 left standard errors at a fifth of what the data say."""
    number = Scalar(mf.ScalarUnknown(lower=0.0))
    number.bijection.start_from(0.001, 0.001)
    first = wide_sd(number)
    number.assign(0.4)
    assert first == pytest.approx(0.001, rel=0.5)
    assert wide_sd(number) == pytest.approx(0.4)


@pytest.mark.parametrize("what", ["white", "waves", "given", "far"])
def test_noise_of_an_answer(what):
    """An estimate that is half of what white residuals show is mended; waves, or a tenth, are no noise."""
    t = np.linspace(0, 1, 100)
    errors = 0.02 * np.random.default_rng(0).standard_normal(100)
    errors = 0.03 * np.sin(12 * t) if what == "waves" else errors
    sd = np.full(100, 0.002 if what == "far" else 0.01)
    columns = {"u": 2 + errors, "u_sd": sd, "u_fitted": 2 + 0 * t, "u_held_out": np.zeros(100, bool), "t": t}
    fit = xr.Dataset({n: ("observation", v) for n, v in columns.items()}).set_coords("t")
    source = {"noise_source": {"u": "given" if what == "given" else "estimated"}}
    empty = xr.Dataset({"loss": ("step", [])})
    solution = mf.Solution(mf.Status("converged"), {}, xr.Dataset(), fit, empty, source)
    found = noise_of(solution, "u")
    if what == "white":
        np.testing.assert_allclose(found, np.sqrt(np.mean(errors**2)))
    else:
        np.testing.assert_array_equal(found, sd)


def answer(points, level, errors):
    """An answer that misses by errors (n,) at points (n, d), about a level."""
    names = ("t", "x")[: points.shape[1]]
    columns = {"u": level + errors, "u_sd": np.full(len(errors), 0.01), "u_fitted": level}
    columns |= {"u_held_out": np.zeros(len(errors), bool)} | dict(zip(names, points.T, strict=True))
    fit = xr.Dataset({n: ("observation", v) for n, v in columns.items()}).set_coords(names)
    data = mf.Observations({"u": columns["u"]}, dict(zip(names, points.T, strict=True)))
    empty = xr.Dataset({"loss": ("step", [])})
    problem = mf.InverseProblem("u_t = -k*u", data, {"k": mf.ScalarUnknown()})
    return problem, mf.Solution(mf.Status("misfit"), {}, xr.Dataset(), fit, empty, {})


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_noise_is_seen_beside_waves_that_neighbours_share(axes, seed):
    """Waves of a fit that ended far off are larger where the value is, but are no noise."""
    rng, t = np.random.default_rng(seed), np.linspace(0, 1, 100 if axes == 1 else 30)
    points = np.column_stack([v.ravel() for v in np.meshgrid(*[t] * axes, indexing="ij")])
    level = np.exp(-2 * points[:, 0]) * (1.2 + np.sin(7 * points.sum(axis=1)))
    waves, white = 0.3 * level * np.sin(points @ rng.uniform(3, 15, axes)), rng.standard_normal(len(points))
    problem, solution = answer(points, level, waves + 0.05 * white)
    assert growing(problem, solution) == {}
    problem, solution = answer(points, level, waves + 0.1 * level * white)
    assert growing(problem, solution)["u"].share == pytest.approx(0.1, rel=0.4)


def test_a_hidden_predator_beside_noise_in_proportion_to_the_prey():
    """The noise of small values is a tenth of that of large ones: the fit ended at half of a, far off."""

    def rate(_, y):
        return [y[0] * (1.1 - 0.4 * y[1]), y[1] * (0.1 * y[0] - 0.4)]

    t = np.linspace(0, 20, 80)
    prey = solve_ivp(rate, (0, 20), [10.0, 5.0], "LSODA", t, rtol=1e-9).y[0]
    prey = prey * np.exp(0.05 * np.random.default_rng(0).standard_normal(80))
    solution = mf.solve(
        mf.InverseProblem(
            ["prey_t = a*prey - 0.4*prey*pred", "pred_t = c*prey*pred - d*pred"],
            mf.Observations({"prey": prey}, {"t": t}),
            dict.fromkeys("acd", mf.ScalarUnknown()),
            states={"pred": mf.StateUnknown(lower=0.0)},
        ),
        "joint",
    )
    assert solution.status.ok
    for name, true in (("a", 1.1), ("c", 0.1), ("d", 0.4)):
        estimate = solution.estimates[name]
        assert abs(estimate.value - true) < 3.5 * estimate.sd < 0.2 * true
