"""Conductivity of a plate from a noisy potential: -div(a*grad(u)) = f on the unit square."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks.cases.base import Case, on_boundary
from mollifier.problem.unknowns import FieldUnknown

Array = NDArray[np.float64]

_Q = "(1 + x^2 + y^2 + (x - 1)^2 + (y - 1)^2)"
EQUATION = (
    "0 = div(a*grad(u))"
    f" + 2*pi^2*sin(pi*x)*sin(pi*y)/{_Q}"
    f" + 2*pi*((2*x - 1)*cos(pi*x)*sin(pi*y) + (2*y - 1)*sin(pi*x)*cos(pi*y))/{_Q}^2"
)
SD = 0.1


def potential(x: Array, y: Array) -> Array:
    """The exact u at positions that broadcast."""
    return np.sin(np.pi * x) * np.sin(np.pi * y)


def conductivity(x: Array, y: Array) -> Array:
    """The true a at positions that broadcast."""
    return 1 / (1 + x**2 + y**2 + (x - 1) ** 2 + (y - 1) ** 2)


def build(nodes: int = 50, boundary: bool = True) -> Case:
    """The case: ``nodes`` squared noisy measurements of an exact solution; those on the boundary have a too.

    Parameters
    ----------
    nodes
        Along each side.
    boundary
        Whether a is known on the boundary, exactly, as in the source.
    """
    x, fine = np.linspace(0, 1, nodes), np.linspace(0, 1, 101)
    u = potential(x[:, None], x)
    a = xr.DataArray(conductivity(fine[:, None], fine), {"x": fine, "y": fine}, ("x", "y"), "a")
    known = on_boundary("a", conductivity, x) if boundary else None
    return Case(
        name="inverse_poisson",
        title="Conductivity from a noisy potential",
        equation=EQUATION,
        unknowns={"a": FieldUnknown(over=("x", "y"), lower=0.0, measurements=known)},
        clean=xr.Dataset({"u": (("x", "y"), u)}, {"x": x, "y": x}),
        truth={"a": a},
        source="PInv of PINNacle, Hao et al., arXiv:2306.08827. The source in its first code had 2x + 1 and "
        "2y + 1 where its own conductivity asks for 2x - 1 and 2y - 1; here both agree. a is known on the "
        "boundary, exactly, as there: at the nodes of the measurements of u.",
        fails="The noise is a fifth of rms(u). grad u vanishes in the middle and at the corners.",
        fields=("u",),
        sd={"u": SD},
    )
