"""Runs that are killed at random moments and go on: do they end in the numbers of an unbroken run?

Every process is ended by SIGKILL, which it cannot catch, some of them several times over. After each kill all
files it left must be readable; at the end every number must be that of the unbroken run, bit for bit.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import runpy
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.table import Follow, Table, checked, environment, number
from benchmarks.traces import numbers, unreadable
from mollifier.io.files import write_text

CAPTION = (
    "Each process is killed (SIGKILL) at a moment drawn evenly over the length of the unbroken run, and "
    "resumed, up to five times before it may end. Same: runs that ended with the numbers "
    "of the unbroken one, bit for bit. Unreadable: files that could not be read after a kill."
)
MOST_KILLS = 5  # of one run
_PRELOADED = [
    "benchmarks.kill",
    "mollifier.engines.network.engine",
    "mollifier.engines.joint.engine",
    "mollifier.chromatin.study",
]
# Nuclei of the chromatin runs, localisations in each, their radius in nm, and settings for so small ones.
_NUCLEI, _MOLECULES, _RADIUS = 3, 12_000, 600.0
_SMALL = [
    f"nucleus.{choice}"
    for choice in ("pixel=50", "smoothing=50", "threshold=3", "closing=100", "min_area=1e5")
]

_OFTEN = "checkpoint_steps: 1"
_HEAT = 'equation: "u_t = D*u_xx"\nunknowns: {D: {lower: 0}}\n'
_FILES = {
    "network": f"{_HEAT}data: {{file: heat.csv}}\nengine: network\n"
    f"training: {{warmup_steps: 150, steps: 12, {_OFTEN}}}\n"
    "network: {width: 6, depth: 2}\ncollocation: {max_nodes: 150}\n",
    "lbfgs": f"{_HEAT}data: {{file: heat.csv}}\nengine: network\n"
    f"training: {{optimiser: lbfgs, warmup_steps: 100, adam_steps: 100, steps: 40, {_OFTEN}}}\n"
    "network: {width: 6, depth: 2}\ncollocation: {max_nodes: 150}\n",
    "joint": f"{_HEAT}data: {{file: heat.csv}}\nengine: joint\ntraining: {{{_OFTEN}}}\n",
    "finer": 'equation: "u_t + u*u_x = nu*u_xx"\nunknowns: {nu: {lower: 0}}\ndata: {file: front.csv}\n'
    f"engine: joint\ntraining: {{steps: 12, {_OFTEN}}}\ncollocation: {{nodes: {{t: 9}}}}\n"
    "tuning: {nodes_per_step: 12}\n",  # the nodes that the samples' front needs are there from the start
    "each": f"{_HEAT}data: {{file: groups.csv, coordinates: [x, t], values: u}}\nengine: joint\n"
    f"training: {{{_OFTEN}}}\n",
    "compare": f"{_HEAT}data: {{file: grid.csv}}\n"
    f"training: {{warmup_steps: 100, steps: 8, {_OFTEN}}}\n"
    "network: {width: 6, depth: 2}\ncollocation: {max_nodes: 150}\n",
    "bench": "",
    "chromatin": "",
    "pool": "",
}
KINDS = tuple(_FILES)
_STUDIES = ("chromatin", "pool")


@dataclass(frozen=True)
class Row:
    """Runs of one kind.

    Attributes
    ----------
    kind
        Of `KINDS`.
    kills
        Processes that were killed before they had ended.
    runs, same
        Runs that were let end after their kills, and how many ended in the numbers of the unbroken one.
    unreadable
        Files found after a kill that could not be read.
    seconds
        Of the unbroken run.
    messages
        What went wrong, at most five.
    """

    kind: str
    kills: int
    runs: int
    same: int
    unreadable: int
    seconds: float
    messages: tuple[str, ...] = field(default=())


COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "kind": lambda r: r.kind,
    "kills": lambda r: str(r.kills),
    "runs": lambda r: str(r.runs),
    "same": lambda r: str(r.same),
    "unreadable": lambda r: str(r.unreadable),
    "seconds": lambda r: number(r.seconds),
}


def run(
    kinds: Sequence[str] = (),
    kills: int = 200,
    *,
    seed: int = 0,
    figures: bool = False,
    progress: Follow | None = None,
) -> Table:
    """Kill so many processes in all, as many of each kind, and let every run end.

    Parameters
    ----------
    kinds
        Of `KINDS`: "network" and "lbfgs" (the network engine), "joint", "finer" (the joint engine's second
        pass), "each" (one run for every value of a column), "compare", "bench", "chromatin" (one nucleus
        after the other), "pool" (nuclei side by side); all by default.
    kills
        In all.
    seed
        Of the moments.
    figures
        Whether the runs draw theirs.
    progress
        Called before every process.

    Raises
    ------
    ConfigurationError
        If a kind is not known.
    """
    names = checked("kind", kinds, KINDS)
    # No start of the interpreter and no import to wait for.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    draw = random.Random(seed)
    rows, stopped = [], False
    with TemporaryDirectory(prefix="mollifier-kill-") as folder:
        place = Path(folder)
        make_files(place)
        for i, kind in enumerate(names):
            share = kills // len(names) + (i < kills % len(names))
            done = sum(r.kills for r in rows)
            trial = _Trial(kind, place, context, draw, figures, progress, done, kills)
            try:
                trial.run(share)
            except KeyboardInterrupt:
                stopped = True
            rows.append(trial.row())
            if stopped:
                break
    return _table(rows, stopped)


def _table(rows: Sequence[Row], stopped: bool) -> Table:
    kills, same, runs = (sum(getattr(r, n) for r in rows) for n in ("kills", "same", "runs"))
    unreadable = sum(r.unreadable for r in rows)
    summary = f"{kills} kills, {same} of {runs} runs the same bit for bit, {unreadable} files unreadable."
    about = environment()
    return Table(
        "kill", tuple(rows), COLUMNS, CAPTION, about, summary, stopped, lambda r: "\n".join(r.messages)
    )


def make_files(folder: Path) -> None:
    """Data and problem files of all kinds."""
    rng = np.random.default_rng(0)
    x, t = rng.random((2, 150))
    heat = np.exp(-0.9 * t) * np.sin(3 * x) + 0.5 * np.exp(-2.5 * t) * np.cos(5 * x)
    _write(folder / "heat.csv", x=x, t=t, u=heat + 0.01 * rng.standard_normal(150))
    x, t = rng.uniform([[-1.0], [0.0]], [[1.0], [1.0]], (2, 100))
    front = 0.5 - 0.5 * np.tanh((x + 0.4 - 0.5 * t) / 0.02)  # steeper than so few measurements show
    _write(folder / "front.csv", x=x, t=t, u=front + 0.005 * rng.standard_normal(100))
    x, t = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, 25), np.linspace(0, 1, 21), indexing="ij"))
    grid = np.exp(-0.9 * t) * np.sin(3 * x)
    _write(folder / "grid.csv", x=x, t=t, u=grid + 0.005 * rng.standard_normal(x.size))
    x, t = rng.random((2, 240))
    group = np.repeat([1.0, 2.0, 3.0], 80)
    decay = np.exp(-0.9 * group * t) * np.sin(3 * x)
    _write(folder / "groups.csv", x=x, t=t, u=decay + 0.01 * rng.standard_normal(240), group=group)
    groups = ["file,group"]
    for i in range(_NUCLEI):
        x, y = _nucleus(rng, domains=4 + i)
        _write(folder / f"cell_{i}.csv", x=x, y=y)
        groups.append(f"cell_{i}.csv,{'treated' if i else 'control'}")
    write_text(folder / "conditions.csv", "\n".join(groups) + "\n")
    for kind, text in _FILES.items():
        if text:
            write_text(folder / f"{kind}.yaml", text)


def _nucleus(rng: np.random.Generator, domains: int) -> np.ndarray:
    """Localisations of a round nucleus, half of them in a ring of dense domains, shape (2, n)."""
    angle, part = 2 * np.pi * rng.random(_MOLECULES), np.sqrt(rng.random(_MOLECULES))
    place = _RADIUS * part * np.stack([np.cos(angle), np.sin(angle)])
    dense = rng.random(_MOLECULES) < 0.4
    turn = 2 * np.pi * rng.integers(domains, size=_MOLECULES) / domains
    centre = 0.55 * _RADIUS * np.stack([np.cos(turn), np.sin(turn)])
    return np.where(dense, centre + 0.22 * place, place)


def _write(path: Path, **columns: np.ndarray) -> None:
    rows = (",".join(map(repr, map(float, row))) for row in zip(*columns.values(), strict=True))
    write_text(path, "\n".join([",".join(columns), *rows]) + "\n")


def command(kind: str, place: Path, out: Path, resume: bool, figures: bool) -> list[str]:
    """The words of one process.

    >>> command("joint", Path("here"), Path("out"), True, False)
    ['solve', 'here/joint.yaml', '--out', 'out', '--no-figures', '--resume']
    """
    words = {
        "compare": ["compare", str(place / "compare.yaml"), "--engines", "weak,joint,network"],
        "bench": ["bench", "engines", "reaction_rate", "--engines", "joint", "--seeds", "4"],
        "each": ["solve", str(place / "each.yaml"), "--each", "group"],
        "chromatin": _chromatin(place, 1),
        "pool": _chromatin(place, 2),
    }.get(kind, ["solve", str(place / f"{kind}.yaml")])
    drawn = figures or kind in _STUDIES  # their pages are always drawn
    return [*words, "--out", str(out), *([] if drawn else ["--no-figures"]), *(["--resume"] * resume)]


def _chromatin(place: Path, workers: int) -> list[str]:
    """A study of small nuclei, with pages, groups and their comparison."""
    files = [str(place / f"cell_{i}.csv") for i in range(_NUCLEI)]
    unbroken = [word for choice in _SMALL for word in ("--set", choice)]
    groups = ["--groups", str(place / "conditions.csv"), "--levels", "own"]
    options = ["--unit", "nm", "--width", "30", "--quick", "--workers", str(workers)]
    return ["chromatin", *files, *groups, *options, *unbroken]


class _Trial:
    """All runs of one kind, and what came of them."""

    def __init__(
        self,
        kind: str,
        place: Path,
        context: Any,
        draw: random.Random,
        figures: bool,
        progress: Follow | None,
        before: int,
        total: int,
    ) -> None:
        self.kind, self.place, self.context, self.draw = kind, place, context, draw
        self.figures, self.progress, self.before, self.total = figures, progress, before, total
        self.kills = self.runs = self.same = self.unreadable = 0
        # Of the unbroken run, and of the quickest from start to end: other work slows some down.
        self.seconds = self.span = float("nan")
        self.messages: list[str] = []

    def row(self) -> Row:
        """What was counted."""
        counts = (self.kills, self.runs, self.same, self.unreadable)
        return Row(self.kind, *counts, self.seconds, tuple(dict.fromkeys(self.messages))[:5])

    def run(self, kills: int) -> None:
        """The unbroken run, then runs that are killed, until so many were."""
        out = self.place / self.kind / "unbroken"
        begun = time.perf_counter()
        code = self._process(out, False, None)
        self.seconds = self.span = time.perf_counter() - begun
        if code not in (0, 1):  # 1: no answer, or engines that disagree, which is an end too
            self.messages.append(
                f"{self.kind}: the unbroken run ended with exit code {code}: {self._said(out)}"
            )
            return
        unbroken = numbers(out)
        while self.kills < kills:
            self._broken(self.place / self.kind / f"run{self.runs}", unbroken, code, kills)

    def _broken(self, out: Path, unbroken: Mapping[str, Any], end: int, kills: int) -> None:
        """One run, killed once to `MOST_KILLS` times, then let end."""
        for i in range(min(self.draw.randint(1, MOST_KILLS), kills - self.kills)):
            begun = time.perf_counter()
            code = self._process(out, self._begun(out), self.draw.uniform(0.0, self.span))
            if code is not None:  # it had ended before
                self.span = self.span if i else min(self.span, time.perf_counter() - begun)
                break
            self.kills += 1
            for what in unreadable(out):
                self.unreadable += 1
                self.messages.append(f"{self.kind}: {what}")
        code = self._process(out, self._begun(out), None)
        self.runs += 1
        found = numbers(out)
        differing = sorted(n for n in {**unbroken, **found} if unbroken.get(n) != found.get(n))
        if code == end and not differing:
            self.same += 1
            shutil.rmtree(out)
        else:
            reason = (
                f"exit code {code}: {self._said(out)}"
                if code != end
                else f"differs in {', '.join(differing[:4])}"
            )
            self.messages.append(f"{self.kind}: a resumed run ended with {reason}")

    def _begun(self, out: Path) -> bool:
        """Whether there is a run to take up."""
        return self.kind in ("compare", "bench", *_STUDIES) or any(out.rglob("problem.json"))

    def _process(self, out: Path, resume: bool, seconds: float | None) -> int | None:
        """The exit code of a process; None where it was killed after so many seconds."""
        if self.progress is not None:
            self.progress(self.before + self.kills, self.total, f"{self.kind}, run {self.runs}")
        out.mkdir(parents=True, exist_ok=True)
        words = command(self.kind, self.place, out, resume, self.figures)
        process = self.context.Process(target=_enter, args=(words, str(out) + ".log"))
        process.start()
        try:
            process.join(seconds)
            return process.exitcode
        finally:
            process.kill()
            process.join()

    def _said(self, out: Path) -> str:
        """The last lines of a process."""
        log = Path(str(out) + ".log")
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        return " / ".join(text.strip().splitlines()[-3:])


def _enter(words: list[str], log: str) -> None:
    """The command line in its own process, its output in a file."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ["MOLLIFIER_CACHE"] = str(Path(log).parent.parent / "cache")
    module, words = ("benchmarks", words[1:]) if words[0] == "bench" else ("mollifier", words)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def check(table: Table) -> bool:
    """Whether every run that was killed ended in the unbroken run's numbers, and no file was unreadable."""
    return bool(table.rows) and all(
        r.same == r.runs and not r.unreadable and not r.messages for r in table.rows
    )
