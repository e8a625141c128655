"""Conditions along the edge of a domain: places, normals, parts, refusals, and what they add."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.errors import MollifierError
from mollifier.problem.edges import edge

RNG = np.random.default_rng(0)
HOLE, SOURCE = 0.3, 2.0
L_SHAPE = [[-1, -1], [1, -1], [1, 0], [0, 0], [0, 1], [-1, 1]]


def insulated(x, y):
    """``lap(u) = SOURCE`` outside of a hole through whose edge nothing flows."""
    r = np.hypot(x, y)
    return r**2 * SOURCE / 4 - SOURCE * HOLE**2 / 2 * np.log(r) + 0.3 * x * (1 + HOLE**2 / r**2)


OUTSIDE = mf.Domain(inside=f"{HOLE}^2 < x^2 + y^2")


def ring(conditions=(), domain=OUTSIDE, least=0.6) -> mf.InverseProblem:
    r, angle = np.sqrt(RNG.uniform(least**2, 1, 300)), RNG.uniform(0, 2 * np.pi, 300)
    x, y = r * np.cos(angle), r * np.sin(angle)
    u = insulated(x, y)
    data = mf.Observations({"u": u + 0.02 * u.std() * RNG.normal(size=300)}, {"x": x, "y": y})
    return mf.InverseProblem(
        "lap(u) = q", data, {"q": mf.ScalarUnknown()}, conditions=conditions, domain=domain
    )


def test_places_and_normals_of_a_circle():
    """Places lie on it, normals point into the hole, and places are even along it."""
    problem = ring()
    points, normals = edge(problem.interior, ("x", "y"), problem.data)
    assert np.abs(np.hypot(*points.T) - HOLE).max() < 1e-9
    assert np.abs(normals + points / HOLE).max() < 3e-3
    placed = ring([mf.Condition("dn(u) = 0", at="edge")]).places
    angles = np.sort([np.arctan2(c.at["y"], c.at["x"]) for c in placed])
    assert len(placed) == 32
    assert np.diff(angles).max() < 3 * 2 * np.pi / 32


def test_places_of_a_polygon_and_a_mask():
    """Corners have no normal; the staircase of a mask is smoothed."""
    problem = ring(domain=mf.Domain(polygon=L_SHAPE))
    points, normals = edge(problem.interior, ("x", "y"), problem.data)
    assert len(points) > 300
    assert np.abs(np.abs(normals).max(axis=1) - 1).max() < 0.02
    right = points[:, 0] > 0.999
    assert (normals[right, 0] > 0.99).all()
    x = np.linspace(-1.2, 1.2, 200)
    disc = xr.DataArray(np.hypot(x[:, None], x) < 0.8, {"x": x, "y": x}, ("x", "y"))
    problem = ring(domain=mf.Domain(mask=disc))
    points, normals = edge(problem.interior, ("x", "y"), problem.data)
    outward = points / np.hypot(*points.T)[:, None]
    assert np.sum(normals * outward, axis=1).mean() > 0.98


def test_part_of_an_edge():
    """An inequality chooses the part; the condition holds the normal's components there."""
    problem = ring([mf.Condition("dn(u) = 0", at={"edge": "x > 0.1"})])
    assert all(c.at["x"] > 0.1 for c in problem.places)
    first, place = problem.system.conditions[0], problem.places[0]
    slopes = {str(t.free_symbols.pop()): float(t.as_coeff_Mul()[0]) for t in first.terms}
    assert slopes == pytest.approx({"u_x": place.normal["x"], "u_y": place.normal["y"]})
    again = problem.of(problem.data, problem.unknowns)
    assert again.described == problem.described


@pytest.mark.parametrize(
    ("condition", "domain", "message"),
    [
        ({"equation": "u = 0", "at": "edge"}, None, "there is no domain"),
        ({"equation": "u = 0", "at": "edge"}, mf.Domain(inside="x < 0.5"), "the domain is over x"),
        ({"equation": "u = 0", "at": {"edge": "x > 9"}}, mf.Domain(inside="x^2 + y^2 < 0.9"), "where x > 9"),
        ({"equation": "u = 0", "at": {"edge": "left"}}, mf.Domain(inside="x^2 + y^2 < 0.9"), "inequality"),
        ({"equation": "dn(u) = 0", "at": {"x": 0.0}}, None, "at the edge of a domain"),
        ({"equation": "u = 0", "at": "rim"}, None, "or 'edge' with a domain"),
    ],
)
def test_edge_that_cannot_be_taken(condition, domain, message):
    with pytest.raises(MollifierError, match=message):
        ring([mf.Condition(**condition)], domain)


@pytest.mark.slow
def test_insulated_hole():
    """No flux through an edge far from the data: the source is six times better known, and inside."""
    free, held = (mf.solve(ring(c), "joint") for c in ((), [mf.Condition("dn(u) = 0", at="edge")]))
    q, before = held.estimates["q"], free.estimates["q"]
    assert held.status.name == "converged"
    assert q.sd < before.sd / 3
    assert abs(q.value - SOURCE) < 3 * q.sd
    angle = np.linspace(0, 2 * np.pi, 50)
    x, y = (xr.DataArray(0.32 * f(angle), dims="a") for f in (np.cos, np.sin))
    error = held.dataset.u.interp(x=x, y=y) - insulated(x, y)
    assert float(np.sqrt((error**2).mean())) < 0.005
