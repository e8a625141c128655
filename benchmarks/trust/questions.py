"""Random questions with their truths, evaluated at any place by formulas that no engine uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown, Unknown

Array = NDArray[np.float64]
Solution = Callable[..., Array]
"""Coordinates, arrays of one shape, in the order of `Question.coordinates` -> values of u."""


@dataclass(frozen=True, eq=False)
class Question:
    """An equation with unknowns, and the solution that is measured.

    Attributes
    ----------
    name, equation, unknowns, constants
        As of an inverse problem; the state is ``u``.
    bounds
        Coordinate -> its least and greatest value; time is last.
    truth
        Unknown -> number, or array over its coordinates.
    solution
        u at any place.
    wrong
        Name of a mistake -> what of the question it changes.
    """

    name: str
    equation: str
    unknowns: Mapping[str, Unknown]
    bounds: Mapping[str, tuple[float, float]]
    truth: Mapping[str, float | xr.DataArray]
    solution: Solution
    constants: Mapping[str, float] = field(default_factory=dict)
    wrong: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates, time last."""
        return tuple(self.bounds)

    def mistaken(self, kind: str) -> Question:
        """The same data under a wrong equation; the truths of the unknowns that it still has."""
        made = replace(self, **self.wrong[kind])
        over = {n: u.over if isinstance(u, FieldUnknown) else () for n, u in made.unknowns.items()}
        dims = {n: v.dims if isinstance(v, xr.DataArray) else () for n, v in self.truth.items()}
        return replace(made, truth={n: v for n, v in self.truth.items() if over.get(n) == dims[n]})


def _waves(rng: np.random.Generator, count: int = 4) -> tuple[Array, Array, Array]:
    """Amplitudes, wavenumbers and phases of sine waves on an interval of length 1, not periodic in it."""
    amplitudes = rng.uniform(0.4, 1.0, count) * rng.choice([-1, 1], count)
    wavenumbers = 2 * np.pi * (np.arange(count) * 0.55 + 0.6 + 0.4 * rng.random(count))
    return amplitudes, wavenumbers, rng.uniform(0, 2 * np.pi, count)


def _summed(terms: Callable[..., Array], waves: Sequence[Array], *places: Array) -> Array:
    total = np.zeros(np.broadcast_shapes(*(np.shape(p) for p in places)))
    for wave in zip(*waves, strict=True):
        total = total + terms(*wave, *places)
    return total


def transport(rng: np.random.Generator) -> Question:
    """u_t = D*u_xx - c*u_x + r*u, sums of exact waves."""
    d, c, r = rng.uniform(0.004, 0.012), rng.uniform(0.3, 0.9), rng.uniform(-0.8, 0.4)

    def wave(a: float, k: float, phase: float, x: Array, t: Array) -> Array:
        return a * np.exp((r - d * k**2) * t) * np.cos(k * (x - c * t) + phase)

    number = ScalarUnknown
    wrong = {
        "missing term": {"equation": "u_t = D*u_xx - c*u_x", "unknowns": {"D": number(), "c": number()}},
        "missing advection": {"equation": "u_t = D*u_xx + r*u", "unknowns": {"D": number(), "r": number()}},
    } | {
        f"constant {share:+.0%}": {
            "unknowns": {"D": number(), "r": number()},
            "constants": {"c": c * (1 + share)},
        }
        for share in (0.05, 0.2)
    }
    return Question(
        "transport",
        "u_t = D*u_xx - c*u_x + r*u",
        {n: number() for n in "Dcr"},
        {"x": (0.0, 1.0), "t": (0.0, 1.0)},
        {"D": d, "c": c, "r": r},
        partial(_summed, wave, _waves(rng)),
        wrong=wrong,
    )


def plane_heat(rng: np.random.Generator) -> Question:
    """u_t = D*lap(u) + r*u in the plane, sums of exact waves."""
    d, r = rng.uniform(0.008, 0.02), rng.uniform(-0.6, 0.3)
    angles = rng.uniform(0, np.pi, 4)

    def wave(a: float, k: float, phase: float, angle: float, x: Array, y: Array, t: Array) -> Array:
        return a * np.exp((r - d * k**2) * t) * np.cos(k * (x * np.cos(angle) + y * np.sin(angle)) + phase)

    wrong = {
        "missing term": {"equation": "u_t = D*lap(u)", "unknowns": {"D": ScalarUnknown()}},
        "constant +20%": {"unknowns": {"D": ScalarUnknown()}, "constants": {"r": 1.2 * r}},
    }
    return Question(
        "plane heat",
        "u_t = D*lap(u) + r*u",
        {"D": ScalarUnknown(), "r": ScalarUnknown()},
        {"x": (0.0, 1.0), "y": (0.0, 1.0), "t": (0.0, 1.0)},
        {"D": d, "r": r},
        partial(_summed, wave, (*_waves(rng), angles)),
        wrong=wrong,
    )


