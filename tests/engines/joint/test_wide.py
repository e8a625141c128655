"""A number beside unknown fields whose standard error is large has its posterior in place of a normal one."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from benchmarks.calibration import standardised
from benchmarks.trust.study import Plan, at_nodes, drawn
from mollifier.engines.base import Request
from mollifier.engines.joint import wide
from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.joint.tuning import JointTuning
from mollifier.engines.joint.wide import over_values, wide_number
from mollifier.engines.solve import solve
from mollifier.errors import EquationError
from mollifier.problem.estimate import Estimate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown


def answer(value: float, sd: float, status: str = "converged", slope: float = 0.0) -> Solution:
    """D, beside it c = slope D, and r(x) = D with a standard error of one."""
    x = {"x": [0.0, 1.0]}
    fields = xr.Dataset({"r": ("x", [value, value]), "r_sd": ("x", [1.0, 1.0])}, x)
    parts = xr.Dataset({"u": ("observation", [])}), xr.Dataset({"loss": ("step", [])}), {"seed": 0}
    numbers = {"D": Estimate("D", value, sd), "c": Estimate("c", slope * value, 0.1)}
    return Solution(Status(status, "settled"), numbers, fields, *parts)


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Solution, list[float]]]:
    """The answer over values of D by a log-evidence that is given, and the values that were solved."""
    monkeypatch.setattr(wide, "log_evidence", lambda joint: joint.evidence)

    def found(
        evidence: Callable[[float], float],
        lower: float | None = None,
        ends: Callable[[float], str] | None = None,
    ) -> tuple[Solution, list[float]]:
        rng = np.random.default_rng(0)
        data = xr.Dataset({"u": (("x", "t"), rng.random((5, 5)))}, {c: np.linspace(0, 1, 5) for c in "xt"})
        unknowns = {"D": ScalarUnknown(lower=lower), "c": ScalarUnknown(), "r": FieldUnknown(over=("x",))}
        problem = InverseProblem("u_t = D*u_xx + c*u_x + r*u", data, unknowns)
        values = []

        def solver(request: Request) -> tuple[Solution, Any]:
            assert set(request.problem.unknowns) == {"c", "r"}
            value = request.problem.constants["D"]
            values.append(value)
            status = ends(value) if ends else "converged"
            made = SimpleNamespace(exact=True, evidence=evidence(value))
            return answer(value, 0.0, status, slope=2.0), made

        return over_values(Request(problem, JointSettings()), "D", answer(1.0, 0.3), solver), values

    return found


def test_posterior_far_from_the_estimate_is_found(over: Callable[..., tuple[Solution, list[float]]]) -> None:
    """The evidence is greatest four of its standard deviations above the estimate; all else follows D."""
    found, values = over(lambda d: -(((d - 5.0) / 1.0) ** 2) / 2)
    d, c = found.estimates["D"], found.estimates["c"]
    assert found.status.ok
    assert d.value == pytest.approx(5.0, abs=0.1)
    assert d.sd == pytest.approx(1.0, rel=0.1)
    assert c.value == pytest.approx(10.0, abs=0.3)
    assert c.sd == pytest.approx(2.0, rel=0.15)
    assert found.dataset["r"].values == pytest.approx(5.0, abs=0.15)
    assert found.dataset["r_sd"].values == pytest.approx(np.sqrt(2.0), rel=0.15)
    assert len(values) <= JointTuning().wide_most + 1


def test_evidence_that_does_not_fall_leaves_the_number_undetermined(
    over: Callable[..., tuple[Solution, list[float]]],
) -> None:
    """A side on which it stays is named."""
    found, values = over(lambda d: -np.logaddexp(0.0, 10 - 10 * d))
    assert found.status.name == "undetermined"
    assert f"D = {max(values):.3g} fits nearly as well" in found.status.message


def test_values_stay_within_bounds(over: Callable[..., tuple[Solution, list[float]]]) -> None:
    """A posterior that is cut off by a bound ends there, and is no reason for doubt."""
    found, values = over(lambda d: -2.0 * d, lower=0.0)
    assert found.status.ok
    assert min(values) > 0
    assert found.estimates["D"].value == pytest.approx(0.5, abs=0.12)


def test_solves_that_do_not_settle_count_for_nothing(
    over: Callable[..., tuple[Solution, list[float]]],
) -> None:
    """Where none settles the answer stays; where one is stopped the run ends."""
    kept, _ = over(lambda d: 0.0, ends=lambda d: "stalled")
    assert kept.estimates["D"] == Estimate("D", 1.0, 0.3)
    half, _ = over(lambda d: -((d - 1.0) ** 2), ends=lambda d: "stalled" if d > 1.5 else "converged")
    assert half.estimates["D"].value < 1.5
    stopped, values = over(lambda d: 0.0, ends=lambda d: "interrupted")
    assert (stopped.status.name, len(values)) == ("interrupted", 1)


def test_value_that_cannot_be_solved_leaves_the_number_undetermined(
    over: Callable[..., tuple[Solution, list[float]]],
) -> None:
    """The reason is named."""

    def ends(value: float) -> str:
        if value > 1:
            raise EquationError("not finite there")
        return "converged"

    found, _ = over(lambda d: 0.0, ends=ends)
    assert found.status == Status(
        "undetermined", "D is known to 30 %, and its posterior could not be found: not finite there"
    )


def test_only_large_standard_errors_beside_chosen_priors_are_looked_at() -> None:
    """Small ones, answers that are not good, and problems without such fields stay as they are."""
    problem = SimpleNamespace(laws={}, data=SimpleNamespace(damage=[]))
    joint: Any = SimpleNamespace(
        free=["r"], exact=True, tuning=JointTuning(), model=SimpleNamespace(problem=problem)
    )
    assert wide_number(answer(1.0, 0.3, slope=1.0), joint) == "D"
    assert not wide_number(answer(2.0, 0.1, slope=1.0), joint)
    assert not wide_number(answer(1.0, 0.3, "misfit", slope=1.0), joint)
    joint.free = []
    assert not wide_number(answer(1.0, 0.3, slope=1.0), joint)


@pytest.mark.slow
def test_diffusivity_beside_growth_of_much_noise_is_held() -> None:
    """At 20 % noise the mode of all unknowns together has a diffusivity that is far too small.

    So it has with priors of states as strong as the evidence has them; weakened, they draw it less.
    """
    question, problem = drawn(Plan("white", "0.2", "scattered", "joint"), 244)
    settings: dict[str, Any] = {
        "held_out": 0.0,
        "collocation": {"nodes": {"x": 24, "t": 16}},
        "joint": {"cells": 16},
    }
    scores = {}
    for share in (np.inf, JointTuning().wide):
        tuning = {"wide": share, "most_pull": np.inf}
        found = solve(problem, "joint", settings={**settings, "tuning": tuning})
        assert found.status.ok
        scores[share] = standardised(found, at_nodes(question.truth, found.dataset), 200)
    normal, posterior = scores.values()
    assert normal["D"][0] > 3
    assert abs(posterior["D"][0]) < 2
    assert np.mean(np.abs(posterior["r"]) < 1.96) > 0.9
