"""Sums over data that are read in blocks: block by block here, or on the workers of a dask cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any

import xarray as xr

from mollifier.engines.progress import Progress
from mollifier.errors import MollifierError
from mollifier.io.executors import cluster, run_tasks

Follow = Callable[[int, int], None]  #: Called with how many blocks are done, and how many there are.


class Pace:
    """Tells a run's progress callback of the weak engine's steps: radii tried, and blocks read."""

    def __init__(self, progress: Callable[[Progress], None]) -> None:
        self._progress, self._begun, self._since = progress, time.monotonic(), time.monotonic()

    def __call__(
        self, stage: str, step: int, steps: int, estimates: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        """One step of so many, with the numbers known by then."""
        now = time.monotonic()
        if step == 1:
            self._since = now
        left = (now - self._since) / (step - 1) * (steps - step) if step > 1 and stage == "blocks" else None
        seconds = now - self._begun
        self._progress(Progress("weak", stage, step, steps, seconds, left, {}, estimates, xr.Dataset))


def total(
    function: Callable[[Any], Any], tasks: Iterable[Any], count: int, follow: Follow | None = None
) -> Any:
    """The sum of a function's results, in the order of the tasks whichever ends first.

    The function is importable, its results are arrays, or tuples of arrays, and there are ``count`` tasks.

    >>> total(abs, [1, -2, 3], 3)
    6
    """
    waiting: dict[int, Any] = {}
    found, done = None, 0
    for number, part in run_tasks(function, tasks, cluster(), lost=_lost):
        waiting[number] = part
        while done in waiting:
            found = waiting.pop(done) if found is None else _added(found, waiting.pop(done))
            done += 1
            if follow is not None:
                follow(done, count)
    return found


def _lost(task: Any) -> Any:
    raise MollifierError("A block of the data was lost with the process that summed it.")


def _added(one: Any, other: Any) -> Any:
    if isinstance(one, tuple):
        return tuple(map(_added, one, other))
    return one + other


def additive(*kinds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Of a function of sums, of a test space and more that adds up over the data: the sum over their blocks.

    What else it takes is given to every block: as it is, or restricted to its nodes where it, or an
    entry of a tuple, has a method ``on`` for that, as a test space does. ``kinds`` are the integrands
    that it sums, by default among what it takes. Integrands without data need no blocks.
    """

    def made(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def summed(sums: Any, space: Any, *given: Any) -> Any:
            named = kinds or tuple(g for g in given if isinstance(g, str))
            if not (sums.data.lazy and sums.read(*named)):
                return method(sums, space, *given)
            blocks = sums.data.blocks
            tasks = ((summed, sums.over(block), _on((space, *given), nodes)) for block, nodes in blocks)
            return total(_part, tasks, len(blocks), sums.data.follow)

        return summed

    return made


def _on(given: Any, nodes: Any) -> Any:
    if isinstance(given, tuple):
        return tuple(_on(one, nodes) for one in given)
    return given.on(nodes) if hasattr(given, "on") else given


def _part(task: tuple[Callable[..., Any], Any, tuple[Any, ...]]) -> Any:
    function, sums, given = task
    return function(sums, *given)
