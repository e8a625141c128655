"""Ctrl-C and SIGTERM: a run stops after its step, or within a long one, and keeps what it found."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Whether this process was told to end by SIGTERM while a run could stop in order.
TERMINATED = threading.Event()

_GRACE = 0.7  # Seconds that a step may go on after a signal.


class StoppedInStep(BaseException):
    """A signal came, and the step did not end soon after; its values are half done."""


def end_if_terminated() -> None:
    """End a process that received SIGTERM in an earlier run, as that would have ended it (`SystemExit`)."""
    if TERMINATED.is_set():
        raise SystemExit(128 + signal.SIGTERM)


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Yields whether Ctrl-C or SIGTERM was received; a second one stops at once. Handlers are restored.

    Code within is interrupted by `StoppedInStep` where it has not asked soon after a signal. In other threads
    than the main one no signal is seen.
    """
    asked, late, over = threading.Event(), threading.Event(), threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def overdue() -> None:
        late.set()
        _thread.interrupt_main()

    timer = threading.Timer(_GRACE, overdue)
    timer.daemon = True

    def ask(number: int, frame: Any) -> None:
        if late.is_set():
            late.clear()
            if not over.is_set():
                raise StoppedInStep
            return
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        if number == signal.SIGTERM:
            TERMINATED.set()
        timer.start()

    def seen() -> bool:
        if asked.is_set():
            over.set()
            timer.cancel()
        return asked.is_set()

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        over.set()
        timer.cancel()
        if timer.is_alive():
            timer.join()  # its interrupt, if already under way, comes now and not to what runs next
        for s, handler in before.items():
            # None: a handler that was not set from Python, which cannot be restored.
            signal.signal(s, signal.SIG_DFL if handler is None else handler)
