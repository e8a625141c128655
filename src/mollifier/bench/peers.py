"""Other programs on the benchmark cases: PySINDy's weak form and ODIL, each used as well as we know how.

They are optional (``pip install 'mollifier[peers]'``). They get the observations that our engines get, with
the noise they estimate, and nothing of the truth; what a choice made with the truth in sight would have given
stands apart, in `Row.oracle`.
"""

from __future__ import annotations

import itertools
import math
import os
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mollifier.bench.cases import Case
from mollifier.bench.scores import compare
from mollifier.data import Observations
from mollifier.errors import ConfigurationError, did_you_mean

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """What a peer found.

    Attributes
    ----------
    peer, case
        Names.
    errors
        Unknown -> relative error of a number, relative L2 of a field; empty where there is no result.
    seconds
        Wall-clock, the search for settings included, imports not.
    setting
        What was chosen, and how.
    oracle
        The errors of the best setting tried, chosen by the truth.
    note
        Why there is no result.
    """

    peer: str
    case: str
    errors: dict[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    setting: str = ""
    oracle: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class _Term:
    """``unknown * factor * d^order(u^power)/dx^order`` on the right of u_t."""

    power: int
    order: int
    factor: float


# Every quadratic term as a derivative of u^2, so that both peers can use the conservative form.
_TERMS = {
    "burgers": {"a": _Term(2, 1, -0.5), "nu": _Term(1, 2, 1.0)},
    "kdv": {"a": _Term(2, 1, -0.5), "b": _Term(1, 3, -1.0)},
    "kuramoto_sivashinsky": {"a": _Term(2, 1, -0.5), "b": _Term(1, 2, -1.0), "c": _Term(1, 4, -1.0)},
}


def run(peer: str, case: Case, observations: Observations) -> Row:
    """One peer on one case; a row with a note where it cannot be used.

    Parameters
    ----------
    peer
        One of `PEERS`.
    case
        The case, for its form and its truth.
    observations
        On a grid.

    Raises
    ------
    ConfigurationError
        If there is no such peer.
    """
    if peer not in PEERS:
        raise ConfigurationError(f"There is no peer '{peer}'.{did_you_mean(peer, PEERS)}")
    function, cases = PEERS[peer]
    if case.name not in cases:
        return Row(peer, case.name, note=f"is run on {', '.join(cases)} only")
    if not observations.gridded:
        return Row(peer, case.name, note="needs data on a grid")
    try:
        with _contained():
            return function(case, observations)
    # ODIL ends the interpreter where it finds no backend.
    except (ImportError, SystemExit) as error:
        return Row(peer, case.name, note=f"cannot be imported: {error or 'no backend (TensorFlow)'}")


@contextmanager
def _contained() -> Iterator[None]:
    """Keep what the peers do to the environment, the warnings and the random state from the rest."""
    environment, state = dict(os.environ), np.random.get_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        np.random.set_state(state)


def _scalar_errors(case: Case, values: dict[str, float]) -> dict[str, float]:
    return {n: abs(v - case.scalars[n]) / abs(case.scalars[n]) for n, v in values.items()}


# PySINDy

_CENTRES = 500
_HALF_WIDTHS = (1 / 20, 1 / 10, 1 / 5)
_POWERS = (4, 8, 12)


def pysindy_weak(case: Case, observations: Observations, seed: int = 0) -> Row:
    """PySINDy's `WeakPDELibrary` with the true terms, and least squares (STLSQ with threshold 0).

    Test functions ``(1 - s^2)^p`` on 500 random boxes. Quadratic terms enter through a second variable, u^2,
    so that all derivatives move onto the test functions: better than its own mixed terms, which keep half of
    them on the data. The size of the boxes along each axis and p are searched; the setting with the smallest
    relative standard errors of ordinary least squares is taken.
    """
    import pysindy
    from pysindy.utils import AxesArray, comprehend_axes

    start = time.perf_counter()
    terms = _TERMS[case.name]
    u = observations.dataset["u"].transpose("x", "t").values
    nodes = [observations.dataset[c].values for c in ("x", "t")]
    stacked = np.stack([u, u**2], axis=-1)
    data = AxesArray(stacked, comprehend_axes(stacked))
    mesh = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1)
    extent = np.array([n[-1] - n[0] for n in nodes])
    found: list[tuple[float, dict[str, float], str]] = []
    for wide, long, power in itertools.product(_HALF_WIDTHS, _HALF_WIDTHS, _POWERS):
        np.random.seed(seed)
        library = pysindy.WeakPDELibrary(
            function_library=pysindy.CustomLibrary([lambda v: v], [lambda v: v]),
            derivative_order=max(t.order for t in terms.values()),
            spatiotemporal_grid=mesh,
            include_interaction=False,
            K=_CENTRES,
            H_xt=extent * np.array([wide, long]),
            p=power,
        )
        library.fit([data])
        features = np.asarray(library.transform([data])[0])
        names = library.get_feature_names(["u", "w"])
        wanted = [f"{'uw'[t.power - 1]}_{'1' * t.order}" for t in terms.values()]
        matrix = features[:, [names.index(w) for w in wanted]] * [t.factor for t in terms.values()]
        values, spread = _least_squares(matrix, np.asarray(library.convert_u_dot_integral(data))[:, 0])
        setting = f"H = ({wide:.2f}, {long:.2f}) of (x, t), p = {power}, K = {_CENTRES}"
        found.append((spread, _scalar_errors(case, dict(zip(terms, values, strict=True))), setting))
    best = min(found, key=lambda f: f[0])
    oracle = min(found, key=lambda f: sum(f[1].values()))
    seconds = time.perf_counter() - start
    return Row("pysindy", case.name, best[1], seconds, best[2], oracle[1])


