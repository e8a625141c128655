"""Two-dimensional turbulence: the viscosity from vorticity and velocity, w_t + u*w_x + v*w_y = nu*lap(w)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from benchmarks.cases.base import Case
from benchmarks.cases.spectral import Box, Spectrum, etdrk4
from benchmarks.cases.store import simulated
from mollifier.problem.unknowns import ScalarUnknown

TRUTH = {"a": 1.0, "nu": 0.01}
SIDE = 2 * np.pi
_VERSION = 1


def simulate(nodes: int = 96, frames: int = 41, modes: int = 192, steps: int = 20) -> xr.Dataset:
    """Vorticity w and velocity (u, v) on [0, 2 pi)^2 x [0, 2], each (nodes, nodes, frames), periodic.

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
    k2 = kx**2 + ky**2
    keep = box.retained()
    inverse = np.where(k2 > 0, 1 / np.where(k2 > 0, k2, 1), 0)

    def flow(w: Spectrum) -> tuple[Spectrum, Spectrum]:
        # The stream function solves lap(psi) = -w; u = psi_y, v = -psi_x.
        return 1j * ky * inverse * w, -1j * kx * inverse * w

    def nonlinear(w: Spectrum) -> Spectrum:
        u, v = (box.values(c) for c in flow(w))
        return -box.spectrum(u * box.values(1j * kx * w) + v * box.values(1j * ky * w)) * keep

    start = np.sin(x) * np.cos(2 * y) + np.cos(3 * x + y) + 0.8 * np.sin(2 * x - 3 * y + 1) + np.cos(y)
    interval = 2.0 / (frames - 1)
    w = etdrk4(-TRUTH["nu"] * k2, nonlinear, keep * box.spectrum(start), frames, interval, steps)
    place = SIDE * np.arange(nodes) / nodes
    coords = {c: (c, place, {"periodic": SIDE}) for c in ("x", "y")}
    spectra = dict(zip("wuv", (w, *flow(w)), strict=True))
    values = {
        n: (("x", "y", "t"), np.moveaxis(box.resampled(s, (nodes, nodes)), 0, -1)) for n, s in spectra.items()
    }
    return xr.Dataset(values, {**coords, "t": interval * np.arange(frames)})


def build(
    measured: bool = False, nodes: int = 96, frames: int = 41, modes: int = 192, steps: int = 20
) -> Case:
    """The case.

    Parameters
    ----------
    measured
        Whether the velocity carries noise too; known exactly by default.
    nodes, frames, modes, steps
        As those of `simulate`.
    """
    clean = simulated("vorticity", simulate, _VERSION, nodes=nodes, frames=frames, modes=modes, steps=steps)
    return Case(
        name="vorticity",
        title="Viscosity of two-dimensional turbulence",
        equation="w_t + a*(u*w_x + v*w_y) = nu*lap(w)",
        unknowns={"a": ScalarUnknown(), "nu": ScalarUnknown(lower=0.0)},
        clean=clean,
        truth=TRUTH,
        source="Form of Rudy, Brunton, Proctor and Kutz, Sci Adv 3:e1602614 (2017), there behind a cylinder; "
        "the periodic flow is ours.",
        fails="The viscous term is a small part of advection; noise in the velocity biases a towards zero.",
        fields=("w",),
        noisy=("w", "u", "v") if measured else ("w",),
    )
