"""The same kind of problem solved many times: here or in several processes, each answer kept as it comes."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from mollifier.diagnostics.compare.children import INTERRUPTED, Outcome, Task, end_with_parent, portable
from mollifier.diagnostics.compare.serialization import outcome_of
from mollifier.errors import ConfigurationError, MollifierError
from mollifier.io.files import ensure_folder
from mollifier.io.lock import locked
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import Settings
from mollifier.problem.solution import Solution

Follow = Callable[[int, int, str], None]
"""Called before every repeat with how many are done, how many there are, and what is next."""

# Solutions that are no answer.
_WITHOUT = ("undetermined", "non-finite loss", INTERRUPTED)
# Fewest answers that a spread is told from.
FEWEST = 3


@dataclass(frozen=True)
class Repeats:
    """What is solved, and how.

    Attributes
    ----------
    what
        "bootstrap" or "ensemble": for people, and the name of the folder in the run's.
    problem
        Number of the repeat -> its problem.
    count
        How many.
    engine, settings
        As for `mollifier.solve`.
    seed
        Of the first repeat's solve; each has the next.
    folder
        Where each answer is kept, in a folder of its own, and its checkpoint before; nowhere by default.
    resume
        Take up what the folder holds of these very repeats: the numbers are those of unbroken ones.
    processes
        That solve at the same time; one is this one.
    """

    what: str
    problem: Callable[[int], InverseProblem]
    count: int
    engine: str
    settings: Settings
    seed: int
    folder: Path | str | None = None
    resume: bool = False
    processes: int = 1

    def __post_init__(self) -> None:
        for name, least in (("count", FEWEST), ("processes", 1)):
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, int) or given < least:
                raise ConfigurationError(
                    f"{given!r} {'repeats' if name == 'count' else name} were given; a whole number of "
                    f"{least} or more was wanted."
                )
        if self.resume and self.folder is None:
            raise ConfigurationError(
                "resume=True was given without a folder; give the folder of the repeats."
            )

    def run(self, progress: Follow | None = None) -> list[Solution]:
        """Solve them all; those that are answers, in order.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C; what is done is kept where there is a folder.
        MollifierError
            If too few are answers.
        """
        found: list[Outcome] = []
        with nullcontext() if self.folder is None else locked(ensure_folder(self.folder)):
            for outcome in self._outcomes(progress):
                if outcome.solution is not None and outcome.solution.status.name == INTERRUPTED:
                    raise KeyboardInterrupt
                found.append(outcome)
        answers = [o.solution for o in found if o.solution and o.solution.status.name not in _WITHOUT]
        if len(answers) < FEWEST:
            statuses = [o.message or str(o.solution.status if o.solution else o.status) for o in found]
            raise MollifierError(
                f"{len(answers)} of {self.count} repeats of the {self.what} gave an answer; {FEWEST} at "
                f"least were wanted. The first said: {statuses[0]}"
            )
        return answers

    def label(self, answers: Sequence[Solution]) -> str:
        """What they are and how many of them count, for people."""
        some = f"{len(answers)} of " if len(answers) < self.count else ""
        return f"{self.what}, {some}{self.count} repeats"

    def _outcomes(self, progress: Follow | None) -> Iterator[Outcome]:
        numbers = range(self.count)
        parallel = self.processes > 1 and portable(self.problem(0)) is not None
        if not parallel:
            for i in numbers:
                self._tell(progress, i)
                yield outcome_of(self.problem(i), None, self._task(i, torch.get_num_threads()), None)
            return
        threads = max(torch.get_num_threads() // self.processes, 1)
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.processes, context, _begin, (threads,))
        try:
            waiting = [pool.submit(_solve, self.problem(i), self._task(i, threads)) for i in numbers]
            for i, future in enumerate(waiting):
                self._tell(progress, i)
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _task(self, number: int, threads: int) -> Task:
        engine = self.settings.derivatives if self.engine == "network" else self.engine
        name = "network" if engine == "mollifier" else engine
        place = None if self.folder is None else Path(self.folder) / f"{number:03d}"
        return Task(name, self.seed + number, self.settings, threads, False, place, self.resume)

    def _tell(self, progress: Follow | None, number: int) -> None:
        if progress is not None:
            progress(number, self.count, f"{self.what}, engine '{self.engine}'")


def _begin(threads: int) -> None:
    """In a new process: end with the one that started it, and leave the others their share of the cores."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)


def _solve(problem: InverseProblem, task: Task) -> Outcome:
    return outcome_of(problem, None, task, None)
