"""Nuclei analysed side by side in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

from mollifier.chromatin.result import NucleusResult
from mollifier.chromatin.samples import Sample
from mollifier.io.executors import process_pool

# Nuclei in memory to each process.
_AHEAD = 2


def side_by_side(
    work: Iterable[Sample], analyse: Callable[..., NucleusResult], *given: Any, workers: int
) -> Iterator[NucleusResult]:
    """Results as they come, with no more samples read ahead than processes can take.

    Parameters
    ----------
    work
        The nuclei.
    analyse
        What is done with each, and with what is given beside it: importable, for other processes.
    given
        As well to every call.
    workers
        Processes; 1 for none but this one.
    """
    if workers == 1:
        for sample in work:
            yield analyse(sample, *given)
        return
    source = iter(work)
    processes = process_pool(workers)
    running: dict[Future[NucleusResult], Sample] = {}
    try:
        while True:
            for sample in islice(source, _AHEAD * workers - len(running)):
                running[processes.submit(analyse, sample, *given)] = sample
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            broken = []
            for future in done:
                sample = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    broken.append(sample)
            if broken:
                # One process died (of memory, say) and took the pool along: who it was shows one by one.
                broken += running.values()
                running.clear()
                processes.shutdown(wait=False, cancel_futures=True)
                processes = process_pool(workers)
                yield from (_alone(sample, analyse, *given) for sample in broken)
    finally:
        processes.shutdown(wait=False, cancel_futures=True)


def _alone(sample: Sample, analyse: Callable[..., NucleusResult], *given: Any) -> NucleusResult:
    """One nucleus in a process of its own, whose death is its own."""
    with process_pool(1) as own:
        try:
            return own.submit(analyse, sample, *given).result()
        except BrokenProcessPool:
            said = "Its process was ended by the system; there may be too little memory. Take fewer workers."
            return NucleusResult(sample.field, sample.name, sample.group, error=said)
