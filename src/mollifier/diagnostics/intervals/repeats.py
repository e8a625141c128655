"""The same kind of problem solved many times: here, in several processes or on any executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mollifier.diagnostics.compare.children import FAILED, INTERRUPTED, Outcome, Task, outcome_of, portable
from mollifier.errors import ConfigurationError, MollifierError
from mollifier.io.executors import TURN, run_tasks
from mollifier.io.files import ensure_folder
from mollifier.io.lock import locked
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution

Follow = Callable[[int, int, str], None]
"""Called with how many repeats are done, how many there are, and what they are."""

# Fewest answers that give a standard deviation.
FEWEST = 3


@dataclass(frozen=True)
class Repeats:
    """What is solved, and how."""

    #: "bootstrap" or "ensemble": for people, and the name of the folder in the run's.
    what: str
    #: Number of the repeat -> its problem.
    problem: Callable[[int], InverseProblem]
    #: How many.
    count: int
    #: As for `mollifier.solve`.
    engine: str
    settings: Any
    #: Of the first repeat's solve; each has the next.
    seed: int
    #: Where each repeat keeps its checkpoint and its answer, in a folder named by its number; nowhere by
    #: default.
    folder: Path | str | None = None
    #: Continue from what the folder holds of these very repeats: the numbers are those of an unbroken run.
    resume: bool = False
    #: New processes that solve at the same time; with 1, this process solves.
    processes: int = 1
    #: A `concurrent.futures.Executor`, or one of submitit, that solves in their place. Threads take turns:
    #: give processes.
    executor: Executor | None = None

    def __post_init__(self) -> None:
        for name, least in (("count", FEWEST), ("processes", 1)):
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, int) or given < least:
                raise ConfigurationError(
                    f"{given!r} {'repeats' if name == 'count' else name} were given; a whole number of "
                    f"{least} or more was expected."
                )
        if self.executor is not None and not callable(getattr(self.executor, "submit", None)):
            raise ConfigurationError(
                f"executor={self.executor!r} was given; a concurrent.futures.Executor was expected."
            )
        if self.executor is not None and self.processes > 1:
            raise ConfigurationError(
                f"processes={self.processes} was given with an executor, which has its own workers; give one "
                "of the two."
            )
        if self.resume and self.folder is None:
            raise ConfigurationError(
                "resume=True was given without a folder; give the folder of the repeats."
            )

    def run(self, progress: Follow | None = None) -> list[Solution]:
        """Solve all; the solutions that are answers, in order.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C; finished repeats are kept where there is a folder.
        MollifierError
            If too few are answers.
        """
        with nullcontext() if self.folder is None else locked(ensure_folder(self.folder)):
            found = self._outcomes(progress)
        answers = [o.solution for o in found if o.solution and o.solution.status.has_answer]
        if len(answers) < FEWEST:
            statuses = [o.message or str(o.solution.status if o.solution else o.status) for o in found]
            raise MollifierError(
                f"{len(answers)} of {self.count} repeats of the {self.what} gave an answer; {FEWEST} at "
                f"least were expected. The first: {statuses[0]}"
            )
        return answers

    def label(self, answers: Sequence[Solution]) -> str:
        """Their kind and number, for people."""
        some = f"{len(answers)} of " if len(answers) < self.count else ""
        return f"{self.what}, {some}{self.count} repeats"

    def _outcomes(self, progress: Follow | None) -> list[Outcome]:
        """What came of each repeat, in order."""
        first = portable(self.problem(0)) is not None
        workers = self.processes if first else 1
        executor = None if isinstance(self.executor, ProcessPoolExecutor) and not first else self.executor
        threads = torch.get_num_threads()
        threads = max(threads // workers, 1) if executor is None else threads
        tasks = ((self.problem(i), self._task(i, threads)) for i in range(self.count))
        options: dict[str, Any] = {
            "workers": workers,
            "threads": threads,
            "interruptible": True,
            "lost": _lost,
        }
        found: dict[int, Outcome] = {}
        self._report(progress, 0)
        for number, outcome in run_tasks(_solve, tasks, executor, **options):
            if outcome.solution is not None and outcome.solution.status.name == INTERRUPTED:
                raise KeyboardInterrupt
            found[number] = outcome
            self._report(progress, len(found))
        return [found[i] for i in range(self.count)]

    def _task(self, number: int, threads: int) -> Task:
        place = None if self.folder is None else Path(self.folder) / f"{number:03d}"
        return Task(self.engine, self.seed + number, self.settings, threads, place, self.resume)

    def _report(self, progress: Follow | None, done: int) -> None:
        if progress is not None and done < self.count:
            progress(done, self.count, f"{self.what}, engine '{self.engine}'")


def _solve(given: tuple[InverseProblem, Task]) -> Outcome:
    problem, task = given
    with TURN:
        return outcome_of(problem, None, task, None)


def _lost(given: tuple[InverseProblem, Task]) -> Outcome:
    return Outcome(None, FAILED, "its process was ended by the system; there may be too little memory")
