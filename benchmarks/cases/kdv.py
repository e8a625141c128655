"""Korteweg-de Vries: a cosine breaks into solitons, u_t + a*u*u_x + b*u_xxx = 0."""

from __future__ import annotations

import numpy as np
import xarray as xr

from benchmarks.cases.base import Case
from benchmarks.cases.spectral import Box, etdrk4
from benchmarks.cases.store import simulated
from mollifier.problem.unknowns import ScalarUnknown

TRUTH = {"a": 1.0, "b": 0.0025}
_VERSION = 1


def simulate(nodes: int = 512, frames: int = 201, modes: int = 1024, steps: int = 100) -> xr.Dataset:
    """u(x, t) on [-1, 1) x [0, 1] from u(x, 0) = cos(pi x), shape (nodes, frames).

    Parameters
    ----------
    nodes, frames
        Of the measurement.
    modes
        Nodes of the simulation, dealiased by the 2/3 rule.
    steps
        Time steps between frames.
    """
    box = Box((2.0,), (modes,))
    (k,) = box.wavenumbers()
    keep = box.retained()
    factor = -0.5j * TRUTH["a"] * k * keep
    # The box runs from 0; the measurement from -1.
    start = box.spectrum(np.cos(np.pi * (box.nodes()[0] - 1.0)))
    interval = 1.0 / (frames - 1)
    spectra = etdrk4(
        1j * TRUTH["b"] * k**3 * keep,
        lambda v: factor * box.spectrum(box.values(v) ** 2),
        start,
        frames,
        interval,
        steps,
    )
    u = box.resampled(spectra, (nodes,)).T
    x = xr.Variable("x", -1.0 + 2.0 * np.arange(nodes) / nodes, {"periodic": 2.0})
    return xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": interval * np.arange(frames)})


def build(nodes: int = 512, frames: int = 201, modes: int = 1024, steps: int = 100) -> Case:
    """The case; parameters as those of `simulate`."""
    clean = simulated("kdv", simulate, _VERSION, nodes=nodes, frames=frames, modes=modes, steps=steps)
    return Case(
        name="kdv",
        levels=(0.01, 0.1, 0.5),
        targets={0.01: 5e-4, 0.1: 2e-3, 0.5: 1e-2},
        title="Korteweg-de Vries, two coefficients",
        equation="u_t + a*u*u_x + b*u_xxx = 0",
        unknowns={"a": ScalarUnknown(), "b": ScalarUnknown()},
        clean=clean,
        truth=TRUTH,
        source="Raissi, Perdikaris and Karniadakis, J Comput Phys 378:686 (2019), section 4.2.2; the start "
        "and the dispersion of Zabusky and Kruskal, Phys Rev Lett 15:240 (1965).",
        fails="Before the front has steepened u_xxx is small and b is poorly determined.",
        fields=("u",),
    )
