"""What a stage of a run is: it takes steps on the objective and can be saved between any two of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from mollifier.problem.status import StatusName


class NonFiniteLossError(ArithmeticError):
    """The loss, or its gradient, is not a finite number; the message names the term."""


class Stage(ABC):
    """Steps of one optimiser. By default it is one step, and what that does is all in the model."""

    name: str
    steps: int = 1
    estimates: bool = True  #: Whether the unknowns have values yet.
    finished: str = ""  #: Why the stage ended before its last step; empty otherwise.
    outcome: StatusName = "converged"  #: The status that ``finished`` means.
    kept: tuple[str, ...] = ()  #: Attributes that the next step depends on.

    @abstractmethod
    def step(self) -> dict[str, float]:
        """Take one step; the losses before it."""

    def close(self) -> None:  # noqa: B027 - most do nothing
        """What a stage does once, after its last step; by default nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, without the model: by default the attributes `kept`."""
        return {name: getattr(self, name) for name in self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state that `state_dict` gave; the model has been restored before."""
        for name in self.kept:
            setattr(self, name, state[name])
