"""An edge of unknown place, found together with the numbers on either side."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve_banded

import mollifier as mf
from mollifier.errors import ConfigurationError

TRUE = {"a": 0.37, "k1": 1.0, "k2": 3.0}
# Few places: quick, and rough.
ROUGH = {"tuning": {"edge_places": 2, "edge_most": 2}, "collocation": {"nodes": {"x": 33}}}


def layered(seed, k2=TRUE["k2"], count=60, cells=4000):
    """A heated wall of two materials by finite volumes with harmonic means; random places, 1 % noise."""
    h, rng = 1 / cells, np.random.default_rng(seed)
    centres = (np.arange(cells) + 0.5) * h
    k = np.where(centres < TRUE["a"], TRUE["k1"], k2)
    between = np.concatenate([[2 * k[0]], 2 * k[1:] * k[:-1] / (k[1:] + k[:-1]), [2 * k[-1]]]) / h**2
    diagonals = np.zeros((3, cells))
    diagonals[1] = between[1:] + between[:-1]
    diagonals[0, 1:] = diagonals[2, :-1] = -between[1:-1]
    u = solve_banded((1, 1), diagonals, np.ones(cells))
    x = np.sort(rng.random(count))
    exact = np.interp(x, centres, u)
    sd = 0.01 * np.sqrt(np.mean(exact**2))
    return mf.Observations({"u": exact + sd * rng.normal(size=count)}, {"x": x}, noise=0.01)


def posed(data, lower=None, upper=None):
    unknowns = {n: mf.ScalarUnknown(lower=0.0) for n in ("k1", "k2")}
    unknowns["a"] = mf.ScalarUnknown(lower=lower, upper=upper)
    return mf.InverseProblem("0 = dx(where(x < a, k1, k2)*u_x) + 1", data, unknowns)


def test_answer_of_an_edge_at_few_places():
    """Numbers, fields over the whole coordinate, the table of the fit and the profile."""
    problem = posed(layered(1), 0.35, 0.4)
    solution = mf.solve(problem, settings=ROUGH)
    assert solution.provenance["engine"] == "joint"
    for name, true in TRUE.items():
        assert abs(solution.estimates[name].value - true) < 0.1 * true
    assert np.array_equal(np.sort(solution.fit.u), np.sort(problem.data.samples("u").values))
    assert np.allclose(np.sort(solution.fit.x), problem.data.samples("u").points[:, 0])
    assert {"u", "u_xx", "residual", "condition_0", "condition_1"} == {*solution.dataset.data_vars}
    assert bool((solution.dataset.x.diff("x") > 0).all())
    assert len(solution.provenance["edge"]["places"]) == 4
    assert solution.history["a"].values[-1] == pytest.approx(solution.estimates["a"].value)


def test_edge_is_refused_by_other_engines_and_for_resuming(tmp_path):
    """Each in one line."""
    problem = posed(layered(1))
    with pytest.raises(ConfigurationError, match="takes no edges at unknown places, engine 'joint' does"):
        mf.solve(problem, "weak")
    with pytest.raises(ConfigurationError, match="many short solves"):
        mf.solve(problem, "joint", folder=tmp_path, resume=True)


@pytest.mark.slow
def test_edge_of_a_layered_wall():
    """All three numbers lie within three standard errors."""
    solution = mf.solve(posed(layered(1)))
    assert solution.status.ok
    for name, true in TRUE.items():
        found = solution.estimates[name]
        assert abs(found.value - true) < 3 * found.sd < 0.12


@pytest.mark.slow
def test_edge_that_is_not_there():
    """With one material any place fits."""
    solution = mf.solve(posed(layered(1, k2=1.0)))
    assert solution.status.name == "undetermined"
    assert "a is not determined" in solution.status.message
