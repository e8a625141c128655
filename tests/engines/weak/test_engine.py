"""The weak engine: whole solves of problems with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
import xarray as xr
from scipy.integrate import solve_ivp
from threadpoolctl import threadpool_info, threadpool_limits

from mollifier.data.observations import Observations
from mollifier.engines.solve import solve
from mollifier.engines.splines.basis import Basis
from mollifier.engines.start import trial_values
from mollifier.engines.weak import engine
from mollifier.engines.weak.bases import initial_coefficients
from mollifier.engines.weak.form import weak_form
from mollifier.engines.weak.prepare import grid_data
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown
from weak_problems import SURE, D, T, X, burgers, heat, logistic, observed, weak


def check_numbers(solution, precision, **true):
    """Within the standard errors stated, which are no greater than they should be; the status is good."""
    assert solution.status.ok, solution.status
    for name, value in true.items():
        e = solution.estimates[name]
        assert abs(e.value - value) <= SURE * e.sd, (e, value)
        assert e.sd <= precision * abs(value), (e, precision)


def test_a_solve_takes_one_blas_thread(monkeypatch: pytest.MonkeyPatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    seen = []

    def follow(_):
        seen.extend(lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas")

    problem = InverseProblem("u_t = D*u_xx", observed({"u": heat}, {"x": X, "t": T}), D)
    with threadpool_limits(2, user_api="blas"):
        solve(problem, "weak", progress=follow)
    assert {*seen} == {1}


def test_first_values_are_within_the_bounds():
    """Those of unknowns that the equations are not linear in, with one bound on either side."""
    bounds = {"a": ScalarUnknown(upper=-5.0), "b": ScalarUnknown(lower=7.0)}
    problem = InverseProblem(
        "u_t = D*u_xx + exp(a*u) - exp(-b*u)", observed({"u": heat}, {"x": X, "t": T}), {**D, **bounds}
    )
    bases = [Basis(n, {}, problem.data.grid(problem.coordinates)) for n in bounds]
    first = initial_coefficients(problem, bases)
    assert all(bounds[b.name].admits(value) for b, value in zip(bases, first, strict=True)), first


# -- whole solves: numbers


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize(("noise", "precision"), [(0.0, 1e-6), (0.02, 0.006), (0.3, 0.08)])
def test_heat_noise_and_offset(noise, precision, offset):
    """A constant, and noise of the same size, change little."""
    scale = np.sqrt(np.mean(heat(*np.meshgrid(X, T)) ** 2))
    data = observed(
        {"u": lambda x, t: heat(x, t) + offset}, {"x": X, "t": T}, noise * scale / max(offset, scale)
    )
    solution = weak("u_t = D*u_xx", data, D)
    if noise:
        check_numbers(solution, precision, D=0.1)
    else:
        assert solution.estimates["D"].value == pytest.approx(0.1, rel=precision)


def test_heat_fit_of_rounded_coordinates():
    """Coordinates as a file prints them, rounded up and down, belong to their own nodes."""
    exact = {"x": np.linspace(0, 2 * np.pi, 60), "t": np.linspace(0, 1, 40)}
    data = observed({"u": heat}, {n: np.round(v, 6) for n, v in exact.items()}, 0.02)
    solution = weak("u_t = D*u_xx", data, D)
    assert solution.misfit["u"]["fitted"] < 1.1


def test_burgers_two_numbers():
    """Two numbers under noise of 10 %."""
    data = observed({"u": burgers}, {"x": X, "t": T}, 0.1)
    solution = weak("u_t + a*u*u_x = b*u_xx", data, {"a": ScalarUnknown(), "b": ScalarUnknown()})
    check_numbers(solution, 0.15, a=1.0, b=0.1)


def right(z):
    return np.sin(3 * z)


def left(z):
    return 0.5 * np.cos(2 * z + 1)


def test_heat_start_on_thinned_data(monkeypatch: pytest.MonkeyPatch):
    """Coefficients from thinned data are near enough for weights on all nodes: another round adds little."""
    x, t = np.linspace(0, 2, 240), np.linspace(0, 1, 200)
    data, one = observed({"u": heat}, {"x": x, "t": t}, 0.1), engine._attempted
    numbers, starts = {"D": ScalarUnknown(), "r": ScalarUnknown()}, []

    def again(whole, tests, start):
        found = one(whole, tests, start)
        starts.append((start, found.coefficients))
        return one(whole, tests, found.coefficients)

    found = weak("u_t = D*u_xx + r*u", data, numbers).estimates
    monkeypatch.setattr(engine, "_attempted", again)
    further = weak("u_t = D*u_xx + r*u", data, numbers).estimates
    ((start, first),) = starts
    assert (start != first).all()
    for name, e in further.items():
        assert abs(found[name].value - e.value) < 0.05 * e.sd
        assert found[name].sd == pytest.approx(e.sd, rel=0.02)


def test_waves_two_equations():
    fields = {
        "p": lambda x, t: right(x + 2 * t) + left(x - 2 * t),
        "q": lambda x, t: right(x + 2 * t) - left(x - 2 * t),
    }
    unknowns = {"c": ScalarUnknown(), "d": ScalarUnknown()}
    check_numbers(
        weak("p_t = c*q_x; q_t = d*p_x", observed(fields, {"x": X, "t": T}, 0.1), unknowns), 0.01, c=2, d=2
    )
    second = weak(
        "p_tt = c*p_xx", observed({"p": fields["p"]}, {"x": X, "t": T}, 0.1), {"c": ScalarUnknown()}
    )
    check_numbers(second, 0.02, c=4)


def predators(count=300):
    t = np.linspace(0, 20, count)

    def slope(_, y):
        return [y[0] * (1.1 - 0.4 * y[1]), y[1] * (-0.4 + 0.1 * y[0])]

    return t, solve_ivp(slope, (0, 20), [10, 5], t_eval=t, rtol=1e-10, atol=1e-10).y


@pytest.mark.parametrize("noise", [{"u": 0.05, "v": 0.05}, {"u": 0.0, "v": 0.1}, {"u": 0.1, "v": 0.01}])
def test_predators_unequal_noise(noise):
    t, y = predators()
    rng = np.random.default_rng(1)
    values = {
        n: ("t", v + noise[n] * np.sqrt(np.mean(v**2)) * rng.standard_normal(len(t)))
        for n, v in zip("uv", y, strict=True)
    }
    data = Observations.from_dataset(xr.Dataset(values, {"t": t}), noise=noise)
    unknowns = {n: ScalarUnknown() for n in "abcd"}
    solution = weak("u_t = a*u - b*u*v; v_t = -c*v + d*u*v", data, unknowns)
    check_numbers(solution, 0.06, a=1.1, b=0.4, c=0.4, d=0.1)


@pytest.mark.parametrize("initial", [None, 0.3, 5.0])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e4])
def test_nonlinear_number_logistic(initial, scale):
    """With an initial value or none, whatever the units."""
    axes = {"x": np.linspace(0, 2, 30), "t": np.linspace(0, 6, 50)}
    data = observed({"u": lambda x, t: scale * logistic(x, t)}, axes, 0.05)
    capacity = ScalarUnknown(initial=None if initial is None else initial * scale)
    solution = weak("u_t = r*u*(1-u/K)", data, {"r": ScalarUnknown(), "K": capacity})
    check_numbers(solution, 0.02, r=1.5, K=scale)


@pytest.mark.parametrize("initial", [None, 1.0])
def test_nonlinear_number_of_one_curve(initial):
    """A single noisy curve: few test functions fit at first, from which a full step takes K past infinity."""
    t = np.linspace(0, 6, 60)
    for seed in range(4):
        data = observed({"u": lambda t: logistic(0.0, t)}, {"t": t}, 0.05, seed)
        solution = weak("u_t = r*u*(1-u/K)", data, dict.fromkeys("rK", ScalarUnknown(initial=initial)))
        check_numbers(solution, 0.5, r=1.5, K=1.0)


@pytest.mark.parametrize("initial", [None, 1.0])
def test_nonlinear_number_beyond_infinity(initial):
    """K of an exponential curve is of either sign, and the answer says how far from none it is."""
    t = np.linspace(0, 3, 60)
    data = observed({"u": lambda t: 0.1 * np.exp(0.8 * t)}, {"t": t}, 0.02, 1)
    found = weak("u_t = r*u*(1-u/K)", data, dict.fromkeys("rK", ScalarUnknown(initial=initial))).estimates
    assert found["r"].value == pytest.approx(0.8, abs=SURE * found["r"].sd)
    assert found["K"].value < 0 < found["K"].value + 2 * found["K"].sd


def test_nonlinear_number_saturation():
    """u_t = -V u/(K + u), which no polynomial is."""
    x, t = np.linspace(0, 2, 20), np.linspace(0, 6, 60)
    u = solve_ivp(lambda _, u: -1.2 * u / (0.4 + u), (0, 6), 1 + 0.5 * np.sin(3 * x), t_eval=t, rtol=1e-10).y
    unknowns = {"V": ScalarUnknown(), "K": ScalarUnknown(lower=0.0)}
    check_numbers(
        weak("u_t = -V*u/(K+u)", observed({"u": u}, {"x": x, "t": t}, 0.02), unknowns), 0.03, V=1.2, K=0.4
    )


def test_trial_values_within_bounds():
    assert (trial_values(ScalarUnknown(lower=-1.0, upper=2.0)) > -1).all()
    assert (trial_values(ScalarUnknown(upper=-5.0)) < -5).all()
    assert trial_values(ScalarUnknown(lower=3.0)).min() > 3
    assert len(trial_values(ScalarUnknown())) == 62


# -- whole solves: data


UNEVEN = {
    "random": (2 * np.sort(np.random.default_rng(1).random(60)), T),
    "logarithmic": (X, np.geomspace(0.01, 1, 50)),
    "both": (X + 0.01 * np.sin(20 * X), T**1.5),
    "a few nodes": (X, np.linspace(0, 1, 5)),
    "two nodes": (X, np.array([0.0, 0.1])),
}


@pytest.mark.parametrize("name", UNEVEN)
def test_axes_uneven_and_short(name):
    x, t = UNEVEN[name]
    solution = weak("u_t = D*u_xx", observed({"u": heat}, {"x": x, "t": t}, 0.02), D)
    check_numbers(solution, 0.05, D=0.1)


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_gaps_scattered(share):
    data = observed({"u": heat}, {"x": X, "t": T}, 0.02, holes=share)
    check_numbers(weak("u_t = D*u_xx", data, D), 0.02, D=0.1)


def test_gaps_block():
    clean = observed({"u": heat}, {"x": X, "t": T}, 0.02).dataset["u"].copy()
    clean[20:26, 15:21] = np.nan
    data = Observations.from_dataset(clean.drop_attrs(), noise=0.02)
    check_numbers(weak("u_t = D*u_xx", data, D), 0.02, D=0.1)


def replicated(sd, missing=0.0, count=4):
    """Repeats with standard errors of their own, an array that broadcasts to (x, t, repeat)."""
    mesh = np.meshgrid(X, T, indexing="ij")
    rng = np.random.default_rng(2)
    sd = np.broadcast_to(sd, (*mesh[0].shape, count))
    u = heat(*mesh)[..., None] + sd * rng.standard_normal(sd.shape)
    u = np.where(rng.random(u.shape) < missing, np.nan, u)
    dims = ("x", "t", "repeat")
    dataset = xr.Dataset({"u": (dims, u)}, {"x": X, "t": T})
    return Observations.from_dataset(dataset, noise={"u": xr.DataArray(sd, dims=dims)}, replicates=["repeat"])


def test_replicates_weighted_mean():
    sd = np.array([0.01, 0.02, 0.05, 0.1])
    problem = InverseProblem("u_t = D*u_xx", replicated(sd, 0.3), D)
    data = grid_data(problem, weak_form(problem.system))
    u = problem.data.dataset["u"].values
    weight = np.isfinite(u) / sd**2
    with np.errstate(invalid="ignore"):
        expected = np.nansum(u * weight, -1) / weight.sum(-1)
    there = np.isfinite(u).any(-1)
    np.testing.assert_allclose(data.values["u"][there], expected[there])
    np.testing.assert_allclose(data.variances["u"][there], 1 / weight.sum(-1)[there])
    assert np.isfinite(data.values["u"]).all()
    check_numbers(solve(problem, "weak"), 0.01, D=0.1)


def test_error_bars_weight_samples():
    """Half of the axis is measured ten times as well: the same as to have the noise of that half, nearly."""
    mesh = np.meshgrid(X, T, indexing="ij")
    sd = np.where(mesh[0] < 1, 0.01, 0.1)
    u = heat(*mesh) + sd * np.random.default_rng(3).standard_normal(sd.shape)
    dataset = xr.Dataset({"u": (("x", "t"), u), "e": (("x", "t"), sd)}, {"x": X, "t": T})
    solution = weak("u_t = D*u_xx", Observations.from_dataset(dataset, noise={"u": "e"}, variables=["u"]), D)
    check_numbers(solution, 0.02, D=0.1)


def test_error_bars_of_zero():
    """Some are given without error, as at the ends of an axis."""
    mesh = np.meshgrid(X, T, indexing="ij")
    sd = np.where((mesh[0] == 0) | (mesh[0] == 2), 0.0, 0.02)
    u = heat(*mesh) + sd * np.random.default_rng(3).standard_normal(sd.shape)
    dataset = xr.Dataset({"u": (("x", "t"), u), "e": (("x", "t"), sd)}, {"x": X, "t": T})
    data = Observations.from_dataset(dataset, noise={"u": "e"}, variables=["u"])
    check_numbers(weak("u_t = D*u_xx", data, D), 0.02, D=0.1)


def test_known_data_differentiated():
    """u_t = D s u_xx + a s with s known: two derivatives go to s times the test function."""
    x, t = sympy.symbols("x t")
    u, s = sympy.exp(-t) * sympy.sin(3 * x) + sympy.cos(5 * x - t) / 2, 1 + x**2 / 2 + t
    source = sympy.lambdify((x, t), u.diff(t) - 0.1 * s * u.diff(x, 2) - 2 * s)
    fields = {"u": sympy.lambdify((x, t), u), "s": sympy.lambdify((x, t), s), "f": source}
    data = observed(fields, {"x": X, "t": T}, 0.02, known=("s", "f"))
    unknowns = {"D": ScalarUnknown(), "a": ScalarUnknown()}
    check_numbers(weak("u_t = D*s*u_xx + a*s + f", data, unknowns), 0.02, D=0.1, a=2.0)


def test_axes_periodic():
    x = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    fields = {"u": lambda x, t: np.sin(x - t) + 0.3 * np.cos(3 * (x - t))}
    data = observed(fields, {"x": x, "t": T}, 0.05, periodic={"x": 2 * np.pi})
    check_numbers(weak("u_t = -c*u_x", data, {"c": ScalarUnknown()}), 0.02, c=1.0)


def test_axes_without_derivatives():
    fields = {"u": lambda x, t: np.exp(-0.7 * t) * (2 + np.sin(3 * x))}
    solution = weak("u_t = -r*u", observed(fields, {"x": X, "t": T}, 0.05), {"r": ScalarUnknown()})
    check_numbers(solution, 0.02, r=0.7)
    assert solution.provenance["radius"]["x"] == 0.0
    assert solution.provenance["tests"]["x"] == len(X)


def test_radius_given():
    data = observed({"u": heat}, {"x": X, "t": T})
    solution = weak("u_t = D*u_xx", data, D, collocation={"radius": {"x": 0.4, "t": 0.3}})
    assert solution.provenance["radius"] == {"x": 0.4, "t": 0.3}
    check_numbers(solution, 0.02, D=0.1)


# -- whole solves: fields


def made(field, over, noise=0.01, seed=0):
    """Data that solve u_t = div(k grad u) + s with s known, for a symbolic k."""
    symbols = sympy.symbols(over)
    *space_symbols, t = symbols
    x = space_symbols[0]
    u = sympy.exp(-t) * sympy.sin(3 * x) + sympy.cos(4 * x + 2 * t) + x * sympy.cos(t) / 2
    if len(space_symbols) == 2:
        u = u * sympy.cos(2 * space_symbols[1]) + sympy.cos(4 * space_symbols[1] - 2 * t)
    s = u.diff(t) - sum((field * u.diff(c)).diff(c) for c in space_symbols)
    nodes = (60, 50) if len(symbols) == 2 else (28, 24, 20)
    axes = {
        str(c): np.linspace(0, 2 if len(symbols) == 2 else 1, n) for c, n in zip(symbols, nodes, strict=True)
    }
    fields = {"u": sympy.lambdify(symbols, u), "s": sympy.lambdify(symbols, s)}
    return observed(fields, axes, noise, seed, known=("s",))


def check_field(solution, name, true, precision):
    """Relative error of the whole, and standard errors that are of its size."""
    assert solution.status.ok, solution.status
    found = solution.dataset[name]
    expected = true(*np.meshgrid(*(found[c].values for c in found.dims), indexing="ij"))
    error = found.values - expected
    assert np.linalg.norm(error) <= precision * np.linalg.norm(expected)
    # A smooth field of a dozen degrees of freedom: its error and its standard error agree to a factor.
    assert 0.2 < np.sqrt(np.mean((error / solution.dataset[f"{name}_sd"].values) ** 2)) < 2.5


def test_field_over_x():
    x = sympy.Symbol("x")
    data = made(0.2 + 0.1 * sympy.sin(2 * x), "x t")
    solution = weak("u_t = div(k*grad(u)) + s", data, {"k": FieldUnknown(over=("x",))})
    check_field(solution, "k", lambda x: 0.2 + 0.1 * np.sin(2 * x), 0.03)


def test_field_over_t():
    axes = {"x": X, "t": np.linspace(0, 3, 80)}
    data = observed({"u": lambda x, t: np.exp(np.sin(3 * t) / 3) * (1 + 0.5 * np.sin(3 * x))}, axes, 0.01)
    solution = weak("u_t = r*u", data, {"r": FieldUnknown(over=("t",))})
    check_field(solution, "r", lambda t: np.cos(3 * t), 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_field_standard_errors(noise):
    """Over six draws the errors are those stated, to a half: they have some thirty degrees of freedom."""
    x, squares = sympy.Symbol("x"), []
    for seed in range(6):
        data = made(0.2 + 0.1 * sympy.sin(2 * x), "x t", noise, seed)
        found = weak("u_t = div(k*grad(u)) + s", data, {"k": FieldUnknown(over=("x",))}).dataset
        error = found["k"] - 0.2 - 0.1 * np.sin(2 * found["x"])
        squares.append(float(np.mean((error / found["k_sd"]) ** 2)))
    assert np.sqrt(np.mean(squares)) < 1.5


@pytest.mark.slow
def test_field_over_plane():
    x, y = sympy.symbols("x y")
    data = made(0.3 + 0.1 * sympy.sin(3 * x) * sympy.cos(2 * y), "x y t", 0.01)
    solution = weak("u_t = div(k*grad(u)) + s", data, {"k": FieldUnknown(over=("x", "y"))})
    check_field(solution, "k", lambda x, y: 0.3 + 0.1 * np.sin(3 * x) * np.cos(2 * y), 0.06)
