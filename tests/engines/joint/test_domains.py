"""The joint engine in domains with corners."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.interpolate import NearestNDInterpolator, RegularGridInterpolator
from scipy.sparse.linalg import spsolve

import mollifier as mf

OUTER = [[0, 1], [-1, 1], [-1, -1], [1, -1], [1, 0]]


def permeability(x, y):
    """Two bumps away from the edge."""
    return (
        1
        + 0.5 * np.exp(-((x - 0.5) ** 2 + (y + 0.5) ** 2) / 0.08)
        - 0.35 * np.exp(-((x + 0.5) ** 2 + (y - 0.2) ** 2) / 0.08)
    )


def edge_value(x, y):
    notch = np.where((x >= -1e-9) & (y >= -1e-9), 1 - np.maximum(x, y), 0.0)
    return 0.5 * x - 0.8 * y + 0.6 * x * y - 0.5 + notch


def heads(cells=201):
    """Heads in the L by finite volumes: interpolated from cell centres, those outside as the nearest."""
    h = 2 / cells
    c = -1 + h * (np.arange(cells) + 0.5)
    x, y = np.meshgrid(c, c, indexing="ij")
    inside = ~((x > 0) & (y > 0))
    number = np.full((cells + 2, cells + 2), -1)
    number[1:-1, 1:-1][inside] = np.arange(inside.sum())
    rows, columns, values, right = [], [], [], np.zeros(inside.sum())
    here = number[1:-1, 1:-1][inside]
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        xf, yf = x[inside] + dx * h / 2, y[inside] + dy * h / 2
        there = number[1 + dx : cells + 1 + dx, 1 + dy : cells + 1 + dy][inside]
        edge, w = there < 0, permeability(xf, yf)
        rows += [here, here[~edge]]
        columns += [here, there[~edge]]
        values += [np.where(edge, 2 * w, w), -w[~edge]]
        right[here[edge]] += 2 * (w * edge_value(xf, yf))[edge]
    matrix = sp.csc_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))))
    u = np.zeros(x.shape)
    u[inside] = np.asarray(spsolve(matrix, right))
    u[~inside] = NearestNDInterpolator((x[inside], y[inside]), u[inside])(x[~inside], y[~inside])
    beyond: Any = None  # extrapolated: the outermost half of a cell
    return RegularGridInterpolator((c, c), u, bounds_error=False, fill_value=beyond)


@pytest.mark.slow
def test_interval_of_a_field_measured_on_its_edge_alone():
    """Bumps where the heads are nearly flat: measurements on the edge do not make the field flat inside."""
    rng = np.random.default_rng(10)
    places = rng.uniform(-1, 1, (1200, 2))
    x, y = places[~((places[:, 0] > 0) & (places[:, 1] > 0))][:700].T
    u = heads()(np.stack([x, y], -1))
    u += 0.01 * np.sqrt(np.mean(u**2)) * rng.standard_normal(len(u))
    share = np.arange(16)[:, None] / 16
    edge = 0.999 * np.concatenate([a + (b - a) * share for a, b in pairwise(np.array(OUTER))])
    measured = mf.Observations(
        {"k": permeability(*edge.T)}, {"x": edge[:, 0], "y": edge[:, 1]}, noise={"k": 0.01}
    )
    problem = mf.InverseProblem(
        "0 = div(k*grad(u))",
        mf.Observations({"u": u}, {"x": x, "y": y}, noise={"u": 0.01}),
        {"k": mf.FieldUnknown(over=("x", "y"), lower=0.0, measurements=measured)},
        domain=mf.Domain(polygon=[*OUTER, [0, 0]]),
    )
    found = mf.solve(problem, "joint").dataset
    inside = ~((found.x > 0.01) & (found.y > 0.01))
    truth = permeability(found.x, found.y).where(inside)
    error = found.k - truth
    # Seeds 10 to 12: .08 to .12, and .09 with the corner left out, where u ~ r^(2/3) is no spline.
    assert float((error**2).mean() / (truth**2).mean()) < 0.15**2
    assert float((np.abs(error) < 1.96 * found.k_sd).where(inside).mean()) > 0.85
