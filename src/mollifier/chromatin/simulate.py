"""Nuclei with a known rate: the phase-field equation by finite volumes on a mask of any shape.

Cells of the mask exchange flux only with neighbours inside it. No flux leaves the nucleus, and integrals
change by reactions alone, to rounding. Time stepping is by second-order backward differences, with the
fourth-order term and a part of the second-order term implicit (Ascher, Ruuth and Wetton, SIAM J. Numer. Anal.
32:797, 1995). The scheme shares nothing with the engines that invert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.sparse.linalg import splu

from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.rasters import edge_distance, laplacian, pixel_spacing
from mollifier.errors import ConfigurationError, DataError
from mollifier.io.draws import Rng, generator

Array = NDArray[np.float64]

# Size and grain of the noise that a simulation starts from (scaled units).
_START, _GRAIN = 0.05, 0.15
# Time step in scaled units, fewest steps between two frames, and substeps of the first step.
_STEP, _LEAST, _PARTS = 0.005, 4, 4


def simulate(
    model: ChromatinModel,
    mask: xr.DataArray,
    rate: xr.DataArray | float,
    times: Sequence[float] | Array,
    nucleoplasm: xr.DataArray | float = 0.1,
    before: float = 1000.0,
    step: float | None = None,
    start: xr.DataArray | None = None,
    rng: Rng = 0,
) -> xr.Dataset:
    """Solve the equation on a nucleus, and return the frames.

    Parameters
    ----------
    model, mask
        In nm and s, on square pixels (x, y); other units serve if all agree.
    rate
        lam over (x, y) or (x, y, t) on the mask's pixels, or a number; interpolated linearly between its
        times, constant before and after them.
    times
        Increasing times of the frames, in s.
    nucleoplasm
        phi_n over (x, y), or a number.
    before
        Time in s for which the pattern forms before the first frame, at the rate of the first frame.
    step
        Largest time step in s; 0.005/Gamma_ac by default.
    start, rng
        Initial phi_d over (x, y); by default the uniform balance of lam with smooth random noise of this seed
        or generator.

    Returns
    -------
    Dataset
        ``phi_d`` (x, y, t), ``phi_n`` (x, y), ``lam`` and ``mask``; NaN outside the mask.

    Raises
    ------
    ConfigurationError, DataError
        If the times do not increase or a size is out of range; if the mask is empty, its pixels are not
        square or arrays do not share them.

    Examples
    --------
    >>> from mollifier.chromatin.shapes import nucleus
    >>> model = ChromatinModel()
    >>> movie = simulate(model, nucleus(1000.0, 32), 0.6, [0.0, 50.0], before=100.0)
    >>> movie["phi_d"].dims, bool(abs(movie["phi_d"]).max() < 1)
    (('x', 'y', 't'), True)
    """
    times = np.asarray(times, dtype=float)
    if times.ndim != 1 or not len(times) or (np.diff(times) <= 0).any() or before < 0:
        raise ConfigurationError("Times that increase, one or more, and before >= 0 were expected.")
    inside = mask.values.astype(bool)
    if not inside.any():
        raise DataError("The mask is empty: no pixel belongs to the nucleus.")
    nucleoplasm = _on(mask, nucleoplasm, "nucleoplasm")
    rate = _on(mask, rate, "rate")
    n, lam = nucleoplasm.values[inside], _in_time(rate, inside)
    if start is None:
        first = (1 - n) * (lam(times[0]) - 1) / (lam(times[0]) + 1) + _noise(model, mask, rng)[inside]
    else:
        first = _on(mask, start, "start").values[inside]
    phi_d = np.full((*mask.shape, len(times)), np.nan)
    phi_d[inside] = _Flow(model, mask, n, lam, step or _STEP * model.time).frames(first, times, before).T
    coords = {"x": mask["x"], "y": mask["y"], "t": ("t", times, {"units": "s"})}
    known = {"phi_n": nucleoplasm.where(mask), "lam": rate.where(mask), "mask": mask}
    return xr.Dataset({"phi_d": (("x", "y", "t"), phi_d), **known}, coords)


class _Flow:
    """The semi-discrete equation on the cells of a mask and its time steps."""

    def __init__(
        self,
        model: ChromatinModel,
        mask: xr.DataArray,
        nucleoplasm: Array,
        rate: Callable[[float], Array],
        step: float,
    ) -> None:
        self.model, self.rate, self.q, self.step = model, rate, 1 - nucleoplasm, step
        self.laplacian = laplacian(mask.values.astype(bool), pixel_spacing(mask))
        e = model.energy
        distance = np.maximum(edge_distance(mask).values[mask.values.astype(bool)], 0.0)
        self.lamina = model.lamina_potential(distance)
        # Half the largest slope of the bulk potential, at phi_h = packed or 0: enough for stability.
        self.held = (e.well * e.packed**2 + e.mixing) / 4
        D, L = model.diffusion, self.laplacian
        self._factors: dict[tuple[float, float], Callable[[Array], Array]] = {}
        linear: Any = D * (e.interface**2 * (L @ L) - self.held * L)
        self._linear = linear.tocsc()

    def explicit(self, phi: Array, t: float) -> Array:
        """The terms that are treated explicitly."""
        phi_h, phi_e = (self.q + phi) / 2, (self.q - phi) / 2
        bulk = self.model.bulk_potential(phi_h, phi_e) - self.lamina - self.held * phi
        reaction = self.rate(t) * phi_e - phi_h
        return self.model.diffusion * (self.laplacian @ bulk) + 2 * self.model.acetylation * reaction

    def frames(self, phi: Array, times: Array, before: float) -> Array:
        """States, shape (frames, cells); before the first frame the rate is that of the first frame."""
        if before:
            phi = self._advance(phi, -before, 0.0, lambda p, _: self.explicit(p, times[0]))
        found = [phi]
        for a, b in pairwise(times):
            phi = self._advance(phi, a, b, self.explicit)
            found.append(phi)
        return np.array(found)

    def _advance(
        self, phi: Array, begin: float, end: float, explicit: Callable[[Array, float], Array]
    ) -> Array:
        count = max(int(np.ceil((end - begin) / self.step - 1e-9)), _LEAST)
        h = (end - begin) / count
        # The first step is first-order: substeps keep its error small.
        first, later = self._solver(h / _PARTS, 1.0), self._solver(h, 1.5)
        old, now, before = phi, phi, explicit(phi, begin)
        for k in range(_PARTS):
            now = first(now + h / _PARTS * explicit(now, begin + k * h / _PARTS))
        for k in range(1, count):
            here = explicit(now, begin + k * h)
            old, now = now, later(2 * now - old / 2 + h * (2 * here - before))
            before = here
        return now

    def _solver(self, h: float, lead: float) -> Callable[[Array], Array]:
        key = (round(h / self.step, 9), lead)
        if key not in self._factors:
            matrix = (lead * sp.eye_array(len(self.q)) + h * self._linear).tocsc()
            options = {"SymmetricMode": True}
            factor = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
            self._factors[key] = factor.solve
        return self._factors[key]


def _on(mask: xr.DataArray, values: xr.DataArray | float, name: str) -> xr.DataArray:
    """Values over the mask's pixels."""
    if not isinstance(values, xr.DataArray):
        return mask.copy(data=np.full(mask.shape, float(values)))
    if values.sizes.get("x") != mask.sizes["x"] or values.sizes.get("y") != mask.sizes["y"]:
        raise DataError(
            f"'{name}' has shape {dict(values.sizes)}; the mask's pixels {mask.shape} were expected."
        )
    return values.transpose("x", "y", ...)


def _in_time(rate: xr.DataArray, inside: NDArray[np.bool_]) -> Callable[[float], Array]:
    cells = rate.values[inside]
    if "t" not in rate.dims:
        return lambda _: cells
    when = rate["t"].values
    between = make_interp_spline(when, cells, k=1, axis=1)
    return lambda t: between(np.clip(t, when[0], when[-1]))


def _noise(model: ChromatinModel, mask: xr.DataArray, rng: Rng) -> Array:
    """Smooth initial noise from which patterns grow; independent of the pixel size."""
    rng = generator(rng)
    x, y = mask["x"].values / model.length, mask["y"].values / model.length
    waves = rng.normal(size=(200, 2)) / _GRAIN / 2
    phase = rng.uniform(0, 2 * np.pi, 200)
    total = np.zeros(mask.shape)
    for (p, q), f in zip(waves, phase, strict=True):
        total += np.cos(p * x[:, None] + q * y + f)
    return _START * total * np.sqrt(2 / 200)