def _least_squares(matrix: Array, right: Array) -> tuple[list[float], float]:
    """Coefficients, and the root of the sum of their squared relative standard errors."""
    values = np.linalg.lstsq(matrix, right)[0]
    freedom = len(right) - len(values)
    variance = float(((matrix @ values - right) ** 2).sum()) / freedom
    errors = np.sqrt(variance * np.diag(np.linalg.inv(matrix.T @ matrix)))
    return [float(v) for v in values], float(np.linalg.norm(errors / values))


# ODIL

_NEWTON_STEPS = 10
_PRIORS = 10.0 ** np.arange(2.0, -4.1, -0.5)
_LBFGS_STEPS = 2000
# Of the coefficients, in units in which their terms are as large as u_t: the larger, the sooner they move.
_SCALINGS = (1.0, 10.0, 100.0)
# Weights stay finite on exact data, and no discretisation is better than this fraction of rms(u).
_FLOOR = 1e-3
_SECONDS = 60.0


def odil_grid(case: Case, observations: Observations) -> Row:
    """ODIL: the state on the grid of the data, and the unknowns, from one sum of squares.

    Residual and data are weighed by the noise that the observations estimate. Fields: Gauss-Newton with a
    direct solver, squared second differences as a prior; its weight is the largest that leaves the data
    misfit at the noise (Morozov). Numbers: L-BFGS-B as in its own example of inferred constants, for the
    column of a coefficient is dense and would fill its direct solver; from smoothed data and coefficients
    matched to them, in three scalings, of which the one with the smallest loss is taken. Central differences
    of fourth order in space, the midpoint rule in time.
    """
    os.environ.update(ODIL_BACKEND="tf", ODIL_DTYPE="float64")
    import odil
    import odil.runtime

    odil.set_log_file(open(os.devnull, "w"))  # noqa: SIM115
    start = time.perf_counter()
    row = (_odil_fields if case.name in _STEADY else _odil_numbers)(odil, case, observations)
    return replace(row, seconds=time.perf_counter() - start)


def _odil_numbers(odil: Any, case: Case, observations: Observations) -> Row:
    """Coefficients of an evolution equation in x and t: the scaling with the smallest loss."""
    fits = [_evolution_fit(odil, case, observations, scaling) for scaling in _SCALINGS]
    errors = [_scalar_errors(case, values) for _, values, _ in fits]
    best = min(range(len(fits)), key=lambda i: fits[i][0])
    setting = f"L-BFGS-B, {fits[best][2]} steps, scaling {_SCALINGS[best]:g}"
    return Row(
        "odil", case.name, errors[best], setting=setting, oracle=min(errors, key=lambda e: sum(e.values()))
    )


