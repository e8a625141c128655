"""Fisher-KPP: cells close a scratch, u_t = D*u_xx + r*u*(1 - u/K)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from benchmarks.cases.base import Case
from benchmarks.cases.spectral import Box, etdrk4
from benchmarks.cases.store import simulated
from mollifier.problem.unknowns import ScalarUnknown

TRUTH = {"D": 500.0, "r": 0.05, "K": 1.7e-3}
WIDTH = 1900.0
UNTIL = 48.0
_VERSION = 1


def simulate(nodes: int = 191, frames: int = 49, modes: int = 1024, steps: int = 20) -> xr.Dataset:
    """u(x, t) in cells/um^2 on [0, 1900] um x [0, 48] h, no flux at the ends, shape (nodes, frames).

    Parameters
    ----------
    nodes, frames
        Of the measurement.
    modes
        Nodes over the field and its mirror image, dealiased by the 2/3 rule.
    steps
        Time steps between frames.
    """
    box = Box((2 * WIDTH,), (modes,))
    (k,) = box.wavenumbers()
    keep = box.retained()
    x = box.nodes()[0]
    gap = 0.5 * (np.tanh((x - 1250) / 60) - np.tanh((x - 650) / 60))
    mirrored = 0.5 * (np.tanh((x - 3150) / 60) - np.tanh((x - 2550) / 60))
    start = box.spectrum(6e-4 * (1 + gap + mirrored))
    interval = UNTIL / (frames - 1)

    def nonlinear(v):
        return -TRUTH["r"] / TRUTH["K"] * keep * box.spectrum(box.values(v) ** 2)

    spectra = etdrk4(TRUTH["r"] - TRUTH["D"] * k**2, nonlinear, keep * start, frames, interval, steps)
    u = box.resampled(spectra, (2 * (nodes - 1),))[:, :nodes].T
    return xr.Dataset(
        {"u": (("x", "t"), u, {"units": "cells/um^2"})},
        {
            "x": ("x", np.linspace(0, WIDTH, nodes), {"units": "um"}),
            "t": ("t", interval * np.arange(frames), {"units": "h"}),
        },
    )


def build(nodes: int = 191, frames: int = 49, modes: int = 1024, steps: int = 20) -> Case:
    """The case; parameters as those of `simulate`."""
    return Case(
        name="fisher_kpp",
        title="Fisher-KPP, three coefficients in their own units",
        equation="u_t = D*u_xx + r*u*(1 - u/K)",
        unknowns={
            "D": ScalarUnknown(lower=0.0, unit="um^2/h"),
            "r": ScalarUnknown(lower=0.0, unit="1/h"),
            "K": ScalarUnknown(lower=0.0, unit="cells/um^2"),
        },
        clean=simulated(
            "fisher_kpp", simulate, _VERSION, nodes=nodes, frames=frames, modes=modes, steps=steps
        ),
        truth=TRUTH,
        source="Size, window and coefficients of the scratch assays of Jin et al., J Theor Biol 390:136 "
        "(2016); the start is ours.",
        fails="Far below K growth is exponential and K unknown; where the field is flat D is unknown.",
        fields=("u",),
    )
