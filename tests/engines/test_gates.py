"""Gates: which answers keep the status `converged`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mollifier as mf
from mollifier.engines.gates import gated
from mollifier.problem.solution import Solution


@pytest.fixture(scope="module")
def decay() -> tuple[mf.InverseProblem, Solution]:
    t = np.linspace(0, 3, 60)
    u = np.exp(-0.7 * t) + 0.01 * np.random.default_rng(0).standard_normal(60)
    problem = mf.InverseProblem("u_t = -k*u", mf.Observations({"u": u}, {"t": t}), {"k": mf.ScalarUnknown()})
    return problem, mf.solve(problem)


def test_gated_first_objection_wins(decay: tuple[mf.InverseProblem, Solution]) -> None:
    problem, solution = decay
    first, second = mf.Status("misfit", "first"), mf.Status("misfit", "second")
    gates = [lambda p, s: None, lambda p, s: first, lambda p, s: second]
    assert solution.status.ok
    assert gated(problem, solution, gates) is first
    assert gated(problem, solution, []) is solution.status


def test_gated_graver_status_stays(decay: tuple[mf.InverseProblem, Solution]) -> None:
    problem, solution = decay
    cut = replace(solution, status=mf.Status("time limit"))
    assert gated(problem, cut, [lambda p, s: mf.Status("misfit")]).name == "time limit"
