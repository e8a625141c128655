"""The gate on edges: a field of two values that an engine blurs is not converged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from benchmarks.cases import darcy
from mollifier.engines.gates.edges import edges_blurred


def growth() -> mf.InverseProblem:
    """u_t = k(x)*u with a k of two values; along x there is no derivative, and no test function."""
    x, t = np.linspace(0, 3, 40), np.linspace(0, 1, 20)
    u = np.exp(np.where(x > 1.4, 0.7, -0.5)[:, None] * t)
    u = u + 0.01 * np.random.default_rng(0).normal(size=u.shape)
    data = xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t})
    return mf.InverseProblem("u_t = k*u", data, {"k": mf.FieldUnknown(over=("x",))})


def test_edges_evidence_decides():
    """Little is no finding, more a note, much a misfit that names the engine for edges."""
    problem = growth()
    solution = mf.solve(problem, "weak")
    assert solution.provenance["edges"] == {}  # nothing reaches over an edge
    names = [
        None
        if (s := edges_blurred(problem, replace(solution, provenance={"edges": {"k": g}}))) is None
        else s.name
        for g in (-40.0, 2.0, 12.0, 80.0)
    ]
    assert names == [None, None, "converged", "misfit"]
    status = edges_blurred(problem, replace(solution, provenance={"edges": {"k": 80.0}}))
    assert status is not None
    assert "edges in k" in status.message
    assert "'joint'" in status.message


@pytest.mark.slow
@pytest.mark.parametrize("two_valued", [True, False])
def test_edges_of_a_medium(two_valued):
    """Weak holds 82 % of a permeability of two values: a misfit; of a log-normal one 97 %."""
    case = darcy.build(3 if two_valued else 1, two_valued=two_valued)
    u = case.clean["u"]
    noise = 0.01 * float(np.sqrt(np.mean(u**2))) * np.random.default_rng(103).normal(size=u.shape)
    problem = mf.InverseProblem(
        case.equation, mf.Observations.from_dataset(case.clean + noise), case.unknowns
    )
    status = mf.solve(problem, "weak").status
    assert status.name == ("misfit" if two_valued else "converged")
    assert ("edges in k" in status.message) is two_valued
