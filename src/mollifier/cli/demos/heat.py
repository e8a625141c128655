"""Steady heat flow with an unknown conductivity: 0 = div(k grad u) + s, measurements scattered and noisy.

Temperatures come from a finite-volume scheme on 256 x 256 cells with harmonic means of k at the faces and
u = 0 on the boundary, interpolated to random points; the inversion uses none of these. It fails where grad u
vanishes: there k does not enter the equation, and only its prior determines it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import xarray as xr
from scipy.interpolate import RectBivariateSpline
from scipy.sparse.linalg import spsolve

from mollifier.data.observations import Observations
from mollifier.diagnostics.scores import Score, score
from mollifier.io.draws import Rng, generator
from mollifier.io.files import write_text
from mollifier.mollify.arrays import Array
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown

EQUATION = "0 = div(k*grad(u)) + s"


def conductivity(x: Array, y: Array) -> Array:
    """The true k: a warm lobe, a cold lobe and a gentle slope; between about 0.5 and 2, in W/(m K)."""
    warm = 0.9 * np.exp(-((x - 0.3) ** 2 + (y - 0.65) ** 2) / 0.03)
    cold = 0.5 * np.exp(-((x - 0.7) ** 2 + (y - 0.35) ** 2) / 0.04)
    return 1.0 + warm - cold + 0.2 * (x - y)


def source(x: Array, y: Array) -> Array:
    """The known heating s, in W/m^3."""
    return 20.0 * (1.0 + 0.5 * np.sin(np.pi * x) * np.cos(np.pi * y))


def finite_volumes(cells: int = 256, laplacian: bool = False) -> tuple[Array, Array]:
    """Cell centres (cells,) along each side and temperatures (cells, cells) by finite volumes.

    Of ``0 = div(k grad u) + s``, or of ``0 = k lap(u) + s``, which is the former with k = 1 under s/k.
    """
    x = (np.arange(cells) + 0.5) / cells
    mesh = np.meshgrid(x, x, indexing="ij")
    k, heating = conductivity(*mesh), source(*mesh)
    return x, steady(np.ones_like(k), heating / k) if laplacian else steady(k, heating)


def steady(k: Array, heating: Array) -> Array:
    """Temperatures (n, n) in the cells of the unit square, zero at its edges: ``0 = div(k grad u) + s``.

    Conductivity k and source are (n, n) too. Fluxes between cells have the harmonic mean of k.
    """
    cells = len(k)
    number = np.arange(cells * cells).reshape(cells, cells)
    diagonal = np.zeros((cells, cells))
    rows, columns, values = [], [], []
    for axis in (0, 1):
        low, high = np.take(k, range(cells - 1), axis), np.take(k, range(1, cells), axis)
        face = 2 * low * high / (low + high)
        a = np.take(number, range(cells - 1), axis)
        b = np.take(number, range(1, cells), axis)
        for i, j in ((a, b), (b, a)):
            rows.append(i.ravel())
            columns.append(j.ravel())
            values.append(-face.ravel())
            np.add.at(diagonal.reshape(-1), i.ravel(), face.ravel())
        for edge in (0, cells - 1):
            np.add.at(diagonal.reshape(-1), np.take(number, edge, axis), 2 * np.take(k, edge, axis))
    rows.append(number.ravel())
    columns.append(number.ravel())
    values.append(diagonal.ravel())
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    matrix = sp.csc_array(entries, shape=(cells * cells,) * 2)
    right = heating.ravel() / cells**2
    return np.asarray(spsolve(matrix, right)).reshape(cells, cells)


@dataclass(frozen=True)
class Heat:
    """Measurements and the truth behind them."""

    observations: Observations
    truth: xr.Dataset


def measurements(points: int = 2000, noise: float = 0.02, rng: Rng = 0, cells: int = 256) -> Heat:
    """Noisy temperatures at random points of the unit square.

    There are so many ``points``, of ``noise`` relative to rms(u), and ``cells`` finite volumes along each
    side; ``rng`` draws points and noise.

    >>> heat = measurements(points=100, cells=32)
    >>> heat.observations.variables
    ('u', 's')
    """
    centres, temperature = finite_volumes(cells)
    padded = np.concatenate([[0.0], centres, [1.0]])
    spline = RectBivariateSpline(padded, padded, np.pad(temperature, 1))
    x, y = generator(rng).random((2, points))
    u = Observations(values={"u": spline.ev(x, y)}, points={"x": x, "y": y}, noise={"u": 0.0}).add_noise(
        noise, rng
    )
    observations = Observations(
        values={"u": u.samples("u").values, "s": source(x, y)},
        points={"x": x, "y": y},
        noise={"s": 0.0},
        units={"x": "m", "y": "m", "u": "K", "s": "W/m^3"},
    )
    axis = np.linspace(0.0, 1.0, 65)
    mesh = np.meshgrid(axis, axis, indexing="ij")
    truth = xr.Dataset(
        {"k": (("x", "y"), conductivity(*mesh)), "u": (("x", "y"), spline(axis, axis))},
        {"x": axis, "y": axis},
    )
    return Heat(observations, truth)


def problem(heat: Heat) -> InverseProblem:
    """The inverse problem: k(x, y) > 0 from the measurements and the known heating."""
    unknown = FieldUnknown(over=("x", "y"), lower=0.0, unit="W/(m K)")
    return InverseProblem(EQUATION, heat.observations, {"k": unknown})


def demo(
    folder: Path, rng: Rng = 0, progress: Callable[[Any], None] | None = None, quick: bool = False
) -> tuple[Any, xr.Dataset, dict[str, Score]]:
    """Make the measurements, write them and their problem file, solve, and score against the truth.

    Returns the solution, the truth, and scores by field (`mollifier.diagnostics.scores`).
    """
    from mollifier.engines.solve import solve

    heat = measurements(rng=rng, cells=128 if quick else 256)
    table = heat.observations.dataset[["u", "s"]].to_dataframe()[["x", "y", "u", "s"]]
    write_text(folder / "measurements.csv", table.to_csv(index=False))
    write_text(folder / "problem.yaml", PROBLEM_FILE)
    settings = QUICK if quick else {}
    solution = solve(problem(heat), rng=rng, settings=settings, progress=progress, folder=folder)
    return solution, heat.truth, score(solution.dataset, heat.truth)


# A rough answer within seconds.
QUICK = {"collocation": {"nodes": {"x": 23, "y": 23}}, "training": {"steps": 25}}

PROBLEM_FILE = f"""\
# Conductivity of a plate from scattered thermometers: the file behind `mollifier demo heat`.
equation: "{EQUATION}"
data:
  file: measurements.csv
  coordinates: [x, y]
  values: [u, s]
  units: {{x: m, y: m, u: K, s: W/m^3}}
unknowns:
  k: {{over: [x, y], lower: 0.0, unit: W/(m K)}}
"""
