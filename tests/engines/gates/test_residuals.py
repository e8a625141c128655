"""Gates on the noise: structure in the data and in the residuals makes a misfit, white noise none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.engines.gates.gates import gated
from mollifier.engines.gates.noise import noise_as_assumed
from mollifier.engines.gates.residuals import independent_residuals
from mollifier.problem.solution import Solution

X, T = np.linspace(0, 1, 12), np.linspace(0, 1, 25)
U = np.exp(-T) * (2 + np.sin(6 * X[:, None]))


def answered(noise: np.ndarray, engine: str = "joint") -> tuple[mf.InverseProblem, Solution]:
    """A problem with scattered data, and an answer whose states are the truth."""
    x, t = (v.ravel() for v in np.meshgrid(X, T, indexing="ij"))
    kept = np.random.default_rng(9).random(x.size) < 0.7
    points = {"x": x[kept], "t": t[kept]}
    data = mf.Observations({"u": (U + noise).ravel()[kept]}, points, noise={"u": 0.01})
    problem = mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown()})
    rows = {n: ("observation", v) for n, v in points.items()}
    rows |= {
        "u": ("observation", data.samples("u").values),
        "u_sd": ("observation", data.samples("u").sd),
        "u_fitted": ("observation", U.ravel()[kept]),
        "u_held_out": ("observation", np.zeros(kept.sum(), bool)),
    }
    empty = xr.Dataset({"loss": ("step", [])})
    fit = xr.Dataset(rows).set_coords(["x", "t"])
    return problem, Solution(mf.Status("converged"), {}, xr.Dataset(), fit, empty, {"engine": engine})


@pytest.mark.parametrize(
    "kind", ["gain in each sensor", "offset in each frame", "slow change in each sensor"]
)
def test_residual_gate_structure(kind):
    w = np.random.default_rng(0).standard_normal((12, 25 + 8))
    noise = {
        "gain in each sensor": 0.02 * w[:, :1] * U,
        "offset in each frame": 0.02 * w[:1, :25] + 0 * U,
        "slow change in each sensor": 0.02 * np.apply_along_axis(np.convolve, 1, w, np.ones(9) / 3, "valid"),
    }[kind]
    status = independent_residuals(*answered(noise))
    assert status is not None
    assert status.name == "misfit"
    assert kind in status.message


def counted(noise: np.ndarray) -> tuple[mf.InverseProblem, Solution]:
    """A curve of 140 days with an answer whose state is the truth."""
    t = np.arange(140.0)
    u = np.exp(-t / 100)
    data = mf.Observations({"u": u + noise}, {"t": t}, noise={"u": 0.02})
    problem = mf.InverseProblem("u_t = -a*u", data, {"a": mf.ScalarUnknown()})
    rows = {
        "t": t,
        "u": u + noise,
        "u_sd": np.full(140, 0.02),
        "u_fitted": u,
        "u_held_out": np.arange(140) % 9 == 4,
    }
    fit = xr.Dataset({n: ("observation", v) for n, v in rows.items()}).set_coords("t")
    empty = xr.Dataset({"loss": ("step", [])})
    return problem, Solution(mf.Status("converged"), {}, xr.Dataset(), fit, empty, {"engine": "joint"})


def test_residual_gate_weekdays():
    """A cycle is named with its period and noted; it is no slow change, and what is one is seen beside it."""
    rng, t = np.random.default_rng(0), np.arange(140)
    week = np.array([-1.3, -0.9, 0.4, 0.5, 0.4, 0.5, 0.4])[t % 7]
    white = rng.standard_normal(140)
    status = independent_residuals(*counted(0.02 * (white + 1.5 * week)))
    assert status is not None
    assert status.ok
    assert "repeat every 7 along t" in status.message
    slow = np.convolve(rng.standard_normal(159), np.ones(20) / 4, "valid")
    status = independent_residuals(*counted(0.02 * (white + 1.5 * week + 2 * slow)))
    assert status is not None
    assert status.name == "misfit"
    assert "slow change" in status.message


def test_residual_gate_slow_noise_is_no_cycle():
    """In 40 draws of noise correlated over three days, which raises neighbouring frequencies alike."""
    for seed in range(40):
        w = np.random.default_rng(seed).standard_normal(145)
        status = independent_residuals(*counted(0.02 * np.convolve(w, 0.7 ** np.arange(6), "valid")))
        assert status is None or "repeat" not in status.message


def test_residual_gate_white():
    """No alarm in 60 draws of white noise, nor for an engine that does not solve for the states."""
    for seed in range(60):
        w = 0.02 * np.random.default_rng(seed).standard_normal((12, 25))
        assert independent_residuals(*answered(w)) is None
    assert independent_residuals(*answered(0.05 + 0 * U, engine="weak")) is None


def gridded(noise: np.ndarray, x: np.ndarray, u: np.ndarray) -> mf.InverseProblem:
    data = xr.Dataset({"u": (("x", "t"), u + noise)}, {"x": x, "t": T})
    return mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown()})


def test_noise_gate_names_kind_and_declaration():
    x = np.linspace(0, 1, 40)
    u = np.exp(-T) * (2 + np.sin(6 * x[:, None]))
    w = np.random.default_rng(0).standard_normal((40, 25))
    _, solution = answered(0 * U)
    assert noise_as_assumed(gridded(0.02 * w, x, u), solution) is None
    status = noise_as_assumed(gridded(0.02 * w[:, :1] * u, x, u), solution)
    assert status is not None
    assert status.name == "misfit"
    assert "each sensor has its own gain" in status.message
    assert "noise: {u: {sensor_gain: 0.0" in status.message


def test_noise_gate_notes_what_is_mild():
    x = np.linspace(0, 1, 40)
    u = np.exp(-T) * (2 + np.sin(6 * x[:, None]))
    noise = 0.02 * u * np.random.default_rng(0).standard_normal((40, 25))
    status = noise_as_assumed(gridded(noise, x, u), answered(0 * U)[1])
    assert status is not None
    assert status.ok
    assert "grows with the value" in status.message


def travelling(kind: str, seed: int) -> mf.InverseProblem:
    """Waves that decay and travel, with one kind of noise of 2 %."""
    g = np.random.default_rng(seed)
    x, t = np.arange(64) / 64, np.linspace(0, 1, 50)
    u = 1.5 + sum(
        a * np.exp(-0.005 * (2 * np.pi * k) ** 2 * t) * np.cos(2 * np.pi * k * (x[:, None] - 0.5 * t))
        for k, a in ((1, 1.0), (2, 0.7), (3, 0.5))
    )
    sd, w = 0.02 * np.sqrt(np.mean(u**2)), g.standard_normal((64, 90))
    u = {
        "white": lambda: u + sd * w[:, :50],
        "proportional": lambda: u * (1 + 0.02 * w[:, :50]),
        "gain of each sensor": lambda: u * (1 + 0.02 * w[:, :1]),
        "offset of each sensor": lambda: u + sd * w[:, :1],
        "offset of each frame": lambda: u + sd * w[:1, :50],
        "correlated in time": lambda: (
            u + sd * np.apply_along_axis(np.convolve, 1, w, np.exp(-np.arange(41) / 5), "valid") / 1.7
        ),
    }[kind]()
    data = xr.Dataset({"u": (("x", "t"), u)}, {"x": ("x", x, {"periodic": 1.0}), "t": t})
    return mf.InverseProblem("u_t = D*u_xx - c*u_x", data, {n: mf.ScalarUnknown() for n in "Dc"})


@pytest.mark.parametrize(
    "kind",
    [
        "offset of each frame",
        "correlated in time",
        pytest.param("gain of each sensor", marks=pytest.mark.slow),
        pytest.param("offset of each sensor", marks=pytest.mark.slow),
    ],
)
def test_solve_structured_noise_is_a_misfit(kind):
    """The weak engine on noise that values share: no more 0.00000 +- 0.0000002, `converged`."""
    problem = travelling(kind, 0)
    assert mf.solve(problem, "weak").status.name == "misfit"
    assert mf.check(problem).verdict == "doubtful"


@pytest.mark.parametrize("kind", [pytest.param("white", marks=pytest.mark.slow), "proportional"])
def test_solve_independent_noise_converges(kind):
    """Scores are near one over six seeds; proportional noise makes them 1.3, which is why it is noted."""
    scores = []
    for seed in range(6):
        solution = mf.solve(travelling(kind, seed), "weak")
        assert solution.status.ok
        scores += [
            (e.value - t) / e.sd for n, t in (("D", 0.005), ("c", 0.5)) if (e := solution.estimates[n])
        ]
    assert np.sqrt(np.mean(np.square(scores))) < 1.7


@pytest.mark.parametrize("given", [True, False])
def test_noise_gate_notes_errors_beyond_the_estimate(given):
    """Errors larger than the noise are noted where that was estimated from the data; the status stays."""
    problem, solution = answered(0.04 * np.random.default_rng(0).standard_normal((12, 25)))
    if not given:
        points = {c: solution.fit[c].values for c in "xt"}
        data = mf.Observations({"u": solution.fit["u"].values}, points)
        assert data.noise_sd("u") > 0
        problem = mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown()})
    status = noise_as_assumed(problem, solution)
    if given:
        assert status is None
    else:
        assert status is not None
        assert status.ok
        z = solution.scaled_errors("u")
        size = f"{np.sqrt(np.mean(z**2)):.2g}"
        assert f"u: the errors are {size} times the noise that was estimated" in status.message


def test_residual_gate_names_the_declaration():
    """With sizes that are about those drawn: the truth absorbs nothing here."""
    w = np.random.default_rng(0).standard_normal((12, 25))
    gain = independent_residuals(*answered(0.02 * w[:, :1] * U))
    offset = independent_residuals(*answered(0.02 * w[:1] + 0 * U))
    assert gain is not None
    assert offset is not None
    assert 0.01 < float(gain.message.split("{u: {sensor_gain: ")[1].rstrip("}")) < 0.03
    rms = np.sqrt(np.mean(U**2))
    assert 0.01 < float(offset.message.split("{u: {frame_offset: ")[1].rstrip("}")) * rms < 0.03


def curve(noise: np.ndarray) -> tuple[mf.InverseProblem, Solution]:
    """A decay over one coordinate, and an answer whose residuals are the noise."""
    t = np.linspace(0, 3, noise.size)
    data = mf.Observations({"u": np.exp(-t) + noise}, {"t": t}, noise={"u": np.full(t.size, 0.01)})
    rows = {n: ("observation", v) for n, v in {"t": t, "u": np.exp(-t) + noise}.items()}
    rows |= {"u_sd": ("observation", np.full(t.size, 0.01)), "u_fitted": ("observation", np.exp(-t))}
    rows["u_held_out"] = ("observation", np.zeros(t.size, bool))
    fit, empty = xr.Dataset(rows).set_coords(["t"]), xr.Dataset({"loss": ("step", [])})
    problem = mf.InverseProblem("u_t = -k*u", data, {"k": mf.ScalarUnknown()})
    return problem, Solution(mf.Status("converged"), {}, xr.Dataset(), fit, empty, {"engine": "joint"})


def test_residual_gate_correlation_along_one_coordinate():
    """Of 200 curves with white noise at most one is called correlated."""
    rng = np.random.default_rng(0)
    slow = 0.01 * np.convolve(rng.standard_normal(66), np.ones(7) / np.sqrt(7), "valid")
    status = independent_residuals(*curve(slow))
    assert status is not None
    assert "have a slow change" in status.message
    assert "noise: {u: {correlated: {t: " in status.message
    draws = [independent_residuals(*curve(0.01 * rng.standard_normal(60))) for _ in range(200)]
    assert sum(d is not None for d in draws) <= 1


def test_a_misfit_names_what_its_residuals_have_in_common():
    """The engine sees the size of the misfit alone, and said nothing of gains."""
    problem, solution = answered(0.02 * np.random.default_rng(0).standard_normal((12, 1)) * U)
    judged = replace(solution, status=mf.Status("misfit", "too large"))
    status = gated(problem, judged)
    assert status.name == "misfit"
    assert "sensor_gain" in status.message
    assert status.message.endswith("too large")
    stopped = gated(problem, replace(solution, status=mf.Status("time limit", "late")))
    assert stopped.message == "late"
