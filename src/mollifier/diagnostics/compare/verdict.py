"""Whether engines agree on the unknowns, pair by pair, within the standard errors they give."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from mollifier.engines.identifiability.undetermined import listed
from mollifier.mollify.arrays import rms
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution

# How far two engines may differ: a number by so many combined standard errors; a field, in the mean square
# over its nodes, by fewer, since chance seldom strays as far everywhere at once.
SCALAR_LIMIT, FIELD_LIMIT = 3.0, 2.0
WORSE = 1.5  # Held-out misfits so many times the least are worse by more than chance.


@dataclass(frozen=True)
class Pair:
    """Two engines on one unknown.

    >>> pair = Pair("D", "weak", "network", False, 0.021, 1.4)
    >>> pair.agrees
    True
    >>> print(pair)
    D: weak and network differ by 1.4 combined standard errors (2.1 %)
    """

    #: Names of the unknown and of the engines.
    unknown: str
    first: str
    second: str
    field: bool  #: Whether the unknown is a field.
    #: Size of the difference relative to that of the estimates; for a field both in the 2-norm over the nodes
    #: that the engines share.
    relative: float
    #: The difference in combined standard errors, the root of the sum of both squared; for a field both in
    #: the 2-norm. None where an engine gives no standard error.
    ratio: float | None
    lacking: tuple[str, ...] = ()  #: Engines that give none.

    @property
    def limit(self) -> float:
        """Combined standard errors within which the two agree."""
        return FIELD_LIMIT if self.field else SCALAR_LIMIT

    @property
    def agrees(self) -> bool | None:
        """Whether the difference lies within the limit; None where that cannot be judged."""
        return None if self.ratio is None else self.ratio <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON knows."""
        return {
            "unknown": self.unknown,
            "engines": [self.first, self.second],
            "kind": "field" if self.field else "scalar",
            "relative_difference": self.relative,
            "combined_standard_errors": self.ratio,
            "limit": self.limit,
            "agrees": self.agrees,
            "without_standard_errors": list(self.lacking),
        }

    def __str__(self) -> str:
        what = f"{self.unknown}: {self.first} and {self.second} differ by "
        percent = 100 * self.relative
        share = f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"
        share += " in the 2-norm" if self.field else ""
        if self.ratio is None:
            verb = "gives" if len(self.lacking) == 1 else "give"
            return f"{what}{share}; {listed(self.lacking)} {verb} no standard error"
        return f"{what}{self.ratio:.2g} combined standard errors ({share})"


def pairs(solutions: Mapping[str, Solution]) -> tuple[Pair, ...]:
    """Every two engines on every unknown that both answer; solutions that are no answer are left out.

    >>> from mollifier.problem.status import Status
    >>> def made(value, sd):
    ...     blank = xr.Dataset(coords={"observation": []}), xr.Dataset(coords={"step": []})
    ...     return Solution(Status("converged"), {"D": Estimate("D", value, sd)}, xr.Dataset(), *blank, {})
    >>> (pair,) = pairs({"weak": made(1.0, 0.03), "joint": made(1.2, 0.04)})
    >>> round(pair.ratio, 3), pair.agrees
    (4.0, False)
    """
    answers = {n: s for n, s in solutions.items() if s.status.has_answer}
    found: list[Pair] = []
    for (first, a), (second, b) in itertools.combinations(answers.items(), 2):
        both = [n for n in a.estimates if n in b.estimates]
        found += [_numbers(first, second, a.estimates[n], b.estimates[n]) for n in both]
        fields = [n for n in a.unknown_fields if n in b.unknown_fields]
        found += filter(None, (_fields(first, second, n, a.dataset, b.dataset) for n in fields))
    return tuple(found)


def _numbers(first: str, second: str, a: Estimate, b: Estimate) -> Pair:
    size = max(abs(a.value), abs(b.value))
    difference = abs(a.value - b.value)
    relative = difference / size if size else 0.0
    lacking = tuple(n for n, e in ((first, a), (second, b)) if e.sd is None or not math.isfinite(e.sd))
    ratio = None if lacking else _ratio(difference, math.hypot(a.sd or 0.0, b.sd or 0.0))
    return Pair(a.name, first, second, False, relative, ratio, lacking)


