"""One run for every value of a column or dimension of the data."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mollifier.cli.delivery import chosen_line, exit_code
from mollifier.cli.progress import Steps
from mollifier.cli.run import CHECKPOINT, run
from mollifier.cli.terminal import BAD_INPUT, INTERRUPTED, NO_ANSWER, Terminal, complain, message
from mollifier.errors import ConfigurationError, MollifierError
from mollifier.io.executors import LOST, TURN, executor_at, processors, run_tasks
from mollifier.io.files import ensure_folder, write_rows

if TYPE_CHECKING:
    from mollifier.problem.problem_file import ProblemFile
    from mollifier.problem.solution import Solution

_MOST_VALUES = 1000
_LONGEST = 100  # bytes of a value in the name of a folder


def label(value: Any) -> str:
    """A value as a part of a file name; two values have two names.

    >>> label(12000.0), label(0.5), label("a/b"), label("a b"), label("a_b")
    ('12000', '0.5', 'a%2Fb', 'a%20b', 'a_b')
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return re.sub(r"[^\w.+-]", lambda m: quote(m[0], safe=""), str(value))


def folder_names(values: Sequence[Any]) -> list[str]:
    """A name for each value, different on systems that ignore case or dots at the end too.

    >>> folder_names(["a/b", "a b", "..", 3.0])
    ['a%2Fb', 'a%20b', '..', '3']
    >>> folder_names(["A", "a", 200 * "x"])
    ['A~559aead0', 'a~ca978112', 'xxxxxxxxxxxxxxxxxxxx~aa20c23e']
    """
    names = [label(v) for v in values]
    alike = Counter(n.casefold().rstrip(".") for n in names)
    return [
        n
        if alike[n.casefold().rstrip(".")] == 1 and len(n.encode()) <= _LONGEST
        else f"{n[:20]}~{hashlib.sha256(str(v).encode()).hexdigest()[:8]}"
        for n, v in zip(names, values, strict=True)
    ]


@dataclass(frozen=True)
class _One:
    """The run of one value: its name for people, its problem, its folder, and whether it is resumed."""

    label: str
    file: ProblemFile
    place: Path
    resume: bool
    figures: bool


@dataclass(frozen=True)
class _Ended:
    """What came of it: its row, its exit code, and what is said of it."""

    row: dict[str, Any]
    code: int
    said: str = ""


def sweep(
    terminal: Terminal,
    file: ProblemFile,
    name: str,
    folder: Path,
    resume: bool = False,
    figures: bool = False,
    jobs: int = 1,
    address: str | None = None,
) -> int:
    """Solve for each value, print and save ``estimates.csv``; a value that fails is noted and passed over.

    It solves in ``jobs`` processes of this machine, with 1 in this one, or on the executor of an ``address``
    (`mollifier.io.executors.executor_at`). The exit code is 0 where all have an answer, 1 where
    some have none, 2 where none could be run, and 130 when interrupted.
    """
    kept = file.kept()
    values = kept.values_of(name)
    if not 0 < len(values) <= _MOST_VALUES:
        raise ConfigurationError(
            f"'{name}' takes {len(values):,} values; 1 to {_MOST_VALUES:,} were expected. "
            "List some of them under data.select."
        )
    here = jobs == 1 and address is None
    ones = []
    for value, own in zip(values, folder_names(values), strict=True):
        place = folder / f"{folder_names([name])[0]}={own}"
        resumed = resume and (place / CHECKPOINT).exists()
        # Other processes read the file themselves: it may be large, and they are many.
        given = (kept if here else file).selecting(name, value)
        ones.append(_One(f"{name}={value}", given, ensure_folder(place), resumed, figures))
    ended: dict[int, _Ended] = {}
    show = nullcontext(None) if here else Steps(terminal.err, terminal.silent)
    with executor_at(address, folder / "jobs", terminal.note) as executor, show as follow:
        work = partial(_solved, terminal if here else None)
        options: dict[str, Any] = {"workers": jobs, "threads": max(processors() // jobs, 1)}
        for number, end in run_tasks(work, ones, executor, **options, interruptible=True, lost=_failed):
            ended[number] = end
            if end.said:
                (terminal.say if end.code != BAD_INPUT else partial(complain, terminal))(end.said)
            if end.code == INTERRUPTED:
                break
            if follow is not None and len(ended) < len(ones):
                follow(len(ended), len(ones), name)
    numbers = sorted(ended)
    _deliver_all(terminal, [{name: values[i], **ended[i].row} for i in numbers], name, folder)
    codes = [ended[i].code for i in numbers]
    if INTERRUPTED in codes:
        return INTERRUPTED
    return 0 if not any(codes) else BAD_INPUT if set(codes) == {BAD_INPUT} else NO_ANSWER


def _solved(terminal: Terminal | None, one: _One) -> _Ended:
    """One value solved and saved, with progress where there is a terminal."""
    try:
        with nullcontext() if terminal else TURN:
            solution = run(terminal or Terminal.of(quiet=True), one.file, one.place, one.resume, one.label)
        solution.save(one.place)
        if one.figures:
            from mollifier.reporting.figures import save_figures

            save_figures(solution, one.place)
    except (MollifierError, OSError) as error:
        return _failed(one, message(error))
    chosen = "chosen_because" in solution.provenance
    said = f"{one.label}: {chosen_line(solution).removeprefix('Engine    ')}" if chosen else ""
    return _Ended(_row(solution), exit_code(solution), said)


def _failed(one: _One, text: str = LOST) -> _Ended:
    """The end of a value without a solution, by default since its process died."""
    return _Ended({"status": "failed", "message": text}, BAD_INPUT, f"{one.label}: {text}")


def _row(solution: Solution) -> dict[str, Any]:
    row: dict[str, Any] = {"status": solution.status.name, "message": solution.status.message}
    for n, e in solution.estimates.items():
        row |= {n: e.value, f"{n}_sd": e.sd, f"{n}_unit": e.unit}
    for v, misfit in solution.misfit.items():
        row |= {f"misfit_{v}": misfit["fitted"], f"misfit_{v}_held_out": misfit["held_out"]}
    return row


def _deliver_all(terminal: Terminal, rows: list[dict[str, Any]], name: str, folder: Path) -> None:
    """Print first, then save."""
    columns = list(dict.fromkeys(k for row in rows for k in row))
    names = [c for c in columns if f"{c}_sd" in columns]
    lines = [[str(row[name]), *(_cell(row, n) for n in names), row["status"]] for row in rows]
    terminal.table((name, *names, "status"), lines)
    terminal.give({"each": name, "rows": rows, "folder": folder})
    columns = [name, *(c for c in columns if c not in (name, "status", "message")), "status", "message"]
    path = write_rows(folder / "estimates.csv", rows, columns)
    terminal.say(f"Files     {path}, and one folder for each value")


def _cell(row: dict[str, Any], name: str) -> str:
    from mollifier.problem.estimate import Estimate

    if name not in row:
        return ""
    return Estimate(name, row[name], row[f"{name}_sd"], row[f"{name}_unit"]).amount
