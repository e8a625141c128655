"""The start of hidden states: they and the unknowns are found by the equations, from several levels.

Given the states that were measured, the equations are an inverse problem of their own for hidden states and
unknowns. It may have several minima, as a product of a state and an unknown number has one for either sign.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch

from mollifier.engines.collocated.calibrate import calibrate
from mollifier.engines.collocated.objective import Objective, Target
from mollifier.engines.collocated.stages import NonFiniteLossError, Stage
from mollifier.engines.joint.spline import FieldPriors
from mollifier.engines.joint.stages import Joint
from mollifier.engines.joint.tuning import JointTuning
from mollifier.engines.start import level_within
from mollifier.mollify.arrays import Array


@dataclass(frozen=True)
class Trial:
    """Where one start led."""

    state: dict[str, Any]  #: Of the objective.
    data: float  #: Misfit of the data.
    residuals: Array  #: Rms of each equation's residual, in its unit.
    sizes: Array  #: Rms of each equation's terms, in the same unit.
    numbers: Array  #: Of the unknowns, shape (k,).

    def holds(self, most: float) -> bool:
        """Whether no equation leaves more than a share of its terms: else it does not hold at all."""
        return bool(np.all(self.residuals <= most * self.sizes))


class HiddenStart(Stage):
    """Takes some steps of `Joint` from several levels of the hidden states, and keeps the best.

    One step is one trial; the last one is that which leads to the numbers of the best one before it. Trials
    are compared by the data's misfit and the equations' residuals. These are relative to the typical size of
    the equation's terms in all trials: in one, large terms may cancel. Trials in which an equation does not
    hold, as one that its unknowns at zero leave with a single term, come after all others.
    """

    name = "start"

    def __init__(self, linearisation: FieldPriors) -> None:
        self.linearisation, self.tuning = linearisation, linearisation.tuning
        self.objective = objective = linearisation.objective
        self.hidden = objective.states[len(objective.targets) :]
        self.levels = list(_levels(objective, self.hidden, self.tuning))
        self.steps = len(self.levels) if self.hidden else 0
        self.before: dict[str, Any] = {}
        self.trials: list[Trial] = []

    def step(self) -> dict[str, float]:
        """One trial."""
        objective = self.objective
        if not self.trials:
            self.before = _copied(objective)
        objective.load_state_dict(self.before)
        for target, level in zip(self.hidden, self.levels[len(self.trials)], strict=True):
            self._set_level(target, level)
        calibrate(objective)
        stage = Joint(self.linearisation, self.tuning.trial_steps, 0.0)
        nothing = {name: np.inf for name in ("data", "residual", "prior", "loss")}
        losses = nothing
        try:
            for _ in range(self.tuning.trial_steps):
                losses = stage.step()
                if stage.finished or stage.weight >= 1.0:
                    break
        except NonFiniteLossError:
            losses = nothing
        self.linearisation.shifts = None
        with torch.no_grad():
            found = zip(objective.parts, objective.residuals(objective.model()[0]), strict=True)
            residuals = [float(part.within(r).square().mean()) for part, r in found]
        sizes = objective.sizes.numpy().copy()
        objective.measure()
        rms, numbers = np.sqrt(residuals) * sizes, np.array([*objective.model.values().values()])
        found = Trial(_copied(objective), losses["data"], rms, objective.sizes.numpy().copy(), numbers)
        self.trials.append(found)
        first, second = (*self._ranked(), found)[:2]
        near = np.abs(first.numbers - second.numbers) <= self.tuning.trials_agree * np.abs(first.numbers)
        hold = found.holds(self.tuning.trial_holds) and first.holds(self.tuning.trial_holds)
        if second is not first and hold and len(numbers) and near.all():
            self.finished = "two starts lead to the same numbers"
        return losses

    def _ranked(self) -> list[Trial]:
        """The trials, the best one first."""
        typical = np.median([t.sizes for t in self.trials], axis=0)
        share = self.tuning.trial_weight / self.objective.tau**2

        def score(trial: Trial) -> tuple[bool, float]:
            found = trial.data + share * float(np.sum((trial.residuals / typical) ** 2))
            return not trial.holds(self.tuning.trial_holds), found if np.isfinite(found) else np.inf

        return sorted(self.trials, key=score)

    def close(self) -> None:
        """Keep the best trial, and take the hidden states' spread in it for their unit."""
        if not self.trials:
            return
        self.objective.load_state_dict(self._ranked()[0].state)
        for target in self.hidden:
            self._rescale(target)

    def _set_level(self, target: Target, level: float) -> None:
        """Set a hidden state to a constant."""
        block, size = self.objective.model.blocks[target.block], _size(self.objective)
        with torch.no_grad():
            next(block.network.parameters())[:, target.channel] = 0.0
        if block.bijection is not None:
            block.bijection.start_from(level, size)
            return
        block.level[target.channel], block.scale[target.channel] = level, size

    def _rescale(self, target: Target) -> None:
        """Express a hidden state in units of its spread about its mean."""
        block, channel = self.objective.model.blocks[target.block], target.channel
        if block.bijection is not None:
            return
        values = next(block.network.parameters())
        with torch.no_grad():
            mean, spread = float(values[:, channel].mean()), float(values[:, channel].std())
            if spread > 0:
                values[:, channel] = (values[:, channel] - mean) / spread
                block.level[channel] += mean * block.scale[channel]
                block.scale[channel] *= spread

    def state_dict(self) -> dict[str, Any]:
        """Where the trials started and where they led."""
        trials = [(t.state, t.data, *map(torch.from_numpy, _arrays(t))) for t in self.trials]
        return {"before": self.before, "trials": trials}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        self.before = state["before"]
        self.trials = [Trial(s, d, *(a.numpy() for a in arrays)) for s, d, *arrays in state["trials"]]


def _arrays(trial: Trial) -> tuple[Array, ...]:
    return trial.residuals, trial.sizes, trial.numbers


def _levels(objective: Objective, hidden: list[Target], tuning: JointTuning) -> Iterator[tuple[float, ...]]:
    """Levels of all hidden states for each trial: multiples of the measured states' size, of either sign.

    States with an initial level have that one, and those of which only derivatives enter have zero.
    """
    problem, size = objective.model.problem, _size(objective)
    seen = set()
    for factor in tuning.trial_levels:
        signs = product((1.0, -1.0), repeat=len(hidden))
        for signed in signs:
            levels = []
            for target, sign in zip(hidden, signed, strict=True):
                state = problem.states[target.name]
                level = sign * factor * size
                if state.initial is not None:
                    level = state.initial
                elif target.name in objective.model.gauges:
                    level = 0.0
                elif not state.admits(level):
                    level = level_within(state, factor * size)
                levels.append(level)
            if (found := tuple(levels)) not in seen and len(seen) < tuning.most_trials:
                seen.add(found)
                yield found


def _size(objective: Objective) -> float:
    """Geometric mean of the measured states' root mean squares."""
    squares = [float(np.mean(t.samples.values**2)) for t in objective.targets]
    return float(np.exp(np.mean(np.log([s or 1.0 for s in squares])) / 2))


def _copied(objective: Objective) -> dict[str, Any]:
    return {n: v.clone() for n, v in objective.state_dict().items()}