def _fields(first: str, second: str, name: str, a: xr.Dataset, b: xr.Dataset) -> Pair | None:
    """On the nodes of the finer estimate that lie within the other's; None where there is no such node."""
    if b[name].size > a[name].size:
        first, second, a, b = second, first, b, a
    one = a[name]
    other = _on_nodes(b[name], one)
    both = np.isfinite(one.values) & np.isfinite(other)
    if not both.any():
        return None
    u, v = one.values[both], other[both]
    difference, size = rms(u - v), math.sqrt((rms(u) ** 2 + rms(v) ** 2) / 2)
    lacking = tuple(n for n, d in ((first, a), (second, b)) if f"{name}_sd" not in d)
    ratio = None
    if not lacking:
        sd = np.hypot(a[f"{name}_sd"].transpose(*one.dims).values, _on_nodes(b[f"{name}_sd"], one))[both]
        known = np.isfinite(sd)
        ratio = _ratio(rms((u - v)[known]), rms(sd[known])) if known.any() else None
        lacking = () if known.any() else (first, second)
    return Pair(name, first, second, True, difference / size if size else 0.0, ratio, lacking)


def _on_nodes(field: xr.DataArray, nodes: xr.DataArray) -> np.ndarray:
    """A field at another's nodes, linearly; NaN beyond its own ends and beside what is not finite."""
    found = field.astype(float).where(np.isfinite(field)).interp({d: nodes[d] for d in nodes.dims})
    return found.transpose(*nodes.dims).values


def _ratio(difference: float, sd: float) -> float:
    return difference / sd if sd > 0 else (math.inf if difference > 0 else 0.0)


def state(
    solutions: Mapping[str, Solution],
    found: Sequence[Pair],
    misfits: Mapping[str, Mapping[str, float | None]],
) -> str:
    """What the pairs come to, in a few lines, the first of which says it all.

    ``misfits`` are those on held-out samples by engine and field, where known.

    >>> print(state({}, (), {}))
    No engine gave an answer.
    """
    answers = [n for n, s in solutions.items() if s.status.has_answer]
    if not answers:
        return "No engine gave an answer."
    if len(answers) == 1:
        lines = [f"Only {answers[0]} gave an answer: there is none to compare it with."]
    elif not found:
        lines = [f"{listed(answers)} share no unknown that could be compared."]
    else:
        lines = _outcome(found)
    lines += worse(misfits)
    short = [n for n in answers if not solutions[n].status.ok]
    if short:
        named = [f"{n} ({solutions[n].status.name})" for n in short]
        lines.append(f"To be taken with care, since not converged: {listed(named)}.")
    return "\n".join(lines)


def worse(misfits: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Engines that predict held-out samples clearly worse than the best; ``misfits`` by engine and field.

    >>> worse({"weak": {"u": 1.02}, "joint": {"u": 0.99}, "taylor": {"u": 3.4}})
    ['taylor predicts the held-out u worse than joint (misfit 3.4 against 0.99).']
    """
    lines = []
    for name in dict.fromkeys(f for m in misfits.values() for f in m):
        known = {e: v for e, m in misfits.items() if (v := m.get(name)) is not None}
        best = min(known, key=lambda e: known[e], default="")
        for engine, value in known.items():
            if value > WORSE * known[best]:
                lines.append(
                    f"{engine} predicts the held-out {name} worse than {best} "
                    f"(misfit {value:.3g} against {known[best]:.3g})."
                )
    return lines


def _outcome(found: Sequence[Pair]) -> list[str]:
    against = [p for p in found if p.agrees is False]
    judged = [p for p in found if p.agrees is not None]
    open_ = [p for p in found if p.agrees is None]
    lines = []
    if against:
        lines.append(f"Disagreement on {listed(sorted({p.unknown for p in against}))}.")
        lines += [f"{p}; {p.limit:g} are allowed." for p in against]
    elif judged:
        kinds = {p.limit for p in judged}
        within = listed([f"{k:g}" for k in sorted(kinds, reverse=True)])
        names = listed(list(dict.fromkeys(n for p in judged for n in (p.first, p.second))))
        what = listed(list(dict.fromkeys(p.unknown for p in judged)))
        lines.append(f"Agreement of {names} on {what}, within {within} combined standard errors.")
    else:
        lines.append("Undecided: too few engines give standard errors.")
    for unknown in dict.fromkeys(p.unknown for p in judged if p.agrees):
        widest = max((p for p in judged if p.unknown == unknown and p.agrees), key=lambda p: p.ratio or 0.0)
        lines.append(f"{'Of those that agree, ' if against else ''}{widest}, the most.")
    for unknown in dict.fromkeys(p.unknown for p in open_):
        widest = max((p for p in open_ if p.unknown == unknown), key=lambda p: p.relative)
        lines.append(f"Not judged: {widest}.")
    return lines
