"""What an engine is: a name, its settings, which problems it does not suit, what it costs, and a solve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel

from mollifier.engines.start import Origin
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution

if TYPE_CHECKING:
    from torch import nn

    from mollifier.engines.progress import Progress

NONE: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True)
class Cost:
    """What a solve takes on one free core, to an order of magnitude.

    Attributes
    ----------
    seconds
        Wall clock.
    MiB
        Resident memory.
    edges
        Seconds that a second fit adds where the first shows that an unknown field has edges.
    """

    seconds: float
    MiB: float
    edges: float = 0.0


@dataclass(frozen=True)
class Request:
    """One solve.

    Attributes
    ----------
    problem
        The question.
    settings
        An instance of the engine's settings model.
    seed
        Fixes every random number.
    progress
        Called after every step, if the engine has steps.
    folder
        Where a checkpoint is kept; nowhere if None.
    resume, network, start
        As for `mollifier.engines.solve.solve`; given only to an engine whose `Engine.takes` lists them.
    """

    problem: InverseProblem
    settings: Any
    seed: int = 0
    progress: Callable[[Progress], None] | None = None
    folder: Path | None = None
    resume: bool = False
    network: nn.Module | None = None
    start: Origin | None = None


class Engine(Protocol):
    """A way to solve inverse problems; `mollifier.engines.registry.ENGINES` lists them.

    A class that inherits from it needs ``name``, ``settings`` and ``solve`` only.

    Attributes
    ----------
    name
        As users write it.
    settings
        Pydantic model of the settings that it uses; all others are refused.
    takes
        Which of "resume", "network" and "start" (see `Request`) it uses.
    solves_states
        Whether the states of its solution satisfy the equation, so that another engine may start from them.
    questions
        Which of `mollifier.engines.choose.QUESTIONS` it takes.
    variants
        Name -> changes of the settings, for an engine that is compared in several variants, one of which has
        the engine's name.
    """

    name: ClassVar[str]
    settings: ClassVar[type[BaseModel]]
    takes: ClassVar[frozenset[str]] = frozenset()
    solves_states: ClassVar[bool] = False
    questions: ClassVar[frozenset[str]] = frozenset()
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = NONE

    def unsuited(self, problem: InverseProblem) -> str | None:
        """Why another engine is the better choice for a problem; None if this one suits it."""
        return None

    def advantage(self, problem: InverseProblem) -> str:
        """Why it is chosen for a problem that it suits, in one line."""
        return f"the {self.name} engine suits the problem"

    def cost(self, problem: InverseProblem, collocation: Collocation) -> Cost | None:
        """What a solve takes; None if it is not known."""
        return None

    def solve(self, request: Request) -> Solution:
        """Solve a problem.

        Raises
        ------
        MollifierError
            If the engine cannot solve it.
        """
        ...
