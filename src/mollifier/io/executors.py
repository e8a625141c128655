"""Tasks on any `concurrent.futures.Executor`; by default on processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from mollifier.errors import ConfigurationError, MollifierError
from mollifier.io.plugins import load_plugins

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 2  # Tasks in memory to each process.
_ASKED = 1.0  # Seconds between questions to a job of submitit.
_ANSWERS = 10  # Seconds in which a scheduler may answer.
# Read by a numerical library as it is loaded.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


#: What is said of a task whose process died, see `run_tasks`.
LOST = "its process was ended by the system; there may be too little memory"

#: Held by a solve that may share its process with others: they share the random numbers that engines take.
TURN = threading.Lock()


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """The linear algebra of NumPy and SciPy on one thread, but as many as an environment variable asks for.

    Its threads and those of PyTorch wait for work by spinning: on the same cores they delay each other, and
    a process beside them delays both. `OMP_NUM_THREADS` and the like, where set, leave all as it is.

    >>> with one_blas_thread():
    ...     pass
    """
    from threadpoolctl import threadpool_limits

    chosen = any(os.environ.get(name) for name in _THREADS)
    with nullcontext() if chosen else threadpool_limits(1, user_api="blas"):
        yield


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    executor: Any = None,
    *,
    workers: int = 1,
    threads: int = 1,
    interruptible: bool = False,
    lost: Callable[[Task], Result],
) -> Iterator[tuple[int, Result]]:
    """Call a function with every task; results as they are finished, each with the number of its task.

    Closing the iterator, as an exception in the loop over it does, cancels the tasks that have not begun.

    The function is importable, and it and its tasks picklable, where they run in other processes: by default
    in ``workers`` new ones, with 1 in this process, in order. ``threads`` and ``interruptible`` are as of
    `process_pool`. Tasks are read no further ahead than the processes need.

    A given executor takes all tasks at once and stays open; one of submitit serves too, whose jobs are asked
    once a second whether they are done. Raises `MollifierError` if it breaks.

    ``lost`` gives the result of a task whose new process died, for want of memory for example. The tasks that
    ran beside it are run again one by one, so that only the one to blame is lost.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as threads:
    ...     sorted(run_tasks(abs, [-3, 4, -5], threads, lost=abs))
    [(0, 3), (1, 4), (2, 5)]
    """
    if executor is not None:
        yield from _on_executor(function, tasks, executor)
    elif workers == 1:
        for number, task in enumerate(tasks):
            yield number, function(task)
    else:
        pool = partial(process_pool, threads=threads, interruptible=interruptible)
        yield from _on_processes(function, tasks, workers, pool, interruptible, lost)


def _on_executor(
    function: Callable[[Task], Result], tasks: Iterable[Task], executor: Any
) -> Iterator[tuple[int, Result]]:
    running: dict[Any, int] = {}
    try:
        for number, task in enumerate(tasks):
            running[executor.submit(function, task)] = number
        while running:
            for future in _done(running):
                number = running.pop(future)
                yield number, future.result()
    except BrokenExecutor as error:
        raise MollifierError(
            f"The executor ended before its tasks did: {error} There may be too little memory; give an "
            "executor with fewer workers."
        ) from error
    finally:
        for future in running:
            future.cancel()


def _done(running: Collection[Any]) -> Collection[Any]:
    """Those that are done, when some are."""
    if all(isinstance(f, Future) for f in running):
        return wait(running, return_when=FIRST_COMPLETED).done
    while not (done := [f for f in running if f.done()]):
        time.sleep(_ASKED)
    return done


def _on_processes(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    new_pool: Callable[[int], ProcessPoolExecutor],
    interruptible: bool,
    lost: Callable[[Task], Result],
) -> Iterator[tuple[int, Result]]:
    source = enumerate(tasks)
    pool = new_pool(workers)
    running: dict[Future[Result], tuple[int, Task]] = {}
    try:
        while True:
            for number, task in islice(source, _AHEAD * workers - len(running)):
                running[pool.submit(function, task)] = (number, task)
            if not running:
                return
            broken = []
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number, task = running.pop(future)
                try:
                    yield number, future.result()
                except BrokenExecutor:
                    broken.append((number, task))
            if broken:
                # One process died and took the pool along: which task is to blame shows one by one.
                broken += running.values()
                running.clear()
                pool.shutdown(wait=False, cancel_futures=True)
                pool = new_pool(workers)
                for number, task in broken:
                    with new_pool(1) as single:
                        try:
                            result = single.submit(function, task).result()
                        except BrokenExecutor:
                            result = lost(task)
                    yield number, result
    finally:
        # Interrupted tasks end soon, and may write to their folder until then.
        pool.shutdown(wait=interruptible, cancel_futures=True)


@contextmanager
def executor_at(
    address: str | None, folder: Path, say: Callable[[str], object] = lambda _: None
) -> Iterator[Any]:
    """The executor that an address names, closed at the end; None without one.

    The address is ``dask://HOST:PORT`` of a dask scheduler, or ``slurm:`` with parameters of submitit, as
    ``slurm:slurm_partition=short,timeout_min=60``. Submitit keeps its jobs in the folder, which the nodes
    must see. ``say`` is called with a line on what is waited for.

    Raises `ConfigurationError` if the address is neither, its package is absent, or no scheduler answers
    there.
    """
    if address is None:
        yield None
        return
    kind, _, rest = address.partition(":")
    try:
        if kind == "dask" and re.fullmatch(r"//.+:\d+", rest):
            import distributed

            say(f"Connecting to {address}, for up to {_ANSWERS} s")
            try:
                client = distributed.Client(f"tcp:{rest}", timeout=_ANSWERS)
            except OSError as error:
                raise ConfigurationError(
                    f"No dask scheduler answered at '{address}' within {_ANSWERS} s; start one with "
                    "dask scheduler, or correct the address."
                ) from error
            opened, executor = client, client.get_executor(pure=False)
        elif kind == "slurm":
            import submitit

            opened, executor = nullcontext(), submitit.AutoExecutor(folder=folder)
            given = (pair.partition("=") for pair in rest.split(",") if pair)
            executor.update_parameters(**{n: int(v) if v.isdigit() else v for n, _, v in given})
        else:
            raise ConfigurationError(
                f"The executor was given as '{address}'; dask://HOST:PORT or slurm:KEY=VALUE,... was "
                "expected."
            )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The executor '{address}' needs the package {error.name}: pip install 'mollifier[cluster]'."
        ) from error
    with opened:
        yield executor


def cluster() -> Executor | None:
    """The executor of the dask client that this process opened, if there is one."""
    distributed = sys.modules.get("distributed")
    try:
        return None if distributed is None else distributed.default_client().get_executor(pure=False)
    except ValueError:
        return None


def process_pool(workers: int, threads: int = 1, interruptible: bool = False) -> ProcessPoolExecutor:
    """New processes, freshly spawned, each of which ends with this one, however it ends.

    The numerical libraries may use so many ``threads`` in each. Ctrl-C interrupts the tasks that run if they
    are ``interruptible``; by default these are left to end.
    """
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, spawn, _begin, (threads, interruptible))


def _begin(threads: int, interruptible: bool) -> None:
    """Set up a new process."""
    load_plugins()
    threading.Thread(target=end_with_parent, daemon=True).start()
    if not interruptible:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)  # of what plugins have loaded; the rest reads the environment


def end_with_parent() -> None:
    """Wait for the process that started this one, and end with it: to run in a thread.

    A parent that was killed can end no process.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
