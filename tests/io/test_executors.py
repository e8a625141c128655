"""Tasks on executors: order, lost processes, what is cancelled."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mollifier.errors import MollifierError
from mollifier.io.executors import executor_at, one_blas_thread, process_pool, run_tasks


def square(value: int) -> int:
    return value * value


def square_or_die(value: int) -> int:
    if value == 2:
        os._exit(3)
    return value * value


def threads(_: int) -> tuple[int, str]:
    import torch

    return torch.get_num_threads(), os.environ["OPENBLAS_NUM_THREADS"]


def blas_threads() -> set[int]:
    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}


def lost(value: int) -> int:
    return -value


def test_tasks_in_this_process_run_in_order_and_only_as_read():
    results = run_tasks(square, count(), lost=lost)
    assert [next(results) for _ in range(3)] == [(0, 0), (1, 1), (2, 4)]


def test_tasks_on_processes_give_the_same_results():
    assert dict(run_tasks(square, range(6), workers=2, lost=lost)) == {n: n * n for n in range(6)}


def test_processes_have_the_threads_given():
    assert dict(run_tasks(threads, [0], workers=2, threads=2, lost=lambda _: (0, ""))) == {0: (2, "2")}


def test_a_process_that_dies_loses_its_own_task_alone():
    found = dict(run_tasks(square_or_die, range(5), workers=2, lost=lost))
    assert found == {0: 0, 1: 1, 2: -2, 3: 9, 4: 16}


def test_closing_cancels_tasks_that_have_not_begun():
    started, go = [], threading.Event()

    def task(number: int) -> int:
        started.append(number)
        if number:
            go.wait(60)
        return number

    with ThreadPoolExecutor(1) as executor:
        results = run_tasks(task, range(5), executor, lost=lost)
        assert next(results) == (0, 0)
        results.close()
        go.set()
    assert started in ([0], [0, 1])


def test_an_exception_of_a_task_is_raised():
    with ThreadPoolExecutor(1) as executor, pytest.raises(ZeroDivisionError):
        list(run_tasks(lambda n: 1 // n, [0], executor, lost=lost))


def test_a_given_executor_that_breaks_is_reported():
    with process_pool(1) as executor, pytest.raises(MollifierError, match="fewer workers"):
        list(run_tasks(square_or_die, range(5), executor, lost=lost))


def test_blas_has_one_thread_unless_the_environment_says_more(monkeypatch: pytest.MonkeyPatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with threadpool_limits(2, user_api="blas"):
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {2}
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with one_blas_thread():
            assert blas_threads() == {2}


class Job:
    """A job as submitit's: no future, done at the second question."""

    def __init__(self, value: int) -> None:
        self.value, self.asked = value, 0

    def done(self) -> bool:
        self.asked += 1
        return self.asked > 1

    def result(self) -> int:
        return self.value

    def cancel(self) -> None:
        pass


class Queue:
    """An executor that has jobs."""

    def submit(self, function, *arguments) -> Job:
        return Job(function(*arguments))


def test_jobs_that_are_no_futures_are_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mollifier.io.executors._ASKED", 0.01)
    assert dict(run_tasks(square, range(3), Queue(), lost=lost)) == {0: 0, 1: 1, 2: 4}


@pytest.mark.parametrize("address", ["here", "dask://", "dask://host", "dask:host:8786", "dask://host:port"])
def test_an_address_of_no_executor_is_named(address, tmp_path):
    with pytest.raises(MollifierError, match="dask://HOST:PORT or slurm"), executor_at(address, tmp_path):
        pass


def test_a_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")

    def client(*_, **__):
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", client)
    said: list[str] = []
    refused = pytest.raises(MollifierError, match="No dask scheduler answered at")
    with refused, executor_at("dask://127.0.0.1:1", tmp_path, said.append):
        pass
    assert said == ["Connecting to dask://127.0.0.1:1, for up to 10 s"]


def test_executor_at_missing_package_of_the_tasks_is_not_its_own(tmp_path):
    """Only packages that the address needs are named with it."""
    with pytest.raises(ModuleNotFoundError, match="eccodes"), executor_at(None, tmp_path):
        raise ModuleNotFoundError("eccodes")
