"""Hidden states in the weak engine: a pressure eliminated and found again. Truth: a vortex that drifts."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.engines.choose import choose
from mollifier.engines.weak.form import is_weak
from mollifier.engines.weak.hidden import without_hidden
from mollifier.engines.weak.rewriting import rewritten

L1, L2, DRIFT = 1.0, 0.05, 0.6
FLOW = [
    "u_t + l1*(u*u_x + v*u_y) = -p_x + l2*lap(u)",
    "v_t + l1*(u*v_x + v*v_y) = -p_y + l2*lap(v)",
    "u_x + v_y = 0",
]


def vortex(seed: int) -> tuple[mf.InverseProblem, np.ndarray]:
    """Taylor and Green's solution of the Navier-Stokes equations in a frame that drifts, 1 % noise."""
    side, t = np.linspace(0, 2 * np.pi, 18, endpoint=False), np.linspace(0, 2, 9)
    x, y, s = np.meshgrid(side, side, t, indexing="ij")
    decay, x = np.exp(-2 * L2 * s), x - DRIFT * s
    u, v = DRIFT - np.cos(x) * np.sin(y) * decay, np.sin(x) * np.cos(y) * decay
    p = -0.25 * (np.cos(2 * x) + np.cos(2 * y)) * decay**2
    rng, dims = np.random.default_rng(seed), ("x", "y", "t")
    noisy = {
        n: (dims, f + 0.01 * np.sqrt(np.mean(f**2)) * rng.standard_normal(f.shape))
        for n, f in {"u": u, "v": v}.items()
    }
    wraps = {"periodic": 2 * np.pi}
    data = xr.Dataset(noisy, {"x": ("x", side, wraps), "y": ("y", side, wraps), "t": t})
    return mf.InverseProblem(FLOW, data, {"l1": mf.ScalarUnknown(), "l2": mf.ScalarUnknown()},
                             states={"p": mf.StateUnknown(unit="Pa")}), p  # fmt: skip


def test_pressure_by_the_curl():
    """Both numbers in their intervals, the pressure within 5 %, its mean zero at each time.

    The momentum equations are brought to weak form by the third one, and their curl is taken.
    """
    problem, p = vortex(0)
    name, _ = choose(problem)
    assert name == "weak"
    solution = mf.solve(problem)
    assert solution.status.name == "converged"
    for name, true in {"l1": L1, "l2": L2}.items():
        assert abs(solution.estimates[name].value - true) < 3 * solution.estimates[name].sd
    found = solution.dataset["p"]
    assert np.linalg.norm(found.values - p) < 0.05 * np.linalg.norm(p)
    assert float(abs(found.mean(("x", "y"))).max()) < 1e-6
    assert found.attrs["units"] == "Pa"
    assert "its mean over x, y at each t is zero" in found.attrs["comment"]
    assert "p" in solution.states
    assert solution.provenance["equation"] == [e.text for e in problem.system.equations]
    assert len(solution.provenance["rewritten"]) == 2


@pytest.mark.parametrize(
    ("equations", "states"),
    [
        (["u_t = k*u_xx - p_x", "v_t = k*v_xx - u*p_y"], {"p": mf.StateUnknown()}),
        (["u_t = k*u_xx - p_x", "v_t = k*v_xx"], {"p": mf.StateUnknown()}),
        (["u_t = k*u_xx - p_x", "v_t = k*v_xx - p_y"], {"p": mf.StateUnknown(lower=0.0)}),
        (["u_t = k*u_xx - p_x", "v_t = k*v_xx - p_y"], {"p": mf.StateUnknown(over=("x", "y"))}),
    ],
    ids=["varying factor", "one equation", "bounds", "fewer coordinates"],
)
def test_what_cannot_be_eliminated(equations, states):
    """Other engines are named."""
    data = vortex(0)[0].data
    problem = mf.InverseProblem(equations, data, {"k": mf.ScalarUnknown()}, states=states)
    assert without_hidden(problem) is None
    with pytest.raises(mf.MollifierError, match="'joint' or 'network' does"):
        mf.solve(problem, "weak")


def test_one_equation_brings_another_to_weak_form():
    """With a measured pressure too; without the third equation, nothing helps."""
    data = vortex(0)[0].data
    data = data.dataset.assign(p=data.dataset["u"])
    unknowns = {n: mf.ScalarUnknown() for n in ("l1", "l2")}
    whole, alone = (mf.InverseProblem(FLOW[:n], data, unknowns) for n in (3, 2))
    assert is_weak(rewritten(whole).system)
    assert choose(whole)[0] == "weak"
    assert rewritten(alone) is alone
    assert choose(alone)[0] != "weak"
