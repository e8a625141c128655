"""A run as it goes, on a terminal or as a line now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from mollifier.engines.progress import Progress

_EVERY = 5.0


class _Display(ExitStack):
    """A live display on a terminal until it is closed, otherwise a line every few seconds."""

    def __init__(self, console: Console, quiet: bool) -> None:
        super().__init__()
        self._console, self._quiet = console, quiet
        live = console.is_terminal and not quiet
        self._live = Live(console=console, transient=True, refresh_per_second=4) if live else None
        if self._live is not None:
            self.enter_context(self._live)
        self._last = -_EVERY

    def _show(self, panel: Callable[[], Table], line: Callable[[], str]) -> None:
        if self._live is not None:
            self._live.update(panel())
        elif not self._quiet and time.monotonic() - self._last >= _EVERY:
            self._last = time.monotonic()
            self._console.print(line(), soft_wrap=True, markup=False, highlight=False)


class Follower(_Display):
    """Shows each `mollifier.engines.progress.Progress` it is called with; a context manager.

    It shows a live display on a terminal, otherwise a line every few seconds, and nothing if ``quiet``.
    ``label`` is what is being solved, where there are several.

    >>> from types import SimpleNamespace
    >>> from rich.console import Console
    >>> event = SimpleNamespace(engine="network", stage="fit", step=5, steps=10, seconds=2.0, left=2.0,
    ...                         losses={"data": 1.25, "residual": float("nan")}, estimates={"D": 0.1})
    >>> with Follower(Console(force_terminal=False, width=100)) as follow:
    ...     follow(event)
    network, fit: 5/10, 2 s left; data 1.25; D = 0.1
    """

    def __init__(self, console: Console, quiet: bool = False, label: str = "") -> None:
        super().__init__(console, quiet)
        self._label = label

    def __call__(self, event: Progress) -> None:
        """Show one event."""
        self._show(lambda: self._panel(event), lambda: self._line(event))

    def _head(self, event: Progress) -> str:
        return f"{self._label + ': ' if self._label else ''}{event.engine}, {event.stage}"

    def _line(self, event: Progress) -> str:
        parts = [f"{self._head(event)}: {event.step}/{event.steps}{_left(event)}"]
        return "; ".join(p for p in (*parts, _numbers(event.losses), _numbers(event.estimates, " = ")) if p)

    def _panel(self, event: Progress) -> Table:
        table = _bar(self._head(event), event.step, event.steps, f"{event.step}/{event.steps}{_left(event)}")
        table.add_row(Text("losses", "dim"), Text(_numbers(event.losses)))
        table.add_row(Text("estimates", "dim"), Text(_numbers(event.estimates, " = ")))
        return table


class Steps(_Display):
    """Shows how far a run of known length has come, with the time left; parameters as of `Follower`.

    >>> from rich.console import Console
    >>> with Steps(Console(force_terminal=False, width=100)) as follow:
    ...     follow(0, 12, "burgers, weak, seed 0")
    1/12: burgers, weak, seed 0
    """

    def __init__(self, console: Console, quiet: bool = False) -> None:
        super().__init__(console, quiet)
        self._begun = time.monotonic()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Show that ``done`` of ``total`` are behind, and what is next."""
        now = time.monotonic()
        if done == 0:
            self._begun = now
        left = f", {duration((now - self._begun) / done * (total - done))} left" if done else ""
        count = f"{done + 1}/{total}{left}"
        self._show(lambda: _bar(what, done, total, count), lambda: f"{count}: {what}")


def _bar(head: str, done: int, total: int, count: str) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_row(Text(head, "bold"), ProgressBar(total=max(total, 1), completed=done, width=30), Text(count))
    return table


def _left(event: Progress) -> str:
    return "" if event.left is None else f", {duration(event.left)} left"


def _numbers(values: Mapping[str, float], between: str = " ") -> str:
    """Names and values; a stage without a part of the loss gives NaN for it, which is left out."""
    return ", ".join(f"{n}{between}{v:.4g}" for n, v in values.items() if not math.isnan(v))


def duration(seconds: float) -> str:
    """Seconds for a person.

    >>> duration(3.4), duration(75), duration(7500)
    ('3 s', '1 min 15 s', '2 h 5 min')
    """
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
