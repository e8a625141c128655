"""A run as it goes, on a terminal or as a line now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from mollifier.engines import Progress

_EVERY = 5.0


class Follower:
    """Shows each `mollifier.engines.Progress` it is called with; a context manager.

    Parameters
    ----------
    console
        Where to; a live display on a terminal, otherwise a line every few seconds.
    quiet
        Show nothing.
    label
        What is being solved, where there are several.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from rich.console import Console
    >>> event = SimpleNamespace(engine="network", stage="fit", step=5, steps=10, seconds=2.0, left=2.0,
    ...                         losses={"data": 1.25}, estimates={"D": 0.1})
    >>> with Follower(Console(force_terminal=False, width=100)) as follow:
    ...     follow(event)
    network, fit: 5/10, 2 s left; data 1.25; D = 0.1
    """

    def __init__(self, console: Console, quiet: bool = False, label: str = "") -> None:
        self._console, self._label = console, label
        self._live = (
            Live(console=console, transient=True, refresh_per_second=4) if console.is_terminal else None
        )
        self._quiet = quiet
        self._last = -_EVERY

    def __enter__(self) -> Follower:
        if self._live is not None and not self._quiet:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None and not self._quiet:
            self._live.stop()

    def __call__(self, event: Progress) -> None:
        """Show one event."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(self._panel(event))
        elif time.monotonic() - self._last >= _EVERY:
            self._last = time.monotonic()
            self._console.print(self._line(event), soft_wrap=True, markup=False, highlight=False)

    def _head(self, event: Progress) -> str:
        return f"{self._label + ': ' if self._label else ''}{event.engine}, {event.stage}"

    def _line(self, event: Progress) -> str:
        parts = [f"{self._head(event)}: {event.step}/{event.steps}{_left(event)}"]
        return "; ".join(p for p in (*parts, _numbers(event.losses), _numbers(event.estimates, " = ")) if p)

    def _panel(self, event: Progress) -> Table:
        table = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(event.steps, 1), completed=event.step, width=30)
        table.add_row(Text(self._head(event), "bold"), bar, Text(f"{event.step}/{event.steps}{_left(event)}"))
        table.add_row(Text("losses", "dim"), Text(_numbers(event.losses)))
        table.add_row(Text("estimates", "dim"), Text(_numbers(event.estimates, " = ")))
        return table


def _left(event: Progress) -> str:
    return "" if event.left is None else f", {duration(event.left)} left"


def _numbers(values: Mapping[str, float], between: str = " ") -> str:
    return ", ".join(f"{n}{between}{v:.4g}" for n, v in values.items())


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
