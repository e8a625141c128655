"""Running stages to their end: history, progress, time limit, interruption, checkpoints."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mollifier.engines.base import Request
from mollifier.engines.collocated.checkpoint import load_checkpoint, save_checkpoint
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.readout import read_unknown_fields
from mollifier.engines.collocated.stages import NonFiniteLossError, Stage
from mollifier.engines.progress import Progress
from mollifier.errors import CheckpointError
from mollifier.io.signals import StoppedInStep, stop_requested
from mollifier.problem.status import Status


@dataclass
class Run:
    """Stages run one after another on an objective."""

    engine: str
    request: Request
    objective: Objective
    stages: Sequence[Stage]
    fingerprint: dict[str, Any]  #: What a resumed run must have in common with the interrupted one.
    notes: dict[str, Any]  #: Entries of the provenance, which a resumed run takes over.
    #: Columns: stage, seconds, loss, data, residual, prior, and each scalar unknown; NaN in the warm-up.
    history: dict[str, list[Any]] = field(default_factory=dict)
    stage: int = 0
    step: int = 0
    seconds: float = 0.0

    def resume(self) -> None:
        """Restore the checkpoint in the folder.

        Raises `CheckpointError` if there is none, it cannot be read, or it does not fit this run.
        """
        folder = self.request.folder
        assert folder is not None
        state = load_checkpoint(folder, self.fingerprint)
        try:
            self.objective.load_state_dict(state["objective"])
            self.stage, self.step, self.seconds = state["stage"], state["step"], state["seconds"]
            for stage, (reason, outcome) in zip(self.stages, state["finished"], strict=True):
                stage.finished, stage.outcome = reason, outcome
            self._present.load_state_dict(state["optimiser"])
            self.history, self.notes = state["history"], state["notes"]
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise CheckpointError(
                f"The checkpoint in {folder} does not fit this run ({type(error).__name__}): its "
                "content is damaged or of another version. Delete it and run again without resume."
            ) from error

    def run(self) -> Status:
        """Run to the end, the time limit, an interruption or a loss that is not finite."""
        begun = time.monotonic() - self.seconds
        with stop_requested() as stop:
            while self.stage < len(self.stages):
                ended = self._run_stage(self.stages[self.stage], begun, stop)
                if ended is not None:
                    return ended
                self.stages[self.stage].close()
                self.stage, self.step = self.stage + 1, 0
                self._save()
        last = self.stages[-1]
        if last.finished:
            return Status(last.outcome, last.finished)
        return Status(
            "step limit", "all steps were taken while the loss still fell; raise training.steps for more"
        )

    def _run_stage(self, stage: Stage, begun: float, stop: Callable[[], bool]) -> Status | None:
        """Steps of one stage; a status where the run ends within it."""
        entered, first, saved = time.monotonic(), self.step, time.monotonic()
        training = self.request.settings.training
        good = copy.deepcopy(self.objective.state_dict())
        while self.step < stage.steps and not stage.finished:
            try:
                losses = stage.step()
            except NonFiniteLossError as error:
                self.objective.load_state_dict(good)
                return Status("non-finite loss", _not_finite(self.step + 1, stage.name, error))
            except StoppedInStep:
                self.objective.load_state_dict(good)
                return Status(
                    "interrupted",
                    f"stopped by a signal within step {self.step + 1} of {stage.name}; --resume continues "
                    "from the last checkpoint",
                )
            self.step += 1
            self.seconds = time.monotonic() - begun
            self._record(stage, losses, (time.monotonic() - entered) / (self.step - first))
            if self.step % self.objective.tuning.copy_steps == 0:
                good = copy.deepcopy(self.objective.state_dict())
            where = f"at step {self.step} of {stage.name}"
            if stop():
                self._save()
                return Status("interrupted", f"stopped by a signal {where}; --resume continues from there")
            if training.time_limit is not None and self.seconds > training.time_limit:
                self._save()
                return Status("time limit", f"{training.time_limit:g} s had passed {where}")
            counted = training.checkpoint_steps is not None and self.step % training.checkpoint_steps == 0
            if counted or time.monotonic() - saved > training.checkpoint_every:
                self._save()
                saved = time.monotonic()
        return None

    def _record(self, stage: Stage, losses: Mapping[str, float], pace: float) -> None:
        values = self.objective.model.values()
        if not stage.estimates:
            values = dict.fromkeys(values, float("nan"))
        row = {"stage": stage.name, "seconds": self.seconds, **losses, **values}
        for name, value in row.items():
            self.history.setdefault(name, []).append(value)
        if self.request.progress is not None:
            left = pace * (stage.steps - self.step)
            shown = values if stage.estimates else {}
            fields = partial(read_unknown_fields, self.objective)
            state = (self.engine, stage.name, self.step, stage.steps, self.seconds, left, losses, shown)
            self.request.progress(Progress(*state, fields))

    @property
    def _present(self) -> Stage:
        """The stage that runs; the last one when all have run."""
        return self.stages[min(self.stage, len(self.stages) - 1)]

    def _save(self) -> None:
        if self.request.folder is None:
            return
        save_checkpoint(
            self.request.folder,
            {
                "fingerprint": self.fingerprint,
                "objective": self.objective.state_dict(),
                "stage": self.stage,
                "step": self.step,
                "seconds": self.seconds,
                "finished": [(s.finished, s.outcome) for s in self.stages],
                "optimiser": self._present.state_dict(),
                "history": self.history,
                "notes": self.notes,
            },
        )


def _not_finite(step: int, stage: str, error: NonFiniteLossError) -> str:
    return (
        f"at step {step} of {stage}, {error} is not a finite number; the last good values are kept. Bounds "
        "or initial values for the unknowns, or a lower training.learning_rate, usually help"
    )
