"""A tracer carried by an unknown steady flow: u_t + a(x, y)*u_x + b(x, y)*u_y = D*lap(u)."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks.cases.base import Case
from benchmarks.cases.spectral import Box, etdrk4
from benchmarks.cases.store import simulated
from mollifier.problem.unknowns import FieldUnknown

Array = NDArray[np.float64]

DIFFUSIVITY = 0.02
SIDE = 2 * np.pi
_VERSION = 1


def velocity(x: Array, y: Array) -> tuple[Array, Array]:
    """The true (a, b) at positions that broadcast: two eddies in a stream, free of divergence."""
    # Stream function: sin(x) sin(y) + 0.3 cos(2 x - y) + 0.4 y
    a = np.sin(x) * np.cos(y) + 0.3 * np.sin(2 * x - y) + 0.4
    b = -np.cos(x) * np.sin(y) + 0.6 * np.sin(2 * x - y)
    return a, b


def simulate(nodes: int = 64, frames: int = 41, modes: int = 128, steps: int = 10) -> xr.Dataset:
    """u(x, y, t) on [0, 2 pi)^2 x [0, 2], periodic, shape (nodes, nodes, frames).

    Parameters
    ----------
    nodes, frames
        Of the measurement.
    modes
        Nodes of the simulation along each side, dealiased by the 2/3 rule.
    steps
        Time steps between frames.
    """
    box = Box((SIDE, SIDE), (modes, modes))
    x, y = np.meshgrid(*box.nodes(), indexing="ij")
    kx, ky = box.wavenumbers()
    keep = box.retained()
    a, b = velocity(x, y)

    def nonlinear(v):
        return -box.spectrum(a * box.values(1j * kx * v) + b * box.values(1j * ky * v)) * keep

    u = np.sin(x + 0.5) + np.cos(2 * y) + np.sin(x - 2 * y) + 0.5 * np.cos(3 * x + y)
    interval = 2.0 / (frames - 1)
    start = keep * box.spectrum(u)
    spectra = etdrk4(-DIFFUSIVITY * (kx**2 + ky**2), nonlinear, start, frames, interval, steps)
    place = SIDE * np.arange(nodes) / nodes
    coords = {c: (c, place, {"periodic": SIDE}) for c in ("x", "y")}
    values = np.moveaxis(box.resampled(spectra, (nodes, nodes)), 0, -1)
    return xr.Dataset({"u": (("x", "y", "t"), values)}, {**coords, "t": interval * np.arange(frames)})


def build(nodes: int = 64, frames: int = 41, modes: int = 128, steps: int = 10) -> Case:
    """The case; parameters as those of `simulate`."""
    clean = simulated(
        "advection_diffusion", simulate, _VERSION, nodes=nodes, frames=frames, modes=modes, steps=steps
    )
    place = SIDE * np.arange(129) / 128
    a, b = velocity(place[:, None], place)
    coords = {"x": place, "y": place}
    return Case(
        name="advection_diffusion",
        title="Steady velocity of a tracer, two fields",
        equation="u_t + a*u_x + b*u_y = D*lap(u)",
        unknowns={"a": FieldUnknown(over=("x", "y")), "b": FieldUnknown(over=("x", "y"))},
        constants={"D": DIFFUSIVITY},
        clean=clean,
        truth={n: xr.DataArray(v, coords, ("x", "y"), n) for n, v in (("a", a), ("b", b))},
        source="Ours: an eddy pair in a stream.",
        fails="From one frame only the velocity across the contours can be seen; the gradient has to turn "
        "with time at every place.",
        fields=("u",),
    )
