"""The problems of the paper: cases, and the true derivatives of their states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from benchmarks.cases.base import Case
from benchmarks.cases.registry import case
from mollifier.mollify.orders import Derivative

Array = NDArray[np.float64]

# Degree of the splines through exact values whose derivatives are taken as true.
_DEGREE = 7


@dataclass(frozen=True)
class Problem:
    """A case of the paper.

    Attributes
    ----------
    build
        Makes it.
    whole
        Makes the case whose exact data, all on a grid, give the true derivatives.
    """

    build: Callable[[], Case]
    whole: Callable[[], Case]


def _problem(name: str, given: dict[str, object], whole: dict[str, object] | None = None) -> Problem:
    return Problem(partial(case, name, **given), partial(case, name, **(given if whole is None else whole)))


# "heat" is a balance of heat on 65 x 65 nodes, "heat-dense" the same on 257 x 257; "heat-laplacian" has the
# paper's form of the equation. The movie is 6 frames on 64 x 64 nodes, which a network on a CPU can be
# trained on in minutes; perceptrons get nowhere there, but do on the line of 128 nodes in 31 frames.
PROBLEMS: dict[str, Problem] = {
    "langevin": _problem("langevin", {}),
    "langevin-fast": _problem("langevin", {"forcing": "fast"}),
    "langevin-rough": _problem("langevin", {"forcing": "rough"}),
    "langevin-growing": _problem("langevin", {"drift": 1.0}),
    "heat": _problem("heat", {}),
    "heat-20": _problem("heat", {"kept": 0.2}, {}),
    "heat-5": _problem("heat", {"kept": 0.05}, {}),
    "heat-dense": _problem("heat", {"nodes": 257}),
    "heat-laplacian": _problem("heat_laplacian", {}),
    "chromatin": _problem("chromatin", {"frames": 6, "nodes": 64}, {"nodes": 64}),
    "chromatin-pair": _problem("chromatin", {"frames": 2, "nodes": 64}, {"nodes": 64}),
    "chromatin-line": _problem("chromatin_line", {}),
}
# What is run by default; "langevin-growing" has no answer, as its case says.
STANDARD = tuple(p for p in PROBLEMS if p not in ("langevin-rough", "langevin-growing"))


def true_derivatives(problem: Problem, until: float | None = None) -> xr.Dataset:
    """Derivatives that the equation names, and the operators lap and bilap of states over x and y.

    Parameters
    ----------
    problem
        The case.
    until
        Last time that counts; all by default.

    Examples
    --------
    >>> found = true_derivatives(PROBLEMS["langevin"])
    >>> list(found), found.sizes["t"]
    (['u_t'], 501)
    """
    made = problem.whole()
    inverse = made.problem(0.0)
    names = {
        d.name: d for f in made.fields for d in inverse.system.derivatives[f] if d.total and f in made.clean
    }
    found = xr.Dataset({n: differentiated(made.clean[d.field], d) for n, d in names.items()})
    if until is not None and "t" in found.dims:
        found = found.sel(t=slice(None, until))
    return with_operators(found, made.fields)


def with_operators(fields: xr.Dataset, states: Sequence[str]) -> xr.Dataset:
    """The fields, and lap(u) and bilap(u) where their parts are there, under these names."""
    sums = {"lap": {"xx": 1, "yy": 1}, "bilap": {"xxxx": 1, "xxyy": 2, "yyyy": 1}}
    more = {}
    for u in states:
        for operator, parts in sums.items():
            if all(f"{u}_{p}" in fields for p in parts):
                more[f"{operator}({u})"] = sum(factor * fields[f"{u}_{p}"] for p, factor in parts.items())
    return fields.assign(more)


def differentiated(values: xr.DataArray, derivative: Derivative) -> xr.DataArray:
    """A derivative of exact values on a grid: spectral where they wrap, else by splines of degree 7."""
    array = values.values
    for c, order in derivative.orders:
        x, axis = values[c].values, values.dims.index(c)
        period = values[c].attrs.get("periodic")
        array = _spectral(array, axis, period, order) if period else _by_spline(array, axis, x, order)
    return values.copy(data=array)


def _spectral(values: Array, axis: int, period: float, order: int) -> Array:
    n = values.shape[axis]
    k = 2j * np.pi / period * np.fft.fftfreq(n, 1 / n)
    # The highest wave of an even number of nodes has no sign, so that odd derivatives of it are zero.
    factor = np.where((n % 2 == 0) & (order % 2 == 1) & (np.arange(n) == n // 2), 0.0, k**order)
    shape = [n if d == axis else 1 for d in range(values.ndim)]
    return np.fft.ifft(np.fft.fft(values, axis=axis) * factor.reshape(shape), axis=axis).real


def _by_spline(values: Array, axis: int, x: Array, order: int) -> Array:
    degree = min(_DEGREE, len(x) - 1)
    degree -= 1 - degree % 2
    return np.asarray(make_interp_spline(x, values, degree, axis=axis).derivative(order)(x))
