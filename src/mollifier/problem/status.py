"""Why an engine stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mollifier.errors import MollifierError, did_you_mean

StatusName = Literal[
    "converged",
    "undetermined",
    "misfit",
    "step limit",
    "time limit",
    "stalled",
    "interrupted",
    "non-finite loss",
]


@dataclass(frozen=True)
class Status:
    """Why the engine stopped, and what that means for the reader.

    Raises
    ------
    MollifierError
        If the name is none of the known ones.

    Examples
    --------
    >>> Status("converged").ok, str(Status("step limit", "loss still falling by 3 % a step"))
    (True, 'step limit: loss still falling by 3 % a step')
    """

    name: StatusName
    message: str = ""

    def __post_init__(self) -> None:
        names = get_args(StatusName)
        if self.name not in names:
            raise MollifierError(
                f"There is no status '{self.name}'.{did_you_mean(str(self.name), names)} "
                f"Known: {', '.join(names)}."
            )

    @property
    def ok(self) -> bool:
        """Whether the engine reached its own tolerance; any other status asks for a look at the history."""
        return self.name == "converged"

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name