def string(rng: np.random.Generator) -> Question:
    """u_tt = c*u_xx - g*u_t, a damped string, sums of exact waves."""
    c, g = rng.uniform(0.5, 1.5), rng.uniform(0.3, 1.2)
    also = rng.uniform(0, 2 * np.pi, 4)

    def wave(a: float, k: float, phase: float, other: float, x: Array, t: Array) -> Array:
        turn = np.sqrt(c * k**2 - g**2 / 4)
        return a * np.exp(-g * t / 2) * np.cos(turn * t + other) * np.cos(k * x + phase)

    wrong = {
        "missing term": {"equation": "u_tt = c*u_xx", "unknowns": {"c": ScalarUnknown()}},
        "constant +20%": {"unknowns": {"g": ScalarUnknown()}, "constants": {"c": 1.2 * c}},
    }
    return Question(
        "string",
        "u_tt = c*u_xx - g*u_t",
        {"c": ScalarUnknown(), "g": ScalarUnknown()},
        {"x": (0.0, 1.0), "t": (0.0, 1.0)},
        {"c": c, "g": g},
        partial(_summed, wave, (*_waves(rng), also)),
        wrong=wrong,
    )


def burgers(rng: np.random.Generator) -> Question:
    """u_t + s*u*u_x = nu*u_xx by the transform of Cole and Hopf."""
    nu = rng.uniform(0.01, 0.03)
    wavenumbers, phases = 2 * np.pi * np.arange(1, 4), rng.uniform(0, 2 * np.pi, 3)
    amplitudes = np.array([0.45, 0.25, 0.15]) * rng.uniform(0.7, 1.0, 3)

    def solution(x: Array, t: Array) -> Array:
        potential, slope = 1.0, 0.0
        for a, k, p in zip(amplitudes, wavenumbers, phases, strict=True):
            decay = a * np.exp(-nu * k**2 * t)
            potential, slope = potential + decay * np.cos(k * x + p), slope - k * decay * np.sin(k * x + p)
        return np.asarray(-2 * nu * slope / potential)

    wrong = {"constant +20%": {"unknowns": {"nu": ScalarUnknown()}, "constants": {"s": 1.2}}}
    return Question(
        "burgers",
        "u_t + s*u*u_x = nu*u_xx",
        {"s": ScalarUnknown(), "nu": ScalarUnknown()},
        {"x": (0.0, 1.0), "t": (0.0, 1.0)},
        {"s": 1.0, "nu": nu},
        solution,
        wrong=wrong,
    )


def growth(rng: np.random.Generator) -> Question:
    """u_t = D*u_xx + r(x)*u on a circle, by the eigenvectors of a spectral matrix."""
    d, nodes = rng.uniform(0.006, 0.015), 128
    x = np.arange(nodes) / nodes
    a, b, p, q = *rng.uniform(0.3, 0.8, 2), *rng.uniform(0, 2 * np.pi, 2)

    def rate(x: Array) -> Array:
        return np.asarray(a * np.sin(2 * np.pi * x + p) + b * np.cos(4 * np.pi * x + q))

    k = 2 * np.pi * np.fft.fftfreq(nodes, 1 / nodes)
    basis = np.fft.fft(np.eye(nodes), axis=0)
    matrix = np.real(np.fft.ifft((-d * k**2)[:, None] * basis, axis=0)) + np.diag(rate(x))
    rates, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    start = 1.2 + 0.6 * np.sin(2 * np.pi * x + q) + 0.4 * np.cos(6 * np.pi * x + p)
    weights = vectors.T @ start
    modes = np.fft.fft(vectors, axis=0)[: nodes // 2] / nodes
    modes[1:] *= 2

    def solution(x: Array, t: Array) -> Array:
        at, when = np.broadcast_arrays(x, t)
        places, which = np.unique(at.ravel(), return_inverse=True)
        turns = np.exp(2j * np.pi * places[:, None] * np.arange(nodes // 2))
        shapes = np.real(turns @ modes) * weights
        return np.einsum("nk,nk->n", shapes[which], np.exp(np.outer(when.ravel(), rates))).reshape(at.shape)

    number, over, fine = ScalarUnknown(), FieldUnknown, np.linspace(0, 1, 1025)
    wrong = {
        "number for a field": {"unknowns": {"D": number, "r": number}},
        "wrong coordinate": {"unknowns": {"D": number, "r": over(over=("t",))}},
    }
    return Question(
        "growth",
        "u_t = D*u_xx + r*u",
        {"D": number, "r": over(over=("x",))},
        {"x": (0.0, 1.0), "t": (0.0, 1.0)},
        {"D": d, "r": xr.DataArray(rate(fine), {"x": fine}, ("x",))},
        solution,
        wrong=wrong,
    )


def relaxation(rng: np.random.Generator) -> Question:
    """u_t = r*u*(1 - u/K), the logistic curve."""
    r, most, start = rng.uniform(0.8, 1.5), rng.uniform(0.8, 1.2), rng.uniform(0.05, 0.15)

    def solution(t: Array) -> Array:
        return most / (1 + (most / start - 1) * np.exp(-r * t))

    wrong = {
        "missing term": {"equation": "u_t = r*u", "unknowns": {"r": ScalarUnknown()}},
        "constant +20%": {"unknowns": {"r": ScalarUnknown()}, "constants": {"K": 1.2 * most}},
    }
    return Question(
        "relaxation",
        "u_t = r*u*(1 - u/K)",
        {"r": ScalarUnknown(initial=1.0), "K": ScalarUnknown(initial=1.0)},
        {"t": (0.0, 6.0)},
        {"r": r, "K": most},
        solution,
        wrong=wrong,
    )


QUESTIONS: dict[str, Callable[[np.random.Generator], Question]] = {
    "transport": transport,
    "plane-heat": plane_heat,
    "string": string,
    "burgers": burgers,
    "growth": growth,
    "relaxation": relaxation,
}
"""Name -> a function that draws a question."""
