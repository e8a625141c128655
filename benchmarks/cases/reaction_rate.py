"""Reaction rate as an unknown field: lam*u'' - k(x)*u = sin(2 pi x) on [0, 1], u = 0 at both ends."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.integrate import solve_bvp

from benchmarks.cases.base import Case
from benchmarks.cases.store import simulated
from mollifier.problem.unknowns import FieldUnknown

Array = NDArray[np.float64]

DIFFUSIVITY = 0.01
_VERSION = 1


def rate(x: Array) -> Array:
    """The true k, shape of x."""
    return 0.1 + np.exp(-0.5 * ((x - 0.5) / 0.15) ** 2)


def simulate(nodes: int = 100, tolerance: float = 1e-11) -> xr.Dataset:
    """u at equally spaced points with both ends, by collocation on an adapted mesh (`scipy` solve_bvp).

    Parameters
    ----------
    nodes
        Of the measurement.
    tolerance
        Relative residual of the collocation.
    """

    def slope(x: Array, y: Array) -> Array:
        return np.stack([y[1], (rate(x) * y[0] + np.sin(2 * np.pi * x)) / DIFFUSIVITY])

    mesh = np.linspace(0, 1, 401)
    ends = lambda left, right: np.array([left[0], right[0]])  # noqa: E731
    found = solve_bvp(slope, ends, mesh, np.zeros((2, mesh.size)), tol=tolerance, max_nodes=100_000)
    x = np.linspace(0, 1, nodes)
    return xr.Dataset({"u": ("x", found.sol(x)[0])}, {"x": x})


def build(nodes: int = 100) -> Case:
    """The case; ``nodes`` measurements, both ends included."""
    x = np.linspace(0, 1, 501)
    return Case(
        name="reaction_rate",
        levels=(0.01, 0.05, 0.1),
        targets={0.01: 0.065, 0.05: 0.15, 0.1: 0.3},
        title="Reaction rate k(x) of a diffusion-reaction system",
        equation="lam*u_xx - k*u = sin(2*pi*x)",
        unknowns={"k": FieldUnknown(over=("x",), lower=0.0)},
        constants={"lam": DIFFUSIVITY},
        clean=simulated("reaction_rate", simulate, _VERSION, nodes=nodes),
        truth={"k": xr.DataArray(rate(x), {"x": x}, ("x",), "k")},
        source="Yu, Lu, Meng and Karniadakis, Comput Methods Appl Mech Engrg 393:114823 (2022), section 3.3; "
        "DeepXDE, examples/pinn_inverse/diffusion_reaction_rate.py.",
        fails="u vanishes at both ends and at x = 1/2, where k peaks: there k does not enter the equation.",
        fields=("u",),
    )
