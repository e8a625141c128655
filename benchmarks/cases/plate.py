"""Steady heat flow in a plate with an unknown conductivity, on a grid or on a part of its nodes."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.interpolate import RectBivariateSpline

from benchmarks.cases.base import Case
from benchmarks.cases.store import simulated
from mollifier.cli.demos import heat
from mollifier.errors import ConfigurationError
from mollifier.problem.unknowns import FieldUnknown

_VERSION = 1


def simulate(nodes: int = 65, cells: int = 384, laplacian: bool = False) -> xr.Dataset:
    """Temperatures on nodes of the unit square, its boundary included, shape (nodes, nodes).

    Finite volumes (`mollifier.cli.demos.heat.finite_volumes`) on two grids, extrapolated to zero cell size.
    """
    x = np.linspace(0.0, 1.0, nodes)

    def at(n: int) -> np.ndarray:
        centres, u = heat.finite_volumes(n, laplacian)
        padded = np.concatenate([[0.0], centres, [1.0]])
        return RectBivariateSpline(padded, padded, np.pad(u, 1))(x, x)

    u = (4 * at(cells) - at(cells // 2)) / 3
    return xr.Dataset({"u": (("x", "y"), u)}, {"x": x, "y": x})


def build(
    kept: float = 1.0, nodes: int = 65, cells: int = 384, seed: int = 0, laplacian: bool = False
) -> Case:
    """The case.

    Parameters
    ----------
    kept
        Fraction of the nodes that were read, drawn at random; all by default.
    nodes
        Along each side.
    cells
        Finite volumes along each side of the finer of two grids; even.
    seed
        Of the nodes kept.
    laplacian
        Whether the equation is ``0 = k*lap(u) + s``, as in the paper, in place of the balance of heat
        ``0 = div(k*grad(u)) + s``. k is determined everywhere, by second derivatives of u.

    Raises
    ------
    ConfigurationError
        If the fraction is not above 0 and at most 1.
    """
    if not 0 < kept <= 1:
        raise ConfigurationError(f"kept={kept} was given; a fraction above 0, at most 1, was expected.")
    clean = simulated("heat", simulate, _VERSION, nodes=nodes, cells=cells, laplacian=laplacian)
    x = np.linspace(0, 1, 101)
    k = heat.conductivity(x[:, None], x)
    if kept < 1:
        rows = np.random.default_rng(seed).permutation(nodes * nodes)[: round(kept * nodes * nodes)]
        flat = clean.stack(point=("x", "y")).isel(point=np.sort(rows))
        places = {c: ("point", flat[c].values) for c in ("x", "y")}
        clean = xr.Dataset({"u": ("point", flat["u"].values)}, places)
    return Case(
        name="heat_laplacian" if laplacian else "heat",
        title=f"Conductivity of a heated plate, {kept:.0%} of the nodes",
        equation=f"0 = {'k*lap(u)' if laplacian else 'div(k*grad(u))'} + 20*(1 + 0.5*sin(pi*x)*cos(pi*y))",
        unknowns={"k": FieldUnknown(over=("x", "y"), lower=0.0, unit="W/(m K)")},
        clean=clean,
        truth={"k": xr.DataArray(k, {"x": x, "y": x}, ("x", "y"), "k")},
        source="Ours; after the second problem of Bhartari, Vinayak and Shenoy, arXiv:2505.11682.",
        fails="k is the source over a second derivative of the measurements, which noise hides."
        if laplacian
        else "Where grad u vanishes, near the middle, k does not enter the equation.",
        fields=("u",),
    )
