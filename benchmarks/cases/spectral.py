"""Fourier spectral simulation on periodic boxes: exponential time differencing of fourth order.

``u_t = L u + N(u)`` with L diagonal in Fourier space. The scheme is ETDRK4 of Cox and Matthews (J Comput Phys
176:430, 2002), its coefficients by contour integrals as Kassam and Trefethen (SIAM J Sci Comput 26:1214,
2005) propose, which keeps them accurate where L h is near zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Array = NDArray[np.float64]
Spectrum = NDArray[Any]

_CONTOUR = 32


@dataclass(frozen=True)
class Box:
    """A periodic box with its modes.

    Parameters
    ----------
    lengths
        Periods along each axis.
    modes
        Nodes along each axis; even.

    Examples
    --------
    >>> box = Box((2 * np.pi,), (16,))
    >>> x = box.nodes()[0]
    >>> slope = box.values(1j * box.wavenumbers()[0] * box.spectrum(np.sin(2 * x)))
    >>> bool(np.allclose(slope, 2 * np.cos(2 * x)))
    True
    """

    lengths: tuple[float, ...]
    modes: tuple[int, ...]

    def nodes(self) -> list[Array]:
        """Positions along each axis, (modes_i,), from 0."""
        return [length * np.arange(n) / n for length, n in zip(self.lengths, self.modes, strict=True)]

    def wavenumbers(self) -> list[Array]:
        """Angular wavenumbers along each axis, shaped to broadcast over a spectrum."""
        result = []
        for i, (length, n) in enumerate(zip(self.lengths, self.modes, strict=True)):
            last = i == len(self.modes) - 1
            k = 2 * np.pi * n / length * (fft.rfftfreq(n) if last else fft.fftfreq(n))
            result.append(k.reshape([-1 if j == i else 1 for j in range(len(self.modes))]))
        return result

    def retained(self, fraction: float = 2 / 3) -> NDArray[np.bool_]:
        """Modes below a fraction of the highest along each axis, in the shape of a spectrum.

        Products of two fields are free of aliases with 2/3, of three with 1/2.
        """
        keep: Any = True
        for k in self.wavenumbers():
            keep = keep & (np.abs(k) < fraction * np.abs(k).max())
        return np.asarray(keep)

    def spectrum(self, values: Array) -> Spectrum:
        """Fourier coefficients of real values over the last axes."""
        return np.asarray(fft.rfftn(values, axes=self._axes))

    def values(self, spectrum: Spectrum) -> Array:
        """Real values of Fourier coefficients."""
        return np.asarray(fft.irfftn(spectrum, s=self.modes, axes=self._axes))

    def resampled(self, spectrum: Spectrum, nodes: Sequence[int]) -> Array:
        """Values on another number of nodes from 0; modes that they cannot carry are left out."""
        result = spectrum
        for axis, old, new in zip(self._axes, self.modes, nodes, strict=True):
            half = min(old, new) // 2
            last = axis == -1
            parts = [slice(0, half)] if last else [slice(0, half), slice(-half + 1, None)]
            shape = list(result.shape)
            shape[axis] = new // 2 + 1 if last else new
            result = _moved(result, shape, axis, parts)
        scale = np.prod(np.divide(nodes, self.modes))
        return np.asarray(fft.irfftn(result * scale, s=tuple(nodes), axes=self._axes))

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self.modes), 0))


def _moved(spectrum: Spectrum, shape: list[int], axis: int, parts: list[slice]) -> Spectrum:
    """Zeros of a shape with parts of a spectrum along one axis at their places."""
    result = np.zeros(shape, dtype=complex)
    for part in parts:
        place = [slice(None)] * len(shape)
        place[axis] = part
        result[tuple(place)] = spectrum[tuple(place)]
    return result


def etdrk4(
    linear: Spectrum,
    nonlinear: Callable[[Spectrum], Spectrum],
    start: Spectrum,
    frames: int,
    interval: float,
    steps: int,
) -> Spectrum:
    """Spectra at equally spaced times, shape (frames, *start.shape); the first is the start.

    Parameters
    ----------
    linear
        The diagonal operator L, 1/time.
    nonlinear
        N as a function of the spectrum.
    start
        Spectrum at time zero.
    frames
        Number of frames.
    interval
        Time between frames.
    steps
        Steps within an interval; the error falls with their fourth power.

    Examples
    --------
    u_t = -u - u^2 from u = 1 has the solution 1/(2 exp(t) - 1).

    >>> found = etdrk4(np.array([-1.0]), lambda u: -u**2, np.array([1.0]), 3, 0.5, 50)[:, 0].real
    >>> bool(np.allclose(found, 1 / (2 * np.exp([0, 0.5, 1.0]) - 1), atol=1e-9))
    True
    """
    half, full, q, f1, f2, f3 = _coefficients(np.asarray(linear), interval / steps)
    result = np.empty((frames, *start.shape), dtype=complex)
    v = result[0] = start
    for frame in range(1, frames):
        for _ in range(steps):
            nv = nonlinear(v)
            a = half * v + q * nv
            na = nonlinear(a)
            b = half * v + q * na
            nb = nonlinear(b)
            c = half * a + q * (2 * nb - nv)
            v = full * v + f1 * nv + f2 * (na + nb) + f3 * nonlinear(c)
        result[frame] = v
    return result


def _coefficients(linear: Spectrum, h: float) -> tuple[Spectrum, ...]:
    """Factors of ETDRK4: means over a circle about each L h of functions that are entire but cancel at 0."""
    angle = np.exp(2j * np.pi * (np.arange(_CONTOUR) + 0.5) / _CONTOUR)
    sums: list[Any] = [0.0, 0.0, 0.0, 0.0]
    for point in angle:
        z = h * linear + point
        e = np.exp(z)
        terms = (
            (np.exp(z / 2) - 1) / z,
            (-4 - z + e * (4 - 3 * z + z**2)) / z**3,
            2 * (2 + z + e * (z - 2)) / z**3,
            (-4 - 3 * z - z**2 + e * (4 - z)) / z**3,
        )
        sums = [s + t for s, t in zip(sums, terms, strict=True)]
    factors = [h * s / _CONTOUR for s in sums]
    if not np.iscomplexobj(linear):
        factors = [f.real for f in factors]
    return np.exp(h * linear / 2), np.exp(h * linear), *factors
