"""One verb, compare, and the noun it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mollifier.data.observations import Observations
from mollifier.diagnostics.compare import children, verdict
from mollifier.diagnostics.compare.children import INTERRUPTED, Follow, Outcome, Task
from mollifier.diagnostics.compare.rows import Row, row_of, was_split
from mollifier.diagnostics.compare.verdict import Pair
from mollifier.engines.base import Engine
from mollifier.engines.registry import variants
from mollifier.engines.settings import Given, check_settings, settings_for, used_by
from mollifier.errors import ConfigurationError, check_known
from mollifier.io.arguments import typed
from mollifier.io.draws import Rng, seed_of
from mollifier.io.files import jsonable
from mollifier.problem.collocation import check_coordinates
from mollifier.problem.inverse_problem import InverseProblem, require_problem
from mollifier.problem.solution import Solution


@dataclass(frozen=True, eq=False)
class Comparison:
    """What several engines made of one problem."""

    solutions: Mapping[str, Solution]  #: Engine -> `Solution`, of those that gave one.
    rows: tuple[Row, ...]  #: A `Row` for every engine, in the order given.
    #: Equation, samples fitted and held out, seed, threads, and whether each engine ran in a process of its
    #: own.
    about: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Every two engines on every unknown; solutions that are no answer are left out."""
        return verdict.pairs(self.solutions)

    @property
    def agree(self) -> bool | None:
        """False where two engines disagree on an unknown; None where nothing could be judged."""
        judged = [p.agrees for p in self.pairs if p.agrees is not None]
        return all(judged) if judged else None

    @cached_property
    def verdict(self) -> str:
        """Agreement or disagreement, in a few lines, the first of which says it all."""
        answers = [r for r in self.rows if r.engine in self.answers]
        return verdict.state(self.solutions, self.pairs, {r.engine: r.misfit for r in answers})

    @property
    def answers(self) -> tuple[str, ...]:
        """Engines whose solution is an answer: neither undetermined, nor not finite, nor interrupted."""
        return tuple(n for n, s in self.solutions.items() if s.status.has_answer)

    def columns(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows of cells of a table for reading."""
        scalars = _named(self.rows, lambda r: r.estimates)
        fields = _named(self.rows, lambda r: r.fields)
        misfits = _named(self.rows, lambda r: r.misfit)
        heads = ["engine", *scalars, *fields, *(f"misfit {m}" for m in misfits), "seconds", "peak MiB"]
        cells = []
        for r in self.rows:
            known = {n: e.amount for n, e in r.estimates.items()}
            line = [r.engine, *(known.get(n, "-") for n in scalars)]
            line += [_range(r.fields.get(n)) for n in fields]
            line += [_number(r.misfit.get(n)) for n in misfits]
            cells.append([*line, _number(r.seconds), _number(r.memory, ".0f"), r.status])
        return [*heads, "status"], cells

    def to_dict(self) -> dict[str, Any]:
        """Everything but the solutions, in types that JSON knows."""
        rows = []
        for r in self.rows:
            estimates = {n: {"value": e.value, "sd": e.sd, "unit": e.unit} for n, e in r.estimates.items()}
            rows.append({**vars(r), "estimates": estimates})
        pairs = [p.to_dict() for p in self.pairs]
        found = {"about": self.about, "rows": rows, "pairs": pairs, "agree": self.agree}
        return jsonable(found | {"verdict": self.verdict.splitlines()})

    def to_markdown(self) -> str:
        """The table, the reasons of those without an answer, and the verdict."""
        heads, cells = self.columns()
        table = [heads, ["---"] * len(heads), *([c.replace("|", "\\|") for c in line] for line in cells)]
        lines = [f"| {' | '.join(line)} |" for line in table]
        notes = [f"- {r.engine}, {r.status}: {r.message}" for r in self.rows if r.message]
        verdict_lines = [f"- {line}" for line in self.verdict.splitlines()]
        parts = [_heading(self.about), *lines, "", *notes, *([""] if notes else []), *verdict_lines]
        return "\n".join(parts).strip() + "\n"

    __str__ = _repr_markdown_ = to_markdown  # a table in a notebook


@typed("problem", "rng", "settings")
def compare(
    problem: InverseProblem,
    engines: Sequence[str] | None = None,
    *,
    rng: Rng = 0,
    settings: Given = None,
    hold_out: float = 0.1,
    progress: Follow | None = None,
    folder: Path | str | None = None,
    resume: bool = False,
) -> Comparison:
    """Solve one problem with several engines, one after another, each in a freshly spawned process.

    The data are split once; every engine is given the same part, and its prediction is judged on the rest.
    An engine that cannot serve the problem has a row that says why, and stops no other. Ctrl-C ends the
    engine that runs and keeps what was finished.

    A script must put the call under ``if __name__ == "__main__":``. A problem whose equation is a callable
    cannot be sent to another process: it is solved in this one, and no memory is given.

    Parameters
    ----------
    problem
        The question.
    engines
        Names of `mollifier.engines.registry.variants`: every engine, and the network engine by autodiff,
        "nested" and "taylor". All by default.
    rng
        Of the split and of every engine, as for `mollifier.solve`.
    settings
        As for `mollifier.engines.solve.solve`; each engine is given the part that it uses.
        ``derivatives`` and ``held_out`` are overruled.
    hold_out
        Share of the samples kept from the engines; 0 keeps none. On a grid they become missing values.
    progress
        Called with each `mollifier.engines.progress.Progress`, at most ten times a second.
    folder
        Where each engine, in a folder of its name, keeps checkpoints and, once it is done, its solution.
    resume
        Continue the comparison that is kept in the folder: what is done is not run again.

    Returns
    -------
    Comparison
        With `Row.seconds`, the wall clock of the solve, and `Row.memory`, the highest resident memory during
        it less that before, after all imports.

    Raises
    ------
    ConfigurationError
        If an engine or a setting is not known, or a process cannot be started.
    DataError
        If holding out leaves either part without samples.

    Examples
    --------
    >>> import numpy as np, mollifier as mf
    >>> x, t = np.random.default_rng(0).random((2, 200))
    >>> u = np.exp(-0.9 * t) * np.sin(3 * x) + 0.01 * np.random.default_rng(1).standard_normal(200)
    >>> obs = mf.Observations({"u": u}, {"x": x, "t": t}, noise=0.02)
    >>> problem = mf.InverseProblem("u_t = D*u_xx", obs, {"D": mf.ScalarUnknown()})
    >>> found = compare(problem, ["joint"])
    >>> [(row.engine, row.status) for row in found.rows]
    [('joint', 'converged')]
    >>> print(found.verdict)
    Only joint gave an answer: there is none to compare it with.
    """
    require_problem(problem, "compare")
    children.check_start()
    names = _checked(engines)
    chosen, seed = _settings(problem, names, settings), seed_of(rng)
    given, held = problem, None
    if hold_out:
        train, held = problem.data.hold_out(hold_out, seed, variables=list(problem.fields))
        given = replace(problem, data=train)
    payload = children.portable(given)
    threads = torch.get_num_threads()
    places = [None if folder is None else Path(folder) / n for n in names]
    tasks = [Task(n, seed, chosen[n], threads, p, resume) for n, p in zip(names, places, strict=True)]
    found = dict(zip(names, _in_turn(given, payload, tasks, progress), strict=True))
    rows = tuple(row_of(n, outcome, given, held) for n, outcome in found.items())
    solutions = {n: o.solution for n, o in found.items() if o.solution is not None}
    return Comparison(solutions, rows, _about(given, held, seed, payload is not None))


def _in_turn(
    problem: InverseProblem, payload: bytes | None, tasks: Sequence[Task], progress: Follow | None
) -> Iterator[Outcome]:
    """What comes of each task; once one is interrupted, no other is begun."""
    stopped = False
    for task in tasks:
        outcome = Outcome(None, INTERRUPTED, "stopped before its turn")
        if not stopped:
            try:
                outcome = children.outcome_of(problem, payload, task, progress)
            except KeyboardInterrupt:
                stopped, outcome = True, Outcome(None, INTERRUPTED, "stopped before it had an answer")
        stopped |= outcome.solution is not None and outcome.solution.status.name == INTERRUPTED
        yield outcome


def _checked(engines: Sequence[str] | None) -> tuple[str, ...]:
    known = variants()
    if engines is None:
        return tuple(known)
    names = (engines,) if isinstance(engines, str) else tuple(dict.fromkeys(engines))
    check_known(names, known, ConfigurationError, "There is no engine '{}' to compare.")
    if not names:
        raise ConfigurationError(f"No engines were given; name some of {', '.join(known)}.")
    return names


def _settings(problem: InverseProblem, names: Sequence[str], settings: Given) -> dict[str, Any]:
    """Each engine's settings; nothing is held out, since `compare` has split the data."""
    known = variants()
    given = check_settings(settings, [known[n][0] for n in names])
    collocation = given.get("collocation", {})
    check_coordinates(problem, collocation.get("nodes"), collocation.get("radius"))

    def own(engine: Engine, changes: Mapping[str, Any]) -> Any:
        return settings_for(engine, used_by({**given, "held_out": 0.0, **changes}, [engine]))

    return {n: own(*known[n]) for n in names}


def _about(problem: InverseProblem, held: Observations | None, seed: int, apart: bool) -> dict[str, Any]:
    fields = [] if held is None else [f for f in problem.fields if was_split(problem, held, f)]
    return {
        "equation": [e.text for e in problem.system.equations],
        "fitted": sum(len(problem.data.samples(f).values) for f in problem.fields),
        "held_out": 0 if held is None else sum(len(held.samples(f).values) for f in fields),
        "seed": seed,
        "threads": torch.get_num_threads(),
        "own_process": apart,
    }


def _heading(about: Mapping[str, Any]) -> str:
    """One line before the table; empty where nothing is known.

    >>> _heading({"equation": ["u_t = D*u_xx"], "fitted": 900, "held_out": 100, "seed": 0, "threads": 1})
    'u_t = D*u_xx: 900 samples fitted, 100 held out, seed 0, 1 thread\\n'
    """
    if not about:
        return ""
    threads = f"{about['threads']} thread{'s' if about['threads'] != 1 else ''}"
    counts = f"{about['fitted']:,} samples fitted, {about['held_out']:,} held out"
    return f"{'; '.join(about['equation'])}: {counts}, seed {about['seed']}, {threads}\n"


# Cells


def _named(rows: Sequence[Row], what: Callable[[Row], Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in what(row)))


def _range(extent: Mapping[str, float | None] | None) -> str:
    """A field in a cell.

    >>> _range({"low": 0.5, "high": 1.25, "sd": 0.031}), _range(None)
    ('0.5 to 1.25 (± 0.031)', '-')
    """
    if extent is None or extent["low"] is None:
        return "-"
    spread = "" if extent["sd"] is None else f" (± {extent['sd']:.2g})"
    return f"{extent['low']:.4g} to {extent['high']:.4g}{spread}"


def _number(value: float | None, form: str = ".3g") -> str:
    return "-" if value is None else format(value, form)
