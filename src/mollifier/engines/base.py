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
    """What a solve takes on one free core, to an order of magnitude."""

    seconds: float  #: Wall clock.
    MiB: float  #: Resident memory.
    #: Seconds that a second fit adds where the first shows that an unknown field has edges.
    edges: float = 0.0


@dataclass(frozen=True)
class Request:
    """What is asked of an engine: a problem, its settings, and how the run is followed and kept."""

    problem: InverseProblem  #: The question.
    settings: Any  #: An instance of the engine's settings model.
    seed: int = 0  #: Fixes every random number.
    progress: Callable[[Progress], None] | None = None  #: Called after every step, if the engine has steps.
    folder: Path | None = None  #: Where a checkpoint is kept; nowhere if None.
    #: As for `mollifier.engines.solve.solve`; given only to an engine whose `Engine.takes` lists them.
    resume: bool = False
    network: nn.Module | None = None
    start: Origin | None = None


class Engine(Protocol):
    """A way to solve inverse problems; `mollifier.engines.registry.ENGINES` lists them.

    A class that inherits from it needs ``name``, ``settings`` and ``solve`` only.
    """

    name: ClassVar[str]  #: As users write it.
    #: Pydantic model of the settings that it uses; all others are refused.
    settings: ClassVar[type[BaseModel]]
    #: Which of "resume", "network" and "start" (see `Request`) it uses.
    takes: ClassVar[frozenset[str]] = frozenset()
    #: Whether the states of its solution satisfy the equation, so that another engine may start from them.
    solves_states: ClassVar[bool] = False
    #: Which of `mollifier.engines.choose.QUESTIONS` it takes.
    questions: ClassVar[frozenset[str]] = frozenset()
    #: Name -> changes of the settings, for an engine that is compared in several variants, one of which has
    #: the engine's name.
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
        """Solve a problem; `MollifierError` if the engine cannot."""
        ...
