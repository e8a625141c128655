"""Random and mutated input, each under watch: no crash, no hang, no memory, nothing executed.

What is refused must be refused by an error of this package that names the place: a caret below the text, a
line and column, a key, a column or a file. Everything else that is raised is a crash.
"""

from __future__ import annotations

import random
import re
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import damage
from benchmarks.table import Follow, Table, checked, environment, number
from mollifier.data.read import read
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.errors import ConfigurationError, MollifierError

CAPTION = (
    "Each input is read in this process under watch. Crash: an error that is none of this "
    "package's. Hang: more "
    "than 1 s of processor time. Memory: more than 500 MB beyond what the process held. Executed: "
    "code run, a "
    "process started, a pickle or a socket opened. Placeless: a refusal that does not name the place."
)
SECONDS, MEBIBYTES = 1.0, 500
_KEPT = 20  # offending inputs that are shown
_PLACE = re.compile(
    r"\^|'[^']+'|line \d+|row \d+|\w+ ?=|\w\[|equation text|problem file|with equation|\n  \S"
)
_EXECUTES = (
    "exec", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen",
    "socket.connect", "pickle.find_class"
)  # fmt: skip
_NAMES = (
    Names(
        ("x", "t"),
        fields={"u": ("x", "t"), "v": ("x", "t")},
        unknowns={"D": (), "r": (), "k": ("x",)},
        known={"s": ("x",)},
        constants={"K": 1.7e-3},
    ),
    Names(
        ("x", "y", "t"),
        fields={"u": ("x", "y", "t"), "v": ("x", "y", "t")},
        unknowns={"D": ("u",), "k": ("x", "y"), "r": ()},
        known={"s": ("x", "y"), "K": ()},
    ),
    Names(("x", "y"), fields={"u": ("x", "y")}, unknowns={"k": ("x", "y"), "lambda": ()}, known={"s": ()}),
)


_OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"coordinates": ["x", "t"]},
    {"variables": "u", "noise": 0.1},
    {"gridded": True},
)


class _Hang(BaseException):
    """Raised by the watchdog wherever the time is being spent."""


@dataclass(frozen=True)
class Row:
    """Inputs of one kind.

    Attributes
    ----------
    kind
        Of `KINDS`.
    inputs, accepted, refused
        How many were given, read, and refused.
    crashes, hangs, memory, executed, placeless
        How many did what none may.
    seconds
        In all, and of the slowest.
    examples
        Offending inputs and what became of them.
    """

    kind: str
    inputs: int
    accepted: int
    refused: int
    crashes: int
    hangs: int
    memory: int
    executed: int
    placeless: int
    seconds: float
    slowest: float
    examples: tuple[str, ...] = field(default=())

    @property
    def faults(self) -> int:
        """Inputs that did what none may."""
        return self.crashes + self.hangs + self.memory + self.executed + self.placeless


COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "kind": lambda r: r.kind,
    **{
        n: lambda r, n=n: f"{getattr(r, n):,}"
        for n in ("inputs", "accepted", "refused", "crashes", "hangs", "memory", "executed", "placeless")
    },
    "seconds": lambda r: number(r.seconds),
    "slowest": lambda r: number(r.slowest),
}


def run(
    count: int = 10_000,
    kinds: Sequence[str] = (),
    *,
    load: Callable[[Path], Any],
    seed: int = 0,
    progress: Follow | None = None,
) -> Table:
    """Read so many inputs; Ctrl-C ends the run and keeps what was counted.

    Parameters
    ----------
    count
        In all: six in ten equations, three problem files, one a table.
    kinds
        Of `KINDS`; all by default.
    load
        Reads a problem file and states its problem.
    seed
        Every input is known by the seed, its kind and its number.
    progress
        Called now and then.

    Raises
    ------
    ConfigurationError
        If a kind is not known.

    Examples
    --------
    >>> table = run(200, ["equation"], load=lambda path: None)
    >>> [(r.kind, r.inputs, r.faults) for r in table.rows]
    [('equation', 200, 0)]
    """
    names = checked("kind", kinds, KINDS)
    whole = sum(_SHARES[n] for n in names)
    rows, stopped = [], False
    with TemporaryDirectory(prefix="mollifier-fuzz-") as folder:
        place = Path(folder)
        for table in ("heat.csv", "grid.csv"):
            (place / table).write_text(damage.TABLE, encoding="utf-8")
        for name in names:
            trial = _Trial(name, place, load)
            trial.warm()
            count_of_kind = round(count * _SHARES[name] / whole)
            try:
                for i in range(count_of_kind):
                    if progress is not None and i % 100 == 0:
                        progress(sum(r.inputs for r in rows) + i, count, name)
                    trial.one(random.Random(f"{seed}/{name}/{i}"), f"{seed}/{name}/{i}")
            except KeyboardInterrupt:
                stopped = True
            rows.append(trial.row())
            if stopped:
                break
    return _table(rows, stopped)


def _table(rows: Sequence[Row], stopped: bool) -> Table:
    inputs, faults = (sum(getattr(r, n) for r in rows) for n in ("inputs", "faults"))
    summary, about = f"{inputs:,} inputs, {faults:,} that did what none may.", environment()
    return Table(
        "fuzz", tuple(rows), COLUMNS, CAPTION, about, summary, stopped, lambda r: "\n".join(r.examples)
    )


