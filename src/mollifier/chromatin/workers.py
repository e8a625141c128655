"""Nuclei analysed side by side in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

from mollifier.chromatin.result import NucleusResult
from mollifier.chromatin.samples import Sample

# Nuclei in memory to each process.
_AHEAD = 2


def processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin() -> None:
    """In a new process: one thread, as there is one process to each processor; Ctrl-C is for the parent.

    A parent that was killed cannot end it, so it watches for that itself.
    """
    import signal
    import threading

    import torch

    from mollifier.diagnostics.compare.children import end_with_parent

    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def pool(workers: int) -> ProcessPoolExecutor:
    """So many new processes, each of which ends with this one."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin)


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
    processes = pool(workers)
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
                processes = pool(workers)
                yield from (_alone(sample, analyse, *given) for sample in broken)
    finally:
        processes.shutdown(wait=False, cancel_futures=True)


def _alone(sample: Sample, analyse: Callable[..., NucleusResult], *given: Any) -> NucleusResult:
    """One nucleus in a process of its own, whose death is its own."""
    with pool(1) as own:
        try:
            return own.submit(analyse, sample, *given).result()
        except BrokenProcessPool:
            said = "Its process was ended by the system; there may be too little memory. Take fewer workers."
            return NucleusResult(sample.field, sample.name, sample.group, error=said)
