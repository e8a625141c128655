"""Kuramoto-Sivashinsky: spatio-temporal chaos, u_t + a*u*u_x + b*u_xx + c*u_xxxx = 0."""

from __future__ import annotations

import numpy as np
import xarray as xr

from benchmarks.cases.base import Case
from benchmarks.cases.spectral import Box, etdrk4
from benchmarks.cases.store import simulated
from mollifier.problem.unknowns import ScalarUnknown

TRUTH = {"a": 1.0, "b": 1.0, "c": 1.0}
LENGTH = 32.0 * np.pi
_VERSION = 1


def simulate(
    nodes: int = 256,
    frames: int = 301,
    modes: int = 1024,
    steps: int = 400,
    until: float = 150.0,
) -> xr.Dataset:
    """u(x, t) on [0, 32 pi) x [0, until] from cos(x/16) (1 + sin(x/16)), shape (nodes, frames).

    The trajectory is chaotic: two simulations part after some 100 time units, but each obeys the equation
    between any two frames, and that is what the coefficients are found from.

    Parameters
    ----------
    nodes, frames
        Of the measurement.
    modes
        Nodes of the simulation, dealiased by the 2/3 rule.
    steps
        Time steps between frames.
    until
        Last time.
    """
    box = Box((LENGTH,), (modes,))
    x = box.nodes()[0]
    interval = until / (frames - 1)
    spectra = evolve(box, box.spectrum(np.cos(x / 16) * (1 + np.sin(x / 16))), frames, interval, steps)
    u = box.resampled(spectra, (nodes,)).T
    place = xr.Variable("x", LENGTH * np.arange(nodes) / nodes, {"periodic": LENGTH})
    return xr.Dataset({"u": (("x", "t"), u)}, {"x": place, "t": interval * np.arange(frames)})


def evolve(box: Box, start: np.ndarray, frames: int, interval: float, steps: int) -> np.ndarray:
    """Spectra (frames, modes/2 + 1) at equally spaced times."""
    (k,) = box.wavenumbers()
    factor = -0.5j * TRUTH["a"] * k * box.retained()
    linear = TRUTH["b"] * k**2 - TRUTH["c"] * k**4
    return etdrk4(linear, lambda v: factor * box.spectrum(box.values(v) ** 2), start, frames, interval, steps)


def build(
    nodes: int = 256, frames: int = 301, modes: int = 1024, steps: int = 400, until: float = 150.0
) -> Case:
    """The case; parameters as those of `simulate`."""
    clean = simulated(
        "kuramoto_sivashinsky",
        simulate,
        _VERSION,
        nodes=nodes,
        frames=frames,
        modes=modes,
        steps=steps,
        until=until,
    )
    return Case(
        name="kuramoto_sivashinsky",
        levels=(0.01, 0.1, 0.5),
        targets={0.01: 1.5e-4, 0.1: 2e-3, 0.5: 1e-2},
        title="Kuramoto-Sivashinsky, three coefficients",
        equation="u_t + a*u*u_x + b*u_xx + c*u_xxxx = 0",
        unknowns={"a": ScalarUnknown(), "b": ScalarUnknown(), "c": ScalarUnknown()},
        clean=clean,
        truth=TRUTH,
        source="Rudy, Brunton, Proctor and Kutz, Sci Adv 3:e1602614 (2017); size and window of Messenger and "
        "Bortz, J Comput Phys 443:110525 (2021).",
        fails="Derivatives of fourth order on noise: u_xx and u_xxxx nearly cancel over the most energetic "
        "waves, so that b and c are correlated.",
        fields=("u",),
    )
