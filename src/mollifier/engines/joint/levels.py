"""Levels of the unknowns to start from, where conditions leave few states that satisfy the equation."""

from __future__ import annotations

import numpy as np
import torch

from mollifier.engines.collocated.calibrate import start_at
from mollifier.engines.collocated.stages import Stage
from mollifier.engines.joint.stages import Joint
from mollifier.engines.start import improve_values


class LevelSearch(Stage):
    """Sets each unknown to the level at which the states fit the data best, all unknown fields constant.

    With conditions at its ends an equation of high order has one solution or few for each level, so that the
    misfit of the data shows the level where derivatives of smoothed data are lost in their noise. Unknowns
    are taken one after another, at multiples of the level that they have. The normal equations of ``joint``,
    the stage that follows, are solved for the states.
    """

    name = "levels"

    def __init__(self, joint: Joint) -> None:
        self.joint, self.objective, self.tuning = joint, joint.objective, joint.tuning

    def step(self) -> dict[str, float]:
        """Find the level of every unknown."""
        joint, problem = self.joint, self.objective.model.problem
        weight, joint.weight = joint.weight, self.tuning.level_weight
        sought = [
            n for n, u in problem.unknowns.items() if u.initial is None and n not in problem.measurements
        ]
        for name, level in self.objective.model.levels().items():
            if name in sought:  # the start of hidden states has moved it from the level of its bijection
                self._set(name, level)
        losses = self._fitted()

        def multiplied(name: str, factor: float) -> bool:
            nonlocal losses
            level, kept = self.objective.model.levels()[name], joint.parameters()
            if not problem.unknowns[name].admits(factor * level):
                return False
            self._set(name, factor * level)
            found = self._fitted()
            if found["loss"] < losses["loss"] - self.tuning.level_gain / self.objective.count:
                losses = found
                return True
            self._set(name, level)
            joint.set_parameters(kept)
            return False

        factors = [(f, 1 / f) for f in self.tuning.level_factors]
        for name in sought:
            improve_values([name], factors, np.inf, multiplied)
        joint.weight = weight
        return losses

    def _set(self, name: str, level: float) -> None:
        """Set an unknown to a level, which its raw parameters at zero stand for."""
        model = self.objective.model
        with torch.no_grad():
            for raw in (model.scalars.get(name) or model.unknown_blocks[name]).parameters():
                raw.zero_()
        start_at(self.objective, name, level, abs(level) or 1.0)
        if name in model.unknown_blocks:
            self.objective.set_field_scale(name, abs(level) or 1.0)
        self.objective.measure()

    def _fitted(self) -> dict[str, float]:
        """The losses after states were fitted to data, equations and conditions at the present levels."""
        fitted = all(self.joint.follow() for _ in range(self.tuning.level_steps))
        return self.joint.losses() if fitted else dict.fromkeys(("data", "residual", "prior", "loss"), np.inf)