def _evolution_fit(
    odil: Any, case: Case, observations: Observations, scaling: float
) -> tuple[float, dict[str, float], int]:
    """Loss, coefficients and number of steps of one descent."""
    terms = _TERMS[case.name]
    u = observations.dataset["u"].transpose("x", "t").values
    x, t = (observations.dataset[c].values for c in ("x", "t"))
    dx, dt = float(x[1] - x[0]), float(t[1] - t[0])
    sd = max(observations.noise_sd("u"), _FLOOR * _rms(u))
    cut = slice(None) if "x" in observations.periodic else slice(3, -3)
    smooth = gaussian_filter(u, (3.0, 1.0), mode="nearest")
    slope = np.gradient(smooth, dt, axis=1)
    columns = [_difference(np, smooth**v.power, v.order, dx) * v.factor for v in terms.values()]
    scales = [scaling * _rms(slope) / _rms(c) for c in columns]
    matched = np.stack([(c * s)[cut].ravel() for c, s in zip(columns, scales, strict=True)], axis=-1)

    def operator(ctx: Any) -> list[Any]:
        now, coefficients = ctx.field("u"), ctx.field("c")
        before = ctx.mod.roll(now, 1, 1)
        middle = (now + before) / 2
        residual = (now - before) / dt
        for i, term in enumerate(terms.values()):
            flux = middle**term.power * (term.factor * scales[i])
            residual -= coefficients[i] * _difference(ctx.mod, flux, term.order, dx)
        weighed = residual[cut, 1:] * (_rms(u) / (_rms(slope) * sd))
        return [("equation", weighed), ("data", (now - u) / sd)]

    upper = (len(x) * dx, len(t) * dt)
    domain = odil.Domain(cshape=u.shape, dimnames=("x", "t"), lower=(0, 0), upper=upper, dtype=np.float64)
    start = odil.Array(np.linalg.lstsq(matched, slope[cut].ravel())[0])
    state = domain.init_state(odil.State(fields={"u": odil.Field(smooth), "c": start}))
    end = time.perf_counter() + _SECONDS
    last = [math.inf, 0]

    def callback(_: Any, epoch: int, info: Any) -> None:
        last[:] = float(info["loss"]), epoch
        if time.perf_counter() > end:
            raise TimeoutError

    options = ("bfgs_m", "bfgs_pgtol", "bfgs_maxls", "adam_epsilon", "adam_beta_1", "adam_beta_2")
    args = Namespace(epoch_start=0, epochs=_LBFGS_STEPS, lr=0.0, callback_update_state=0)
    vars(args).update(dict.fromkeys(options))
    with suppress(TimeoutError, odil.EarlyStopError):
        odil.util.optimize_grad(args, "lbfgsb", odil.Problem(operator, domain), state, callback)
    values = (np.array(domain.field(state, "c")) * scales).tolist()
    return last[0], dict(zip(terms, values, strict=True)), int(last[1])


def _difference(mod: Any, values: Any, order: int, dx: float) -> Any:
    """A derivative along the first axis, periodic, by central differences of fourth order."""
    half = (order + 1) // 2 + 1
    offsets = np.arange(-half, half + 1)
    right = np.zeros(len(offsets))
    right[order] = math.factorial(order)
    weights = np.linalg.solve(np.vander(offsets, increasing=True).T, right) / dx**order
    return sum(w * mod.roll(values, -int(i), 0) for i, w in zip(offsets, weights, strict=True))


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _reaction(ctx: Any, x: list[Array], dx: float) -> Any:
    u, lower, upper = ctx.field("u"), ctx.field("u", -1), ctx.field("u", 1)
    return 0.01 * (upper - 2 * u + lower) / dx**2 - ctx.field("k") * u - np.sin(2 * np.pi * x[0])


def _poisson(ctx: Any, x: list[Array], dx: float) -> Any:
    u, a = ctx.field("u"), ctx.field("a")
    q = 1 / (1 + x[0] ** 2 + x[1] ** 2 + (x[0] - 1) ** 2 + (x[1] - 1) ** 2)
    sine, cosine = ([f(np.pi * c) for c in x] for f in (np.sin, np.cos))
    total = 2 * np.pi**2 * sine[0] * sine[1] * q
    total += 2 * np.pi * ((2 * x[0] - 1) * cosine[0] * sine[1] + (2 * x[1] - 1) * sine[0] * cosine[1]) * q**2
    for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        total = total + (a + ctx.field("a", *shift)) / 2 * (ctx.field("u", *shift) - u) / dx**2
    return total


