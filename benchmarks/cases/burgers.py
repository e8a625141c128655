"""Burgers' equation: a sine steepens into a shock, u_t + a*u*u_x = nu*u_xx."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.io import loadmat

from benchmarks.cases.base import Case
from benchmarks.cases.store import simulated
from mollifier.errors import DataError
from mollifier.problem.unknowns import ScalarUnknown

Array = NDArray[np.float64]

TRUTH = {"a": 1.0, "nu": 0.01 / np.pi}
_VERSION = 1


def exact(x: Array, t: float, nu: float = TRUTH["nu"], half: int = 1500) -> Array:
    """u(x, t) by the Cole-Hopf transformation, shape of x, for u(x, 0) = -sin(pi x) on [-1, 1].

    Two integrals over the line (Basdevant et al., Comput Fluids 14:23, 1986) by the trapezoidal rule, which
    converges exponentially for them; weights are scaled by their largest exponent.

    Parameters
    ----------
    half
        Nodes of the rule on either side.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 5)
    >>> exact(x, 0.0)[1].round(6), exact(x, 0.5, nu=10.0)[1].round(6)
    (np.float64(1.0), np.float64(0.0))
    """
    if t == 0.0:
        return -np.sin(np.pi * x)
    z = np.linspace(-14.0, 14.0, 2 * half + 1)
    y = x[..., None] - 2 * np.sqrt(nu * t) * z
    exponent = -np.cos(np.pi * y) / (2 * np.pi * nu) - z**2
    weight = np.exp(exponent - exponent.max(axis=-1, keepdims=True))
    return -(np.sin(np.pi * y) * weight).sum(axis=-1) / weight.sum(axis=-1)


def simulate(nodes: int = 256, frames: int = 100, nu: float = TRUTH["nu"]) -> xr.Dataset:
    """u(x, t) on [-1, 1] x [0, 0.99], both ends of x included, shape (nodes, frames)."""
    x = np.linspace(-1.0, 1.0, nodes)
    t = 0.99 * np.arange(frames) / (frames - 1)
    u = np.stack([exact(x, float(s), nu) for s in t], axis=-1)
    return xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t})


def build(nodes: int = 256, frames: int = 100, nu: float = TRUTH["nu"]) -> Case:
    """The case, on the grid of the file that the problem is known by.

    Parameters
    ----------
    nodes, frames
        Of the measurement.
    nu
        The true viscosity; a larger one spares a small grid the narrow front.
    """
    other = {} if nu == TRUTH["nu"] else {"nu": nu}
    clean = simulated("burgers", simulate, _VERSION, nodes=nodes, frames=frames, **other)
    return _case(clean, {**TRUTH, **other})


def read_burgers(path: str | os.PathLike[str]) -> Case:
    """The case with the data of Raissi's file ``burgers_shock.mat``: x (256), t (100), usol (256, 100).

    Raises
    ------
    DataError
        If the file does not hold these.
    """
    content = loadmat(path)
    missing = [n for n in ("x", "t", "usol") if n not in content]
    if missing:
        raise DataError(f"'{path}' holds no {', '.join(missing)}; burgers_shock.mat was expected.")
    coords = {"x": content["x"].ravel().astype(float), "t": content["t"].ravel().astype(float)}
    return _case(xr.Dataset({"u": (("x", "t"), content["usol"].astype(float))}, coords))


def _case(clean: xr.Dataset, truth: Mapping[str, float] = TRUTH) -> Case:
    return Case(
        name="burgers",
        title="Burgers' shock, two coefficients",
        equation="u_t + a*u*u_x = nu*u_xx",
        unknowns={"a": ScalarUnknown(), "nu": ScalarUnknown(lower=0.0)},
        clean=clean,
        truth=truth,
        source="Raissi, Perdikaris and Karniadakis, J Comput Phys 378:686 (2019), section 4.1.1; Basdevant "
        "et al., Comput Fluids 14:23 (1986).",
        fails="nu speaks within the shock alone, whose width of 0.006 is less than a cell of 256 nodes.",
        fields=("u",),
    )
