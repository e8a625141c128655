"""Why an engine stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from mollifier.errors import MollifierError, did_you_mean
from mollifier.io.printed import Printed

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

#: What each end means for the reader.
MEANINGS: Mapping[StatusName, str] = {
    "converged": "The run reached its tolerance, and no test contradicts the answer.",
    "undetermined": "The data leave an unknown open, or are too coarse to tell; its value means nothing.",
    "misfit": "The data contradict the equation or the noise; the message names what was seen.",
    "step limit": "The steps ran out while the loss still decreased; no standard errors.",
    "time limit": "The time ran out; no standard errors.",
    "stalled": "No further step lowered the loss, although a decrease was predicted; no standard errors.",
    "interrupted": "A signal ended the run; what was found is saved, and `--resume` continues.",
    "non-finite loss": "The loss became infinite or undefined; there is no answer.",
}

NO_ANSWER: tuple[StatusName, ...] = ("undetermined", "non-finite loss")  #: Ends whose values answer nothing.

#: Ends at a minimum of the loss, where its curvature gives standard errors.
SETTLED: tuple[StatusName, ...] = ("converged", "misfit")


@dataclass(frozen=True)
class Status(Printed):
    """Why the engine stopped, and what that means for the reader.

    Attributes
    ----------
    name
        "converged", "undetermined", "misfit", "step limit", "time limit", "stalled", "interrupted" or
        "non-finite loss"; what each means is in docs/reference/statuses.md.
    message
        What was seen and what usually helps; empty where there is nothing to say.

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

    @property
    def has_answer(self) -> bool:
        """Whether the values answer the question, well or badly: not where a signal ended the run early.

        >>> Status("misfit").has_answer, Status("undetermined").has_answer
        (True, False)
        """
        return self.name not in (*NO_ANSWER, "interrupted")

    def noting(self, note: str) -> Status:
        """The same with a note after its message.

        >>> Status("converged", "steps are small").noting("the grid is coarse").message
        'steps are small; the grid is coarse'
        """
        return replace(self, message="; ".join(filter(None, (self.message, note))))

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name
