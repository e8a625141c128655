"""A run that is told to stop hears of it, and nothing after it does."""

import os
import signal
import threading
import time

from mollifier.io import signals


def test_stop_requested_late_interrupt_reaches_nobody_else(monkeypatch):
    """The interrupt of a step that takes too long may be under way when the run ends."""
    interrupt, begun = signals._thread.interrupt_main, threading.Event()

    def slow():
        begun.set()
        time.sleep(0.1)
        interrupt()

    monkeypatch.setattr(signals, "_GRACE", 0.0)
    monkeypatch.setattr(signals._thread, "interrupt_main", slow)
    with signals.stop_requested() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert begun.wait(5)
        assert stop()
    time.sleep(0.2)
