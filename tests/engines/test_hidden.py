"""Hidden states: what the structure says of them, and what engines find. Truth by SciPy's solve_ivp."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import mollifier as mf
from mollifier.engines.choose import choose
from mollifier.engines.identifiability.hidden import open_states
from mollifier.engines.identifiability.structure import gauges, scalings

S = mf.ScalarUnknown
LORENZ = ["X_t = s*(Y - X)", "Y_t = X*(r - Z) - Y", "Z_t = X*Y - b*Z"]
TRUE = {"s": 10.0, "r": 15.0, "b": 8 / 3}


def noisy(values, share: float, seed: int):
    rng = np.random.default_rng(seed)
    return values + share * np.sqrt(np.mean(values**2)) * rng.standard_normal(values.shape)


def lorenz(equations=LORENZ, seed: int = 100) -> tuple[mf.InverseProblem, np.ndarray]:
    t = np.linspace(0, 3, 25)
    s, r, b = TRUE.values()

    def rates(_, y):
        return [s * (y[1] - y[0]), y[0] * (r - y[2]) - y[1], y[0] * y[1] - b * y[2]]

    y = solve_ivp(rates, (0, 3), [-8, 7, 27], t_eval=t, rtol=1e-10, atol=1e-10).y
    data = mf.Observations({n: noisy(v, 0.01, seed) for n, v in zip("XY", y, strict=False)}, {"t": t}, 0.01)
    unknowns = {n: S() for n in TRUE}
    return mf.InverseProblem(equations, data, unknowns, states={"Z": mf.StateUnknown()}), y[2]


def predators(unknowns, constants) -> mf.InverseProblem:
    """Lotka and Volterra's equations with only the prey counted."""
    t = np.linspace(0, 15, 60)

    def rates(_, y):
        return [y[0] * (1 - 0.5 * y[1]), y[1] * (0.3 * y[0] - 0.8)]

    u = solve_ivp(rates, (0, 15), [4, 1], t_eval=t, rtol=1e-10, atol=1e-10).y[0]
    data = mf.Observations({"u": noisy(u, 0.01, 0)}, {"t": t}, noise=0.01)
    equations = ["u_t = a*u - b*u*v", "v_t = c*u*v - d*v"]
    return mf.InverseProblem(equations, data, unknowns, constants, states={"v": mf.StateUnknown(lower=0.0)})


@pytest.mark.slow
def test_lorenz_without_z():
    """Three numbers and the state that was not measured, found, and judged before."""
    problem, z = lorenz()
    name, why = choose(problem)
    assert name == "joint"
    assert "takes no hidden states" in why
    found = mf.check(problem)
    assert found.verdict == "good"
    assert any("Z(t) was not measured: 2 of 3 equations" in f.text for f in found.findings)
    foretold = {n: v["sd"] for n, v in found.numbers["information"]["numbers"].items()}
    solution = mf.solve(problem)
    assert solution.status.name == "converged"
    for name, true in TRUE.items():
        low, high = solution.estimates[name].interval(0.95)
        assert low < true < high
        assert abs(solution.estimates[name].value / true - 1) < 0.05
        assert abs(foretold[name] / solution.estimates[name].sd - 1) < 0.2
    assert np.abs(solution.dataset["Z"].interp(t=problem.data.dataset["t"]).values - z).max() < 1.0
    assert np.all(solution.dataset["Z_sd"] < 0.5)
    assert np.abs(solution.dataset["Z"].values[0] - 27.0) < 3 * solution.dataset["Z_sd"].values[0]
    assert solution.states == ("X", "Y", "Z")


@pytest.mark.slow
def test_lorenz_without_z_solved_forward():
    """The answer is read back from the solution, and its equations solved from where it starts."""
    assert mf.validate(mf.solve(lorenz()[0])).ok


def test_weak_engine_refuses_hidden_states():
    """The message names those that solve for them."""
    with pytest.raises(
        mf.MollifierError, match=r"takes no hidden states .*, engine 'joint' or 'network' does"
    ):
        mf.solve(lorenz()[0], "weak")


def test_state_in_its_own_equation_only():
    """Nothing that was measured depends on Z, so neither Z nor b is in the data."""
    problem, _ = lorenz([LORENZ[0], "Y_t = X*(r - X) - Y", LORENZ[2]])
    assert open_states(problem) == (["Z"], ["b"])
    assert mf.check(problem).verdict == "cannot be answered"
    status = mf.solve(problem, settings={"training": {"steps": 2}}).status
    assert status.name == "undetermined"
    assert "no equation determines Z" in status.message


def test_as_many_equations_as_states_and_numbers():
    """Without its own equation Z makes Y's hold whatever r is."""
    unknowns = {"s": S(), "r": S()}
    data = lorenz()[0].data
    problem = mf.InverseProblem(LORENZ[:2], data, unknowns, states={"Z": mf.StateUnknown()})
    assert open_states(problem) == (["Z"], ["r"])


def test_scale_of_a_hidden_state():
    """Only the product of the predators' number and appetite is in the data; with one known, all is found."""
    numbers = {n: S(lower=0.0) for n in "abcd"}
    twin = predators(numbers, {})
    assert scalings(twin) == [{"b": 1, "v": -1}]
    found = mf.check(twin)
    assert found.verdict == "cannot be answered"
    assert "only b*v" in found.errors[0].text
    del numbers["b"]
    solution = mf.solve(predators(numbers, {"b": 0.5}))
    for name, true in {"a": 1.0, "c": 0.3, "d": 0.8}.items():
        assert abs(solution.estimates[name].value - true) < 3 * solution.estimates[name].sd
    assert solution.status.name == "converged"
    assert float(solution.dataset["v"].min()) > 0


