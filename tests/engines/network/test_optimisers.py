"""First-order steps: how often they wait for a device."""

from __future__ import annotations

import sys

import pytest
import torch

from engine_problems import heat, small
from mollifier.engines.collocated.calibrate import calibrate
from mollifier.engines.network.engine import prepare_networks
from mollifier.engines.network.optimisers import Adam
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.problem.settings import validated


def test_adam_step_waits_for_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the reads that would wait for a device, a step has one: the parts of the loss and its gradient."""
    objective, _ = prepare_networks(heat(), validated(NetworkSettings, small()), 0)
    calibrate(objective)
    stage, waits = Adam(objective, 10, 1e-3, NetworkTuning()), []
    for name in ("__float__", "__bool__", "item", "tolist", "cpu", "numpy"):
        read = getattr(torch.Tensor, name)

        def counted(self, *args, read=read, name=name, **options):
            if "mollifier" in sys._getframe(1).f_globals["__name__"]:  # torch reads counters of its own
                waits.append(name)
            return read(self, *args, **options)

        monkeypatch.setattr(torch.Tensor, name, counted)
    losses = stage.step()
    assert set(losses) == {"data", "residual", "prior", "loss"}
    assert waits == ["tolist"]
