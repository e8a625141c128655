"""What a stage of a run is: it takes steps on the objective and can be saved between any two of them."""

from __future__ import annotations

from typing import Any, Protocol

from mollifier.problem.status import StatusName


class NonFiniteLossError(ArithmeticError):
    """The loss, or its gradient, is not a finite number; the message names the term."""


class Stage(Protocol):
    """Steps of one optimiser."""

    name: str
    steps: int
    finished: str
    """Why the stage ended before its last step; empty otherwise."""
    outcome: StatusName
    """The status that ``finished`` means."""
    estimates: bool
    """Whether the unknowns have values yet."""

    def step(self) -> dict[str, float]:
        """Take one step; the losses before it."""
        ...

    def close(self) -> None:
        """Called after the last step."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, without the model."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        ...
