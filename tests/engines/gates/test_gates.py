"""Gates: which answers keep the status `converged`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mollifier as mf
from mollifier.engines.gates.gates import gated
from mollifier.engines.gates.held_out import expected_median, held_out_misfit
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
    assert gated(problem, solution, []) == solution.status


def test_gated_notes_are_added(decay: tuple[mf.InverseProblem, Solution]) -> None:
    problem, solution = decay
    noted = replace(solution, status=mf.Status("converged", "one"))
    found = gated(problem, noted, [lambda p, s: mf.Status("converged", "two")])
    assert str(found) == "converged: one; two"


def test_gated_graver_status_stays(decay: tuple[mf.InverseProblem, Solution]) -> None:
    problem, solution = decay
    cut = replace(solution, status=mf.Status("time limit"))
    assert gated(problem, cut, [lambda p, s: mf.Status("misfit")]).name == "time limit"


@pytest.mark.parametrize("count", [3, 6, 41])
def test_held_out_gate_false_alarms_are_rare(count: int) -> None:
    """The lower median of normal numbers exceeds its bound as often as stated."""
    sizes = np.abs(np.random.default_rng(count).standard_normal((20_000, count)))
    above = np.quantile(sizes, 0.5, axis=1, method="lower") > expected_median(count, 0.01)
    assert above.mean() == pytest.approx(0.01, abs=0.003)


def test_held_out_gate_names_a_field_that_is_not_predicted(
    decay: tuple[mf.InverseProblem, Solution],
) -> None:
    problem, solution = decay
    held, fit = np.arange(60) % 10 == 0, solution.fit
    judged = replace(solution, fit=fit.assign(u_held_out=("observation", held)))
    assert held_out_misfit(problem, judged) is None
    off = fit["u_fitted"] + 0.05 * held
    found = held_out_misfit(problem, replace(judged, fit=judged.fit.assign(u_fitted=off)))
    assert found is not None
    assert found.name == "misfit"
    assert "6 held-out samples of 'u'" in found.message


def test_held_out_gate_takes_estimated_noise_from_the_fit(decay: tuple[mf.InverseProblem, Solution]) -> None:
    """A fit that follows half of an underestimated noise predicts held-out samples as well as it should."""
    problem, solution = decay
    fit, rng = solution.fit, np.random.default_rng(1)
    held = np.arange(60) % 3 == 0
    errors = 1.8 * rng.standard_normal(60) * np.where(held, 0.5**-0.5, 0.5**0.5)
    fitted = fit["u"] + fit["u_sd"] * errors
    judged = replace(solution, fit=fit.assign(u_held_out=("observation", held), u_fitted=fitted))
    known = replace(judged, provenance={**judged.provenance, "freedom": 0.5})
    assert held_out_misfit(problem, judged) is not None
    assert held_out_misfit(problem, known) is None
    given = mf.Observations({"u": fit["u"].values}, {"t": np.linspace(0, 3, 60)}, noise={"u": 0.01})
    stated = mf.InverseProblem("u_t = -k*u", given, {"k": mf.ScalarUnknown()})
    assert held_out_misfit(stated, known) is not None
