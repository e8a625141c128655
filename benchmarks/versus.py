"""Our engines beside other programs: the same data, one after another in the same process."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks import accuracy
from benchmarks.accuracy import Trial, check_levels, largest, levels_of, median, noise_of
from benchmarks.cases.base import Case
from benchmarks.cases.registry import CASES, case
from benchmarks.journal import Journal
from benchmarks.peers.base import Row as Found
from benchmarks.peers.registry import PEERS, refusal
from benchmarks.peers.registry import run as run_peer
from benchmarks.table import Follow, Table, checked, environment, number, percent
from mollifier.engines.choose import choose
from mollifier.engines.registry import ENGINES

CAPTION = (
    "Every program is given the same noisy data, which do not say how large the noise is, in turn for every "
    "seed. Error: median over the seeds of the largest relative error of an unknown (relative L2 of a "
    "field), a seed without an answer counting as infinitely wrong. Seconds: median of the whole answer, "
    "searches for settings included, imports left out. Ratios are peer over ours, of the medians: above 1 "
    "ours is better. 'Best tried' is the error of the best setting that the peer tried, chosen by "
    "the truth, which nobody has in practice."
)


@dataclass(frozen=True)
class Row:
    """One peer on one case at one noise, over seeds, beside ours.

    Attributes
    ----------
    case, noise, peer, engine, seeds
        What was run; noise is sigma / rms(u), engine is ours.
    error, own_error
        Median over the seeds of the peer's and of our largest relative error; infinite where there is none.
    error_ratio
        The first over the second.
    seconds, own_seconds, seconds_ratio
        Medians, and the first over the second.
    best_error
        Of the best setting that the peer tried, chosen by the truth.
    note
        Why the peer has no result.
    own_note
        Why ours has none.
    """

    case: str
    noise: float
    peer: str
    engine: str
    seeds: int
    error: float
    own_error: float
    error_ratio: float
    seconds: float
    own_seconds: float
    seconds_ratio: float
    best_error: float
    note: str = ""
    own_note: str = ""


@dataclass
class _Round:
    """What has been run of one case at one noise: one entry a seed."""

    ours: list[Trial] = field(default_factory=list)
    theirs: dict[str, list[Found]] = field(default_factory=dict)


def run(
    cases: Sequence[str] = (),
    noises: Sequence[float] = (),
    engine: str = "auto",
    seeds: Sequence[int] = range(5),
    *,
    settings: Any = None,
    progress: Follow | None = None,
    journal: Journal | None = None,
) -> Table:
    """Ours beside every peer; Ctrl-C ends the run and keeps the seeds that are done.

    Parameters
    ----------
    cases
        By default those on which a peer is run. A peer that is not run on a case, or not installed, has a row
        that says so.
    noises
        sigma / rms(u); by default the levels that each case names, else its standard noise.
    engine
        Ours.
    seeds
        Of the noise.
    settings
        Of our engine.
    progress
        Called before every answer.
    journal
        Where each answer is kept as it comes, and looked up before it is computed.

    Raises
    ------
    ConfigurationError
        If a case or the engine is not known, or a noise or the seeds make no sense.

    Examples
    --------
    >>> table = run(["langevin"], engine="joint", seeds=range(1))
    >>> [(row.peer, row.note.split(" on ")[0], row.own_error < 0.2) for row in table.rows]
    [('pysindy', 'is run', True), ('odil', 'is run', True)]
    """
    served = [n for n in CASES if any(n in p.cases for p in PEERS.values())]
    names = checked("case", cases, CASES) if cases else served
    checked("engine", [engine], ("auto", *ENGINES))
    check_levels(noises, seeds)
    made = [case(n) for n in names]
    plan = [(c, noise) for c in made for noise in levels_of(c, noises)]
    total = len(plan) * len(seeds)
    journal = Journal() if journal is None else journal
    rows, stopped = [], False
    for place, (one, noise) in enumerate(plan):
        ours = choose(one.problem(noise))[0] if engine == "auto" else engine
        done = _Round()
        follow = _follower(progress, place * len(seeds), total, f"{one.name}, noise {_level(one, noise)}")
        try:
            for i, seed in enumerate(seeds):
                _seed(done, journal, one, noise, ours, seed, settings, lambda who, i=i, f=follow: f(i, who))
        except KeyboardInterrupt:
            stopped = True
        rows += [_summed(one, noise, ours, done, peer) for peer in _shown(one, bool(cases), done)]
        if stopped:
            break
    return Table("peers", tuple(rows), COLUMNS, _caption(), environment(), "", stopped, _note)


def _level(one: Case, noise: float | None) -> str:
    return percent(noise_of(one, noise))


def _follower(progress: Follow | None, before: int, total: int, what: str) -> Callable[[int, str], None]:
    def follow(seed: int, who: str) -> None:
        if progress is not None:
            progress(before + seed, total, f"{what}, {who}")

    return follow


def _seed(
    done: _Round,
    journal: Journal,
    one: Case,
    noise: float | None,
    engine: str,
    seed: int,
    settings: Any,
    follow: Callable[[str], None],
) -> None:
    """One seed: ours, then every peer that can be run; entries are made as answers come."""
    follow(engine)
    done.ours.append(accuracy.kept_trial(journal, one, noise, engine, seed, settings))
    for peer in PEERS:
        # Anew for each: what was estimated for one, such as the noise, must not save the next one time.
        data = one.observations(noise, seed)
        if refusal(peer, one, data):
            found = run_peer(peer, one, data)
        else:
            follow(peer)
            known_by = {**accuracy.described_by(one, noise, seed, None), "peer": peer}
            found = journal.once(
                known_by, Found, partial(run_peer, peer, one, data), lambda row: bool(row.errors)
            )
        done.theirs.setdefault(peer, []).append(found)


def _shown(one: Case, named: bool, done: _Round) -> list[str]:
    """Peers with a row: those run on the case, and all on a case that was given by name."""
    return [p for p in PEERS if p in done.theirs and (named or one.name in PEERS[p].cases)]


def _summed(one: Case, noise: float | None, engine: str, done: _Round, peer: str) -> Row:
    found = done.theirs[peer]
    ours = done.ours[: len(found)]
    error, own = median(largest(f.errors) for f in found), median(t.worst for t in ours)
    seconds, own_seconds = median(f.seconds for f in found), median(t.seconds for t in ours)
    return Row(
        one.name,
        noise_of(one, noise),
        peer,
        engine,
        len(found),
        error,
        own,
        _ratio(error, own),
        seconds,
        own_seconds,
        _ratio(seconds, own_seconds),
        median(largest(f.oracle) for f in found),
        next((f.note for f in found if f.note), ""),
        next((t.message for t in ours if t.message), ""),
    )


def _note(row: Row) -> str:
    """The peer's, which is the same for all cases, and ours."""
    theirs = f"{row.peer}: {row.note}" if row.note else ""
    own = f"{row.case}, {row.engine}: {row.own_note}" if row.own_note else ""
    return "\n".join(filter(None, [theirs, own]))


def _ratio(theirs: float, ours: float) -> float:
    """NaN where one of the two has no answer.

    >>> _ratio(0.2, 0.1), _ratio(math.inf, 0.1)
    (2.0, nan)
    """
    return theirs / ours if math.isfinite(theirs) and math.isfinite(ours) and ours > 0 else math.nan


def _caption() -> str:
    return "\n\n".join([CAPTION, *(f"{name}: {peer.tuning}" for name, peer in PEERS.items())])


# Head of a column of the table -> its cell.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "case": lambda r: r.case,
    "noise": lambda r: percent(r.noise),
    "peer": lambda r: r.peer,
    "error": lambda r: number(r.error, ".2g"),
    "best tried": lambda r: number(r.best_error, ".2g"),
    "ours": lambda r: r.engine,
    "our error": lambda r: number(r.own_error, ".2g"),
    "error ratio": lambda r: number(r.error_ratio, ".2g"),
    "seconds": lambda r: number(r.seconds),
    "our seconds": lambda r: number(r.own_seconds),
    "time ratio": lambda r: number(r.seconds_ratio, ".2g"),
    "seeds": lambda r: str(r.seeds),
}
