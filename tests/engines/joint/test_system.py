"""The normal equations of the joint engine: what residuals say of the standard errors."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import approx_fprime

import mollifier as mf
from mollifier.engines.joint.eliminated import Eliminated
from mollifier.engines.linalg.banded import factored
from mollifier.engines.linalg.memory import BLOCK

T = np.linspace(0, 8, 200)


def logistic(numbers: np.ndarray) -> np.ndarray:
    r, most, start = numbers
    return most / (1 + (most / start - 1) * np.exp(-r * T))


@pytest.mark.parametrize(
    ("noisy", "block"), [(slice(100, 200), BLOCK), (slice(0, 50), BLOCK), (slice(0, 50), 1)]
)
def test_dispersion_is_that_of_the_samples_that_count(noisy, block, monkeypatch):
    """Noise of 0.01 as stated, but three times that in a part of the samples: errors of least squares.

    Also where the rows of the samples are formed one at a time.
    """
    monkeypatch.setattr("mollifier.engines.linalg.memory.BLOCK", block)
    true, size = np.array([1.0, 1.0, 0.1]), np.full(T.size, 0.01)
    size[noisy] *= 3
    u = logistic(true) + size * np.random.default_rng(3).standard_normal(T.size)
    data = mf.Observations({"u": u}, {"t": T}, noise={"u": 0.01})
    unknowns = {n: mf.ScalarUnknown(initial=1.0) for n in ("r", "K")}
    found = mf.solve(mf.InverseProblem("u_t = r*u*(1 - u/K)", data, unknowns), "joint").estimates
    gains = np.linalg.pinv(approx_fprime(true, logistic, 1e-6))
    stated, shown = (np.sqrt(np.square(gains) @ np.square(s)) for s in (np.full(T.size, 0.01), size))
    for name, after in zip(unknowns, shown, strict=False):
        assert found[name].sd == pytest.approx(after, rel=0.25)
        assert abs(found[name].value - 1) < 2.5 * found[name].sd
    assert max(shown / stated) > 2


def test_elimination_is_as_accurate_as_the_rows():
    """Of fourth differences on close nodes; a ridge of 1e-15 of their squares exceeds the data's part."""
    n, p, data = 60, 3, np.random.default_rng(0)
    steep = 100.0 * np.diff(np.eye(n), 4, axis=0) * float(n - 1) ** 4
    across = 100.0 * np.cos(np.outer(np.linspace(0, 1, n - 4), np.pi * np.arange(p)))
    own = np.eye(n)[data.choice(n, 20, replace=False)]
    rows = np.block([[steep, across], [own, np.zeros((len(own), p))]])
    square = rows.T @ rows
    factor = factored(sp.csr_array(square[:n, :n]))
    parts = factor, sp.csr_array(square[:n, n:]), square[n:, n:]
    least = np.linalg.qr(rows, mode="r")[n:, n:]
    exact = least.T @ least
    refined = Eliminated(*parts, sp.csr_array(rows))
    np.testing.assert_allclose(refined.schur, exact, rtol=1e-4, atol=1e-4 * exact.max())
    assert np.diag(Eliminated(*parts).schur).max() > 1.5 * np.diag(exact).max()
    follow = -np.linalg.lstsq(rows[:, :n], rows[:, n:])[0]
    np.testing.assert_allclose(-factor.backward(refined.half), follow, atol=1e-3 * abs(follow).max())


def test_intervals_of_a_stiffness_do_not_depend_on_rounding():
    """Of a beam, by its deflections: they shrank with the spacing of the nodes, as rounding held states."""
    rng = np.random.default_rng(1)
    x, fine = np.linspace(0.05, 2, 40), np.linspace(0, 2, 4001)
    step = fine[1]
    stiffness = 1 + 0.5 * np.tanh((fine - 1) / 0.15)
    slope = np.cumsum((2 - fine) ** 2 / 2 / stiffness) * step
    w = np.interp(x, fine, np.cumsum(slope) * step)
    w += 0.003 * np.sqrt(np.mean(w**2)) * rng.standard_normal(40)
    data = mf.Observations({"w": w}, {"x": x}, noise={"w": 0.003})
    ends = [
        mf.Condition("w = 0; w_x = 0", at={"x": 0}),
        mf.Condition("EI*w_xx = 0; dx(EI*w_xx) = 0", at={"x": 2}),
    ]
    unknown = {"EI": mf.FieldUnknown(over=("x",), lower=0)}
    problem = mf.InverseProblem("dxx(EI*w_xx) = 1", data, unknown, conditions=ends)
    found = mf.solve(problem, "joint")
    z = (found.dataset["EI"] - np.interp(found.dataset["x"], fine, stiffness)) / found.dataset["EI_sd"]
    assert float(np.sqrt(np.mean(z**2))) < 1.5
    assert found.status.name == "undetermined"
    assert mf.check(problem).verdict == "cannot be answered"


def test_states_that_cannot_be_eliminated_end_the_run(monkeypatch):
    """Numbers that overflow in the elimination: it was an error of the linear algebra that escaped."""

    class Overflowing(Eliminated):
        def __init__(self, *args):
            super().__init__(*args)
            self.schur = np.full_like(self.schur, np.inf)

    monkeypatch.setattr("mollifier.engines.joint.system.Eliminated", Overflowing)
    data = mf.Observations({"u": np.exp(-T / 4)}, {"t": T}, noise={"u": 0.01})
    found = mf.solve(mf.InverseProblem("u_t = -a*u", data, {"a": mf.ScalarUnknown()}), "joint")
    assert found.status.name == "non-finite loss"
