"""Declared noise that measurements share, in the engines that solve for the states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import mollifier as mf
from mollifier.diagnostics.intervals.bootstrap import simulated
from mollifier.engines.joint.engine import stages_of
from mollifier.engines.joint.settings import JointSettings
from mollifier.errors import ConfigurationError, DataError

D, R = 0.01, -0.4
LEVEL = 0.02
KINDS = ("sensor_gain", "sensor_offset", "frame_gain", "frame_offset", "drift")
SMALL = {"network": {"kind": "random-features"}}


def measured(kind, seed, sensors=12, frames=30):
    """Decaying waves under a common offset; 0.5 % white noise and 2 % of one kind that values share."""
    g = np.random.default_rng(seed)
    x, t = np.linspace(0, 1, sensors), np.linspace(0, 1, frames)
    u = np.exp(R * t) * 1.5 + sum(
        a * np.exp((R - D * k**2) * t) * np.cos(k * x[:, None] + p)
        for a, k, p in zip(g.uniform(0.4, 1.0, 3), (4.0, 7.0, 11.0), g.uniform(0, 6, 3), strict=True)
    )
    rms = np.sqrt(np.mean(u**2))
    each = g.standard_normal((sensors, 1) if kind.startswith("sensor") else (1, frames))
    ramp = (t - t.mean()) / t.std() * g.standard_normal()
    v = u + LEVEL * (u * each if kind.endswith("gain") else rms * (ramp if kind == "drift" else each))
    v += LEVEL / 4 * rms * g.standard_normal(u.shape)
    data = xr.Dataset({"u": (("x", "t"), v)}, {"x": x, "t": t})
    return mf.Observations.from_dataset(data, noise={"u": {"fraction": LEVEL / 4, kind: LEVEL}})


def problem(data):
    unknowns = {"D": mf.ScalarUnknown(), "r": mf.ScalarUnknown()}
    return mf.InverseProblem("u_t = D*u_xx + r*u", data, unknowns)


def scores(solution):
    truth = {"D": D, "r": R}
    return [(e.value - truth[n]) / e.sd for n, e in solution.estimates.items()]


@pytest.mark.parametrize("kind", ["sensor_gain", "frame_offset"])
def test_rows_have_the_loss_of_the_objective(kind):
    """The rows of least squares, with the present field in gains, and the differentiable loss agree."""
    objective, stages, _ = stages_of(problem(measured(kind, 0)), JointSettings())
    stages[0].step()
    noise = objective.model.noise["u"]
    with torch.no_grad():
        noise.coefficients.copy_(torch.from_numpy(np.random.default_rng(1).standard_normal(noise.gains.size)))
    stage = stages[-1]
    stage.reweigh(stage.node_values(), 1.0)
    expected = float(objective.data_loss(objective.model()[1]).detach())
    assert stage.losses()["data"] == pytest.approx(expected, rel=1e-9)


def test_loss_is_that_of_correlated_noise():
    """Minimised over the shared noise it is the chi-square of its whole covariance."""
    objective, stages, _ = stages_of(problem(measured("sensor_offset", 0)), JointSettings())
    stages[0].step()
    noise, (target,) = objective.model.noise["u"], objective.targets
    index, value, sd = (v.numpy() for v in objective.target_tensors(target))
    state = objective.model()[1][target.block][target.channel].detach().numpy()
    covariance = np.diag(sd**2) + (noise.matrix @ noise.matrix.T).toarray()[np.ix_(index, index)]
    errors = value - state[index]
    shapes = noise.matrix[index].toarray()
    best = np.linalg.solve(
        shapes.T @ (shapes / sd[:, None] ** 2) + np.eye(shapes.shape[1]), shapes.T @ (errors / sd**2)
    )
    with torch.no_grad():
        noise.coefficients.copy_(torch.from_numpy(best))
    found = stages[-1].losses()["data"] * objective.count
    assert found == pytest.approx(errors @ np.linalg.solve(covariance, errors), rel=1e-6)


@pytest.mark.parametrize("kind", ["sensor_gain", "frame_offset"])
def test_joint_declared_noise_is_covered(kind):
    """Intervals hold, and the table of the fit shows white residuals about what sensors measured."""
    solution = mf.solve(problem(measured(kind, 1)), "joint")
    assert solution.status.ok, solution.status
    assert np.max(np.abs(scores(solution))) < 3
    assert 0.8 < solution.misfit["u"]["fitted"] < 1.1
    assert 0.5 < solution.misfit["u"]["held_out"] < 1.6
    shared, u = (np.sqrt(np.mean(solution.fit[n].values ** 2)) for n in ("u_shared", "u"))
    assert 0.3 < shared / (LEVEL * u) < 2


def test_network_declared_noise_is_covered():
    solution = mf.solve(problem(measured("sensor_offset", 2)), "network", settings=SMALL)
    assert solution.status.ok, solution.status
    assert np.max(np.abs(scores(solution))) < 3


def test_joint_scattered_sensors_are_found_by_their_places():
    """At scattered points a sensor is a place, a frame a time."""
    data = measured("sensor_offset", 2)
    samples = data.samples("u")
    kept = np.random.default_rng(0).random(len(samples.values)) < 0.8
    points = dict(zip(samples.coordinates, samples.points[kept].T, strict=True))
    noise = {"u": {"fraction": LEVEL / 4, "sensor_offset": LEVEL}}
    solution = mf.solve(problem(mf.Observations({"u": samples.values[kept]}, points, noise)), "joint")
    assert solution.status.ok, solution.status
    assert np.max(np.abs(scores(solution))) < 3


@pytest.mark.parametrize("engine", ["joint", pytest.param("network", marks=pytest.mark.slow)])
def test_sensitivity_is_the_move_by_other_data(engine):
    """To first order, an offset of 1 % of rms and a drift by as much move the answer by what is said."""
    data = measured("drift", 3)
    data = mf.Observations.from_dataset(data.dataset, noise=LEVEL / 4)
    settings = {} if engine == "joint" else SMALL
    first = mf.solve(problem(data), engine, settings=settings)
    t = data.dataset["t"]
    changes = {"offset of u": 1.0, "drift of u": (t - t.mean()) / (t.max() - t.min())}
    for label, change in changes.items():
        u = data.dataset["u"]
        moved = data.dataset.assign(u=(u + 0.01 * data.rms("u") * change).assign_attrs(u.attrs))
        second = mf.solve(problem(mf.Observations.from_dataset(moved)), engine, settings=settings)
        for name, e in first.estimates.items():
            said = first.provenance["sensitivity"][name][label]
            error = abs(second.estimates[name].value - e.value - said)
            assert error < 0.2 * abs(said) + 0.3 * e.sd
    assert "by an offset of u" in first.summary()


def test_repeats_draw_declared_noise():
    """The variance of simulated data about the state is that which is declared."""
    asked = problem(measured("sensor_gain", 1))
    solution = mf.solve(asked, "joint")
    state = (solution.fit["u_fitted"] - solution.fit["u_shared"]).values
    places = np.stack([solution.fit[c].values for c in "xt"], axis=-1).tolist()
    at = dict(zip(map(tuple, places), state, strict=True))
    samples = asked.data.samples("u")
    state = np.array([at[tuple(p)] for p in samples.points])
    draws = np.array([simulated(asked, solution, 0, k).data.samples("u").values - state for k in range(50)])
    expected = (LEVEL * state) ** 2 + samples.sd**2
    assert np.mean(draws**2 / expected) == pytest.approx(1.0, rel=0.1)


def test_too_many_effects_are_refused():
    data = measured("sensor_offset", 0, 12, 30).dataset
    noise = {"u": {"fraction": 0.02, "correlated": {"t": 0.1}}}
    settings = {"tuning": {"most_effects": 100}}
    with pytest.raises(ConfigurationError, match="random effects; at most 100"):
        mf.solve(problem(mf.Observations.from_dataset(data, noise=noise)), "joint", settings=settings)


def test_effects_need_their_axis():
    x, y = np.linspace(0, 1, 20), np.linspace(0, 1, 20)
    u = np.sin(3 * x[:, None]) * np.exp(3 * y)
    data = xr.Dataset({"u": (("x", "y"), u)}, {"x": x, "y": y})
    data = mf.Observations.from_dataset(data, noise={"u": {"fraction": 0.01, "sensor_gain": 0.02}})
    question = mf.InverseProblem("u_xx + k*u_yy = 0", data, {"k": mf.ScalarUnknown()})
    with pytest.raises(DataError, match="an axis of time"):
        mf.solve(question, "joint")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_joint_declared_noise_coverage(kind):
    z = np.ravel([scores(mf.solve(problem(measured(kind, seed)), "joint")) for seed in range(10, 25)])
    assert np.mean(np.abs(z) < 1.96) >= 0.8
    assert np.sqrt(np.mean(z**2)) < 1.4
