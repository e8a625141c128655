"""Allen-Cahn: fronts between two phases, u_t = D*u_xx + a*u - b*u^3."""

from __future__ import annotations

import numpy as np
import xarray as xr

from benchmarks.cases.base import Case
from benchmarks.cases.spectral import Box, etdrk4
from benchmarks.cases.store import simulated
from mollifier.problem.unknowns import ScalarUnknown

TRUTH = {"D": 1e-3, "a": 5.0, "b": 5.0}
_VERSION = 1


def simulate(nodes: int = 512, frames: int = 101, modes: int = 1024, steps: int = 40) -> xr.Dataset:
    """u(x, t) on [-1, 1) x [0, 1], periodic, shape (nodes, frames).

    Parameters
    ----------
    nodes, frames
        Of the measurement.
    modes
        Nodes of the simulation, dealiased for cubic terms.
    steps
        Time steps between frames.
    """
    box = Box((2.0,), (modes,))
    (k,) = box.wavenumbers()
    keep = box.retained(0.5)
    x = box.nodes()[0] - 1.0
    start = box.spectrum(0.5 * np.sin(np.pi * x) + 0.3 * np.cos(3 * np.pi * x) - 0.1)
    interval = 1.0 / (frames - 1)

    def nonlinear(v):
        return -TRUTH["b"] * keep * box.spectrum(box.values(v) ** 3)

    spectra = etdrk4(TRUTH["a"] - TRUTH["D"] * k**2, nonlinear, keep * start, frames, interval, steps)
    place = xr.Variable("x", -1.0 + 2.0 * np.arange(nodes) / nodes, {"periodic": 2.0})
    u = box.resampled(spectra, (nodes,)).T
    return xr.Dataset({"u": (("x", "t"), u)}, {"x": place, "t": interval * np.arange(frames)})


def build(nodes: int = 512, frames: int = 101, modes: int = 1024, steps: int = 40) -> Case:
    """The case; parameters as those of `simulate`."""
    return Case(
        name="allen_cahn",
        title="Allen-Cahn, three coefficients",
        equation="u_t = D*u_xx + a*u - b*u^3",
        unknowns={"D": ScalarUnknown(lower=0.0), "a": ScalarUnknown(), "b": ScalarUnknown()},
        clean=simulated(
            "allen_cahn", simulate, _VERSION, nodes=nodes, frames=frames, modes=modes, steps=steps
        ),
        truth=TRUTH,
        source="Form and rates of Raissi, Perdikaris and Karniadakis, J Comput Phys 378:686 (2019), section "
        "3.2.1, with a smooth periodic start and ten times their diffusivity.",
        fails="Once both phases have formed u = u^3 but for the fronts: only a/b is left to see.",
        fields=("u",),
    )