def test_gauge_of_a_hidden_state():
    """A pressure of which only gradients enter is free up to a function of time."""
    x, y, t = np.random.default_rng(0).random((3, 50))
    data = mf.Observations({"u": x * t, "v": y * t}, {"x": x, "y": y, "t": t}, noise=0.01)
    flow = ["u_t + u*u_x + v*u_y = -p_x + n*lap(u)", "v_t + u*v_x + v*v_y = -p_y + n*lap(v)"]
    problem = mf.InverseProblem(flow, data, {"n": S()}, states={"p": mf.StateUnknown()})
    assert gauges(problem) == {"p": ("t",)}
    assert any("its mean over x, y at each t is zero" in f.text for f in mf.check(problem).findings)


def two_rates(seed: int = 1) -> mf.Observations:
    """The second of two compartments, which lose 2 and 0.5 of what they hold; the first feeds it."""
    t = np.linspace(0, 6, 80)
    y = solve_ivp(lambda t, y: [-2 * y[0] + y[1], -0.5 * y[1]], (0, 6), [0.2, 1], t_eval=t, rtol=1e-9).y
    return mf.Observations({"u": y[0]}, {"t": t}).add_noise(0.005, rng=seed)


@pytest.mark.parametrize(("upper", "status"), [(None, "undetermined"), (1.0, "converged")])
def test_rates_that_may_be_exchanged(upper, status):
    """Either order of the two rates fits exactly; bounds that leave one of them make an answer of it."""
    unknowns = {"a": mf.ScalarUnknown(lower=upper or 0.0), "b": mf.ScalarUnknown(lower=0.0, upper=upper)}
    equations, states = ["u_t = -a*u + v", "v_t = -b*v"], {"v": mf.StateUnknown()}
    found = mf.solve(mf.InverseProblem(equations, two_rates(), unknowns, states=states))
    assert found.status.name == status
    if upper is None:
        assert "fits as well as" in found.status.message
    else:
        low, high = found.estimates["a"].interval(0.99)
        assert low < 2.0 < high


def test_a_sign_that_a_hidden_state_takes_up():
    """x'' = -k^2 x, written with the velocity over k: k and -k are the same."""
    t = np.linspace(0, 6, 80)
    data = mf.Observations({"x": np.cos(2 * t)}, {"t": t}).add_noise(0.01, rng=0)
    equations, states = ["x_t = k*v", "v_t = -k*x"], {"v": mf.StateUnknown()}
    free = mf.solve(mf.InverseProblem(equations, data, {"k": mf.ScalarUnknown(initial=-1.0)}, states=states))
    assert free.status.name == "undetermined"
    bound = mf.solve(mf.InverseProblem(equations, data, {"k": mf.ScalarUnknown(lower=0.0)}, states=states))
    assert bound.status.name == "converged"


@pytest.mark.parametrize("condition", ["v = 0", pytest.param("x = 1", marks=pytest.mark.slow)])
def test_true_condition_beside_a_hidden_state(condition):
    """The search for levels starts where the search for hidden states ended, and leaves k and c there."""
    t = np.linspace(0, 10, 60)
    x = solve_ivp(lambda _, y: [y[1], -4 * y[0] - 0.3 * y[1]], (0, 10), [1, 0], t_eval=t, rtol=1e-10).y[0]
    data = mf.Observations({"x": x}, {"t": t}).add_noise(0.015, rng=1)
    problem = mf.InverseProblem(
        ["x_t = v", "v_t = -k*x - c*v"],
        data,
        {"k": S(), "c": S()},
        states={"v": mf.StateUnknown()},
        conditions=[mf.Condition(condition, at={"t": "start"})],
    )
    foretold = mf.check(problem)
    assert foretold.verdict == "good"
    found = mf.solve(problem)
    assert found.status.name == "converged"
    for name, truth in {"k": 4.0, "c": 0.3}.items():
        estimate = found.estimates[name]
        assert abs(estimate.value - truth) < 3 * estimate.sd
        assert foretold.numbers["information"]["numbers"][name]["sd"] == pytest.approx(estimate.sd, rel=0.2)


def test_compartments_a_thousand_times_what_is_counted_at_first():
    """Two starts led to b = 0, which leaves a single term in an equation, and ended the search."""

    def rate(_, y):
        new, fallen = 0.5 * y[0] * y[2] / 1e4, 0.2 * y[1]
        return [-new, new - fallen, fallen - 0.15 * y[2]]

    t = np.arange(0.0, 80.0)
    infected = solve_ivp(rate, (0, 79), [9990.0, 5.0, 5.0], "LSODA", t, rtol=1e-9).y[2]
    counts = np.random.default_rng(5).negative_binomial(40, 40 / (40 + infected)).astype(float)
    found = mf.solve(
        mf.InverseProblem(
            ["S_t = -b*S*I/1e4", "E_t = b*S*I/1e4 - 0.2*E", "I_t = 0.2*E - g*I"],
            mf.Observations({"I": counts}, {"t": t}),
            {"b": mf.ScalarUnknown(lower=0.0), "g": mf.ScalarUnknown(lower=0.0)},
            states={"S": mf.StateUnknown(), "E": mf.StateUnknown()},
            conditions=[mf.Condition("S = 9990", at={"t": 0})],
        ),
        "joint",
    )
    assert found.status.ok
    for name, truth in (("b", 0.5), ("g", 0.15)):
        estimate = found.estimates[name]
        assert abs(estimate.value - truth) < 3 * estimate.sd < 0.15 * truth
