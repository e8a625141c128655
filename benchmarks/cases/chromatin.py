"""Chromatin: a phase-separating mixture whose domains are kept small by acetylation and methylation.

Volume fractions of nucleoplasm, euchromatin and heterochromatin add up to one, ``n + phi_e + phi_h = 1``, and
the movie shows ``phi = phi_h - phi_e``. The nucleoplasm n is known and uniform here, so that both are affine
in phi: ``phi_e = (1 - n - phi)/2`` and ``phi_h = (1 - n + phi)/2``. Time is in units of the rate of
acetylation; the unknown lam(x, y) is methylation over acetylation:

    phi_t = lap(phi^3 - phi - kappa*lap(phi)) + 2*(lam*phi_e - phi_h)

On a line, where nothing varies along y, the same equation is one that networks of any kind can be trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks.cases.base import Case
from benchmarks.cases.spectral import Box, etdrk4
from benchmarks.cases.store import simulated
from mollifier.errors import ConfigurationError
from mollifier.problem.unknowns import FieldUnknown

Array = NDArray[np.float64]

NUCLEOPLASM = 0.1
KAPPA = 0.05
LENGTH = 8.0
INTERVAL = 0.05
FRAMES = 31
_BEFORE = 20
_VERSION = 1


def rate(x: Array, y: Array, seed: int = 7, waves: int = 2, spread: float = 0.3) -> Array:
    """The true lam at positions that broadcast: exp of a random trigonometric polynomial, always positive.

    Parameters
    ----------
    waves
        Highest number of waves along each side.
    spread
        Standard deviation of log(lam) over realisations.

    Examples
    --------
    >>> lam = rate(np.zeros(1), np.linspace(0, LENGTH, 5))
    >>> bool(lam.min() > 0), bool(np.isclose(lam[0], lam[-1]))
    (True, True)
    """
    rng = np.random.default_rng(seed)
    pairs = [(p, q) for p in range(-waves, waves + 1) for q in range(-waves, waves + 1) if (p, q) > (0, 0)]
    log = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    for p, q in pairs:
        even, odd = rng.standard_normal(2)
        angle = 2 * np.pi / LENGTH * (p * x + q * y)
        log += even * np.cos(angle) + odd * np.sin(angle)
    return np.exp(spread * log / np.sqrt(len(pairs)))


def simulate(
    nodes: int = 128, modes: int = 256, steps: int = 20, seed: int = 7, dimensions: int = 2
) -> xr.Dataset:
    """phi(x, y, t) or phi(x, t), periodic, 31 frames, from weak smooth noise one time unit earlier.

    Parameters
    ----------
    nodes
        Of the measurement, along each side.
    modes
        Nodes of the simulation along each side, dealiased for cubic terms.
    steps
        Time steps between frames.
    seed
        Of the start and of lam.
    dimensions
        2, or 1 for a line.
    """
    box = Box((LENGTH,) * dimensions, (modes,) * dimensions)
    lam = _map(box.nodes(), seed)
    k2 = np.asarray(sum(k**2 for k in box.wavenumbers()))
    keep = box.retained(0.5)
    constant = (1 - NUCLEOPLASM) * keep * box.spectrum(lam - 1)

    def nonlinear(v):
        phi = box.values(v)
        return keep * (-k2 * box.spectrum(phi**3) - box.spectrum(lam * phi)) + constant

    start = keep * box.spectrum(0.3 * np.log(_map(box.nodes(), seed + 1, waves=6)))
    total = _BEFORE + FRAMES
    spectra = etdrk4((k2 - KAPPA * k2**2 - 1) * keep, nonlinear, start, total, INTERVAL, steps)[_BEFORE:]
    phi = np.moveaxis(box.resampled(spectra, (nodes,) * dimensions), 0, -1)
    place = LENGTH * np.arange(nodes) / nodes
    sides = ("x", "y")[:dimensions]
    coords = {c: xr.Variable(c, place, {"periodic": LENGTH}) for c in sides}
    return xr.Dataset({"phi": ((*sides, "t"), phi)}, {**coords, "t": INTERVAL * np.arange(FRAMES)})


def _map(places: Sequence[Array], seed: int, waves: int = 2) -> Array:
    """`rate` on the grid of places along x and y, or along x where y is 0."""
    x, y = np.meshgrid(*places, indexing="ij") if len(places) > 1 else (places[0], np.zeros(1))
    return rate(x, y, seed, waves)


def build(
    frames: int = FRAMES,
    nodes: int = 128,
    modes: int = 256,
    steps: int = 20,
    seed: int = 7,
    dimensions: int = 2,
) -> Case:
    """The case.

    Parameters
    ----------
    frames
        The first so many of 31 frames, a twentieth of a time unit apart; at least 2.
    nodes, modes, steps, seed, dimensions
        As those of `simulate`.

    Raises
    ------
    ConfigurationError
        If there are not so many frames or dimensions.
    """
    if not 2 <= frames <= FRAMES:
        raise ConfigurationError(f"frames={frames} was given; the movie has from 2 to {FRAMES}.")
    if dimensions not in (1, 2):
        raise ConfigurationError(
            f"dimensions={dimensions} was given; 1 (a line) or 2 (a movie) was expected."
        )
    movie = simulated(
        "chromatin",
        simulate,
        _VERSION,
        nodes=nodes,
        modes=modes,
        steps=steps,
        seed=seed,
        dimensions=dimensions,
    )
    sides = ("x", "y")[:dimensions]
    lam = _map([movie[c].values for c in sides], seed)
    return Case(
        name="chromatin" if dimensions == 2 else "chromatin_line",
        levels=(0.05, 0.2),
        targets={0.05: 0.005, 0.2: 0.02} if dimensions == 2 else {},
        title=f"Chromatin, methylation rate {('along a line', 'as a map')[dimensions - 1]}, {frames} frames",
        equation="phi_t = lap(phi^3 - phi) - kappa*bilap(phi) + lam*(1 - n - phi) - (1 - n + phi)",
        unknowns={"lam": FieldUnknown(over=sides, lower=0.0)},
        constants={"kappa": KAPPA, "n": NUCLEOPLASM},
        clean=movie.isel(t=slice(0, frames)),
        truth={"lam": xr.DataArray(lam, {c: movie[c] for c in sides}, sides, "lam")},
        source="Model of Kant et al., Nat Commun 15:4338 (2024), as posed by Bhartari, Vinayak and Shenoy, "
        "arXiv:2505.11682; the field lam, the start and the box are ours.",
        fails="Derivatives of fourth order on noise; with 2 frames the time derivative is a difference. "
        "Where phi_e is near zero lam would multiply next to nothing; here it stays above 0.09.",
        fields=("phi",),
    )