def read_equation(draw: random.Random, place: Path, load: Callable[[Path], Any]) -> None:
    """An equation, and all that is asked of one afterwards."""
    text, names = damage.equation(draw), draw.choice(_NAMES)
    system = parse(text, names)
    _ = system.order, system.linear_in, system.unused
    env = dict.fromkeys(system.symbols, np.array([0.5, 2.0]))
    with np.errstate(all="ignore"):
        for e in system.equations:
            e.evaluate(env)
            e.evaluate_terms(env)
            for name in e.symbols:
                e.partial(name)(env)
            e.conservative()


def read_problem(draw: random.Random, place: Path, load: Callable[[Path], Any]) -> None:
    """A problem file and the problem in it."""
    path = place / "problem.yaml"
    path.write_bytes(damage.problem_file(draw))
    load(path)


def read_table(draw: random.Random, place: Path, load: Callable[[Path], Any]) -> None:
    """A table of data."""
    path = place / f"damaged{draw.choice(('.csv', '.tsv', '.txt'))}"
    path.write_bytes(damage.table(draw))
    options: dict[str, Any] = draw.choice(_OPTIONS)
    read(path, **options)


_READERS = {"equation": read_equation, "problem file": read_problem, "table": read_table}
_SHARES = {"equation": 6, "problem file": 3, "table": 1}
KINDS = tuple(_READERS)


class _Trial:
    """Inputs of one kind, and what became of them."""

    def __init__(self, kind: str, place: Path, load: Callable[[Path], Any]) -> None:
        self.kind, self.place, self.load = kind, place, load
        self.counts: Counter[str] = Counter()
        self.seconds = self.slowest = 0.0
        self.examples: list[str] = []

    def row(self) -> Row:
        """What was counted."""
        c = self.counts
        faults = (c["crashes"], c["hangs"], c["memory"], c["executed"], c["placeless"])
        whole = c["accepted"] + c["refused"] + sum(faults[:4])
        return Row(
            self.kind,
            whole,
            c["accepted"],
            c["refused"],
            *faults,
            self.seconds,
            self.slowest,
            tuple(self.examples),
        )

    def warm(self) -> None:
        """Import what is imported at first use, outside the watch."""
        for text in damage.PROBLEMS:
            (self.place / "problem.yaml").write_text(text, encoding="utf-8")
            with suppress(MollifierError):
                self.load(self.place / "problem.yaml")

    def one(self, draw: random.Random, name: str) -> None:
        """One input."""
        begun = time.process_time()
        state = draw.getstate()
        became, why = self._read(draw)
        if became == "hangs":  # a busy machine counts more than there is to do: once more
            draw.setstate(state)
            begun = time.process_time()
            became, why = self._read(draw)
        seconds = time.process_time() - begun
        self.seconds, self.slowest = self.seconds + seconds, max(self.slowest, seconds)
        if _watch.seen and became in ("accepted", "refused"):
            became, why = "executed", ", ".join(_watch.seen)
        reason = why.removeprefix(f"{self.place / 'problem.yaml'}: ")  # precedes every message
        placeless = became == "refused" and not names_a_place(reason)
        self.counts[became] += 1
        self.counts["placeless"] += placeless
        if (placeless or became not in ("accepted", "refused")) and len(self.examples) < _KEPT:
            self.examples.append(
                f"{name}: {'placeless' if placeless else became}: {' / '.join(why.splitlines())}"
            )

    def _read(self, draw: random.Random) -> tuple[str, str]:
        try:
            with _watched():
                _READERS[self.kind](draw, self.place, self.load)
        except MollifierError as error:
            return "refused", str(error)
        except _Hang as error:
            return "hangs", _where(error)
        except MemoryError as error:
            return "memory", _where(error)
        except Exception as error:  # that is what is looked for
            return "crashes", f"{type(error).__name__}: {error} at {_where(error)}"
        return "accepted", ""


def _where(error: BaseException) -> str:
    """The last places of this package that an error went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "mollifier" in f.filename]
    return ", ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[-3:])


class _Watch:
    """What the audit hook, which cannot be taken away again, saw while it was on."""

    def __init__(self) -> None:
        self.on, self.there = False, False
        self.seen: list[str] = []

    def start(self) -> None:
        if not self.there:
            sys.addaudithook(self._hook)
        self.on, self.there, self.seen = True, True, []

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.on and event in _EXECUTES and not _own(args):
            self.seen.append(f"{event} {args!r:.80}")


def _own(args: tuple[Any, ...]) -> bool:
    """Whether what is executed is a module's own code, loaded at its first use."""
    code = args[0] if args else None
    name = getattr(code, "co_filename", "")
    return name.endswith(".py") or name.startswith("<frozen")


_watch = _Watch()


@contextmanager
def _watched() -> Iterator[None]:
    """Within bounds of processor time and of memory, with an eye on what is executed.

    Raises
    ------
    _Hang
        After `SECONDS` of processor time.
    MemoryError
        For more than `MEBIBYTES`.
    """

    def stop(number: int, frame: Any) -> None:
        raise _Hang

    before, limits = signal.signal(signal.SIGPROF, stop), resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEBIBYTES * 2**20, limits[1]))
    _watch.start()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        _watch.on = False
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGPROF, before)


def names_a_place(refusal: str) -> bool:
    """Whether a refusal says where: a caret, a line, a row, a quoted name, an option, or the text itself.

    >>> names_a_place("'data.sample' was given as 1"), names_a_place("invalid input")
    (True, False)
    """
    return bool(_PLACE.search(refusal))


def supported() -> None:
    """Refuse where a process cannot be watched.

    Raises
    ------
    ConfigurationError
        Where there is no /proc (other systems than Linux).
    """
    if not Path("/proc/self/statm").is_file():
        raise ConfigurationError("bench fuzz wants /proc/self/statm, which Linux has, to bound the memory.")
