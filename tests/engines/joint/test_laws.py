"""Laws of the state by the joint engine: slopes, answers, bounds, hidden states, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.integrate import solve_ivp

import mollifier as mf
from mollifier.engines.joint.engine import stages_of
from mollifier.engines.joint.settings import JointSettings
from mollifier.errors import ConfigurationError
from tests.support.laws import diffusivity, growth, movie, relative_error

LAW = mf.FieldUnknown()


def curve(seed, count=40):
    """Growth that saturates, at random times with 1 % noise, and its law."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.random(count)) * 12

    def rate(u):
        return u * (1 - u) / (0.3 + u)

    u = solve_ivp(lambda _, y: rate(y), (0, 12), [0.02], t_eval=t, rtol=1e-9, atol=1e-12).y[0]
    noisy = u + 0.01 * np.sqrt(np.mean(u**2)) * rng.standard_normal(count)
    return mf.Observations({"u": noisy}, {"t": t}, noise={"u": 0.01}), rate


def test_law_slopes_are_those_of_the_residuals():
    """The residual's change with the states, through the law, and with the law's coefficients."""
    x, t, u = movie(nodes=101, every=5, frames=11)
    rng = np.random.default_rng(0)
    data = xr.Dataset({"u": (("x", "t"), u + 0.01 * rng.standard_normal(u.shape))}, {"x": x, "t": t})
    observed = mf.Observations.from_dataset(data, noise={"u": 0.02})
    problem = mf.InverseProblem(
        "u_t = D(u)*u_xx + r(u, x)*u_x^2", observed, {"D": LAW, "r": mf.FieldUnknown(over=("u", "x"))}
    )
    settings = JointSettings.model_validate({"collocation": {"nodes": {"x": 9, "t": 7}}})
    objective, stages, _ = stages_of(problem, settings)
    stages[0].step()
    stages[0].close()
    joint, model = stages[-1], objective.model
    nodes = [v + 0.05 * rng.standard_normal(v.shape) for v in joint.node_values()]
    rows = next(iter(joint.linearisation.equations(nodes, 1.0, True)))
    for b, block in enumerate(model.blocks):
        change = rng.standard_normal(nodes[b].shape)
        ends = []
        for step in (1e-5, -1e-5):
            moved = [v + step * change if i == b else v for i, v in enumerate(nodes)]
            ends.append(next(iter(joint.linearisation.equations(moved, 1.0, False))).values)
        slope = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(
            rows.fields[b, 0] @ change[0], slope, atol=1e-4 * np.abs(slope).max(), err_msg=str(block.names)
        )


def test_law_of_a_curve_at_few_times(tmp_path):
    """A growth law from forty scattered times, over the values that the state takes; saved and read."""
    data, rate = curve(10)
    solution = mf.solve(mf.InverseProblem("u_t = f(u)", data, {"f": LAW}))
    assert solution.provenance["engine"] == "joint"
    assert solution.status.ok
    law = solution.dataset["f"]
    assert relative_error(law, rate) < 0.05
    assert law.dims == ("u_value",)
    assert float(law.u_value[0]) == pytest.approx(float(solution.dataset.u.min()))
    assert int(solution.dataset["u_visits"].sum()) == solution.dataset.sizes["t"]
    np.testing.assert_allclose(
        np.sqrt((solution.dataset["f_modes"] ** 2).sum("f_mode")), solution.dataset["f_sd"], rtol=1e-3
    )
    solution.save(tmp_path / "answer")
    np.testing.assert_array_equal(mf.load_solution(tmp_path / "answer").dataset["f"], law)


def test_law_keeps_its_bounds_and_its_measurements():
    """A law above its bound everywhere, and the value that was measured."""
    data, rate = curve(11)
    known = mf.Observations({"f": [rate(0.5)]}, {"u": [0.5]}, noise=0.0)
    unknown = mf.FieldUnknown(over="u", lower=0.0, measurements=known)
    law = mf.solve(mf.InverseProblem("u_t = f(u)", data, {"f": unknown}), "joint").dataset["f"]
    assert float(law.min()) >= 0
    assert float(law.interp(u_value=0.5)) == pytest.approx(rate(0.5), rel=0.01)