_STEADY: dict[str, tuple[str, Callable[..., Any], float]] = {
    "reaction_rate": ("k", _reaction, 1 / math.sqrt(2)),
    "inverse_poisson": ("a", _poisson, 4.0),
}


def _odil_fields(odil: Any, case: Case, observations: Observations) -> Row:
    """An unknown field of a steady equation on the unit interval or square."""
    unknown = _STEADY[case.name][0]
    u = observations.dataset["u"].values
    x = [observations.dataset[str(c)].values for c in observations.dataset["u"].dims]
    sd = observations.noise_sd("u")
    fits = _steady_fits(odil, case, observations)
    # From the strongest prior down.
    prior = next((p for p, (state, _) in fits.items() if _rms(state - u) <= sd), min(fits))
    errors = {p: _field_error(case, unknown, found, x) for p, (_, found) in fits.items()}
    return Row(
        "odil",
        case.name,
        {unknown: errors[prior]},
        setting=f"Gauss-Newton, weight of the prior {prior:.3g}",
        oracle={unknown: min(errors.values())},
    )


def _steady_fits(odil: Any, case: Case, observations: Observations) -> dict[float, tuple[Array, Array]]:
    """Weight of the prior -> (u, unknown) on the grid of the data, each fit started from the one before."""
    unknown, equation, size = _STEADY[case.name]
    u = observations.dataset["u"].values
    sd = max(observations.noise_sd("u"), 1e-6 * _rms(u))
    n, dims = len(u), u.ndim
    dx = 1 / (n - 1)
    x = [np.linspace(0, 1, n).reshape([-1 if i == j else 1 for j in range(dims)]) for i in range(dims)]
    within = [(c > dx / 2) & (c < 1 - dx / 2) & np.ones(u.shape, dtype=bool) for c in x]
    inside = np.logical_and.reduce(within)

    def operator(ctx: Any, prior: float) -> list[Any]:
        choose, zero = ctx.mod.where, ctx.cast(0)
        residual = choose(inside, equation(ctx, x, dx), zero) * (_rms(u) / (size * sd))
        rows = [("equation", residual), ("data", (ctx.field("u") - u) / sd)]
        for i, shift in enumerate(np.eye(dims, dtype=int).tolist()):
            back = [-s for s in shift]
            bend = ctx.field(unknown, *shift) - 2 * ctx.field(unknown) + ctx.field(unknown, *back)
            rows.append((f"prior {i}", choose(within[i], bend, zero) * (prior / dx**2)))
        return rows

    options = Namespace(epoch_start=0, epochs=_NEWTON_STEPS, linsolver="direct", linsolver_maxiter=1)
    vars(options).update(dict.fromkeys(("linsolver_damp", "linsolver_dampdiag", "linsolver_verbose"), 0))
    ends = {"lower": -dx / 2, "upper": 1 + dx / 2}
    domain = odil.Domain(cshape=u.shape, dimnames=("x", "y")[:dims], dtype=np.float64, **ends)
    fields = {"u": odil.Field(u.copy()), unknown: odil.Field(np.ones_like(u))}
    state = domain.init_state(odil.State(fields=fields))
    result = {}
    for prior in _PRIORS.tolist():
        odil.util.optimize_newton(options, odil.Problem(partial(operator, prior=prior), domain), state)
        result[prior] = tuple(np.array(domain.field(state, f)) for f in ("u", unknown))
    return result


def _field_error(case: Case, unknown: str, found: Array, x: list[Array]) -> float:
    exact = case.true_fields[unknown]
    nodes = dict(zip(exact.dims, x, strict=True))
    array = xr.DataArray(found, nodes, exact.dims)
    return compare(array.interp({c: exact[c] for c in exact.dims}, method="cubic"), exact).relative_l2


PEERS: dict[str, tuple[Callable[[Case, Observations], Row], tuple[str, ...]]] = {
    "pysindy": (pysindy_weak, tuple(_TERMS)),
    "odil": (odil_grid, ("reaction_rate", "inverse_poisson", "burgers", "kdv")),
}
