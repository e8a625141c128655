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

_NEWTON_STEPS = 12
_PRIORS = 10.0 ** np.arange(4.0, -4.1, -0.5)
_EQUATION = 1.0
_LBFGS_STEPS = 1500
_SECONDS = 120.0


def odil_grid(case: Case, observations: Observations) -> Row:
    """ODIL: the state on the grid of the data, and the unknowns, from one sum of squares.

    Residual and data are weighed by the noise that the observations estimate. Fields: Gauss-Newton with a
    direct solver, squared second differences as a prior; its weight is the largest that leaves the data
    misfit at the noise (Morozov). Numbers: L-BFGS-B as in ODIL's own example of inferred constants, from
    smoothed data (their Gauss-Newton has dense columns then); central differences of fourth order in space,
    the midpoint rule in time.
    """
    os.environ.update(ODIL_BACKEND="tf", ODIL_DTYPE="float64")
    import odil
    import odil.runtime

    odil.set_log_file(open(os.devnull, "w"))  # noqa: SIM115
    start = time.perf_counter()
    row = (_odil_fields if case.name in _STEADY else _odil_numbers)(odil, case, observations)
    return replace(row, seconds=time.perf_counter() - start)


def _odil_numbers(odil: Any, case: Case, observations: Observations) -> Row:
    """Coefficients of an evolution equation in x and t."""
    terms = _TERMS[case.name]
    u = observations.dataset["u"].transpose("x", "t").values
    x, t = (observations.dataset[c].values for c in ("x", "t"))
    dx, dt = float(x[1] - x[0]), float(t[1] - t[0])
    smooth = gaussian_filter(u, (3.0, 1.0), mode="nearest")
    speed = _rms(np.gradient(smooth, dt, axis=1))
    sd = max(observations.noise_sd("u"), 1e-6 * _rms(u))
    columns = [_difference(np, smooth**v.power, v.order, dx) * v.factor for v in terms.values()]
    scales = [speed / _rms(c) for c in columns]
    cut = 0 if "x" in observations.periodic else 3

    def operator(ctx: Any) -> list[Any]:
        now, coefficients = ctx.field("u"), ctx.field("c")
        before = ctx.mod.roll(now, 1, 1)
        middle = (now + before) / 2
        residual = (now - before) / dt
        for i, term in enumerate(terms.values()):
            flux = middle**term.power * (term.factor * scales[i])
            residual -= coefficients[i] * _difference(ctx.mod, flux, term.order, dx)
        inside = residual[cut : len(x) - cut, 1:]
        return [("equation", inside * (_rms(u) / (speed * sd))), ("data", (now - u) / sd)]

    upper = (len(x) * dx, len(t) * dt)
    domain = odil.Domain(cshape=u.shape, dimnames=("x", "t"), lower=(0, 0), upper=upper, dtype=np.float64)
    matched = np.stack([(c * s)[cut : len(x) - cut].ravel() for c, s in zip(columns, scales, strict=True)], -1)
    slope = np.gradient(smooth, dt, axis=1)[cut : len(x) - cut].ravel()
    fields = {"u": odil.Field(smooth), "c": odil.Array(np.linalg.lstsq(matched, slope)[0])}
    state = domain.init_state(odil.State(fields=fields))
    end, done = time.perf_counter() + _SECONDS, [0]

    def callback(_: Any, epoch: int, __: Any) -> None:
        done[0] = epoch
        if time.perf_counter() > end:
            raise TimeoutError

    options = dict.fromkeys(
        ("bfgs_m", "bfgs_pgtol", "bfgs_maxls", "adam_epsilon", "adam_beta_1", "adam_beta_2")
    )
    args = Namespace(epoch_start=0, epochs=_LBFGS_STEPS, lr=0.0, callback_update_state=0, **options)
    with suppress(TimeoutError, odil.EarlyStopError):
        odil.util.optimize_grad(args, "lbfgsb", odil.Problem(operator, domain), state, callback)
    values = np.array(domain.field(state, "c")) * scales
    errors = _scalar_errors(case, dict(zip(terms, values.tolist(), strict=True)))
    return Row(
        "odil", case.name, errors, setting=f"L-BFGS-B, {done[0]} steps, grid {u.shape[0]} x {u.shape[1]}"
    )


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
    unknown, equation, size = _STEADY[case.name]
    u = observations.dataset["u"].values
    sd = max(observations.noise_sd("u"), 1e-6 * _rms(u))
    n, dims = len(u), u.ndim
    dx = 1 / (n - 1)
    x = [np.linspace(0, 1, n).reshape([-1 if i == j else 1 for j in range(dims)]) for i in range(dims)]
    inside = np.zeros(u.shape, dtype=bool)
    inside[(slice(1, -1),) * dims] = True
    margin = dx / 2
    names = ("x", "y")[:dims]
    domain = odil.Domain(cshape=u.shape, dimnames=names, lower=-margin, upper=1 + margin, dtype=np.float64)
    weight = _EQUATION * _rms(u) / (size * sd)
    shifts = np.eye(dims, dtype=int)
    options = Namespace(
        epoch_start=0,
        epochs=_NEWTON_STEPS,
        linsolver="direct",
        linsolver_maxiter=1,
        linsolver_damp=0,
        linsolver_dampdiag=0,
        linsolver_verbose=0,
    )
    fields = {"u": odil.Field(u.copy()), unknown: odil.Field(np.ones_like(u))}
    state = domain.init_state(odil.State(fields=fields))
    tried: list[tuple[float, float, float]] = []
    for prior in _PRIORS:

        def operator(ctx: Any, prior: float = float(prior)) -> list[Any]:
            kept = ctx.mod.where
            residual = kept(inside, equation(ctx, x, dx), ctx.cast(0)) * weight
            rows = [("equation", residual), ("data", (ctx.field("u") - u) / sd)]
            k = ctx.field(unknown)
            for i, shift in enumerate(shifts):
                ends = (x[i] > margin) & (x[i] < 1 - margin) & (u == u)
                bend = ctx.field(unknown, *shift) - 2 * k + ctx.field(unknown, *-shift)
                rows.append((f"prior {i}", kept(ends, bend, ctx.cast(0)) * (prior / dx**2)))
            return rows

        odil.util.optimize_newton(options, odil.Problem(operator, domain), state)
        found = np.array(domain.field(state, unknown))
        misfit = _rms(np.array(domain.field(state, "u")) - u) / sd
        tried.append((_field_error(case, unknown, found, x), misfit, float(prior)))
    # From the strongest prior down.
    chosen = next((t for t in tried if t[1] <= 1), tried[-1])
    oracle = min(t[0] for t in tried)
    setting = f"Gauss-Newton, prior {chosen[2]:.3g}, misfit {chosen[1]:.2f} sd"
    return Row("odil", case.name, {unknown: chosen[0]}, setting=setting, oracle={unknown: oracle})


def _field_error(case: Case, unknown: str, found: Array, x: list[Array]) -> float:
    exact = case.true_fields[unknown]
    nodes = {str(c): x[i].ravel() for i, c in enumerate(exact.dims)}
    array = xr.DataArray(found, nodes, exact.dims)
    return compare(array.interp({c: exact[c] for c in exact.dims}, method="cubic"), exact).relative_l2


PEERS: dict[str, tuple[Callable[[Case, Observations], Row], tuple[str, ...]]] = {
    "pysindy": (pysindy_weak, tuple(_TERMS)),
    "odil": (odil_grid, ("reaction_rate", "inverse_poisson", "burgers", "kdv")),
}
