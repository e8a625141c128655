"""Conductivity of a plate from noisy measurements while it cools: u_t = div(a*grad(u)) + f."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks.cases.base import Case, on_boundary
from mollifier.problem.unknowns import FieldUnknown

Array = NDArray[np.float64]

EQUATION = (
    "u_t = div(a*grad(u)) + exp(-t)*((4*pi^2 - 1)*sin(pi*x)*sin(pi*y)"
    " + pi^2*(2*sin(pi*x)^2*sin(pi*y)^2 - cos(pi*x)^2*sin(pi*y)^2 - sin(pi*x)^2*cos(pi*y)^2))"
)
SD = 0.1


def temperature(x: Array, y: Array, t: Array) -> Array:
    """The exact u at positions and times that broadcast."""
    return np.exp(-t) * np.sin(np.pi * x) * np.sin(np.pi * y)


def conductivity(x: Array, y: Array) -> Array:
    """The true a at positions that broadcast."""
    return 2 + np.sin(np.pi * x) * np.sin(np.pi * y)


def build(points: int = 2500, seed: int = 0, boundary: bool = True) -> Case:
    """The case.

    Parameters
    ----------
    points
        Measurements of an exact solution at random places of [-1, 1]^2 and times of [0, 1].
    seed
        Of the places.
    boundary
        Whether a is known on the boundary, exactly, as in the source.
    """
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-1, 1, (2, points))
    t = rng.uniform(0, 1, points)
    places = {c: ("point", v) for c, v in (("x", x), ("y", y), ("t", t))}
    fine, side = np.linspace(-1, 1, 101), np.linspace(-1, 1, 51)
    a = xr.DataArray(conductivity(fine[:, None], fine), {"x": fine, "y": fine}, ("x", "y"), "a")
    known = on_boundary("a", conductivity, side) if boundary else None
    return Case(
        name="inverse_heat",
        title="Conductivity from noisy temperatures at scattered places and times",
        equation=EQUATION,
        unknowns={"a": FieldUnknown(over=("x", "y"), lower=0.0, measurements=known)},
        clean=xr.Dataset({"u": ("point", temperature(x, y, t))}, places),
        truth={"a": a},
        source="HInv of PINNacle, Hao et al., arXiv:2306.08827, with places drawn anew. a is known on the "
        "boundary, exactly, as there: at 51 places a side.",
        fails="The noise is a third of rms(u). grad u vanishes in the middle of the four quarters and where "
        "they meet.",
        fields=("u",),
        sd={"u": SD},
    )