def test_law_of_a_hidden_state_needs_a_range_and_a_value():
    """Without bounds its values are not known; without a value it may be moved along its axis."""
    data = mf.Observations({"I": np.linspace(0.1, 0.2, 20)}, {"t": np.linspace(0, 1, 20)}, noise=0.01)
    equations, unknowns = "S_t = -f(S)*I; I_t = f(S)*I - 0.2*I", {"f": mf.FieldUnknown(over="S")}
    with pytest.raises(ConfigurationError, match="give both bounds of 'S'"):
        mf.InverseProblem(equations, data, unknowns, states={"S": mf.StateUnknown(lower=0.0)})
    states = {"S": mf.StateUnknown(lower=-0.5, upper=1.5)}
    found = mf.check(mf.InverseProblem(equations, data, unknowns, states=states))
    assert found.verdict == "cannot be answered"
    assert any("a constant added to S moves f" in f.text for f in found.findings)


@pytest.mark.slow
def test_law_of_a_hidden_state():
    """How fast the infected grow at each share of the susceptible, which nobody counted."""
    t, rng = np.linspace(0, 60, 80), np.random.default_rng(10)

    def law(s):
        return 0.5 * s / (0.5 + s)

    def rate(_, y):
        return [-law(y[0]) * y[1], law(y[0]) * y[1] - 0.2 * y[1]]

    infected = solve_ivp(rate, (0, 60), [0.99, 0.01], t_eval=t, rtol=1e-10, atol=1e-12).y[1]
    sd = 0.01 * np.sqrt(np.mean(infected**2))
    data = mf.Observations({"I": infected + sd * rng.standard_normal(80)}, {"t": t}, noise={"I": 0.01})
    problem = mf.InverseProblem(
        "S_t = -f(S)*I; I_t = f(S)*I - 0.2*I",
        data,
        {"f": mf.FieldUnknown(over="S", lower=0.0)},
        states={"S": mf.StateUnknown(lower=-0.5, upper=1.5)},
        conditions=[mf.Condition("S = 0.99", at={"t": "start"})],
    )
    solution = mf.solve(problem)
    assert solution.status.ok
    assert relative_error(solution.dataset["f"], law) < 0.05


@pytest.mark.slow
def test_laws_beside_derivatives_at_scattered_places():
    """D(u)*u_xx has no weak form, and scattered data no grid; the second law is the slope of the first."""
    x, t, u = movie(every=1, frames=201)
    rng = np.random.default_rng(10)
    i, j = rng.integers(0, len(x), 1500), rng.integers(0, len(t), 1500)
    noisy = u[i, j] + 0.02 * np.sqrt(np.mean(u**2)) * rng.standard_normal(1500)
    data = mf.Observations({"u": noisy}, {"x": x[i], "t": t[j]}, noise={"u": 0.02})
    unknowns = {"D": mf.FieldUnknown(lower=0.0), "d": LAW, "f": LAW}
    found = mf.solve(mf.InverseProblem("u_t = D(u)*u_xx + d(u)*u_x^2 + f(u)", data, unknowns)).dataset
    assert relative_error(found["D"], diffusivity) < 0.1
    assert relative_error(found["f"], growth) < 0.1


def test_law_gradient_of_the_loss():
    """Through the law's own parameters and through the states that it is taken at."""
    data, _ = curve(0)
    problem = mf.InverseProblem("u_t = f(u)", data, {"f": LAW})
    objective, stages, _ = stages_of(problem, JointSettings())
    stages[0].step()
    stages[0].close()
    parameters = list(objective.model.parameters())
    generator = torch.Generator().manual_seed(0)
    step = [1e-5 * torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]

    def moved(sign):
        with torch.no_grad():
            for p, s in zip(parameters, step, strict=True):
                p += sign * s
            value = float(objective().total)
            for p, s in zip(parameters, step, strict=True):
                p -= sign * s
        return value

    slopes = torch.autograd.grad(objective().total, parameters)
    expected = float(sum((a * s).sum() for a, s in zip(slopes, step, strict=True)))
    assert (moved(1) - moved(-1)) / 2 == pytest.approx(expected, rel=1e-3)
