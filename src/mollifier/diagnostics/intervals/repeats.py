"""The same kind of problem solved many times, here or in processes, and the spread of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from mollifier.diagnostics.compare.children import FAILED, INTERRUPTED, Outcome, Task, outcome_of, portable
from mollifier.engines.start import sampled
from mollifier.errors import ConfigurationError, MollifierError
from mollifier.io.executors import LOST, TURN, run_tasks
from mollifier.io.lock import locked
from mollifier.mollify.arrays import Array
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution

#: Called with how many repeats are done, how many there are, and what they are.
Follow = Callable[[int, int, str], None]

FEWEST = 3  # Fewest answers that give a standard deviation.


@dataclass(frozen=True)
class Repeats:
    """What is solved, and how."""

    what: str  #: "bootstrap" or "ensemble": for people, and the name of the folder in the run's.
    problem: Callable[[int], InverseProblem]  #: Number of the repeat -> its problem.
    count: int  #: How many.
    #: As for `mollifier.solve`.
    engine: str
    settings: Any
    seed: int  #: Of the first repeat's solve; each has the next.
    #: Where each repeat keeps its checkpoint and its answer, in a folder named by its number; nowhere by
    #: default.
    folder: Path | str | None = None
    #: Continue from what the folder holds of these very repeats: the numbers are those of an unbroken run.
    resume: bool = False
    processes: int = 1  #: New processes that solve at the same time; with 1, this process solves.
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

        Raises `KeyboardInterrupt` on Ctrl-C, where finished repeats are kept if there is a folder, and
        `MollifierError` if too few are answers.
        """
        with nullcontext() if self.folder is None else locked(self.folder):
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
    return Outcome(None, FAILED, LOST)


def gathered(solution: Solution, answers: Sequence[Solution], suffix: str = "") -> dict[str, Array]:
    """Unknown -> its value in every answer, shape (answers, ...): fields on the solution's own grid.

    The suffix "_sd" takes the standard errors in place of the values, NaN where there are none.
    """
    numbers = {}
    for n in solution.estimates:
        found = [a.estimates[n].sd if suffix else a.estimates[n].value for a in answers]
        numbers[n] = np.array(found, dtype=float)  # None is NaN
    return numbers | {
        n: np.stack([on_grid_of(solution.dataset[n], a.dataset, f"{n}{suffix}") for a in answers])
        for n in solution.unknown_fields
    }


def on_grid_of(field: xr.DataArray, dataset: xr.Dataset, name: str) -> Array:
    """A field of another dataset at the nodes of a field, in its shape; NaN where there is none.

    >>> field = xr.DataArray([0.0, 0.0, 0.0], {"x": [0.0, 0.5, 1.0]}, ("x",))
    >>> on_grid_of(field, xr.Dataset({"k": ("x", [1.0, 3.0])}, {"x": [0.0, 1.0]}), "k").tolist()
    [1.0, 2.0, 3.0]
    """
    if name not in dataset:
        return np.full(field.shape, np.nan)
    other = dataset[name].transpose(*field.dims)
    if all(np.array_equal(field[d].values, other[d].values) for d in field.dims):
        return np.asarray(other.values, dtype=float)
    mesh = np.meshgrid(*(field[d].values for d in field.dims), indexing="ij")
    points = {str(d): m.ravel() for d, m in zip(field.dims, mesh, strict=True)}
    periods = {str(d): float(field[d].attrs["periodic"]) for d in field.dims if "periodic" in field[d].attrs}
    return sampled(other, points, periods).reshape(field.shape)


def at_places(points: Array, known: Array, values: Array) -> Array:
    """The mean of the values known at exactly the places of each point, shape (n,); NaN where there is none.

    >>> known = np.array([[2.0], [1.0], [2.0]])
    >>> at_places(np.array([[0.5], [2.0]]), known, np.array([3.0, 5.0, 4.0])).tolist()
    [nan, 3.5]
    """
    # A coordinate that a variable does not depend on is NaN, which would equal nothing.
    every = np.nan_to_num(np.concatenate([known, points]), nan=np.inf)
    _, which = np.unique(every, axis=0, return_inverse=True)
    which = which.ravel()
    sums, counts = (np.bincount(which[: len(known)], w, len(which)) for w in (values, None))
    with np.errstate(invalid="ignore"):
        return (sums / counts)[which[len(known) :]]


def with_spread(
    solution: Solution, spread: Mapping[str, Array], label: str, notes: Mapping[str, Any]
) -> Solution:
    """A solution with other standard errors: unknown -> shape () or that of the field, NaN for none.

    The label says where they come from; it and the notes go into the provenance, under "intervals".
    """
    found = {n: None if np.isnan(v) else float(v) for n, v in spread.items() if n in solution.estimates}
    estimates = {n: replace(e, sd=found.get(n, e.sd)) for n, e in solution.estimates.items()}
    dataset = solution.dataset
    for name in solution.unknown_fields:
        field = dataset[name]
        attrs = {k: v for k, v in field.attrs.items() if k == "units"}
        attrs["long_name"] = f"standard error of {name} ({label})"
        dataset = dataset.assign({f"{name}_sd": (field.dims, spread[name], attrs)})
    provenance = {**solution.provenance, "intervals": {"label": label, **notes}}
    return replace(solution, estimates=estimates, dataset=dataset, provenance=provenance)
