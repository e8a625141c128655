"""ODIL on equations in x and t with unknown numbers, and on steady ones with an unknown field."""

# An extra, not installed for development.
from __future__ import annotations

import logging
import math
import os
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks.cases.base import Case
from benchmarks.peers.base import TERMS, Row, scalar_errors
from mollifier.data.observations import Observations
from mollifier.diagnostics.scores import compare

Array = NDArray[np.float64]

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
    of fourth order in space, the midpoint rule in time. A descent ends after 2,000 steps or 60 s. All weights
    and scalings tried count in its seconds.
    """
    os.environ.update(ODIL_BACKEND="tf", ODIL_DTYPE="float64")
    import odil
    import odil.runtime

    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it remarks on every new problem
    odil.set_log_file(open(os.devnull, "w"))  # noqa: SIM115
    start = time.perf_counter()
    row = (_odil_fields if case.name in _STEADY else _odil_numbers)(odil, case, observations)
    return replace(row, seconds=time.perf_counter() - start)


def _odil_numbers(odil: Any, case: Case, observations: Observations) -> Row:
    """Coefficients of an evolution equation in x and t: the scaling with the smallest loss."""
    fits = [_evolution_fit(odil, case, observations, scaling) for scaling in _SCALINGS]
    errors = [scalar_errors(case, values) for _, values, _ in fits]
    best = min(range(len(fits)), key=lambda i: fits[i][0])
    setting = f"L-BFGS-B, {fits[best][2]} steps, scaling {_SCALINGS[best]:g}"
    return Row(
        "odil", case.name, errors[best], setting=setting, oracle=min(errors, key=lambda e: sum(e.values()))
    )


def _evolution_fit(
    odil: Any, case: Case, observations: Observations, scaling: float
) -> tuple[float, dict[str, float], int]:
    """Loss, coefficients and number of steps of one descent."""
    terms = TERMS[case.name]
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

    known, seen, own = _readings(case, unknown, x, u.shape)

    def operator(ctx: Any, prior: float) -> list[Any]:
        choose, zero = ctx.mod.where, ctx.cast(0)
        residual = choose(inside, equation(ctx, x, dx), zero) * (_rms(u) / (size * sd))
        rows = [("equation", residual), ("data", (ctx.field("u") - u) / sd)]
        if seen.any():
            rows.append(("measurements", choose(seen, (ctx.field(unknown) - known) / own, zero)))
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
    result: dict[float, Any] = {}
    for prior in _PRIORS.tolist():
        odil.util.optimize_newton(options, odil.Problem(partial(operator, prior=prior), domain), state)
        result[prior] = tuple(np.array(domain.field(state, f)) for f in ("u", unknown))
    return result


def _readings(case: Case, unknown: str, x: list[Array], shape: tuple[int, ...]) -> tuple[Array, Any, Array]:
    """Measurements of the unknown at the grid's nodes, which nodes have one, and standard errors."""
    known, own, seen = np.zeros(shape), np.ones(shape), np.zeros(shape, dtype=bool)
    samples = case.problem().measurements.get(unknown)
    if samples is not None:
        nodes = [np.abs(a.ravel() - p[:, None]).argmin(1) for a, p in zip(x, samples.points.T, strict=True)]
        at = tuple(nodes)
        known[at], own[at], seen[at] = samples.values, samples.sd, True
    return known, seen, own


def _field_error(case: Case, unknown: str, found: Array, x: list[Array]) -> float:
    exact = case.true_fields[unknown]
    nodes = dict(zip(exact.dims, x, strict=True))
    array = xr.DataArray(found, nodes, exact.dims)
    return compare(array.interp({c: exact[c] for c in exact.dims}, method="cubic"), exact).relative_l2
