"""Normal equations of a step, in which many samples count at the nodes nearest to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import mollifier as mf
from mollifier.engines.collocated.calibrate import calibrate
from mollifier.engines.network.engine import prepare_networks
from mollifier.engines.network.gauss_newton import GaussNewton
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.problem.settings import validated


def observations(scattered: bool) -> mf.Observations:
    rng = np.random.default_rng(0)
    if scattered:
        x, t = rng.random((2, 3000))
        u = np.exp(-0.3 * t) * np.sin(3 * x) + 0.02 * rng.standard_normal(3000)
        return mf.Observations(values={"u": u}, points={"x": x, "t": t}, noise={"u": 0.02})
    x, t = np.linspace(0, 1, 60), np.linspace(0, 1, 50)
    u = np.exp(-0.3 * t) * np.sin(3 * x[:, None]) + 0.02 * rng.standard_normal((60, 50))
    return mf.Observations.from_dataset(xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}))


def started(scattered: bool, kind: str = "mlp", **tuning: int) -> GaussNewton:
    problem = mf.InverseProblem("u_t = D*u_xx", observations(scattered), {"D": mf.ScalarUnknown()})
    network = {"width": 6, "depth": 2} if kind == "mlp" else {"kind": kind, "width": 20}
    small = {"network": network, "collocation": {"nodes": {"x": 25, "t": 25}}}
    torch.manual_seed(0)
    objective, _ = prepare_networks(problem, validated(NetworkSettings, small), 0)
    calibrate(objective)
    return GaussNewton(objective, 1, 1e-3, NetworkTuning(**tuning))


@pytest.mark.parametrize("scattered", [True, False])
def test_step_of_many_samples_keeps_the_gradient(scattered: bool) -> None:
    """Samples moved to the nearest nodes change the gradient by rounding, the curvature by a few per cent."""
    stage = started(scattered, most_sample_work=0)
    exact, step = stage.normal_equations(weight=stage.weight), stage._system(stage.node_values())
    assert len(next(iter(stage._equations._moved.values()))[1]) == 625
    torch.testing.assert_close(step.gradient, exact[1], rtol=1e-9, atol=1e-9 * float(exact[1].abs().max()))
    change = torch.linalg.matrix_norm(step.hessian - exact[0]) / torch.linalg.matrix_norm(exact[0])
    assert 0 < change < 0.05


@pytest.mark.parametrize("kind", ["mlp", "random-features"])
@pytest.mark.parametrize("scattered", [True, False])
def test_rows_formed_in_blocks_give_the_same_sums(
    scattered: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J'J and J'r do not depend on the size of a block, and J'v of each part adds up to J'r."""
    stage = started(scattered, kind)
    nodes, whole = stage.node_values(), stage.normal_equations()
    parts = [
        stage._equations.pulled(nodes, part, np.stack([part.values, 2 * part.values], axis=1))
        for part in stage.linearisation.residuals(nodes, stage.most, slopes=True)
    ]
    total = torch.stack(parts).sum(0)
    monkeypatch.setattr("mollifier.engines.linalg.memory.BLOCK", 1)
    for one, other in zip(whole, stage.normal_equations(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(one.abs().max()))
    wanted = torch.stack([whole[1], 2 * whole[1]], dim=1)
    torch.testing.assert_close(total, wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))
