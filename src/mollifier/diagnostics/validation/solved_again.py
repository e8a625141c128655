"""The same problem solved again: with another radius, or by another engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mollifier.diagnostics.compare.comparison import compare
from mollifier.diagnostics.compare.verdict import Pair, pairs
from mollifier.diagnostics.validation.verdict import Judgement
from mollifier.engines.registry import ENGINES, variants
from mollifier.engines.settings import used_by
from mollifier.engines.solve import solve
from mollifier.errors import MollifierError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import validated
from mollifier.problem.solution import Solution

_SHARES = (0.7, 1.4)  # Radii to solve again with, as shares of the solution's.


def by_engine(solution: Solution, problem: InverseProblem, engines: Sequence[str]) -> list[Judgement]:
    """Whether other engines agree, within the limits of `mollifier.diagnostics.compare`."""
    seed = int(solution.provenance.get("seed") or 0)
    known = variants()
    given = used_by(_chosen(solution), [known[n][0] for n in engines if n in known])
    found = compare(problem, engines, rng=seed, settings=given)
    own = str(solution.provenance.get("engine", "this"))
    others = {n: s for n, s in found.solutions.items() if n != own}
    lacking = [Judgement(f"engine '{r.engine}'") for r in found.rows if r.engine not in found.solutions]
    return [*(_agreement(f"engine '{n}'", solution, s) for n, s in others.items()), *lacking]


def by_radius(solution: Solution, problem: InverseProblem) -> list[Judgement]:
    """Whether solutions with a smaller and a larger radius agree."""
    radii = _radii(solution)
    seed, findings = int(solution.provenance.get("seed") or 0), []
    for share in _SHARES:
        engine, settings = str(solution.provenance["engine"]), _settings(solution)
        radius = {c: r * share for c, r in radii.items() if r > 0}
        collocation = {**settings.get("collocation", {}), "radius": radius, "nodes": None}
        settings = used_by({**settings, "collocation": collocation}, [ENGINES[engine]])
        label = f"radius times {share:g}"
        try:
            other = solve(problem, engine, rng=seed, settings=settings)
        except MollifierError as error:
            first = str(error).splitlines()[0]
            findings.append(Judgement(label, "holds", f"{label}: not solved again ({first})"))
            continue
        findings.append(_agreement(label, solution, other))
    return findings


def _radii(solution: Solution) -> Mapping[str, float]:
    """Coordinate -> radius that the solution was found with."""
    history = solution.history
    found = {str(n).removeprefix("radius_"): n for n in history.data_vars if str(n).startswith("radius_")}
    if found:
        return {c: float(history[n].values[-1]) for c, n in found.items()}
    return dict((solution.provenance.get("collocation") or {}).get("radius") or {})


def _settings(solution: Solution) -> dict[str, Any]:
    return dict(solution.provenance.get("settings") or {})


def _chosen(solution: Solution) -> dict[str, Any]:
    """Settings that are not the defaults of the solution's engine, its numbers of an algorithm left out.

    Other engines have other defaults, and other numbers under the same names.
    """
    given, engine = _settings(solution), ENGINES.get(str(solution.provenance.get("engine")))
    given.pop("tuning", None)
    return given if engine is None else validated(engine.settings, given).model_dump(exclude_defaults=True)


def _agreement(label: str, solution: Solution, other: Solution) -> Judgement:
    """Two answers, by the rules of `mollifier.diagnostics.compare.verdict`."""
    judged: Sequence[Pair] = pairs({"this": solution, label: other})
    apart = [p for p in judged if p.agrees is False]
    if not apart:
        return Judgement(label)
    names = ", ".join(f"'{n}'" for n in dict.fromkeys(p.unknown for p in apart))
    return Judgement(label, "doubtful", f"{label} finds another value of {names}")
