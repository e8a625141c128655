"""Darcy flow in a random medium, seen on a grid or in wells: an unknown permeability of the log-normal kind,
or of two values."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import gaussian_filter

from benchmarks.cases.base import Case
from benchmarks.cases.store import simulated
from mollifier.cli.demos.heat import steady
from mollifier.problem.unknowns import FieldUnknown

# Correlation length and standard deviation of the logarithm; the two values.
_LENGTH, _SPREAD, _VALUES = 0.1, 0.7, (3.0, 12.0)
_CELLS = 256


def simulate(seed: int = 0, two_valued: bool = False, cells: int = _CELLS) -> xr.Dataset:
    """Permeability and head in the cells of the unit square, by finite volumes; no head at its edges.

    Parameters
    ----------
    seed
        Of the medium.
    two_valued
        Whether the permeability is 3 or 12, by the sign of the random field; else its exponential.
    cells
        Along each side.
    """
    rough = np.random.default_rng(seed).standard_normal((cells, cells))
    field = gaussian_filter(rough, _LENGTH * cells, mode="reflect")
    field /= field.std()
    k = np.where(field > 0, _VALUES[1], _VALUES[0]) if two_valued else np.exp(_SPREAD * field)
    x = (np.arange(cells) + 0.5) / cells
    u = steady(k, np.ones_like(k))
    return xr.Dataset({"k": (("x", "y"), k), "u": (("x", "y"), u)}, {"x": x, "y": x})


def build(
    seed: int = 0, two_valued: bool = False, nodes: int = 64, wells: int | None = None, prior: str = "auto"
) -> Case:
    """The case.

    Parameters
    ----------
    seed
        Of the medium and of the places of the wells.
    two_valued
        As in `simulate`.
    nodes
        Along each side of the grid of measurements.
    wells
        So many places drawn at random, in place of a grid.
    prior
        Of the permeability, as `mollifier.FieldUnknown` calls it.
    """
    fine = simulated("darcy", simulate, seed=seed, two_valued=two_valued, cells=_CELLS)
    x, head = fine["x"].values, RectBivariateSpline(fine["x"].values, fine["y"].values, fine["u"].values)
    if wells is None:
        places = (np.arange(nodes) + 0.5) / nodes
        clean = xr.Dataset({"u": (("x", "y"), head(places, places))}, {"x": places, "y": places})
    else:
        a, b = np.random.default_rng(seed).uniform(x[0], x[-1], (2, wells))
        clean = xr.Dataset({"u": ("point", head.ev(a, b))}, {"x": ("point", a), "y": ("point", b)})
    where = f"{nodes} x {nodes} nodes" if wells is None else f"{wells} wells"
    return Case(
        name="darcy",
        title=f"{'Two-valued' if two_valued else 'Log-normal'} permeability from heads at {where}",
        equation="0 = div(k*grad(u)) + 1",
        unknowns={"k": FieldUnknown(over=("x", "y"), lower=0.0, prior=prior)},
        clean=clean,
        truth={"k": fine["k"].drop_attrs()},
        source="Ours; the two values are those of Li and others, arXiv:2010.08895.",
        fails="At its peaks the permeability hardly changes the heads.",
        fields=("u",),
    )
